"""What a node keeps for CI jobs: answers of upstreams as files, and copies of repositories.

Layout, below ``GITTORRENT_HOME/ci``: one directory for each upstream, named by the digest of its
URL, with ``url``, ``answers/<digest of the request>.<digest of the file>``, ``copy.git`` and
``copy-<digest of its shape>.git``; and ``tmp``, which is emptied at start. A file's time is that of
its last use.

Rules: what is named is whole; it is looked at once after each start whether it still has its
digest, and goes if not. An answer that nobody has looked into yet is given as well, and lies in
``tmp`` until somebody has: the next start asks for it anew. What was not used for long goes, then
what was used least lately while all, or all of one upstream, is more than the operator allows.
Whoever reads something that goes reads it to its end. Blocks; methods may be called from any
thread. Must not know what answers are.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.disk_space import UNBOUNDED, bytes_below
from gittorrent.durable import write_atomically
from gittorrent.errors import LocalError
from gittorrent.git.remote_http import write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gittorrent.disk_space import Space
    from gittorrent.node.ci_options import CiConfig

_ANSWER = re.compile(r"(?P<request>[0-9a-f]{64})\.(?P<file>[0-9a-f]{64})\Z")
_CHUNK = 1 << 20

LOOK_BYTES = 1 << 20
"""Bytes after which it is looked at again whether there is room for more."""

_COPIES = "copy*.git"


class TooMuchError(LocalError):
    """More comes than is kept of one upstream."""


class Item(Struct, frozen=True):
    """Something that is kept.

    Args:
        path: of the file, or directory.
        url_digest: name of its upstream's directory.
        size: in bytes.
        used: when it was used last, in seconds since 1970.
    """

    path: Path
    url_digest: str
    size: int
    used: float


class Spool:
    """A file that is being written; what is in it counts once it is kept.

    ``size`` are the bytes that can be read of it; ``grew`` is called when there are more.

    Args:
        path: of the file, which is made.
        most: bytes that it may come to.
        space: tells whether there is room for more.
    """

    def __init__(self, path: Path, most: int, space: Space = UNBOUNDED) -> None:
        self.path = path
        self._most = most
        self._space = space
        self._looked = 0
        self._hash = hashlib.sha256()
        self.size = 0
        self.grew: Callable[[], None] | None = None
        self.file = path.open("xb+", buffering=0)

    def write(self, data: bytes) -> None:
        """Write more.

        Raises:
            TooMuchError: it would be too much.
            NoRoomError: it takes of the disk what is to stay free.
        """
        if self.size + len(data) > self._most:
            raise TooMuchError(f"more than {self._most} bytes, which is all that is kept of it")
        if self.size + len(data) - self._looked >= LOOK_BYTES:
            self._looked = self.size + len(data)
            self._space.require(self.path, size=LOOK_BYTES)
        write_all(self.file.fileno(), data)
        self._hash.update(data)
        self.size += len(data)
        if self.grew is not None:
            self.grew()

    @property
    def digest(self) -> str:
        """SHA-256 of what was written."""
        return self._hash.hexdigest()

    def close(self) -> None:
        """Have done with it; what is not kept by now is gone."""
        self.file.close()
        self.path.unlink(missing_ok=True)


class CiStore:
    """All that is kept.

    Args:
        root: its directory, which is made.
        config: how much may be kept, and for how long.
        space: tells whether there is room for more.
    """

    def __init__(self, root: Path, config: CiConfig, space: Space = UNBOUNDED) -> None:
        self.root = root
        self.config = config
        self._space = space
        self._tmp = root / "tmp"
        self._guard = threading.RLock()
        self._number = 0
        self._verified: set[str] = set()
        self._held: dict[str, tuple[Path, str]] = {}

    def open(self) -> None:
        """Make the directory, and clear away what a crash left."""
        self.root.mkdir(mode=0o700, exist_ok=True)
        shutil.rmtree(self._tmp, ignore_errors=True)
        self._tmp.mkdir(mode=0o700)

    def place(self, url: str) -> Path:
        """Return the directory of an upstream, which is made."""
        folder = self.root / _digest_of(url)
        (folder / "answers").mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (folder / "url").exists():
            write_atomically(folder / "url", f"{url}\n".encode())
        return folder

    def copy_of(self, url: str, shape: tuple[bytes, ...] = ()) -> Path | None:
        """Return the copy of an upstream's repository, None if there is none; counts as use.

        Args:
            url: of the upstream.
            shape: of the copy, as requests have it; nothing for the whole one.
        """
        found = self.root / _digest_of(url) / _name_of_copy(shape)
        with contextlib.suppress(FileNotFoundError):
            os.utime(found)
            return found
        return None

    @contextlib.contextmanager
    def spool(self) -> Iterator[Spool]:
        """Yield a file to write to, which is gone after the block unless it was kept."""
        made = Spool(self._new_name(), self.config.max_repository, self._space)
        try:
            yield made
        finally:
            made.close()

    def new_directory(self) -> Path:
        """Return a place for a directory that is to be kept once it is complete."""
        return self._new_name()

    def _new_name(self) -> Path:
        with self._guard:
            self._number += 1
            return self._tmp / str(self._number)

    def keep(self, url: str, request: str, spool: Spool) -> None:
        """Keep a spool's file as the answer to a request, named by its digest."""
        self.settle(url, request, self.hold(request, spool), is_good=True)

    def hold(self, request: str, spool: Spool) -> Path:
        """Give a spool's file as the answer to a request until it is settled whether it is one.

        Returns:
            Its place, for `settle`.
        """
        os.fsync(spool.file.fileno())
        with self._guard:
            held = self._new_name()
            spool.path.rename(held)
            former, self._held[request] = self._held.get(request), (held, spool.digest)
        if former is not None:
            former[0].unlink()
        return held

    def held(self, request: str) -> Path | None:
        """Return the place of an answer that is held; None if none is."""
        found = self._held.get(request)
        return None if found is None else found[0]

    def settle(self, url: str, request: str, held: Path, *, is_good: bool) -> None:
        """Keep the answer to a request that is held at a place, or give it to nobody any more."""
        with self._guard:
            path, digest = self._held.get(request, (None, ""))
            if path != held:
                return  # another one took its place
            del self._held[request]
            if is_good:
                name = f"{request}.{digest}"
                held.rename(self.place(url) / "answers" / name)
                self._verified.add(name)
            else:
                held.unlink()

    def keep_copy(self, url: str, directory: Path, shape: tuple[bytes, ...] = ()) -> None:
        """Keep a directory as the copy of an upstream's repository, instead of a former one."""
        with self._guard:
            target = self.place(url) / _name_of_copy(shape)
            self.remove(target)
            directory.rename(target)

    def find(self, url: str, request: str) -> int | None:
        """Return a descriptor of the file with the answer to a request; None if none is here."""
        with self._guard:
            if request in self._held:
                return os.open(self._held[request][0], os.O_RDONLY | os.O_CLOEXEC)
        folder = self.root / _digest_of(url) / "answers"
        for path in folder.glob(f"{request}.*") if folder.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                if self._is_whole(path, descriptor):
                    os.utime(path)
                    return descriptor
                os.close(descriptor)
                path.unlink()
        return None

    def _is_whole(self, path: Path, descriptor: int) -> bool:
        """Tell whether a file has its digest; asked once for each file."""
        found = _ANSWER.match(path.name)
        if found is None:
            return False
        if path.name not in self._verified:
            if digest_of_file(descriptor) != found["file"]:
                return False
            self._verified.add(path.name)
        return True

    # -- what goes

    def items(self) -> list[Item]:
        """Return all that is kept, what was used least lately first."""
        found: list[Item] = []
        for folder in self.root.iterdir():
            if folder.name == "tmp" or not folder.is_dir():
                continue
            for path in (*(folder / "answers").glob("*"), *folder.glob(_COPIES)):
                with contextlib.suppress(FileNotFoundError):
                    used = path.stat().st_mtime
                    found.append(Item(path, folder.name, _size_of(path), used))
        return sorted(found, key=lambda item: item.used)

    def expire(self) -> list[Item]:
        """Remove what is too old or too much, and return what that was.

        What is being written, or held until somebody has looked into it, takes room as well, and
        what is kept makes way for it.
        """
        items, gone = self.items(), []
        total = sum(item.size for item in items) + _size_of(self._tmp)
        sizes: dict[str, int] = {}
        for item in items:
            sizes[item.url_digest] = sizes.get(item.url_digest, 0) + item.size
        oldest = time.time() - self.config.keep_for
        for item in items:
            is_old = item.used < oldest
            is_much = sizes[item.url_digest] > self.config.max_repository
            if is_old or is_much or total > self.config.max_size:
                self.remove(item.path)
                total -= item.size
                sizes[item.url_digest] -= item.size
                gone.append(item)
        self._remove_empty()
        return gone

    def remove(self, path: Path) -> None:
        """Remove a file or directory: it is out of sight at once, and gone after a crash, too."""
        hidden = self._new_name()
        with contextlib.suppress(FileNotFoundError):
            path.rename(hidden)
            if hidden.is_dir():
                shutil.rmtree(hidden, ignore_errors=True)
            else:
                hidden.unlink()
        self._verified.discard(path.name)

    def _remove_empty(self) -> None:
        """Forget upstreams of which nothing is kept."""
        for folder in self.root.iterdir():
            answers = folder / "answers"
            with self._guard:
                if (
                    answers.is_dir()
                    and not any(folder.glob(_COPIES))
                    and not any(answers.iterdir())
                ):
                    self.remove(folder)


def digest_of_file(descriptor: int) -> str:
    """Return the SHA-256 of an open file, wherever it was read before."""
    digest, at = hashlib.sha256(), 0
    while data := os.pread(descriptor, _CHUNK, at):
        digest.update(data)
        at += len(data)
    return digest.hexdigest()


def _name_of_copy(shape: tuple[bytes, ...]) -> str:
    digest = hashlib.sha256(b"\n".join(shape)).hexdigest()
    return f"copy-{digest}.git" if shape else "copy.git"


def _digest_of(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else bytes_below(path)
