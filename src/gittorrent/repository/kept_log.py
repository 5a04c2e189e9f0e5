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

from msgspec import Struct

from gittorrent.durable import file_state
from gittorrent.push.facts import KeptFacts
from gittorrent.push.head_branch import default_branch
from gittorrent.push.quota import Quota
from gittorrent.repository.carried import ORIGIN
from gittorrent.repository.evidence import GitEvidence
from gittorrent.repository.origin_moves import OriginMoves
from gittorrent.repository.origin_refs import follow_in_origin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gittorrent.ids import PushId
    from gittorrent.push.certificate import Nonce
    from gittorrent.push.log import VerifiedLog
    from gittorrent.push.provisional import View
    from gittorrent.push.rule import Push
    from gittorrent.repository.carried import Carried, Moves
    from gittorrent.trust.signed_policy import VerifiedPolicy

PACK_EVERY = 64
"""Checkpoints, and changes at once, after which all refs are packed again: until then those that
changed have files of their own."""

MOST_GROWN = 256
"""Entries by which a log may grow in memory before it is read again from disk: what was verified of
each stays with it, some 10 KiB, and a log that is read begins at a snapshot. Reading takes as long
as starting git a few times, for 256 entries."""


class Shown(Struct, frozen=True):
    """What a log says at one time, to be looked at while it grows.

    Args:
        head: the checkpoint adopted.
        view: what is shown.
        policy: the newest one.
        nonce: what a depot offers.
        unfinal: the pushes that no checkpoint has taken.
    """

    head: PushId
    view: View
    policy: VerifiedPolicy
    nonce: Nonce
    unfinal: tuple[Push, ...]


class _Before(Struct, frozen=True):
    """What a log showed before it grew, and the number of its checkpoint."""

    view: View
    number: int


class KeptLog:
    """The log of one repository.

    Args:
        carried: the repository.
        most_grown: entries by which it may grow before it is read again.
    """

    def __init__(self, carried: Carried, most_grown: int = MOST_GROWN) -> None:
        self._most_grown = most_grown
        self.carried = carried
        self.facts = KeptFacts(lambda: GitEvidence(carried.git))
        self.quota = Quota()
        self._guard = threading.Lock()
        self._log: VerifiedLog | None = None
        self._state: object = None
        self._opened_with = 0
        self._before: _Before | None = None
        self._shown: Shown | None = None
        self._is_changing = False
        self._origin_moves = OriginMoves(carried, self.facts.contains)
        self._recovering = threading.Lock()
        self._is_recovered = False

    def recover(self) -> None:
        """Let refs follow the log, once, where a crash kept them from it; before it is shown.

        Who pushed and heard no answer is told on the next try that everything is there, so nothing
        else would make them follow.

        Raises:
            GitTorrentError: the log is damaged, or this machine let us down.
        """
        if self._is_recovered:
            return
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
            self._is_changing = True
            self._log = None
            self._before = _Before(log.ledger.view(), log.number) if log.number else None
            try:
                yield log
            finally:
                self._is_changing = False

    def shown(self) -> Shown:
        """Return what the log says, without waiting for whoever changes it here.

        Raises:
            LogStoreError: it is damaged.
            EntryError: there is no checkpoint yet.
        """
        known = self._shown
        # Until it is changed it is what it was, and nobody else changes it meanwhile.
        if known is not None and (self._is_changing or self.state() == self._state):
            return known
        with self.reading() as log:
            self._shown = _look_at(log)
            return self._shown

    def commit(self, log: VerifiedLog) -> None:
        """Make a log that grew under `changing` the repository's, and let the refs follow.

        Args:
            log: it.
        """
        moves, is_origin = self._moves(log), self.carried.info.role == ORIGIN
        own = self._own_moves(log, moves) if is_origin and moves is not None else moves
        self.carried.log_store.commit(log)
        has_moved = self.carried.follow_log(log, own)
        unfinal = {push.id for push in log.unfinal}
        self.quota.keep(lambda push: push in unfinal or push not in log)
        if is_origin and has_moved and own is not None:
            self._origin_moves.note(log, own)
        elif is_origin:
            follow_in_origin(self.carried, log)
        self.keep(log)

    def _moves(self, log: VerifiedLog) -> Moves | None:
        """Return what is to be done with refs; None to look at all of them, and pack them."""
        before = self._before
        if before is None or (log.number != before.number and not log.number % PACK_EVERY):
            return None
        view = log.ledger.view()
        moves = before.view.listing.moves_to(view.listing)
        is_same = default_branch(before.view.listing) == default_branch(view.listing)
        return moves if is_same and len(moves) <= PACK_EVERY else None

    def _own_moves(self, log: VerifiedLog, moves: Moves) -> Moves | None:
        """Return what is to be done with an origin's refs, where that is plain."""
        assert self._before is not None
        return self._origin_moves.plain(log, moves, is_final=log.number != self._before.number)

    def state(self) -> object:
        """Return what differs when another process changed the log."""
        return file_state(self.carried.log_store.path)

    def keep(self, log: VerifiedLog) -> None:
        """Go on with a log that is what lies on disk; the last step of whoever changed it."""
        self._log, self._state = log, self.state()
        self._shown = _look_at(log) if log.number else None
        if len(log.entries) - self._opened_with > self._most_grown:
            self._log = None
            self.carried.log_store.let_go(log)

    def _current(self) -> VerifiedLog:
        store = self.carried.log_store
        state = file_state(store.path)
        if self._log is None or state != self._state:
            self._log, self._state = store.open(self.facts), state
            self._opened_with = len(self._log.entries)
            self._shown = None
            for push in self._log.unfinal:
                # What came with it is not known any more; that it is here is.
                self.quota.add(push.key, push.id, 0)
        return self._log


def _look_at(log: VerifiedLog) -> Shown:
    ledger = log.ledger
    return Shown(ledger.adopted.id, ledger.view(), log.policy, ledger.nonce(), ledger.unfinal)
