"""What publishing says it did to each ref."""

from __future__ import annotations

from pathlib import Path

import pytest

from gittorrent.git.runner import Git
from gittorrent.ids import Oid, RefName
from gittorrent.repository.ref_changes import (
    CREATED,
    DELETED,
    MOVED,
    REWOUND,
    RefChange,
    classify_changes,
    describe_changes,
    in_order_of_weight,
)
from support import gitcmd
from support.publishing import builder, grow, publish
from support.repositories import Builder


@pytest.fixture
def b(tmp_path: Path) -> Builder:
    made = builder(tmp_path / "project.git")
    grow(made, 3)
    return made


def said(changes: tuple[RefChange, ...]) -> dict[str, str]:
    return {each.shown: each.change for each in changes}


def test_each_kind_of_change(b: Builder) -> None:
    main = gitcmd.text(b.git_dir, "rev-parse", "main")
    b.set_ref("refs/heads/back", main)
    b.set_ref("refs/heads/gone", main)
    gitcmd.git(b.git_dir, "tag", "-m", "one", "v1", "main~1")
    first = publish(b.git_dir, name="project")
    assert set(said(first.changes).values()) == {CREATED}
    grow(b, 1)
    b.set_ref("refs/heads/back", gitcmd.text(b.git_dir, "rev-parse", "main~2"))
    b.delete_ref("refs/heads/gone")
    gitcmd.git(b.git_dir, "tag", "-f", "-m", "again", "v1", "main")
    b.set_ref("refs/heads/new", main)
    second = publish(b.git_dir)
    assert said(second.changes) == {
        "refs/heads/main": MOVED,
        "refs/heads/back": REWOUND,
        "refs/heads/gone": DELETED,
        "refs/heads/new": CREATED,
        "refs/tags/v1": MOVED,
    }
    assert publish(b.git_dir).changes == ()


def test_what_was_there_before_may_be_gone_for_good(b: Builder) -> None:
    old = gitcmd.text(b.git_dir, "rev-parse", "main")
    grow(b, 1)
    publish(b.git_dir, name="project")
    b.set_ref("refs/heads/main", old)
    gitcmd.git(b.git_dir, "-c", "gc.reflogExpire=now", "prune", "--expire=now")
    for keep in (b.git_dir / "objects" / "pack").glob("*.keep"):
        keep.unlink()
    gitcmd.git(b.git_dir, "repack", "-adq")
    gitcmd.git(b.git_dir, "prune", "--expire=now")
    assert said(publish(b.git_dir).changes) == {"refs/heads/main": REWOUND}


def test_what_is_not_here_is_not_called_rewound(b: Builder) -> None:
    old = Oid(gitcmd.text(b.git_dir, "rev-parse", "main"))
    moved = classify_changes(Git(b.git_dir), [(RefName(b"refs/heads/x"), old, Oid("12" * 20))])
    assert [each.change for each in moved] == [MOVED]


def test_in_words_with_losses_first() -> None:
    oid = Oid("12" * 20)
    names = {"a": CREATED, "b": DELETED, "c": MOVED, "d": REWOUND, "e": CREATED}
    changes = [RefChange(RefName(n.encode()), oid, oid, c) for n, c in names.items()]
    assert describe_changes(changes) == "1 ref rewound, 1 deleted, 2 created, 1 moved"
    assert describe_changes(changes[:1] * 2) == "2 refs created"
    assert describe_changes([]) == ""
    assert [each.shown for each in in_order_of_weight(changes)] == ["d", "b", "a", "e", "c"]
