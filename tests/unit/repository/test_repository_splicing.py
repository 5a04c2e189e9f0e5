"""Small reels made one where they are published, and what becomes of the old ones."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from gittorrent.durable import locked
from gittorrent.git.runner import Git
from gittorrent.reel.build import build_reel
from gittorrent.reel.path import ReelOffer, best_path
from gittorrent.reel.splicing import GRACE_SECONDS, LEFT_ALONE
from gittorrent.repository import housekeeping
from gittorrent.repository.leaving_reels import drop_superseded
from gittorrent.repository.published_view import PublishedView
from gittorrent.repository.reelstore import StoredReel
from gittorrent.repository.verify import Verifier
from gittorrent.signing.keys import SigningFailed
from gittorrent.trust.signature import Signature
from support import gitcmd
from support.publishing import builder, carried, grow, publish
from support.repositories import Builder
from support.signing import TestSigner


@pytest.fixture
def b(tmp_path: Path) -> Builder:
    made = builder(tmp_path / "project.git")
    grow(made, 60)
    publish(made.git_dir, name="project")
    return made


def taken(b: Builder) -> list[StoredReel]:
    """Return the reels that a newcomer takes."""
    this = carried(b.git_dir)
    reels = {
        ReelOffer(reel.id, reel.manifest.start, reel.manifest.end, reel.manifest.pack_size): reel
        for reel in this.reels.all()
        if reel.is_available
    }
    return [reels[offer] for offer in best_path(reels, (), this.log().ids)]


def grow_and_publish(b: Builder, times: int) -> None:
    for number in range(times):
        grow(b, 1, name=f"f{number % 3}")
        publish(b.git_dir)


def newest_time(b: Builder) -> float:
    """Return when the last reel came, as the file system's clock says."""
    this = carried(b.git_dir)
    return max(path.stat().st_mtime for path in this.layout.reels.glob("*.manifest"))


def test_a_newcomer_takes_few_reels_however_often_was_published(b: Builder) -> None:
    grow_and_publish(b, 16)
    reels = taken(b)
    assert len(reels) <= LEFT_ALONE + 1
    assert reels[-1].manifest.end == carried(b.git_dir).log().head
    assert Verifier(carried(b.git_dir)).run().findings == ()


def test_spliced_reels_are_what_anybody_makes_of_the_objects(b: Builder, tmp_path: Path) -> None:
    grow_and_publish(b, LEFT_ALONE + 3)
    log = carried(b.git_dir).log()
    copy = tmp_path / "copy.git"
    gitcmd.git(tmp_path, "clone", "--mirror", "--no-local", str(b.git_dir), str(copy))
    longer = 0
    for number, reel in enumerate(taken(b)):
        found = reel.manifest
        start = () if found.start is None else log.refs_at(found.start).values()
        work = tmp_path / f"work{number}"
        work.mkdir()
        pack = build_reel(
            copy / "objects", found.object_format, start, log.refs_at(found.end).values(), work
        )
        assert pack is not None
        assert (pack.checksum, pack.parts) == (found.pack_checksum, found.parts)
        first = -1 if found.start is None else log.ids.index(found.start)
        longer += first >= 0 and log.ids.index(found.end) > first + 1
    assert longer


def test_reels_that_are_covered_are_kept_for_a_day_and_then_dropped(b: Builder) -> None:
    grow_and_publish(b, LEFT_ALONE + 1)
    this = carried(b.git_dir)
    way = {reel.id for reel in taken(b)}
    before = {reel.id for reel in this.reels.all()}
    assert way < before
    now = newest_time(b)
    with this.writing():
        drop_superseded(this, this.log(), now + GRACE_SECONDS / 2)
    assert all(reel.is_available for reel in this.reels.all())
    assert {reel.id for reel in this.reels.all()} == before
    with this.writing():
        drop_superseded(this, this.log(), now + GRACE_SECONDS + 1)
    assert {reel.id for reel in this.reels.all()} == way
    assert Verifier(this).run().findings == ()


def test_a_large_reel_that_is_dropped_is_left_to_housekeeping_and_loses_nothing(
    b: Builder,
) -> None:
    for name in "abcdef":
        grow(b, 40, branch=name, name=name)  # a pack each
        publish(b.git_dir)
    gitcmd.git(b.git_dir, "update-ref", "-d", "refs/heads/c")
    publish(b.git_dir)
    this = carried(b.git_dir)
    names = gitcmd.text(b.git_dir, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)")
    with this.writing():
        assert drop_superseded(this, this.log(), newest_time(b) + GRACE_SECONDS + 1)
    housekeeping.tidy_up(this)
    packs = list((this.layout.objects / "pack").glob("pack-*.pack"))
    large = [reel for reel in this.reels.all() if not this.reels.is_small(reel.manifest)]
    assert len(packs) <= len(large) + 2  # one of what no reel has, and one of what nothing reaches
    after = gitcmd.text(b.git_dir, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)")
    assert set(names.split()) <= set(after.split())
    assert Verifier(this).run().findings == ()


def test_reels_are_made_by_one_at_a_time(b: Builder) -> None:
    grow(b, 1)
    notes: list[str] = []
    this = carried(b.git_dir)
    with locked(this.layout.making_lock):
        done = publish(b.git_dir, note=notes.append)
    assert done.changed == 1
    assert done.reels == ()
    assert notes == ["the node that runs here makes reels just now; it will make this one, too"]
    assert this.log().head == done.push_id
    grow(b, 1)
    (reel,) = publish(b.git_dir).reels
    assert this.log().ids.index(reel.manifest.end) == 3


def test_what_is_gone_where_a_splice_would_begin_makes_it_begin_earlier(b: Builder) -> None:
    grow(b, 1, branch="gone", name="g")
    grow_and_publish(b, 1)
    gitcmd.git(b.git_dir, "update-ref", "-d", "refs/heads/gone")
    grow_and_publish(b, LEFT_ALONE - 2)
    assert len(carried(b.git_dir).reels.all()) == LEFT_ALONE
    gitcmd.git(b.git_dir, "gc", "--prune=now", "--quiet")
    notes: list[str] = []
    grow(b, 1)
    publish(b.git_dir, note=notes.append)
    assert notes == []
    log = carried(b.git_dir).log()
    ranges = [
        (-1 if r.manifest.start is None else log.ids.index(r.manifest.start),
         log.ids.index(r.manifest.end))
        for r in taken(b)
    ]  # fmt: skip
    assert ranges == [(-1, 1), (1, len(log.ids) - 1)]


class Tired(TestSigner):
    """Signs so many times, and then fails as a locked agent does."""

    left: ClassVar[int] = 0

    def sign(self, message: bytes, namespace: bytes = b"git", width: int = 70) -> Signature:
        if not Tired.left:
            raise SigningFailed("the agent is locked")
        Tired.left -= 1
        return super().sign(message, namespace, width)


def test_a_splice_that_fails_does_not_undo_the_publication(b: Builder) -> None:
    grow_and_publish(b, LEFT_ALONE - 1)
    grow(b, 1)
    Tired.left = 3  # a push, a checkpoint and a reel
    notes: list[str] = []
    done = publish(b.git_dir, signer=Tired(), note=notes.append)
    assert len(done.reels) == 1
    assert notes == ["warning: not all reels were made that are due: the agent is locked"]
    assert len(taken(b)) == LEFT_ALONE + 1
    assert list(carried(b.git_dir).layout.building.iterdir()) == []
    publish(b.git_dir)
    assert len(taken(b)) <= LEFT_ALONE


def test_what_git_is_shown_comes_from_what_a_newcomer_takes(b: Builder, tmp_path: Path) -> None:
    grow_and_publish(b, LEFT_ALONE + 2)
    view = PublishedView(carried(b.git_dir), tmp_path / "view")
    view.refresh()
    assert view.is_whole
    assert Git(tmp_path / "view").attempt("fsck", "--connectivity-only").returncode == 0


def test_a_pack_whose_manifest_was_never_written_is_left_to_git(b: Builder) -> None:
    """Whoever makes a reel may be killed between the two."""
    this = carried(b.git_dir)
    (reel,) = this.reels.all()
    manifest = this.layout.manifest(reel.id)
    manifest.write_bytes(b"damaged")
    fresh = carried(b.git_dir)
    with fresh.writing():
        assert not drop_superseded(fresh, fresh.log(), 0.0)
    assert reel.pack.with_suffix(".keep").exists()
    manifest.unlink()
    foreign = reel.pack.with_name("pack-" + "0" * 40 + ".keep")
    foreign.write_text("mine\n")
    fresh = carried(b.git_dir)
    with fresh.writing():
        assert drop_superseded(fresh, fresh.log(), 0.0)
    assert not reel.pack.with_suffix(".keep").exists()
    assert reel.pack.exists()
    assert foreign.exists()
