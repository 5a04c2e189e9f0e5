"""What annotated tags lead to is believed of tags whose content has their id, and of no others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest

from gittorrent.helper.peeling import peeled_tags
from gittorrent.ids import Oid, RefName
from gittorrent.repository.layout import Layout
from gittorrent.wire.limits import MAX_TAG_DEPTH
from support import gitcmd, publishing
from support.programs import GITS

NAME = RefName(b"refs/tags/v1")


class Tags:
    """A mirror's tags, by the repository they are in; some are exchanged for others."""

    def __init__(self, git_dir: Path) -> None:
        self.git_dir = git_dir
        self.asked: list[Oid] = []
        self.lies: dict[Oid, bytes] = {}

    async def __call__(self, oids: Iterable[Oid]) -> dict[Oid, bytes]:
        found = {}
        for oid in oids:
            self.asked.append(oid)
            if gitcmd.text(self.git_dir, "cat-file", "-t", oid) == "tag":
                found[oid] = gitcmd.git(self.git_dir, "cat-file", "tag", oid)
        return {**found, **{oid: lie for oid, lie in self.lies.items() if oid in found}}


@pytest.fixture
def mirror(tmp_path: Path) -> Tags:
    publishing.grow(publishing.builder(tmp_path / "m.git"), 2)
    return Tags(tmp_path / "m.git")


@pytest.fixture
def here(tmp_path: Path) -> Layout:
    """A repository that has none of that."""
    publishing.grow(publishing.builder(tmp_path / "h.git"), 1, name="other")
    return Layout(tmp_path / "h.git")


def tag(mirror: Tags, name: str, what: str) -> Oid:
    gitcmd.git(mirror.git_dir, "tag", "-m", name, name, what)
    return Oid(gitcmd.text(mirror.git_dir, "rev-parse", name))


def written(mirror: Tags, content: bytes) -> Oid:
    """Return the id of a tag object that git would not make now."""
    words = ("hash-object", "-t", "tag", "-w", "--stdin", "--literally")
    return Oid(gitcmd.text(mirror.git_dir, *words, stdin=content))


def commit(mirror: Tags) -> Oid:
    return Oid(gitcmd.text(mirror.git_dir, "rev-parse", "main"))


def peel(here: Layout, refs: dict[RefName, Oid], mirror: Tags) -> dict[RefName, Oid]:
    return asyncio.run(peeled_tags(here, refs, mirror))


def test_what_is_found_is_remembered(mirror: Tags, here: Layout) -> None:
    oid = tag(mirror, "v1", "main")
    refs = {NAME: oid, RefName(b"refs/tags/light"): commit(mirror), RefName(b"refs/heads/v1"): oid}
    assert peel(here, refs, mirror) == {NAME: commit(mirror)}
    assert sorted(mirror.asked) == sorted([oid, commit(mirror)])
    mirror.asked.clear()
    assert peel(here, refs, mirror) == {NAME: commit(mirror)}
    assert mirror.asked == [commit(mirror)]


@pytest.mark.parametrize("is_partial", [False, True])
def test_what_is_here_is_not_asked_for(mirror: Tags, is_partial: bool) -> None:
    """Not in a partial clone either, for which git itself would go and fetch what is missing."""
    oid = tag(mirror, "v1", "main")
    if is_partial:
        gitcmd.git(mirror.git_dir, "config", "remote.origin.url", "/nowhere")
        gitcmd.git(mirror.git_dir, "config", "remote.origin.promisor", "true")
    assert peel(Layout(mirror.git_dir), {NAME: oid}, mirror) == {NAME: commit(mirror)}
    assert mirror.asked == []


def test_tags_of_tags_lead_to_the_end(mirror: Tags, here: Layout) -> None:
    oid = tag(mirror, "t0", "main")
    for depth in range(1, MAX_TAG_DEPTH):
        oid = tag(mirror, f"t{depth}", f"t{depth - 1}")
    assert peel(here, {NAME: oid}, mirror) == {NAME: commit(mirror)}
    beyond = tag(mirror, "beyond", f"t{MAX_TAG_DEPTH - 1}")
    assert peel(here, {NAME: beyond}, mirror) == {}


def test_another_tag_is_nothing(mirror: Tags, here: Layout) -> None:
    oid, other = tag(mirror, "v1", "main"), tag(mirror, "other", "main~1")
    mirror.lies[oid] = gitcmd.git(mirror.git_dir, "cat-file", "tag", other)
    assert peel(here, {NAME: oid}, mirror) == {}
    assert not here.peeled.exists()


def test_what_is_no_tag_hides_no_other(mirror: Tags, here: Layout) -> None:
    oid, other = tag(mirror, "v1", "main"), tag(mirror, "other", "main")
    mirror.lies[oid] = b"object nothing\n"
    refs = {NAME: oid, RefName(b"refs/tags/other"): other}
    assert peel(here, refs, mirror) == {RefName(b"refs/tags/other"): commit(mirror)}


@pytest.mark.parametrize("git_program", GITS)
def test_old_tags_without_a_tagger_lead_on(
    mirror: Tags, here: Layout, monkeypatch: pytest.MonkeyPatch, git_program: str
) -> None:
    monkeypatch.setenv("GITTORRENT_GIT", git_program)
    to, new = commit(mirror), tag(mirror, "new", "main")
    old = written(mirror, f"object {to}\ntype commit\ntag v0.99\n\nThe first\n".encode())
    refs = {NAME: old, RefName(b"refs/tags/new"): new}
    assert peel(here, refs, mirror) == dict.fromkeys(refs, to)


def test_a_tag_that_names_nothing_hides_no_other(mirror: Tags, here: Layout) -> None:
    bad, good = written(mirror, b"object none\n"), tag(mirror, "good", "main")
    refs = {NAME: bad, RefName(b"refs/tags/good"): good}
    assert peel(here, refs, mirror) == {RefName(b"refs/tags/good"): commit(mirror)}


def test_a_damaged_memory_is_passed_over(mirror: Tags, here: Layout) -> None:
    oid = tag(mirror, "v1", "main")
    here.peeled.parent.mkdir(exist_ok=True)
    here.peeled.write_bytes(f"{oid} nonsense\n\xff\n\n".encode("latin-1"))
    assert peel(here, {NAME: oid}, mirror) == {NAME: commit(mirror)}
