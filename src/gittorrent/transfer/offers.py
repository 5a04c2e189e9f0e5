"""The reels that mirrors offer, how well each is backed, and which chains are worth verifying.

An offer is hearsay: it costs nothing to make, and the most tempting may be the least true. So ways
are proved side by side: the one that rests on offers with *backing*, which are those of the first
mirror and those that peers at two unrelated addresses make; the best that anybody offers; and the
best of those who have no part in the ways before. Whoever made an offer that did not hold is not
listened to any more in this run.

Must not know: sockets, or how manifests are verified.
Source: docs/protocol/mirrorsync.md, Offers.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gittorrent.reel.path import ReelOffer, best_path
from gittorrent.shapes import WHOLE, Shape, ShapeKind
from gittorrent.transfer.addresses import caller_group, is_loopback

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from gittorrent.ids import PushId
    from gittorrent.transfer.mirror import Mirror
    from gittorrent.wire.messages import HaveBundle

MAX_UNBACKED = 1000
"""Offers of one peer that count without backing: as many as this program makes."""

MAX_WAYS = 8
"""Ways that are proved side by side."""

FAULTS = 3
"""Failed offers of a trusted mirror before it is ignored: mirrors drop some, and keys change."""


class OfferBans:
    """Whose offers are not listened to in this run: by URL, and by address once one was false.

    Those who withheld something in an earlier run are listened to once others do not do.
    """

    def __init__(self) -> None:
        self._faults: Counter[str] = Counter()
        self._silent: set[str] = set()
        self._before: set[str] = set()
        self._fleeting: set[str] = set()
        self._gave: set[str] = set()
        self._groups: set[str] = set()
        self._only_first = False

    def fault(self, mirror: Mirror) -> int:
        """Count an offer that came to nothing; returns how many there were."""
        self._faults[mirror.url] += 1
        return self._faults[mirror.url]

    def silence(self, mirror: Mirror, *, is_fleeting: bool = False) -> None:
        """Listen to a mirror no more; ``is_fleeting`` for what says nothing of later runs."""
        self._silent.add(mirror.url)
        if is_fleeting or mirror.called_us:
            self._fleeting.add(mirror.url)

    def withheld_before(self, urls: Iterable[str]) -> None:
        """Leave those aside that withheld something in an earlier run."""
        self._before |= set(urls)

    def listen_to_all(self) -> bool:
        """Listen to those, too: others do not do. Tells whether there are any."""
        were_any = bool(self._before - self._silent)
        self._before.clear()
        return were_any

    def gave(self, urls: Iterable[str]) -> None:
        """Note who gave parts that hold."""
        self._gave |= set(urls)

    @property
    def to_remember(self) -> set[str]:
        """The URLs of those who withheld something in this run."""
        return self._silent - self._fleeting

    @property
    def to_forgive(self) -> set[str]:
        """The URLs of those who gave parts in this run and withheld nothing."""
        return self._gave - self._silent

    def suspect(self, mirror: Mirror) -> None:
        """Ignore offers from a mirror's address from now on: it made an offer up."""
        if group := group_of(mirror):
            self._groups.add(group)

    def keep_to_first(self) -> None:
        """Listen to the first mirror alone from now on."""
        self._only_first = True

    def is_silent(self, url: str) -> bool:
        """Tell whether what was at a URL is not listened to for what it did itself."""
        return url in self._silent or url in self._before

    def is_out(self, mirror: Mirror, first: Mirror | None) -> bool:
        """Tell whether a mirror is not listened to; the first one only for what it did itself."""
        if mirror.url in self._silent:
            return True
        is_aside = (
            self._only_first or group_of(mirror) in self._groups or mirror.url in self._before
        )
        return mirror is not first and is_aside


def group_of(mirror: Mirror) -> str:
    """Return what peers have in common that may be one person.

    Empty while nobody knows, and for loopback: tunnels end there, and everybody on this machine.
    """
    address = mirror.address
    return caller_group(address) if address and not is_loopback(address) else ""


class Offers:
    """What one acquisition was offered for one log.

    Args:
        log: ids of its checkpoints, oldest first; offers for others are passed over.
        first: the mirror the user named, or that is tried in its place.
        begins_late: whether there are older ones, unknown here, that a way may lead over.
        shape: of the reels that are looked for; others are passed over. None: those of single
            commits, whichever they hold.
    """

    def __init__(
        self,
        log: Sequence[PushId],
        first: Mirror | None,
        *,
        begins_late: bool = False,
        shape: Shape | None = WHOLE,
    ) -> None:
        self._shape = shape
        self._log = log
        self._begins_late = begins_late
        self._known = frozenset(log)
        self._first = first
        self._makers: dict[ReelOffer, list[Mirror]] = {}
        self._unbacked: Counter[int] = Counter()
        self._ways: list[list[ReelOffer]] | None = None
        self._firsts: list[ReelOffer] | None = None

    def __bool__(self) -> bool:
        return bool(self._makers)

    def __contains__(self, offer: ReelOffer) -> bool:
        return offer in self._makers

    def take(self, mirror: Mirror, message: HaveBundle) -> None:
        """Note an offer, if it is for this log and not one too many."""
        if not self._is_looked_for(message.shape):
            return
        start, end = message.reel.start, message.reel.end
        is_known = end in self._known and (start is None or start in self._known)
        if not (is_known or self._begins_late):
            return
        offer = ReelOffer(message.manifest, start, end, message.pack_size, message.shape)
        makers = self._makers.get(offer)
        if makers is None:
            if mirror is not self._first:
                if self._unbacked[id(mirror)] >= MAX_UNBACKED:
                    return
                self._unbacked[id(mirror)] += 1
            self._makers[offer] = [mirror]
        elif mirror not in makers:
            makers.append(mirror)
        self._ways = self._firsts = None

    def _is_looked_for(self, shape: Shape) -> bool:
        return shape.kind is ShapeKind.TIP if self._shape is None else shape == self._shape

    def best_backed(self) -> list[ReelOffer]:
        """Return all offers: those with backing first, and of each kind those of newest ends."""
        places = {checkpoint: number for number, checkpoint in enumerate(self._log)}
        return sorted(
            self._makers,
            key=lambda offer: (self.has_backing(offer), places.get(offer.end, -1)),
            reverse=True,
        )

    def makers(self, offer: ReelOffer) -> list[Mirror]:
        """Return who makes an offer: the first mirror first, then those at different addresses."""
        makers = self._makers.get(offer, [])
        seen: Counter[str] = Counter()
        ranked = []
        for number, mirror in enumerate(makers):
            group = group_of(mirror)
            ranked.append((mirror is not self._first, seen[group], number, mirror))
            seen[group] += 1
        return [mirror for *_, mirror in sorted(ranked, key=lambda entry: entry[:3])]

    def has_backing(self, offer: ReelOffer) -> bool:
        """Tell whether more than one stranger's word speaks for an offer."""
        makers = self._makers.get(offer, [])
        groups = {group_of(mirror) for mirror in makers} - {""}
        return self._first in makers or len(groups) > 1

    def is_of_first(self, offer: ReelOffer) -> bool:
        """Tell whether the first mirror makes an offer."""
        return self._first in self._makers.get(offer, [])

    def drop(self, offer: ReelOffer) -> None:
        """Forget an offer for which no mirror sent a manifest."""
        self._makers.pop(offer, None)
        self._ways = self._firsts = None

    def forget(self, mirror: Mirror, proved: Collection[ReelOffer]) -> None:
        """Forget what a mirror offers; what is proved stays true whoever said it."""
        for offer, makers in list(self._makers.items()):
            if mirror in makers:
                makers.remove(mirror)
                if not makers and offer not in proved:
                    del self._makers[offer]
        self._ways = self._firsts = None

    def way_of_first(self, have: Collection[PushId]) -> list[ReelOffer]:
        """Return the best way by what the first mirror offers; empty if there is none.

        Args:
            have: pushes whose objects are here.
        """
        if self._firsts is None:
            own = [offer for offer, makers in self._makers.items() if self._first in makers]
            self._firsts = self._best_path(own, have)
        return self._firsts

    def ways(
        self, have: Collection[PushId], proved: Collection[ReelOffer]
    ) -> list[list[ReelOffer]]:
        """Return ways to prove: the one with backing (or an empty one), the best, its rivals.

        Args:
            have: pushes whose objects are here.
            proved: offers whose manifests are verified already.
        """
        if self._ways is None:
            offers = list(self._makers)
            trusted = [o for o in offers if o in proved or self.has_backing(o)]
            ways = [self._best_path(trusted, have)]
            tested: list[Mirror] = []
            while offers and len(ways) < MAX_WAYS:
                way = self._best_path(offers, have)
                if not way:
                    break
                ways.append(way)
                for offer in way:
                    tested += [] if offer in proved else self._makers[offer]
                offers = [o for o in offers if o in proved or self._has_others(o, tested)]
                if all(offer in proved for offer in way):
                    break
            self._ways = ways
        return self._ways

    def _best_path(
        self, offers: Collection[ReelOffer], have: Collection[PushId]
    ) -> list[ReelOffer]:
        return best_path(offers, have, self._log, begins_late=self._begins_late)

    def _has_others(self, offer: ReelOffer, tested: Collection[Mirror]) -> bool:
        return any(mirror not in tested for mirror in self._makers[offer])
