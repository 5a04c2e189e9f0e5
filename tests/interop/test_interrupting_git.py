"""A signal that reaches only our program, as a supervisor's may, ends the git that it runs too.

The git of these tests does not end by itself once it comes to a certain command.
"""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from support import nodes
from support.programs import Person, wait_until


def hanging_git(folder: Path, command: str) -> tuple[Path, Path]:
    """Return a git that hangs at a command, and the file that it makes when it does."""
    begun, program = folder / "begun", folder / "git-that-hangs"
    program.write_text(
        "#!/bin/sh\n"
        f'for word; do [ "$word" = {command} ] && : >{begun} && exec sleep 600; done\n'
        f'exec {shutil.which("git")} "$@"\n'
    )
    program.chmod(0o755)
    return program, begun


def is_waiting(pid: int) -> bool:
    """Tell whether a program waits for something, as one that runs git does once git has begun."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return words[0] == "S"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", ["for-each-ref", "rev-list", "cat-file", "pack-objects"])
def test_publish_ends_what_it_runs(
    person: Person, tmp_path: Path, command: str, number: signal.Signals
) -> None:
    origin = nodes.make_repository(tmp_path / "project.git")
    program, begun = hanging_git(tmp_path, command)
    hanging = Person(person.root, variables={"GITTORRENT_GIT": str(program)})
    running = hanging.start("gittorrent", "publish", origin, "--new-key")
    try:
        wait_until(lambda: begun.exists() or running.process.poll() is not None, "git hangs")
        assert running.process.poll() is None, running.err
        wait_until(lambda: is_waiting(running.process.pid), "it waits for git")
        running.process.send_signal(number)
        assert running.wait() == 130
        running.wait_all(5.0)
    finally:
        running.stop()
    assert "Traceback" not in running.err
