"""Which conversations a node holds on shared connections, by number and by bytes held for them.

Tracks what each conversation has in memory, summed up for each address. Rules: when more is held
than may be, the address that holds most gives way, by its largest conversation, so that nobody
keeps out those who hold less; a newcomer whose own address is that one is refused. Of IPv6
addresses those of one /64 network count as one. Loopback has no bound of its own on their number,
because proxies and tunnels come from there. Must not know connections.
Source: docs/protocol/mirrorsync.md, mirror-mux.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.node.connection_limiter import MAX_SHARED, MAX_SHARED_PER_ADDRESS
from gittorrent.transfer.addresses import caller_group, is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable

IDLE_BYTES = 12 << 10
"""What an idle conversation costs, as measured: its tasks, buffer for lines, and tables."""

MEAN_BYTES = 16 << 10
"""Bytes for each conversation that may be held, in the mean: most are idle, a few are told much.
8,192 of them are 128 MiB."""

LEAST_BYTES = 16 << 20
"""Bytes for all conversations where few may be held: one push of a common size fits."""

YOUR_SHARE = "too much is held here for your address; connect again when you need something"
"""What those are told who have to give way."""


class ConversationShare:
    """What one conversation holds; ``end`` is called when it has to give way.

    Args:
        shares: of which it is one.
        address: IP address of the caller.
        end: ends the conversation, for a reason.
    """

    def __init__(
        self, shares: ConversationShares, address: str, end: Callable[[str], None]
    ) -> None:
        self.group = caller_group(address)
        self.end = end
        self.size = IDLE_BYTES
        self._shares = shares

    def hold(self, size: int) -> None:
        """Take note of how many bytes are held for it now, besides what an idle one costs."""
        self._shares.note(self, IDLE_BYTES + size)


class _Group:
    """The conversations of one address, in the order in which they began."""

    def __init__(self) -> None:
        self.members: dict[ConversationShare, None] = {}
        self.size = 0


class ConversationShares:
    """The conversations on shared connections.

    ``held`` is the number of bytes held for all.

    Args:
        total: conversations at once; they may hold MEAN_BYTES each in the mean.
        per_address: of one address.
    """

    def __init__(self, total: int = MAX_SHARED, per_address: int = MAX_SHARED_PER_ADDRESS) -> None:
        self._groups: dict[str, _Group] = {}
        self._count = 0
        self.held = 0
        self.change(total, per_address)

    def __len__(self) -> int:
        return self._count

    def change(self, total: int, per_address: int) -> None:
        """Hold as many from now on; those that are held stay until others need room."""
        self._total = total
        self._per_address = per_address
        self.most_bytes = max(LEAST_BYTES, total * MEAN_BYTES)

    def enter(self, address: str, end: Callable[[str], None]) -> ConversationShare | None:
        """Begin to hold a conversation, in place of others if need be; None if it may not be.

        Args:
            address: IP address of the caller.
            end: ends the conversation, for a reason; it may be called before it began.
        """
        share = ConversationShare(self, address, end)
        group = self._groups.get(share.group) or _Group()
        if not is_loopback(address) and len(group.members) >= self._per_address:
            return None
        while self._count >= self._total:
            if not self._make_room(len(group.members) + 1, lambda each: len(each.members)):
                return None
        while self.held + share.size > self.most_bytes:
            if not self._make_room(group.size + share.size, lambda each: each.size):
                return None
        self._groups[share.group] = group
        group.members[share] = None
        group.size += share.size
        self._count += 1
        self.held += share.size
        return share

    def leave(self, share: ConversationShare) -> None:
        """Take note that a conversation is over; nothing happens if it gave way before."""
        group = self._groups.get(share.group)
        if group is None or share not in group.members:
            return
        del group.members[share]
        group.size -= share.size
        self._count -= 1
        self.held -= share.size
        if not group.members:
            del self._groups[share.group]

    def note(self, share: ConversationShare, size: int) -> None:
        """Count what a conversation holds; the largest of the address with most give way to it."""
        group = self._groups.get(share.group)
        if group is None or share not in group.members:
            return
        group.size += size - share.size
        self.held += size - share.size
        share.size = size
        while self.held > self.most_bytes and self._make_room(0, lambda each: each.size):
            pass

    def _make_room(self, wanted: int, measure: Callable[[_Group], int]) -> bool:
        """End a conversation of the address that has most, if that is more than ``wanted``."""
        largest = max(self._groups.values(), key=measure, default=None)
        if largest is None or measure(largest) <= wanted:
            return False
        share = max(reversed(largest.members), key=lambda each: each.size)
        self.leave(share)
        share.end(YOUR_SHARE)
        return True
