"""What is pushed into a published repository is published by a hook, or the pusher is told."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gittorrent.ids import SHA1, Oid, RefName
from gittorrent.push.certificate import Line, parse_certificate
from gittorrent.push.object import PushKind
from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import resolve_signer
from support import gitcmd, nodes
from support.programs import GITS, Person, somebody
from support.publishing import push_elsewhere


@pytest.fixture
def work(person: Person) -> Path:
    """A repository that somebody works in, in another name than elsewhere."""
    path = person.root / "tool"
    person.git("init", "-q", "-b", "main", path).ok()
    person.git("config", "user.name", "At Work", cwd=path).ok()
    person.git("config", "user.email", "work@example.org", cwd=path).ok()
    person.git("commit", "-q", "--allow-empty", "-m", "first", cwd=path).ok()
    return path


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    return nodes.make_repository(tmp_path / "project.git")


def published(git_dir: Path) -> dict[bytes, str]:
    return {bytes(name): oid for name, oid in Carried(git_dir, SHA1).log().refs.items()}


@pytest.mark.parametrize("git", GITS)
def test_a_push_into_the_copy_is_published(tmp_path: Path, git: str) -> None:
    person = somebody(tmp_path / "owner", git)
    path = person.root / "tool"
    person.git("init", "-q", "-b", "main", path).ok()
    person.git("commit", "-q", "--allow-empty", "-m", "first", cwd=path).ok()
    person.gittorrent("publish", path, "--new-key", "--wait").ok()
    copy = person.node / "repositories" / "tool.git"
    person.git("branch", "topic", cwd=path).ok()
    said = person.git("push", "gittorrent", "topic", cwd=path).ok().err
    assert "remote: published tool: 1 ref created" in said
    assert b"refs/heads/topic" in published(copy)
    person.git("push", "gittorrent", ":topic", cwd=path).ok()
    assert b"refs/heads/topic" not in published(copy)
    # The clone is what counts again at the next publication.
    person.gittorrent("publish", path).ok()
    assert b"refs/heads/topic" in published(copy)


def test_what_another_pushed_into_the_copy_is_not_taken_back(
    person: Person, people: Callable[[str], Person], work: Path
) -> None:
    person.gittorrent("publish", work, "--new-key", "--wait").ok()
    copy = person.node / "repositories" / "tool.git"
    other = people("other")
    other.git("clone", "-q", copy, "clone").ok()
    other.git("commit", "-q", "--allow-empty", "-m", "theirs", cwd=other.root / "clone").ok()
    other.git("push", "-q", "origin", "main", cwd=other.root / "clone").ok()
    before = published(copy)
    said = person.gittorrent("publish", work).ok().err
    assert f"{copy} has what others changed, and that stays: refs/heads/main" in said
    assert published(copy) == before
    person.git("commit", "-q", "--allow-empty", "-m", "mine", cwd=work).ok()
    said = person.gittorrent("publish", work).failed(2, "pushed there from elsewhere").err
    assert f"git -C {work} fetch {copy} refs/heads/main'" in said
    assert published(copy) == before
    person.git("pull", "-q", "--no-rebase", "--no-edit", "gittorrent", "main", cwd=work).ok()
    person.gittorrent("publish", work).ok()
    assert published(copy)[b"refs/heads/main"] == gitcmd.text(work, "rev-parse", "main")


@pytest.mark.parametrize("has_variables", [False, True])
def test_a_push_into_the_copy_is_in_the_name_used_in_the_clone(
    person: Person, work: Path, has_variables: bool
) -> None:
    """That of git's variables, if they are set, as for commits; or else of its settings."""
    unset = [] if has_variables else ["-u", "GIT_COMMITTER_NAME", "-u", "GIT_COMMITTER_EMAIL"]
    person.run("env", *unset, "gittorrent", "publish", work, "--new-key", "--wait").ok()
    person.git("commit", "-q", "--allow-empty", "-m", "second", cwd=work).ok()
    person.run("env", *unset, "git", "push", "gittorrent", "main", cwd=work).ok()
    store = Carried(person.node / "repositories" / "tool.git", SHA1).log_store
    held = map(store.push, store.entries())
    texts = [push.text for push in held if push.kind is PushKind.CERTIFICATE]
    pushers = [parse_certificate(text, SHA1).pusher for text in texts]
    name = b"C O Mitter <committer@example.org>" if has_variables else b"At Work <work@example.org>"
    assert pushers == [name] * 2


def test_a_hook_works_for_those_who_have_nothing(
    person: Person, people: Callable[[str], Person], bare: Path
) -> None:
    done = person.gittorrent("publish", bare, "--new-key", "--wait", "--install-hook").ok()
    assert f"is published by {bare / 'hooks' / 'post-receive'}" in done.err
    git = shutil.which("git")
    assert git is not None
    # Neither this program nor ssh-keygen nor a writable home.
    tools = person.root / "tools"
    tools.mkdir()
    for name in ("git", "sh", "env"):
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)
    other = people("other")
    other = replace_variables(other, PATH=str(tools), GITTORRENT_HOME="/dev/null/none")
    other.git("clone", "-q", bare, "clone").ok()
    other.git("commit", "-q", "--allow-empty", "-m", "x", cwd=other.root / "clone").ok()
    said = other.git("push", "origin", "main", cwd=other.root / "clone").ok().err
    assert "remote: published project: 1 ref moved" in said
    assert published(bare)[b"refs/heads/main"] == gitcmd.text(bare, "rev-parse", "main")


def replace_variables(person: Person, **variables: str) -> Person:
    return Person(person.root, person.git_program, variables)


def test_what_cannot_be_published_is_said_to_the_pusher(person: Person, work: Path) -> None:
    person.gittorrent("publish", work, "--new-key", "--wait").ok()
    copy = person.node / "repositories" / "tool.git"
    (person.node / "keys" / "publish").unlink()
    (person.node / "keys" / "publish.pub").unlink()
    said = person.git("push", "gittorrent", "HEAD:refs/heads/topic", cwd=work).ok().err
    assert "remote: gittorrent: pushed, but not published:" in said
    assert "is published with" in said
    assert b"refs/heads/topic" not in published(copy)
    hook = copy / "hooks" / "post-receive"
    hook.write_text(hook.read_text().replace("python=", "python=/nowhere"))
    said = person.git("push", "gittorrent", "HEAD:refs/heads/more", cwd=work).ok().err
    assert "not published: /nowhere" in said
    assert "--install-hook" in said


def test_a_push_to_what_moved_elsewhere_is_named_to_the_pusher(
    person: Person, people: Callable[[str], Person], bare: Path
) -> None:
    person.gittorrent("publish", bare, "--new-key", "--wait", "--install-hook").ok()
    signer = resolve_signer(str(person.node / "keys" / "publish"), {})
    other = people("other")
    other.git("clone", "-q", bare, "clone").ok()
    clone = other.root / "clone"
    old = Oid(gitcmd.text(bare, "rev-parse", "main"))
    theirs = Oid(nodes.add_commit(bare, "refs/heads/main", "theirs", b"theirs\n"))
    gitcmd.git(bare, "update-ref", "refs/heads/main", old)
    push_elsewhere(bare, [Line(old, theirs, RefName(b"refs/heads/main"))], signer, keeper=signer)
    other.git("commit", "-q", "--allow-empty", "-m", "x", cwd=clone).ok()
    said = other.git("push", "origin", "main", "HEAD:refs/heads/side", cwd=clone).ok().err
    assert "remote: published project: 1 ref created" in said
    assert "refs/heads/main was changed both here and elsewhere" in said
    assert published(bare)[b"refs/heads/main"] == theirs
    other.git("pull", "-q", "--no-rebase", "--no-edit", "origin",
              "refs/gittorrent/elsewhere/heads/main", cwd=clone).ok()  # fmt: skip
    said = other.git("push", "origin", "main", cwd=clone).ok().err
    assert "remote: published project: 1 ref moved" in said
    assert published(bare)[b"refs/heads/main"] == gitcmd.text(clone, "rev-parse", "HEAD")


def test_another_hook_is_left_alone(person: Person, bare: Path) -> None:
    hook = bare / "hooks" / "post-receive"
    hook.parent.mkdir()
    hook.write_text("#!/bin/sh\nexit 0\n")
    done = person.gittorrent("publish", bare, "--new-key", "--wait", "--install-hook")
    done.failed(2, f"there is another hook already: {hook}", "-P -m gittorrent.cli.pushed")
    assert hook.read_text() == "#!/bin/sh\nexit 0\n"
    assert b"refs/heads/main" in published(bare)
    hook.unlink()
    shared = person.root / "hooks"
    shared.mkdir()
    person.git("config", "--global", "core.hooksPath", shared).ok()
    done = person.gittorrent("publish", bare, "--install-hook")
    done.failed(2, str(shared), "core.hooksPath")
    assert list(shared.iterdir()) == []


def test_another_hook_in_a_copy_is_named(person: Person, work: Path) -> None:
    person.gittorrent("publish", work, "--new-key", "--wait").ok()
    hook = person.node / "repositories" / "tool.git" / "hooks" / "post-receive"
    hook.write_text("#!/bin/sh\n")
    done = person.gittorrent("publish", work).ok()
    assert "are not published by themselves: there is another hook" in done.err
    assert hook.read_text() == "#!/bin/sh\n"


def test_a_hook_is_kept_up_to_date(person: Person, work: Path) -> None:
    person.gittorrent("publish", work, "--new-key", "--wait").ok()
    hook = person.node / "repositories" / "tool.git" / "hooks" / "post-receive"
    text, identity = hook.read_text(), hook.stat().st_ino
    person.gittorrent("publish", work).ok()
    assert hook.stat().st_ino == identity
    hook.write_text(text.replace("python=", "python=/nowhere"))
    hook.chmod(0o644)
    person.gittorrent("publish", work).ok()
    assert hook.read_text() == text
    assert os.access(hook, os.X_OK)


def test_the_first_publication_says_what_becomes_of_pushes(person: Person, bare: Path) -> None:
    assert "--install-hook" in person.gittorrent("publish", bare, "--new-key").ok().err
    assert "--install-hook" not in person.gittorrent("publish", bare).ok().err
