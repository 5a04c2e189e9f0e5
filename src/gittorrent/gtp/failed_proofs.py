"""Downloading: what to do when what came does not lead to the reference.

Pure. Rules:

- objects that the proof finds missing are requested by id, in some rounds;
- where blocks are commits nothing can be requested by id: what only refs other than branches name
  is looked for in the last block of everybody who has it, and left out when nobody sends it;
- when what came does not hold together and several peers sent it, all of it is forgotten and each
  peer has to give everything alone in turn: whoever fails then is dropped for sure.

Source: docs/protocol/gtp01.md, "Verification" and "The dialect of 2008".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.gtp.effects import Assemble, Discard
from gittorrent.gtp.exchange_state import Phase
from gittorrent.gtp.path_choice import PathChoice
from gittorrent.gtp.received import ReceivedBytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gittorrent.gtp.effects import PeerKey, ReelDownload
    from gittorrent.ids import Oid

MAX_REPAIRS = 4
"""Rounds of asking for missing objects before everything received is given up."""


class FailedProofs(PathChoice):
    """Goes on after a proof that failed; see the module."""

    def _mend(self, now: float, missing: Sequence[Oid]) -> None:
        """Get what is missing, do without it, or find out who lied."""
        if self.profile.blocks_are_commits:  # nothing can be requested by id
            if self._may_go_without(missing):
                self._do_without(now, missing)
            else:
                self._suspect(now)
            return
        self._repairs += 1
        if self._repairs > MAX_REPAIRS:
            self._suspect(now)
        else:
            self.phase, self._moved = Phase.REPAIRING, now
            self._lacking = list(missing)

    def _reconsider(self, now: float, *, gone: bool = False) -> None:
        self._restore_last_block()
        super()._reconsider(now, gone=gone)

    def _may_go_without(self, missing: Sequence[Oid]) -> bool:
        wanted = None if self.wanted is None else self.book.get(self.wanted)
        # What was left out once and is missed again is reached by something else.
        return (
            wanted is not None
            and self.book.may_lack(wanted).issuperset(missing)
            and not self._without.intersection(missing)
        )

    def _do_without(self, now: float, missing: Sequence[Oid]) -> None:
        """Look into the last block of another peer, or leave out what is missing."""
        fetch = self.path[-1]
        assert fetch.picker is not None
        assert self.wanted is not None
        last = fetch.picker.count - 1
        fetch.lacked.add(fetch.providers.get(last, -1))
        for peer in fetch.lacked:
            fetch.picker.refuse(peer, last)
        if self._others_with(fetch, last):
            self.phase, self._changed, self._moved = Phase.FETCHING, now, now
            fetch.picker.remove(last)
            return
        self._without |= frozenset(missing)
        self.phase = Phase.ASSEMBLING
        self._effects.append(Assemble(self.wanted, tuple(self.path), self._without))

    def _others_with(self, fetch: ReelDownload, block: int) -> bool:
        assert fetch.picker is not None
        return any(
            fetch.picker.offers(peer, block) and not book.choked and self._may_give(peer)
            for peer, book in self.peers.items()
        )

    def _restore_last_block(self) -> None:
        """Take the last block as it came first, when those who were asked for theirs are gone."""
        fetch = self.path[-1] if self.phase is Phase.FETCHING and self.path else None
        if fetch is None or fetch.picker is None or not fetch.lacked:
            return
        last = fetch.picker.count - 1
        if last not in fetch.picker.have and not fetch.picker.asked(last):
            fetch.picker.add(last)

    def _suspect(
        self,
        now: float,
        reason: str = "what it sent does not lead to the reference",
        sender: PeerKey | None = None,
    ) -> None:
        """Somebody lied: forget everything, and find out who by asking one peer at a time.

        Args:
            now: seconds.
            reason: for a lone sender, who is dropped.
            sender: of what was not stored, besides those whose blocks were.
        """
        providers = {peer for fetch in self.path for peer in fetch.providers.values()}
        providers |= set() if sender is None else {sender}
        for peer, book in self.peers.items():
            self._withdraw(peer, book, set())
        self._effects.append(Discard(tuple(fetch.reel for fetch in self.path)))
        for fetch in self.path:
            fetch.providers.clear()
            fetch.received = ReceivedBytes()
            fetch.scanned.clear()
            fetch.lacked.clear()
            fetch.spliced = False
            if fetch.picker is not None:
                fetch.picker.have.clear()
                for peer in self.peers:
                    fetch.picker.unask(peer)
        self.phase = Phase.FETCHING
        self._changed, self._repairs, self._lacking = now, 0, []
        self._moved = now
        self._without = frozenset()
        for peer in providers if len(providers) == 1 else ():
            self._drop(peer, reason)
        self._alone = len(providers) > 1
        self._reconsider(now, gone=True)
