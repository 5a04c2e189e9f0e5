"""How the helper ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys, threading, time
import gittorrent.helper.main
from gittorrent.helper.start import main

def work():
    time.sleep(0.5)
    open(sys.argv[1], "w").write("done")

def run():
    threading.Thread(target=work).start()
    sys.stderr.write("hint: none")
    return 7

gittorrent.helper.main.main = run
main()
"""


def test_what_threads_have_begun_is_brought_to_its_end(tmp_path: Path) -> None:
    told = tmp_path / "told"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(told)], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (7, b"hint: none")
    assert told.read_text() == "done"
