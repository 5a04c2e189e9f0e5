"""The programs as users run them: real processes, each person with a home and a node of their own.

A `Person` is an environment: a home directory, ``GITTORRENT_HOME``, a PATH with this program's
commands and one git. Nothing of the developer's own configuration is seen.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

BIN = Path(sys.executable).parent
"""Where this program's commands are installed."""

PATIENCE = 400.0
"""Seconds after which a program that does not end, or a condition that does not come, is a failure;
far more than either takes on a loaded machine."""

GITS = sorted(
    {os.path.realpath(p) for p in (shutil.which("git"), "/usr/bin/git") if p and Path(p).exists()}
)
"""The gits of this machine."""

NO_AUTHORITIES = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}
"""No test trusts the authorities of the machine it runs on. Each node would read them all as it
starts, which takes a fifth of that time."""

_NUMBERS = itertools.count()


def wait_until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Return once ``condition`` holds; fail when it does not in time."""
    start = begun = time.monotonic()
    while not condition():
        now = time.monotonic()
        if now - start > seconds:
            raise AssertionError(f"waited {seconds:.0f} s in vain until {what}")
        look_again(now - start, now - begun)
        begun = time.monotonic()


def look_again(waited: float, look: float = 0) -> None:
    """Let some time pass, where nobody tells when it is worth while to look again.

    Args:
        waited: seconds so far. A tenth of them passes (0.1 s at most).
        look: seconds that it took to look. As much passes (1 s at most): many a look starts a
            program, which takes from what is waited for.
    """
    select.select([], [], [], max(0.01, min(waited / 10, 0.1), min(look, 1)))


@dataclass(frozen=True)
class Done:
    """A program that ended."""

    words: tuple[str, ...]
    status: int
    out: str
    err: str

    def ok(self) -> Done:
        """Return itself if the program ended with 0; fail otherwise."""
        assert self.status == 0, f"{self.words} ended with {self.status}:\n{self.out}\n{self.err}"
        return self

    def failed(self, status: int, *fragments: str) -> Done:
        """Return itself if it ended with ``status`` and said every one of ``fragments``."""
        assert self.status == status, f"{self.words}: {self.status}\n{self.out}\n{self.err}"
        for fragment in fragments:
            assert fragment in self.err, f"{fragment!r} is not in:\n{self.err}"
        assert "Traceback" not in self.err, self.err
        return self


@dataclass(frozen=True)
class Person:
    """Somebody at a machine of their own."""

    root: Path
    git_program: str = "git"
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def node(self) -> Path:
        """What ``GITTORRENT_HOME`` names."""
        return self.root / "node"

    @property
    def partial(self) -> list[Path]:
        """The unfinished downloads."""
        folder = self.node / "partial"
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def environ(self) -> dict[str, str]:
        """Return the environment of this person's programs."""
        home = self.root / "home"
        home.mkdir(parents=True, exist_ok=True)
        path = [str(BIN), os.environ.get("PATH", os.defpath)]
        extra = {}
        if self.git_program != "git":
            chosen = self.root / "bin"
            if not chosen.is_dir():
                chosen.mkdir()
                (chosen / "git").symlink_to(self.git_program)
            path.insert(0, str(chosen))
            extra["GITTORRENT_GIT"] = self.git_program
        temporary = self.root / "tmp"
        temporary.mkdir(exist_ok=True)
        return {
            "PATH": os.pathsep.join(path),
            "HOME": str(home),
            "TMPDIR": str(temporary),
            "GITTORRENT_HOME": str(self.node),
            "GITTORRENT_DHT_BOOTSTRAP": "",  # no test looks for anything among strangers
            **NO_AUTHORITIES,
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_AUTHOR_NAME": "A U Thor",
            "GIT_AUTHOR_EMAIL": "author@example.org",
            "GIT_COMMITTER_NAME": "C O Mitter",
            "GIT_COMMITTER_EMAIL": "committer@example.org",
            **_coverage(),
            **extra,
            **self.variables,
        }

    def run(self, *words: str | Path, cwd: Path | None = None, stdin: str = "") -> Done:
        """Run a program to its end, its output in pipes."""
        shown = tuple(str(word) for word in words)
        done = subprocess.run(
            shown,
            input=stdin.encode(),
            capture_output=True,
            env=self.environ(),
            cwd=cwd or self.root,
            timeout=PATIENCE,
            check=False,
        )
        out, err = (data.decode(errors="replace") for data in (done.stdout, done.stderr))
        return Done(shown, done.returncode, out, err)

    def git(self, *words: str | Path, cwd: Path | None = None, stdin: str = "") -> Done:
        """Run git."""
        return self.run("git", *words, cwd=cwd, stdin=stdin)

    def gittorrent(self, *words: str | Path, cwd: Path | None = None) -> Done:
        """Run ``gittorrent``."""
        return self.run("gittorrent", *words, cwd=cwd)

    def start(self, *words: str | Path, cwd: Path | None = None) -> Running:
        """Start a program in a process group of its own."""
        number = next(_NUMBERS)
        out, err = (self.root / f"{number}.{name}" for name in ("out", "err"))
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [str(word) for word in words],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=self.environ(),
                cwd=cwd or self.root,
                start_new_session=True,
            )
        return Running(process, out, err)


def somebody(
    root: Path, git_program: str = "git", variables: dict[str, str] | None = None
) -> Person:
    """Return a person with an empty home at ``root``; ``variables`` are in the environment."""
    root.mkdir(parents=True)
    return Person(root, git_program, variables or {})


def _coverage() -> dict[str, str]:
    """Let coverage follow into processes when it is told to."""
    names = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START", "COVERAGE_FILE")
    return {name: os.environ[name] for name in names if name in os.environ}


@dataclass
class Running:
    """A program that runs, with all it starts in one process group."""

    process: subprocess.Popen[bytes]
    _out: Path
    _err: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def out(self) -> str:
        return self._out.read_text(errors="replace")

    @property
    def err(self) -> str:
        return self._err.read_text(errors="replace")

    def wait(self, seconds: float = PATIENCE) -> int:
        """Wait for the end and return the status."""
        return self.process.wait(seconds)

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the program and all it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def stop(self) -> None:
        """Make sure that nothing of it is left."""
        self.signal_group(signal.SIGCONT)
        self.signal_group(signal.SIGKILL)
        self.process.wait(PATIENCE)

    def group(self) -> list[int]:
        """Return the processes of its group that live."""
        return [pid for pid, group, _ in processes() if group == self.pid]

    def wait_all(self, seconds: float = PATIENCE) -> None:
        """Wait until the program and all it started are gone; fail with what is left."""
        start = time.monotonic()
        while left := [(pid, line) for pid, group, line in processes() if group == self.pid]:
            waited = time.monotonic() - start
            if waited > seconds:
                raise AssertionError(f"after {seconds:.0f} s there are still {left}")
            look_again(waited)

    def helpers(self) -> list[int]:
        """Return the remote helpers in its group."""
        return [
            pid for pid, group, line in processes()
            if group == self.pid and "git-remote-gittorrent" in line and "python" in line
        ]  # fmt: skip


def processes() -> list[tuple[int, int, str]]:
    """Return id, process group and command line of each living process."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if fields[0] not in ("Z", "X"):
                found.append((int(entry.name), int(fields[2]), line))
    return found


@dataclass
class Daemon:
    """A running ``gittorrent serve``."""

    running: Running
    git: str
    http: str
    repositories: dict[str, str]

    def url(self, name: str = "project", repository: str = "") -> str:
        """Return the ``gittorrent://`` URL of a repository it serves."""
        pin = f"{repository}@" if repository else ""
        return f"gittorrent://{pin}{self.git.removeprefix('git://')}/{name}.git"

    @property
    def pid(self) -> int:
        return self.running.pid


@contextlib.contextmanager
def serve(person: Person, *words: str | Path) -> Iterator[Daemon]:
    """Run a node on free ports of this machine while the block runs."""
    running = person.start(
        "gittorrent", "serve", "--json", "--git", "127.0.0.1:0", "--http", "127.0.0.1:0", *words
    )  # fmt: skip
    try:
        wait_until(lambda: "\n" in running.out or running.process.poll() is not None, "it listens")
        assert running.process.poll() is None, running.err
        said = json.loads(running.out)
        bases = {base.partition("://")[0]: base for base in said["listening"]}
        names = {entry["path"]: entry["repository_id"] for entry in said["repositories"]}
        yield Daemon(running, bases["git"], bases["http"], names)
        if running.process.poll() is None:
            running.signal_group(signal.SIGCONT)
            running.process.terminate()
            running.wait()
    finally:
        running.stop()
