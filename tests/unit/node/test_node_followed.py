"""What is followed changes with the plan, and what is under way goes on."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from gittorrent.ids import RepositoryId
from gittorrent.node.follow_plan import Plan, Target
from gittorrent.node.followed import MAX_SHOWN, FollowedSet
from gittorrent.transfer.location import parse_location
from gittorrent.wire.control import Failed

ID = RepositoryId("a" * 52)
URL = "git://origin.example.org/project.git"


def target(url: str = URL, repository: RepositoryId | None = None) -> Target:
    return Target(repository or url, parse_location(url), repository, repository is not None)


def plan(*targets: Target) -> Plan:
    return Plan({each.key: each for each in targets}, frozenset(), {})


def test_what_is_new_and_what_is_gone() -> None:
    followed = FollowedSet()
    first, second = target(), target("git://other.example.org/x.git")
    assert followed.adopt(plan(first)) == ({first.key: first}, [])
    assert followed.adopt(plan(first, second)) == ({second.key: second}, [])
    assert followed.adopt(plan(second)) == ({}, [first.key])
    assert [each.target for each in followed] == [second]


def test_another_name_or_bound_is_overdue_and_another_source_is_not() -> None:
    followed = FollowedSet()
    first = target(repository=ID)
    followed.adopt(plan(first))
    moved = replace(first, location=parse_location("git://other.example.org/x.git"))
    for each, expected in (
        (moved, []),
        (replace(first, name="other"), [ID]),
        (replace(first, name="other"), []),
        (first, []),
        (replace(first, max_size=5), [ID]),
    ):
        followed.adopt(plan(each))
        assert followed.overdue() == expected
        followed[ID].is_overdue = False


def test_who_waits_for_what_is_gone_is_told() -> None:
    async def work() -> None:
        followed = FollowedSet()
        followed.adopt(plan(target()))
        waiters = followed[URL].waiters
        waiting = waiters.enter(lambda _: None)
        followed.adopt(plan())
        (said,) = await waiters.outcome(waiting, lambda _: None)
        assert isinstance(said, Failed)
        assert "is not followed any more" in said.reason

    asyncio.run(work())


def test_what_is_brought_goes_on_when_it_gets_its_id() -> None:
    async def work() -> None:
        followed = FollowedSet()
        followed.adopt(plan(target()))
        entry = followed[URL]
        entry.task = asyncio.get_running_loop().create_task(asyncio.sleep(3600))
        coming = replace(target(repository=ID), is_here=False)
        assert followed.adopt(plan(coming)) == ({}, [])
        assert followed.find(URL, ID) is entry
        entry.task.cancel()
        entry.task = None
        # Done: it is found under its id from the next plan on.
        new, gone = followed.adopt(plan(target(repository=ID)))
        assert (list(new), gone) == ([ID], [URL])

    asyncio.run(work())


def test_the_report_costs_the_same_however_much_is_followed() -> None:
    followed = FollowedSet()
    followed.adopt(plan(*(target(f"git://o.example.org/{n}.git") for n in range(100))))
    entry = next(iter(followed))
    followed.set_failure(entry, "gone")
    report = followed.report(looking=3)
    assert (report.followed, report.looking, report.failing) == (100, 3, 1)
    assert (len(report.coming), report.more) == (MAX_SHOWN, 100 - MAX_SHOWN)
    followed.set_failure(entry, "")
    assert followed.report(0).failing == 0
