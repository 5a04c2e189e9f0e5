"""Whose repository it is: no mirror can pass off one repository's log as another's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.ids import RepositoryId
from gittorrent.repository.carried import Carried
from gittorrent.repository.layout import Layout
from gittorrent.signing.keys import Signer
from support import gitcmd, nodes
from support.nodes import Served
from support.programs import Person

WAYS = ["git", "http"]


def url_of(served: Served, name: str, pin: str = "", way: str = "git") -> str:
    base = served.git if way == "git" else served.http
    scheme = "gittorrent" if way == "git" else "gittorrent::http"
    return f"{scheme}://{f'{pin}@' if pin else ''}{base.partition('://')[2]}/{name}.git"


@pytest.fixture
def fork(tmp_path: Path, owner_key: Signer) -> Carried:
    """Repository A, which grows in the tests."""
    return nodes.publish(nodes.make_repository(tmp_path / "fork.git"), owner_key, "fork")


@pytest.fixture
def lib(tmp_path: Path, owner_key: Signer) -> Carried:
    """Repository B."""
    return nodes.publish(nodes.make_repository(tmp_path / "lib.git"), owner_key, "lib")


def passed_off(carried: Carried, claimed: RepositoryId) -> Carried:
    """Return a repository whose node says that its log is another repository's."""
    layout = carried.layout
    layout.log(carried.info.repository_id).parent.rename(layout.log(claimed).parent)
    carried.set_info(replace(carried.info, repository_id=claimed))
    return Carried(layout.git_dir, carried.object_format)


@pytest.fixture
def liar(
    tmp_path: Path, person: Person, fork: Carried, lib: Carried, owner_key: Signer
) -> Iterator[Served]:
    """A node at which the user's clone of A was made, and which now says that A's log is B's."""
    home = nodes.make_home(tmp_path / "node")
    with nodes.serving(fork, home=home) as served:
        url = url_of(served, "fork", fork.info.repository_id)
        person.git("clone", "-q", url, "c").ok()
    nodes.add_commit(fork.layout.git_dir, "refs/heads/main", "build.sh", b"looks like upstream")
    nodes.publish(fork.layout.git_dir, owner_key, None)
    with nodes.serving(passed_off(fork, lib.info.repository_id), home=home) as served:
        yield served


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("pins", [True, False])
def test_the_log_of_another_repository(
    liar: Served, lib: Carried, person: Person, way: str, pins: bool
) -> None:
    """With an id or without: what is claimed has to be what the log proves."""
    clone = person.root / "c"
    before = gitcmd.refs(clone / ".git")
    pin = lib.info.repository_id if pins else ""
    url = url_of(liar, "fork", pin, way)
    person.git("remote", "add", "upstream", url, cwd=clone).ok()
    for words in (("fetch", "upstream"), ("ls-remote", "upstream")):
        done = person.git(*words, cwd=clone)
        assert done.status != 0
        assert "but this policy makes it" in done.err
        assert not done.out
        assert "remembered" not in done.err
    assert gitcmd.refs(clone / ".git") == before
    logs = [path.parent.name for path in Layout(clone / ".git").logs.glob("*/log")]
    assert lib.info.repository_id not in logs
    # Nor anywhere else.
    elsewhere: list[tuple[str, ...]] = [("clone", url, "d"), ("ls-remote", url)]
    for command in elsewhere:
        done = person.git(*command)
        assert done.status != 0
        assert "but this policy makes it" in done.err
    person.gittorrent("mirror", url, "--once").failed(4, "but this policy makes it")
    assert not list(person.node.glob("repositories/[!.]*"))


def test_another_repository_where_one_was_named(
    tmp_path: Path, person: Person, fork: Carried, owner_key: Signer
) -> None:
    """A place known by a URL with an id is known without it, until somebody forgets it."""
    known = fork.info.repository_id
    with nodes.serving(fork, home=nodes.make_home(tmp_path / "one")) as served:
        person.git("clone", "-q", url_of(served, "fork", known), "c").ok()
    other = nodes.publish(nodes.make_repository(tmp_path / "other.git"), owner_key, "fork")
    port = int(served.git.rpartition(":")[2])
    options = replace(nodes.LOOPBACK, git=(("127.0.0.1", port),))
    with nodes.serving(other, home=nodes.make_home(tmp_path / "two"), options=options) as served:
        url = url_of(served, "fork")
        done = person.git("clone", url, "d")
        assert done.status != 0
        where = served.git + "/fork.git"
        assert f"{where} carried repository {known} before" in done.err
        assert f"now says {other.info.repository_id}" in done.err
        assert f"'gittorrent forget {where}'" in done.err
        person.gittorrent("forget", where).ok()
        person.git("clone", "-q", url, "d").ok()


def test_remotes_of_two_repositories(
    tmp_path: Path, person: Person, fork: Carried, lib: Carried, owner_key: Signer
) -> None:
    """Both are verified, follow their own logs and stay apart."""
    with nodes.serving(fork, lib, home=nodes.make_home(tmp_path / "node")) as served:
        person.git("clone", "-q", url_of(served, "fork"), "c").ok()
        clone = person.root / "c"
        person.git("remote", "add", "upstream", url_of(served, "lib"), cwd=clone).ok()
        person.git("fetch", "-q", "--all", cwd=clone).ok()
        for number in range(2):
            for carried, remote in ((lib, "upstream"), (fork, "origin")):
                git_dir = carried.layout.git_dir
                nodes.add_commit(git_dir, "refs/heads/main", f"n{number}", b"%d" % number)
                nodes.publish(git_dir, owner_key, None)
                person.git("fetch", "-q", remote, cwd=clone).ok()
                name = f"refs/remotes/{remote}/main".encode()
                assert gitcmd.refs(clone / ".git")[name] == gitcmd.refs(git_dir)[b"refs/heads/main"]
    logs = {path.parent.name: path for path in Layout(clone / ".git").logs.glob("*/log")}
    assert set(logs) == {fork.info.repository_id, lib.info.repository_id}
    for carried in (fork, lib):
        store = Carried(clone / ".git", carried.object_format, carried.info.repository_id).log_store
        assert store.ids() == carried.log_store.ids()


def test_a_log_of_version_0_1_is_named(tmp_path: Path, person: Person, fork: Carried) -> None:
    """There is no way to go on with one; what to do is said instead."""
    with nodes.serving(fork, home=nodes.make_home(tmp_path / "node")) as served:
        person.git("clone", "-q", url_of(served, "fork"), "c").ok()
        layout = Layout(person.root / "c" / ".git")
        log = layout.log(fork.info.repository_id)
        for place in (log, layout.only_log):
            log.unlink(missing_ok=True)
            place.write_text(f"{'ab' * 20} policy\n{'cd' * 20} references\n")
            done = person.git("fetch", "-q", cwd=person.root / "c")
            assert done.status != 0
            assert "was made by gittorrent 0.1" in done.err
            assert "mirrors or clones" in done.err


@pytest.mark.parametrize("way", WAYS)
def test_an_id_and_a_host_are_enough(
    project: Carried, project_node: Served, person: Person, way: str
) -> None:
    repository = project.info.repository_id
    url = url_of(project_node, "", repository, way).removesuffix(".git")
    assert url.endswith("/")
    person.git("clone", "-q", url, "c").ok()
    remote = person.git("remote", "get-url", "origin", cwd=person.root / "c").ok().out.strip()
    assert remote == url
    person.git("fetch", "-q", cwd=person.root / "c").ok()
    refs = gitcmd.refs(project.layout.git_dir)
    assert refs[b"refs/heads/main"] == gitcmd.refs(person.root / "c")[b"refs/remotes/origin/main"]
    person.gittorrent("mirror", url, "--once", "--quiet").ok()
