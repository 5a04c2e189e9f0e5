"""Mirrors that lie: real nodes with a content source that does not tell the truth, and raw servers.

Everything up to the lie is this program's own wire code, so that only the lie is wrong.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec.structs import replace

from gittorrent.ids import ManifestId
from gittorrent.node.access import STRANGER, Access
from gittorrent.node.catalogue import Catalogue
from gittorrent.node.catalogue import Served as ServedRepository
from gittorrent.repository.carried import Carried
from gittorrent.store.home import Home
from gittorrent.transfer.content_source import ServedPack
from gittorrent.transfer.repository_content import RepositoryContent
from gittorrent.wire.messages import ALL, HaveBundle
from gittorrent.wire.reelname import ReelName
from support import nodes
from support.programs import PATIENCE


class LacksEverything(RepositoryContent):
    """Claims every part and has none."""

    def pack(self, manifest: ManifestId) -> ServedPack | None:
        return None


class WrongBytes(RepositoryContent):
    """Sends other bytes than the manifest names."""

    def pack(self, manifest: ManifestId) -> ServedPack | None:
        found = super().pack(manifest)
        if found is None:
            return None
        spoilt = found.path.with_suffix(".spoilt")
        if not spoilt.exists():
            spoilt.write_bytes(bytes(byte ^ 0x55 for byte in found.path.read_bytes()))
        return replace(found, path=spoilt)


class ClosesMidPart(RepositoryContent):
    """Has a pack file that ends in the middle of the first part."""

    def pack(self, manifest: ManifestId) -> ServedPack | None:
        found = super().pack(manifest)
        if found is None:
            return None
        short = found.path.with_suffix(".short")
        if not short.exists():
            short.write_bytes(found.path.read_bytes()[: found.part_size // 2])
        return replace(found, path=short)


class HugeManifest(RepositoryContent):
    """Names a reel that nobody made and sends megabytes of nothing for its manifest."""

    def offers(self, reel: ReelName) -> list[HaveBundle]:
        return [HaveBundle(reel, ManifestId("ab" * 32), 1, ALL)]

    def manifest(self, manifest: ManifestId) -> bytes | None:
        return b"x" * (48 << 20)


class FalseOffers(RepositoryContent):
    """Offers reels that are too good to be true: one byte from nothing to the newest push."""

    def offers(self, reel: ReelName) -> list[HaveBundle]:
        lies = [HaveBundle(reel, ManifestId(f"{n:02x}" * 32), 1, ALL) for n in range(20)]
        true = list(super().offers(reel))
        # The true manifest too, under another size and another beginning.
        lies += [HaveBundle(reel, offer.manifest, 2, ALL) for offer in true]
        return lies

    def manifest(self, manifest: ManifestId) -> bytes | None:
        return None


class Silent(RepositoryContent):
    """Names its reels and never answers another question: it sends one byte and no more."""

    def pack(self, manifest: ManifestId) -> ServedPack | None:
        threading.Event().wait(3600)
        return None


class LyingCatalogue(Catalogue):
    """Serves repositories with other content than they have."""

    content: type[RepositoryContent] = RepositoryContent

    def find(self, path: bytes, access: Access = STRANGER) -> ServedRepository | None:
        found = super().find(path, access)
        return None if found is None else replace(found, content=self.content(found.carried))


@contextlib.contextmanager
def lying(carried: Carried, home: Home, content: type[RepositoryContent]) -> Iterator[nodes.Served]:
    """Run a node that serves ``carried`` with a content source of another kind."""
    kind = type("Lies", (LyingCatalogue,), {"content": content})
    with nodes.serving(carried, home=home, catalogue=kind) as served:
        yield served


@contextlib.contextmanager
def raw_server(answer: Callable[[bytes, socket.socket], None]) -> Iterator[str]:
    """Run a server that reads one request packet and does as ``answer`` says; yields HOST:PORT."""
    listener = socket.create_server(("127.0.0.1", 0))
    ending = threading.Event()

    def serve_one(sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError, ValueError):
            sock.settimeout(PATIENCE)
            size = int(sock.recv(4, socket.MSG_WAITALL), 16)
            answer(sock.recv(size - 4, socket.MSG_WAITALL), sock)

    def run() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            if ending.is_set():
                sock.close()
                return
            threading.Thread(target=serve_one, args=(sock,), daemon=True).start()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    host, port = listener.getsockname()
    try:
        yield f"{host}:{port}"
    finally:
        ending.set()
        with contextlib.suppress(OSError):
            socket.create_connection((host, port), timeout=PATIENCE).close()
        thread.join(PATIENCE)
        listener.close()


def spoil(path: Path, position: int) -> None:
    """Change one byte of a file."""
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)
        file.seek(position)
        file.write(bytes([byte[0] ^ 1]))
