"""What is reported of a node's conversations."""

from __future__ import annotations

from dataclasses import dataclass

from gittorrent.node.session_stats import ENDED_SECONDS, MAX_ENDED, MAX_SHOWN, SessionTable
from gittorrent.swarm.keys import ConversationKey


@dataclass
class FakeConversation:
    key: ConversationKey
    bytes_sent: int = 0
    bytes_received: int = 0
    ended: str = ""
    is_at_fault: bool = False
    waiting: int = 0


def test_rates_parts_and_turns() -> None:
    session_table = SessionTable()
    conversation = FakeConversation(ConversationKey(1))
    session_table.begin(conversation, "192.0.2.1", "project", 100.0)
    conversation.bytes_sent, conversation.waiting = 4000, 2
    session_table.sent_part(conversation.key)
    (first,) = session_table.report(102.0, set())
    assert (first.sent, first.rate, first.parts) == (4000, 1000, 1)
    assert (first.seconds, first.waiting, first.choked) == (2.0, 2, False)
    (second,) = session_table.report(103.0, {ConversationKey(1)})
    assert second.choked
    assert second.rate == 500  # nothing came in the last second


def test_of_many_those_that_move_are_shown() -> None:
    session_table = SessionTable()
    made = [FakeConversation(ConversationKey(number)) for number in range(10 * MAX_SHOWN)]
    for conversation in made:
        session_table.begin(conversation, "192.0.2.1", f"r{conversation.key}", 0.0)
    made[-1].bytes_sent = 5000
    shown = session_table.report(1.0, set())
    assert (len(shown), len(session_table)) == (MAX_SHOWN, len(made))
    assert shown[0].repository == f"r{made[-1].key}"


def test_endings_are_shown_for_a_while_with_their_reasons() -> None:
    session_table = SessionTable()
    for number in range(2 * MAX_ENDED):
        conversation = FakeConversation(
            ConversationKey(number), ended=f"reason {number}", is_at_fault=number % 2 == 1
        )
        session_table.begin(conversation, "192.0.2.1", "project", 0.0)
        assert session_table.end(conversation.key, float(number)) == number
    shown = session_table.ended(20.0)
    assert [entry.reason for entry in shown][:2] == ["reason 19", "reason 18"]
    assert [entry.at_fault for entry in shown][:2] == [True, False]
    assert len(shown) == MAX_ENDED
    assert session_table.report(20.0, set()) == []
    assert session_table.ended(20.0 + ENDED_SECONDS) == []
