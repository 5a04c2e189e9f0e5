"""Reels of other shapes where they are published: which are made, and what becomes of old ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from gittorrent.ids import RefName
from gittorrent.reel.build import build_reel
from gittorrent.reel.ref_demand import HALF_LIFE_SECONDS, LEAST_ASKED
from gittorrent.reel.shape_timing import HISTORY_SECONDS, LEAST_BYTES, TIP_SECONDS
from gittorrent.reel.splicing import GRACE_SECONDS, LEFT_ALONE
from gittorrent.repository.reelstore import StoredReel
from gittorrent.repository.shape_maker import ShapeMaker, make_shapes
from gittorrent.repository.shapestore import (
    NOTE_SECONDS,
    UNASKED_SECONDS,
    ShapesDue,
    ShapeStore,
)
from gittorrent.repository.verify import Verifier
from gittorrent.shapes import HISTORY
from support import gitcmd
from support.publishing import builder, carried, grow, publish
from support.repositories import Builder, noise
from support.signing import TestSigner


@pytest.fixture
def b(tmp_path: Path) -> Builder:
    made = builder(tmp_path / "project.git")
    grow(made, 40)
    gitcmd.git(made.git_dir, "config", "gittorrent.shapes", "always")
    publish(made.git_dir, name="project")
    return made


def shapes(b: Builder) -> list[StoredReel]:
    return carried(b.git_dir).shapes.all()


def kinds(b: Builder) -> list[str]:
    return sorted(reel.manifest.shape.words for reel in shapes(b))


def main_of(b: Builder) -> str:
    return gitcmd.refs(b.git_dir)[b"refs/heads/main"]


def make(b: Builder, now: float) -> list[StoredReel]:
    this = carried(b.git_dir)
    maker = ShapeMaker(this, this.log(), TestSigner(), now, lambda *_: None)
    return make_shapes(maker, this)


def newest(b: Builder) -> float:
    """Return when the last one came, as the file system's clock says."""
    return max(path.stat().st_mtime for path in carried(b.git_dir).layout.shapes.iterdir())


def test_anybody_makes_the_same_of_the_objects(b: Builder, tmp_path: Path) -> None:
    log = carried(b.git_dir).log()
    copy = tmp_path / "copy.git"
    gitcmd.git(tmp_path, "clone", "--mirror", "--no-local", str(b.git_dir), str(copy))
    for number, reel in enumerate(shapes(b)):
        found = reel.manifest
        work = tmp_path / f"work{number}"
        work.mkdir()
        values = log.refs_at(found.end).values()
        pack = build_reel(
            copy / "objects", found.object_format, (), values, work, shape=found.shape
        )
        assert pack is not None
        assert pack.manifest(log.repository, found.object_format, None, found.end) == found
        assert list(reel.damaged_parts()) == []


def other_branch(b: Builder) -> RefName:
    gitcmd.git(b.git_dir, "branch", "other", "main~3")
    publish(b.git_dir, name=None)
    return RefName(b"refs/heads/other")


def commit_of(b: Builder, branch: RefName) -> str:
    return f"tip {gitcmd.refs(b.git_dir)[branch]}"


def test_a_branch_that_clones_ask_for_gets_a_tip_reel_as_long_as_they_do(b: Builder) -> None:
    branch, now = other_branch(b), newest(b)
    store = carried(b.git_dir).shapes
    store.note_demand({branch: int(LEAST_ASKED) - 1}, now)
    make(b, now)
    assert commit_of(b, branch) not in kinds(b)
    store.note_demand({branch: 1}, now)
    make(b, now)
    assert commit_of(b, branch) in kinds(b)
    later = now + HALF_LIFE_SECONDS
    make(b, later)
    assert commit_of(b, branch) in kinds(b) or later - now >= GRACE_SECONDS
    make(b, now + GRACE_SECONDS + HALF_LIFE_SECONDS)
    assert commit_of(b, branch) not in kinds(b)
    assert f"tip {main_of(b)}" in kinds(b)


def test_clones_alone_do_not_make_tip_reels_grow_beyond_the_whole(b: Builder) -> None:
    """Branches that differ in one line: the whole reel has one file, each tip reel another copy."""
    names = [b"1", b"2", b"3"]
    content = noise("big", 1 << 17)
    for name in names:
        stream = b"commit refs/heads/%s\ncommitter A <a@example.org> 1700000000 +0000\n" % name
        stream += b"data 1\nx\nfrom refs/heads/main^0\nM 100644 inline big\n"
        stream += b"data %d\n%s%s\n" % (len(content) + 1, content, name)
        gitcmd.git(b.git_dir, "fast-import", "--quiet", stdin=stream)
    publish(b.git_dir, name=None)
    branches = [RefName(b"refs/heads/" + name) for name in names]
    now = newest(b)
    asked = {branch: int(LEAST_ASKED) + 9 - place for place, branch in enumerate(branches)}
    carried(b.git_dir).shapes.note_demand(asked, now)
    make(b, now)
    assert [commit_of(b, branch) in kinds(b) for branch in branches] == [True, True, False]


def test_small_repositories_get_none(tmp_path: Path) -> None:
    made = builder(tmp_path / "small.git")
    grow(made, 3)
    publish(made.git_dir, name="small")
    assert shapes(made) == []


def test_large_repositories_get_them_and_keep_them_for_a_while(tmp_path: Path) -> None:
    made = builder(tmp_path / "large.git")
    grow(made, 1)
    blob = gitcmd.text(
        made.git_dir, "hash-object", "-w", "--stdin", stdin=noise("large", LEAST_BYTES)
    )
    tree = gitcmd.text(made.git_dir, "mktree", stdin=f"100644 blob {blob}\tlarge\n".encode())
    commit = gitcmd.text(made.git_dir, "commit-tree", tree, "-m", "large", "-p", main_of(made))
    gitcmd.git(made.git_dir, "update-ref", "refs/heads/main", commit)
    publish(made.git_dir, name="large")
    assert kinds(made) == [HISTORY.words, f"tip {commit}"]
    grow(made, 1)
    publish(made.git_dir)
    assert kinds(made) == [HISTORY.words, f"tip {commit}"]
    at = newest(made)
    assert [r.manifest.shape.words for r in make(made, at + TIP_SECONDS)] == [
        f"tip {main_of(made)}"
    ]
    assert [r.manifest.shape for r in make(made, at + HISTORY_SECONDS)] == [HISTORY]
    assert make(made, at + HISTORY_SECONDS) == []


def test_further_branches_have_tips_when_the_owner_names_them(b: Builder) -> None:
    grow(b, 2, branch="maint")
    gitcmd.git(b.git_dir, "config", "--add", "gittorrent.tipReel", "maint")
    gitcmd.git(b.git_dir, "config", "--add", "gittorrent.tipReel", "none/of/those")
    publish(b.git_dir)
    maint = gitcmd.refs(b.git_dir)[b"refs/heads/maint"]
    assert f"tip {maint}" in kinds(b)


def test_histories_are_spliced(b: Builder) -> None:
    for _ in range(LEFT_ALONE + 6):
        grow(b, 1)
        publish(b.git_dir)
    chain = [reel for reel in shapes(b) if reel.manifest.shape == HISTORY]
    ids = carried(b.git_dir).log().ids
    ends = [ids.index(reel.manifest.end) for reel in chain]
    starts = [ids.index(r.manifest.start) if r.manifest.start else -1 for r in chain]
    assert max(ends) == len(ids) - 1
    lengths = [end - start for start, end in zip(starts, ends, strict=True)]
    assert any(length > 1 for length, start in zip(lengths, starts, strict=True) if start >= 0)
    assert make(b, newest(b)) == []


def test_what_was_replaced_long_ago_goes(b: Builder) -> None:
    first = {reel.id for reel in shapes(b) if reel.manifest.shape != HISTORY}
    grow(b, 1)
    publish(b.git_dir)
    at = newest(b)
    make(b, at + GRACE_SECONDS - 1)
    assert first <= {reel.id for reel in shapes(b)}
    make(b, at + GRACE_SECONDS + 1)
    assert not first & {reel.id for reel in shapes(b)}
    assert f"tip {main_of(b)}" in kinds(b)


def test_an_owner_who_wants_none_has_none(b: Builder) -> None:
    assert shapes(b)
    gitcmd.git(b.git_dir, "config", "gittorrent.shapes", "never")
    publish(b.git_dir)
    assert shapes(b) == []


def test_what_a_crash_left_goes_and_damage_counts_as_nothing(b: Builder) -> None:
    folder = carried(b.git_dir).layout.shapes
    (folder / f"{'0' * 64}.pack").write_bytes(b"half")
    tip, *_ = shapes(b)
    (folder / f"{tip.id}.manifest").write_bytes(b"damaged")
    store = ShapeStore(carried(b.git_dir).layout)
    assert store.get(tip.id) is None
    assert tip.id not in {reel.id for reel in store.all()}
    make(b, newest(b))
    assert not (folder / f"{'0' * 64}.pack").exists()
    assert list(carried(b.git_dir).layout.building.iterdir()) == []


def test_damaged_packs_are_found(b: Builder) -> None:
    this = carried(b.git_dir)
    assert Verifier(this).run().findings == ()
    tip = this.shapes.all()[0]
    tip.pack.chmod(0o644)
    with tip.pack.open("r+b") as file:
        file.seek(20)
        file.write(b"\0" * 8)
    assert [found.subject for found in Verifier(this).run().findings] == [f"reel {tip.id}"]


def test_a_mirror_looks_for_them_while_somebody_asks(b: Builder) -> None:
    store = ShapeStore(carried(b.git_dir).layout)
    assert store.due(1e9, is_changed=True) is ShapesDue.NONE
    store.note_asked(1e9)
    asked = store.asked()
    store.note_asked(asked + NOTE_SECONDS - 1)
    assert store.asked() == asked
    assert store.due(asked, is_changed=False) is ShapesDue.LOOK
    kept = store.all()[0].id
    store.followed({kept}, asked)
    assert store.due(asked, is_changed=False) is ShapesDue.NONE
    assert store.due(asked, is_changed=True) is ShapesDue.LOOK
    assert len(store.all()) == 2
    store.followed({kept}, asked + GRACE_SECONDS + 60)
    assert [reel.id for reel in store.all()] == [kept]
    late = asked + UNASKED_SECONDS
    assert store.due(late, is_changed=False) is ShapesDue.DROP
    store.followed((), late)
    assert store.all() == []
    assert store.due(late, is_changed=True) is ShapesDue.NONE
