"""Repositories that the node's tests share; tests that change one make their own."""

from __future__ import annotations

import shutil

import pytest

from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from support import nodes

if shutil.which("ssh-keygen") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return nodes.signer(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def carried(tmp_path_factory: pytest.TempPathFactory, key: Signer) -> Carried:
    root = tmp_path_factory.mktemp("published")
    return nodes.publish(nodes.make_repository(root / "r.git"), key, "project")


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory, key: Signer) -> Carried:
    root = tmp_path_factory.mktemp("other")
    return nodes.publish(nodes.make_repository(root / "o.git"), key, "other")
