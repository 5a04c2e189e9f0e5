"""What running processes of this node are doing, for ``gittorrent status``.

Each process that transfers writes a small JSON file about itself into ``GITTORRENT_HOME/run``,
about once a second, and removes it at its end. A file nobody has renewed for a while belongs to a
process that died, and is ignored and removed.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import time
from typing import TYPE_CHECKING

from msgspec import ValidationError, convert, to_builtins
from msgspec.structs import replace

from gittorrent.durable import sweep, write_atomically
from gittorrent.errors import FULL
from gittorrent.store.processes import AnyProcess, NodeProcess

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

INTERVAL_SECONDS = 1.0
"""How often a process writes about itself."""

LEAST_SECONDS = 0.8
"""Time within which it does not do so again; seconds are not counted quite evenly."""

SAME_SECONDS = 4.0
"""How often a process writes that has nothing new to say, so that it is known to live."""

STALE_SECONDS = 10.0
"""Age at which a file says nothing about the present any more."""


_NUMBERS = itertools.count(1)


class Snapshot:
    """The file of this process.

    Args:
        directory: ``GITTORRENT_HOME/run``.
        kind: what the process does, such as ``node`` or ``download``.
    """

    def __init__(self, directory: Path, kind: str) -> None:
        # A node may have several downloads at once.
        self._path = directory / f"{kind}-{os.getpid()}-{next(_NUMBERS)}.json"
        self._written = -math.inf
        self._last: AnyProcess | None = None
        self._swept = False

    def write(self, process: AnyProcess | Callable[[], AnyProcess]) -> None:
        """Write what the process does now, unless that was done within `LEAST_SECONDS`.

        A function is called only if it is to be written.

        Where there is no room for it nobody learns of it, which is no reason to stop doing it.
        """
        now = time.monotonic()
        if now - self._written < LEAST_SECONDS:
            return
        described = process() if callable(process) else process
        self._written, self._last = now, described
        value = replace(described, pid=os.getpid(), time=time.time())
        if not self._swept:
            self._swept = True
            remove_stale(self._path.parent)
        try:
            write_atomically(self._path, json.dumps(to_builtins(value)).encode(), sync=False)
        except OSError as error:
            if error.errno not in FULL:
                raise

    def has_news(self, process: AnyProcess) -> bool:
        """Tell whether there is anything to write that was not written, or not for a while."""
        is_due = time.monotonic() - self._written >= SAME_SECONDS
        return is_due or self._last is None or _at_rest(process) != _at_rest(self._last)

    def remove(self) -> None:
        """Remove the file: the process ends."""
        self._path.unlink(missing_ok=True)


def _at_rest(process: AnyProcess) -> AnyProcess:
    """Return a description without what changes with time alone.

    Clones that index what they have, and say nothing, are no reason to write once a second.
    """
    if not isinstance(process, NodeProcess):
        return process
    conversations = [replace(each, seconds=0.0, rate=0) for each in process.conversations]
    cache = [replace(each, seconds_left=0) for each in process.cache]
    return replace(process, conversations=conversations, cache=cache)


def remove_stale(directory: Path) -> None:
    """Remove what processes left that were killed."""
    sweep(directory, "*.json", "*.new", age=STALE_SECONDS)


def read_snapshots(directory: Path) -> list[AnyProcess]:
    """Return what running processes say they do, removing what dead ones left.

    Of a process of another version it is left out if its kind is not known here, or a field lacks.
    """
    remove_stale(directory)
    return look_at_snapshots(directory)


def look_at_snapshots(directory: Path) -> list[AnyProcess]:
    """Return what running processes say they do, and leave what dead ones left."""
    found: list[AnyProcess] = []
    now = time.time()
    for path in sorted(directory.glob("*.json")):
        with contextlib.suppress(OSError, ValueError, ValidationError):
            # One of the future was written before the clock was set back.
            if abs(now - path.stat().st_mtime) <= STALE_SECONDS:
                found.append(convert(json.loads(path.read_text(encoding="utf-8")), AnyProcess))
    return found
