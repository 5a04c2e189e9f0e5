"""Starts indexing at a low priority, so that it yields to the network.

Indexing wants all the processors while a pack arrives; receiving and passing on parts wants little,
but at once. On a machine that is busy enough, that little comes too late, and everybody who waits
for our parts is slowed down. So indexing runs at a lower priority than the network.
"""

from __future__ import annotations

import contextlib
import os
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")

NICENESS = 10
"""Weighs a tenth of what talks: enough never to hold that up, and all of an idle processor."""


def start_yielding(start: Callable[[], Result]) -> Result:
    """Return what ``start`` returns; threads and processes it starts have a low priority.

    Linux keeps the priority for each thread, and what a thread starts inherits its own; so
    ``start`` is called in a thread made for it, which ends with it.

    Raises:
        Exception: whatever ``start`` raises.
    """
    done: Future[Result] = Future()

    def run() -> None:
        with contextlib.suppress(OSError):  # a sandbox may forbid it: then it competes as equal
            here = threading.get_native_id()
            own = os.getpriority(os.PRIO_PROCESS, here)
            os.setpriority(os.PRIO_PROCESS, here, max(own, NICENESS))
        try:
            done.set_result(start())
        except BaseException as error:
            done.set_exception(error)

    thread = threading.Thread(target=run, name="start-yielding")
    thread.start()
    thread.join()
    return done.result()
