"""Forks of one project that a node carries: what they share on disk, and what they do not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gittorrent.repository.carried import Carried
from gittorrent.repository.verify import Verifier
from gittorrent.signing.keys import Signer
from gittorrent.store.home import Home
from support import gitcmd, nodes, publishing
from support.programs import Person

NAMES = ("project", "fork-one", "fork-two")
SIZE = 3 << 20


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def forks(tmp_path: Path, owner_key: Signer) -> dict[str, Carried]:
    """Three repositories of one history, published, each with a commit of its own since."""
    first = nodes.make_repository(tmp_path / "project.git", SIZE)
    found: dict[str, Carried] = {}
    for name in NAMES:
        git_dir = tmp_path / f"{name}.git"
        if name != "project":
            gitcmd.git(tmp_path, "clone", "-q", "--mirror", "--no-local", str(first), str(git_dir))
        found[name] = nodes.publish(git_dir, owner_key, name)
    for name in NAMES:
        nodes.add_commit(tmp_path / f"{name}.git", "refs/heads/own", name, name.encode())
        nodes.publish(tmp_path / f"{name}.git", owner_key, None)
    return found


def mirror_all(forks: dict[str, Carried], person: Person, tmp_path: Path) -> dict[str, Carried]:
    home = nodes.make_home(tmp_path / "origin")
    with nodes.serving(*forks.values(), home=home) as served:
        for name in NAMES:
            url = f"gittorrent://{served.git.removeprefix('git://')}/{name}.git"
            person.gittorrent("mirror", "--once", url).ok()
    return {
        name: publishing.carried(Home(person.node).repositories / f"{name}.git") for name in NAMES
    }


def bytes_on_disk(*folders: Path) -> int:
    """Return the bytes of all files, those of many names once."""
    sizes = {}
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                info = path.stat()
                sizes[info.st_ino] = info.st_size
    return sum(sizes.values())


def test_three_forks_of_one_history_cost_about_one_copy(
    forks: dict[str, Carried], person: Person, tmp_path: Path
) -> None:
    mirrors = mirror_all(forks, person, tmp_path)
    git_dirs = [each.layout.git_dir for each in mirrors.values()]
    one = bytes_on_disk(git_dirs[0])
    assert bytes_on_disk(*git_dirs) < 1.1 * one
    for mirror in mirrors.values():
        assert Verifier(mirror).run().findings == ()
        assert not (mirror.layout.objects / "info" / "alternates").exists()


def test_none_breaks_when_another_is_removed(
    forks: dict[str, Carried], person: Person, tmp_path: Path
) -> None:
    mirrors = mirror_all(forks, person, tmp_path)
    person.gittorrent("remove", "project", "--yes").ok()
    assert not mirrors["project"].layout.git_dir.exists()
    for name in NAMES[1:]:
        assert Verifier(mirrors[name]).run().findings == ()
        gitcmd.git(mirrors[name].layout.git_dir, "fsck", "--strict")
        gitcmd.git(mirrors[name].layout.git_dir, "gc", "--prune=now", "--quiet")
        assert Verifier(mirrors[name]).run().findings == ()


def test_nothing_of_one_can_be_read_through_another(
    forks: dict[str, Carried], person: Person, tmp_path: Path, stack: ExitStack
) -> None:
    mirrors = mirror_all(forks, person, tmp_path)
    own = forks["project"].log().refs[b"refs/heads/own"]  # type: ignore[index]
    served = stack.enter_context(
        nodes.serving(*mirrors.values(), home=nodes.make_home(tmp_path / "mirrors"))
    )
    taker = gitcmd.init(tmp_path / "taker.git")
    gitcmd.git(taker, "fetch", "-q", f"{served.git}/project.git", own)
    stranger = gitcmd.init(tmp_path / "stranger.git")
    for name in NAMES[1:]:
        for protocol in ("0", "2"):
            words = ["-c", f"protocol.version={protocol}", "fetch", "-q", "--depth=1"]
            url = f"{served.git}/{name}.git"
            with pytest.raises(AssertionError, match="fatal"):
                gitcmd.git(stranger, *words, url, own)
            gitcmd.git(stranger, *words, url, "refs/heads/own")
    here = gitcmd.git(stranger, "cat-file", "--batch-check", stdin=f"{own}\n".encode())
    assert here == f"{own} missing\n".encode()


def test_a_pack_that_is_not_what_it_is_called_is_not_taken(
    forks: dict[str, Carried], person: Person, tmp_path: Path
) -> None:
    home = nodes.make_home(tmp_path / "origin")
    with nodes.serving(*forks.values(), home=home) as served:
        base = f"gittorrent://{served.git.removeprefix('git://')}"
        person.gittorrent("mirror", "--once", f"{base}/project.git").ok()
        mirror = publishing.carried(Home(person.node).repositories / "project.git")
        (reel,) = [reel for reel in mirror.reels.all() if reel.manifest.start is None]
        reel.pack.chmod(0o644)
        with reel.pack.open("r+b") as file:
            file.seek(SIZE // 2)
            file.write(b"damaged")
        said = person.gittorrent("mirror", "--once", f"{base}/fork-one.git").ok()
    assert "downloading instead" in said.err
    fork = publishing.carried(Home(person.node).repositories / "fork-one.git")
    assert Verifier(fork).run().findings == ()
