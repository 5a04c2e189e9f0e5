"""What an owner has not published yet is noticed, and cheaply."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.ids import Oid, RefName
from gittorrent.push.certificate import Line
from gittorrent.repository.carried import CLONE, Carried
from gittorrent.repository.unpublished import (
    ADDED,
    BEHIND,
    DELETED,
    MOVED,
    Unpublished,
    describe_unpublished,
    unpublished_refs,
)
from gittorrent.repository.verify import Verifier
from gittorrent.signing.keys import Signer
from support import gitcmd, nodes
from support.publishing import builder, grow, publish, push_elsewhere
from support.publishing import carried as published
from support.signing import TestSigner


@pytest.fixture
def key(tmp_path: Path) -> Signer:
    return nodes.signer(tmp_path)


@pytest.fixture
def carried(tmp_path: Path, key: Signer) -> Carried:
    return nodes.publish(nodes.make_repository(tmp_path / "r.git"), key, "project")


def found(carried: Carried) -> dict[bytes, str]:
    return {ref.name: ref.change for ref in unpublished_refs(carried)}


def test_nothing_differs_after_publishing(carried: Carried, key: Signer) -> None:
    assert found(carried) == {}
    git_dir = carried.layout.git_dir
    nodes.add_commit(git_dir, "refs/heads/main", "more", b"more\n")
    assert found(carried) == {b"refs/heads/main": MOVED}
    nodes.publish(git_dir, key, None)
    assert found(carried) == {}


def test_every_difference_is_named(carried: Carried) -> None:
    git_dir = carried.layout.git_dir
    nodes.add_commit(git_dir, "refs/heads/main", "more", b"more\n")
    gitcmd.git(git_dir, "branch", "new", "main")
    gitcmd.git(git_dir, "update-ref", "-d", "refs/tags/v1")
    gitcmd.git(git_dir, "update-ref", "refs/private/other", "main")
    assert found(carried) == {
        b"refs/heads/main": MOVED,
        b"refs/heads/new": ADDED,
        b"refs/tags/v1": DELETED,
    }
    assert describe_unpublished(unpublished_refs(carried)) == "2 branches and 1 tag not published"
    result = Verifier(carried).run()
    assert result.findings == ()
    assert len(result.unpublished) == 3


def test_a_list_that_only_ends_alike_differs(carried: Carried) -> None:
    """All that comes first by name is gone; what is left are the last lines of the tag."""
    gitcmd.git(carried.layout.git_dir, "update-ref", "-d", "refs/heads/main")
    assert found(carried) == {b"refs/heads/main": DELETED}
    for name in ("refs/heads/topic", "refs/tags/v1"):
        gitcmd.git(carried.layout.git_dir, "update-ref", "-d", name)
    assert set(found(carried).values()) == {DELETED}


def test_the_refs_of_a_clone_are_its_users(carried: Carried) -> None:
    carried.set_info(replace(carried.info, role=CLONE))
    gitcmd.git(carried.layout.git_dir, "branch", "new", "main")
    assert found(carried) == {}


def test_words() -> None:
    def said(*names: bytes) -> str:
        return describe_unpublished([Unpublished(name, ADDED) for name in names])  # type: ignore[arg-type]

    assert said() == ""
    assert said(b"refs/heads/a") == "1 branch not published"
    assert said(b"refs/notes/x", b"refs/tags/a") == "1 other ref and 1 tag not published"


def test_what_only_others_changed_is_behind(tmp_path: Path) -> None:
    """An origin follows a rewind once it is final, and says until then whose doing it is."""
    path = tmp_path / "project.git"
    grow(builder(path), 3)
    publish(path, name="project")
    main = RefName(b"refs/heads/main")
    now, back = (Oid(gitcmd.text(path, "rev-parse", name)) for name in ("main", "main~1"))
    push_elsewhere(path, [Line(now, back, main)], TestSigner())
    assert found(published(path)) == {main: BEHIND}
    said = describe_unpublished(unpublished_refs(published(path)))
    assert said == "1 branch behind what others pushed"
    gitcmd.git(path, "branch", "own", "main")
    said = describe_unpublished(unpublished_refs(published(path)))
    assert said == "1 branch not published, 1 branch behind what others pushed"
    nodes.add_commit(path, "refs/heads/main", "more", b"more\n")
    assert found(published(path))[main] == MOVED, "now it was changed here, too"
