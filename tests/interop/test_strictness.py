"""Who holds objects to fsck's rules gets none that breaks them, whichever way it comes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from gittorrent.store.database import Database
from support import gitcmd, nodes
from support.nodes import Served
from support.programs import Person

RULE = "badTimezone"
PARANOID = ("-c", "gittorrent.paranoid=true")
STRICT = ("-c", "transfer.fsckObjects=true")


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, owner_key: Signer) -> Carried:
    """A repository with a commit whose time zone breaks a rule, as some old histories have."""
    git_dir = gitcmd.init(tmp_path_factory.mktemp("odd") / "project.git")
    first = nodes.add_commit(git_dir, "refs/heads/main", "file", b"content\n")
    tree = gitcmd.text(git_dir, "rev-parse", f"{first}^{{tree}}")
    person = "A <a@example.org> 1312735823 +051800"
    words = f"tree {tree}\nparent {first}\nauthor {person}\ncommitter {person}\n\nodd\n".encode()
    commit = gitcmd.text(
        git_dir, "hash-object", "-t", "commit", "-w", "--stdin", "--literally", stdin=words
    )
    gitcmd.git(git_dir, "update-ref", "refs/heads/main", commit)
    return nodes.publish(git_dir, owner_key, "project")


@pytest.fixture
def node(odd: Carried, tmp_path: Path) -> Iterator[Served]:
    with nodes.serving(odd, home=nodes.make_home(tmp_path / "home")) as served:
        yield served


def url(served: Served, by: str = "git") -> str:
    prefix = "gittorrent://" if by == "git" else "gittorrent::http://"
    place = (served.git if by == "git" else served.http).partition("://")[2]
    return f"{prefix}{place}/project.git"


@contextmanager
def nobody_accused(person: Person, odd: Carried, key: Signer) -> Iterator[None]:
    yield
    with closing(Database(person.node / "node.sqlite")) as database:
        assert database.distrusted(odd.info.repository_id, str(key.key)) is None


@pytest.mark.parametrize("settings", [PARANOID, STRICT])
@pytest.mark.parametrize("by", ["git", "http"])
@pytest.mark.parametrize("depth", [(), ("--depth", "1")])
def test_a_clone_takes_no_such_object(
    odd: Carried,
    node: Served,
    person: Person,
    owner_key: Signer,
    settings: tuple[str, ...],
    by: str,
    depth: tuple[str, ...],
) -> None:
    with nobody_accused(person, odd, owner_key):
        done = person.git(*settings, "clone", *depth, url(node, by), "c")
        assert done.status
        assert RULE in done.err
    assert not (person.root / "c").exists()
    done = person.git("clone", "--progress", *depth, url(node, by), "c").ok()
    assert depth or "Receiving parts" in done.err


def test_nor_does_a_mirror_or_a_clone_of_what_this_machine_has(
    odd: Carried, node: Served, person: Person, owner_key: Signer
) -> None:
    person.gittorrent("mirror", "--once", url(node)).ok()
    with nobody_accused(person, odd, owner_key):
        done = person.git(*PARANOID, "clone", url(node), "c")
        assert done.status
        assert RULE in done.err
    said = person.git("clone", url(node), "c").ok().err
    assert "without a download" in said


def test_nor_does_a_mirror(odd: Carried, node: Served, person: Person, owner_key: Signer) -> None:
    person.git("config", "--global", "gittorrent.paranoid", "true").ok()
    with nobody_accused(person, odd, owner_key):
        done = person.gittorrent("mirror", "--once", url(node))
        assert done.status
        assert RULE in done.err
