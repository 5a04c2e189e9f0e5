"""Runs a command of this program that holds a file back: ``pausing.py SIGN gittorrent WORD...``.

The first thread off the event loop that is about to give a file its name stops there, and a file
``SIGN`` is made. The thread goes on when the process, which has ended all its tasks, waits for what
no task waits for.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from gittorrent.interruptions import wait_at_end
from support.programs import PATIENCE


def main() -> None:
    """Run the program with an eye on its renames."""
    sign = Path(sys.argv[1])
    sys.argv = sys.argv[2:]
    first, ending = threading.Lock(), threading.Event()

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event != "os.rename" or threading.current_thread().name != "off-loop":
            return
        if str(arguments[0]).endswith(".new") and first.acquire(blocking=False):
            sign.touch()
            ending.wait(PATIENCE)

    # Before the program's own, or it would wait before the thread may go on.
    wait_at_end(ending.set)
    sys.addaudithook(hook)
    from gittorrent.cli.start import main as run

    run()


if __name__ == "__main__":
    main()
