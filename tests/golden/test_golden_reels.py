"""Reels are the same bytes everywhere: however objects are kept, whatever git is told beside.

The expected reels are in ``expected.json`` (``python tests/golden/regenerate.py`` writes it).
A git built with another zlib makes other bytes of the same plan; where the native helper is not
installed either, only plans are compared.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import golden_cases
import pytest
from golden_cases import SMALL_TARGET, Case

from gittorrent import native
from gittorrent.git.runner import EXECUTABLE_VARIABLE
from gittorrent.shapes import ShapeKind
from support.packings import (
    PACKINGS,
    hostile_home,
    hostile_repository,
    hostile_variables,
)
from support.repositories import RECIPES, Made

MakeRepository = Callable[[str], Made]

_FOUND = {os.path.realpath(git): git for git in (shutil.which("git"), "/usr/bin/git") if git}
GITS = sorted(git for path, git in _FOUND.items() if Path(path).exists())

RICH = [
    Case("pushes", None, 4, SMALL_TARGET),
    Case("pushes", 1, 2),
    Case("tags", None, 3),
    Case("tags", 0, 1),
    Case("times", None, 1, SMALL_TARGET),
    Case("merges", 0, 1, SMALL_TARGET),
    Case("names", 0, 1),
    Case("pushes-sha256", None, 4, SMALL_TARGET),
    Case("pushes", None, 4, kind=ShapeKind.HISTORY),
    Case("pushes", 1, 2, kind=ShapeKind.HISTORY),
    Case("pushes", None, 4, kind=ShapeKind.TIP),
    Case("tags", None, 3, kind=ShapeKind.HISTORY),
    Case("tags", None, 3, kind=ShapeKind.TIP),
    Case("pushes-sha256", None, 4, kind=ShapeKind.TIP),
]
"""Reels that together have about everything that could make a difference."""


@pytest.fixture(params=GITS)
def any_git(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(EXECUTABLE_VARIABLE, request.param)
    return str(request.param)


HERE, BY_GIT = "deflated here", "deflated by git"


@pytest.fixture(params=[HERE, BY_GIT])
def any_way(recipe: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of encoding, each by another git where there are two: by turns, over all recipes.

    The second one is tried twice where the native helper is not installed.
    """
    turn = (request.param == BY_GIT) + sorted(RECIPES).index(recipe)
    monkeypatch.setenv(EXECUTABLE_VARIABLE, GITS[turn % len(GITS)])
    if request.param == BY_GIT:
        monkeypatch.setenv(native.SWITCH, "0")
    return str(request.param)


@pytest.fixture(scope="session")
def same_zlib(tmp_path_factory: pytest.TempPathFactory) -> bool:
    probe = golden_cases.deflate_probe(tmp_path_factory.mktemp("probe"))
    return bool(probe == golden_cases.expected()["deflate"])


@pytest.fixture
def check(same_zlib: bool) -> Callable[[Case, Any], None]:
    wanted = golden_cases.expected()["reels"]

    def compare(case: Case, found: Any) -> None:
        if same_zlib or native.can_deflate():
            assert found == wanted[case.name], case.name
        assert golden_cases.plan_of(found) == golden_cases.plan_of(wanted[case.name]), case.name

    return compare


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_every_recipe_gives_its_reels(
    recipe: str,
    made: MakeRepository,
    check: Callable[[Case, Any], None],
    any_way: str,
) -> None:
    repository = made(recipe)
    for case in golden_cases.cases(recipe, len(repository.states)):
        check(case, golden_cases.build(case, repository))


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_every_pack_from_the_beginning_has_one_index(
    recipe: str, made: MakeRepository, same_zlib: bool, any_way: str
) -> None:
    """Git's indexer and the compiled one write the same bytes, which a manifest can name."""
    if not (same_zlib or native.can_deflate()):
        pytest.skip("this git's zlib makes other packs")
    wanted = golden_cases.expected()["indexes"]
    repository = made(recipe)
    for case in golden_cases.index_cases(recipe, len(repository.states)):
        assert golden_cases.build_index(case, repository) == wanted[case.name], case.name


def test_expectations_are_complete_and_recipes_unchanged(made: MakeRepository) -> None:
    wanted = golden_cases.expected()
    names = [
        case.name
        for recipe in RECIPES
        for case in golden_cases.cases(recipe, len(made(recipe).states))
    ]
    assert sorted(names) == sorted(wanted["reels"])
    for recipe, states in wanted["states"].items():
        assert made(recipe).states == states, recipe
    # The expectations say something: nothing, one segment and many all occur.
    counts = {len(reel["segments"]) if reel else 0 for reel in wanted["reels"].values()}
    assert counts >= {0, 1}
    assert max(counts) > 10


@pytest.mark.parametrize("packing", sorted(PACKINGS))
def test_packing_and_refs_do_not_matter(
    packing: str,
    copied: MakeRepository,
    check: Callable[[Case, Any], None],
    any_git: str,
) -> None:
    copies: dict[str, Made] = {}
    for case in RICH:
        if case.recipe not in copies:
            copies[case.recipe] = copied(case.recipe)
            PACKINGS[packing](copies[case.recipe].git_dir)
        check(case, golden_cases.build(case, copies[case.recipe]))


@pytest.mark.parametrize("packing", ["repacked", "loose", "many_packs"])
def test_large_objects_do_not_depend_on_packing(
    packing: str, copied: MakeRepository, check: Callable[[Case, Any], None]
) -> None:
    repository = copied("big")
    PACKINGS[packing](repository.git_dir)
    case = Case("big", None, 1, SMALL_TARGET)
    check(case, golden_cases.build(case, repository))


def test_hostile_configuration_does_not_matter(
    copied: MakeRepository,
    check: Callable[[Case, Any], None],
    any_git: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = hostile_home(tmp_path / "home")
    copies = {case.recipe: copied(case.recipe) for case in {c.recipe: c for c in RICH}.values()}
    copies["big"] = copied("big")
    for copy in copies.values():
        hostile_repository(copy.git_dir, home)
    for name, value in hostile_variables(home).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(home)
    for case in [*RICH, Case("big", 0, 1)]:
        check(case, golden_cases.build(case, copies[case.recipe]))


def test_the_hostile_configuration_would_matter(made: MakeRepository, tmp_path: Path) -> None:
    """Guards the test above: a git that is not sealed off does make other bytes."""
    import subprocess

    home = hostile_home(tmp_path / "home")
    repository = made("pushes")
    objects = "".join(f"{oid}\n" for oid in repository.states[-1]).encode()
    packs = []
    for extra in ({}, {"HOME": str(home)}):
        done = subprocess.run(
            ["git", "-C", str(repository.git_dir), "pack-objects", "--stdout", "--revs",
             "--no-reuse-object", "--no-reuse-delta", "-q"],
            input=objects, capture_output=True, check=True,
            env={"PATH": os.environ["PATH"], "HOME": "/dev/null", **extra},
        )  # fmt: skip
        packs.append(done.stdout)
    assert packs[0] != packs[1]


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_do_not_matter(
    processes: int, made: MakeRepository, check: Callable[[Case, Any], None], any_git: str
) -> None:
    for case in (Case("linear", None, 1, SMALL_TARGET), Case("pushes", 0, 4, SMALL_TARGET)):
        check(case, golden_cases.build(case, made(case.recipe), processes=processes))


def test_alternates_do_not_matter(
    made: MakeRepository, check: Callable[[Case, Any], None], tmp_path: Path
) -> None:
    """Objects may be borrowed, as clones with --shared do; links on the way are followed."""
    repository = made("pushes")
    borrowed = tmp_path / "borrowing" / "objects"
    (borrowed / "info").mkdir(parents=True)
    (borrowed / "info" / "alternates").write_text(f"{repository.objects}\n")
    link = tmp_path / "link"
    link.symlink_to(borrowed)
    case = Case("pushes", None, 4)
    check(case, golden_cases.build(case, repository, objects=link))
