"""Whom a mirror tells of what, and whom it asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gittorrent.ids import PushId
from gittorrent.push.postponed import FIRST_RETRY, LAST_NEWS_RETRY, LAST_RETRY
from gittorrent.push.spreading import (
    MAX_ASKED,
    MAX_INVITED,
    MAX_KNOWN,
    MAX_OFFERED,
    MAX_REFUSED,
    MAX_VAIN,
    SLOW_SECONDS,
    Drop,
    Fetch,
    FetchLog,
    Invite,
    Item,
    PeerKey,
    Spreading,
    Tell,
)
from support.pushlog import name_of


def entry(number: int) -> PushId:
    """Return the id of some entry."""
    return name_of(b"entry %d" % number)


A, B, C = PeerKey(1), PeerKey(2), PeerKey(3)
HEAD = Item(entry(1), 5)
PUSH = Item(entry(2))


def item(number: int) -> Item:
    return Item(entry(1000 + number))


@dataclass
class Here:
    """What is here."""

    newest: Item = HEAD
    first: int = HEAD.number
    untaken: list[PushId] = field(default_factory=list)
    entries: set[PushId] = field(default_factory=lambda: {HEAD.id})

    def holds(self, entry: PushId) -> bool:
        return entry in self.entries

    def head(self) -> Item:
        return self.newest

    def begins(self) -> int:
        return self.first

    def open(self) -> Sequence[PushId]:
        return self.untaken

    def add(self, got: Item) -> Item:
        self.entries.add(got.id)
        if got.number:
            self.newest = got
        return got


def talking(here: Here, *peers: PeerKey) -> Spreading:
    """Return a machine whose peers follow what is new and have what is here."""
    spreading = Spreading(here)
    for peer in peers:
        spreading.joined(peer, is_called=False)
        spreading.told(peer, HEAD, 0.0)
    return spreading


def test_a_checkpoint_beside_ours_is_asked_for() -> None:
    """One that is no newer, and is none of ours, is proof against the keeper."""
    here = Here(first=1)
    spreading = Spreading(here)
    spreading.joined(A, is_called=False)
    beside = Item(entry(9), HEAD.number)
    assert Fetch(A, beside) in spreading.told(A, beside, 0.0)
    here.entries.add(entry(8))
    assert not _questions(spreading.told(A, Item(entry(8), HEAD.number - 1), 0.0))
    older = Here(first=HEAD.number)
    late = Spreading(older)
    late.joined(A, is_called=False)
    assert not _questions(late.told(A, beside, 0.0)), "nobody here can tell whose it is"


def _questions(effects: Sequence[object]) -> list[object]:
    return [effect for effect in effects if isinstance(effect, Fetch | FetchLog)]


def test_who_is_called_is_told_what_we_have() -> None:
    spreading = Spreading(Here(untaken=[PUSH.id]))
    assert spreading.joined(A, is_called=True) == [Tell(A, HEAD), Invite(A)]
    assert spreading.told(A, Item(entry(9), 3), 0.0) == [Tell(A, PUSH)]
    assert spreading.told(A, Item(entry(8), 4), 0.0) == []


def test_a_clone_that_calls_is_told_of_no_news() -> None:
    here = Here()
    spreading = Spreading(here)
    assert spreading.joined(A, is_called=False) == []
    assert spreading.took(here.add(PUSH), 0.0) == []


def test_news_go_to_everybody_but_who_told_them() -> None:
    here = Here()
    spreading = talking(here, A, B, C)
    assert spreading.told(A, PUSH, 0.0) == [Fetch(A, PUSH)]
    assert spreading.told(B, PUSH, 0.0) == []
    assert spreading.took(here.add(PUSH), 0.0) == [Tell(C, PUSH)]
    assert spreading.told(C, PUSH, 0.0) == []
    assert spreading.took(PUSH, 0.0) == []


def test_another_one_is_asked_when_the_first_fails() -> None:
    spreading = talking(Here(), A, B)
    assert spreading.told(A, PUSH, 0.0) == [Fetch(A, PUSH)]
    assert spreading.told(B, PUSH, 0.0) == []
    assert spreading.failed(A, PUSH.id, 0.0) == [Fetch(B, PUSH)]
    assert spreading.failed(B, PUSH.id, 0.0) == []
    assert spreading.failed(B, PUSH.id, 0.0) == []


def test_another_one_is_asked_when_the_first_is_gone() -> None:
    spreading = talking(Here(), A, B)
    spreading.told(A, PUSH, 0.0)
    spreading.told(B, PUSH, 0.0)
    assert spreading.left(A, 0.0) == [Fetch(B, PUSH)]
    assert A not in spreading
    assert len(spreading) == 1


def test_another_one_is_asked_too_when_the_first_is_slow() -> None:
    spreading = talking(Here(), A, B)
    spreading.told(A, PUSH, 1.0)
    assert spreading.next_deadline() is None
    spreading.told(B, PUSH, 1.0)
    assert spreading.next_deadline() == 1.0 + SLOW_SECONDS
    assert spreading.tick(1.0) == []
    assert spreading.tick(1.0 + SLOW_SECONDS) == [Fetch(B, PUSH)]
    assert spreading.next_deadline() is None
    assert spreading.failed(A, PUSH.id, 4.0) == []


def test_the_next_checkpoint_is_asked_for_alone() -> None:
    spreading = talking(Here(), A)
    following = Item(entry(6), HEAD.number + 1)
    assert spreading.told(A, following, 0.0) == [Fetch(A, following)]


def test_a_later_checkpoint_is_asked_for_with_all_before_it() -> None:
    spreading = talking(Here(), A)
    later = Item(entry(6), HEAD.number + 2)
    assert spreading.told(A, later, 0.0) == [FetchLog(A, later)]


def test_of_checkpoints_the_newest_counts() -> None:
    here = Here()
    spreading = talking(here, A, B)
    first, second = Item(entry(6), 6), Item(entry(7), 7)
    spreading.told(A, first, 0.0)
    assert spreading.told(B, first, 0.0) == []
    assert spreading.told(B, second, 0.0) == [FetchLog(B, second)]
    here.add(second)
    assert spreading.took(second, 0.0) == [Tell(A, second)]
    assert spreading.told(B, first, 0.0) == []


def test_what_a_checkpoint_names_is_asked_of_who_sent_it() -> None:
    spreading = talking(Here(), A)
    assert spreading.lacks(A, [PUSH], 0.0) == [Fetch(A, PUSH)]
    assert spreading.lacks(B, [PUSH], 0.0) == []


def test_few_questions_at_once() -> None:
    here = Here()
    spreading = talking(here, A)
    effects = [effect for n in range(MAX_ASKED + 1) for effect in spreading.told(A, item(n), 0.0)]
    assert len(effects) == MAX_ASKED
    assert spreading.took(here.add(item(0)), 0.0) == [Fetch(A, item(MAX_ASKED))]


def test_what_was_refused_is_asked_for_when_that_may_have_changed() -> None:
    spreading = talking(Here(), A)
    other = item(1)
    spreading.told(A, PUSH, 0.0)
    spreading.told(A, other, 0.0)
    assert spreading.refused(PUSH.id, 0.0, again=True) == []
    assert spreading.refused(other.id, 0.0, again=False) == []
    assert spreading.told(A, PUSH, 0.0) == []
    assert spreading.moved(0.0, is_new_policy=False) == [Fetch(A, PUSH)]
    assert spreading.moved(0.0, is_new_policy=True) == [Fetch(A, other)]


def test_what_waits_is_told_nobody() -> None:
    here = Here()
    spreading = talking(here, A, B)
    spreading.told(A, PUSH, 0.0)
    here.add(PUSH)
    assert spreading.kept(PUSH.id, 0.0) == []
    assert spreading.took(PUSH, 9.0) == [Tell(B, PUSH)]


def test_who_lies_is_dropped_and_others_are_asked() -> None:
    spreading = talking(Here(), A, B)
    spreading.told(A, PUSH, 0.0)
    spreading.told(B, PUSH, 0.0)
    assert spreading.lied(A, "forged", 0.0) == [Drop(A, "forged"), Fetch(B, PUSH)]


def test_who_never_has_what_it_says_is_dropped() -> None:
    spreading = talking(Here(), A)
    for number in range(MAX_VAIN):
        spreading.told(A, item(number), 0.0)
    effects = [e for n in range(MAX_VAIN) for e in spreading.failed(A, item(n).id, 0.0)]
    assert [type(effect) for effect in effects] == [Drop]


def test_what_cannot_be_taken_in_here_is_asked_for_again_ever_later() -> None:
    spreading = talking(Here(), A)
    assert spreading.told(A, PUSH, 0.0) == [Fetch(A, PUSH)]
    now, wait = 0.0, FIRST_RETRY
    for _ in range(20):
        assert spreading.postponed(PUSH.id, now) == []
        assert spreading.is_asking
        assert spreading.next_deadline() == now + wait
        assert spreading.told(A, PUSH, now) == []
        assert spreading.tick(now + wait - 0.1) == []
        now += wait
        assert spreading.tick(now) == [Fetch(A, PUSH)]
        wait = min(2 * wait, LAST_RETRY)
    spreading.took(PUSH, now)
    assert not spreading.is_asking


def test_what_nobody_offers_any_more_is_not_asked_for_again() -> None:
    spreading = talking(Here(), A)
    spreading.told(A, PUSH, 0.0)
    spreading.postponed(PUSH.id, 0.0)
    spreading.left(A, 0.0)
    assert not spreading.is_asking
    assert spreading.tick(LAST_RETRY) == []
    assert spreading.remembered == 0


def test_what_came_without_its_objects_is_asked_of_others_and_then_later() -> None:
    spreading = talking(Here(), A, B)
    spreading.told(A, PUSH, 0.0)
    spreading.told(B, PUSH, 0.0)
    assert spreading.incomplete(A, PUSH.id, 0.0) == [Fetch(B, PUSH)]
    assert spreading.incomplete(B, PUSH.id, 0.0) == []
    assert spreading.tick(FIRST_RETRY) == [Fetch(B, PUSH)]


def test_news_of_who_has_it_cut_a_long_wait_short() -> None:
    spreading, now = talking(Here(), A, B, C), 0.0
    spreading.told(A, PUSH, now)
    for _ in range(10):
        spreading.postponed(PUSH.id, now)
        again = spreading.asks_again(PUSH.id)
        assert again is not None
        now = again
        spreading.tick(now)
    spreading.postponed(PUSH.id, now)
    assert spreading.asks_again(PUSH.id) == now + LAST_RETRY
    assert spreading.told(A, PUSH, now + FIRST_RETRY) == []  # it was asked
    assert spreading.asks_again(PUSH.id) == now + LAST_RETRY
    assert [effect.peer for effect in spreading.told(B, PUSH, now + FIRST_RETRY)] == [B]
    # It may come with less than it needs again: then whoever is new counts, and no sooner.
    now += FIRST_RETRY
    spreading.postponed(PUSH.id, now)
    assert spreading.told(C, PUSH, now) == []
    assert spreading.asks_again(PUSH.id) == now + 2 * FIRST_RETRY
    assert spreading.tick(now + 2 * FIRST_RETRY) != []


def test_a_mirror_that_is_heard_of_is_a_reason_too_and_ever_more_seldom() -> None:
    spreading, now, waits = talking(Here(), A), 0.0, []
    spreading.told(A, PUSH, now)
    for _ in range(20):
        spreading.postponed(PUSH.id, now)
        assert spreading.heard_news(now) == []
        again = spreading.asks_again(PUSH.id)
        assert again is not None
        waits.append(again - now)
        now = again
        assert spreading.tick(now) == [Fetch(A, PUSH)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (FIRST_RETRY, LAST_NEWS_RETRY)
    spreading.took(PUSH, now)
    assert spreading.heard_news(now) == []


def invited(effects: Sequence[object]) -> list[PeerKey]:
    return [effect.peer for effect in effects if isinstance(effect, Invite)]


def test_a_few_peers_are_asked_to_send_pushes_along() -> None:
    spreading, peers = Spreading(Here()), [PeerKey(number) for number in range(MAX_INVITED + 2)]
    for peer in peers:
        assert invited(spreading.joined(peer, is_called=False)) == []
    asked = [invited(spreading.told(peer, HEAD, 0.0)) for peer in peers]
    assert asked == [[peer] for peer in peers[:MAX_INVITED]] + [[], []]
    called = PeerKey(99)
    assert invited(spreading.joined(called, is_called=True)) == []
    assert invited(spreading.left(peers[0], 0.0)) == [called]
    assert invited(spreading.left(peers[1], 0.0)) == [peers[MAX_INVITED]]


def test_what_is_sent_along_needs_no_question() -> None:
    here = Here()
    spreading = talking(here, A, B)
    assert spreading.sent(A, PUSH, 0.0)
    assert spreading.told(B, PUSH, 0.0) == []
    assert spreading.tick(SLOW_SECONDS) == [Fetch(B, PUSH)]
    assert spreading.took(here.add(PUSH), 1.0) == []
    assert not spreading.sent(B, PUSH, 2.0)


def test_what_is_sent_along_and_does_not_hold_is_a_lie() -> None:
    spreading = talking(Here(), A, B)
    assert spreading.sent(A, PUSH, 0.0)
    spreading.told(B, PUSH, 0.0)
    assert spreading.failed(A, PUSH.id, 0.0) == [Fetch(B, PUSH)]
    assert spreading.lied(A, "no", 0.0) == [Drop(A, "no")]


def test_what_is_sent_along_is_bounded_like_questions() -> None:
    spreading = talking(Here(), A)
    taken = [spreading.sent(A, item(number), 0.0) for number in range(MAX_ASKED + 1)]
    assert taken == [True] * MAX_ASKED + [False]
    assert not spreading.sent(B, PUSH, 0.0)  # nobody


def test_what_could_not_be_taken_in_is_not_taken_again_at_once() -> None:
    spreading = talking(Here(), A, B)
    assert spreading.sent(A, PUSH, 0.0)
    spreading.postponed(PUSH.id, 0.0)
    assert not spreading.sent(B, PUSH, 0.0)


def test_memory_is_bounded() -> None:
    spreading = talking(Here(), A)
    for number in range(2 * MAX_KNOWN):
        spreading.told(A, item(number), 0.0)
        spreading.refused(item(number).id, 0.0, again=False)
    most = MAX_KNOWN + MAX_OFFERED + MAX_ASKED + 2 * MAX_REFUSED
    assert MAX_KNOWN < spreading.remembered <= most


class CountedId(str):
    """An id that counts how often it is looked up."""

    looked_up = 0

    def __hash__(self) -> int:
        CountedId.looked_up += 1
        return super().__hash__()


def test_looking_at_the_time_costs_what_was_asked_not_that_for_each_peer() -> None:
    peers = [PeerKey(number) for number in range(50)]
    spreading = talking(Here(), *peers)
    for peer in peers:
        for number in range(MAX_ASKED):
            made_up = PushId(CountedId(entry(peer * MAX_ASKED + number)))
            spreading.told(peer, Item(made_up), 0.0)
    assert spreading.is_asking
    CountedId.looked_up = 0
    assert spreading.next_deadline() is None
    spreading.tick(SLOW_SECONDS)
    assert CountedId.looked_up <= 10 * len(peers) * MAX_ASKED


def test_a_stranger_is_nobody() -> None:
    assert Spreading(Here()).told(A, PUSH, 0.0) == []
