"""The few commits that reach all that refs reach, brought up to date with each reel."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from gittorrent.git.history import commits_between
from gittorrent.git.runner import Git
from gittorrent.ids import SHA1, Oid
from gittorrent.reel.build import ReelPack, build_reel
from gittorrent.repository.reel_tips import minimal, tips_after
from support import gitcmd
from support.publishing import builder, carried, grow, publish
from support.repositories import Builder

STEPS = 12


class History:
    """Commits with random parents, and refs that move among them at random."""

    def __init__(self, git_dir: Path, seed: int) -> None:
        self.git_dir = git_dir
        self.random = random.Random(seed)
        self.tree = gitcmd.text(git_dir, "mktree", stdin=b"")
        self.commits: list[Oid] = []
        self.tags: list[Oid] = []
        for _ in range(25):
            self.commit()
        self.refs: dict[int, Oid] = {0: self.commits[0]}

    def commit(self) -> None:
        count = min(len(self.commits), self.random.choice((0, 1, 1, 1, 2)))
        parents = self.random.sample(self.commits[-6:], min(count, len(self.commits[-6:])))
        words = [word for parent in parents for word in ("-p", parent)]
        name = f"{len(self.commits)}"
        made = gitcmd.text(self.git_dir, "commit-tree", self.tree, "-m", name, *words)
        self.commits.append(Oid(made))
        if self.random.random() < 0.2:
            text = f"object {made}\ntype commit\ntag t{name}\ntagger a <a> 1 +0000\n\n".encode()
            self.tags.append(Oid(gitcmd.text(self.git_dir, "mktag", stdin=text)))

    def step(self) -> tuple[set[Oid], set[Oid]]:
        """Change some refs; return what changed ones were, and are."""
        gone: set[Oid] = set()
        new: set[Oid] = set()
        for name in self.random.sample(range(8), 3):
            value = self.random.choice([None, *self.commits, *self.commits[-8:], *self.tags])
            before = self.refs.pop(name, None)
            if value is not None:
                self.refs[name] = value
            if before != value:
                gone |= set() if before is None else {before}
                new |= set() if value is None else {value}
        return gone, new


def build(
    work: Path, git: Git, start: set[Oid], end: set[Oid], tips: set[Oid] | None
) -> ReelPack | None:
    work.mkdir()
    return build_reel(git.directory / "objects", SHA1, start, end, work, tips=tips, processes=1)


@pytest.mark.parametrize("seed", range(6))
def test_reels_that_begin_at_a_few_commits_are_the_same(tmp_path: Path, seed: int) -> None:
    made = History(builder(tmp_path / "project.git").git_dir, seed)
    git = Git(made.git_dir)
    tips = minimal(git, made.refs.values())
    for number in range(STEPS):
        before = set(made.refs.values())
        gone, new = made.step()
        values = set(made.refs.values())
        plain = build(tmp_path / f"{number}-a", git, before, values, None)
        short = build(tmp_path / f"{number}-b", git, before, new, tips)
        assert (plain is None) == (short is None)
        newest: tuple[Oid, ...] = ()
        if plain is not None and short is not None:
            assert (plain.checksum, plain.parts) == (short.checksum, short.parts)
            newest = short.newest
        tips = tips_after(git, tips, newest, gone, values.copy)
        reached = {commit.oid for commit in commits_between(git, (), values)}
        assert {commit.oid for commit in commits_between(git, (), tips)} == reached
        assert minimal(git, values) <= tips


@pytest.fixture
def b(tmp_path: Path) -> Builder:
    made = builder(tmp_path / "project.git")
    grow(made, 2)
    grow(made, 1, "dev", "d")
    publish(made.git_dir, name="project")
    return made


def kept(b: Builder) -> list[str]:
    this = carried(b.git_dir)
    text = this.layout.reel_tips(this.info.repository_id).read_text()
    return text.split("\n\n")[0].split()


def test_publishing_keeps_them(b: Builder) -> None:
    log = carried(b.git_dir).log()
    assert kept(b)[0] == log.head
    assert set(kept(b)[1:]) == set(log.refs.values())
    grow(b, 1)
    publish(b.git_dir)
    refs = carried(b.git_dir).log().refs
    assert set(kept(b)[1:]) == set(refs.values())


@pytest.mark.parametrize("damage", ["lost", "other", "gone"])
def test_they_are_found_anew_where_they_are_lost(b: Builder, damage: str) -> None:
    this = carried(b.git_dir)
    path = this.layout.reel_tips(this.info.repository_id)
    lines = kept(b)
    if damage == "lost":
        path.unlink()
    else:
        changed = [this.log().ids[0], *lines[1:]] if damage == "other" else [*lines, "1" * 40]
        path.write_text("\n".join(changed) + "\n")
    grow(b, 1)
    (reel,) = publish(b.git_dir).reels
    assert reel.manifest.objects == 3
    assert set(kept(b)[1:]) == set(carried(b.git_dir).log().refs.values())
