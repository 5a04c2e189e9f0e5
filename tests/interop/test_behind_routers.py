"""Two mirrors that nobody can call exchange pushes through a third that both talk to."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import netns

from gittorrent.ids import Oid, RefName
from gittorrent.node.node import Options
from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from support import gitcmd, nodes
from support.programs import wait_until

pytestmark = [
    pytest.mark.skipif(bool(netns.obstacle()), reason=netns.obstacle() or "-"),
    pytest.mark.skipif(shutil.which("nft") is None, reason="nft is not installed"),
    pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen missing"),
]

MAIN = RefName(b"refs/heads/main")
PORT = 9418

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


def serve(stack: ExitStack, machine: netns.Node, carried: Carried, folder: Path) -> None:
    """Run a node on a machine."""
    options = Options(git=((machine.address, PORT),), announce=False, lan=True)
    home = nodes.make_home(folder)
    with machine.entered():
        stack.enter_context(nodes.serving(carried, home=home, options=options))


def push(at: Carried, key: Signer) -> Oid:
    """Put a push into the log of a mirror."""
    old = at.log().refs[MAIN]
    tree = gitcmd.text(at.layout.git_dir, "rev-parse", f"{old}^{{tree}}")
    new = Oid(gitcmd.text(at.layout.git_dir, "commit-tree", "-p", old, "-m", "new", tree))
    nodes.push_on(at, key, {MAIN: new})
    return new


def has(carried: Carried, new: Oid) -> bool:
    return carried.log().refs.get(MAIN) == new


def shows(carried: Carried, new: Oid) -> bool:
    return gitcmd.refs(carried.layout.git_dir)[MAIN] == new


def test_pushes_pass_both_ways(tmp_path: Path) -> None:
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
            new = push(giver, key)
            for carried in (origin, taker):
                wait_until(partial(has, carried, new), "it came")
            wait_until(partial(shows, taker, new), "it is shown")
