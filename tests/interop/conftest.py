"""Published repositories and the people who clone them, for the tests with real programs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from support import bulk, nodes
from support.nodes import Served
from support.programs import Person, somebody


@pytest.fixture(scope="session")
def owner_key(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    """The key of whoever publishes."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen missing")
    return nodes.signer(tmp_path_factory.mktemp("owner-key"))


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, owner_key: Signer) -> Carried:
    """A small published repository with branches and tags; nobody may change it."""
    root = tmp_path_factory.mktemp("project")
    return nodes.publish(bulk.make_small(root / "project.git"), owner_key, "project")


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory, owner_key: Signer) -> Carried:
    """A published repository of a dozen parts; nobody may change it."""
    root = tmp_path_factory.mktemp("large")
    return nodes.publish(bulk.make_large(root / "project.git"), owner_key, "project")


@pytest.fixture(scope="session")
def project_node(tmp_path_factory: pytest.TempPathFactory, project: Carried) -> Iterator[Served]:
    """A node that serves `project`."""
    with nodes.serving(project, home=nodes.make_home(tmp_path_factory.mktemp("node"))) as served:
        yield served


@pytest.fixture
def person(tmp_path: Path) -> Person:
    """Somebody with an empty home."""
    return somebody(tmp_path / "person")


@pytest.fixture
def people(tmp_path: Path) -> Callable[[str], Person]:
    """Make people by name."""
    return lambda name: somebody(tmp_path / name)
