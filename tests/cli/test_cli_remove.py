"""``remove`` carries a repository no more, beside a running node; some of it may be deleted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gittorrent.durable import locked
from gittorrent.ids import RepositoryId
from gittorrent.store.home import Home
from gittorrent.transfer.mirroring import update_lock
from support import bulk
from support.programs import Done, Person, serve, somebody, wait_until


@pytest.fixture
def owner(tmp_path: Path) -> Person:
    return somebody(tmp_path / "owner")


@pytest.fixture
def operator(tmp_path: Path) -> Person:
    return somebody(tmp_path / "operator")


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return bulk.make_small(tmp_path / "project.git")


def publish(owner: Person, path: Path, *options: str) -> str:
    done = owner.gittorrent("publish", path, "--new-key", "--wait", "--json", *options).ok()
    return str(json.loads(done.out)["repository_id"])


def carried(person: Person) -> dict[str, str]:
    rows = json.loads(person.gittorrent("status", "--json").ok().out)["repositories"]
    return {row["name"]: row["path"] for row in rows}


def remove(person: Person, *words: str | Path, answer: str = "") -> Done:
    return person.run("gittorrent", "remove", *words, stdin=answer)


def left(person: Person) -> list[str]:
    """Return what is left in the home of anything that was carried, or was being deleted."""
    folders = (person.node / "repositories", person.node / "views")
    return sorted(path.name for folder in folders if folder.is_dir() for path in folder.iterdir())


@pytest.mark.parametrize("by", ["name", "id", "path"])
def test_a_repository_published_in_place_stays(owner: Person, origin: Path, by: str) -> None:
    repository = publish(owner, origin)
    place = {"name": "project", "id": repository, "path": str(origin)}[by]
    done = remove(owner, place, "--yes").ok()
    assert done.out == "removed project\n"
    assert f"'gittorrent publish {origin}' carries it again" in done.err
    assert carried(owner) == {}
    assert publish(owner, origin) == repository, "it is the same one when it is published again"


def test_what_was_published_in_place_is_never_deleted(owner: Person, origin: Path) -> None:
    publish(owner, origin)
    remove(owner, "project", "--delete", "--yes").failed(2, "published in place")
    assert list(carried(owner)) == ["project"]
    remove(owner, "project", "--delete", "--keep").failed(2, "contradict")


def test_it_asks(owner: Person, origin: Path) -> None:
    publish(owner, origin)
    remove(owner, "project").failed(2, "Stop carrying project?", "nothing was removed", "--yes")
    remove(owner, "project", answer="n\n").failed(2, "nothing was removed")
    assert list(carried(owner)) == ["project"]
    remove(owner, "project", answer="y\n").ok()
    assert carried(owner) == {}


def test_a_mirror_is_deleted_beside_a_running_node(
    owner: Person, operator: Person, origin: Path, tmp_path: Path
) -> None:
    repository = publish(owner, origin)
    with serve(owner) as source:
        operator.gittorrent("mirror", source.url(repository=repository), "--once").ok()
        with serve(operator) as node:
            mine = f"{node.git}/project.git"
            wait_until(lambda: mine in listed(owner, source.url()), "the mirror is listed")
            operator.git("clone", "--quiet", mine, tmp_path / "clone").ok()
            remove(operator, "project", "--yes").ok()
            assert left(operator) == []
            assert carried(operator) == {}
            operator.git("ls-remote", mine).failed(128, "no such repository here")
            wait_until(lambda: mine not in listed(owner, source.url()), "it is withdrawn")
            # And it can come back while the node runs.
            operator.gittorrent("mirror", source.url(repository=repository), "--once").ok()
            wait_until(lambda: operator.git("ls-remote", mine).status == 0, "it is served again")


def listed(person: Person, url: str) -> set[str]:
    found = json.loads(person.gittorrent("mirrors", url, "--json").ok().out)
    return {each["url"] for each in found["mirrors"]}


def test_a_node_stops_serving_what_stays_on_disk(owner: Person, origin: Path) -> None:
    publish(owner, origin)
    with serve(owner) as node:
        url = f"{node.git}/project.git"
        owner.git("ls-remote", url).ok()
        remove(owner, "project", "--yes").ok()
        wait_until(lambda: owner.git("ls-remote", url).status == 128, "it is served no more")
        publish(owner, origin)
        wait_until(lambda: owner.git("ls-remote", url).status == 0, "it is served again")


def test_a_mirror_that_is_kept_is_gone_on_with(
    owner: Person, operator: Person, origin: Path
) -> None:
    repository = publish(owner, origin)
    with serve(owner) as source:
        url = source.url(repository=repository)
        operator.gittorrent("mirror", url, "--once").ok()
        place = Path(carried(operator)["project"])
        done = remove(operator, place, "--keep", "--yes").ok()
        assert f"{place} stays as it is" in done.err
        assert carried(operator) == {}
        again = operator.gittorrent("mirror", url, "--once", "--json").ok()
        assert json.loads(again.out)["path"] == str(place)
        assert json.loads(again.out)["changed"] is False


@pytest.fixture
def mirror(owner: Person, operator: Person, origin: Path) -> Path:
    """A mirror that the operator has."""
    repository = publish(owner, origin)
    with serve(owner) as source:
        operator.gittorrent("mirror", source.url(repository=repository), "--once").ok()
    return Path(carried(operator)["project"])


def test_what_is_no_mirror_any_more_is_not_deleted(
    operator: Person, mirror: Path, tmp_path: Path
) -> None:
    mirror.rename(tmp_path / "elsewhere.git")
    bulk.make_small(mirror)
    remove(operator, "project", "--yes").failed(2, f"{mirror} is not the mirror of", "--keep")
    assert operator.git("-C", mirror, "rev-parse", "main").ok()
    assert list(carried(operator)) == ["project"]
    remove(operator, "project", "--keep", "--yes").ok()
    assert operator.git("-C", mirror, "rev-parse", "main").ok()
    assert carried(operator) == {}


def test_what_is_published_from_by_now_is_not_deleted(operator: Person, mirror: Path) -> None:
    info = mirror / "gittorrent" / "repository.json"
    values = json.loads(info.read_text())
    info.write_text(json.dumps({**values, "role": "origin"}))
    remove(operator, "project", "--yes").failed(2, f"{mirror} is not the mirror of")
    assert operator.git("-C", mirror, "rev-parse", "main").ok()


def test_a_mirror_behind_a_link_is_deleted_with_it(
    operator: Person, mirror: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "disk" / "project.git"
    moved.parent.mkdir()
    mirror.rename(moved)
    mirror.symlink_to(moved)
    remove(operator, "project", "--yes").ok()
    assert left(operator) == []
    assert list(moved.parent.iterdir()) == []
    assert carried(operator) == {}


def test_who_follows_it_ends_and_does_not_make_it_anew(
    owner: Person, operator: Person, origin: Path
) -> None:
    repository = publish(owner, origin)
    with serve(owner) as source:
        url = source.url(repository=repository)
        following = operator.start("gittorrent", "mirror", url, "--interval", "1")
        try:
            wait_until(lambda: "project updated" in following.out, "it is mirrored")
            remove(operator, repository, "--yes").ok()
            assert following.wait() == 0
            assert "was removed from this node" in following.err
        finally:
            following.stop()
    assert left(operator) == []


def test_it_waits_for_whoever_changes_it(owner: Person, operator: Person, origin: Path) -> None:
    repository = publish(owner, origin)
    with serve(owner) as source:
        operator.gittorrent("mirror", source.url(repository=repository), "--once").ok()
    with locked(update_lock(Home(operator.node), RepositoryId(repository))):
        removing = operator.start("gittorrent", "remove", "project", "--yes")
        try:
            wait_until(lambda: "waiting for another process" in removing.err, "it says so")
            assert Path(carried(operator)["project"]).is_dir()
        except BaseException:
            removing.stop()
            raise
    assert removing.wait() == 0
    assert left(operator) == []


def test_the_copy_of_a_clone(owner: Person, origin: Path) -> None:
    clone = owner.root / "work"
    owner.git("clone", "--quiet", origin, clone).ok()
    repository = publish(owner, clone)
    copy = Path(carried(owner)["work"])
    remove(owner, clone, "--yes").ok()
    assert copy.is_dir()
    assert publish(owner, clone) == repository
    said = remove(owner, clone, "--delete", answer="n\n").failed(2, str(copy))
    assert "the push log goes" in said.err
    remove(owner, clone, "--delete", "--yes").ok()
    assert not copy.exists()


def test_missing_ones_are_shown_with_the_way_out(owner: Person, origin: Path) -> None:
    publish(owner, origin)
    shutil.rmtree(origin)
    said = owner.gittorrent("status").ok().out
    assert said.count("is missing") == 1
    assert "project is missing: if it was moved" in said
    for command in (["log"], ["verify"], ["tidy"], ["mirrors"], ["reel", "show"]):
        owner.gittorrent(*command, "project").failed(2, "is missing", "gittorrent remove project")
    # Nothing can be lost, so nobody is asked; its path still names it.
    assert remove(owner, origin).ok().out == "removed project\n"
    assert carried(owner) == {}


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (shutil.rmtree, "is not published or mirrored here"),
        (lambda own: (own / "repository.json").write_text("{"), "repository.json is damaged"),
    ],
)
def test_one_that_is_damaged_hides_no_other(
    owner: Person, origin: Path, tmp_path: Path, damage: Callable[[Path], object], reason: str
) -> None:
    publish(owner, origin)
    other = tmp_path / "other"
    owner.git("init", "-q", other).ok()
    owner.git("commit", "-q", "--allow-empty", "-m", "other", cwd=other).ok()
    publish(owner, other)
    damage(origin / "gittorrent")
    said = owner.gittorrent("status").ok().out
    assert "project cannot be used" in said
    assert reason in said
    assert "gittorrent adopt URL_OF_A_MIRROR" in said
    shown = json.loads(owner.gittorrent("status", "--json").ok().out)["repositories"]
    states = {each["name"]: (each["role"], each["pushes"]) for each in shown}
    assert states == {"other": ("origin", 1), "project": ("origin (damaged)", 0)}


def test_what_is_not_carried(owner: Person, origin: Path) -> None:
    for place in ("project", str(origin), "a" * 51 + "q"):
        remove(owner, place, "--yes").failed(2, "is no repository that is carried here")
    said = remove(owner, "git://example.org/project.git", "--yes").failed(2)
    assert "gittorrent forget URL" in said.err


@pytest.mark.parametrize(
    "named",
    [lambda i, _: "project", lambda i, _: i, lambda _, p: str(p)],
    ids=["name", "id", "path"],
)
def test_forget_is_for_urls(owner: Person, origin: Path, named: Callable[[str, Path], str]) -> None:
    place = named(publish(owner, origin), origin)
    owner.gittorrent("forget", place).failed(2, "is carried here", "'gittorrent remove project'")
    assert list(carried(owner)) == ["project"]
    owner.gittorrent("forget", "projekt").failed(2, "projekt is no URL")
