"""What git wrote around the parts of a reel, and its index, is made anew where it was damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gittorrent.repository.carried import Carried
from gittorrent.repository.damaged_reels import AROUND, damaged_reels
from gittorrent.repository.reel_repair import is_right_around, mend_around
from gittorrent.repository.reelstore import StoredReel
from gittorrent.repository.verify import Verifier
from support import gitcmd, nodes
from support.hostile import spoil
from support.repositories import Builder, prose


@pytest.fixture
def carried(tmp_path: Path) -> Carried:
    """A repository with a whole reel, a thin one, and one that is kept as it travels."""
    git_dir = gitcmd.init(tmp_path / "r.git")
    key, made, tip = nodes.signer(tmp_path), Builder(git_dir, "sha1"), list[int]()
    for commits in (120, 60, 2):
        for number in range(commits):
            files: dict[bytes, bytes | int | None] = {
                b"src/f%d" % (number % 7): prose(f"{commits} {number}", 300),
                b"text": prose("text", 2000 + number),  # a delta, of what others have
            }
            tip = [made.commit("refs/heads/main", tip, files)]
        made.flush()
        carried = nodes.publish(git_dir, key, "project")
    return carried


def whole(reel: StoredReel) -> bool:
    return reel.manifest.start is None


def thin(reel: StoredReel) -> bool:
    return reel.pack.stat().st_size > reel.manifest.pack_size


def small(reel: StoredReel) -> bool:
    return reel.pack.parent.name != "pack"


def places(reel: StoredReel) -> list[tuple[Path, int]]:
    """Return where to damage a reel's files, outside of its parts."""
    found = [(reel.pack, 9), (reel.pack, reel.pack.stat().st_size - 1)]
    if thin(reel):
        found.append((reel.pack, reel.manifest.pack_size))  # a base that git added
    for suffix in (".idx", ".rev"):
        path = reel.pack.with_suffix(suffix)
        if path.exists():
            size = path.stat().st_size
            found += [(path, at) for at in (9, size // 2, size - 25, size - 1)]
    return found


@pytest.mark.parametrize("kind", [whole, thin, small])
def test_what_lies_around_parts_is_made_anew(
    carried: Carried, kind: Callable[[StoredReel], bool]
) -> None:
    (reel,) = [each for each in carried.reels.all() if kind(each)]
    assert is_right_around(reel)
    assert not mend_around(carried, reel)
    damaged = places(reel)
    assert small(reel) or reel.pack.with_suffix(".idx") in {path for path, _ in damaged}
    for path, at in damaged:
        before = path.read_bytes()
        spoil(path, at)
        assert not is_right_around(reel), (path, at)
        assert mend_around(carried, reel)
        assert path.read_bytes() == before, (path, at)
        assert is_right_around(reel)
    gitcmd.git(carried.layout.git_dir, "fsck", "--strict")


def test_an_index_that_is_gone_is_made_anew(carried: Carried) -> None:
    (reel,) = [each for each in carried.reels.all() if thin(each)]
    index = reel.pack.with_suffix(".idx")
    before = index.read_bytes()
    index.unlink()
    assert mend_around(carried, reel)
    assert index.read_bytes() == before


@pytest.mark.parametrize("kind", [whole, thin, small])
def test_what_is_cut_off_is_made_anew(carried: Carried, kind: Callable[[StoredReel], bool]) -> None:
    (reel,) = [each for each in carried.reels.all() if kind(each)]
    before = reel.pack.read_bytes()
    reel.pack.chmod(0o644)
    with reel.pack.open("r+b") as file:
        file.truncate(reel.manifest.pack_size - 20)
    assert mend_around(carried, reel)
    assert reel.pack.read_bytes() == before


def test_verifying_writes_down_what_is_damaged(carried: Carried) -> None:
    """A node gives it to nobody then, and gets it anew."""
    first, second, _ = sorted(carried.reels.all(), key=lambda reel: -reel.manifest.objects)
    spoil(first.pack, 1000)
    spoil(second.pack.with_suffix(".idx"), 2000)
    found = Verifier(carried).run().findings
    assert {each.subject for each in found} >= {f"reel {first.id}", f"reel {second.id}"}
    noted = {reel.manifest: reel.part for reel in damaged_reels(carried.layout)}
    assert noted == {first.id: 0, second.id: AROUND}


def test_verifying_writes_nothing_down_of_what_is_right(carried: Carried) -> None:
    assert not Verifier(carried).run().findings
    assert not damaged_reels(carried.layout)
