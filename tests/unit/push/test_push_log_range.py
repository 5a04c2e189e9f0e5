"""What is sent of a log: all that the other one lacks, and of that what clones have use for."""

from __future__ import annotations

from collections.abc import Collection

from gittorrent.ids import PushId
from gittorrent.push.chain import WINDOW
from gittorrent.push.log_range import entries_after, policies_beyond
from gittorrent.push.object import PushKind
from gittorrent.push.records import Held, Record

DAY = 86400


def named(name: str) -> PushId:
    return PushId(name.encode().hex().ljust(40, "0"))


def policy(name: str) -> Record:
    return Record(named(name), PushKind.POLICY)


def push(name: str) -> Record:
    return Record(named(name), PushKind.CERTIFICATE)


def checkpoint(
    name: str,
    number: int,
    time: int = 0,
    *,
    takes: str = "",
    version: int = 1,
    whole: bool = False,
    held: Held = Held.ADOPTED,
) -> Record:
    pushes = tuple(map(named, takes.split()))
    return Record(named(name), PushKind.CHECKPOINT, number, time, version, whole, held, pushes)


LOG = [
    policy("v1"),
    checkpoint("c1", 1, whole=True),
    push("a"),
    push("late"),
    checkpoint("c2", 2, 1 * DAY, takes="a", held=Held.FOLLOWED),
    push("open"),
    policy("v2"),
    checkpoint("c3", 3, 2 * DAY, takes="late", version=2),
]


def sent(
    base: str | None = None,
    *,
    short: bool = False,
    unshown: Collection[str] = (),
    log: Collection[Record] = LOG,
) -> str:
    found = entries_after(
        list(log),
        None if base is None else named(base),
        short=short,
        unshown=[named(name) for name in unshown],
    )
    return " ".join(bytes.fromhex(record.id).rstrip(b"\0").decode() for record in found)


def test_everything_and_last_what_nobody_took() -> None:
    assert sent() == "v1 c1 a late c2 v2 c3 open"


def test_what_is_in_the_past_of_the_base_is_left_out() -> None:
    assert sent("c1") == "a late c2 v2 c3 open"
    assert sent("c2") == "late v2 c3 open"
    assert sent("c3") == "open"


def test_a_base_that_was_not_adopted_here_counts_as_nothing() -> None:
    assert sent("elsewhere") == sent()
    twins = [*LOG, checkpoint("twin", 3, held=Held.ASIDE)]
    assert sent("twin", log=twins) == sent(log=twins)


def test_proof_against_a_keeper_is_passed_on() -> None:
    twins = [*LOG, checkpoint("twin", 3, held=Held.ASIDE)]
    assert sent("c3", log=twins) == "twin open"


def test_what_waits_or_does_not_follow_is_sent_to_nobody() -> None:
    others = [
        checkpoint("waits", 9, takes="open", held=Held.WAITING),
        checkpoint("false", 4, takes="open", held=Held.REFUTED),
    ]
    assert sent(log=[*LOG, *others]) == sent()


def test_a_policy_that_was_known_before_it_came_into_force() -> None:
    log = [policy("v1"), checkpoint("c1", 1), policy("v2"), checkpoint("c2", 2)]
    assert sent("c2", log=log) == "v2"


def test_a_rival_policy_is_passed_on() -> None:
    assert sent("c3", log=[*LOG, policy("rival")]) == "rival open"


def test_policies_that_no_checkpoint_names_are_told_of() -> None:
    assert policies_beyond([]) == []
    assert policies_beyond(LOG) == []
    assert policies_beyond(LOG[:-1]) == [named("v1"), named("v2")]
    assert policies_beyond([*LOG, policy("rival")]) == [named(v) for v in ("v1", "v2", "rival")]
    aside = checkpoint("c4", 4, version=3, held=Held.ASIDE)
    assert policies_beyond([*LOG, policy("v3"), aside])


def test_what_is_not_shown_is_not_sent() -> None:
    assert sent(unshown=["open"]) == "v1 c1 a late c2 v2 c3"


def test_clones_are_not_sent_what_was_taken() -> None:
    assert sent(short=True) == "v1 c1 c2 v2 c3 open"
    assert sent("c2", short=True) == "v2 c3 open"


def test_clones_begin_thirty_days_before_the_newest_whole_checkpoint() -> None:
    late = 3 * DAY + WINDOW
    log = [
        *LOG,
        checkpoint("c4", 4, late - 1, version=2),
        checkpoint("c5", 5, late, version=2, whole=True),
        checkpoint("c6", 6, 2 * late, version=2),
    ]
    assert sent(short=True, log=log) == "v1 v2 c3 c4 c5 c6 open"
    assert sent("c2", short=True, log=log) == "v2 c3 c4 c5 c6 open"
    # One that is exactly thirty days old is too young to be the last one needed.
    log[-2] = checkpoint("c5", 5, 2 * DAY + WINDOW, version=2, whole=True)
    assert sent(short=True, log=log) == "v1 c2 v2 c3 c4 c5 c6 open"


def test_an_empty_log() -> None:
    assert sent(log=[]) == sent("c1", short=True, log=[]) == ""
