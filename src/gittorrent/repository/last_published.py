"""What an origin's refs were when they were last compared with its log.

Kept in a file of the log's folder. It names the checkpoint that was final then and what differed
from it; then follows what git listed, by which the refs that changed since are found without taking
all others apart.

::

    serial <hexadecimal digits>
    checkpoint <push id>
    head <ref>
    push <push id>             what was shown and not final yet
    ref <object id> <ref>      the ref was this; the null id: there was none
    unknown <ref>              nothing is remembered of this ref
    again <ref>                the ref was not the same here and in the log
    settled <ref>              a checkpoint before this one took in what that ref was
    conflict <ref>             an open conflict, which had a ref here

    <object id> <ref>          as git listed it

What single pushes changed afterwards, in the log and here, is in a second file, so that a push does
not cost what all refs do. It counts if it names the first one's serial, and its lines take the
place of those that the first one has::

    serial <hexadecimal digits>
    push <push id>
    ref <object id> <ref>

The files can be lost: then nothing is remembered of any ref, and what differs here and in the log
is settled by ancestry or named.
"""

from __future__ import annotations

import secrets
from functools import cached_property
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.durable import write_atomically
from gittorrent.ids import Oid, PushId, RefName
from gittorrent.push.certificate import subject_of
from gittorrent.push.rule import Verdict
from gittorrent.repository.ref_listing import RefListing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from gittorrent.ids import ObjectFormat, Refs, RepositoryId
    from gittorrent.push.checkpoint import Taken
    from gittorrent.push.log import VerifiedLog
    from gittorrent.push.origin_refs import Parted
    from gittorrent.repository.carried import Carried
    from gittorrent.repository.layout import Layout


class LastPublished(Struct, frozen=True):
    """The content of the file.

    Args:
        checkpoint: what was final.
        head: the branch that HEAD named, here and in the log.
        pushes: what was shown and not final.
        refs: values that were not those of the checkpoint; None for no ref.
        unknown: refs of which nothing is remembered.
        again: refs to be looked at even if nothing changes.
        conflicts: refs of open conflicts that were made here.
        settled: refs that were not the same, whose value here had been final before.
        listing: the origin's refs; None where that is not remembered.
        serial: by which a second file names this one; empty if none can.
    """

    checkpoint: PushId
    head: RefName
    pushes: tuple[PushId, ...]
    refs: Mapping[RefName, Oid | None]
    unknown: frozenset[RefName] = frozenset()
    again: frozenset[RefName] = frozenset()
    conflicts: frozenset[RefName] = frozenset()
    settled: frozenset[RefName] = frozenset()
    listing: RefListing | None = None
    serial: str = ""


class Since(Struct, frozen=True):
    """The content of the second file.

    Args:
        serial: of the file that it goes on from.
        pushes: what the log showed since.
        refs: what refs are now.
    """

    serial: str
    pushes: tuple[PushId, ...] = ()
    refs: Mapping[RefName, Oid] = {}

    def text(self) -> bytes:
        """Return the file."""
        lines = [b"serial " + self.serial.encode("ascii")]
        lines += [b"push " + push.encode("ascii") for push in self.pushes]
        lines += [
            b"ref " + oid.encode("ascii") + b" " + ref for ref, oid in sorted(self.refs.items())
        ]
        return b"".join(line + b"\n" for line in lines)


class RememberedPast:
    """Answers what refs were (`gittorrent.push.origin_refs.Past`).

    Args:
        carried: the origin.
        log: its log as it is now.
    """

    def __init__(self, carried: Carried, log: VerifiedLog) -> None:
        self._log = log
        last = read_last_published(carried.layout, log.repository, carried.object_format)
        if last is None and log.number == 1 and log.head is not None:
            # The first checkpoint takes nothing in: before it there was no ref.
            last = LastPublished(log.head, log.policy.policy.head, (), {})
        self._last = None if last is None or last.checkpoint not in log.ids else last

    @property
    def head(self) -> RefName | None:
        """The branch that HEAD named; None if that is not remembered."""
        return None if self._last is None else self._last.head

    def candidates(self, listing: RefListing) -> set[RefName] | None:
        """Return the refs that may differ here and in the log; None where that may be any.

        Args:
            listing: the origin's refs as they are now.
        """
        last = self._last
        if last is None or last.listing is None:
            return None
        pushes = {*last.pushes, *(push.id for push in self._log.unfinal)}
        pushes.update(item.push for item in self._taken_since)
        if not all(push in self._log for push in pushes):
            return None  # a log that began late lacks what was taken before
        found = {
            subject_of(line.ref)
            for push in pushes
            for line in self._log.push(push).certificate.lines
        }
        return (
            found
            | last.again
            | last.unknown
            | last.refs.keys()
            | listing.changed_from(last.listing)
        )

    @property
    def conflicts(self) -> frozenset[RefName]:
        """The refs of open conflicts that were made here; none where that is not remembered."""
        return frozenset() if self._last is None else self._last.conflicts

    def knows(self, ref: RefName) -> bool:
        """Tell whether it is remembered what ``ref`` was, or that there was none."""
        return self._last is not None and ref not in self._last.unknown

    def value(self, ref: RefName) -> Oid | None:
        """Return what ``ref`` was; None if there was none."""
        if self._last is None or ref in self._last.unknown:
            return None
        return self._last.refs[ref] if ref in self._last.refs else self._final(ref)

    def is_settled(self, ref: RefName, value: Oid) -> bool:
        """Tell whether a checkpoint took this value of ``ref`` in, also as a conflict."""
        if self._last is None:
            return False
        if ref in self._last.settled and value == self.value(ref):
            return True
        if self._final(ref) == value or (ref, value) in self._taken:
            return True
        conflicts = self._log.ledger.adopted.listing.entry(ref).conflicts
        return any(each.value == value for each in conflicts)

    def _final(self, ref: RefName) -> Oid | None:
        """Return what ``ref`` was at the checkpoint."""
        assert self._last is not None
        if self._last.checkpoint == self._log.head:
            return self._log.ledger.adopted.listing.value(ref)
        return self._refs_then.get(ref)

    @cached_property
    def _refs_then(self) -> Refs:
        assert self._last is not None
        return self._log.refs_at(self._last.checkpoint)

    @cached_property
    def _taken_since(self) -> list[Taken]:
        """What checkpoints took since."""
        assert self._last is not None
        ids = self._log.ids
        since = ids[ids.index(self._last.checkpoint) + 1 :]
        return [item for each in since for item in self._log.checkpoint(each).checkpoint.taken]

    @cached_property
    def _taken(self) -> set[tuple[RefName, Oid]]:
        """Values of the pushes shown then that checkpoints took since."""
        assert self._last is not None
        taken = {
            (item.push, item.ref)
            for item in self._taken_since
            if item.verdict in (Verdict.APPLIED, Verdict.CONFLICT)
        }
        found: set[tuple[RefName, Oid]] = set()
        for push in {push for push, _ in taken if push in self._log} & set(self._last.pushes):
            for line in self._log.push(push).certificate.lines:
                if line.new is not None and not taken.isdisjoint({(push, line.ref), (push, None)}):
                    found.add((line.ref, line.new))
        return found


def remember(
    carried: Carried,
    log: VerifiedLog,
    past: RememberedPast,
    listing: RefListing,
    parted: Collection[Parted] = (),
    again: Iterable[RefName] = (),
    conflicts: Iterable[RefName] = (),
    *,
    is_head_parted: bool = False,
) -> None:
    """Note what an origin's refs are now: what the log shows, but for those that are parted.

    Args:
        carried: the origin.
        log: its log, which counts already.
        past: what was remembered until now.
        listing: the origin's refs as they were when they were compared, and changed since.
        parted: refs that are not the same; of these the past stays what it was.
        again: other refs to be looked at the next time.
        conflicts: refs of open conflicts that were made here.
        is_head_parted: whether HEAD is not the same either.
    """
    assert log.head is not None
    view, final = log.ledger.view(), log.ledger.adopted.listing
    refs: dict[RefName, Oid | None] = {}
    for item in view.judged:
        for ref in item.outcome.touched:
            if view.listing.value(ref) != final.value(ref):
                refs[ref] = view.listing.value(ref)
    unknown = set()
    for each in parted:
        refs.pop(each.ref, None)
        if not past.knows(each.ref):
            unknown.add(each.ref)
        elif each.was != final.value(each.ref):
            refs[each.ref] = each.was
    now = RememberedPast(carried, log)  # by what was signed since ``past`` was asked, too
    settled = frozenset(
        each.ref
        for each in parted
        if each.was and (past.is_settled(each.ref, each.was) or now.is_settled(each.ref, each.was))
    )
    last = LastPublished(
        log.head,
        (past.head if is_head_parted else None) or view.listing.head,
        tuple(push.id for push in log.unfinal),
        refs,
        frozenset(unknown),
        frozenset({*(each.ref for each in parted), *again}),
        frozenset(conflicts),
        settled,
        listing,
        secrets.token_hex(8),
    )
    layout = carried.layout
    write_atomically(layout.published_refs(log.repository), _text(last, carried.object_format))
    layout.published_since(log.repository).unlink(missing_ok=True)


def read_last_published(
    layout: Layout, repository: RepositoryId, object_format: ObjectFormat
) -> LastPublished | None:
    """Read what is remembered; None where that is nothing, or was not written here."""
    last = read_compared(layout.published_refs(repository), object_format)
    since = read_since(layout.published_since(repository), object_format)
    if last is None or since is None or since.serial != last.serial:
        return last
    pushes = tuple(dict.fromkeys([*last.pushes, *since.pushes]))
    return replace(last, pushes=pushes, refs={**last.refs, **since.refs})


def read_since(path: Path, object_format: ObjectFormat) -> Since | None:
    """Read the second file; None where there is none, or it is damaged."""
    try:
        first, *lines = path.read_bytes().splitlines()
    except (FileNotFoundError, ValueError):
        return None
    pushes: list[PushId] = []
    refs: dict[RefName, Oid] = {}
    for line in lines:
        keyword, _, rest = line.partition(b" ")
        word, _, name = rest.partition(b" ")
        oid = word.decode("ascii", "replace")
        if not object_format.is_oid(oid):
            return None
        if keyword == b"push":
            pushes.append(PushId(oid))
        else:
            refs[RefName(name)] = Oid(oid)
    serial = first.removeprefix(b"serial ").decode("ascii", "replace")
    return Since(serial, tuple(pushes), refs)


def read_compared(path: Path, object_format: ObjectFormat) -> LastPublished | None:
    """Read the first file; None where there is none, or none that could have been written here."""
    try:
        head_lines, blank, listed = path.read_bytes().partition(b"\n\n")
    except FileNotFoundError:
        return None
    if not blank:
        return None
    checkpoint, head, serial = None, None, ""
    pushes: list[PushId] = []
    refs: dict[RefName, Oid | None] = {}
    unknown: set[RefName] = set()
    again: set[RefName] = set()
    conflicts: set[RefName] = set()
    settled: set[RefName] = set()
    for line in head_lines.splitlines():
        keyword, _, rest = line.partition(b" ")
        word, _, name = rest.partition(b" ")
        oid = word.decode("ascii", "replace")
        if keyword == b"serial":
            serial = oid
        elif keyword == b"head":
            head = RefName(rest)
        elif keyword == b"unknown":
            unknown.add(RefName(rest))
        elif keyword == b"again":
            again.add(RefName(rest))
        elif keyword == b"settled":
            settled.add(RefName(rest))
        elif keyword == b"conflict":
            conflicts.add(RefName(rest))
        elif not object_format.is_oid(oid):
            return None
        elif keyword == b"checkpoint":
            checkpoint = PushId(oid)
        elif keyword == b"push":
            pushes.append(PushId(oid))
        elif keyword == b"ref":
            refs[RefName(name)] = None if oid == object_format.zero else Oid(oid)
    if checkpoint is None or head is None:
        return None
    return LastPublished(
        checkpoint,
        head,
        tuple(pushes),
        refs,
        frozenset(unknown),
        frozenset(again),
        frozenset(conflicts),
        frozenset(settled),
        RefListing(listed),
        serial,
    )


def _text(last: LastPublished, object_format: ObjectFormat) -> bytes:
    zero = object_format.zero
    lines = [
        b"serial " + last.serial.encode("ascii"),
        b"checkpoint " + last.checkpoint.encode("ascii"),
        b"head " + last.head,
        *(b"push " + push.encode("ascii") for push in last.pushes),
        *(
            f"ref {value or zero} ".encode("ascii") + ref
            for ref, value in sorted(last.refs.items(), key=lambda item: item[0])
        ),
        *(b"unknown " + ref for ref in sorted(last.unknown)),
        *(b"again " + ref for ref in sorted(last.again)),
        *(b"conflict " + ref for ref in sorted(last.conflicts)),
        *(b"settled " + ref for ref in sorted(last.settled)),
        b"",
    ]
    listed = b"" if last.listing is None else last.listing.text
    return b"".join(line + b"\n" for line in lines) + listed
