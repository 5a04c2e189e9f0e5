"""Cloning and fetching with real git through the remote helper, from one mirror."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.event_log import fields_of
from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from support import bulk, gitcmd, nodes
from support.copying import copy_tree
from support.nodes import Served
from support.programs import GITS, Person, somebody
from support.repositories import make, noise


def url_of(served: Served, name: str = "project") -> str:
    return f"gittorrent://{served.git.removeprefix('git://')}/{name}.git"


def pinned(served: Served, carried: Carried, name: str = "project") -> str:
    return url_of(served, name).replace("//", f"//{carried.info.repository_id}@", 1)


def refs_of(git_dir: Path) -> dict[bytes, str]:
    return gitcmd.refs(git_dir)


def assert_same(mirror: Path, carried: Carried) -> None:
    """Check a mirror clone: refs, HEAD and objects are the origin's."""
    origin = carried.layout.git_dir
    assert refs_of(mirror) == bulk.published(refs_of(origin))
    assert (mirror / "HEAD").read_text() == (origin / "HEAD").read_text()
    assert fsck(mirror) == fsck(origin)
    assert objects(mirror) == objects(mirror, origin)


def fsck(git_dir: Path) -> set[bytes]:
    said = gitcmd.git(git_dir, "fsck", "--strict", "--no-dangling").splitlines()
    return {line for line in said if b"dangling" not in line}


def objects(git_dir: Path, source: Path | None = None) -> set[bytes]:
    """Return the objects that the refs of ``git_dir`` reach, read from ``source``."""
    tips = "".join(f"{oid}\n" for oid in refs_of(git_dir).values()).encode()
    listed = gitcmd.git(source or git_dir, "rev-list", "--objects", "--stdin", stdin=tips)
    return {line.split(b" ")[0] for line in listed.splitlines()}


# --- first clones --------------------------------------------------------------------------------


@pytest.mark.parametrize("git", GITS)
@pytest.mark.parametrize("way", ["git", "gittorrent", "pinned", "http"])
def test_clone_equals_origin(
    project_node: Served, project: Carried, tmp_path: Path, git: str, way: str
) -> None:
    user = somebody(tmp_path / "user", git)
    words = ["gittorrent", "clone"] if way == "gittorrent" else ["git", "clone"]
    url = {
        "git": url_of(project_node),
        "gittorrent": url_of(project_node),
        "pinned": pinned(project_node, project),
        "http": f"gittorrent::{project_node.http}/project.git",
    }[way]
    options = ["--mirror", url, "c"] if way != "gittorrent" else [url, "c", "--mirror"]
    done = user.run(*words, *options).ok()
    assert_same(user.root / "c", project)
    assert ("first contact" in done.err) == (way != "pinned")
    assert not user.partial
    assert not list((user.root / "c" / "gittorrent" / "incoming").glob("*"))
    assert not list((user.root / "tmp").iterdir())


@pytest.mark.parametrize("git", GITS)
def test_options_of_git_before_the_url(project_node: Served, tmp_path: Path, git: str) -> None:
    user = somebody(tmp_path / "user", git)
    words = ["--depth", "1", "-qb", "main", "--orig", "up"]
    user.gittorrent("clone", *words, url_of(project_node), "c").ok()
    clone = user.root / "c"
    assert gitcmd.text(clone, "rev-list", "--count", "HEAD") == "1"
    assert gitcmd.text(clone, "remote") == "up"


@pytest.mark.parametrize("git", GITS)
def test_a_clone_whose_path_has_a_line_feed(
    project_node: Served, project: Carried, tmp_path: Path, git: str
) -> None:
    user = somebody(tmp_path / "line\nfeed", git)
    url = url_of(project_node)
    for words in (["git", "clone"], ["gittorrent", "clone"]):
        clone = user.root / words[0]
        done = user.run(*words, url, clone).ok()
        assert "unexpectedly" not in done.err
        assert not list((clone / ".git/objects/pack").glob("*.keep"))
    user.gittorrent("mirror", pinned(project_node, project), "--once").ok()
    user.gittorrent("verify", "project").ok()


@pytest.mark.parametrize("form", ["git", "http", "slash", "prefixed", "upper", "scheme"])
def test_every_form_of_url_is_pinned(
    project_node: Served, project: Carried, person: Person, form: str
) -> None:
    repository = project.info.repository_id
    plain, web = url_of(project_node), f"{project_node.http}/project.git"
    url = {
        "git": plain.replace("gittorrent", "git", 1),
        "http": web,
        "slash": f"{plain}/",
        "prefixed": f"gittorrent::{web}/",
        "upper": plain.replace("//", f"//{repository.upper()}@", 1),
        "scheme": web.replace("http", "HTTP", 1),
    }[form]
    person.gittorrent("clone", "-q", url, "c").ok()
    said = gitcmd.text(person.root / "c", "config", "remote.origin.url")
    assert f"//{repository}@" in said.lower()
    person.git("fetch", "-q", cwd=person.root / "c").ok()


def test_objects_borrowed_from_another_clone(
    project_node: Served, project: Carried, person: Person
) -> None:
    """What the new clone has is all borrowed: it counts, and proves nothing by itself."""
    person.git("clone", "--mirror", url_of(project_node), "first").ok()
    words = ("clone", "--mirror", "--reference", person.root / "first", url_of(project_node))
    person.git(*words, "second").ok()
    assert (person.root / "second" / "objects" / "info" / "alternates").exists()
    assert_same(person.root / "second", project)


def test_work_tree_and_tracking_branches(
    project_node: Served, project: Carried, person: Person
) -> None:
    person.git("clone", url_of(project_node), "c").ok()
    clone = person.root / "c"
    assert person.git("status", "--porcelain", "--branch", cwd=clone).ok().out == (
        "## main...origin/main\n"
    )
    assert (clone / "src/d0/f0.c").exists()
    names = set(refs_of(clone))
    assert {b"refs/remotes/origin/topic/one", b"refs/tags/v1", b"refs/tags/light"} <= names
    # The URL now names the repository, and nothing but the remote's own settings was written.
    config = gitcmd.text(clone, "config", "--get", "remote.origin.url")
    assert config == pinned(project_node, project)
    assert gitcmd.text(clone, "config", "-f", ".gitmodules", "submodule.lib.url") == (
        "https://submodule.example.invalid/lib.git"
    )
    assert not list((clone / "lib").iterdir())


def test_fetching_in_a_linked_work_tree(
    project: Carried, tmp_path: Path, person: Person, owner_key: Signer
) -> None:
    """What comes goes where all work trees find it."""
    origin = nodes.copy_as_mirror(project, tmp_path / "origin.git", "")
    origin.set_info(replace(origin.info, role="origin"))
    with nodes.serving(origin, home=nodes.make_home(tmp_path / "node")) as served:
        person.git("clone", "-q", url_of(served), "c").ok()
        person.git("worktree", "add", "-q", "../w", cwd=person.root / "c").ok()
        tip = nodes.add_commit(origin.layout.git_dir, "refs/heads/main", "more", b"more")
        nodes.publish(origin.layout.git_dir, owner_key, None)
        person.git("fetch", cwd=person.root / "w").ok()
    clone = person.root / "c" / ".git"
    assert gitcmd.refs(clone)[b"refs/remotes/origin/main"] == tip
    gitcmd.git(clone, "fsck", "--connectivity-only")
    assert not (clone / "worktrees" / "w" / "gittorrent").exists()


def test_ls_remote_outside_a_repository(
    project_node: Served, project: Carried, person: Person
) -> None:
    done = person.git("ls-remote", url_of(project_node)).ok()
    plain = person.git("ls-remote", f"{project_node.git}/project.git").ok()
    assert set(done.out.splitlines()) == set(plain.out.splitlines())
    assert not list((person.root / "tmp").iterdir())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--single-branch"], {b"refs/remotes/origin/main", b"refs/tags/v1", b"refs/tags/light"}),
        (["--single-branch", "--no-tags", "--branch", "old"], {b"refs/remotes/origin/old"}),
        (["--branch", "v1"], None),
        (["--no-checkout"], None),
        (["--bare"], None),
        (["--origin", "upstream"], None),
    ],
)
def test_options_of_clone(
    project_node: Served,
    project: Carried,
    person: Person,
    options: list[str],
    expected: set[bytes] | None,
) -> None:
    person.git("clone", *options, url_of(project_node), "c").ok()
    clone = person.root / "c"
    names = set(refs_of(clone))
    origin = refs_of(project.layout.git_dir)
    if expected is not None:
        remote = {n for n in names if not n.startswith(b"refs/heads/")}
        assert remote - {b"refs/remotes/origin/HEAD"} == expected
    if "v1" in options:
        head = gitcmd.text(clone, "rev-parse", "HEAD")
        assert head == gitcmd.text(project.layout.git_dir, "rev-parse", "v1^{commit}")
    if "--bare" in options:
        assert bulk.published(refs_of(clone)) == bulk.published(origin)
    if "--no-checkout" in options:
        assert [p.name for p in clone.iterdir()] == [".git"]
    if "upstream" in options:
        assert b"refs/remotes/upstream/main" in names
    fsck(clone)
    person.git("fetch", cwd=clone).ok()


@pytest.mark.parametrize("recipe", ["names", "tags", "merges", "times"])
def test_odd_repositories(recipe: str, tmp_path: Path, owner_key: Signer, person: Person) -> None:
    carried = nodes.publish(make(recipe, tmp_path / "r.git").git_dir, owner_key, recipe)
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "h")) as served:
        person.git("clone", "--mirror", url_of(served, recipe), "c").ok()
        assert_same(person.root / "c", carried)


def test_empty_repository(tmp_path: Path, owner_key: Signer, person: Person) -> None:
    carried = nodes.publish(gitcmd.init(tmp_path / "r.git"), owner_key, "empty")
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "h")) as served:
        person.git("clone", url_of(served, "empty"), "c").ok()
        assert refs_of(person.root / "c") == {}
        nodes.add_commit(carried.layout.git_dir, "refs/heads/main", "f", b"first\n")
        nodes.publish(carried.layout.git_dir, owner_key, None)
        person.git("pull", "origin", "main", cwd=person.root / "c").ok()
        assert (person.root / "c" / "f").read_text() == "first\n"


def test_many_refs(tmp_path: Path, owner_key: Signer, person: Person) -> None:
    repository = nodes.make_repository(tmp_path / "r.git")
    main = gitcmd.text(repository, "rev-parse", "main")
    lines = "".join(f"create refs/heads/many/{n:04} {main}\n" for n in range(2000))
    gitcmd.git(repository, "update-ref", "--stdin", stdin=lines.encode())
    carried = nodes.publish(repository, owner_key, "many")
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "h")) as served:
        person.git("clone", "--mirror", url_of(served, "many"), "c").ok()
        assert_same(person.root / "c", carried)


# --- later fetches -------------------------------------------------------------------------------


class Life:
    """A repository that is published, served, cloned, and goes on."""

    def __init__(self, git_dir: Path, key: Signer, served: Served, clone: Path, user: Person):
        self.git_dir = git_dir
        self.key = key
        self.served = served
        self.clone = clone
        self.user = user

    def publish(self) -> None:
        nodes.publish(self.git_dir, self.key, None)

    def commit(self, ref: str, name: str, data: bytes) -> str:
        return nodes.add_commit(self.git_dir, ref, name, data)


@pytest.fixture
def life(tmp_path: Path, owner_key: Signer, large: Carried, person: Person) -> Iterator[Life]:
    git_dir = tmp_path / "r.git"
    copy_tree(large.layout.git_dir, git_dir)
    carried = Carried(git_dir, large.object_format)
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "h")) as served:
        person.git("clone", "--no-checkout", url_of(served), "c").ok()
        yield Life(git_dir, owner_key, served, person.root / "c", person)


def traffic(caplog: pytest.LogCaptureFixture) -> tuple[int, int]:
    """Return the bytes sent by mirror-sync and HTTP, and the number of upload-packs."""
    sent = uploads = 0
    for record in caplog.records:
        event, fields = fields_of(record)
        if event in ("conversation-ended", "http"):
            sent += int(str(fields["sent"]))
        elif event == "upload-pack":
            uploads += 1
    return sent, uploads


def test_fetch_moves_only_what_is_new(life: Life, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "gittorrent.node")
    main = life.commit("refs/heads/main", "new", noise("new", 50_000))
    branch = life.commit("refs/heads/fresh", "fresh", b"fresh\n")
    gitcmd.git(life.git_dir, "tag", "-a", "-m", "two", "v2", main)
    life.publish()
    done = life.user.git("fetch", cwd=life.clone).ok()
    assert "new branch" in done.err
    assert "v2" in done.err
    refs = refs_of(life.clone)
    assert refs[b"refs/remotes/origin/main"] == main
    assert refs[b"refs/remotes/origin/fresh"] == branch
    assert refs[b"refs/tags/v2"] == refs_of(life.git_dir)[b"refs/tags/v2"]
    fsck(life.clone)
    sent, uploads = traffic(caplog)
    assert 50_000 < sent < 80_000
    assert uploads == 0
    # Nothing new: only the list is asked for and answered.
    caplog.clear()
    assert life.user.git("fetch", cwd=life.clone).ok().err == ""
    sent, uploads = traffic(caplog)
    assert sent < 2_500
    assert uploads == 0


def test_pull_checks_out(life: Life) -> None:
    life.commit("refs/heads/main", "pulled", b"pulled\n")
    life.publish()
    life.user.git("reset", "--hard", "-q", cwd=life.clone).ok()
    life.user.git("pull", "--rebase", cwd=life.clone).ok()
    assert (life.clone / "pulled").read_text() == "pulled\n"


def test_several_publications_between_fetches(life: Life, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "gittorrent.node")
    for number in range(4):
        last = life.commit("refs/heads/main", f"n{number}", noise(f"n{number}", 20_000))
        life.publish()
    life.user.git("pull", cwd=life.clone).ok()
    assert refs_of(life.clone)[b"refs/remotes/origin/main"] == last
    sent, uploads = traffic(caplog)
    assert 80_000 < sent < 110_000
    assert uploads == 0
    fsck(life.clone)


def test_prune_rewind_and_rename(life: Life) -> None:
    life.commit("refs/heads/doomed", "d", b"d\n")
    life.publish()
    life.user.git("fetch", cwd=life.clone).ok()
    assert b"refs/remotes/origin/doomed" in refs_of(life.clone)
    gitcmd.git(life.git_dir, "update-ref", "-d", "refs/heads/doomed")
    gitcmd.git(life.git_dir, "update-ref", "refs/heads/main", "refs/heads/main~3")
    nested = life.commit("refs/heads/doomed/deeper", "e", b"e\n")
    life.publish()
    done = life.user.git("fetch", "--prune", cwd=life.clone).ok()
    assert "forced update" in done.err
    refs = refs_of(life.clone)
    assert b"refs/remotes/origin/doomed" not in refs
    assert refs[b"refs/remotes/origin/doomed/deeper"] == nested
    assert refs[b"refs/remotes/origin/main"] == refs_of(life.git_dir)[b"refs/heads/main"]


def test_local_work_does_not_disturb(life: Life) -> None:
    """Own commits, a repack and a second remote: fetching goes on as before."""
    user, clone = life.user, life.clone
    user.git("reset", "--hard", "-q", cwd=clone).ok()
    user.git("commit", "--allow-empty", "-m", "mine", cwd=clone).ok()
    user.git("gc", "--quiet", "--prune=now", cwd=clone).ok()
    user.git("remote", "add", "again", url_of(life.served), cwd=clone).ok()
    life.commit("refs/heads/main", "theirs", b"theirs\n")
    life.publish()
    user.git("fetch", "--all", cwd=clone).ok()
    refs = refs_of(clone)
    assert refs[b"refs/remotes/again/main"] == refs[b"refs/remotes/origin/main"]
    user.git("-c", "pull.rebase=false", "pull", "--no-edit", cwd=clone).ok()
    assert (clone / "theirs").exists()
    fsck(clone)


def test_fetch_of_one_ref_and_of_a_url(life: Life) -> None:
    commit = life.commit("refs/heads/lone", "lone", b"lone\n")
    life.commit("refs/heads/other", "other", b"other\n")
    life.publish()
    user, clone = life.user, life.clone
    user.git("fetch", "origin", "refs/heads/lone:refs/heads/here", cwd=clone).ok()
    assert refs_of(clone)[b"refs/heads/here"] == commit
    user.git("fetch", url_of(life.served), "other", cwd=clone).ok()
    fetched = gitcmd.text(clone, "rev-parse", "FETCH_HEAD")
    assert fetched == refs_of(life.git_dir)[b"refs/heads/other"]


def test_fetch_into_a_repository_with_history_of_its_own(
    life: Life, caplog: pytest.LogCaptureFixture
) -> None:
    """A clone made over git:// gets a gittorrent remote: git negotiates, little is moved."""
    user = life.user
    user.git("clone", f"{life.served.git}/project.git", "plain").ok()
    plain = user.root / "plain"
    commit = life.commit("refs/heads/main", "new", b"new\n")
    life.publish()
    user.git("remote", "set-url", "origin", url_of(life.served), cwd=plain).ok()
    caplog.set_level("INFO", "gittorrent.node")
    user.git("fetch", cwd=plain).ok()
    assert refs_of(plain)[b"refs/remotes/origin/main"] == commit
    sent, _ = traffic(caplog)
    assert sent < 100_000


def test_submodule_by_gittorrent_url(
    project_node: Served, project: Carried, tmp_path: Path, owner_key: Signer, person: Person
) -> None:
    """URLs of submodules are git's business: one of ours works when git allows the protocol."""
    work = person.root / "super"
    person.git("init", "-q", "-b", "main", work).ok()
    allow = ("-c", "protocol.gittorrent.allow=always")
    person.git(*allow, "submodule", "add", url_of(project_node), "sub", cwd=work).ok()
    assert (work / "sub" / "src").is_dir()
