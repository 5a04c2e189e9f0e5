"""A carried repository's log, opened once and kept as long as nobody else changes it.

Shared by all that a node does with one repository: its depot, its keeper, and what other mirrors
send. So each of them costs what it brings, however long the log is, and keys have one quota.

Rules: whoever looks holds the guard; whoever changes holds the repository's lock, too, which other
processes heed. A log that grew and was not committed is read again. Blocks; use it in threads.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

from gittorrent.push.facts import KeptFacts
from gittorrent.push.log import changes_between
from gittorrent.push.quota import Quota
from gittorrent.repository.carried import ORIGIN
from gittorrent.repository.evidence import GitEvidence
from gittorrent.repository.origin_refs import follow_in_origin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gittorrent.ids import RefName, Refs
    from gittorrent.push.log import VerifiedLog
    from gittorrent.repository.carried import Carried, Moves

PACK_EVERY = 64
"""Checkpoints, and changes at once, after which all refs are packed again: until then those that
changed have files of their own."""


class KeptLog:
    """The log of one repository.

    Args:
        carried: the repository.
    """

    def __init__(self, carried: Carried) -> None:
        self.carried = carried
        self.facts = KeptFacts(lambda: GitEvidence(carried.git))
        self.quota = Quota()
        self._guard = threading.Lock()
        self._log: VerifiedLog | None = None
        self._state: object = None
        self._before: tuple[Refs, RefName | None] | None = None
        self._recovering = threading.Lock()
        self._is_recovered = False

    def recover(self) -> None:
        """Let refs follow the log, once, where a crash kept them from it; before it is shown.

        Who pushed and heard no answer is told on the next try that everything is there, so nothing
        else would make them follow.

        Raises:
            GitTorrentError: the log is damaged, or this machine let us down.
        """
        with self._recovering:
            if self._is_recovered or not os.access(self.carried.layout.own, os.W_OK):
                return
            with self.changing() as log:
                if self.carried.info.role == ORIGIN:
                    follow_in_origin(self.carried, log)
                self.keep(log)
            self._is_recovered = True

    @contextlib.contextmanager
    def reading(self) -> Iterator[VerifiedLog]:
        """Yield the log as it is on disk now; it must not be made to grow.

        Raises:
            LogStoreError: it is damaged.
        """
        with self._guard:
            yield self._current()

    @contextlib.contextmanager
    def changing(self) -> Iterator[VerifiedLog]:
        """Yield the log to grow, and hold the repository's lock meanwhile.

        What it became counts if it was committed; otherwise the log is read again.

        Raises:
            LogStoreError: it is damaged.
        """
        with self.carried.writing(), self._guard:
            log = self._current()
            self._log, self._before = None, (log.refs, log.default_branch)
            yield log

    def commit(self, log: VerifiedLog, moves: Moves | None = None) -> None:
        """Make a log that grew under `changing` the repository's, and let the refs follow.

        Args:
            log: it.
            moves: of refs, where it is known which those are.
        """
        self.carried.commit(log, self._moves(log) if moves is None else moves)
        unfinal = {push.id for push in log.unfinal}
        self.quota.keep(lambda push: push in unfinal or push not in log)
        if self.carried.info.role == ORIGIN:
            follow_in_origin(self.carried, log)
        self.keep(log)

    def _moves(self, log: VerifiedLog) -> Moves | None:
        """Return what is to be done with refs; None to look at all of them, and pack them."""
        if self._before is None or not log.number % PACK_EVERY:
            return None
        refs, head = self._before
        moves = changes_between(refs, log.refs)
        return moves if head == log.default_branch and len(moves) <= PACK_EVERY else None

    def state(self) -> object:
        """Return what differs when another process changed the log."""
        return _state_of(self.carried.log_store.path)

    def keep(self, log: VerifiedLog) -> None:
        """Go on with a log that is what lies on disk; the last step of whoever changed it."""
        self._log, self._state = log, _state_of(self.carried.log_store.path)

    def _current(self) -> VerifiedLog:
        store = self.carried.log_store
        state = _state_of(store.path)
        if self._log is None or state != self._state:
            self._log, self._state = store.open(self.facts), state
            for push in self._log.unfinal:
                # What came with it is not known any more; that it is here is.
                self.quota.add(push.key, push.id, 0)
        return self._log


def _state_of(path: Path) -> tuple[int, int, int] | None:
    """Return what tells whether a file was replaced; None if it is not there."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
