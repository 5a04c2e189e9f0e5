"""GTP nodes, keys and metainfo files for tests."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from gittorrent.gtp.metainfo import Metainfo, MetainfoSpec, parse_metainfo, write_metainfo
from gittorrent.gtp.node.authoring import (
    ReferenceAuthor,
    changed_reference,
    make_metainfo,
    remember_references,
)
from gittorrent.gtp.node.daemon import GtpNode
from gittorrent.gtp.node.room import Room
from gittorrent.gtp.node.session import Clone, CloneOptions, open_seed
from gittorrent.gtp.node.swarm import Swarm
from gittorrent.gtp.profile import PERL_2008, RFC, Profile
from gittorrent.gtp.reference import Reference
from gittorrent.ids import RefName
from gittorrent.signing.gpg import OpenPgpSigner, gpg_signer
from support.gpg import gpg_home
from support.programs import PATIENCE

T = TypeVar("T")

PERSON = b"A U Thor <author@example.org>"
TIME = 1_200_000_000


@contextmanager
def gnupg_home() -> Iterator[OpenPgpSigner]:
    """Yield a signer with a new key in a GnuPG home of its own."""
    with gpg_home() as home, pytest.MonkeyPatch.context() as patch:
        patch.setenv("GNUPGHOME", str(home))
        words = ["--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
        subprocess.run(
            ["gpg", *words, "--quick-generate-key", "gtp@example.org", "ed25519", "sign", "never"],
            check=True,
            capture_output=True,
        )
        yield gpg_signer("gtp@example.org")


def metainfo_for(
    path: Path,
    profile: Profile = RFC,
    signer: OpenPgpSigner | None = None,
    *,
    trackers: tuple[str, ...] = (),
    time: int = TIME,
) -> Metainfo:
    """Make the metainfo of a repository."""
    author = ReferenceAuthor(PERSON, time, signer if profile is RFC else None)
    metainfo = parse_metainfo(make_metainfo(path, author, profile, trackers=trackers))
    remember_references(path, metainfo, *metainfo.references)
    return metainfo


def list_again(path: Path, metainfo: Metainfo, signer: OpenPgpSigner, time: int) -> bytes | None:
    """Make a repository remember a reference object for refs that changed; returns its body."""
    body = changed_reference(path, metainfo, ReferenceAuthor(PERSON, time, signer))
    if body is not None:
        remember_references(path, metainfo, body)
    return body


def without_references(metainfo: Metainfo) -> Metainfo:
    """Return the same swarm's metainfo, from which references have to be learned from peers."""
    spec = MetainfoSpec(metainfo.pubkey, (), metainfo.trackers)
    return parse_metainfo(write_metainfo(spec))


@dataclass
class Running:
    """A node that runs in the test's event loop."""

    node: GtpNode
    swarm: Swarm
    clone: Clone | None = None

    @property
    def address(self) -> tuple[str, int]:
        return self.node.address, self.node.port

    async def stop(self) -> None:
        await self.node.stop()
        if self.clone is not None:
            self.clone.close()
        elif self.swarm.holding is not None:
            self.swarm.holding.close()


async def seed(
    metainfo: Metainfo, path: Path, *, allow_unverified: bool = False, room: Room | None = None
) -> Running:
    """Start a node that gives a repository."""
    node = GtpNode(("127.0.0.1", 0), room=room)
    swarm = open_seed(node, metainfo, path, allow_unverified=allow_unverified)
    node.add(swarm)
    await node.start()
    return Running(node, swarm)


async def leech(
    metainfo: Metainfo,
    path: Path,
    *peers: tuple[str, int],
    block_size: int = 0,
    bare: bool = True,
    timeout: float = PATIENCE,
    allow_unverified: bool = False,
) -> Running:
    """Start a node that clones; await ``running.clone.run``."""
    node = GtpNode(("127.0.0.1", 0))
    options = CloneOptions(
        bare=bare,
        block_size=block_size,
        timeout=timeout,
        allow_unverified=allow_unverified,
    )
    clone = Clone(node, metainfo, path, options)
    node.add(clone.swarm, peers)
    await node.start()
    return Running(node, clone.swarm, clone)


def silent(_phase: str, _done: int, _total: int) -> None:
    """Show no progress."""


async def finished(running: Running) -> tuple[Reference, list[RefName]]:
    """Wait until a clone is complete; returns its reference, and the refs it left out."""
    assert running.clone is not None
    return await running.clone.run(silent)


async def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait until something becomes true."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def run(work: Awaitable[T]) -> T:
    """Run a test's coroutine with a time limit; returns what it returns."""

    async def limited() -> T:
        async with asyncio.timeout(4 * PATIENCE):
            return await work

    return asyncio.run(limited())


__all__ = ["PERL_2008", "RFC", "Running", "finished", "gnupg_home", "leech", "seed", "silent"]
