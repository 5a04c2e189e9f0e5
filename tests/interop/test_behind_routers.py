"""Two that nobody can call exchange pushes and parts through a third that both talk to."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import netns

from gittorrent.ids import Oid, RefName
from gittorrent.node.options import Options
from gittorrent.reel.parts import part_range
from gittorrent.repository.carried import Carried
from gittorrent.repository.reelstore import ReelStore, copy_wire_form
from gittorrent.signing.keys import Signer
from gittorrent.store.partial import PartialPack
from support import bulk, gitcmd, nodes
from support.programs import PATIENCE, Person, wait_until
from support.repositories import noise
from support.routers import behind

pytestmark = [
    pytest.mark.skipif(bool(netns.obstacle()), reason=netns.obstacle() or "-"),
    pytest.mark.skipif(shutil.which("nft") is None, reason="nft is not installed"),
    pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen missing"),
]

MAIN = RefName(b"refs/heads/main")
PORT = 9418

UP_LIMIT = 16 << 10
"""Bytes a second: a part of the reel takes as long as the others to be told of each other."""

NOBODY_CALLS = """
table inet filter {
  chain input {
    type filter hook input priority 0; policy drop;
    iifname "lo" accept
    ct state established,related accept
  }
}
"""
"""What a router that translates addresses comes to for the machine behind it."""


def keep_parts(person: Person, carried: Carried, remainder: int) -> int:
    """Let somebody have every other part of a reel, as from a clone that broke off.

    Args:
        person: whose.
        carried: who has the reel.
        remainder: 0 for the first part and on, 1 for the second and on.

    Returns:
        Bytes of the pack.
    """
    (stored,) = ReelStore(carried.layout).readable()
    manifest = stored.manifest
    wire = person.root / "wire"
    copy_wire_form(stored, wire)
    data = wire.read_bytes()
    with PartialPack(person.node / "partial", manifest, stored.manifest_file) as kept:
        for index in range(remainder, len(manifest.parts), 2):
            offset, count = part_range(index, manifest.pack_size, manifest.part_size)
            assert kept.store(index, data[offset : offset + count])
    return manifest.pack_size


def test_parts_pass_both_ways(
    large: Carried, people: Callable[[str], Person], tmp_path: Path
) -> None:
    """Each of two behind routers has what the other lacks; a third that has nothing can be called.

    The origin sends so slowly that its own parts would take ten minutes.
    """
    with netns.built(4) as network, ExitStack() as stack:
        origin, third, *outer = network.nodes
        inner = [stack.enter_context(behind(each, n)) for n, each in enumerate(outer)]
        with inner[0].entered(), pytest.raises(TimeoutError):
            socket.create_connection((outer[1].address, PORT), timeout=1)
        listen = ((origin.address, PORT),)
        options = Options(git=listen, announce=False, lan=True, up_limit=UP_LIMIT)
        with origin.entered():
            home = nodes.make_home(tmp_path / "node")
            stack.enter_context(nodes.serving(large, home=home, options=options))
        url = f"gittorrent://{large.info.repository_id}@{origin.address}/project.git"
        running = []
        size = 0
        for number, machine in enumerate((*inner, third)):
            person = people(f"person{number}")
            if machine is not third:
                size = keep_parts(person, large, number)
            with machine.entered():
                clone = person.start("git", "clone", "--mirror", url, "c")
            stack.callback(clone.stop)
            running.append((person, clone))
        for person, clone in running:
            assert clone.wait(5 * PATIENCE) == 0, clone.err
            refs = bulk.published(gitcmd.refs(large.layout.git_dir))
            assert gitcmd.refs(person.root / "c") == refs
        assert network.traffic()[origin].sent < size


def serve(stack: ExitStack, machine: netns.Node, carried: Carried, folder: Path) -> None:
    """Run a node on a machine."""
    options = Options(git=((machine.address, PORT),), announce=False, lan=True)
    home = nodes.make_home(folder)
    with machine.entered():
        stack.enter_context(nodes.serving(carried, home=home, options=options))


def push(at: Carried, key: Signer, size: int) -> Oid:
    """Put a push of a file of so many bytes into the log of a mirror."""
    old, content = at.log().refs[MAIN], noise(at.layout.git_dir.name, size)
    blob = gitcmd.text(at.layout.git_dir, "hash-object", "-w", "--stdin", stdin=content)
    entry = f"100644 blob {blob}\tfile\n".encode()
    tree = gitcmd.text(at.layout.git_dir, "mktree", stdin=entry)
    new = Oid(gitcmd.text(at.layout.git_dir, "commit-tree", "-p", old, "-m", "new", tree))
    nodes.push_on(at, key, {MAIN: new})
    return new


def has(carried: Carried, new: Oid) -> bool:
    return carried.log().refs.get(MAIN) == new


def shows(carried: Carried, new: Oid) -> bool:
    return gitcmd.refs(carried.layout.git_dir)[MAIN] == new


@pytest.mark.parametrize("size", [100, 6 << 20])
def test_pushes_pass_both_ways(tmp_path: Path, size: int) -> None:
    """Also large ones, which nobody could fetch: there is nobody to call."""
    key = nodes.signer(tmp_path)
    origin = nodes.publish(nodes.make_repository(tmp_path / "project.git"), key, "project")
    with netns.built(3) as network, ExitStack() as stack:
        third, *hidden = network.nodes
        source = f"git://{third.address}/project.git"
        copies = [
            nodes.copy_as_mirror(origin, tmp_path / f"mirror{number}.git", source)
            for number in range(len(hidden))
        ]
        serve(stack, third, origin, tmp_path / "third")
        for number, (machine, copy) in enumerate(zip(hidden, copies, strict=True)):
            with machine.entered():
                subprocess.run(["nft", "-f", "-"], input=NOBODY_CALLS, text=True, check=True)
            serve(stack, machine, copy, tmp_path / f"home{number}")
        with hidden[0].entered(), pytest.raises(TimeoutError):
            socket.create_connection((hidden[1].address, PORT), timeout=1)
        for giver, taker in (copies, reversed(copies)):
            new = push(giver, key, size)
            for carried in (origin, taker):
                wait_until(partial(has, carried, new), "it came")
            wait_until(partial(shows, taker, new), "it is shown")
