"""Download: its answers to single events, without a network."""

from __future__ import annotations

import pytest

from gittorrent.swarm import events as ev
from gittorrent.swarm.bitmap import PartSet
from gittorrent.swarm.download import Download
from gittorrent.swarm.settings import MAX_BANS, MAX_PEERS, Mode, Settings
from support.part_sets import part_set

MIB = 1 << 20
A, B, C = ev.PeerKey(1), ev.PeerKey(2), ev.PeerKey(3)


def download(parts: int = 8, have: str = "", settings: Settings | None = None) -> Download:
    here = part_set(char == "#" for char in have.ljust(parts, "."))
    return Download(parts, MIB, parts * MIB, here, lambda n: 0, settings)


def asked(effects: list[ev.Effect], peer: ev.PeerKey) -> list[int]:
    return [
        part
        for effect in effects
        if isinstance(effect, ev.Ask) and effect.peer == peer
        for part in range(effect.first, effect.last + 1)
    ]


def joined(peer: ev.PeerKey, have: str | None = None) -> ev.PeerJoined:
    return ev.PeerJoined(peer, None if have is None else part_set(char == "#" for char in have))


def test_a_newcomer_is_asked_for_the_lowest_missing_parts() -> None:
    work = download(parts=20, have="##")
    assert work.prefix == 2
    assert work.handle(0, joined(A)) == [ev.Ask(A, 2, 3)]
    assert work.handle(0, joined(B)) == [ev.Ask(B, 4, 5)]
    work.check_invariant()


@pytest.mark.parametrize("mode", list(Mode))
def test_who_comes_back_goes_on_with_what_it_had_begun(mode: Mode) -> None:
    work = download(parts=20, have="##", settings=Settings(mode=mode))
    effects = work.handle(0, ev.PeerJoined(A, None, begun=(1, 7, 9, 99)))
    assert asked(effects, A) == [7, 9]
    work.check_invariant()


def test_what_came_before_is_not_counted_again() -> None:
    work = download(parts=20)
    work.handle(0, ev.PeerJoined(A, None, begun=(7,)))
    work.handle(0, ev.PartTakenUp(A, 7, MIB // 2))
    work.handle(1, ev.PartProgress(A, 7, MIB // 2 + 1000))
    work.handle(2, ev.PartProgress(A, 7, MIB // 2 + 2000))
    assert work.report(2)[0].rate == pytest.approx(1000)


def test_a_small_pack_is_shared_out() -> None:
    work = download(parts=3)
    assert asked(work.handle(0, joined(A)), A) == [0]
    assert asked(work.handle(0, joined(B)), B) == [1]
    assert work.handle(0.1, ev.PartProgress(A, 0, MIB // 4)) == []
    effects = work.handle(0.2, ev.PartProgress(A, 0, MIB // 2))  # now its rate is known
    assert effects == [ev.Ask(A, 2, 2)]


def test_finishes_once_and_then_says_nothing() -> None:
    work = download(parts=1)
    work.handle(0, joined(A))
    assert work.wants(0)
    assert work.handle(1, ev.PartArrived(A, 0, MIB)) == []
    assert not work.wants(0)
    assert not work.finished
    assert work.handle(1, ev.PartVerified(A, 0)) == [ev.Finished()]
    assert work.finished
    assert work.prefix == 1
    assert work.handle(2, joined(B)) == []
    assert work.next_deadline() is None
    (report,) = work.report(2)
    assert (report.delivered_parts, report.delivered_bytes) == (1, MIB)


@pytest.mark.parametrize("parts", [0, 3])
def test_a_pack_that_is_here_is_finished_at_the_first_event(parts: int) -> None:
    work = download(parts, "#" * parts)
    assert work.finished
    assert work.handle(0, ev.Tick()) == [ev.Finished()]


def test_refuses_figures_that_do_not_agree() -> None:
    with pytest.raises(ValueError, match="are not 3 parts"):
        Download(3, MIB, MIB, PartSet(3), lambda n: 0)
    with pytest.raises(ValueError, match="are not 1 parts"):
        Download(1, 0, 1, PartSet(1), lambda n: 0)
    with pytest.raises(ValueError, match="of 4 parts, not 3"):
        Download(3, MIB, 3 * MIB, PartSet(4), lambda n: 0)


def test_a_wrong_digest_bans_at_once_and_everything_is_reissued() -> None:
    work = download(parts=10)
    assert asked(work.handle(0, joined(A)), A) == [0, 1]
    assert asked(work.handle(0, joined(B, "###.......")), B) == [2]
    work.handle(1, ev.PartArrived(A, 0, MIB))
    effects = work.handle(1, ev.PartWrong(A, 0))
    assert effects == [ev.Ban(A, "part 0 from it has the wrong digest")]
    assert asked(work.handle(1, ev.PartArrived(B, 2, MIB)), B) == [0]
    assert asked(work.handle(1, ev.PartVerified(B, 2)), B) == [1]
    assert work.handle(2, joined(A)) == []  # banned for good
    assert work.handle(2, ev.PartArrived(A, 1, MIB)) == []
    assert [r.banned for r in work.report(2)] == ["", "part 0 from it has the wrong digest"]
    work.check_invariant()


def test_a_fast_stranger_is_asked_for_no_more_until_a_part_of_it_is_verified() -> None:
    """Who sends rubbish at full speed gets two parts of it in, whatever verifying takes."""
    work = download(parts=30)
    assert asked(work.handle(0, joined(A)), A) == [0, 1]
    assert work.handle(0.001, ev.PartProgress(A, 0, MIB // 2)) == []
    assert work.handle(0.002, ev.PartArrived(A, 0, MIB)) == []
    assert work.handle(0.004, ev.PartArrived(A, 1, MIB)) == []
    assert work.handle(0.3, ev.Tick()) == []
    assert asked(work.handle(0.4, ev.PartVerified(A, 0)), A)
    work.check_invariant()


def test_a_part_of_the_wrong_size_bans() -> None:
    work = Download(2, MIB, MIB + 5, PartSet(2), lambda n: 0)
    work.handle(0, joined(A))
    assert work.handle(0, ev.PartArrived(A, 0, MIB)) == [ev.Ask(A, 1, 1)]
    (ban,) = [e for e in work.handle(0, ev.PartArrived(A, 1, MIB)) if isinstance(e, ev.Ban)]
    assert ban.reason == f"it sent {MIB} bytes for part 1 of 5 bytes"


@pytest.mark.parametrize(
    "event",
    [
        ev.PartArrived(A, 8, MIB),
        ev.PartVerified(A, -1),
        ev.PartMissing(A, 3, 2),
        ev.PartMissing(A, 0, 10**9),
        ev.PeerHas(A, PartSet(9)),
    ],
)
def test_nonsense_bans(event: ev.Event) -> None:
    work = download()
    work.handle(0, joined(A))
    assert [e.peer for e in work.handle(0, event) if isinstance(e, ev.Ban)] == [A]
    assert [e for e in work.handle(0, event) if isinstance(e, ev.Ban)] == []
    work.check_invariant()


def test_a_bitmap_of_another_pack_bans_before_anything_is_asked() -> None:
    work = download()
    effects = work.handle(0, ev.PeerJoined(A, PartSet(7)))
    assert effects[0] == ev.Ban(A, "its bitmap is of 7 parts, the pack has 8")
    assert asked(effects, A) == []


def test_a_missing_part_is_never_asked_of_that_peer_again() -> None:
    work = download(parts=2)
    work.handle(0, joined(A))
    effects = work.handle(1, ev.PartMissing(A, 0, 0))
    assert asked(effects, A) == [1]
    assert asked(work.handle(2, ev.PeerHas(A, None)), A) == []
    assert asked(work.handle(3, joined(B)), B) == [0]
    work.check_invariant()


def test_who_lies_about_more_than_three_parts_is_banned() -> None:
    work = download(parts=40)
    work.handle(0, joined(A))
    bans = []
    for _ in range(4):
        first = next(iter(work._state.peers[A].flights))
        effects = work.handle(1, ev.PartMissing(A, first, first))
        bans.append([e.reason for e in effects if isinstance(e, ev.Ban)])
    assert bans == [[], [], [], ["it lacks parts that it said it has"]]


def test_a_part_that_was_never_claimed_does_not_count_as_a_lie() -> None:
    work = download(parts=8)
    work.handle(0, joined(A, "####...."))
    effects = work.handle(1, ev.PartMissing(A, 4, 7))
    assert not [e for e in effects if isinstance(e, ev.Ban)]


def test_busy_gives_everything_back_and_waits() -> None:
    work = download(parts=2)
    work.handle(0, joined(A))
    assert work.handle(1, ev.PeerBusy(A, 5)) == []
    assert work.handle(5.9, ev.Tick()) == []
    assert work.next_deadline() == 6
    assert asked(work.handle(6, ev.Tick()), A) == [0]
    work.handle(7, ev.PeerBusy(A, 1e9))
    work.handle(20, ev.Tick())
    assert work.next_deadline() == 307


def test_a_stalled_peer_loses_its_parts_and_gets_one_when_it_delivers() -> None:
    work = download(parts=16)
    assert asked(work.handle(0, joined(A)), A) == [0, 1]
    assert work.next_deadline() == 5
    assert work.handle(4.9, ev.Tick()) == []
    assert work.handle(5, ev.Tick()) == [ev.Cancel(A, 1, 1)]
    assert work.report(5)[0].snubbed
    assert asked(work.handle(6, joined(B)), B) == [0, 1]  # part 0 is asked of both
    effects = work.handle(7, ev.PartArrived(A, 0, MIB))
    assert ev.Cancel(B, 0, 0) in effects
    assert not work.report(7)[0].snubbed
    work.check_invariant()


def test_a_snubbed_peer_whose_part_came_from_elsewhere_rests_before_the_next() -> None:
    work = download(parts=16)
    work.handle(0, joined(A))
    work.handle(5, ev.Tick())
    assert work.handle(6, ev.PartFromElsewhere(0)) == [ev.Cancel(A, 0, 0)]
    assert work.next_deadline() == 10
    assert work.handle(10, ev.Tick()) == [ev.Ask(A, 15, 15)]  # the part needed last
    assert work.handle(19, ev.Tick()) == []
    assert work.handle(20, ev.Tick()) == []  # stalled again: the part is anybody's
    assert 15 in asked(work.handle(21, joined(B, "." * 15 + "#")), B)


def test_progress_keeps_a_slow_peer_from_being_snubbed() -> None:
    work = download(parts=2)
    work.handle(0, joined(A))
    for second in range(1, 9):
        work.handle(second, ev.PartProgress(A, 0, second * 125_000))
        work.handle(second, ev.Tick())
    assert not work.report(8)[0].snubbed
    assert work.report(8)[0].rate == pytest.approx(125_000)


def test_a_part_that_trickles_is_asked_of_a_stranger_too() -> None:
    """With nothing else to do nobody would ever learn how fast the other one is."""
    work = download(parts=1)
    assert asked(work.handle(0, joined(A)), A) == [0]
    for second in range(1, 5):
        work.handle(second, ev.PartProgress(A, 0, second))
    assert asked(work.handle(5, joined(B)), B) == [0]
    assert asked(work.handle(5, joined(C)), C) == [], "one more is enough"
    work.check_invariant()


def test_a_part_that_flows_is_not_asked_of_a_stranger() -> None:
    work = download(parts=1)
    work.handle(0, joined(A))
    for second in range(1, 5):
        work.handle(second, ev.PartProgress(A, 0, second * 125_000))
    assert asked(work.handle(5, joined(B)), B) == []


def test_a_slow_mirror_that_falls_silent_gives_way_in_half_a_minute() -> None:
    work = download(parts=20)
    work.handle(0, joined(A))
    for second in range(1, 100):  # a part takes longer than that
        work.handle(second, ev.PartProgress(A, 0, second * 10_000))
        work.handle(second, ev.Tick())
    assert not work.report(99)[0].snubbed
    work.handle(99 + 26, ev.Tick())
    assert work.report(125)[0].snubbed


def test_a_part_from_elsewhere_is_cancelled_and_counts() -> None:
    work = download(parts=3)
    work.handle(0, joined(A))
    assert work.handle(1, ev.PartFromElsewhere(0))[0] == ev.Cancel(A, 0, 0)
    assert work.prefix == 1
    assert work.handle(1, ev.PartFromElsewhere(0)) == []
    with pytest.raises(ValueError, match="no part 3"):
        work.handle(1, ev.PartFromElsewhere(3))


def test_starved_is_said_once_until_it_changes() -> None:
    work = download(parts=2)
    assert work.handle(0, ev.Tick()) == [ev.Starved("2 parts are missing and no peer is present")]
    assert work.handle(1, ev.Tick()) == []
    work.handle(2, joined(A, "#."))
    work.handle(3, ev.PartArrived(A, 0, MIB))
    effects = work.handle(3, ev.PartVerified(A, 0))
    assert effects == [ev.Starved("1 parts are missing and none of 1 peers has one")]
    assert work.handle(4, ev.Tick()) == []
    assert work.handle(5, ev.PeerHas(A, PartSet.full(2))) == [ev.Ask(A, 1, 1)]
    assert isinstance(work.handle(6, ev.PeerLost(A, "gone"))[0], ev.Starved)


def test_a_late_second_copy_is_counted_as_waste_and_harms_nothing() -> None:
    work = download(parts=2)
    work.handle(0, joined(A))
    work.handle(0, ev.PartArrived(A, 0, MIB))
    work.handle(0, ev.PartArrived(B, 0, MIB))
    assert work.wasted_bytes == MIB
    assert work.handle(1, ev.PartWrong(B, 0))[0] == ev.Ban(B, "part 0 from it has the wrong digest")
    assert not work.wants(0)  # the copy from A is still being verified
    work.handle(1, ev.PartVerified(A, 0))
    assert 0 in work.have
    work.handle(2, ev.PartArrived(C, 0, MIB))
    assert work.wasted_bytes == 2 * MIB
    work.check_invariant()


def test_order_follows_the_share_of_complete_peers() -> None:
    work = download()
    seen = []
    # What a lone seed sends, two who lack most of it should share.
    for event in (
        joined(A),
        joined(B, "#......."),
        joined(C, "##......"),
        ev.PeerHas(C, PartSet.full(8)),
    ):
        work.handle(0, event)
        seen.append(work.mode)
    assert seen == [Mode.IN_ORDER, Mode.RAREST, Mode.RAREST, Mode.IN_ORDER]
    work.check_invariant()


def test_peers_and_bans_are_bounded() -> None:
    work = download(parts=1)
    for number in range(MAX_PEERS + 5):
        work.handle(0, joined(ev.PeerKey(100 + number), "."))
    assert len(work.report(0)) == MAX_PEERS
    work = download(parts=1)
    for number in range(MAX_BANS + 5):
        work.handle(0, ev.PartWrong(ev.PeerKey(100 + number), 0))
    assert len(work.report(0)) == MAX_BANS


def test_events_of_strangers_are_ignored() -> None:
    work = download()
    work.handle(0, ev.Tick())
    for event in (
        ev.PeerHas(A, None),
        ev.PartProgress(A, 0, 5),
        ev.PartMissing(A, 0, 0),
        ev.PeerBusy(A, 5),
        ev.PeerLost(A, "gone"),
    ):
        assert work.handle(1, event) == []
    assert work.next_deadline() is None


def test_dropped_copy_is_asked_again_when_the_first_proves_wrong() -> None:
    """An honest copy that came while a liar's was being verified must not be waited for."""
    size = 1 << 10
    have = PartSet(1)
    machine = Download(1, size, size, have, lambda n: 0)
    liar, honest = ev.PeerKey(1), ev.PeerKey(2)
    machine.handle(0.0, ev.PeerJoined(liar, None))
    machine.handle(0.0, ev.PeerJoined(honest, None))
    assert machine.wants(0)
    machine.handle(1.0, ev.PartArrived(liar, 0, size))
    assert not machine.wants(0)
    machine.handle(1.0, ev.PartArrived(honest, 0, size))
    effects = machine.handle(1.1, ev.PartWrong(liar, 0))
    effects += machine.handle(2.0, ev.Tick())
    assert ev.Ask(honest, 0, 0) in effects
