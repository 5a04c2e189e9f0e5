"""The state of one download: parts here, parts in flight, and the peers each was asked of.

For the scheduler. Every part is in exactly one state: *verified* (in ``have``), *verifying* (its
bytes are here, its digest is being computed), *owed* (asked of one or more peers) or *idle*. The
picker's free parts are the idle ones and those owed only by peers that have stalled.

Rules: ``askers[part]`` lists the peers whose ``flights`` hold that part, and nothing else. Peers
are only added and removed here, so that the picker's counts follow their claims.
Must not know: in which order parts are asked for, or when a peer has stalled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.swarm.events import Cancel, Effect
from gittorrent.swarm.peers import Flight, Peer
from gittorrent.swarm.picker import Picker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gittorrent.swarm.bitmap import PartSet
    from gittorrent.swarm.events import PeerKey


UNKNOWN_WAIT = 10.0
"""Seconds that incomplete peers are taken to need for a part while nothing is known."""


class PackLayout(Struct, frozen=True):
    """How a pack is cut: ``parts`` parts of ``part_size`` bytes, the last one shorter."""

    parts: int
    part_size: int
    pack_size: int

    def __post_init__(self) -> None:
        if self.part_size < 1 or self.parts != -(-self.pack_size // self.part_size):
            raise ValueError(
                f"{self.pack_size} bytes in parts of {self.part_size} are not {self.parts} parts"
            )

    def size(self, part: int) -> int:
        """Return the bytes in a part."""
        return min(self.part_size, self.pack_size - part * self.part_size)


class DownloadState:
    """See the module. Arguments: the cut, the parts verified at the start, and entropy."""

    def __init__(self, layout: PackLayout, have: PartSet, random: Callable[[int], int]) -> None:
        self.layout = layout
        self.have = have.copy()
        self.prefix = self.have.first_missing()
        self.picker = Picker(self.have, random)
        self.peers: dict[PeerKey, Peer] = {}
        self.partial_peers = 0
        self.askers: dict[int, list[Peer]] = {}
        self.verifying: dict[int, PeerKey] = {}
        self.wasted_bytes = 0
        self.usual = UNKNOWN_WAIT  # seconds that a part asked of an incomplete peer takes

    def add_peer(self, peer: Peer) -> None:
        """Begin to count a peer and its claim."""
        self.peers[peer.key] = peer
        self._count_claim(peer, peer.claim)

    def drop_peer(self, peer: Peer) -> None:
        """Forget a peer; what it owes becomes idle."""
        for part in list(peer.flights):
            self.release(peer, part)
        self._uncount_claim(peer)
        del self.peers[peer.key]

    def set_claim(self, peer: Peer, claim: int | None) -> None:
        """Replace a peer's claim; parts it has refused stay out of it."""
        self._uncount_claim(peer)
        self._count_claim(peer, claim)

    def claims(self, peer: Peer, part: int) -> bool:
        """Tell whether a peer says it has a part (and has not refused it)."""
        return peer.claim is None or bool(peer.claim & self.picker.bit(part))

    def refuse(self, peer: Peer, parts: Iterable[int]) -> None:
        """Note that a peer lacks parts that it claimed."""
        claim = self.picker.everything if peer.claim is None else peer.claim
        for part in parts:
            peer.refused.add(part)
            claim &= ~self.picker.bit(part)
        self.set_claim(peer, claim)

    def _count_claim(self, peer: Peer, claim: int | None) -> None:
        everything = self.picker.everything
        for part in peer.refused:
            claim = (everything if claim is None else claim) & ~self.picker.bit(part)
        peer.claim = None if claim == everything else claim
        if peer.claim is not None:
            self.picker.add_holder(peer.claim)
            self.partial_peers += 1

    def _uncount_claim(self, peer: Peer) -> None:
        if peer.claim is not None:
            self.picker.remove_holder(peer.claim)
            self.partial_peers -= 1

    def ask(self, now: float, peer: Peer, first: int, last: int) -> None:
        """Note that a run was asked of a peer."""
        self.picker.take(first, last)
        peer.begun &= ~self.picker.run_mask(first, last)
        for part in range(first, last + 1):
            peer.fly(now, part, self.layout.size(part))
            self.askers.setdefault(part, []).append(peer)

    def note_wait(self, peer: Peer, seconds: float) -> None:
        """Note how long it took until a part came that was asked for."""
        if peer.claim is not None:
            self.usual += 0.2 * (seconds - self.usual)

    def release(self, peer: Peer, part: int) -> Flight:
        """Note that a peer no longer owes a part; if no live peer owes it, it is free again."""
        flight = peer.flights.pop(part)
        left = self.askers[part]
        left.remove(peer)
        if not left:
            del self.askers[part]
        if part not in self.verifying and all(other.flights[part].shared for other in left):
            self.picker.give_back(part)
        return flight

    def share(self, peer: Peer, part: int) -> None:
        """A peer still owes a part, but others may be asked for it at once."""
        peer.flights[part].shared = True
        if all(other.flights[part].shared for other in self.askers[part]):
            self.picker.give_back(part)

    def cancel_all(self, part: int) -> list[Peer]:
        """Note that a part came, and return the peers that owed it."""
        owing = list(self.askers.get(part, ()))
        for peer in owing:
            self.wasted_bytes += self.release(peer, part).received
        self.picker.take(part, part)
        return owing

    def arrive(self, part: int, key: PeerKey) -> bool:
        """The bytes of a part came from a peer; tell whether they were still wanted.

        A copy that comes while another is being verified is dropped by the shell; should the
        first prove wrong, the part has to be asked for again.
        """
        if part in self.have or part in self.verifying:
            self.wasted_bytes += self.layout.size(part)
            return False
        self.verifying[part] = key
        self.picker.take(part, part)
        return True

    def reject(self, part: int, key: PeerKey) -> None:
        """The bytes that came from a peer were wrong; the part is idle again."""
        if self.verifying.get(part) != key:
            return
        del self.verifying[part]
        if part not in self.askers:
            self.picker.give_back(part)

    def complete(self, part: int) -> None:
        """The part is verified and stored."""
        self.have.add(part)
        self.picker.done(part)
        self.verifying.pop(part, None)
        if part == self.prefix:
            self.prefix = self.have.first_missing(part)

    def check_invariant(self) -> None:
        """Raise AssertionError if the state contradicts itself; for tests."""
        self.picker.check_invariant()
        owed: dict[int, set[int]] = {}
        for peer in self.peers.values():
            for part in peer.flights:
                owed.setdefault(part, set()).add(peer.key)
        assert owed == {part: {p.key for p in who} for part, who in self.askers.items()}
        for part, who in self.askers.items():
            assert part not in self.have, f"part {part} is here and owed"
            assert part not in self.verifying, f"part {part} has arrived and is owed"
            free = bool(self.picker.free & self.picker.bit(part))
            shared = all(peer.flights[part].shared for peer in who)
            assert shared or not free, f"part {part} is offered though a live peer owes it"
        accounted = self.picker.free
        for part in [*self.askers, *self.verifying, *self.have]:
            accounted |= self.picker.bit(part)
        assert accounted == self.picker.everything, "a part was forgotten"
        assert not any(part in self.have for part in self.verifying)
        assert self.prefix == self.have.first_missing()
        assert self.partial_peers == sum(p.claim is not None for p in self.peers.values())


def cancels(key: PeerKey, parts: Iterable[int]) -> list[Effect]:
    """Return the cancellations for some parts of one peer, consecutive parts in one."""
    made: list[Effect] = []
    for part in sorted(parts):
        last = made[-1] if made else None
        if isinstance(last, Cancel) and last.last == part - 1:
            made[-1] = Cancel(key, last.first, part)
        else:
            made.append(Cancel(key, part, part))
    return made
