"""HAVE messages: telling peers of new parts, no faster than they can be served."""

from __future__ import annotations

from gittorrent.swarm.bitmap import PartSet
from gittorrent.swarm.have_scheduler import ANSWER_SECONDS, LINE, LONGEST_SECONDS, HaveScheduler
from gittorrent.swarm.keys import ConversationKey

PARTS = 16
NONE = PartSet(PARTS)


def having(*parts: int) -> PartSet:
    made = PartSet(PARTS)
    for part in parts:
        made.add(part)
    return made


def crowd(count: int) -> HaveScheduler:
    have_scheduler = HaveScheduler()
    for n in range(count):
        have_scheduler.joined(ConversationKey(n), NONE, 0.0)
    return have_scheduler


def test_a_few_are_told_at_once_and_the_others_later() -> None:
    have_scheduler = crowd(20)
    first = have_scheduler.due(having(1), (), 1.0)
    assert len(first) == LINE
    assert have_scheduler.due(having(1), (), 1.1) == [], "their questions are on their way"
    second = have_scheduler.due(having(1), (), 1.0 + ANSWER_SECONDS)
    assert len(second) == LINE
    assert not set(first) & set(second)


def test_nobody_is_told_while_the_line_is_long() -> None:
    have_scheduler = crowd(20)
    line = [ConversationKey(100 + n) for n in range(LINE)]
    assert have_scheduler.due(having(1), line, 1.0) == []
    assert len(have_scheduler.due(having(1), line[1:], 1.0)) == 1


def test_everybody_is_told_in_the_end() -> None:
    have_scheduler = crowd(20)
    line = [ConversationKey(100 + n) for n in range(50)]
    assert len(have_scheduler.due(having(1), line, LONGEST_SECONDS)) == 20


def test_who_waits_in_line_need_not_be_told() -> None:
    have_scheduler = crowd(1)
    assert have_scheduler.due(having(1), [ConversationKey(0)], 1.0) == []
    assert have_scheduler.due(having(1), [], 1.0) == [ConversationKey(0)]


def test_only_news_are_told() -> None:
    have_scheduler = crowd(2)
    have_scheduler.has(ConversationKey(0), having(1, 2))
    assert have_scheduler.due(having(1), (), 1.0) == [ConversationKey(1)]
    assert have_scheduler.due(having(1), (), 9.0) == []
    assert set(have_scheduler.due(having(1, 3), (), 10.0)) == {
        ConversationKey(0),
        ConversationKey(1),
    }
    have_scheduler.left(ConversationKey(0))
    have_scheduler.left(ConversationKey(0))
    assert len(have_scheduler) == 1


def test_who_waited_longest_is_told_first() -> None:
    have_scheduler = HaveScheduler()
    for n in range(LINE + 1):
        have_scheduler.joined(ConversationKey(n), NONE, float(-n))
    told = have_scheduler.due(having(1), (), 1.0)
    assert told == [ConversationKey(n) for n in range(LINE, 0, -1)]


def test_what_a_newcomer_was_told_is_no_news() -> None:
    have_scheduler = HaveScheduler()
    have_scheduler.joined(ConversationKey(1), having(1), 0.0)
    assert have_scheduler.due(having(1), (), 100.0) == []
    assert have_scheduler.due(having(1, 2), (), 100.0) == [ConversationKey(1)]


def test_strangers_are_ignored() -> None:
    have_scheduler = HaveScheduler()
    have_scheduler.has(ConversationKey(5), having(1))
    assert have_scheduler.due(having(1), (), 100.0) == []
