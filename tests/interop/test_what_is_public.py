"""Stock git sees exactly what was published, whatever the repository has by now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.repository.carried import CLONE, Carried
from gittorrent.signing.keys import Signer
from support import bulk, gitcmd, nodes
from support.nodes import Served
from support.programs import GITS, Person, somebody

pytestmark = pytest.mark.git_in_turn

TRANSPORTS = ("git", "http")
VERSIONS = ("0", "1", "2")


@pytest.fixture
def moved(tmp_path: Path, owner_key: Signer) -> Iterator[tuple[Carried, Served, dict[str, str]]]:
    """A published repository whose owner went on without publishing; the ids of what is there."""
    git_dir = bulk.make_small(tmp_path / "r.git")
    gone = nodes.add_commit(git_dir, "refs/heads/gone", "gone", b"gone\n")
    carried = nodes.publish(git_dir, owner_key, "project")
    gitcmd.git(git_dir, "update-ref", "-d", "refs/heads/gone")
    nodes.publish(git_dir, owner_key, None)
    published = gitcmd.refs(git_dir)
    ids = {"main": published[b"refs/heads/main"], "gone": gone}
    ids["ahead"] = nodes.add_commit(git_dir, "refs/heads/main", "ahead", b"ahead\n")
    ids["secret"] = nodes.add_commit(git_dir, "refs/heads/secret", "secret", b"secret\n")
    ids["secret file"] = gitcmd.text(git_dir, "rev-parse", "secret:secret")
    ids["secret tree"] = gitcmd.text(git_dir, "rev-parse", "secret^{tree}")
    ids["old"] = gitcmd.text(git_dir, "rev-parse", "main~5")
    ids["file"] = gitcmd.text(git_dir, "rev-parse", "main~5:src/d0/f0.c")
    gitcmd.git(git_dir, "branch", "-D", "topic/one")
    gitcmd.git(git_dir, "tag", "-d", "v1")
    gitcmd.git(git_dir, "symbolic-ref", "HEAD", "refs/heads/secret")
    for setting in ("allowAnySHA1InWant", "allowTipSHA1InWant", "allowReachableSHA1InWant"):
        gitcmd.git(git_dir, "config", f"uploadpack.{setting}", "true")
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "h")) as served:
        yield carried, served, ids


def listed(person: Person, url: str, version: str) -> dict[str, str]:
    said = person.git("-c", f"protocol.version={version}", "ls-remote", url).ok().out
    return {name: oid for oid, name in (row.split("\t") for row in said.splitlines())}


@pytest.mark.parametrize("git", GITS)
def test_refs_are_those_published(
    moved: tuple[Carried, Served, dict[str, str]], tmp_path: Path, git: str
) -> None:
    carried, served, ids = moved
    person = somebody(tmp_path / "p", git)
    refs = {name.decode(): oid for name, oid in carried.log().refs.items()}
    assert refs["refs/heads/main"] == ids["main"]
    assert {"refs/heads/topic/one", "refs/tags/v1"} <= set(refs)
    for transport in TRANSPORTS:
        for version in VERSIONS:
            found = listed(person, f"{getattr(served, transport)}/project.git", version)
            assert found.pop("HEAD") == ids["main"]
            peeled = {n: found.pop(n) for n in list(found) if n.endswith("^{}")}
            assert found == refs
            want = gitcmd.text(carried.layout.git_dir, "rev-parse", f"{refs['refs/tags/v1']}^{{}}")
            assert peeled["refs/tags/v1^{}"] == want
    clone = person.root / "c"
    person.git("clone", f"{served.git}/project.git", "c").ok()
    assert gitcmd.text(clone, "symbolic-ref", "HEAD") == "refs/heads/main"
    gitcmd.git(clone, "fsck", "--strict")


@pytest.mark.parametrize("git", GITS)
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_wants(
    moved: tuple[Carried, Served, dict[str, str]],
    tmp_path: Path,
    git: str,
    transport: str,
    version: str,
) -> None:
    _, served, ids = moved
    person = somebody(tmp_path / "p", git)
    url = f"{getattr(served, transport)}/project.git"
    given = set()
    for name, oid in ids.items():
        target = gitcmd.init(tmp_path / name.replace(" ", "-"))
        done = person.git("-c", f"protocol.version={version}", "fetch", url, oid, cwd=target)
        if done.status == 0:
            assert gitcmd.text(target, "cat-file", "-t", oid)
            given.add(name)
    # What was published once is in reels for good; version 2 has no way to refuse it.
    once = {"gone"} if version == "2" else set()
    assert given == {"main", "old", "file"} | once


@pytest.mark.parametrize("git", GITS)
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("version", ["0", "2"])
def test_partial_and_shallow_clones_go_on(
    moved: tuple[Carried, Served, dict[str, str]],
    owner_key: Signer,
    tmp_path: Path,
    git: str,
    transport: str,
    version: str,
) -> None:
    carried, served, ids = moved
    person = somebody(tmp_path / "p", git)
    words = ("-c", f"protocol.version={version}")
    url = f"{getattr(served, transport)}/project.git"
    person.git(*words, "clone", "--filter=blob:none", url, "partial").ok()
    person.git(*words, "clone", "--depth=1", url, "shallow").ok()
    partial, shallow = person.root / "partial", person.root / "shallow"
    person.git(*words, "checkout", "-q", "v1", cwd=partial).ok()
    assert person.git("status", "--porcelain", cwd=partial).ok().out == ""
    git_dir = carried.layout.git_dir
    for number in range(3):
        tip = nodes.add_commit(git_dir, "refs/heads/main", f"n{number}", b"%d\n" % number)
        gitcmd.git(git_dir, "branch", "-f", "other", "main~3")
        nodes.publish(git_dir, owner_key, None)
        for clone in (partial, shallow):
            person.git(*words, "fetch", cwd=clone).ok()
            assert gitcmd.refs(clone)[b"refs/remotes/origin/main"] == tip
    person.git(*words, "checkout", "-q", "origin/main", cwd=partial).ok()
    assert (partial / "n2").read_text() == "2\n"
    person.git(*words, "fetch", "--unshallow", cwd=shallow).ok()
    gitcmd.git(shallow, "fsck", "--strict")
    assert ids["ahead"] in gitcmd.text(shallow, "rev-list", "origin/main").split()


def test_the_branches_of_a_clone_are_its_users(project: Carried, tmp_path: Path) -> None:
    copy = nodes.copy_as_mirror(project, tmp_path / "clone.git", "git://example.org/x")
    copy.set_info(replace(copy.info, role=CLONE))
    secret = nodes.add_commit(copy.layout.git_dir, "refs/heads/secret", "secret", b"secret\n")
    person = somebody(tmp_path / "p")
    with nodes.serving(copy, home=nodes.make_home(tmp_path / "h")) as served:
        url = f"{served.git}/project.git"
        assert "secret" not in " ".join(listed(person, url, "2"))
        target = gitcmd.init(tmp_path / "t")
        assert person.git("fetch", url, secret, cwd=target).status != 0
