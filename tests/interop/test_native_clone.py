"""The compiled indexer in the place it was made for: the same clone with and without it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from gittorrent.repository.carried import Carried
from support import nodes
from support.programs import Person, somebody

needs_native = pytest.mark.skipif(
    importlib.util.find_spec("gittorrent_native") is None,
    reason="gittorrent-native is not installed",
)


@needs_native
def test_both_indexers_make_the_same_clone(large: Carried, tmp_path: Path, person: Person) -> None:
    with nodes.serving(large, home=nodes.make_home(tmp_path / "node")) as served:
        url = f"gittorrent://{served.git.removeprefix('git://')}/project.git"
        person.git("clone", "--mirror", url, "native").ok()
        plain = somebody(tmp_path / "plain")
        plain.variables["GITTORRENT_NATIVE"] = "0"
        plain.git("clone", "--mirror", url, "plain").ok()
    ours, gits = ((p / "objects" / "pack") for p in (person.root / "native", plain.root / "plain"))
    names = sorted(path.name for path in ours.iterdir())
    assert names == sorted(path.name for path in gits.iterdir())
    assert any(name.endswith(".idx") for name in names)
    for name in names:
        assert (ours / name).read_bytes() == (gits / name).read_bytes(), name
