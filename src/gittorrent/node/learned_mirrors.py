"""Mirrors of one repository that others tell of in live conversations.

Tracks them as long as the repository is live. Rules: nobody tells of more than its share, and what
is told leads no further than to where whoever told of it may send us; the newest are kept. Where
such an address leads is judged when it is called, like every learned one.
Source: docs/protocol/mirrorsync.md, Learned addresses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gittorrent.transfer.reaching import learned
from gittorrent.wire.mirrorlist import MirrorState
from gittorrent.wire.urls import address_class, less_trusted

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.transfer.reaching import Source
    from gittorrent.wire.messages import Try
    from gittorrent.wire.urls import AddressClass

MAX_LEARNED = 64
"""Mirrors that are remembered: many more than are ever called."""

MAX_FROM_ONE = 40
"""Of those, how many the mirror that the operator named may tell of in one conversation."""

MAX_FROM_OTHERS = 8
"""The same for mirrors that were themselves learned of."""


class Teller(Protocol):
    """Who tells of mirrors."""

    @property
    def address(self) -> str:
        """Where it is; empty if that is not known."""
        ...


class LearnedMirrors:
    """The mirrors that were told of."""

    def __init__(self) -> None:
        self.sources: dict[str, Source] = {}

    def teller(self, trusted: AddressClass | None) -> Callable[[Teller, Try], None]:
        """Return what takes the words of one mirror, for one conversation.

        Args:
            trusted: kind of address that this mirror was learned from; None if it was named.
        """
        left = MAX_FROM_ONE if trusted is None else MAX_FROM_OTHERS

        def told(mirror: Teller, message: Try) -> None:
            nonlocal left
            if message.entry.state is not MirrorState.CURRENT or not left or not mirror.address:
                return
            own = address_class(mirror.address)
            may_send = own if trusted is None else less_trusted(trusted, own)
            found = learned(message.entry.url, may_send)
            if found is None:
                return
            left -= 1
            self.sources.pop(found.url, None)
            self.sources[found.url] = found
            while len(self.sources) > MAX_LEARNED:
                del self.sources[next(iter(self.sources))]

        return told
