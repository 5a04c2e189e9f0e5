"""What is reported of a node's conversations."""

from __future__ import annotations

from dataclasses import dataclass

from gittorrent.node.talks import ENDED_SECONDS, MAX_ENDED, MAX_SHOWN, Talks
from gittorrent.swarm.events import PeerKey


@dataclass
class FakeTalk:
    key: PeerKey
    bytes_sent: int = 0
    bytes_received: int = 0
    ended: str = ""
    is_at_fault: bool = False
    waiting: int = 0


def test_rates_parts_and_turns() -> None:
    talks = Talks()
    talk = FakeTalk(PeerKey(1))
    talks.begin(talk, "192.0.2.1", "project", 100.0)
    talk.bytes_sent, talk.waiting = 4000, 2
    talks.sent_part(talk.key)
    (first,) = talks.report(102.0, set())
    assert (first["sent"], first["rate"], first["parts"]) == (4000, 1000, 1)
    assert (first["seconds"], first["waiting"], first["choked"]) == (2.0, 2, False)
    (second,) = talks.report(103.0, {PeerKey(1)})
    assert second["choked"]
    assert second["rate"] == 500  # nothing came in the last second


def test_of_many_those_that_move_are_shown() -> None:
    talks = Talks()
    made = [FakeTalk(PeerKey(number)) for number in range(10 * MAX_SHOWN)]
    for talk in made:
        talks.begin(talk, "192.0.2.1", f"r{talk.key}", 0.0)
    made[-1].bytes_sent = 5000
    shown = talks.report(1.0, set())
    assert (len(shown), len(talks)) == (MAX_SHOWN, len(made))
    assert shown[0]["repository"] == f"r{made[-1].key}"


def test_endings_are_shown_for_a_while_with_their_reasons() -> None:
    talks = Talks()
    for number in range(2 * MAX_ENDED):
        talk = FakeTalk(PeerKey(number), ended=f"reason {number}", is_at_fault=number % 2 == 1)
        talks.begin(talk, "192.0.2.1", "project", 0.0)
        assert talks.end(talk.key, float(number)) == number
    shown = talks.ended(20.0)
    assert [entry["reason"] for entry in shown][:2] == ["reason 19", "reason 18"]
    assert [entry["at_fault"] for entry in shown][:2] == [True, False]
    assert len(shown) == MAX_ENDED
    assert talks.report(20.0, set()) == []
    assert talks.ended(20.0 + ENDED_SECONDS) == []
