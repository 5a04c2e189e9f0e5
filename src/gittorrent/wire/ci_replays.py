"""Requests of runners' nodes that were made before: each counts once.

Pure. A node numbers what it asks, upwards from 1 for as long as it runs, and the numbers of that
time begin with words of its own that are made up when it starts (a session). Tracks of each session
the highest number and which of those shortly below it came (RFC 4303, 3.4.3): requests overtake
each other. Rules: what is older than that counts as having come; a session is forgotten only when
its requests are too old to count anyway, and until then others wait rather than displace it.
Only nodes that know the secret get here.
"""

from __future__ import annotations

from msgspec import Struct

WINDOW = 4096
"""Numbers below the highest of which it is known which came: more than a node asks at once."""

MAX_SESSIONS = 1024
"""Sessions at once: starts of all nodes of the fleet within some minutes."""


class _Session(Struct):
    """What came in one; bit n of ``came`` is for the number ``highest`` - n."""

    highest: int = 0
    came: int = 1
    at: float = 0.0


class Replays:
    """What came before.

    Args:
        seconds: after which a request is too old to count.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._sessions: dict[str, _Session] = {}

    def is_new(self, session: str, number: int, now: float) -> bool:
        """Tell whether a request comes for the first time; from now on it does not.

        Args:
            session: of the node that asks.
            number: of the request.
            now: seconds, by any clock that goes on.
        """
        found = self._sessions.get(session)
        if found is None:
            if len(self._sessions) >= MAX_SESSIONS and not self._forget(now):
                return False
            found = self._sessions[session] = _Session()
        back = found.highest - number
        if number < 1 or back >= WINDOW or (back >= 0 and found.came >> back & 1):
            return False
        if back < 0:
            found.came = (found.came << min(-back, WINDOW) | 1) & ((1 << WINDOW) - 1)
            found.highest = number
        else:
            found.came |= 1 << back
        found.at = now
        return True

    def _forget(self, now: float) -> bool:
        """Forget sessions of which nothing counts any more; tells whether there were any."""
        old = [name for name, each in self._sessions.items() if now - each.at > self._seconds]
        for name in old:
            del self._sessions[name]
        return bool(old)
