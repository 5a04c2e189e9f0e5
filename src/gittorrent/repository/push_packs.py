"""The packs that come with pushes on live conversations: small ones, kept for a while.

A mirror passes on what it was sent; a depot, or a node that was started anew, has git make a pack
of what a push brought. Tracks the packs used last. Must not know which pushes may be asked for.
Use it in one thread at a time, but for `add`; the memory is for any thread.
"""

from __future__ import annotations

import math
import threading
import time
from itertools import islice
from typing import TYPE_CHECKING

from gittorrent.git.runner import GitError
from gittorrent.push.certificate import parse_certificate
from gittorrent.wire.limits import MAX_PUSH_PACK_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gittorrent.git.runner import Git
    from gittorrent.ids import ObjectFormat, Oid, PushId
    from gittorrent.push.object import PushObject

MAX_KEPT = 64 << 20
"""Bytes of packs that are kept in memory for all repositories together. What is asked for later is
made again."""

KEEP_SECONDS = 600.0
"""How long a pack is kept: mirrors that talk with this node ask for it within seconds."""

MAX_KNOWN = 1000
"""Refs that a pack leaves out what they reach; with more of them git takes long to begin."""

NONE_MADE = b""
"""Stands for a pack that would be too large, so that it is not tried again."""


class PackMemory:
    """Packs and push objects in memory, of any repositories; what was added first goes first.

    Args:
        most: bytes of all.
        clock: seconds that never run backwards.
    """

    def __init__(self, most: int = MAX_KEPT, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._guard = threading.Lock()
        self._kept: dict[tuple[object, PushId], tuple[bytes, bytes]] = {}
        self._added: dict[tuple[object, PushId], float] = {}
        self.size = 0

    def add(self, whose: object, push: PushId, pack: bytes, push_object: bytes) -> None:
        """Keep something in place of what is kept of the same push, as long as there is room.

        What was added long ago goes.
        """
        now = self._clock()
        with self._guard:
            self._forget((whose, push))
            self.size += len(pack) + len(push_object)
            self._kept[whose, push] = pack, push_object
            self._added[whose, push] = now
            while self.size > self._most or self._oldest < now - KEEP_SECONDS:
                self._forget(next(iter(self._kept)))

    @property
    def _oldest(self) -> float:
        return next(iter(self._added.values()), math.inf)

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, whose: object, push: PushId) -> tuple[bytes, bytes] | None:
        """Return a pack and its push object."""
        with self._guard:
            return self._kept.get((whose, push))

    def _forget(self, key: tuple[object, PushId]) -> None:
        self.size -= sum(map(len, self._kept.pop(key, ())))
        self._added.pop(key, None)


_MEMORY = PackMemory()


class PushPacks:
    """Packs of one repository's pushes.

    Args:
        git: the repository.
        object_format: of the repository.
        memory: where packs are kept, that of all repositories.
    """

    def __init__(self, git: Git, object_format: ObjectFormat, memory: PackMemory = _MEMORY) -> None:
        self._git = git
        self._format = object_format
        self._memory = memory
        self._own = object()  # stands for this one there, even after it is gone

    def add(self, push: PushId, pack: bytes, push_object: bytes = b"") -> None:
        """Keep the pack that came with a push.

        Args:
            push: its id.
            pack: as it came.
            push_object: the file form of the push, to be sent along with the pack.
        """
        self._memory.add(self._own, push, pack, push_object)

    def whole(self, push: PushId) -> tuple[bytes, bytes] | None:
        """Return a push object with its pack, if both are kept."""
        pack, push_object = self._memory.get(self._own, push) or (b"", b"")
        return (push_object, pack) if pack and push_object else None

    def known(self, push: PushId) -> bytes | None:
        """Return a pack that is kept; None where none is, or none can be."""
        pack, _ = self._memory.get(self._own, push) or (b"", b"")
        return pack or None

    def made(
        self, push_id: PushId, push: PushObject, final: Callable[[], Iterable[Oid]]
    ) -> bytes | None:
        """Return the pack of a push whose objects are here, made if it must be.

        Args:
            push_id: its id.
            push: a certificate that was verified.
            final: returns what refs are by the newest checkpoint, which others have.

        Returns:
            It; None if it would be too large, or the objects are not here any more.
        """
        kept = self._memory.get(self._own, push_id)
        if kept is not None:
            return kept[0] or None
        pack = self._make(push, final())
        self.add(push_id, pack)
        return pack or None

    def _make(self, push: PushObject, final: Iterable[Oid]) -> bytes:
        lines = parse_certificate(push.text, self._format).lines
        new = [f"{line.new}\n" for line in lines if line.new is not None]
        known = dict.fromkeys(line.old for line in lines if line.old is not None)
        known.update(dict.fromkeys(islice(final, MAX_KNOWN)))
        old = [f"^{oid}\n" for oid in known]
        if not new:
            return NONE_MADE
        words = ["pack-objects", "--stdout", "--revs", "--thin", "--delta-base-offset", "-q"]
        process = self._git.start(*words)
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("".join([*new, *old]).encode("ascii"))
            process.stdin.close()
            pack = process.stdout.read(MAX_PUSH_PACK_BYTES + 1)
            is_large = len(pack) > MAX_PUSH_PACK_BYTES
            if is_large:
                process.terminate()
        if is_large:
            return NONE_MADE
        if process.returncode:
            error = GitError(words, process.returncode, b"", str(self._git.directory))
            if error.is_own_trouble:
                raise error
            return NONE_MADE
        return pack
