"""How much of a repository's log is to be had from its mirrors.

Source: docs/protocol/mirrorsync.md.
"""

from __future__ import annotations

from enum import IntEnum


class LogExtent(IntEnum):
    """How much of a log is to be there; each has what those before it have.

    ``SHORT`` is a clone's: it begins where the keeper is to be believed. ``KEPT`` goes on with a
    log as it was kept, and has the first checkpoint where none was. ``WHOLE`` has that one even
    where a clone's was kept. ``COMPLETE`` has the pushes, too, that its checkpoints took.
    """

    SHORT = 0
    KEPT = 1
    WHOLE = 2
    COMPLETE = 3
