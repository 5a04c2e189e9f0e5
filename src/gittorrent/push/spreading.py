"""What mirrors tell each other of pushes and checkpoints, and what each asks of whom.

Pure. Conversations and what is here come in; what to say and to ask for comes out
(docs/protocol/mirrorsync.md, "Live conversations").

Tracks for each peer what it is known to have, and for everything that is missing here who has it
and who was asked. Rules: everybody who says which checkpoint it has is told what is new, once, and
never what it told us; one peer is asked at a time, and another one too when the first takes long;
what a peer says is remembered within bounds and asked for within bounds; whoever sends what does
not hold is talked to no more. Must not know what a push says, nor connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NewType, Protocol, TypeVar

from msgspec import Struct, field

from gittorrent.push.postponed import Postponed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gittorrent.ids import PushId

V = TypeVar("V")

PeerKey = NewType("PeerKey", int)
"""Names a conversation."""

MAX_KNOWN = 8192
"""Ids remembered that a peer has; what is forgotten may be told it again."""

MAX_OFFERED = 1024
"""Ids remembered that a peer says it has and that are not here. The pushes of four keys; what is
over comes when the two talk again."""

MAX_REFUSED = 4096
"""Ids remembered that were judged and not taken, until the log moves on."""

MAX_ASKED = 16
"""Questions open to one peer: enough to keep a distant one busy with small things."""

MAX_VAIN = 16
"""Questions in a row about what a peer said it has that may come to nothing: what it had may be
gone by the time."""

MAX_AT_ONCE = 3
"""Peers asked for the same thing at once."""

MAX_INVITED = 3
"""Peers that are asked to send pushes with the news of them: each push comes from all of these, so
that it comes without a question from whoever is the first."""

SLOW_SECONDS = 2.0
"""Time after which another peer is asked too."""


class Item(Struct, frozen=True):
    """Something that can be told of.

    Args:
        id: its push id.
        number: of a checkpoint; 0 for pushes and policies.
    """

    id: PushId
    number: int = 0


class Tell(Struct, frozen=True):
    """Say that it is here."""

    peer: PeerKey
    item: Item


class Fetch(Struct, frozen=True):
    """Ask for one entry and what belongs to it; then `took`, `refused`, `lacks` or `failed`."""

    peer: PeerKey
    item: Item


class FetchLog(Struct, frozen=True):
    """Ask for everything up to a checkpoint that is several ahead; ends like `Fetch`."""

    peer: PeerKey
    item: Item


class Invite(Struct, frozen=True):
    """Ask it to send small pushes along with the news of them."""

    peer: PeerKey


class Drop(Struct, frozen=True):
    """End the conversation: the peer sent what does not hold."""

    peer: PeerKey
    reason: str


Effect = Tell | Fetch | FetchLog | Invite | Drop


class Shelf(Protocol):
    """What is here."""

    def holds(self, entry: PushId) -> bool:
        """Tell whether an entry is here, waiting ones included."""

    def head(self) -> Item:
        """Return the checkpoint adopted."""

    def begins(self) -> int:
        """Return the number of the first checkpoint that is known here."""

    def open(self) -> Sequence[PushId]:
        """Return what no checkpoint names yet: policies, oldest first, then pushes."""


class _Peer(Struct):
    """What is known of one peer.

    Args:
        known: what it has or was told of.
        offered: what it has and is not here.
        asked: what it was asked for, and when.
        follows: whether it is told what is new.
        is_called: whether it was called from here.
        is_invited: whether it sends pushes along with the news of them.
        vain: questions in a row that came to nothing.
    """

    known: dict[PushId, None] = field(default_factory=dict)
    offered: dict[PushId, Item] = field(default_factory=dict)
    asked: dict[PushId, float] = field(default_factory=dict)
    follows: bool = False
    is_called: bool = False
    is_invited: bool = False
    vain: int = 0


class _Refused(Struct):
    """What was judged and not taken: whether the next checkpoint may change that, who has it."""

    item: Item
    again: bool
    holders: dict[PeerKey, None]


class Spreading:
    """Decides for one repository.

    Args:
        shelf: what is here.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._peers: dict[PeerKey, _Peer] = {}
        self._holders: dict[PushId, dict[PeerKey, None]] = {}  # who offers what
        self._asked: dict[PushId, dict[PeerKey, None]] = {}
        self._refused: dict[PushId, _Refused] = {}
        self._postponed = Postponed()  # only what somebody offers

    def __contains__(self, peer: PeerKey) -> bool:
        return peer in self._peers

    def __len__(self) -> int:
        """Return how many peers there are."""
        return len(self._peers)

    @property
    def remembered(self) -> int:
        """How many ids are remembered in all: bounded, whatever peers say."""
        refused = sum(1 + len(entry.holders) for entry in self._refused.values())
        return (
            len(self._postponed)
            + refused
            + sum(
                len(peer.known) + len(peer.offered) + len(peer.asked)
                for peer in self._peers.values()
            )
        )

    # -- peers

    def joined(self, peer: PeerKey, *, is_called: bool) -> list[Effect]:
        """Take note of a conversation.

        Args:
            peer: the other end.
            is_called: whether it was called from here, so that it is told what we have first;
                whoever calls says so itself if it wants to be told of news.
        """
        self._peers[peer] = _Peer(is_called=is_called)
        return [self._tell(peer, self._shelf.head()), *self._invited()] if is_called else []

    def left(self, peer: PeerKey, now: float) -> list[Effect]:
        """Take note that a conversation is over."""
        effects: list[Effect] = []
        for entry in list(self._peers[peer].offered) if peer in self._peers else ():
            self._withdraw(peer, entry)
        gone = self._peers.pop(peer, None)
        for entry in () if gone is None else gone.asked:
            effects += self._ask_another(peer, entry, now)
        return effects + self._invited()

    def told(self, peer: PeerKey, item: Item, now: float) -> list[Effect]:
        """Take note that a peer says that it has something."""
        state = self._peers.get(peer)
        if state is None:
            return []
        effects: list[Effect] = []
        _remember(state.known, item.id, None, MAX_KNOWN)
        if item.number and not state.follows:
            state.follows = True
            effects += [*self._tell_all(peer, state), *self._invited()]
        if not self._is_wanted(item) or self._shelf.holds(item.id):
            return effects
        if item.number:
            # Of checkpoints only its newest one matters: the others are on the way to it.
            for old in [known.id for known in state.offered.values() if known.number]:
                self._withdraw(peer, old)
        refused = self._refused.get(item.id)
        if refused is not None:
            refused.holders[peer] = None
            return effects
        self._offer(peer, item, now)
        if self._is_due(item.id, now) and len(state.asked) < MAX_ASKED:
            effects.append(self._question(peer, item, now))
        return effects

    def sent(self, peer: PeerKey, item: Item, now: float) -> bool:
        """Take note that a peer sent an entry along with the news of it.

        Returns:
            Whether it is wanted; what becomes of it is told as of an answer. Otherwise the peer
            has `told` of it.
        """
        state = self._peers.get(peer)
        if state is None or not state.is_invited or item.id in state.asked:
            return False
        is_early = not self._postponed.is_due(item.id, now)
        is_known = item.id in self._refused or self._shelf.holds(item.id)
        if is_early or is_known or len(state.asked) >= MAX_ASKED:
            return False
        _remember(state.known, item.id, None, MAX_KNOWN)
        self._offer(peer, item, now)
        self._question(peer, item, now)
        return True

    # -- what became of what was asked for

    def took(self, item: Item, now: float) -> list[Effect]:
        """Take note that an entry is here, from wherever it came, and tell others of it."""
        effects: list[Effect] = [
            self._tell(peer, item)
            for peer, state in self._peers.items()
            if state.follows and item.id not in state.known
        ]
        return effects + self.kept(item.id, now)

    def kept(self, entry: PushId, now: float) -> list[Effect]:
        """Take note that an entry is here but waits, so that nobody is told of it yet."""
        for peer in list(self._holders.get(entry, ())):
            self._withdraw(peer, entry)
        return self._answered(entry, now)

    def moved(self, now: float, *, is_new_policy: bool) -> list[Effect]:
        """Take note that another checkpoint or policy counts: what was refused may hold now."""
        again = [entry for entry, old in self._refused.items() if old.again or is_new_policy]
        for refused in map(self._refused.pop, again):
            for key in refused.holders:
                if key in self._peers:
                    self._offer(key, refused.item, now)
        for key, peer in self._peers.items():
            for entry, item in list(peer.offered.items()):
                if self._shelf.holds(entry) or not self._is_wanted(item):
                    self._withdraw(key, entry)
        return self._ask(self._peers, now)

    def refused(self, entry: PushId, now: float, *, again: bool) -> list[Effect]:
        """Take note that an entry is what it was said to be and is not wanted here.

        Args:
            entry: its id.
            now: the time.
            again: whether that ends with the next checkpoint, as for one over its key's quota;
                otherwise a policy would have to change.
        """
        refused = _Refused(Item(entry), again, {})
        for key in list(self._holders.get(entry, ())):
            self._withdraw(key, entry)
            refused.holders[key] = None
        _remember(self._refused, entry, refused, MAX_REFUSED)
        return self._answered(entry, now)

    def lacks(self, peer: PeerKey, items: Iterable[Item], now: float) -> list[Effect]:
        """Take note that something from a peer names what is not here, which it ought to have."""
        state = self._peers.get(peer)
        if state is None:
            return []
        for item in items:
            if not self._shelf.holds(item.id):
                self._refused.pop(item.id, None)  # a checkpoint names it
                self._offer(peer, item, now)
        return self._ask([peer], now)

    def failed(self, peer: PeerKey, entry: PushId, now: float) -> list[Effect]:
        """Take note that a peer does not give what it said it has; others are asked."""
        state = self._peers.get(peer)
        if state is None or state.asked.pop(entry, None) is None:
            return []
        self._withdraw(peer, entry)
        effects = self._ask_another(peer, entry, now)
        state.vain += 1
        if state.vain >= MAX_VAIN:
            return effects + self.lied(peer, "it does not have what it says it has", now)
        return effects + self._ask([peer], now)

    def incomplete(self, peer: PeerKey, entry: PushId, now: float) -> list[Effect]:
        """Take note that an entry came without its objects, and nobody gives them now."""
        if self._others(entry):
            return self.failed(peer, entry, now)
        return self.postponed(entry, now)

    def postponed(self, entry: PushId, now: float) -> list[Effect]:
        """Take note that an entry came and could not be taken in; it is asked for again later."""
        if entry in self._holders:
            self._postponed.put(entry, now)
        return self._answered(entry, now)

    def heard_news(self, now: float) -> list[Effect]:
        """Take note of a mirror that may have what objects are missing for."""
        for entry in list(self._postponed):
            self._postponed.heard_news(entry, now)
        return self.tick(now)

    def lied(self, peer: PeerKey, reason: str, now: float) -> list[Effect]:
        """Take note that a peer sent what does not hold."""
        return [Drop(peer, reason), *self.left(peer, now)]

    # -- time

    @property
    def is_asking(self) -> bool:
        """Whether `tick` may have something to do: anybody was asked for anything, or will be."""
        return bool(self._asked or self._postponed)

    def next_deadline(self) -> float | None:
        """Return when `tick` is due at the latest; None while nothing depends on the time."""
        waiting = [
            max(self._peers[peer].asked[entry] for peer in asked) + SLOW_SECONDS
            for entry, asked in self._asked.items()
            if len(asked) < MAX_AT_ONCE and self._others(entry)
        ]
        later = [self._postponed.until(each) for each in self._postponed if each not in self._asked]
        return min([*waiting, *(each for each in later if each is not None)], default=None)

    def is_offered(self, entry: PushId) -> bool:
        """Tell whether anybody says that it has an entry, and it is not here."""
        return entry in self._holders

    def asks_again(self, entry: PushId) -> float | None:
        """Return when an entry is asked for again that could not be taken in."""
        return self._postponed.until(entry)

    def tick(self, now: float) -> list[Effect]:
        """Take note of the time: who takes long is not waited for alone, some is asked again."""
        effects: list[Effect] = []
        for entry in list(self._postponed):
            for peer in self._others(entry)[:1] if self._is_due(entry, now) else ():
                effects.append(self._question(peer, self._peers[peer].offered[entry], now))
        for entry, asked in list(self._asked.items()):
            since = max(self._peers[peer].asked[entry] for peer in asked)
            others = self._others(entry) if now >= since + SLOW_SECONDS else ()
            if others and len(asked) < MAX_AT_ONCE:
                peer = others[0]
                effects.append(self._question(peer, self._peers[peer].offered[entry], now))
        return effects

    # -- deciding

    def _is_wanted(self, item: Item) -> bool:
        # One that is no newer is held if it is of the chain adopted; if it is not, it is proof
        # against the keeper, or where the roots let another one go on.
        return not item.number or item.number > self._shelf.begins()

    def _is_due(self, entry: PushId, now: float) -> bool:
        """Tell whether somebody may be asked for an entry: nobody was, or not lately."""
        return entry not in self._asked and self._postponed.is_due(entry, now)

    def _tell(self, peer: PeerKey, item: Item) -> Tell:
        _remember(self._peers[peer].known, item.id, None, MAX_KNOWN)
        return Tell(peer, item)

    def _invited(self) -> list[Effect]:
        """Invite peers as long as there are too few: those that were called come first."""
        missing = MAX_INVITED - sum(peer.is_invited for peer in self._peers.values())
        effects: list[Effect] = []
        for called in (True, False):
            for key, peer in self._peers.items():
                may_be = peer.is_called if called else peer.follows
                if len(effects) < missing and may_be and not peer.is_invited:
                    peer.is_invited = True
                    effects.append(Invite(key))
        return effects

    def _tell_all(self, peer: PeerKey, state: _Peer) -> list[Effect]:
        items = [self._shelf.head(), *map(Item, self._shelf.open())]
        return [self._tell(peer, item) for item in items if item.id not in state.known]

    def _answered(self, entry: PushId, now: float) -> list[Effect]:
        """Take note that nobody need give an entry any more; ask the same ones for others."""
        asked = self._asked.pop(entry, {})
        for key in asked:
            peer = self._peers[key]
            del peer.asked[entry]
            peer.vain = 0
        return self._ask(asked, now)

    def _ask_another(self, peer: PeerKey, entry: PushId, now: float) -> list[Effect]:
        """Take note that a peer gives an entry no more; ask somebody else unless others do."""
        asked = self._asked[entry]
        del asked[peer]
        if asked:
            return []
        del self._asked[entry]
        others = self._others(entry)
        if not others:
            return []
        return [self._question(others[0], self._peers[others[0]].offered[entry], now)]

    def _others(self, entry: PushId) -> list[PeerKey]:
        """Return who has an entry and could be asked for it too."""
        return [
            key
            for key in self._holders.get(entry, ())
            if entry not in self._peers[key].asked and len(self._peers[key].asked) < MAX_ASKED
        ]

    def _offer(self, key: PeerKey, item: Item, now: float) -> None:
        """Remember that a peer has what is not here."""
        if key not in self._holders.get(item.id, ()):
            self._postponed.heard_news(item.id, now)
        offered = self._peers[key].offered
        offered.pop(item.id, None)
        while len(offered) >= MAX_OFFERED:
            self._withdraw(key, next(iter(offered)))
        offered[item.id] = item
        self._holders.setdefault(item.id, {})[key] = None

    def _withdraw(self, key: PeerKey, entry: PushId) -> None:
        """Forget that a peer has something."""
        if self._peers[key].offered.pop(entry, None) is not None:
            holders = self._holders[entry]
            del holders[key]
            if not holders:
                del self._holders[entry]
                self._postponed.drop(entry)

    def _ask(self, peers: Iterable[PeerKey], now: float) -> list[Effect]:
        """Ask peers that have room for what nobody was asked for."""
        effects: list[Effect] = []
        for key in [key for key in peers if key in self._peers]:
            peer = self._peers[key]
            for entry, item in list(peer.offered.items()):
                if len(peer.asked) >= MAX_ASKED:
                    break
                if not self._is_due(entry, now):
                    continue
                if self._shelf.holds(entry):
                    self._withdraw(key, entry)
                    continue
                effects.append(self._question(key, item, now))
        return effects

    def _question(self, peer: PeerKey, item: Item, now: float) -> Fetch | FetchLog:
        self._peers[peer].asked[item.id] = now
        self._asked.setdefault(item.id, {})[peer] = None
        is_next = not item.number or item.number <= self._shelf.head().number + 1
        return Fetch(peer, item) if is_next else FetchLog(peer, item)


def _remember(ids: dict[PushId, V], key: PushId, value: V, most: int) -> None:
    """Put something into a dictionary that forgets the oldest beyond ``most``."""
    ids.pop(key, None)
    while len(ids) >= most:
        del ids[next(iter(ids))]
    ids[key] = value
