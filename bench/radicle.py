"""A rival for pushes: Radicle nodes on loopback, the pusher's and seeds that are connected to it.

Tracks the nodes' processes and homes. Each has a home of its own; the network is named so that no
public node is spoken to, and each knows the pusher's node alone.

Rules: needs ``rad``, ``radicle-node`` and ``git-remote-rad`` on the PATH or in ``RADICLE_BIN``;
without them the rival is left out. Must not know what it is compared with.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from frame import BenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

START_SECONDS = 30.0
"""Time that nodes get to be connected and to have the repository."""


def obstacle() -> str:
    """Say why there is no rival; empty if there is one."""
    missing = [name for name in ("rad", "radicle-node", "git-remote-rad") if not _found(name)]
    return f"not on the PATH or in RADICLE_BIN: {', '.join(missing)}" if missing else ""


def _path() -> str:
    return os.pathsep.join(filter(None, [os.environ.get("RADICLE_BIN", ""), os.environ["PATH"]]))


def _found(name: str) -> str | None:
    return shutil.which(name, path=_path())


@dataclass
class RadicleNode:
    """One node: its home, where it listens, and its process once it was started."""

    home: Path
    port: int
    environ: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    def rad(self, *words: str, cwd: Path | None = None) -> str:
        """Run ``rad`` as this node's user."""
        done = subprocess.run(
            ["rad", *words], env=self.environ, cwd=cwd or self.home, capture_output=True,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if done.returncode:
            raise BenchError(f"rad {words[0]}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout.decode().strip()

    @property
    def identity(self) -> str:
        """Its node id."""
        return self.rad("self", "--nid")

    def configure(self, peer: str | None) -> None:
        """Listen on loopback alone, know one peer or none, seed what others have."""
        path = self.home / "config.json"
        config = json.loads(path.read_text())
        config["preferredSeeds"] = []
        config["node"] |= {
            "listen": [f"127.0.0.1:{self.port}"],
            "peers": {"type": "static"},
            "connect": [peer] if peer else [],
            "network": "test",
            "log": "WARN",
            "relay": "always",
            "seedingPolicy": {"default": "allow", "scope": "all"},
        }
        path.write_text(json.dumps(config))

    def start(self) -> None:
        log = (self.home / "node.out").open("wb")
        words = ["radicle-node", "--listen", f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(
            words, env=self.environ, cwd=self.home, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        log.close()

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)


@dataclass
class Radicle:
    """The pusher's node, seeds connected to it, and a repository that all of them have."""

    pusher: RadicleNode
    seeds: list[RadicleNode]
    work: Path
    identity: str = ""
    repository: str = ""
    nodes: list[RadicleNode] = field(init=False)

    def __post_init__(self) -> None:
        self.nodes = [self.pusher, *self.seeds]

    def has(self, node: RadicleNode, value: bytes) -> bool:
        """Tell whether the pusher's main branch has a value in a node's storage."""
        try:
            return value in self._ref(node).read_bytes()
        except FileNotFoundError:
            return False

    def _ref(self, node: RadicleNode) -> Path:
        storage = node.home / "storage" / self.repository.removeprefix("rad:")
        return storage / "refs" / "namespaces" / self.identity / "refs" / "heads" / "main"

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def radicle_network(place: Path, environ: Mapping[str, str], seeds: int, work: Path) -> Radicle:
    """Start a pusher's node and seeds, and have them all take a repository.

    Args:
        place: an empty directory.
        environ: of the programs.
        seeds: how many.
        work: a clone with a branch ``main``, which becomes the pusher's.
    """
    nodes = [_made(place / f"node{number}", environ) for number in range(seeds + 1)]
    pusher = nodes[0]
    network = Radicle(pusher, nodes[1:], work)
    try:
        pusher.configure(None)
        pusher.start()
        network.identity = pusher.identity
        peer = f"{network.identity}@127.0.0.1:{pusher.port}"
        for seed in network.seeds:
            seed.configure(peer)
            seed.start()
        _until("the nodes are connected", lambda: _connected(network))
        pusher.rad(
            "init", "--name", "bench", "--description", "bench", "--default-branch", "main",
            "--public", "--no-confirm", cwd=work,
        )  # fmt: skip
        network.repository = pusher.rad("inspect", "--rid", cwd=work)
        tip = _tip(pusher, work)
        for seed in network.seeds:
            seed.rad("seed", network.repository, "--scope", "all")
        _until(
            "the seeds have the repository",
            lambda: all(network.has(seed, tip) for seed in network.seeds),
        )
    except BaseException:
        network.stop()
        raise
    return network


def _made(home: Path, environ: Mapping[str, str]) -> RadicleNode:
    home.mkdir(parents=True)
    own = dict(environ) | {
        "RAD_HOME": str(home),
        "HOME": str(home),
        "RAD_PASSPHRASE": "",
        "PATH": _path(),
    }
    node = RadicleNode(home, free_port(), own)
    node.rad("auth", "--alias", home.name)
    return node


def _tip(node: RadicleNode, work: Path) -> bytes:
    words = ["git", "rev-parse", "main"]
    done = subprocess.run(words, cwd=work, env=node.environ, stdout=subprocess.PIPE, check=True)
    return done.stdout.strip()


def _connected(network: Radicle) -> bool:
    status = network.pusher.rad("node", "status")
    return all(seed.identity in status for seed in network.seeds)


def _until(what: str, holds: Callable[[], bool]) -> None:
    end = time.monotonic() + START_SECONDS
    while not holds():
        if time.monotonic() > end:
            raise BenchError(f"radicle: it did not happen in {START_SECONDS:.0f} s that {what}")
        time.sleep(0.1)
