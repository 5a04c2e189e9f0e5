"""The scene benchmarks play on: copies of a repository, servers for them, and a clean environment.

Everything lives in one temporary directory. Rules: programs see an empty home, no configuration
of the user's or the system's, and the ``gittorrent`` of the Python that runs the benchmark; the
repository given is only read. Copies share pack files by hard links, which git never writes to.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from frame import BenchError, say
from measure import ServerMeter, Usage, children_of, run

if TYPE_CHECKING:
    from collections.abc import Iterator

_LIGHT_CLIENT = Path(__file__).resolve().parent / "light_client.py"

START_SECONDS = 30.0
"""Time a server gets until it listens."""

PACKING_SECONDS = 900.0
"""Time a view gets to be packed."""

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Published:
    """A repository that was published.

    Args:
        repository_id: its id.
        name: it is served at ``/<name>.git``.
        path: of the bare repository.
    """

    repository_id: str
    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs.

    Args:
        meter: reads what it costs.
        git: its git:// port.
        http: its HTTP port, 0 if it has none.
        address: where it listens.
    """

    meter: ServerMeter
    git: int
    http: int = 0
    address: str = LOOPBACK

    @property
    def host(self) -> str:
        """Address and git:// port, as in a URL."""
        return f"{self.address}:{self.git}"


class Scene:
    """The directory, the environment and the commands of one benchmark.

    Args:
        root: an empty directory.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "home").mkdir()
        self._rooms = 0
        self.environ = _environment(root)

    def room(self) -> Path:
        """Return a path in the scene that nothing is at yet."""
        self._rooms += 1
        return self.root / f"room-{self._rooms}"

    def with_home(self, home: Path) -> dict[str, str]:
        """Return the environment with a given home for gittorrent's state."""
        return {**self.environ, "GITTORRENT_HOME": str(home)}

    def git(self, *words: str | Path) -> str:
        """Run git and return what it wrote."""
        return run(["git", *words], self.environ).output.decode("utf-8", "surrogateescape").strip()

    def copy_bare(self, repository: Path) -> Path:
        """Return a bare copy with all heads and tags, as git's transport makes it."""
        target = self.room()
        url = f"file://{repository.resolve()}"
        self.git("-c", "safe.directory=*", "clone", "-q", "--bare", "--no-local", url, target)
        return target

    def linked_copy(self, repository: Path) -> Path:
        """Return a copy that shares the files of objects with another one."""
        target = self.room()
        objects = repository / "objects"

        def copy(source: str, destination: str) -> None:
            if Path(source).is_relative_to(objects):
                os.link(source, destination)
            else:
                shutil.copy2(source, destination)

        shutil.copytree(repository, target, copy_function=copy)
        return target

    def publish(self, repository: Path, home: Path, *options: str) -> tuple[Published, Usage]:
        """Publish a bare repository with a key of its own; returns what that used, too."""
        words = [*program(), "publish", repository, "--new-key", "--json", *options]
        used = run(words, self.with_home(home))
        told = json.loads(used.output)
        return Published(told["repository_id"], told["name"], Path(told["path"])), used

    def commit(self, repository: Path, line: str) -> None:
        """Append a line to the first plain file of HEAD's tree, on HEAD's branch."""
        git: list[str | Path] = ["-C", repository]
        listed = self.git(*git, "ls-tree", "HEAD").splitlines()
        entry = next((one for one in listed if one.startswith("100644 blob ")), None)
        if entry is None:
            raise BenchError("HEAD's top directory has no file to change")
        old, _, name = entry.removeprefix("100644 blob ").partition("\t")
        content = run(["git", *git, "cat-file", "blob", old], self.environ).output
        blob = self._write(repository, ["hash-object", "-w", "--stdin"], content + line.encode())
        listed[listed.index(entry)] = f"100644 blob {blob}\t{name}"
        tree = self._write(repository, ["mktree"], ("\n".join(listed) + "\n").encode())
        commit = self.git(*git, "commit-tree", "-p", "HEAD", "-m", line.strip(), tree)
        self.git(*git, "update-ref", self.git(*git, "symbolic-ref", "HEAD"), commit)

    def _write(self, repository: Path, words: list[str], content: bytes) -> str:
        """Run git with input and return the object id it answers with."""
        done = subprocess.run(
            ["git", "-C", repository, *words],
            input=content,
            stdout=subprocess.PIPE,
            env=self.environ,
            check=True,
        )
        return done.stdout.decode("ascii").strip()

    def take(self, kind: str, url: str) -> int:
        """Take a clone's bytes with the light client and return how many of them were pack.

        Args:
            kind: ``parts`` or ``pack``.
            url: of the repository.
        """
        words: list[str | Path] = [sys.executable, _LIGHT_CLIENT, kind, url]
        return int(run(words, self.environ).output)

    @contextlib.contextmanager
    def node(
        self,
        published: Published,
        home: Path,
        *options: str,
        http: bool = False,
        address: str = LOOPBACK,
    ) -> Iterator[Server]:
        """Serve a published repository over git:// while the block runs, over HTTP if asked to.

        A node tells clients of all its listeners, and they use all of them together.
        """
        words = [*program(), "serve", published.path, "--json", "--no-announce", *options]
        words += ["--git", f"{address}:0", *(["--http", f"{address}:0"] if http else [])]
        with (self.root / "node.log").open("ab") as log:
            process = subprocess.Popen(
                words, stdout=subprocess.PIPE, stderr=log, env=self.with_home(home)
            )
        with _ending(process):
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                said = (self.root / "node.log").read_text(errors="replace")[-2000:]
                raise BenchError(f"the node did not start:\n{said}")
            ports = {}
            for url in json.loads(line)["listening"]:
                scheme, _, rest = url.partition("://")
                ports[scheme] = int(rest.rpartition(":")[2])
            yield Server(ServerMeter(process.pid), ports["git"], ports.get("http", 0), address)

    @contextlib.contextmanager
    def daemon(self, repository: Path, *options: str, address: str = LOOPBACK) -> Iterator[Server]:
        """Serve a repository with git daemon, at ``/<its directory's name>``."""
        with socket.create_server((address, 0)) as probe:
            port = probe.getsockname()[1]
        # The daemon itself rather than git, which would only stand between it and the meter.
        process = subprocess.Popen(
            [
                Path(self.git("--exec-path"), "git-daemon"),
                f"--listen={address}",
                f"--port={port}",
                f"--base-path={repository.parent}",
                "--export-all",
                "--reuseaddr",
                "--log-destination=none",
                *options,
            ],
            stdin=subprocess.DEVNULL,
            env=self.environ,
        )
        with _ending(process):
            _await_port(process, address, port)
            yield Server(ServerMeter(process.pid), port, address=address)


@contextlib.contextmanager
def staged(work: Path | None) -> Iterator[Scene]:
    """Give a scene for the block and remove all of it afterwards.

    Args:
        work: directory to make it in; None for the system's temporary one.
    """
    with tempfile.TemporaryDirectory(prefix="gittorrent-bench-", dir=work) as room:
        yield Scene(Path(room).resolve())


@contextlib.contextmanager
def ready_node(scene: Scene, published: Published, home: Path) -> Iterator[Server]:
    """Run a node with HTTP; what it imports, reads and makes when it is first asked is there."""
    with scene.node(published, home, http=True) as node:
        scene.take("parts", f"git://{node.host}/{published.name}.git")
        for base in (f"git://{node.host}", f"http://{node.address}:{node.http}"):
            run(["git", "ls-remote", f"{base}/{published.name}.git", "refs/none"], scene.environ)
        until = time.monotonic() + PACKING_SECONDS
        while children_of(node.meter.pid) and time.monotonic() < until:
            time.sleep(0.1)
        yield node


def program() -> list[str | Path]:
    """Return the words that start the ``gittorrent`` being measured."""
    return [sys.executable, "-m", "gittorrent"]


def remove(*places: Path) -> None:
    """Remove directories and let the disk come to rest, so that the next run begins alike."""
    for place in places:
        shutil.rmtree(place, ignore_errors=True)
    os.sync()


def pack_bytes(repository: Path) -> int:
    """Return the size of all packs of a repository, in bytes."""
    return sum(path.stat().st_size for path in (repository / "objects" / "pack").glob("*.pack"))


def prepare_perfectly(scene: Scene, copy: Path) -> Path:
    """Return a copy repacked from scratch into one pack with bitmaps: the best git daemon gets."""
    say("repacking the rival's copy: git repack -adfb")
    packed = scene.linked_copy(copy)
    scene.git("-C", packed, "repack", "-adfbq")
    if not list((packed / "objects" / "pack").glob("*.bitmap")):
        raise BenchError("git repack -b wrote no bitmap; is there a commit?")
    return packed


def _environment(root: Path) -> dict[str, str]:
    own = str(Path(sys.executable).parent)
    path = f"{own}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    if shutil.which("git-remote-gittorrent", path=path) is None:
        raise BenchError("git-remote-gittorrent is not installed; run: pip install -e .")
    environ = {
        "PATH": path,
        "HOME": str(root / "home"),
        "GITTORRENT_HOME": str(root / "home" / "gittorrent"),
        "GITTORRENT_DHT_BOOTSTRAP": "",  # nothing leaves this machine
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }
    for role in ("AUTHOR", "COMMITTER"):
        environ |= {f"GIT_{role}_NAME": "Bench", f"GIT_{role}_EMAIL": "bench@example.org"}
    if "TMPDIR" in os.environ:
        environ["TMPDIR"] = os.environ["TMPDIR"]
    return environ


@contextlib.contextmanager
def _ending(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        if process.stdout is not None:
            process.stdout.close()
        process.terminate()
        process.wait()


def _await_port(process: subprocess.Popen[bytes], address: str, port: int) -> None:
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError):
            socket.create_connection((address, port)).close()
            return
        time.sleep(0.02)
    raise BenchError("git daemon did not start; is git's daemon installed?")
