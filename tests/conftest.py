"""Puts ``tests/`` on the import path for ``support``, and holds what all tests may ask for."""

from __future__ import annotations

import gc
import os
import signal
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from gittorrent.store.database import Database
from support.copying import copy_tree
from support.programs import GITS, NO_AUTHORITIES
from support.repositories import Made, make

# How long an example takes says more of the machine's load than of the code. The same examples are
# tried each time, so that a failure is of the change it comes with; new ones with
# GITTORRENT_NEW_EXAMPLES set, and what they find becomes a test.
settings.register_profile(
    "patient",
    deadline=None,
    print_blob=True,
    derandomize="GITTORRENT_NEW_EXAMPLES" not in os.environ,
)
settings.load_profile("patient")

# What collecting makes stays: looking through it for garbage takes longer than making it.
gc.disable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked exhaustive, unless the marker is part of the ``-m`` expression."""
    for item in items:
        if "git_in_turn" in item.keywords and not _is_its_turn(item):
            item.add_marker(pytest.mark.exhaustive)
    if "exhaustive" in str(config.getoption("-m")):
        return
    left_out = [item for item in items if "exhaustive" in item.keywords]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if "exhaustive" not in item.keywords]


def _is_its_turn(item: pytest.Item) -> bool:
    """Tell whether a test is to be run with the git that it names, of those of this machine."""
    assert isinstance(item, pytest.Function)
    for git in item.callspec.params.values() if hasattr(item, "callspec") else ():
        if git in GITS:
            others = item.nodeid.replace(git, "").encode()
            return GITS.index(git) == zlib.crc32(others) % len(GITS)
    return True


def pytest_collection_finish() -> None:
    """Look for garbage again, other than in what was collected: tests are warned of what leaks."""
    gc.collect()
    gc.freeze()
    gc.enable()


# No test looks for anything among strangers, unless it says in which DHT.
os.environ["GITTORRENT_DHT_BOOTSTRAP"] = ""
os.environ.update(NO_AUTHORITIES)

# A shell lets what it starts in the background ignore Ctrl-C, and so would all programs below us.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A node's database with nothing in it."""
    made = Database(tmp_path / "node.sqlite")
    yield made
    made.close()


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """Return the generated repository of a recipe, made once; nobody may change it."""
    found: dict[str, Made] = {}

    def get(recipe: str) -> Made:
        if recipe not in found:
            found[recipe] = make(recipe, tmp_path_factory.mktemp("made") / f"{recipe}.git")
        return found[recipe]

    return get


@pytest.fixture
def copied(made: Callable[[str], Made], tmp_path: Path) -> Callable[[str], Made]:
    """Return a copy of a generated repository that the test may change."""

    def get(recipe: str) -> Made:
        original = made(recipe)
        target = tmp_path / f"{recipe}-copy.git"
        copy_tree(original.git_dir, target)
        return Made(target, original.object_format, original.states)

    return get
