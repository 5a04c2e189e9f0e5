"""Somebody who called, and may turn out to be a mirror that tells of news and wants to hear some.

Whoever calls is followed once it says which checkpoint it has: clones do not. Rules: what it says
is for the repository that it called for, as it was opened then; where that has no live
conversations, or was opened anew meanwhile, its conversation ends as soon as there is somebody to
hear it, so that it calls again instead of talking to nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gittorrent.node.live_repository import OPENED_ANEW
from gittorrent.transfer.live_peer import LivePeer
from gittorrent.wire.messages import HaveBundle, News

if TYPE_CHECKING:
    from gittorrent.node.catalogue import Served
    from gittorrent.node.live_repository import LiveRepository
    from gittorrent.push.spreading import PeerKey
    from gittorrent.wire.session import MessageReceived


class Conversations(Protocol):
    """The live conversations of a node."""

    def of(self, served: Served) -> LiveRepository | None:
        """Return a repository's part, if it has begun."""
        ...

    def note_unheard(self, served: Served, caller: Caller) -> None:
        """Take note of a caller that told of news which nobody takes in."""
        ...

    def forget_unheard(self, served: Served, caller: Caller) -> None:
        """Take note that such a caller is gone."""
        ...


class CallingPeer(LivePeer, Protocol):
    """Who called, and answers on the same conversation."""

    def take(self, event: MessageReceived) -> None:
        """Take what it says, if that is an answer."""
        ...

    def let_go(self, reason: str) -> None:
        """Tell everybody who waits for it that nothing more will come."""
        ...


class Caller:
    """One who called.

    Args:
        live: the live conversations of the node; None where it has none.
        served: what it called for.
        peer: it.
    """

    def __init__(self, live: Conversations | None, served: Served, peer: CallingPeer) -> None:
        self._live = live
        self._served = served
        self._peer = peer
        self._repository: LiveRepository | None = None
        self._key: PeerKey | None = None
        self._is_unheard = False

    def on_message(self, event: MessageReceived) -> None:
        """Take in what it says of its log, and its answers."""
        message = event.message
        if not isinstance(message, News):
            self._peer.take(event)
            # A clone says what it has of a pack that it downloads; it is told of no news.
            if isinstance(message, HaveBundle) and self._repository and self._key is not None:
                self._repository.heard(self._key, message)
            return
        if self._repository is None and self._live is not None:
            self._join(self._live)
        if self._repository is not None and self._key is not None:
            self._repository.heard(self._key, message, event.payload)

    def on_announced(self, size: int) -> None:
        """Take note that it sends a message of so many bytes; 0 when that is here."""
        if self._repository is not None and self._key is not None:
            self._repository.announced(self._key, size)

    def end(self, reason: str) -> None:
        """End the conversation."""
        self._peer.make_room(reason)

    def leave(self, reason: str) -> None:
        """Take note that the conversation is over."""
        if self._repository is not None and self._key is not None:
            self._repository.left(self._key)
        elif self._live is not None and self._is_unheard:
            self._live.forget_unheard(self._served, self)
        self._peer.let_go(reason)

    def _join(self, live: Conversations) -> None:
        found = live.of(self._served)
        if found is None:
            self._is_unheard = True
            live.note_unheard(self._served, self)
        elif found.served.carried is not self._served.carried:
            self.end(OPENED_ANEW)
        else:
            self._repository = found
            self._key = found.joined(self._peer, is_called=False)
