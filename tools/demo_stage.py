"""What the demonstration runs in: one temporary directory, its nodes, its repositories.

Rules: the checkout is only read; no user's configuration, keys or home are looked at; every
process is ended by its own handle, and nothing is left behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(sys.executable).parent

BULK_COMMITS = 24
BULK_BYTES = 512 << 10
"""What each commit of the generated repository adds."""

PATIENCE = 60.0
"""Seconds after which anything that is waited for has failed."""


class DemoError(Exception):
    """Something went another way than the demonstration claims."""


@dataclass(slots=True)
class Mirror:
    """A node of the demonstration.

    Args:
        name: what the table calls it.
        limit: bytes per second it may send, as the command line takes it.
        scheme: the protocol it serves.
        part: what is going to happen to it.
    """

    name: str
    limit: str
    scheme: str = "git"
    part: str = ""
    base: str = ""
    process: subprocess.Popen[str] | None = None


@dataclass(slots=True)
class Published:
    """A repository of the demonstration: where its bare copy is and how it is cloned."""

    name: str
    path: Path
    url: str = ""
    size: int = 0


class Stage:
    """The temporary directory, and everything that runs in it.

    Args:
        root: the directory, empty.
        programs: the folder of the ``gittorrent`` commands to run.
    """

    def __init__(self, root: Path, programs: Path) -> None:
        self.root = root
        self.programs = programs
        self.running: list[subprocess.Popen[str]] = []
        (root / "home").mkdir()
        (root / "home" / ".gitconfig").write_text(
            "[user]\n\tname = Demo\n\temail = demo@localhost\n"
            "[safe]\n\tdirectory = *\n[init]\n\tdefaultBranch = main\n[advice]\n"
            "\tdetachedHead = false\n",
            encoding="utf-8",
        )

    def environment(self, home: str) -> dict[str, str]:
        """Return the whole environment of a process: a home of its own, nobody's settings."""
        path = os.pathsep.join([str(self.programs), os.environ.get("PATH", os.defpath)])
        found = {
            "PATH": path,
            "HOME": str(self.root / "home"),
            "GITTORRENT_HOME": str(self.root / "nodes" / home),
            "GITTORRENT_DHT_BOOTSTRAP": "",  # nothing leaves this machine
            "LC_ALL": "C.UTF-8",
        }
        return found | {k: os.environ[k] for k in ("TMPDIR", "GITTORRENT_GIT") if k in os.environ}

    def run(self, *words: str, home: str = "origin", given: bytes | None = None) -> str:
        """Run a command to its end; what it printed, or a DemoError."""
        done = self.attempt(*words, home=home, given=given)
        if done.returncode != 0:
            shown = " ".join(words[:4])
            raise DemoError(f"{shown} ended with {done.returncode}:\n{done.stderr.decode()}")
        return done.stdout.decode().strip()

    def attempt(
        self, *words: str, home: str = "origin", given: bytes | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end, whatever that is."""
        return subprocess.run(
            words,
            input=b"" if given is None else given,
            capture_output=True,
            cwd=self.root,
            env=self.environment(home),
            check=False,
            timeout=PATIENCE,
        )

    def serve(self, node: Mirror, *, port: int = 0, limited: bool = True) -> None:
        """Start a node and wait until it listens."""
        words = ["gittorrent", "serve", "--json", f"--{node.scheme}", f"127.0.0.1:{port}"]
        words += ["--up-limit", node.limit] if limited else []
        with (self.root / f"{node.name}.log").open("ab") as log:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self.root,
                env=self.environment(node.name),
                text=True,
            )
        self.running.append(process)
        node.process = process
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
        line = process.stdout.readline() if ready else ""
        if not line:
            log_text = (self.root / f"{node.name}.log").read_text(encoding="utf-8")
            raise DemoError(f"the node {node.name} does not start:\n{log_text}")
        node.base = json.loads(line)["listening"][0]

    def stop(self, node: Mirror) -> None:
        """End a node in an orderly way."""
        assert node.process is not None
        node.process.terminate()
        node.process.wait(PATIENCE)

    def close(self) -> None:
        """End whatever still runs."""
        for process in self.running:
            if process.poll() is None:
                process.terminate()
        for process in self.running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Wait for something that spreads among nodes."""
    until = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > until:
            raise DemoError(f"waited {PATIENCE:.0f} s in vain: {what}")
        time.sleep(0.1)


@contextlib.contextmanager
def stage(programs: Path = PROGRAMS) -> Iterator[Stage]:
    """Set the stage, and clear it away whatever happens."""
    root = Path(tempfile.mkdtemp(prefix="gittorrent-demo-"))
    made = Stage(root, programs)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(root, ignore_errors=True)


# --- The repositories --------------------------------------------------------------------------


def copy_own_history(on: Stage) -> tuple[Path, str]:
    """Make a bare copy of this checkout's history; tells also what it is."""
    target = on.root / "gittorrent.git"
    shallow = on.attempt("git", "-C", str(CHECKOUT), "rev-parse", "--is-shallow-repository")
    if shallow.stdout.strip() == b"false":
        on.run("git", "clone", "-q", "--bare", CHECKOUT.as_uri(), str(target))
        git = ("git", f"--git-dir={target}")
        if on.attempt(*git, "symbolic-ref", "-q", "HEAD").returncode:  # as CI checks out
            on.run(*git, "update-ref", "refs/heads/main", "HEAD")
            on.run(*git, "symbolic-ref", "HEAD", "refs/heads/main")
        count = on.run("git", "-C", str(target), "rev-list", "--all", "--count")
        return target, f"this project's own history, {count} commits"
    on.run("git", "init", "-q", "--bare", str(target))
    place = ["git", f"--git-dir={target}", "-c", "core.bare=false", f"--work-tree={CHECKOUT}"]
    on.run(*place, "add", "--all", str(CHECKOUT))
    on.run(*place, "commit", "-q", "-m", "The files of this checkout")
    return target, "one commit of this checkout's files (its history is not here in full)"


def generate_bulk(on: Stage) -> Path:
    """Make a repository of data that cannot be compressed, with git fast-import."""
    target = on.root / "bulk.git"
    on.run("git", "init", "-q", "--bare", str(target))
    source = random.Random(2008)  # noqa: S311 - filling, not secrets
    stream = bytearray()
    for number in range(BULK_COMMITS):
        when = f"{1_200_000_000 + 3600 * number} +0000"
        message = f"Add file {number}\n"
        stream += (
            f"commit refs/heads/main\ncommitter Demo <demo@localhost> {when}\n"
            f"data {len(message)}\n{message}M 100644 inline file-{number:02}\ndata {BULK_BYTES}\n"
        ).encode()
        stream += source.randbytes(BULK_BYTES) + b"\n"
    on.run("git", f"--git-dir={target}", "fast-import", "--quiet", "--force", given=bytes(stream))
    return target
