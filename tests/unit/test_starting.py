"""Ctrl-C while the program is still being imported: it ends, and says nothing."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import importlib, os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[2]:
            os.kill(os.getpid(), signal.SIGINT)

main = importlib.import_module(sys.argv[1]).main
sys.meta_path.insert(0, Interrupting())
main()
"""


@pytest.mark.parametrize(
    ("start", "imported"),
    [("gittorrent.cli.start", "click"), ("gittorrent.helper.start", "asyncio")],
)
def test_interrupted_imports_leave_no_traceback(start: str, imported: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, start, imported], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")
