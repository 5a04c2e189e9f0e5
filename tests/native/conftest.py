"""Skips this folder where the native indexer is not installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

HAVE_NATIVE = importlib.util.find_spec("gittorrent_native") is not None
collect_ignore_glob = [] if HAVE_NATIVE else ["test_*.py"]


@pytest.fixture(scope="session", params=["sha1", "sha256"])
def object_format(request: pytest.FixtureRequest) -> str:
    """Both object formats, one after the other."""
    return str(request.param)


@pytest.fixture(scope="session")
def judges(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return an empty repository of each object format, for git to judge in."""
    from judging import empty_repository

    root = tmp_path_factory.mktemp("judges")
    return {name: empty_repository(root / f"{name}.git", name) for name in ("sha1", "sha256")}


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a repository of each object format, with delta chains worth the name."""
    from differential import make_source

    root = tmp_path_factory.mktemp("history")
    return {name: make_source(root / f"{name}.git", name) for name in ("sha1", "sha256")}
