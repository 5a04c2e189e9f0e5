"""When the keeper signs: after asking mirrors, at once for one push, in turns for many."""

from __future__ import annotations

import pytest

from gittorrent.ids import PushId
from gittorrent.push.keeping import (
    BATCH_SECONDS,
    BURST,
    FRESH_SECONDS,
    RETRY_SECONDS,
    SYNC_PATIENCE,
    SYNC_RETRY,
    SYNC_SOME,
    AskMirrors,
    Commit,
    Compose,
    Draft,
    Keeping,
    Outlook,
    Record,
    SayFresh,
    Sign,
    Wait,
)
from support.pushlog import name_of


def entry(number: int) -> PushId:
    """Return the id of some entry."""
    return name_of(b"entry %d" % number)


HEAD = entry(1)
NEXT = entry(2)
NEWS = Outlook(HEAD, is_keeper=True, is_stopped=False, has_news=True)
QUIET = Outlook(HEAD, is_keeper=True, is_stopped=False, has_news=False)
DRAFT = Draft(HEAD, b"a checkpoint")


def synced(recorded: Draft | None = None, outlook: Outlook = QUIET) -> Keeping:
    """Return a keeper that asked its mirrors and has said that nothing is new."""
    keeping = Keeping(0.0, recorded, fresh_at=0.0)
    assert keeping.saw(0.0, outlook) == [AskMirrors()]
    keeping.asked(0.0, known=0, answered=0)
    return keeping


def make(keeping: Keeping, now: float) -> None:
    """Carry out what a checkpoint takes."""
    assert keeping.saw(now, NEWS) == [Compose()]
    assert keeping.composed(now, DRAFT) == [Record(DRAFT)]
    assert keeping.recorded(DRAFT) == [Sign(DRAFT)]
    assert keeping.signed() == [Commit()]
    keeping.saw(now, Outlook(NEXT, is_keeper=True, is_stopped=False, has_news=False))
    assert keeping.done(now) == []


def test_one_push_is_signed_at_once() -> None:
    make(synced(), 5.0)


def test_pushes_in_a_row_are_gathered() -> None:
    keeping = synced()
    for _ in range(BURST):
        make(keeping, 10.0)
    assert keeping.saw(10.0, NEWS) == []
    assert keeping.next_deadline() == 10.0 + BATCH_SECONDS
    assert keeping.tick(10.0 + BATCH_SECONDS / 2) == []
    assert keeping.tick(10.0 + BATCH_SECONDS) == [Compose()]


def test_after_a_pause_they_are_signed_at_once_again() -> None:
    keeping = synced()
    for start in (10.0, 10.0 + BURST * BATCH_SECONDS):
        for _ in range(BURST):
            make(keeping, start)
        assert keeping.saw(start, NEWS) == []


@pytest.mark.parametrize(
    "outlook",
    [
        Outlook(HEAD, is_keeper=False, is_stopped=False, has_news=True),
        Outlook(HEAD, is_keeper=True, is_stopped=True, has_news=True),
    ],
    ids=["somebody else keeps", "stopped"],
)
def test_nothing_is_signed_or_asked(outlook: Outlook) -> None:
    keeping = Keeping(0.0)
    assert keeping.saw(0.0, outlook) == []
    assert keeping.next_deadline() is None
    later = synced()
    assert later.saw(1000.0, outlook) == []
    assert later.next_deadline() is None


def test_all_mirrors_that_answer_are_enough() -> None:
    keeping = Keeping(0.0, fresh_at=0.0)
    assert keeping.saw(0.0, NEWS) == [AskMirrors()]
    assert keeping.asked(1.0, known=3, answered=3) == [Compose()]


def test_some_mirrors_are_enough_after_a_while() -> None:
    keeping = Keeping(0.0, fresh_at=0.0)
    assert keeping.saw(0.0, NEWS) == [AskMirrors()]
    assert keeping.asked(1.0, known=3, answered=2) == []
    assert keeping.next_deadline() == 1.0 + SYNC_RETRY
    assert keeping.tick(1.0 + SYNC_RETRY) == [AskMirrors()]
    assert keeping.asked(SYNC_SOME, known=3, answered=2) == [Compose()]


def test_no_mirror_is_waited_for_for_ever() -> None:
    keeping = Keeping(0.0, fresh_at=0.0)
    now = 0.0
    effects = keeping.saw(now, NEWS)
    while now < SYNC_PATIENCE:
        assert effects == [AskMirrors()]
        assert keeping.asked(now, known=1, answered=0) == []
        deadline = keeping.next_deadline()
        assert deadline is not None
        now = deadline
        effects = keeping.tick(now)
    assert effects == [AskMirrors()]
    keeping.asked(now, known=1, answered=0)
    assert keeping.is_synced


def test_a_draft_from_before_a_crash_comes_first() -> None:
    keeping = Keeping(0.0, DRAFT, fresh_at=0.0)
    assert keeping.saw(0.0, NEWS) == [AskMirrors()]
    assert keeping.asked(0.0, known=0, answered=0) == [Sign(DRAFT)]


def test_a_draft_that_the_log_went_past_is_nothing() -> None:
    keeping = synced(Draft(NEXT, b"old"))
    assert keeping.saw(1.0, NEWS) == [Compose()]


def test_what_fails_is_tried_again() -> None:
    keeping = synced()
    assert keeping.saw(1.0, NEWS) == [Compose()]
    keeping.composed(1.0, DRAFT)
    keeping.recorded(DRAFT)
    assert keeping.failed(1.0) == []
    assert keeping.next_deadline() == 1.0 + RETRY_SECONDS
    assert keeping.tick(1.0 + RETRY_SECONDS) == [Sign(DRAFT)]
    assert keeping.failed(7.0, is_void=True) == []
    assert keeping.tick(7.0 + RETRY_SECONDS) == [Compose()]


def test_nothing_to_compose_after_all() -> None:
    keeping = synced()
    assert keeping.saw(1.0, NEWS) == [Compose()]
    keeping.saw(1.0, QUIET)
    assert keeping.composed(1.0, None) == []


def test_statements_of_freshness_are_a_minute_apart() -> None:
    keeping = Keeping(0.0)
    assert keeping.saw(0.0, QUIET) == [AskMirrors()]
    assert keeping.asked(0.0, known=0, answered=0) == [SayFresh(HEAD)]
    assert keeping.next_deadline() == FRESH_SECONDS
    assert keeping.tick(FRESH_SECONDS - 1) == []
    assert keeping.tick(FRESH_SECONDS) == [SayFresh(HEAD)]


def test_not_in_the_middle_of_a_checkpoint() -> None:
    keeping = synced()
    assert keeping.saw(FRESH_SECONDS, NEWS) == [Compose()]
    assert keeping.tick(2 * FRESH_SECONDS) == []
    assert keeping.next_deadline() is None


def test_who_is_waited_for_is_known_until_it_signs() -> None:
    keeping = Keeping(0.0, fresh_at=0.0)
    assert keeping.wait is None, "nobody was asked yet"
    keeping.saw(0.0, NEWS)
    keeping.asked(1.0, known=3, answered=0)
    assert keeping.wait == Wait(3, 0, SYNC_PATIENCE)
    keeping.tick(1.0 + SYNC_RETRY)
    keeping.asked(2.0 + SYNC_RETRY, known=3, answered=1)
    assert keeping.wait == Wait(3, 1, SYNC_SOME)
    keeping.saw(8.0, Outlook(HEAD, is_keeper=False, is_stopped=False, has_news=True))
    assert keeping.wait is None, "somebody else is the keeper"
    keeping.saw(SYNC_SOME, NEWS)
    keeping.asked(SYNC_SOME, known=3, answered=1)
    assert keeping.wait is None
