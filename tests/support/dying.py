"""Runs a command of this program that is killed at a step: ``dying.py gittorrent WORD...``.

Steps are what changes something that outlives the process: files opened for writing, renames,
links, removals, directories, locks, and programs started. At step ``DIE_AT`` the process kills
itself with SIGKILL, with its whole process group if ``DIE_WITH`` is ``group``. With ``DIE_AT=0`` it
lives, and adds the number of its steps to the file that ``DIE_COUNT`` names. The file that
``DIE_LIST`` names gets a line for each step, up to the one it died at.

The same step of the same command is the same place in the program, as far as its threads take
turns in the same way, and as many files and directories come about: what random moments find can be
looked at again.
"""

from __future__ import annotations

import atexit
import importlib
import os
import signal
import sys
import threading

PROGRAMS = {
    "gittorrent": "gittorrent.cli.main",
    "git-remote-gittorrent": "gittorrent.helper.main",
}

STEPS = {
    "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.chmod", "os.truncate",
    "os.utime", "shutil.copyfile", "subprocess.Popen", "sqlite3.connect", "mmap.__new__",
    "fcntl.flock",
}  # fmt: skip

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT

_guard = threading.Lock()
_seen = 0


def main() -> None:
    """Run the program with an eye on its steps."""
    program = sys.argv[1]
    entry = importlib.import_module(PROGRAMS[program]).main
    sys.argv = [program, *sys.argv[2:]]
    if path := os.environ.get("DIE_COUNT"):
        atexit.register(_note, path)
    watch(int(os.environ.get("DIE_AT", "0")))
    sys.exit(entry())


def watch(step: int) -> None:
    """Have the process die at a step; at none if it is 0."""

    path = os.environ.get("DIE_LIST")
    listed = None if path is None else os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        global _seen
        if event in STEPS or (event == "open" and _writes(arguments)):
            with _guard:
                _seen += 1
                mine = _seen
                if listed is not None:
                    os.write(listed, f"{event} {arguments!r}\n".encode())
            if mine == step:
                _die()

    sys.addaudithook(hook)


def _writes(arguments: tuple[object, ...]) -> bool:
    return isinstance(arguments[2], int) and bool(arguments[2] & _WRITING)


def _die() -> None:
    if os.environ.get("DIE_WITH") == "group":
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _note(path: str) -> None:
    with open(path, "a", encoding="ascii") as file:
        file.write(f"{_seen}\n")


if __name__ == "__main__":
    main()
