"""What a node keeps for clones of its machine is made anew where a power cut broke it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gittorrent.git.refs import read_refs
from gittorrent.ids import SHA1, RepositoryId
from gittorrent.repository.cache import Cache
from gittorrent.repository.carried import CACHE, RepositoryInfo

REPOSITORY = RepositoryId("a" * 52)


@pytest.mark.parametrize("name", ["HEAD", "config", "packed-refs"])
def test_a_broken_one_is_made_anew(tmp_path: Path, name: str) -> None:
    cache = Cache(tmp_path)
    carried = cache.open(REPOSITORY, SHA1)
    carried.set_info(RepositoryInfo(REPOSITORY, "project", CACHE))
    cache.keep(REPOSITORY, 1e9)
    assert cache.find(REPOSITORY) is not None
    (carried.layout.git_dir / name).write_bytes(bytes(30))
    assert cache.find(REPOSITORY) is None
    assert read_refs(cache.open(REPOSITORY, SHA1).git) == {}
