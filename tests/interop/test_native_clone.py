"""The compiled indexer in the place it was made for: the same clone with and without it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from support import gitcmd, nodes
from support.programs import Person, somebody
from support.publishing import builder, grow

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


@needs_native
@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_thin_reels_are_completed_alike(
    object_format: str, owner_key: Signer, tmp_path: Path
) -> None:
    """A first clone and a fetch after it: the second reel is thin."""
    made = builder(tmp_path / "project.git", object_format)
    grow(made, 40)
    people = [somebody(tmp_path / name) for name in ("native", "git", "paranoid", "fast")]
    people[1].variables["GITTORRENT_NATIVE"] = "0"
    people[2].git("config", "--global", "gittorrent.paranoid", "true").ok()
    people[3].git("config", "--global", "gittorrent.detectCollisions", "false").ok()
    carried = nodes.publish(made.git_dir, owner_key, "project")
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "node")) as served:
        url = f"gittorrent://{served.git.removeprefix('git://')}/project.git"
        for person in people:
            person.git("clone", "--mirror", url, "clone").ok()
        grow(made, 40)
        nodes.publish(made.git_dir, owner_key, None)
        found = []
        for person in people:
            clone = person.root / "clone"
            person.git("fetch", cwd=clone).ok()
            gitcmd.git(clone, "fsck", "--strict")
            assert gitcmd.refs(clone)[b"refs/heads/main"] == made_tip(made.git_dir)
            packs = clone / "objects" / "pack"
            found.append({path.name: path.read_bytes() for path in packs.iterdir()})
    assert found[0] == found[1] == found[2] == found[3]
    assert sum(name.endswith(".pack") for name in found[0]) == 2


def made_tip(git_dir: Path) -> str:
    """Return what main is at."""
    return gitcmd.refs(git_dir)[b"refs/heads/main"]
