"""Refs that cannot be published keep no others back, and refs that cannot be read are not lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from gittorrent.git.refs import BrokenRefError, list_sound_refs
from gittorrent.git.runner import Git, GitError
from gittorrent.ids import RefName
from gittorrent.push.refnames import MAX_COMPONENT, unpublishable_names
from gittorrent.repository.hidden_refs import hidden_refs, is_hidden
from gittorrent.repository.verify import Verifier
from gittorrent.trust.refpattern import MAX_REF
from support import gitcmd
from support.programs import GITS
from support.publishing import builder, carried, grow, outcome, publish
from support.repositories import Builder

LONG = "refs/heads/" + "/".join(["d" * 100] * 25)


@pytest.fixture
def b(tmp_path: Path) -> Builder:
    made = builder(tmp_path / "project.git")
    grow(made, 2)
    return made


def test_names_and_their_faults() -> None:
    component = b"refs/heads/" + b"x" * (MAX_COMPONENT + 1)
    names = [LONG.encode(), component, b"refs/stash", b"refs/heads/a", b"refs/heads/a/b"]
    found = unpublishable_names([*names, b"refs/tags/v"])
    assert {name: reason for name, reason in found.items() if name != LONG.encode()} == {
        component: f"has a component longer than {MAX_COMPONENT} bytes",
        b"refs/stash": "is not of the form refs/<kind>/<name>",
        b"refs/heads/a/b": "cannot exist together with 'refs/heads/a'",
    }
    assert found[LONG.encode()] == f"is longer than {MAX_REF:,} bytes"


@pytest.mark.parametrize("program", GITS)
def test_a_ref_with_a_long_name_is_left_out(
    b: Builder, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITTORRENT_GIT", program)
    tip = gitcmd.text(b.git_dir, "rev-parse", "main")
    b.set_ref(LONG, tip)
    b.set_ref("refs/stash", tip)
    notes: list[str] = []
    done = publish(b.git_dir, name="project", patterns=("refs/*",), note=notes.append)
    assert [each.name for each in done.left_out] == [LONG.encode(), b"refs/stash"]
    (warning,) = notes
    assert "left out 2 refs that cannot be published" in warning
    assert f"{LONG[:97]}... is longer than 1,024 bytes" in warning
    assert outcome(b.git_dir)["refs"] == {"refs/heads/main": tip}
    assert Verifier(carried(b.git_dir)).run().findings == ()
    grow(b, 1)
    assert publish(b.git_dir).changed == 1


def test_only_the_first_of_many_are_named(b: Builder) -> None:
    for number in range(7):
        b.set_ref(f"{LONG}{number}", gitcmd.text(b.git_dir, "rev-parse", "main"))
    notes: list[str] = []
    assert len(publish(b.git_dir, name="project", note=notes.append).left_out) == 7
    assert notes[0].count("is longer than") == 5
    assert "and 2 more" in notes[0]


def test_head_at_a_branch_that_is_left_out(b: Builder) -> None:
    b.set_ref(LONG, gitcmd.text(b.git_dir, "rev-parse", "main"))
    gitcmd.git(b.git_dir, "symbolic-ref", "HEAD", LONG)
    publish(b.git_dir, name="project")
    assert carried(b.git_dir).log().policy.policy.head == b"refs/heads/main"


@pytest.mark.parametrize("program", GITS)
@pytest.mark.parametrize("content", ["", "0" * 40 + "\n", "nonsense\n"])
def test_a_ref_that_cannot_be_read_is_not_deleted_for_everybody(
    b: Builder, program: str, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITTORRENT_GIT", program)
    b.set_ref("refs/heads/topic", gitcmd.text(b.git_dir, "rev-parse", "main"))
    publish(b.git_dir, name="project")
    (b.git_dir / "refs" / "heads" / "topic").write_text(content)
    grow(b, 1)
    before = outcome(b.git_dir)["refs"]
    with pytest.raises(BrokenRefError, match=r"cannot read refs of .*: refs/heads/topic"):
        publish(b.git_dir)
    assert carried(b.git_dir).log().refs == {k.encode(): v for k, v in before.items()}


def test_no_repository_has_no_sound_refs(tmp_path: Path) -> None:
    with pytest.raises(GitError):
        list_sound_refs(Git(tmp_path))


@pytest.mark.parametrize(
    ("patterns", "hidden"),
    [
        ([], []),
        (["refs/heads/a"], ["refs/heads/a", "refs/heads/a/b"]),
        (["refs/heads/a/"], ["refs/heads/a", "refs/heads/a/b"]),
        (["refs/heads", "!refs/heads/a"], ["refs/heads/ab"]),
        (["!refs/heads/a", "refs/heads"], ["refs/heads/a", "refs/heads/a/b", "refs/heads/ab"]),
        (["^refs/heads/ab", "refs/head"], ["refs/heads/ab"]),
        (["refs/heads", "!^refs/heads/ab"], ["refs/heads/a", "refs/heads/a/b"]),
    ],
)
def test_what_git_hides(tmp_path: Path, patterns: list[str], hidden: list[str]) -> None:
    """As git's own upload-pack does it."""
    names = ["refs/heads/a", "refs/heads/a/b", "refs/heads/ab", "refs/tags/a"]
    given = [each.encode() for each in patterns]
    assert [each for each in names if is_hidden(RefName(each.encode()), given)] == hidden
    made = builder(tmp_path / "project.git")
    grow(made, 1)
    tip = gitcmd.text(made.git_dir, "rev-parse", "main")
    listed: list[str] = []
    for name in names:  # one at a time, since some cannot be together
        made.set_ref(name, tip)
        for each in patterns:
            gitcmd.git(made.git_dir, "config", "--add", "uploadpack.hideRefs", each)
        listed += gitcmd.text(made.git_dir, "ls-remote", str(made.git_dir), name).split()[1:]
        gitcmd.git(made.git_dir, "update-ref", "-d", name)
        if patterns:
            gitcmd.git(made.git_dir, "config", "--unset-all", "uploadpack.hideRefs")
    assert listed == [name for name in names if name not in hidden]


def test_hidden_refs_are_left_out_until_they_are_shown(b: Builder) -> None:
    tip = gitcmd.text(b.git_dir, "rev-parse", "main")
    for name in ("refs/heads/internal/x", "refs/heads/open", "refs/tags/later"):
        b.set_ref(name, tip)
    gitcmd.git(b.git_dir, "config", "transfer.hideRefs", "refs/heads/internal")
    notes: list[str] = []
    done = publish(b.git_dir, name="project", note=notes.append)
    assert [each.name for each in done.left_out] == [b"refs/heads/internal/x"]
    assert "refs/heads/internal/x is hidden from whoever fetches" in notes[0]
    assert "end the hiding" in notes[0]
    assert "refs/heads/internal/x" not in outcome(b.git_dir)["refs"]
    # What is published already stays, whatever is hidden later.
    gitcmd.git(b.git_dir, "config", "uploadpack.hideRefs", "refs/tags")
    assert publish(b.git_dir).changed == 0
    assert "refs/tags/later" in outcome(b.git_dir)["refs"]
    gitcmd.git(b.git_dir, "config", "--unset", "transfer.hideRefs")
    assert publish(b.git_dir).changed == 1
    assert "refs/heads/internal/x" in outcome(b.git_dir)["refs"]


@pytest.mark.parametrize("key", ["include.path", "includeIf.gitdir:~/.path"])
def test_what_files_hide_that_a_repository_includes_is_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """They are named from somebody's home, and change while the repository's own file does not."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".gitconfig").write_text("[transfer]\n\thideRefs = refs/heads/open\n")
    made = builder(tmp_path / "project.git")
    grow(made, 1)
    tip = gitcmd.text(made.git_dir, "rev-parse", "main")
    names = [RefName(b"refs/heads/open"), RefName(b"refs/heads/kept")]
    for name in names:
        made.set_ref(name.decode(), tip)
    gitcmd.git(made.git_dir, "config", key, "~/hiding.config")
    git = Git(made.git_dir)
    assert not hidden_refs(git, names), "of the user's settings none counts"
    (tmp_path / "hiding.config").write_text("[uploadpack]\n\thideRefs = refs/heads/kept\n")
    assert hidden_refs(git, names) == {b"refs/heads/kept"}
    (tmp_path / "hiding.config").write_text("")
    assert not hidden_refs(git, names)
