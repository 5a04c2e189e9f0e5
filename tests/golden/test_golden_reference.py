"""The plan of every small recipe equals that of the slow reference implementation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from golden_cases import SMALL_TARGET

from gittorrent.git import scratch
from gittorrent.ids import OBJECT_FORMATS, Oid
from gittorrent.reel.build import Plan, plan_reel
from gittorrent.shapes import HISTORY, WHOLE, Shape, tip_of
from support import reference
from support.repositories import RECIPES, Made

SMALL = sorted(set(RECIPES) - {"many-refs", "big"})


def planned(
    made: Made,
    start: list[str],
    end: list[str],
    smallest: int,
    work: Path,
    shape: Shape = WHOLE,
) -> Plan | None:
    work.mkdir(parents=True)
    with scratch.borrowing(made.objects, OBJECT_FORMATS[made.object_format]) as git:
        return plan_reel(
            git,
            [Oid(o) for o in start],
            [Oid(o) for o in end],
            work,
            shape=shape,
            smallest_target=smallest,
        )


def same_segment(plan: Plan, number: int, segment: reference.ReferenceSegment) -> None:
    fed = (plan.directory / f"{number}.in").read_bytes().splitlines(keepends=True)
    edges = [f"-{edge}\n".encode() for edge in segment.edges]
    assert fed[: len(edges)] == edges
    assert fed[len(edges) :] == segment.lines
    assert plan.segments[number].objects == len(segment.lines)
    assert plan.segments[number].raw_size == segment.raw_size
    assert plan.segments[number].frontier == segment.frontier


def compare(
    made: Made, objects: reference.Objects, start: list[str], end: list[str], work: Path
) -> int:
    """Compare one plan in one piece and cut up; return the number of segments when cut."""
    count = 0
    for shape in (HISTORY, WHOLE):
        for smallest in (1 << 30, SMALL_TARGET):
            plan = planned(made, start, end, smallest, work / f"{shape.word}{smallest}", shape)
            target, segments = reference.plan(
                objects, start, end, smallest, history=shape == HISTORY
            )
            count = len(segments)
            if plan is None:
                assert not segments
                continue
            assert plan.target == target
            for number, segment in enumerate(segments):
                same_segment(plan, number, segment)
            assert len(plan.segments) == len(segments)
    return count


@pytest.mark.parametrize("recipe", SMALL)
def test_tips_follow_the_definition(
    recipe: str, made: Callable[[str], Made], tmp_path: Path
) -> None:
    repository = made(recipe)
    objects = reference.Objects(repository.git_dir)
    for number, state in enumerate(repository.states):
        commits = {objects.peel(oid) for oid in state}
        for commit in sorted(oid for oid in commits if objects.kind(oid) == "commit"):
            work = tmp_path / f"{number}-{commit}"
            plan = planned(repository, [], state, 1 << 30, work, tip_of(Oid(commit)))
            assert plan is not None
            assert len(plan.segments) == 1
            same_segment(plan, 0, reference.tip(objects, commit, state))


@pytest.mark.parametrize("recipe", SMALL)
def test_plans_follow_the_definition(
    recipe: str, made: Callable[[str], Made], tmp_path: Path
) -> None:
    repository = made(recipe)
    objects = reference.Objects(repository.git_dir)
    states: list[list[str]] = [[], *repository.states]
    for number, start in enumerate(states):
        for later in range(number + 1, len(states)):
            compare(repository, objects, start, states[later], tmp_path / f"{number}-{later}")
    # Backwards too: refs that were rewound or deleted are an end like any other.
    compare(repository, objects, states[-1], states[1], tmp_path / "back")


def test_any_two_sets_of_objects_will_do(made: Callable[[str], Made], tmp_path: Path) -> None:
    """Starts and ends need not be pushes of one history, and may name any kind of object."""
    repository = made("tags")
    objects = reference.Objects(repository.git_dir)
    names = sorted(objects.all)
    for turn in range(25):
        start, end = names[turn % 7 :: 11], names[turn % 5 :: 4 + turn % 3]
        compare(repository, objects, start[: turn % 4], end, tmp_path / str(turn))


def test_a_history_is_cut_at_most_sixteen_times_and_a_bit(
    made: Callable[[str], Made], tmp_path: Path
) -> None:
    repository = made("linear")
    objects = reference.Objects(repository.git_dir)
    count = compare(repository, objects, [], repository.states[-1], tmp_path)
    assert 8 <= count <= 17
