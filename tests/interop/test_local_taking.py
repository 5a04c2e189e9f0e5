"""What is taken from repositories of this machine is verified as if a stranger had sent it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gittorrent.errors import LocalError
from gittorrent.git.repository import create_bare
from gittorrent.repository.carried import Carried
from gittorrent.repository.receive import SignedManifest, receiving
from gittorrent.signing.keys import Signer
from support import bulk, gitcmd, nodes
from support.indexes import swap_offsets
from support.nodes import Served
from support.programs import Person, serve
from support.repositories import noise

OF_NODE = "without a download"
"""What a clone says of what it took from this machine."""


def url_of(served: Served) -> str:
    return f"gittorrent://{served.git.removeprefix('git://')}/project.git"


def lie(repository: Path, large: Carried) -> None:
    """Swap two versions of a file in the index of the repository's reel."""
    one, other = (
        gitcmd.text(large.layout.git_dir, "rev-parse", f"main~{back}:text") for back in (0, 20)
    )
    (index,) = repository.glob("objects/pack/*.idx")
    swap_offsets(index, one, other)
    assert gitcmd.git(repository, "cat-file", "blob", one) == gitcmd.git(
        large.layout.git_dir, "cat-file", "blob", other
    )


def assert_right(clone: Path, large: Carried) -> None:
    assert gitcmd.refs(clone) == bulk.published(gitcmd.refs(large.layout.git_dir))
    gitcmd.git(clone, "fsck", "--strict", "--full")


@pytest.mark.parametrize("native", ["0", "1"])
def test_the_index_of_a_mirror_is_not_believed(
    large: Carried, tmp_path: Path, person: Person, native: str
) -> None:
    person.variables["GITTORRENT_NATIVE"] = native
    with nodes.serving(large, home=nodes.make_home(tmp_path / "o")) as origin:
        person.gittorrent("mirror", "--once", url_of(origin)).ok()
        mirror = person.node / "repositories" / "project.git"
        lie(mirror, large)
        said = person.git("clone", "--mirror", url_of(origin), "c").ok().err
    assert OF_NODE in said
    assert_right(person.root / "c", large)


def test_the_index_of_the_nodes_cache_is_not_believed(
    large: Carried, tmp_path: Path, person: Person
) -> None:
    with nodes.serving(large, home=nodes.make_home(tmp_path / "o")) as origin, serve(person):
        person.git("clone", "--mirror", url_of(origin), "a").ok()
        (cached,) = (person.node / "cache").glob("*.git")
        lie(cached, large)
        said = person.git("clone", "--mirror", url_of(origin), "b").ok().err
    assert OF_NODE in said
    assert_right(person.root / "b", large)


def test_the_index_of_a_clone_that_is_handed_over_is_not_believed(
    large: Carried, tmp_path: Path, person: Person
) -> None:
    with nodes.serving(large, home=nodes.make_home(tmp_path / "o")) as origin, serve(person):
        person.git("-c", "gittorrent.useNode=false", "clone", "--mirror", url_of(origin), "a").ok()
        lie(person.root / "a", large)
        person.gittorrent("seed", "a", url_of(origin), "--hand-over", "--for", "600").ok()
        (cached,) = (person.node / "cache").glob("*.git")
        gitcmd.git(cached, "fsck", "--strict", "--full")
        said = person.git("clone", "--mirror", url_of(origin), "b").ok().err
    assert OF_NODE in said
    assert_right(person.root / "b", large)


def test_a_pack_that_somebody_may_write_to_is_not_shared(
    large: Carried, tmp_path: Path, person: Person
) -> None:
    with nodes.serving(large, home=nodes.make_home(tmp_path / "o")) as origin:
        person.gittorrent("mirror", "--once", url_of(origin)).ok()
        mirror = person.node / "repositories" / "project.git"
        (pack,) = mirror.glob("objects/pack/*.pack")
        person.git("clone", "--mirror", url_of(origin), "a").ok()
        pack.chmod(0o664)
        said = person.git("clone", "--mirror", url_of(origin), "b").ok().err
    assert OF_NODE in said
    assert (person.root / "a/objects/pack" / pack.name).samefile(pack)
    copy = person.root / "b/objects/pack" / pack.name
    assert not copy.samefile(pack)
    assert copy.read_bytes() == pack.read_bytes()
    assert_right(person.root / "b", large)


def test_who_is_stopped_leaves_nothing_behind(
    large: Carried, tmp_path: Path, owner_key: Signer
) -> None:
    git = create_bare(tmp_path / "target.git", large.object_format)
    target = Carried(git.directory, large.object_format)
    (stored,) = large.reels.all()
    signed = SignedManifest(stored.manifest, stored.signature, owner_key.key)
    with receiving(target.layout, target.object_format, target.reels) as receiver:
        receiver.stop()
        with pytest.raises(LocalError, match="stopped"):
            receiver.take_local(signed, stored, [])
        assert not list(target.layout.incoming.glob("*/*.wire"))
    assert not list(target.layout.incoming.iterdir())
    assert not list(target.layout.objects.glob("pack/*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_repository_of_another_user_is_looked_into_by_gits_own_rule(
    large: Carried, tmp_path: Path, person: Person
) -> None:
    with nodes.serving(large, home=nodes.make_home(tmp_path / "o")) as origin:
        person.gittorrent("mirror", "--once", url_of(origin)).ok()
        mirror = person.node / "repositories" / "project.git"
        (pack,) = mirror.glob("objects/pack/*.pack")
        for path in (mirror, *mirror.rglob("*")):
            os.chown(path, 12345, -1)
        said = person.git("clone", "--mirror", url_of(origin), "a").ok().err
        assert OF_NODE not in said
        person.git("config", "--global", "safe.directory", str(mirror)).ok()
        said = person.git("clone", "--mirror", url_of(origin), "b").ok().err
        assert OF_NODE in said
    assert not (person.root / "b/objects/pack" / pack.name).samefile(pack)
    for clone in ("a", "b"):
        assert_right(person.root / clone, large)


def test_reels_that_build_on_others_are_taken_and_handed_over(
    large: Carried, tmp_path: Path, owner_key: Signer, person: Person
) -> None:
    git_dir = tmp_path / "project.git"
    gitcmd.git(tmp_path, "clone", "-q", "--mirror", str(large.layout.git_dir), "project.git")
    carried = nodes.publish(git_dir, owner_key, "project")
    for commits in (50, 1):  # one that becomes a pack and has to be completed, one that stays small
        for number in range(commits):
            nodes.add_commit(git_dir, "refs/heads/main", "f", noise(f"{commits} {number}", 5000))
        nodes.publish(git_dir, owner_key, None)
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "o")) as origin, serve(person):
        alone = ("-c", "gittorrent.useNode=false")
        person.git(*alone, "clone", "--mirror", url_of(origin), "a").ok()
        reels = len(list((person.root / "a/gittorrent/reels").glob("*.manifest")))
        person.gittorrent("seed", "a", url_of(origin), "--hand-over", "--for", "600").ok()
        (cached,) = (person.node / "cache").glob("*.git")
        assert len(list((cached / "gittorrent/reels").glob("*.manifest"))) == reels == 3
        said = person.git("clone", "--mirror", url_of(origin), "b").ok().err
    assert said.count(OF_NODE) == reels
    for clone in (person.root / "b", cached):
        gitcmd.git(clone, "fsck", "--strict", "--full")
    assert gitcmd.refs(person.root / "b") == bulk.published(gitcmd.refs(git_dir))
