"""The packs that come with pushes on live conversations: small ones, kept for a while.

A mirror passes on what it was sent; a depot, or a node that was started anew, has git make a pack
of what a push brought. Tracks the packs used last. Must not know which pushes may be asked for.
Use it in one thread at a time, but for `add`.
"""

from __future__ import annotations

import threading
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

MAX_KEPT = 16 << 20
"""Bytes of packs that are kept in memory for one repository: those of the last minute or so."""

MAX_KNOWN = 1000
"""Refs that a pack leaves out what they reach; with more of them git takes long to begin."""

NONE_MADE = b""
"""Stands for a pack that would be too large, so that it is not tried again."""


class PushPacks:
    """Packs of one repository's pushes.

    Args:
        git: the repository.
        object_format: of the repository.
    """

    def __init__(self, git: Git, object_format: ObjectFormat) -> None:
        self._git = git
        self._format = object_format
        self._guard = threading.Lock()
        self._packs: dict[PushId, bytes] = {}
        self._objects: dict[PushId, bytes] = {}
        self._size = 0

    def add(self, push: PushId, pack: bytes, push_object: bytes = b"") -> None:
        """Keep the pack that came with a push.

        Args:
            push: its id.
            pack: as it came.
            push_object: the file form of the push, to be sent along with the pack.
        """
        with self._guard:
            self._forget(push)
            self._size += len(pack) + len(push_object)
            self._packs[push] = pack
            if push_object:
                self._objects[push] = push_object
            while self._size > MAX_KEPT:
                self._forget(next(iter(self._packs)))

    def whole(self, push: PushId) -> tuple[bytes, bytes] | None:
        """Return a push object with its pack, if both are kept."""
        with self._guard:
            found, pack = self._objects.get(push), self._packs.get(push)
            return None if found is None or not pack else (found, pack)

    def _forget(self, push: PushId) -> None:
        self._size -= len(self._packs.pop(push, b"")) + len(self._objects.pop(push, b""))

    def known(self, push: PushId) -> bytes | None:
        """Return a pack that is kept; None where none is, or none can be."""
        with self._guard:
            return self._packs.get(push) or None

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
        with self._guard:
            kept = self._packs.get(push_id)
        if kept is None:
            kept = self._make(push, final())
            self.add(push_id, kept)
        return kept or None

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
