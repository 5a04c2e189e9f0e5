"""The machines of a soak: an origin and mirrors in network namespaces, each with one node.

Tracks their homes, processes and clocks, and which of them are apart. A site's node follows all
repositories of the origin, as its ``node.toml`` says, and nothing else tells it of them.

Rules: clocks are moved for the node itself, by a library that is preloaded (`clock_shift.c`); the
kernel's time stamps of files, and git's clock, stay right, so that the two differ as they do with
files on a server. Must not know what is pushed, nor what is right at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from frame import BenchError

if TYPE_CHECKING:
    import netns

BIN = Path(sys.executable).parent

GIT_PORT, HTTP_PORT = 9418, 8417

SETTING_UP = 2
"""Programs that are started at once while repositories are published."""

STOP_SECONDS = 120.0
"""Time that a node gets to end after SIGTERM on a busy machine."""

COMPILER = "cc"

_CLOCK_SOURCE = Path(__file__).resolve().parent / "clock_shift.c"
_SHIFT = struct.Struct("=q")
"""What `clock_shift.c` maps: seconds."""


@dataclass
class Site:
    """One machine: its place in the network, its home, and the node that runs there, if any.

    ``killed`` is when its node was killed last, by the machine's own clock; 0.0 for never.
    """

    node: netns.Node
    home: Path
    environ: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    killed: float = 0.0

    @property
    def name(self) -> str:
        return self.home.name

    @property
    def clock(self) -> Path:
        """The file that says how far this machine's clock is off."""
        return self.home / "clock"

    @property
    def log(self) -> Path:
        return self.home / "node.log"

    def url(self, repository: str, scheme: str = "http") -> str:
        port = HTTP_PORT if scheme == "http" else GIT_PORT
        return f"{scheme}://{self.node.address}:{port}/{repository}.git"


@dataclass(frozen=True)
class Repository:
    """A repository that all sites carry."""

    name: str
    id: str


@dataclass
class Sites:
    """All machines; the first is the origin, which signs checkpoints.

    ``clock_library`` is None where there is no compiler for it: then clocks are right.
    """

    network: netns.Network
    root: Path
    sites: list[Site] = field(default_factory=list)
    repositories: list[Repository] = field(default_factory=list)
    apart: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    is_apart: bool = False
    clock_library: Path | None = None

    @classmethod
    def of(cls, network: netns.Network, root: Path) -> Sites:
        made = cls(network, root)
        if shutil.which(COMPILER) is not None:
            made.clock_library = root / "clock_shift.so"
            words = [COMPILER, "-O2", "-Wall", "-Werror", "-fPIC", "-shared"]
            subprocess.run([*words, "-o", made.clock_library, _CLOCK_SOURCE], check=True)
        for number, node in enumerate(network.nodes):
            home = root / ("origin" if number == 0 else f"mirror{number}")
            site = Site(node, home, _environ(home))
            site.clock.write_bytes(_SHIFT.pack(0))
            made.sites.append(site)
        return made

    @property
    def origin(self) -> Site:
        return self.sites[0]

    def path(self, site: Site, repository: Repository) -> Path:
        """Return where a site has a repository, or will have it."""
        if site is self.origin:
            return site.home / "published" / f"{repository.name}.git"
        return site.home / "node" / "repositories" / f"{repository.name}.git"

    def run(self, site: Site, *words: str | Path, given: bytes = b"") -> tuple[int, str]:
        """Run a program at a site; return its status and all that it said."""
        with site.node.entered():
            done = subprocess.run(
                words, env=site.environ, input=given, check=False,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        return done.returncode, done.stdout.decode(errors="replace")

    def ok(self, site: Site, *words: str | Path, given: bytes = b"") -> str:
        """Run a program that must not fail; return what it said, without the last newline."""
        status, said = self.run(site, *words, given=given)
        if status != 0:
            raise BenchError(f"{' '.join(map(str, words))} at {site.name}:\n{said}")
        return said.rstrip("\n")

    # -- beginning

    def publish(self, count: int, keys: list[Path]) -> None:
        """Publish repositories at the origin, to which the owners of keys may push.

        Args:
            count: of them.
            keys: public ones.
        """
        lock = threading.Lock()

        def publish(name: str) -> None:
            at = self.origin
            path = at.home / "published" / f"{name}.git"
            self.ok(at, "git", "init", "-q", "--bare", "-b", "main", path)
            tree = self.ok(at, "git", "-C", path, "mktree")
            commit = self.ok(at, "git", "-C", path, "commit-tree", "-m", f"first of {name}", tree)
            self.ok(at, "git", "-C", path, "update-ref", "refs/heads/main", commit)
            with lock:  # there is one new key, for all
                words = ("publish", path, "--name", name, "--new-key", "--wait", "--json")
                told = self.ok(at, BIN / "gittorrent", *words)
            made = Repository(name, json.loads(told[told.index("{") :])["repository_id"])
            policy: list[str | Path] = [
                "policy",
                "add",
                *keys,
                "refs/heads/*",
                "--force",
                "-r",
                path,
                "--offline",
            ]
            self.ok(at, BIN / "gittorrent", *policy)
            self.ok(at, BIN / "gittorrent", "keeper", "here", path)
            with lock:
                self.repositories.append(made)

        with ThreadPoolExecutor(SETTING_UP) as pool:
            list(pool.map(publish, [f"r{number:03}" for number in range(count)]))
        self.repositories.sort(key=lambda each: each.name)
        for site in self.sites:
            self._configure(site)

    def _configure(self, site: Site) -> None:
        where = site.node.address
        lines = ["[listen]", f'git = "{where}:{GIT_PORT}"', f'http = "{where}:{HTTP_PORT}"']
        lines += ["[discovery]", "private-addresses = true", "dht = false", "[push]", "git = true"]
        lines += ["[log]", 'level = "info"', 'format = "json"']
        if site is not self.origin:
            source = self.origin.node.address
            for each in self.repositories:
                url = f"gittorrent://{each.id}@{source}/{each.name}.git"
                lines += ["[[carry.repository]]", f'url = "{url}"', f'name = "{each.name}"']
        (site.home / "node" / "node.toml").write_text("\n".join(lines) + "\n")

    # -- nodes

    @property
    def up(self) -> list[Site]:
        """Sites whose node was started and not ended."""
        return [site for site in self.sites if site.process is not None]

    def serve(self, site: Site) -> None:
        """Start a site's node and wait until it listens."""
        words: list[str | Path] = [BIN / "gittorrent", "serve", "--json"]
        environ = dict(site.environ)
        if self.clock_library is not None:
            environ |= {"LD_PRELOAD": str(self.clock_library), "CLOCK_SHIFT_FILE": str(site.clock)}
        with site.log.open("ab") as log:
            started = self.network.start(site.node, words, environ, log, stdout=subprocess.PIPE)
        site.process = started
        site.starts += 1
        assert started.stdout is not None
        if not started.stdout.readline():
            said = site.log.read_text(errors="replace")[-3000:]
            raise BenchError(f"the node of {site.name} did not start:\n{said}")

    def kill(self, site: Site) -> None:
        """End a node as a power cut would."""
        assert site.process is not None
        site.process.kill()
        self._ended(site)
        site.killed = time.time()

    def stop(self, site: Site) -> None:
        """End a node as an operator would."""
        assert site.process is not None
        site.process.terminate()
        try:
            status = self._ended(site)
        except subprocess.TimeoutExpired:
            raise BenchError(f"the node of {site.name} did not end on SIGTERM") from None
        if status != 0:
            raise BenchError(f"the node of {site.name} ended with {status} on SIGTERM")

    def _ended(self, site: Site) -> int:
        assert site.process is not None
        status = site.process.wait(STOP_SECONDS)
        assert site.process.stdout is not None
        site.process.stdout.close()
        site.process = None
        return status

    # -- disturbances

    def divide(self, side: list[Site]) -> None:
        """Keep sites apart from the others until `join`."""
        self.apart.enter_context(self.network.divided([site.node for site in side]))
        self.is_apart = True

    def join(self) -> None:
        """Have all in one network again."""
        self.apart.close()
        self.is_apart = False

    def set_clock(self, site: Site, seconds: int) -> None:
        """Put a machine's clock off by so many seconds; its node sees it at once."""
        with site.clock.open("r+b") as file:  # nodes have this file mapped
            file.write(_SHIFT.pack(seconds))


def _environ(home: Path) -> dict[str, str]:
    """Return the environment of a machine's programs."""
    for name in ("tmp", "node"):
        (home / name).mkdir(parents=True, mode=0o700)
    made = {
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "HOME": str(home), "GITTORRENT_HOME": str(home / "node"), "TMPDIR": str(home / "tmp"),
        "GITTORRENT_DHT_BOOTSTRAP": "", "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }  # fmt: skip
    for role in ("AUTHOR", "COMMITTER"):
        made |= {f"GIT_{role}_NAME": "P Usher", f"GIT_{role}_EMAIL": "p@example.org"}
    return made
