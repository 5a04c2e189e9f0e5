"""Says something to a pusher now and then while its push is worked on in silence.

What is on the way drops connections on which nothing passes: a large push with ``--quiet`` is
indexed for longer than many a proxy waits. An empty packet of side-band data tells nothing, and is
what git's own receive-pack sends (receive.keepAlive).

Must not know what is being done.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from types import TracebackType

SECONDS = 5.0
"""Time after which something is said; git's own."""

EMPTY = b"0005\1"
"""A packet of side-band 1 without data."""


class Pusher(Protocol):
    """The way to a pusher; used by several threads at once."""

    @property
    def written(self) -> int:
        """How many times something was said."""
        ...

    def write(self, data: bytes) -> None:
        """Say something; raises OSError if nobody hears it."""
        ...


class KeepAlive:
    """Says something as long as the block runs and says nothing itself.

    Args:
        pusher: to whom; None for one who cannot be told anything meanwhile.
        seconds: of silence.
    """

    def __init__(self, pusher: Pusher | None, seconds: float = SECONDS) -> None:
        self._pusher = pusher
        self._seconds = seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        if self._pusher is not None:
            self._thread.start()

    def __exit__(
        self,
        exception: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._pusher is not None:
            self._thread.join()

    def _run(self) -> None:
        assert self._pusher is not None
        before = self._pusher.written
        while not self._over.wait(self._seconds):
            if self._pusher.written == before:
                try:
                    self._pusher.write(EMPTY)
                except OSError:
                    return  # whoever works for it finds out
            before = self._pusher.written
