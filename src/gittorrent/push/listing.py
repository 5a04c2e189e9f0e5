"""The state that a log leads to: what every ref is, and what is still open about it.

Pure. A `Listing` is immutable; each change gives a new one that shares what did not change. It
tracks, for each ref, value, mark, open conflicts and waiting lines, and HEAD; derived from these,
directories, the open lines of each key, and when marks of deleted refs may be forgotten.

Must not know why something changes: that is `gittorrent.push.rule`.
Texts: docs/protocol/trust.md, "Listing".
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.ids import Oid, PushId, RefName, Refs
from gittorrent.push.certificate import CONFLICTS
from gittorrent.push.tree_map import TreeMap, tree_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gittorrent.trust.keys import KeyRef


_REF = b"ref "
_CONFLICT = b"\nconflict "
_WAITING = b"\nwaiting "


class Age(NamedTuple):
    """How late a push is: the number of its nonce's checkpoint, then its count on top of that."""

    number: int
    place: int

    def __str__(self) -> str:
        return f"{self.number}.{self.place}"


BEGINNING = Age(0, 0)
"""The mark of what nothing has rewound yet."""


class Conflict(Struct, frozen=True, gc=False):
    """A value that did not fit, kept under a name of its own until the ref contains it."""

    value: Oid
    push: PushId
    key: KeyRef
    ref: RefName

    @property
    def name(self) -> RefName:
        """The ref that shows it."""
        return RefName(
            CONFLICTS + self.push.encode("ascii") + b"/" + self.ref.removeprefix(b"refs/")
        )

    def text(self) -> bytes:
        """Return its line of the listing."""
        return f"conflict {self.value} {self.push} {self.key} ".encode("ascii") + self.ref + b"\n"


class Waiting(Struct, frozen=True, gc=False):
    """A line under a quorum that has not enough keys yet; None is the null id."""

    old: Oid | None
    new: Oid | None
    push: PushId
    age: Age
    key: KeyRef
    ref: RefName

    def text(self) -> bytes:
        """Return its line of the listing."""
        zero = "0" * len(self.old or self.new or "")
        ids = f"{self.old or zero} {self.new or zero}"
        line = f"waiting {ids} {self.push} {self.age} {self.key} ".encode("ascii")
        return line + self.ref + b"\n"


class Entry(Struct, frozen=True, gc=False):
    """All that is known of one ref.

    There may be 100,000 of them, in which the garbage collector would look for cycles again and
    again; there can be none.

    Args:
        ref: its name.
        value: what it is; None if there is no such ref.
        mark: age of the push that created, deleted or last rewound it.
        conflicts: open ones, oldest first.
        waiting: lines under a quorum, oldest first.
    """

    ref: RefName
    value: Oid | None = None
    mark: Age = BEGINNING
    conflicts: tuple[Conflict, ...] = ()
    waiting: tuple[Waiting, ...] = ()

    def __bytes__(self) -> bytes:
        lines = []
        if self.value is not None:
            lines.append(f"ref {self.value} {self.mark} ".encode("ascii") + self.ref + b"\n")
        elif self.mark != BEGINNING:
            lines.append(f"gone {self.mark} ".encode("ascii") + self.ref + b"\n")
        lines += [item.text() for item in self.conflicts]
        lines += [item.text() for item in self.waiting]
        return b"".join(lines)

    @property
    def shown(self) -> Refs:
        """The ref and its open conflicts, as they are shown."""
        refs: Refs = {conflict.name: conflict.value for conflict in self.conflicts}
        if self.value is not None:
            refs[self.ref] = self.value
        return refs

    def changed_text(self) -> bytes:
        """Return its lines in a listing of changes."""
        return b"drop " + self.ref + b"\n" if self.says_nothing else bytes(self)

    @property
    def says_nothing(self) -> bool:
        """Whether there is nothing to remember of this ref."""
        return self == Entry(self.ref)


class Grave(Struct, frozen=True):
    """A deleted ref whose mark is kept, and those of the same number before it."""

    ref: RefName
    rest: Grave | None

    def __bytes__(self) -> bytes:
        names, at = [], self.rest
        while at is not None:
            names.append(at.ref)
            at = at.rest
        return b"\n".join([self.ref, *names])

    @classmethod
    def parse(cls, text: bytes) -> Grave:
        """Read what ``bytes()`` makes of one."""
        *names, oldest = text.split(b"\n")
        made = cls(RefName(oldest), None)
        for name in reversed(names):
            made = cls(RefName(name), made)
        return made


class Listing(Struct, frozen=True):
    """The state after some push. Make one with `empty_listing` or `listing_of`.

    ``size`` is how many bytes `whole_text` has, without writing it.
    """

    head: RefName
    head_mark: Age
    entries: TreeMap[Entry]
    directories: TreeMap[int]
    open_lines: TreeMap[int]
    graves: TreeMap[Grave]
    swept: int = 0
    size: int = 0

    def entry(self, ref: RefName) -> Entry:
        """Return what is known of ``ref``."""
        return self.entries.get(ref) or Entry(ref)

    def value(self, ref: RefName) -> Oid | None:
        """Return what ``ref`` is; None if there is none."""
        return self.entry(ref).value

    def open_of(self, key: KeyRef) -> int:
        """Return how many conflicts and waiting lines ``key`` has."""
        return self.open_lines.get(str(key).encode("ascii")) or 0

    def clashes(self, ref: RefName) -> bool:
        """Tell whether another ref is a directory of ``ref``, or ``ref`` one of another."""
        if self.directories.get(ref):
            return True
        return any(self.value(RefName(name)) is not None for name in directories_of(ref))

    def with_entry(self, entry: Entry) -> Listing:
        """Return the listing in which this is what is known of the ref."""
        before = self.entry(entry.ref)
        if before == entry:
            return self
        directories, graves = self.directories, self.graves
        step = (entry.value is not None) - (before.value is not None)
        if step:
            for name in directories_of(entry.ref):
                directories = directories.set(name, (directories.get(name) or 0) + step or None)
        if entry.value is None and entry.mark != BEGINNING:
            number = _number(entry.mark.number)
            graves = graves.set(number, Grave(entry.ref, graves.get(number)))
        return replace(
            self,
            entries=self.entries.set(entry.ref, None if entry.says_nothing else entry),
            directories=directories,
            open_lines=_recounted(self.open_lines, before, entry),
            graves=graves,
            size=self.size + len(bytes(entry)) - len(bytes(before)),
        )

    def with_head(self, head: RefName, mark: Age) -> Listing:
        """Return the listing in which HEAD names this branch."""
        return replace(self, head=head, head_mark=mark)

    def sweep(self, number: int) -> tuple[Listing, tuple[RefName, ...]]:
        """Forget the marks of deleted refs below ``number``, which no push can name any more.

        Returns:
            The listing, and the refs whose entry changed.
        """
        listing, swept = self, []
        numbers: Iterable[int] = range(self.swept, number)
        if len(self.graves) < number - self.swept:
            known = (int.from_bytes(name, "big") for name, _ in self.graves)
            numbers = sorted(old for old in known if old < number)
        for old in numbers:
            grave = listing.graves.get(_number(old))
            while grave is not None:
                entry = listing.entry(grave.ref)
                if entry.value is None and BEGINNING < entry.mark < (number, 0):
                    listing = listing.with_entry(replace(entry, mark=BEGINNING))
                    swept.append(grave.ref)
                grave = grave.rest
            listing = replace(listing, graves=listing.graves.set(_number(old), None))
        return replace(listing, swept=max(self.swept, number)), tuple(swept)

    def refs(self) -> Refs:
        """Return all refs, without conflicts."""
        return self._refs(with_conflicts=False)

    def shown_refs(self) -> Refs:
        """Return all refs, open conflicts under their names too."""
        return self._refs(with_conflicts=True)

    def _refs(self, *, with_conflicts: bool) -> Refs:
        refs: Refs = {}
        for name, known in self.entries.as_kept():
            if isinstance(known, Entry):
                entry = known
            elif _CONFLICT in known or not known.startswith(_REF):
                entry = self.entry(RefName(name))
            else:
                refs[RefName(name)] = Oid(known[4 : known.index(b" ", 4)].decode("ascii"))
                continue
            if entry.value is not None:
                refs[RefName(name)] = entry.value
            if with_conflicts:
                refs.update((conflict.name, conflict.value) for conflict in entry.conflicts)
        return refs

    def moves_to(self, after: Listing) -> list[tuple[RefName, Oid | None, Oid | None]]:
        """Return (name, old value, new value) of each ref shown that ``after`` has otherwise.

        Open conflicts too. Costs what differs, where one of both was made from the other.
        """
        found: list[tuple[RefName, Oid | None, Oid | None]] = []
        for name in sorted(self.entries.differing(after.entries)):
            was, now = (at.entry(RefName(name)).shown for at in (self, after))
            found += [
                (ref, was.get(ref), now.get(ref))
                for ref in dict.fromkeys([*was, *now])
                if was.get(ref) != now.get(ref)
            ]
        return found

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the open conflicts, those of one ref oldest first."""
        for name, known in self.entries.as_kept():
            if isinstance(known, Entry):
                yield from known.conflicts
            elif _CONFLICT in b"\n" + known:
                yield from self.entry(RefName(name)).conflicts

    def waiting(self) -> Iterator[Waiting]:
        """Yield the lines that wait for others to agree, those of one ref oldest first."""
        for name, known in self.entries.as_kept():
            if not isinstance(known, Entry) and _WAITING not in b"\n" + known:
                continue
            yield from self.entry(RefName(name)).waiting

    def head_line(self) -> bytes:
        """Return the line about HEAD."""
        return b"head " + self.head + f" {self.head_mark}\n".encode("ascii")

    @property
    def digest(self) -> str:
        """The ``state`` of a checkpoint, in hexadecimal."""
        return hashlib.sha256(self.head_line() + self.entries.digest).hexdigest()

    def whole_text(self) -> bytes:
        """Return all entries, sorted by ref."""
        return b"".join(bytes(known) for _, known in sorted(self.entries.as_kept(), key=_by_name))

    def changes_text(self, before: Listing, touched: Iterable[RefName]) -> bytes:
        """Return the entries that differ from ``before``, sorted by ref.

        Args:
            before: the listing that these changes make this one of.
            touched: at least every ref whose entry differs.
        """
        texts = []
        for ref in sorted(set(touched)):
            entry = self.entry(ref)
            if entry != before.entry(ref):
                texts.append(entry.changed_text())
        return b"".join(texts)


def empty_listing(head: RefName) -> Listing:
    """Return the state in which there are no refs and HEAD names ``head``."""
    return Listing(head, BEGINNING, TreeMap(), TreeMap(), TreeMap(), TreeMap())


def listing_of(head: RefName, head_mark: Age, entries: Iterable[Entry]) -> Listing:
    """Return the state with these entries, as a whole listing gives them."""
    known = {bytes(entry.ref): entry for entry in entries}
    directories: dict[bytes, int] = {}
    open_lines: dict[bytes, int] = {}
    graves: dict[bytes, Grave] = {}
    for entry in known.values():
        for name in directories_of(entry.ref) if entry.value is not None else ():
            directories[name] = directories.get(name, 0) + 1
        for key in _keys(entry):
            open_lines[key] = open_lines.get(key, 0) + 1
        if entry.value is None and entry.mark != BEGINNING:
            number = _number(entry.mark.number)
            graves[number] = Grave(entry.ref, graves.get(number))
    return Listing(
        head, head_mark, tree_of(known), tree_of(directories), tree_of(open_lines), tree_of(graves),
        size=sum(len(bytes(entry)) for entry in known.values()),
    )  # fmt: skip


def directories_of(ref: bytes) -> Iterator[bytes]:
    """Yield the names above ``ref`` that a ref could have, such as ``refs/heads/a``."""
    at = ref.find(b"/", ref.find(b"/", len(b"refs/")) + 1)
    while at >= 0:
        yield ref[:at]
        at = ref.find(b"/", at + 1)


def _recounted(counts: TreeMap[int], before: Entry, after: Entry) -> TreeMap[int]:
    if before.conflicts == after.conflicts and before.waiting == after.waiting:
        return counts
    for entry, step in ((before, -1), (after, 1)):
        for key in _keys(entry):
            counts = counts.set(key, (counts.get(key) or 0) + step or None)
    return counts


def _keys(entry: Entry) -> list[bytes]:
    """Return the key of each open line."""
    keys = [conflict.key for conflict in entry.conflicts]
    return [str(key).encode("ascii") for key in [*keys, *(item.key for item in entry.waiting)]]


def _number(number: int) -> bytes:
    return number.to_bytes(8, "big")


def _by_name(item: tuple[bytes, object]) -> bytes:
    return item[0]
