"""Reels whose oldest end is not known here are proved whole all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from gittorrent.git.repository import create_bare
from gittorrent.ids import Oid
from gittorrent.repository.carried import Carried
from gittorrent.repository.receive import LyingReelError, Receiver, SignedManifest, receiving
from gittorrent.repository.reelstore import StoredReel
from support import gitcmd, nodes
from support.repositories import noise


@pytest.fixture
def origin(tmp_path: Path) -> Carried:
    """Published three times: a reel for each."""
    git_dir = gitcmd.init(tmp_path / "origin.git")
    key = nodes.signer(tmp_path)
    for number in range(3):
        nodes.add_commit(git_dir, "refs/heads/main", f"f{number}", noise(f"f{number}", 2000))
        carried = nodes.publish(git_dir, key, "project")
    return carried


def reels_of(origin: Carried) -> list[StoredReel]:
    places = {push: place for place, push in enumerate(origin.log_store.ids())}
    return sorted(origin.reels.all(), key=lambda reel: places[reel.manifest.end])


def take(receiver: Receiver, reel: StoredReel, origin: Carried) -> None:
    signed = SignedManifest(reel.manifest, reel.signature, origin.log().policy.policy.keeper)
    receiver.take_local(signed, reel, [])


def empty(root: Path, origin: Carried) -> Carried:
    git = create_bare(root / "target.git", origin.object_format)
    return Carried(git.directory, origin.object_format)


def test_nothing_is_missing(origin: Carried, tmp_path: Path) -> None:
    target = empty(tmp_path, origin)
    main = Oid(gitcmd.text(origin.layout.git_dir, "rev-parse", "main"))
    with receiving(target.layout, target.object_format, target.reels) as receiver:
        for reel in reels_of(origin):
            take(receiver, reel, origin)
        receiver.check([main], ())
        receiver.install(keep=True)
    assert gitcmd.text(target.layout.git_dir, "rev-list", "--count", main) == "3"


def test_a_repository_of_another_mode_leaves_the_packs_it_was_taken_from_readable(
    origin: Carried, tmp_path: Path
) -> None:
    """A mode is the file's, whatever it is called: of a pack that is linked, the other's, too."""
    folder = origin.layout.objects / "pack"
    folder.chmod(0o755)
    for file in folder.iterdir():
        file.chmod(0o444)
    target = empty(tmp_path, origin)
    (target.layout.objects / "pack").chmod(0o700)
    with receiving(target.layout, target.object_format, target.reels) as receiver:
        for reel in reels_of(origin):
            take(receiver, reel, origin)
        receiver.install(keep=True)
    modes = {file.stat().st_mode & 0o777 for file in folder.glob("*.pack")}
    assert modes == {0o444}
    taken = list((target.layout.objects / "pack").glob("*.pack"))
    assert {file.stat().st_mode & 0o777 for file in taken} == {0o400}


@pytest.mark.parametrize("missing", [1, 2])
def test_a_reel_that_is_missing_is_noticed(origin: Carried, tmp_path: Path, missing: int) -> None:
    target = empty(tmp_path, origin)
    main = Oid(gitcmd.text(origin.layout.git_dir, "rev-parse", "main"))
    with receiving(target.layout, target.object_format, target.reels) as receiver:
        for number, reel in enumerate(reels_of(origin)):
            if number != missing:
                take(receiver, reel, origin)
        with pytest.raises(LyingReelError, match="lack objects"):
            receiver.check([main], ())
