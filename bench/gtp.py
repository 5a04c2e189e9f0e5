"""Bytes on the wire of a GTP/0.1 clone against ``git clone``, by block size and dialect.

Usage: ``python bench/gtp.py REPO [BLOCK_SIZE...]``, sizes such as 64K or 1M. One seed, one cloner
on loopback, in one process; bytes are those the cloner received, handshake to last pack. The claim
to check is that of 2006: taking a clone in blocks costs little more than taking it from one server.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from gittorrent.git.repository import find_repository
from gittorrent.gtp.metainfo import MetainfoSpec, parse_metainfo, write_metainfo
from gittorrent.gtp.node.authoring import ReferenceAuthor, make_reference
from gittorrent.gtp.node.daemon import GtpNode
from gittorrent.gtp.node.session import Clone, CloneOptions, open_seed
from gittorrent.gtp.profile import PERL_2008, Profile
from gittorrent.signing.gpg import gpg_signer
from gittorrent.transfer.limiter import parse_rate

USUAL = ("64K", "256K", "1M", "4M", "16M")
PERSON = b"Bench <bench@example.org>"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    received: int
    blocks: int
    seconds: float
    seed_cpu: float


def git_clone(repo: Path, folder: Path) -> Row:
    """Clone by ``git upload-pack`` and return the size of the pack it sent."""
    begun = time.monotonic()
    target = folder / "git.git"
    refs = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
    run = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(["git", "init", "-q", "--bare", str(target)], **run)  # type: ignore[call-overload]
    words = ["git", "-C", str(target), "-c", "fetch.unpackLimit=1", "fetch", "-q", "--no-tags"]
    subprocess.run([*words, f"file://{repo.resolve()}", *refs], **run)  # type: ignore[call-overload]
    size = sum(pack.stat().st_size for pack in target.glob("objects/pack/*.pack"))
    shutil.rmtree(target)
    return Row("git clone", size, 1, time.monotonic() - begun, 0.0)


async def gtp_clone(repo: Path, folder: Path, data: bytes, name: str, block_size: int) -> Row:
    """Clone over loopback and return what the cloner received."""
    metainfo = parse_metainfo(data)
    node = GtpNode(("127.0.0.1", 0))
    swarm = open_seed(node, metainfo, repo)
    node.add(swarm)
    await node.start()
    assert swarm.holding is not None
    begun, cpu = time.monotonic(), os.times()
    other = GtpNode(None)
    target = folder / "clone.git"
    clone = Clone(other, metainfo, target, CloneOptions(bare=True, block_size=block_size))
    other.add(clone.swarm, ((node.address, node.port),))
    await other.start()
    blocks = 0

    def progress(_phase: str, _done: int, total: int) -> None:
        nonlocal blocks
        blocks = max(blocks, total)

    await clone.run(progress)
    seconds = time.monotonic() - begun
    received = clone.swarm.received
    used = os.times()
    await other.stop()
    clone.close()
    await node.stop()
    swarm.holding.close()
    shutil.rmtree(target)
    spent = sum(used[:4]) - sum(cpu[:4])
    return Row(name, received, blocks, seconds, spent)


def main() -> None:
    """Measure and print the table."""
    repo = find_repository(Path(sys.argv[1])).git_dir
    sizes = sys.argv[2:] or list(USUAL)
    with tempfile.TemporaryDirectory(prefix="gtp-bench-") as room:
        folder = Path(room)
        home = folder / "gnupg"
        home.mkdir(mode=0o700)
        os.environ["GNUPGHOME"] = str(home)
        words = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
        words += ["--quick-generate-key", "bench@example.org", "ed25519", "sign", "never"]
        subprocess.run(words, check=True, capture_output=True)
        author = ReferenceAuthor(PERSON, int(time.time()), gpg_signer("bench@example.org"))
        signer = author.signer
        assert signer is not None
        body = make_reference(repo, author, None)
        signed = write_metainfo(MetainfoSpec(signer.certificate or b"", (body,)))
        print(f"{'way':30} {'bytes':>13} {'of git':>7} {'blocks':>8} {'s':>7} {'CPU s':>7}")
        first = git_clone(repo, folder)
        show(first, first.received)
        for size in sizes:
            work = gtp_clone(repo, folder, signed, f"rfc {size}", parse_rate(size))
            show(asyncio.run(work), first.received)
        unsigned = write_unsigned(repo, author, PERL_2008)
        work = gtp_clone(repo, folder, unsigned, "perl-2008 (a commit a block)", 0)
        show(asyncio.run(work), first.received)
        subprocess.run(["gpgconf", "--kill", "all"], check=False, capture_output=True)


def show(row: Row, base: int) -> None:
    """Print one line of the table."""
    print(
        f"{row.name:30} {row.received:13,} {row.received / base:7.3f} {row.blocks:8,}"
        f" {row.seconds:7.1f} {row.seed_cpu:7.1f}",
        flush=True,
    )


def write_unsigned(repo: Path, author: ReferenceAuthor, profile: Profile) -> bytes:
    """Return a metainfo file in the dialect of 2008."""
    body = make_reference(repo, ReferenceAuthor(author.person, author.time, None), None, profile)
    return write_metainfo(MetainfoSpec(b"", (body,), profile=profile))


if __name__ == "__main__":
    main()
