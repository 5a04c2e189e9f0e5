"""Statistics of a node's mirror-sync sessions for ``gittorrent status``: uploads, slots, endings.

Tracks each conversation under way with its rate since the last look, and the last few that ended
with the reason. Must not know sockets.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from gittorrent.store.processes import ConversationFigures, EndedConversation

if TYPE_CHECKING:
    from gittorrent.swarm.keys import ConversationKey

MAX_SHOWN = 100
"""Conversations that are reported."""

MAX_ENDED = 10
"""Ended conversations that are remembered."""

ENDED_SECONDS = 60.0
"""How long they are shown."""

SMOOTHING = 0.5
"""Share of the newest look in the rate that is shown."""


class SessionStats(Protocol):
    """A conversation, as far as it is reported."""

    bytes_received: int
    ended: str
    is_at_fault: bool

    @property
    def bytes_sent(self) -> int:
        """What went out so far."""
        ...

    @property
    def key(self) -> ConversationKey:
        """What it is called among those that wait for upload slots."""
        ...

    @property
    def waiting(self) -> int:
        """How many questions wait for their answers."""
        ...


class _Row(Struct, eq=False):
    conversation: SessionStats
    peer: str
    repository: str
    since: float
    parts: int = 0
    rate: float = 0.0
    looked: float = 0.0
    sent_before: int = 0


class SessionTable:
    """The conversations of a node; its length is their number."""

    def __init__(self) -> None:
        self._rows: dict[ConversationKey, _Row] = {}
        self._ended: deque[tuple[float, EndedConversation]] = deque(maxlen=MAX_ENDED)

    def __len__(self) -> int:
        return len(self._rows)

    def begin(self, conversation: SessionStats, peer: str, repository: str, now: float) -> None:
        """Count a conversation."""
        self._rows[conversation.key] = _Row(conversation, peer, repository, now, looked=now)

    def sent_part(self, key: ConversationKey) -> None:
        """Count a part that was sent."""
        self._rows[key].parts += 1

    def end(self, key: ConversationKey, now: float) -> float:
        """Note that a conversation is over; returns the seconds it lasted."""
        row = self._rows.pop(key)
        shown = EndedConversation(
            peer=row.peer,
            repository=row.repository,
            sent=row.conversation.bytes_sent,
            received=row.conversation.bytes_received,
            parts=row.parts,
            reason=row.conversation.ended,
            at_fault=row.conversation.is_at_fault,
        )
        self._ended.append((now, shown))
        return now - row.since

    def report(self, now: float, waiting: set[ConversationKey]) -> list[ConversationFigures]:
        """Return what each conversation came to so far, those that move before those that do not.

        Of many only `MAX_SHOWN`: this is asked for once a second, and most may be idle for hours.

        Args:
            now: seconds.
            waiting: conversations whose next part waits for an upload slot.
        """
        rows = sorted(
            self._rows.values(), key=lambda row: row.conversation.bytes_sent == row.sent_before
        )
        return [self._look(row, now, row.conversation.key in waiting) for row in rows[:MAX_SHOWN]]

    def ended(self, now: float) -> list[EndedConversation]:
        """Return the conversations that ended lately, the last one first."""
        lately = [shown for at, shown in self._ended if now - at <= ENDED_SECONDS]
        return lately[::-1]

    def _look(self, row: _Row, now: float, is_choked: bool) -> ConversationFigures:
        if now > row.looked:
            newest = (row.conversation.bytes_sent - row.sent_before) / (now - row.looked)
            row.rate += SMOOTHING * (newest - row.rate)
            row.looked, row.sent_before = now, row.conversation.bytes_sent
        return ConversationFigures(
            peer=row.peer,
            repository=row.repository,
            seconds=round(now - row.since, 1),
            sent=row.conversation.bytes_sent,
            received=row.conversation.bytes_received,
            rate=round(row.rate),
            parts=row.parts,
            waiting=row.conversation.waiting,
            choked=is_choked,
        )
