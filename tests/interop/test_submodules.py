"""Submodules whose URLs are relative: their superproject's id is not theirs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from support import gitcmd, nodes
from support.nodes import Served
from support.programs import GITS, Person, somebody
from support.repositories import Builder


class Pair:
    """A project and the library that is a submodule of it, as ``../lib.git``."""

    def __init__(self, root: Path, key: Signer) -> None:
        library = gitcmd.init(root / "lib.git")
        commit = nodes.add_commit(library, "refs/heads/main", "source", b"first\n")
        project = gitcmd.init(root / "project.git")
        built = Builder(project, "sha1")
        module = b'[submodule "parts/lib"]\n\tpath = parts/lib\n\turl = ../lib.git\n'
        first = built.commit("refs/heads/main", [], {b".gitmodules": module})
        built.submodule("refs/heads/main", first, b"parts/lib", commit)
        built.flush()
        self.library = nodes.publish(library, key, "lib")
        self.project = nodes.publish(project, key, "project")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, owner_key: Signer) -> Pair:
    return Pair(tmp_path_factory.mktemp("pair"), owner_key)


@pytest.fixture
def node(pair: Pair, tmp_path: Path) -> Iterator[Served]:
    home = nodes.make_home(tmp_path / "home")
    with nodes.serving(pair.library, pair.project, home=home) as served:
        yield served


@pytest.fixture(params=GITS)
def user(request: pytest.FixtureRequest, tmp_path: Path) -> Person:
    """Somebody whose git follows gittorrent URLs for submodules too."""
    person = somebody(tmp_path / "user", request.param)
    person.git("config", "--global", "protocol.gittorrent.allow", "always").ok()
    return person


def url(served: Served, carried: Carried | None, path: str = "project.git") -> str:
    pin = "" if carried is None else f"{carried.info.repository_id}@"
    return f"gittorrent://{pin}{served.git.removeprefix('git://')}/{path}"


@pytest.mark.parametrize("is_pinned", [False, True])
def test_a_relative_url_leads_to_the_submodule(
    pair: Pair, node: Served, user: Person, is_pinned: bool
) -> None:
    named = url(node, pair.project if is_pinned else None)
    user.git("clone", "--recurse-submodules", named, "c").ok()
    clone = user.root / "c"
    assert (clone / "parts/lib/source").read_text() == "first\n"
    # It is pinned to its own id then; git's sync puts the inherited one back, which does no harm.
    library = url(node, pair.library, "lib.git")
    assert user.git("-C", "parts/lib", "remote", "get-url", "origin", cwd=clone).out.strip() == (
        library
    )
    user.git("submodule", "sync", cwd=clone).ok()
    user.git("-C", "parts/lib", "fetch", cwd=clone).ok()


def test_git_has_to_be_told_to_follow_such_urls(pair: Pair, node: Served, user: Person) -> None:
    """As docs/commands.md says of ``protocol.gittorrent.allow``, with what it says that helps."""
    user.git("config", "--global", "--unset", "protocol.gittorrent.allow").ok()
    named = url(node, pair.project)
    refused = user.git("clone", "--recurse-submodules", named, "refused")
    assert refused.status
    assert "transport 'gittorrent' not allowed" in refused.err
    allow = "protocol.gittorrent.allow=always"
    user.git("-c", allow, "clone", "--recurse-submodules", named, "c").ok()
    assert (user.root / "c/parts/lib/source").read_text() == "first\n"


def test_an_absolute_url_of_a_submodule(pair: Pair, node: Served, user: Person) -> None:
    user.git("clone", url(node, pair.project), "c").ok()
    clone = user.root / "c"
    absolute = url(node, pair.library, "lib.git")
    user.git("config", "-f", ".gitmodules", "submodule.parts/lib.url", absolute, cwd=clone).ok()
    user.git("submodule", "update", "--init", "--recursive", cwd=clone).ok()
    assert (clone / "parts/lib/source").read_text() == "first\n"


def test_an_id_that_was_written_down_counts_in_a_submodule_too(
    pair: Pair, node: Served, user: Person
) -> None:
    user.git("clone", url(node, pair.project), "c").ok()
    clone = user.root / "c"
    other = pair.library.info.repository_id
    wrong = f"gittorrent://{other}@{node.git.removeprefix('git://')}/project.git"
    user.git("config", "-f", ".gitmodules", "submodule.parts/lib.url", wrong, cwd=clone).ok()
    done = user.git("submodule", "update", "--init", cwd=clone)
    assert done.status
    assert f"not {other}" in done.err, done.err


def test_outside_of_submodules_an_id_always_counts(pair: Pair, node: Served, user: Person) -> None:
    user.git("clone", url(node, pair.project), "c").ok()
    wrong = url(node, pair.project, "lib.git")
    library = gitcmd.refs(pair.library.layout.git_dir)[b"refs/heads/main"]
    for where in (user.root, user.root / "c"):
        done = user.git("ls-remote", wrong, cwd=where)
        # Another mirror may help, but only with the repository that was named.
        assert library not in done.out
        assert "carries repository" in done.err
