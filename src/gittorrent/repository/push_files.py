"""Push objects on disk, of all logs of a git directory: a file each, or many in one.

A push that comes alone has a file of its own, named by its id. A log that comes from a mirror has
thousands of entries, and to make so many files durable takes seconds; so what comes together is
written as one file, with a list of what it holds at its beginning::

    gittorrent pushes 1 <count>
    <push id> <bytes>
    ...
    <push objects, in that order>

Files of one push count before those of many, since a later copy of a push takes the place of an
earlier one. Stores of before have only files of one push, and go on being read.

Tracks what the files of many hold, read once each. Must not know what push objects say.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from gittorrent.durable import Batch
    from gittorrent.ids import PushId
    from gittorrent.repository.layout import Layout

FEW = 8
"""Push objects that are written as a file each: a file of many is looked through at each start."""

MAX_LISTED = 1_000_000
"""Push objects of one file at most: whoever sends a log sends batches that are far smaller."""

_FIRST = b"gittorrent pushes 1 "


class PushFiles:
    """The push objects of a git directory.

    Args:
        layout: of it.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._guard = threading.Lock()
        self._places: dict[str, tuple[Path, int, int]] = {}
        self._known: frozenset[str] = frozenset()

    def read(self, push: PushId) -> bytes | None:
        """Return a push object's file form; None if it is not here."""
        try:
            return self._layout.push(push).read_bytes()
        except FileNotFoundError:
            pass
        place = self._places.get(push) or self._look().get(push)
        if place is None:
            return None
        path, at, size = place
        try:
            with path.open("rb") as file:
                file.seek(at)
                data = file.read(size)
        except FileNotFoundError:
            return None
        return data if len(data) == size else None

    def add(self, batch: Batch, pushes: Mapping[PushId, bytes]) -> None:
        """Let a batch keep push objects, in place of other copies of the same.

        Args:
            batch: makes them durable.
            pushes: file forms by id.
        """
        known = self._look().keys() | self._alone() if len(pushes) > FEW else set()
        new = pushes.keys() - known
        together = new if len(new) > FEW else set()
        for push, data in pushes.items():
            if push not in together:
                batch.write(self._layout.push(push), data)
        if together:
            text = _joined((push, data) for push, data in pushes.items() if push in together)
            batch.write(self._layout.push_packs / hashlib.sha256(text).hexdigest(), text)

    def _alone(self) -> set[str]:
        """Return the ids of those that have a file of their own."""
        return set(_names_in(self._layout.pushes))

    def _look(self) -> dict[str, tuple[Path, int, int]]:
        """Return where push objects are among many, as it is now: file, offset and size."""
        folder = self._layout.push_packs
        with self._guard:
            present = frozenset(n for n in _names_in(folder) if not n.startswith("."))
            if present != self._known:
                places: dict[str, tuple[Path, int, int]] = {}
                for name in sorted(present):
                    with contextlib.suppress(FileNotFoundError):  # it was swept meanwhile
                        for push, at, size in listed_in(folder / name):
                            places.setdefault(push, (folder / name, at, size))
                self._places, self._known = places, present
            return self._places


def _names_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as present:
            return [entry.name for entry in present]
    except FileNotFoundError:
        return []


def listed_in(path: Path) -> Iterator[tuple[str, int, int]]:
    """Yield id, offset and size of each push object in a file of many; none if it is damaged."""
    with path.open("rb") as file:
        first = file.readline(100)
        count = first.removeprefix(_FIRST).strip()
        if not first.startswith(_FIRST) or not count.isdigit():
            return
        lines = [file.readline(200) for _ in range(min(int(count), MAX_LISTED))]
        at = file.tell()
    for line in lines:
        push, _, size = line.decode("ascii", "replace").strip().partition(" ")
        if not size.isdigit():
            return
        yield push, at, int(size)
        at += int(size)


def _joined(pushes: Iterable[tuple[PushId, bytes]]) -> bytes:
    known = list(pushes)
    lines = [b"%s%d\n" % (_FIRST, len(known))]
    lines += [f"{push} {len(data)}\n".encode("ascii") for push, data in known]
    return b"".join([*lines, *(data for _, data in known)])
