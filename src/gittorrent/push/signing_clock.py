"""By which time a keeper dates what it signs: never later than can be, so that it may be too early.

Pure. Mirrors hold what is dated ahead until then, and later checkpoints may not be older: a keeper
that believed a clock that was wrong for an hour would stop finality for as long as the clock was
ahead. A date that is too early costs next to nothing: pushes are good for a little longer.

Tracks one reading of the clock that was believed, beside a steady clock that measures how much time
has passed since. Rules: what is signed is dated by the clock as long as that is not far ahead of
what the reading and the time passed come to, and by these otherwise; a clock that is ahead is
believed again when most mirrors that say the time agree, or the operator says so; a mirror's word
makes dates earlier, and never later than the clock. Must not know files, nor whom to ask.
Source: docs/protocol/push.md, Keeping.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

SLACK = 300.0
"""Seconds by which a clock may be ahead of what it can be, or of a mirror's: half of what mirrors
allow (`gittorrent.push.fresh.MAX_AHEAD`), so that one whose clock is slow by as much holds
nothing. A clock that is set right by NTP moves by less."""


class Reading(Struct, frozen=True):
    """What two clocks said at the same moment.

    Args:
        time: seconds since 1970 by the clock that people set.
        steady: seconds by a clock that nobody sets.
    """

    time: float
    steady: float

    def expected(self, now: Reading) -> float:
        """Return the time, in seconds since 1970, that has come by a later reading's steady clock.

        Args:
            now: the later reading.
        """
        return self.time + (now.steady - self.steady)


class SigningClock:
    """The time of one machine's keepers.

    Args:
        believed: the reading that was believed last; None if there is none, as after a start of
            the machine.
    """

    def __init__(self, believed: Reading | None = None) -> None:
        self.believed = believed

    def time(self, now: Reading) -> float:
        """Return the time to sign by, in seconds since 1970."""
        return now.time if self.ahead(now) == 0.0 else self._expected(now)

    def ahead(self, now: Reading) -> float:
        """Return by how many seconds the clock is ahead of what it can be; 0.0 if it is not."""
        ahead = now.time - self._expected(now)
        return ahead if ahead > SLACK else 0.0

    def wants_others(self, now: Reading) -> bool:
        """Tell whether mirrors are to be asked what time it is."""
        return self.believed is None or self.ahead(now) > 0.0

    def confirm(self, now: Reading) -> None:
        """Take the operator's word that the clock is right."""
        self.believed = now

    def heard(self, now: Reading, times: Sequence[float]) -> bool:
        """Take note of what mirrors say the time is; tells whether another reading is believed.

        Args:
            now: the clocks here.
            times: what the mirrors say, one of each machine, in seconds since 1970; nothing if
                none says it. Then a machine that was just started has nothing but its clock.
        """
        behind = sorted(each for each in times if each < now.time - SLACK)
        agreeing = len(times) - len(behind)
        before = self.believed
        if before is None and len(behind) >= max(1, agreeing):
            self.believed = Reading(behind[(len(behind) - 1) // 2], now.steady)
        elif before is None or (self.ahead(now) > 0.0 and agreeing > len(behind)):
            self.believed = now
        elif self.ahead(now) > 0.0 and len(behind) > agreeing:
            self._lower(now, behind[(len(behind) - 1) // 2])
        return self.believed is not before

    def _lower(self, now: Reading, time: float) -> None:
        """Believe an earlier time than so far, as when what was believed had been wrong itself."""
        if time < self._expected(now) - SLACK:
            self.believed = Reading(time, now.steady)

    def _expected(self, now: Reading) -> float:
        before = self.believed
        return now.time if before is None else before.expected(now)
