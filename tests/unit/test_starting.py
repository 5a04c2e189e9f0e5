"""How programs begin and end: Ctrl-C in imports says nothing; garbage is looked for after them."""

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


COLLECTING = """
import atexit, gc, sys
from gittorrent.cli.start import main
told = lambda: sys.stderr.write(f"{gc.isenabled()} {gc.get_freeze_count() > 0}")
atexit.register(told)
sys.argv = ["gittorrent", "status", "--help"]
main()
"""


def test_what_imports_made_is_not_looked_through_for_garbage_but_the_rest_is() -> None:
    done = subprocess.run([sys.executable, "-c", COLLECTING], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"True True")
