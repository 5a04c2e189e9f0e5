"""Clones of less than everything among mirrors that lie about reels of their shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from gittorrent.repository.carried import Carried
from support import bulk, gitcmd, lying_web, nodes
from support.lying_web import Lie, WebLiar
from support.programs import Person, somebody

IDENTITY = ("-c", "user.name=A", "-c", "user.email=a@example.org")


@dataclass(frozen=True)
class Place:
    """What is exported, and two web servers that serve it and tell of each other."""

    origin: Carried
    liar: WebLiar
    other: WebLiar


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("place")
    git_dir = bulk.make_small(folder / "project.git")
    for name, of in (("newest", "main"), ("outer", "newest"), ("older", "main~1")):
        gitcmd.git(git_dir, *IDENTITY, "tag", "-a", "-m", name, name, of)
    gitcmd.git(git_dir, "config", "gittorrent.shapes", "always")
    origin = nodes.publish(git_dir, nodes.signer(folder), "project")
    www = folder / "www"
    with lying_web.serving(WebLiar(www)) as liar, lying_web.serving(WebLiar(www)) as other:
        urls = [word for each in (liar, other) for word in ("--url", f"{each.url}/project")]
        owner = somebody(folder / "owner")
        owner.gittorrent("export", git_dir, www / "project", *urls).ok()
        yield Place(origin, liar, other)


INDEX = "project/reels/index"
MANIFEST = "project/reels/*.manifest"
PACK = "project/reels/*.pack"
ENDLESS = lying_web.endless(b"a")
LIES: dict[str, tuple[str, str, Lie]] = {
    "malformed index": ("--depth=1", INDEX, lying_web.changed(lambda true: b"have\xff\n" + true)),
    "endless index": ("--depth=1", INDEX, lying_web.endless(b"have-bundle\n")),
    "endless line": ("--filter=blob:none", INDEX, ENDLESS),
    "half an index": ("--depth=1", INDEX, lying_web.cut_off),
    "no index": ("--filter=blob:none", INDEX, lying_web.status(404)),
    "endless manifest": ("--depth=1", MANIFEST, ENDLESS),
    "no manifest": ("--depth=1", MANIFEST, lying_web.instead(b"\0garbage")),
    "half a manifest": ("--filter=blob:none", MANIFEST, lying_web.cut_off),
}
"""What is cloned, and what is lied about in a way that shows."""

UNSEEN: dict[str, tuple[str, str, Lie]] = {
    "empty index": ("--depth=1", INDEX, lying_web.instead(b"")),
    "changed pack": (
        "--depth=1",
        PACK,
        lying_web.changed(lambda true: true[:30] + b"xyz" + true[33:]),
    ),
    "half a pack": ("--filter=blob:none", PACK, lying_web.cut_off),
    "silence for a pack": ("--depth=1", PACK, lying_web.silent),
}
"""What may be no lie, or is left to the download."""


def clone(place: Place, person: Person, lies: dict[str, Lie], *options: str) -> str:
    """Clone from the liar, and make sure that it came out right; returns what was said."""
    place.liar.lies = lies
    done = person.git("clone", *options, f"gittorrent::{place.liar.url}/project", "c").ok()
    copy = person.root / "c"
    head = gitcmd.text(place.origin.layout.git_dir, "rev-parse", "refs/heads/main")
    assert gitcmd.text(copy, "rev-parse", "HEAD") == head
    assert person.git("status", "--porcelain", cwd=copy).ok().out == ""
    gitcmd.git(copy, "fsck", "--strict")
    return done.err


@pytest.mark.parametrize("lie", LIES)
def test_who_lies_is_named_and_another_mirror_asked(place: Place, person: Person, lie: str) -> None:
    """Neither has an upload-pack, so that all has to come by reels."""
    option, path, answer = LIES[lie]
    said = clone(place, person, {path: answer}, option)
    ways = ("is left out", "is excluded", "takes long to answer")
    assert any(f"{place.liar.url}/project {way}" in said for way in ways), said


@pytest.mark.parametrize("lie", UNSEEN)
def test_another_mirror_gives_what_the_first_does_not(
    place: Place, person: Person, lie: str
) -> None:
    option, path, answer = UNSEEN[lie]
    clone(place, person, {path: answer}, option)


@pytest.mark.parametrize("lie", ["endless", "garbage", "another tag"])
def test_a_tag_is_believed_once_it_proves_to_be_the_one(
    place: Place, person: Person, lie: str
) -> None:
    git_dir = place.origin.layout.git_dir
    outer = gitcmd.text(git_dir, "rev-parse", "outer")
    older = gitcmd.git(git_dir, "cat-file", "tag", "older")
    answer = {
        "endless": ENDLESS,
        "garbage": lying_web.instead(b"garbage"),
        "another tag": lying_web.instead(older),
    }[lie]
    lies = {f"project/pushes/{outer}": answer}
    said = clone(place, person, lies, "--depth=1", "--branch", "outer")
    assert f"{place.liar.url}/project is excluded" in said


@pytest.mark.parametrize("options", [(), ("--depth=1",)], ids=" ".join)
def test_files_that_are_gone_meanwhile_are_said_to_be(
    place: Place, person: Person, options: tuple[str, ...]
) -> None:
    """As of an export that keeps nothing for those who are in the middle of it."""
    place.liar.lies = {PACK: lying_web.status(404), "*/mirror-list": without_others}
    url = f"gittorrent::{place.liar.url}/project"
    done = person.git("clone", *options, url, "c").failed(128, "files of a mirror may just have")
    assert "lied" not in done.err
    assert not (person.root / "c").exists()


def without_others(answering: lying_web.Answering, true: bytes) -> None:
    """Send a list without the mirrors in it."""
    lines = [line for line in true.splitlines(True) if not line.startswith(b"try ")]
    answering.say(200, b"".join(lines))
