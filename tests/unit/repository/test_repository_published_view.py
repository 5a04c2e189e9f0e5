"""The view of what is published, that git's own clients are served from."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.ids import Oid, RefName
from gittorrent.repository.carried import MIRROR, Carried
from gittorrent.repository.published_view import LOOSE_LIMIT, PublishedView
from gittorrent.signing.keys import Signer
from support import gitcmd, nodes


@pytest.fixture(params=["sha1", "sha256"])
def carried(request: pytest.FixtureRequest, tmp_path: Path, key: Signer) -> Carried:
    git_dir = nodes.make_repository(tmp_path / "r.git", 1000, request.param)
    return nodes.publish(git_dir, key, "project")


@pytest.fixture
def key(tmp_path: Path) -> Signer:
    return nodes.signer(tmp_path)


def view_of(carried: Carried, tmp_path: Path) -> PublishedView:
    view = PublishedView(carried, tmp_path / "views" / "x.git")
    view.refresh()
    return view


def shown(view: PublishedView) -> dict[bytes, str]:
    return gitcmd.refs(view.directory)


def has(view: PublishedView, oid: str) -> bool:
    return view.git.attempt("cat-file", "-e", oid).returncode == 0


def test_exactly_what_is_published(carried: Carried, tmp_path: Path) -> None:
    git_dir = carried.layout.git_dir
    secret = nodes.add_commit(git_dir, "refs/heads/secret", "secret", b"secret\n")
    hidden = gitcmd.refs(git_dir)[b"refs/private/secret"]
    view = view_of(carried, tmp_path)
    assert view.is_whole
    assert shown(view) == dict(carried.log().refs)
    assert gitcmd.text(view.directory, "symbolic-ref", "HEAD") == "refs/heads/main"
    assert not has(view, secret)
    assert not has(view, hidden)
    assert not has(view, carried.log().head or "")
    gitcmd.git(view.directory, "fsck", "--strict", "--connectivity-only")
    packed = (view.directory / "packed-refs").read_bytes()
    gitcmd.git(view.directory, "pack-refs", "--all")
    assert (view.directory / "packed-refs").read_bytes() == packed


def head_of(view: PublishedView) -> str:
    return gitcmd.text(view.directory, "symbolic-ref", "HEAD")


def test_head_is_what_was_published(carried: Carried, key: Signer, tmp_path: Path) -> None:
    git_dir, view = carried.layout.git_dir, view_of(carried, tmp_path)
    assert head_of(view) == "refs/heads/main"
    gitcmd.git(git_dir, "symbolic-ref", "HEAD", "refs/heads/topic")
    nodes.add_commit(git_dir, "refs/heads/main", "more", b"more\n")
    view.refresh()
    assert head_of(view) == "refs/heads/main", "nobody published that"
    nodes.publish(git_dir, key, None)
    view.refresh()
    assert head_of(view) == "refs/heads/topic"
    gitcmd.git(git_dir, "branch", "-m", "topic", "trunk")
    gitcmd.git(git_dir, "symbolic-ref", "HEAD", "refs/heads/trunk")
    nodes.publish(git_dir, key, None)
    view.refresh()
    assert head_of(view) == "refs/heads/trunk"


def test_pushes_that_no_checkpoint_took_are_shown_unless_one_wants_no_such(
    carried: Carried, key: Signer, tmp_path: Path
) -> None:
    """Their objects are in no reel yet: they are taken from the repository, and no others."""
    git_dir, view = carried.layout.git_dir, view_of(carried, tmp_path)
    final = PublishedView(carried, tmp_path / "views" / "final.git", final_only=True)
    before = shown(view)
    for number in range(2):
        tip = nodes.add_commit(git_dir, "refs/heads/main", f"new {number}", b"%d\n" % number)
        secret = nodes.add_commit(git_dir, "refs/heads/secret", "secret", b"secret\n")
        nodes.push_on(carried, key, {RefName(b"refs/heads/main"): Oid(tip)})
        view.refresh()
        assert view.is_whole
        assert shown(view) == {**before, b"refs/heads/main": tip}
        assert not has(view, secret)
        gitcmd.git(view.directory, "fsck", "--strict")
        own = [p for p in (view.directory / "objects/pack").glob("*.pack") if not p.is_symlink()]
        assert own == [], "what the reels have is not packed again"
        final.refresh()
        assert final.is_whole
        assert shown(final) == {**before, b"refs/gittorrent/provisional/heads/main": tip}
        assert has(final, tip), "clones that verify ask for it"
        assert not has(final, secret)
    nodes.publish(git_dir, key, None)
    final.refresh()
    assert shown(final) == {**before, b"refs/heads/main": tip, b"refs/heads/secret": secret}


def test_values_that_untaken_pushes_replaced_are_given_to_whoever_asks_by_id(
    carried: Carried, key: Signer, tmp_path: Path
) -> None:
    git_dir, view = carried.layout.git_dir, view_of(carried, tmp_path)
    before, ref, values = shown(view), RefName(b"refs/heads/amended"), []
    for number in range(3):
        gitcmd.git(git_dir, "update-ref", "refs/private/a", "refs/heads/main")
        tip = nodes.add_commit(git_dir, "refs/private/a", "file", b"%d\n" % number)
        nodes.push_on(carried, key, {ref: Oid(tip)})
        values.append(tip)
    nodes.push_on(carried, key, {RefName(b"refs/tags/lost"): Oid("12" * (len(tip) // 2))})
    nodes.push_on(carried, key, {RefName(b"refs/tags/lost"): None})
    view.refresh()
    assert view.is_whole
    replaced = {f"refs/gittorrent/replaced/{oid}".encode(): oid for oid in values[:2]}
    assert shown(view) == {**before, ref: values[2], **replaced}
    gitcmd.git(view.directory, "fsck", "--strict")
    gitcmd.git(git_dir, "update-ref", "refs/heads/amended", values[2])
    nodes.publish(git_dir, key, None)
    view.refresh()
    assert shown(view) == {**before, ref: values[2]}


def test_nothing_is_done_while_nothing_changes(carried: Carried, tmp_path: Path) -> None:
    view = view_of(carried, tmp_path)
    before = (view.directory / "packed-refs").stat().st_ino
    nodes.add_commit(carried.layout.git_dir, "refs/heads/main", "more", b"more\n")
    view.refresh()
    again = view_of(carried, tmp_path)
    assert again.is_whole
    assert (view.directory / "packed-refs").stat().st_ino == before


def test_small_reels_are_taken_in(carried: Carried, key: Signer, tmp_path: Path) -> None:
    git_dir = carried.layout.git_dir
    view = view_of(carried, tmp_path)
    for number in range(3):
        tip = nodes.add_commit(git_dir, "refs/heads/main", f"n{number}", b"%d\n" % number)
        nodes.publish(git_dir, key, None)
        view.refresh()
        assert shown(view)[b"refs/heads/main"] == tip
    gitcmd.git(git_dir, "update-ref", "-d", "refs/heads/topic")
    nodes.publish(git_dir, key, None)
    view.refresh()
    assert view.is_whole
    assert shown(view) == dict(carried.log().refs)
    gitcmd.git(view.directory, "fsck", "--strict")
    assert not view.wants_packing
    view.git.run(*view.packing)
    assert (view.directory / "objects" / "pack" / "multi-pack-index").exists()
    assert shown(view) == dict(carried.log().refs)
    gitcmd.git(view.directory, "fsck", "--strict")


def test_many_loose_objects_are_packed(carried: Carried, tmp_path: Path) -> None:
    view = view_of(carried, tmp_path)
    for number in range(LOOSE_LIMIT // 256 + 2):
        folder = view.directory / "objects" / f"{number:02x}"
        folder.mkdir(exist_ok=True)
        for file in range(256):
            (folder / f"{file:0{carried.object_format.hex_size - 2}x}").touch()
    assert view.wants_packing


def test_a_missing_reel_is_made_up_for(carried: Carried, key: Signer, tmp_path: Path) -> None:
    git_dir = carried.layout.git_dir
    (first,) = carried.reels.all()
    nodes.add_commit(git_dir, "refs/heads/main", "more", b"more\n")
    nodes.publish(git_dir, key, None)
    secret = nodes.add_commit(git_dir, "refs/heads/secret", "secret", b"secret\n")
    carried.reels.drop(first)
    view = view_of(carried, tmp_path)
    assert view.is_whole
    assert shown(view) == dict(carried.log().refs)
    assert not has(view, secret)
    gitcmd.git(view.directory, "fsck", "--strict")
    nodes.publish(git_dir, key, None)
    view.refresh()
    assert has(view, secret)
    own = [p for p in (view.directory / "objects" / "pack").glob("*.pack") if not p.is_symlink()]
    assert len(own) == 1


def test_missing_objects_are_said(carried: Carried, tmp_path: Path) -> None:
    (first,) = carried.reels.all()
    carried.reels.drop(first)
    gone = gitcmd.text(carried.layout.git_dir, "rev-parse", "main:large")
    (carried.layout.objects / gone[:2] / gone[2:]).unlink(missing_ok=True)
    for pack in carried.layout.objects.glob("pack/*"):
        pack.unlink()
    assert not view_of(carried, tmp_path).is_whole


def test_a_damaged_manifest_does_not_keep_git_from_serving(
    carried: Carried, tmp_path: Path
) -> None:
    (first,) = carried.reels.all()
    carried.layout.manifest(first.id).write_bytes(b"damaged\n")
    again = Carried(carried.layout.git_dir, carried.object_format)
    view = view_of(again, tmp_path)
    assert view.is_whole
    assert shown(view) == dict(carried.log().refs)


def test_packs_that_are_gone_leave_nothing_behind(
    carried: Carried, key: Signer, tmp_path: Path
) -> None:
    (first,) = carried.reels.all()
    view = view_of(carried, tmp_path)
    folder = view.directory / "objects" / "pack"
    view.git.run(*view.packing)
    assert any(folder.glob(f"{first.pack.stem}.*"))
    carried.reels.drop(first)
    view.refresh()
    assert not any(folder.glob(f"{first.pack.stem}.*"))
    assert not (folder / "multi-pack-index").exists()


def test_a_mirror_is_served_as_it_is(carried: Carried, tmp_path: Path) -> None:
    carried.set_info(replace(carried.info, role=MIRROR, source="git://example.org/x"))
    view = view_of(carried, tmp_path)
    assert view.is_whole
    assert view.object_folder == carried.layout.objects
    listed = view.git.run("for-each-ref", "--format=%(refname)").split()
    assert sorted(listed) == sorted(carried.log().refs)
    assert not view.wants_packing
