"""Where the ``gittorrent`` command begins and ends, with little spent on either.

Between the first instruction and the first thing worth cleaning up lie imports. Whoever presses
Ctrl-C there wants no traceback of them. What they make stays: looking for garbage in it is time
lost, and so it is at the end of the process.
"""

from __future__ import annotations

import signal

TYPE_CHECKING = False
if TYPE_CHECKING:  # even `typing` takes a moment
    from typing import NoReturn


def main() -> NoReturn:
    """Run the command line."""
    from gittorrent.startup import begin

    begin(_run)


def _run() -> NoReturn:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    import gc

    gc.disable()  # until the command's own imports are done, see `gittorrent.cli.main.LazyGroup`
    from gittorrent.cli.main import main as run
    from gittorrent.interruptions import PROCESS

    PROCESS.install()
    try:
        run()
    finally:
        PROCESS.settle()
        gc.freeze()
