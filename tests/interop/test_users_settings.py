"""What users configure for themselves, or hooks have in their environment, changes no command."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from support import gitcmd, nodes
from support.programs import GITS, Person, serve, somebody
from support.users import SOMEBODY

pytestmark = [pytest.mark.slow, pytest.mark.git_in_turn]

SETTINGS = [
    "color.ui=always",
    "color.branch=always",
    "column.ui=always",
    "core.abbrev=4",
    "core.quotePath=false",
    "core.pager=false",
    "format.pretty=oneline",
    "log.decorate=full",
    "log.showSignature=true",
    "log.date=relative",
    "i18n.commitEncoding=iso-8859-1",
    "i18n.logOutputEncoding=utf-16",
    "tag.sort=-refname",
    "versionsort.suffix=-",
    "core.commentChar=%",
    "core.logAllRefUpdates=always",
    "transfer.hideRefs=refs/heads",
    "uploadpack.hideRefs=refs/tags",
    "receive.hideRefs=refs",
    "uploadpack.allowFilter=false",
    "uploadpack.allowAnySHA1InWant=false",
    "uploadpack.packObjectsHook=false",
    "protocol.version=0",
    "fetch.prune=true",
    "fetch.unpackLimit=1000000",
    "fetch.writeCommitGraph=true",
    "fetch.negotiationAlgorithm=noop",
    "fetch.recurseSubmodules=true",
    "remote.pushDefault=elsewhere",
    "clone.defaultRemoteName=upstream",
    "core.alternateRefsCommand=false",
    "pack.packSizeLimit=1m",
    "pack.indexVersion=1",
    "pack.window=0",
    "pack.writeReverseIndex=false",
    "pack.allowPackReuse=false",
    "core.compression=0",
    "core.bigFileThreshold=1k",
    "core.multiPackIndex=false",
    "core.commitGraph=false",
    "core.fsmonitor=true",
    "core.untrackedCache=true",
    "core.ignoreCase=true",
    "core.preferSymlinkRefs=true",
    "core.splitIndex=true",
    "index.version=4",
    "repack.writeBitmaps=false",
    "repack.useDeltaBaseOffset=false",
    "gc.auto=1",
    "gc.pruneExpire=now",
    "maintenance.auto=true",
    "init.defaultBranch=odd",
    "init.defaultObjectFormat=sha256",
    "init.defaultRefFormat=reftable",
    "commit.gpgSign=true",
    "tag.gpgSign=true",
    "tag.forceSignAnnotated=true",
    "push.gpgSign=if-asked",
    "gpg.format=x509",
    "gpg.program=false",
    "gpg.ssh.allowedSignersFile=/nowhere",
    "gpg.minTrustLevel=ultimate",
    "user.useConfigOnly=true",
    "safe.bareRepository=explicit",
    "core.sharedRepository=0660",
    "submodule.recurse=true",
]


@pytest.fixture(params=GITS)
def owner(request: pytest.FixtureRequest, tmp_path: Path) -> Person:
    return somebody(tmp_path / "owner", request.param)


def every_command(owner: Person, other: Person, bare: Path) -> None:
    """Publish, serve, mirror, clone, fetch and seed; each must do what it does without settings."""
    owner.gittorrent("publish", bare, "--new-key", "--wait").ok()
    nodes.add_commit(bare, "refs/heads/main", "second", b"second\n")
    owner.gittorrent("publish", bare, "--wait").ok()
    main = gitcmd.refs(bare)[b"refs/heads/main"]
    with serve(owner, bare) as daemon:
        other.gittorrent("mirror", daemon.url(), "--once").ok()
        mirror = other.node / "repositories" / "project.git"
        assert gitcmd.refs(mirror)[b"refs/heads/main"] == main
        for command in (("verify",), ("log",), ("tidy",), ("reel", "show")):
            other.gittorrent(*command, mirror).ok()
        assert b"refs/heads/main" in gitcmd.refs(mirror)
        other.git("clone", daemon.url(), "c").ok()
        assert (other.root / "c" / "second").read_text() == "second\n"
        nodes.add_commit(bare, "refs/heads/main", "third", b"third\n")
        owner.gittorrent("publish", bare, "--wait").ok()
        other.git("pull", "-q", cwd=other.root / "c").ok()
        assert (other.root / "c" / "third").read_text() == "third\n"
        other.gittorrent("mirror", daemon.url(), "--once").ok()
        other.gittorrent("seed", other.root / "c", "--for", "0").ok()
        other.git("clone", "-q", f"{daemon.git}/project.git", "stock").ok()
        other.git("clone", "-q", "--depth", "1", daemon.url(), "shallow").ok()
        other.git("clone", "-q", "--mirror", f"gittorrent::{daemon.http}/project.git", "m").ok()
    status = other.gittorrent("status", "--json").ok()
    assert "project" in status.out


@pytest.mark.parametrize("where", ["user", "repository"])
def test_settings_change_no_command(
    owner: Person, people: Callable[[str], Person], tmp_path: Path, where: str
) -> None:
    bare = nodes.make_repository(tmp_path / "project.git", size=5000)
    other = replace(people("other"), git_program=owner.git_program)
    for setting in SETTINGS:
        name, _, value = setting.partition("=")
        if where == "user":
            for person in (owner, other):
                person.git("config", "--global", name, value).ok()
        elif name in ("transfer.hideRefs", "uploadpack.hideRefs"):
            continue  # what a repository hides is not published; see test_publishable
        elif not name.startswith(("init.", "clone.", "safe.")):
            gitcmd.git(bare, "config", name, value)
    every_command(owner, other, bare)


def test_nor_does_what_a_hook_has_around_it(
    owner: Person, people: Callable[[str], Person], tmp_path: Path
) -> None:
    bare = nodes.make_repository(tmp_path / "project.git", size=5000)
    elsewhere = gitcmd.init(tmp_path / "elsewhere.git")
    around = {
        "GIT_DIR": str(elsewhere),
        "GIT_WORK_TREE": str(tmp_path),
        "GIT_COMMON_DIR": str(elsewhere),
        "GIT_INDEX_FILE": str(tmp_path / "index"),
        "GIT_OBJECT_DIRECTORY": str(elsewhere / "objects"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(elsewhere / "objects"),
        "GIT_QUARANTINE_PATH": str(elsewhere / "objects" / "incoming"),
        "GIT_NAMESPACE": "odd",
        "GIT_PREFIX": "sub/",
        "GIT_CEILING_DIRECTORIES": str(tmp_path),
        "GIT_SHALLOW_FILE": str(tmp_path / "shallow"),
        "GIT_GRAFT_FILE": str(tmp_path / "grafts"),
        "GIT_REPLACE_REF_BASE": "refs/odd/",
        "GIT_DEFAULT_HASH": "sha256",
        "GIT_DEFAULT_REF_FORMAT": "reftable",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_PROTOCOL": "version=2",
        "GIT_ATTR_SOURCE": "HEAD",
        "GIT_TRACE": "1",
        "GIT_FLUSH": "0",
        "LC_ALL": "de_DE.UTF-8",
        "LANG": "de_DE.UTF-8",
        "LANGUAGE": "de",
    }
    hook = replace(owner, variables=around)
    publish = ("publish", bare, "--new-key", "--wait")
    hook.gittorrent(*publish).ok()
    nodes.add_commit(bare, "refs/heads/main", "second", b"second\n")
    hook.gittorrent("publish", bare, "--wait").ok()
    for command in (("verify",), ("log",), ("tidy",), ("reel", "show")):
        hook.gittorrent(*command, bare).ok()
    assert not gitcmd.refs(elsewhere)
    with serve(hook, bare) as daemon:
        other = replace(people("other"), git_program=owner.git_program)
        replace(other, variables=around).gittorrent("mirror", daemon.url(), "--once").ok()
        other.git("clone", daemon.url(), "c").ok()
        other.git("clone", f"{daemon.git}/project.git", "stock").ok()
        replace(other, variables=around).gittorrent("seed", other.root / "c", "--for", "0").ok()
    assert (other.root / "c" / "second").read_text() == "second\n"


def test_the_owner_of_a_repository_is_minded_as_git_minds_it(owner: Person, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    bare = nodes.make_repository(tmp_path / "project.git", size=500)
    for path in (bare, *bare.rglob("*")):
        os.chown(path, SOMEBODY, SOMEBODY)
    refused = owner.gittorrent("publish", bare, "--new-key", "--wait")
    refused.failed(2, "dubious ownership")
    owner.run(*refused.err.partition("hint: '")[2].partition("'")[0].split()).ok()
    owner.gittorrent("publish", bare, "--new-key", "--wait").ok()
    with serve(owner, bare) as daemon:
        owner.git("clone", daemon.url(), "c").ok()
        owner.git("clone", f"{daemon.git}/project.git", "stock").ok()
    owner.gittorrent("verify", bare).ok()
