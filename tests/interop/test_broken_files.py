"""Small files of repositories that a power cut broke: mirrors mend theirs, owners are told."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gittorrent.repository.layout import Layout
from support import gitcmd, nodes
from support.programs import GITS, Daemon, Person, serve, somebody, wait_until

Damage = Callable[[Path], object]

DAMAGES: dict[str, Damage] = {
    "empty HEAD": lambda place: (place / "HEAD").write_bytes(b""),
    "HEAD of NULs": lambda place: (place / "HEAD").write_bytes(bytes(21)),
    "half a HEAD": lambda place: (place / "HEAD").write_text("ref: refs/hea"),
    "no HEAD": lambda place: (place / "HEAD").unlink(),
    "empty packed-refs": lambda place: (place / "packed-refs").write_bytes(b""),
    "packed-refs of NULs": lambda place: (place / "packed-refs").write_bytes(bytes(300)),
    "half of packed-refs": lambda place: _halve(place / "packed-refs"),
    "no packed-refs": lambda place: (place / "packed-refs").unlink(),
    "empty branch": lambda place: _write(place / "refs/heads/main", b""),
    "branch of NULs": lambda place: _write(place / "refs/heads/main", bytes(41)),
    "branch of nothing": lambda place: _write(place / "refs/heads/main", b"ref: refs/heads/"),
    "no refs": lambda place: shutil.rmtree(place / "refs"),
    "empty config": lambda place: (place / "config").write_bytes(b""),
    "config of NULs": lambda place: (place / "config").write_bytes(bytes(70)),
    "garbage for config": lambda place: (place / "config").write_bytes(b"\xffzz\x07=\n" * 9),
    "no config": lambda place: (place / "config").unlink(),
    "empty shallow": lambda place: (place / "shallow").write_bytes(b""),
}


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@dataclass
class Place:
    """A node that publishes, and another one that mirrors it."""

    owner: Person
    origin: Path
    node: Daemon
    operator: Person

    @property
    def mirror(self) -> Path:
        return self.operator.node / "repositories" / "project.git"

    def refs(self, git_dir: Path) -> dict[bytes, str]:
        found = gitcmd.refs(git_dir)
        return {n: v for n, v in found.items() if not n.startswith((b"refs/git", b"refs/private"))}

    def break_power(self) -> None:
        """Let the mirror be as it is when the machine starts again."""
        (followed,) = self.mirror.glob("gittorrent/logs/*/followed")
        digest = followed.read_bytes().partition(b"\n")[0]
        followed.write_bytes(digest + b"\nanother-boot\n")

    def require_mended(self, what: str) -> None:
        assert self.refs(self.mirror) == self.refs(self.origin), what
        assert (self.mirror / "HEAD").read_text() == "ref: refs/heads/main\n", what
        assert gitcmd.text(self.mirror, "config", "core.bare") == "true", what
        assert not (self.mirror / "shallow").exists(), what


@pytest.fixture(params=[(git, "sha1") for git in GITS] + [(GITS[0], "sha256")], ids=str)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    git, object_format = request.param
    owner, operator = somebody(tmp_path / "owner", git), somebody(tmp_path / "operator", git)
    origin = nodes.make_repository(owner.root / "project.git", object_format=object_format)
    owner.gittorrent("publish", origin, "--new-key", "--wait").ok()
    with serve(owner) as node:
        operator.gittorrent("mirror", node.url(), "--once").ok()
        yield Place(owner, origin, node, operator)


def test_a_mirror_mends_its_files(place: Place, tmp_path: Path) -> None:
    shutil.copytree(place.mirror, tmp_path / "sound")
    for what, damage in DAMAGES.items():
        shutil.rmtree(place.mirror)
        shutil.copytree(tmp_path / "sound", place.mirror)
        place.break_power()
        damage(place.mirror)
        place.operator.gittorrent("mirror", "project", "--once").ok()
        place.require_mended(what)
        assert not list(Layout(place.mirror).git_dir.rglob("*.lock.lock")), what
    place.operator.gittorrent("verify", "project").ok()


def test_news_come_into_a_mirror_that_was_broken(place: Place, tmp_path: Path) -> None:
    shutil.copytree(place.mirror, tmp_path / "sound")
    for number, what in enumerate(("empty HEAD", "packed-refs of NULs", "branch of NULs")):
        DAMAGES[what](place.mirror)  # without any start of the machine
        nodes.add_commit(place.origin, "refs/heads/main", f"news-{number}", b"news\n")
        place.owner.gittorrent("publish", place.origin, "--wait").ok()
        place.operator.gittorrent("mirror", "project", "--once").ok()
        place.require_mended(what)


def test_a_running_node_mends_a_mirror(place: Place) -> None:
    with serve(place.operator):
        wait_until(lambda: place.refs(place.mirror) == place.refs(place.origin), "it follows")
        DAMAGES["packed-refs of NULs"](place.mirror)
        DAMAGES["empty HEAD"](place.mirror)
        nodes.add_commit(place.origin, "refs/heads/main", "news", b"news\n")
        place.owner.gittorrent("publish", place.origin, "--wait").ok()
        origin = place.refs(place.origin)

        def is_mended() -> bool:
            files = (place.mirror / name for name in ("packed-refs", "HEAD"))
            is_readable = all(each.exists() and each.read_bytes().strip(b"\0") for each in files)
            return is_readable and place.refs(place.mirror) == origin

        wait_until(is_mended, "it is mended")
    place.require_mended("by the node")


def test_what_is_broken_is_named(place: Place) -> None:
    (place.mirror / "packed-refs").write_bytes(bytes(300))
    for words in (["doctor"], ["status"], ["verify", "project"]):
        said = place.operator.gittorrent(*words)
        shown = " ".join(f"{said.out}{said.err}".split())
        assert "packed-refs has NUL bytes in it" in shown, words
        assert "'gittorrent mirror project'" in shown, words
    place.operator.gittorrent("mirror", "project", "--once").ok()
    place.operator.gittorrent("verify", "project").ok()
    # What nothing but a comparison finds is put right after it.
    (place.mirror / "packed-refs").unlink()
    place.operator.gittorrent("verify", "project").failed(1, "'gittorrent mirror project'")
    place.operator.gittorrent("mirror", "project", "--once").ok()
    place.require_mended("compared")


def test_an_owner_is_told_and_loses_nothing(place: Place, tmp_path: Path) -> None:
    sound = {name: (place.origin / name).read_bytes() for name in ("HEAD", "config")}
    gitcmd.git(place.origin, "pack-refs", "--all")
    sound["packed-refs"] = (place.origin / "packed-refs").read_bytes()
    for name, content in sound.items():
        for broken in (b"", bytes(50)):
            if (name, broken) == ("config", b""):
                continue  # git takes it for one without settings
            (place.origin / name).write_bytes(broken)
            said = place.owner.gittorrent("publish", place.origin, "--offline")
            assert said.status in (2, 7), (name, broken, said)
            for words in (name, "hint: "):
                assert words in said.err
            assert "Traceback" not in said.err
            assert f"{name} " in place.owner.gittorrent("doctor").out
            assert (place.origin / name).read_bytes() == broken
            (place.origin / name).write_bytes(content)
    place.owner.gittorrent("publish", place.origin, "--offline").ok()
    url = place.node.url()
    place.operator.git("clone", "-q", "--mirror", url, "copy").ok()
    assert place.refs(place.operator.root / "copy") == place.refs(place.origin)


@pytest.mark.parametrize("what", ["empty HEAD", "packed-refs of NULs", "config of NULs", "no refs"])
def test_stock_git_is_served_from_a_view_that_was_broken(place: Place, what: str) -> None:
    def listed(node: Daemon) -> str:
        return place.operator.git("ls-remote", f"{node.git}/project.git").ok().out

    with serve(place.operator) as node:
        sound = listed(node)
    (view,) = place.operator.node.glob("views/*.git")
    DAMAGES[what](view)
    with serve(place.operator) as node:
        assert listed(node) == sound


@pytest.mark.parametrize("what", ["empty config", "garbage for config", "empty HEAD", "no refs"])
def test_a_mirror_is_served_that_was_broken_before_the_node_started(
    place: Place, what: str
) -> None:
    DAMAGES[what](place.mirror)
    place.break_power()
    with serve(place.operator) as node:
        for number, url in enumerate((f"{node.git}/project.git", node.url())):
            place.operator.git("clone", "-q", "--mirror", url, f"copy-{number}").ok()
            copy = place.operator.root / f"copy-{number}"
            assert place.refs(copy) == place.refs(place.origin)


def test_a_mirror_that_was_begun_and_broken_is_made(place: Place) -> None:
    begun = place.operator.node / "repositories" / f".new-{_repository(place)}.git"
    place.operator.gittorrent("remove", "project", "--yes").ok()
    gitcmd.init(begun)
    (begun / "HEAD").write_bytes(b"")
    place.operator.gittorrent("mirror", place.node.url(), "--once").ok()
    place.require_mended("made")


def _repository(place: Place) -> str:
    (folder,) = place.mirror.glob("gittorrent/logs/*")
    return folder.name
