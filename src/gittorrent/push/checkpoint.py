"""Checkpoints: what a keeper signs to put pushes in order, read strictly.

Pure. The text is a git tag object that points at the empty tree; what does not come back to the
same bytes is refused. Whether a checkpoint follows from the one before is the business of
`gittorrent.push.chain` (docs/protocol/trust.md, "Checkpoint").
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from gittorrent.errors import TrustError
from gittorrent.ids import Oid, PushId, RefName, RepositoryId, is_repository_id, is_sha256
from gittorrent.printable import decoded
from gittorrent.push.certificate import MAX_COUNT
from gittorrent.push.listing import BEGINNING, Age, Conflict, Entry, Waiting
from gittorrent.push.refnames import check_no_directory_conflict, check_ref_name
from gittorrent.push.rule import Verdict
from gittorrent.trust.keys import KeyRef

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gittorrent.ids import ObjectFormat

MAX_TEXT = 32 << 20
"""Bytes: a whole listing of a quarter of a million refs fits."""

MAX_NUMBER = 2**31 - 1
"""The last number of a checkpoint; one a second lasts 68 years."""

_TAG = b"tag gittorrent-checkpoint"
_FIRST = b"gittorrent checkpoint 1"
_TAGGER = re.compile(rb"tagger ([^<>\n\0]*) <([^<>\n\0]*)> (0|[1-9]\d{0,11}) ([+-]\d{4})\Z")
_NUMBER = re.compile(rb"(?:0|[1-9]\d{0,9})\Z")
_POLICY = re.compile(rb"([1-9]\d{0,9}) (sha256:[0-9a-f]{64})\Z")
_DIGEST = re.compile(rb"sha256:[0-9a-f]{64}\Z")
_VERDICTS = {verdict.value.encode("ascii"): verdict for verdict in Verdict}
_WHOLE, _CHANGES = b"whole", b"changes"

T = TypeVar("T")


class CheckpointTextError(TrustError):
    """A checkpoint's text is not one that this protocol allows."""


class Taken(Struct, frozen=True, gc=False):
    """One ``push`` line: a unit that was taken in, and what became of it.

    ``ref`` is None for a unit that is a whole push.
    """

    push: PushId
    ref: RefName | None
    verdict: Verdict

    def text(self) -> bytes:
        """Return the line."""
        ref = b"*" if self.ref is None else self.ref
        verdict = self.verdict.value.encode("ascii")
        return b"push " + self.push.encode("ascii") + b" " + ref + b" " + verdict + b"\n"


class Copy(Struct, frozen=True):
    """One ``certificate`` line: which copy of a pusher's OpenPGP certificates was judged."""

    push: PushId
    digest: str

    def text(self) -> bytes:
        """Return the line."""
        return f"certificate {self.push} {self.digest}\n".encode("ascii")


class Checkpoint(Struct, frozen=True):
    """What a checkpoint says.

    Args:
        object_format: of the repository.
        repository: its id.
        number: its place in the chain, from 1.
        previous: id of the checkpoint before; None for number 1.
        version: of the policy in force.
        policy: its digest.
        adopted: log entries of the policy versions that come into force, oldest first.
        taken: the units taken in, in order.
        copies: for each push that came with OpenPGP certificates, which; in the same order.
        head: the branch that HEAD names.
        head_mark: the mark of that.
        state: digest of the listing.
        whole: whether ``listing`` is all of it, not only what changed.
        listing: the text of the entries.
        tagger: who made it, as git writes people.
        time: when, in seconds; expiry is judged by it.
        zone: such as ``+0000``.
    """

    object_format: ObjectFormat
    repository: RepositoryId
    number: int
    previous: PushId | None
    version: int
    policy: str
    adopted: tuple[PushId, ...]
    taken: tuple[Taken, ...]
    copies: tuple[Copy, ...]
    head: RefName
    head_mark: Age
    state: str
    whole: bool
    listing: bytes
    tagger: bytes
    time: int
    zone: str = "+0000"

    def text(self) -> bytes:
        """Return the tag object's content without signature, which is what gets signed."""
        empty = self.object_format.empty_tree.encode("ascii")
        person = self.tagger + f" {self.time} {self.zone}".encode("ascii")
        lines = [b"object " + empty, b"type tree", _TAG, b"tagger " + person, b"", _FIRST]
        lines.append(b"repository " + self.repository.encode("ascii"))
        lines.append(b"sequence %d" % self.number)
        if self.previous is not None:
            lines.append(b"previous " + self.previous.encode("ascii"))
        lines.append(f"policy {self.version} {self.policy}".encode("ascii"))
        lines += [b"adopt " + entry.encode("ascii") for entry in self.adopted]
        taken = b"".join(item.text() for item in self.taken) + b"".join(
            copy.text() for copy in self.copies
        )
        ends = b"head " + self.head + f" {self.head_mark}\nstate {self.state}\n".encode("ascii")
        kind = _WHOLE if self.whole else _CHANGES
        return b"\n".join([*lines, taken]) + ends + kind + b"\n" + self.listing

    @property
    def pushes(self) -> tuple[PushId, ...]:
        """The pushes taken in, each once, in the order of their first unit."""
        return tuple(dict.fromkeys(item.push for item in self.taken))

    @property
    def push_copies(self) -> dict[PushId, str]:
        """The pushes taken in, and for each the digest of its certificates; "" without any."""
        copies = {copy.push: copy.digest for copy in self.copies}
        return {push: copies.get(push, "") for push in self.pushes}


def parse_checkpoint(text: bytes, object_format: ObjectFormat) -> Checkpoint:
    """Read a checkpoint's text (without signature).

    Raises:
        CheckpointTextError: it breaks the grammar or a limit.
        TrustError: it names a ref or key that must not exist.
    """
    if len(text) > MAX_TEXT:
        raise CheckpointTextError(f"checkpoint of {len(text)} bytes is longer than {MAX_TEXT}")
    checkpoint = _read(_Reader(text, object_format), object_format)
    if checkpoint.text() != text:
        raise CheckpointTextError("checkpoint is not in its canonical form")
    if len({(item.push, item.ref) for item in checkpoint.taken}) != len(checkpoint.taken):
        raise CheckpointTextError("checkpoint takes one unit in twice")
    named = {copy.push for copy in checkpoint.copies}
    if [copy.push for copy in checkpoint.copies] != [p for p in checkpoint.pushes if p in named]:
        raise CheckpointTextError("checkpoint has certificate lines that do not suit its pushes")
    return checkpoint


def _read(reader: _Reader, object_format: ObjectFormat) -> Checkpoint:
    """Read the lines in their order."""
    tagger = _read_tag(reader, object_format)
    repository = reader.word(b"repository")
    if not is_repository_id(repository):
        raise reader.fault("not a repository id")
    number = reader.number(b"sequence", MAX_NUMBER)
    previous = reader.oid(b"previous") if number > 1 else None
    policy = _POLICY.match(reader.value(b"policy"))
    if policy is None or number < 1:
        raise reader.fault("not a policy's version and digest, or no number from 1")
    adopted = reader.many(b"adopt ", lambda: reader.oid(b"adopt"))
    taken = reader.many(b"push ", reader.taken)
    copies = reader.many(b"certificate ", reader.copy)
    head, _, mark = reader.value(b"head").rpartition(b" ")
    state, kind = reader.word(b"state"), reader.line()
    if not is_sha256(state) or kind not in (_WHOLE, _CHANGES):
        raise reader.fault("no digest of the state before 'whole' or 'changes'")
    return Checkpoint(
        object_format=object_format,
        repository=RepositoryId(repository),
        number=number,
        previous=previous,
        version=int(policy[1]),
        policy=policy[2].decode("ascii"),
        adopted=adopted,
        taken=taken,
        copies=copies,
        head=_branch(head, reader),
        head_mark=_mark(mark, reader),
        state=state,
        whole=kind == _WHOLE,
        listing=reader.rest(),
        tagger=tagger[1] + b" <" + tagger[2] + b">",
        time=int(tagger[3]),
        zone=tagger[4].decode("ascii"),
    )


def _read_tag(reader: _Reader, object_format: ObjectFormat) -> re.Match[bytes]:
    """Read what makes the text a tag, up to the first line of our own; return the tagger."""
    reader.exactly(b"object " + object_format.empty_tree.encode("ascii"))
    reader.exactly(b"type tree")
    reader.exactly(_TAG)
    tagger = _TAGGER.match(reader.line())
    if tagger is None:
        raise reader.fault("no tagger")
    reader.exactly(b"")
    reader.exactly(_FIRST)
    return tagger


def parse_listing(text: bytes, object_format: ObjectFormat) -> tuple[Entry, ...]:
    """Read the entries of a whole listing.

    Raises:
        CheckpointTextError: it is not in canonical form.
        TrustError: it names a ref or key that must not exist.
    """
    reader = _Reader(text, object_format)
    entries: dict[RefName, Entry] = {}
    while not reader.finished:
        ref, entry = reader.entry_line(entries)
        entries[ref] = entry
    if b"".join(bytes(entry) for _, entry in sorted(entries.items())) != text:
        raise CheckpointTextError("listing is not in its canonical form")
    check_no_directory_conflict(e.ref for e in entries.values() if e.value is not None)
    return tuple(entries.values())


def parse_changes(text: bytes, object_format: ObjectFormat) -> tuple[Entry, ...]:
    """Read the entries of a listing of changes; one that says nothing was dropped.

    Raises:
        CheckpointTextError: it is not in canonical form.
        TrustError: it names a ref or key that must not exist.
    """
    reader = _Reader(text, object_format)
    entries: dict[RefName, Entry] = {}
    while not reader.finished:
        ref, entry = reader.dropped() or reader.entry_line(entries)
        entries[ref] = entry
    if b"".join(entry.changed_text() for _, entry in sorted(entries.items())) != text:
        raise CheckpointTextError("listing of changes is not in its canonical form")
    return tuple(entries.values())


class _Reader:
    """Hands out lines; remembers where it is for messages."""

    def __init__(self, text: bytes, object_format: ObjectFormat) -> None:
        self._text = text
        self._format = object_format
        self._at = 0
        self._number = 0

    @property
    def finished(self) -> bool:
        return self._at >= len(self._text)

    def fault(self, what: str) -> CheckpointTextError:
        return CheckpointTextError(f"checkpoint line {self._number}: {what}")

    def line(self) -> bytes:
        end = self._text.find(b"\n", self._at)
        self._number += 1
        if end < 0:
            raise self.fault("the text ends too early")
        line = self._text[self._at : end]
        self._at = end + 1
        return line

    def rest(self) -> bytes:
        rest = self._text[self._at :]
        self._at = len(self._text)
        return rest

    def exactly(self, expected: bytes) -> None:
        line = self.line()
        if line != expected:
            raise self.fault(f"expected {expected.decode()!r}, found {decoded(line[:80])!r}")

    def value(self, keyword: bytes) -> bytes:
        line = self.line()
        found, _, value = line.partition(b" ")
        if found != keyword or not value:
            raise self.fault(f"expected {keyword.decode()!r}, found {decoded(line[:80])!r}")
        return value

    def word(self, keyword: bytes) -> str:
        return self.value(keyword).decode("ascii", "replace")

    def number(self, keyword: bytes, limit: int) -> int:
        return self.decimal(self.value(keyword), limit)

    def decimal(self, digits: bytes, limit: int) -> int:
        if _NUMBER.match(digits) is None or int(digits) > limit:
            raise self.fault(f"not a number up to {limit}: {decoded(digits[:40])!r}")
        return int(digits)

    def oid(self, keyword: bytes) -> PushId:
        return PushId(self.id_of(self.value(keyword)))

    def id_of(self, digits: bytes) -> Oid:
        text = digits.decode("ascii", "replace")
        if not self._format.is_oid(text) or text == self._format.zero:
            raise self.fault(f"not an id: {decoded(digits[:80])!r}")
        return Oid(text)

    def many(self, prefix: bytes, read: Callable[[], T]) -> tuple[T, ...]:
        found = []
        while self._text.startswith(prefix, self._at):
            found.append(read())
        return tuple(found)

    def taken(self) -> Taken:
        words = self.value(b"push").split(b" ")
        if len(words) != 3 or words[2] not in _VERDICTS:
            raise self.fault("not a push, what it changes and what became of that")
        ref = None if words[1] == b"*" else RefName(words[1])
        return Taken(PushId(self.id_of(words[0])), ref, _VERDICTS[words[2]])

    def copy(self) -> Copy:
        push, _, digest = self.value(b"certificate").partition(b" ")
        if _DIGEST.match(digest) is None:
            raise self.fault("not a push and the digest of its certificates")
        return Copy(PushId(self.id_of(push)), digest.decode("ascii"))

    def dropped(self) -> tuple[RefName, Entry] | None:
        """Read a line that drops an entry, if it is one."""
        if not self._text.startswith(b"drop ", self._at):
            return None
        ref = RefName(self.value(b"drop"))
        check_ref_name(ref)
        return ref, Entry(ref)

    def entry_line(self, entries: dict[RefName, Entry]) -> tuple[RefName, Entry]:
        """Read one line of an entry; return the ref and the entry with it."""
        words = self.line().split(b" ")
        ref = RefName(words[-1])
        check_ref_name(ref)
        entry = entries.get(ref) or Entry(ref)
        match words[:-1]:
            case [b"ref", value, mark]:
                return ref, _with(entry, value=self.id_of(value), mark=_mark(mark, self))
            case [b"gone", mark]:
                return ref, _with(entry, mark=_mark(mark, self))
            case [b"conflict", value, push, key]:
                made = Conflict(self.id_of(value), PushId(self.id_of(push)), _key(key, self), ref)
                return ref, _with(entry, conflicts=(*entry.conflicts, made))
            case [b"waiting", old, new, push, mark, key]:
                waiting = Waiting(
                    self._perhaps(old), self._perhaps(new), PushId(self.id_of(push)),
                    _mark(mark, self), _key(key, self), ref,
                )  # fmt: skip
                if waiting.old == waiting.new:
                    raise self.fault("a waiting line that changes nothing")
                return ref, _with(entry, waiting=(*entry.waiting, waiting))
        raise self.fault("not a line of a listing")

    def _perhaps(self, digits: bytes) -> Oid | None:
        return None if digits == self._format.zero.encode("ascii") else self.id_of(digits)


def _with(
    entry: Entry,
    *,
    value: Oid | None = None,
    mark: Age | None = None,
    conflicts: Iterable[Conflict] | None = None,
    waiting: Iterable[Waiting] | None = None,
) -> Entry:
    return Entry(
        entry.ref,
        entry.value if value is None else value,
        entry.mark if mark is None else mark,
        entry.conflicts if conflicts is None else tuple(conflicts),
        entry.waiting if waiting is None else tuple(waiting),
    )


def _mark(text: bytes, reader: _Reader) -> Age:
    number, dot, place = text.partition(b".")
    if not dot:
        raise reader.fault(f"not a mark: {decoded(text[:40])!r}")
    mark = Age(reader.decimal(number, MAX_NUMBER), reader.decimal(place, MAX_COUNT))
    if mark != BEGINNING and not (mark.number and mark.place):
        raise reader.fault(f"not a mark: {decoded(text[:40])!r}")
    return mark


def _key(text: bytes, reader: _Reader) -> KeyRef:
    if not text.isascii():
        raise reader.fault(f"not a key: {decoded(text[:80])!r}")
    return KeyRef.parse(text.decode("ascii"))


def _branch(name: bytes, reader: _Reader) -> RefName:
    if not name.startswith(b"refs/heads/"):
        raise reader.fault(f"HEAD names no branch: {decoded(name[:80])!r}")
    check_ref_name(name)
    return RefName(name)
