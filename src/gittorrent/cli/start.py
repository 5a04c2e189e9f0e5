"""Where the ``gittorrent`` command begins and ends.

Between the first instruction and the first thing worth cleaning up lie imports, as between the last
and the end. Whoever presses Ctrl-C there wants no traceback of them.
"""

from __future__ import annotations

import signal
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line."""
    takes_sigint = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if takes_sigint:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from gittorrent.cli.main import main as run

    try:
        if takes_sigint:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
    finally:
        if takes_sigint:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
