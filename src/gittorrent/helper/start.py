"""Entry point of ``git-remote-gittorrent``, with little spent on start and end.

Git runs it for every fetch, so what a start costs is paid each time. Most of it is imports, and
what they make stays: looking for garbage in it is time lost. So is taking it apart at the end, when
all is written and closed.
"""

from __future__ import annotations

import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # even `typing` takes a moment
    from typing import NoReturn


def main() -> NoReturn:
    """Run as git's remote helper."""
    from gittorrent.startup import begin

    begin(_run)


def _run() -> NoReturn:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Nobody wants a traceback of imports; what is worth cleaning up comes after them.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    import gc
    import os
    import threading

    gc.disable()
    if len(sys.argv) == 3 and sys.argv[2].startswith("ci+"):
        from gittorrent.helper.ci import main as run
    else:
        from gittorrent.helper.main import main as run

    gc.freeze()
    gc.enable()
    status = run()
    # What an interruption left to a thread is brought to its end, as Python itself would.
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    sys.stderr.flush()
    os._exit(status)
