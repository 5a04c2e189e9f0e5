"""The note by which an exporter keeps others from a bucket, where the system has no locks.

Pure. The note says who holds the place, and until when; its holder writes it anew long before that.
One whose holder is gone may be taken over: at once where its process would be seen, elsewhere when
its time is over. It is written only on condition that it is still the one that was read.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable

LEASE_SECONDS = 600
"""For how long a note holds: clocks of machines that export to one bucket differ by less."""

RENEW_SECONDS = 120
"""Age at which a note is written anew."""

MAX_NOTE = 4096
"""Bytes of a note."""

MAX_WORD = 256
"""Characters of a word in one."""


class Note(Struct, frozen=True):
    """Who holds a place.

    Args:
        host: name of the machine.
        space: names what its process id means something in: the run of that machine, and the
            namespace; empty where nothing does.
        pid: of the process.
        until: seconds since 1970.
    """

    host: str
    space: str
    pid: int
    until: int

    def text(self) -> bytes:
        """Return what is written of it."""
        fields = {"host": self.host, "boot": self.space, "pid": self.pid, "until": self.until}
        return json.dumps(fields).encode("ascii")

    def is_over(self, now: int, space: str, is_alive: Callable[[int], bool]) -> bool:
        """Tell whether its holder is gone.

        Args:
            now: seconds since 1970.
            space: names where this process's id means something.
            is_alive: tells whether a process lives there.
        """
        if self.until <= now or self.until > now + 2 * LEASE_SECONDS:
            return True
        return bool(space) and space == self.space and not is_alive(self.pid)


def parse_note(data: bytes) -> Note | None:
    """Read a note; None if it is none, and holds nothing."""
    if len(data) > MAX_NOTE:
        return None
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    host, space, pid, until = (found.get(word) for word in ("host", "boot", "pid", "until"))
    if not isinstance(host, str) or not isinstance(space, str) or len(host + space) > MAX_WORD:
        return None
    if type(pid) is not int or type(until) is not int or not 0 < pid < 1 << 31:
        return None
    return Note(host, space, pid, until)
