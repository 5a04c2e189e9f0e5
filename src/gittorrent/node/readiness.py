"""Whether a node is ready to be sent callers, for load balancers, containers and service managers.

Ready: it listens and has begun with all it does, is not about to end, and its disks have room for
what it would take. Alive: whoever asks is answered, since it is the event loop that answers;
nothing is looked at for it. Pure.
Source: docs/commands.md, Health.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

READY_PATH = "/readyz"
"""Resource that tells whether the node is ready: status 200, or 503 and why not."""

LIVE_PATH = "/livez"
"""Resource that tells that the event loop goes on: status 200, or no answer."""

SHORT = "a disk is at its mark: nothing more is taken"
"""Why a node is not ready that serves and takes nothing; where it is full is not for strangers."""


class Phase(enum.Enum):
    """Where in its life a node is."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


class Readiness:
    """Of one node.

    Args:
        is_short: tells whether a disk is at its mark.
    """

    def __init__(self, is_short: Callable[[], bool]) -> None:
        self._is_short = is_short
        self.phase = Phase.STARTING

    @property
    def lacks(self) -> str:
        """Why it is not ready; empty while it is."""
        if self.phase is not Phase.RUNNING:
            return str(self.phase.value)
        return SHORT if self._is_short() else ""
