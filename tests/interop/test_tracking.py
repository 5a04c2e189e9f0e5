"""Plain git servers that are tracked: one look after the other, by real servers of all kinds."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from gittorrent.repository.carried import Carried, object_format_of
from support import bulk, gitcmd, nodes, web_files
from support.plain_servers import git_daemon, git_over_http, git_over_ssh
from support.programs import GITS, Done, Person, serve, somebody
from support.repositories import Builder

pytestmark = pytest.mark.git_in_turn


@pytest.fixture(params=GITS)
def operator(request: pytest.FixtureRequest, tmp_path: Path) -> Person:
    return somebody(tmp_path / "operator", str(request.param))


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    return bulk.make_small(tmp_path / "upstreams" / "project.git")


def look(operator: Person, url: str | Path, *words: str) -> Done:
    return operator.gittorrent("track", url, "--once", *words)


def looked(operator: Person, url: str | Path, *words: str) -> dict[str, object]:
    found = json.loads(look(operator, url, "--json", *words).ok().out)
    assert isinstance(found, dict)
    return found


def place(operator: Person, name: str = "project") -> Path:
    return operator.node / "repositories" / f"{name}.git"


def without_private(upstream: Path) -> Path:
    """Return a small upstream that has branches and tags alone."""
    made = nodes.make_repository(upstream)
    gitcmd.git(made, "update-ref", "-d", "refs/private/secret")
    return made


def published(operator: Person, name: str = "project") -> dict[bytes, str]:
    """Return what is final of a tracked repository."""
    path = place(operator, name)
    log = Carried(path, object_format_of(path)).log()
    return {bytes(ref): str(oid) for ref, oid in log.refs.items()}


def head(operator: Person) -> bytes:
    path = place(operator)
    return bytes(Carried(path, object_format_of(path)).log().ledger.view().listing.head)


@pytest.mark.parametrize("kind", ["http", "git", "ssh", "path", "file"])
def test_every_kind_of_server_is_followed(
    operator: Person, upstream: Path, tmp_path: Path, kind: str
) -> None:
    with ExitStack() as stack:
        person = operator
        if kind == "http":
            url = f"{stack.enter_context(git_over_http(upstream.parent)).base}/project.git"
        elif kind == "git":
            url = f"{stack.enter_context(git_daemon(upstream.parent))}/project.git"
        elif kind == "ssh":
            there = stack.enter_context(git_over_ssh(tmp_path / "sshd"))
            variables = {"GIT_SSH_COMMAND": str(there.client)}
            person = Person(operator.root, operator.git_program, variables)
            url = there.url(upstream)
        else:
            url = str(upstream) if kind == "path" else f"file://{upstream}"
        assert looked(person, url)["changed"]
        assert published(person) == gitcmd.refs(upstream)
        assert not looked(person, url)["changed"]
        nodes.add_commit(upstream, "refs/heads/main", "more", b"more\n")
        assert looked(person, url)["changed"]
        assert published(person) == gitcmd.refs(upstream)


def test_what_is_tracked_is_cloned_from_a_node(operator: Person, upstream: Path) -> None:
    look(operator, upstream).ok()
    reader = somebody(operator.root.parent / "reader")
    with serve(operator) as node:
        reader.git("clone", "--mirror", node.url(), "copy").ok()
    own = {k: v for k, v in gitcmd.refs(reader.root / "copy").items() if b"gittorrent" not in k}
    assert own == gitcmd.refs(upstream)


def test_a_look_without_news_asks_for_one_list(operator: Person, upstream: Path) -> None:
    with git_over_http(upstream.parent) as server:
        url = f"{server.base}/project.git"
        look(operator, url).ok()
        server.requests.clear()
        look(operator, url).ok()
        services = [
            "/project.git/info/refs?service=git-upload-pack",
            "/project.git/git-upload-pack",
        ]
        assert server.requests == services


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_force_pushes_deletions_and_tags_are_followed(
    operator: Person, tmp_path: Path, object_format: str
) -> None:
    upstream = bulk.make_small(tmp_path / "project.git", object_format)
    look(operator, upstream).ok()
    gitcmd.git(upstream, "update-ref", "-d", "refs/heads/old")
    gitcmd.git(upstream, "update-ref", "refs/heads/main", "refs/heads/main~3")
    gitcmd.git(upstream, "tag", "-a", "-m", "two", "v2", "refs/heads/main")
    assert looked(operator, upstream)["held"] == 0
    assert published(operator) == gitcmd.refs(upstream)


def test_the_default_branch_is_followed(operator: Person, upstream: Path) -> None:
    look(operator, upstream).ok()
    assert head(operator) == b"refs/heads/main"
    gitcmd.git(upstream, "branch", "-m", "main", "trunk")
    gitcmd.git(upstream, "symbolic-ref", "HEAD", "refs/heads/trunk")
    look(operator, upstream).ok()
    assert head(operator) == b"refs/heads/trunk"
    assert published(operator) == gitcmd.refs(upstream)
    # Nothing but HEAD: that is asked for once an hour, or with whatever else is new.
    gitcmd.git(upstream, "symbolic-ref", "HEAD", "refs/heads/topic/one")
    nodes.add_commit(upstream, "refs/heads/trunk", "more", b"more\n")
    look(operator, upstream).ok()
    assert head(operator) == b"refs/heads/topic/one"


def test_a_head_that_leads_nowhere_is_not_followed(operator: Person, upstream: Path) -> None:
    def heads() -> set[str]:
        return {head(operator).decode(), gitcmd.text(place(operator), "symbolic-ref", "HEAD")}

    gitcmd.git(upstream, "branch", "-m", "main", "trunk")
    gitcmd.git(upstream, "symbolic-ref", "HEAD", "refs/heads/gone")
    look(operator, upstream).ok()
    assert heads() == {"refs/heads/trunk"}
    # A copy of the files, as backups and plain web servers have it, has a work tree too.
    operator.git("clone", "-q", place(operator), "copy").ok()
    assert gitcmd.text(operator.root / "copy", "rev-parse", "--abbrev-ref", "HEAD") == "trunk"
    # Nor is the likeliest branch taken again where one was settled on, which is still there.
    nodes.add_commit(upstream, "refs/heads/main", "more", b"more\n")
    look(operator, upstream).ok()
    assert heads() == {"refs/heads/trunk"}
    gitcmd.git(upstream, "branch", "-m", "trunk", "topic/renamed")
    look(operator, upstream).ok()
    assert heads() == {"refs/heads/topic/renamed"}
    gitcmd.git(upstream, "symbolic-ref", "HEAD", "refs/heads/main")
    nodes.add_commit(upstream, "refs/heads/main", "yet more", b"more\n")
    look(operator, upstream).ok()
    assert heads() == {"refs/heads/main"}


def test_a_head_that_was_never_right_is_put_right(operator: Person, upstream: Path) -> None:
    look(operator, upstream).ok()
    gitcmd.git(place(operator), "symbolic-ref", "HEAD", "refs/heads/never")  # as versions before
    gitcmd.git(upstream, "symbolic-ref", "HEAD", "refs/heads/gone")
    nodes.add_commit(upstream, "refs/heads/main", "more", b"more\n")
    look(operator, upstream).ok()
    assert gitcmd.text(place(operator), "symbolic-ref", "HEAD") == "refs/heads/main"
    assert head(operator) == b"refs/heads/main"


BREAKING = {
    "HEAD": b"",
    "packed-refs": bytes(300),
    "refs/heads/main": bytes(41),
    "config": bytes(90),
}


def test_what_a_power_cut_broke_is_written_anew(operator: Person, upstream: Path) -> None:
    for number in range(20):
        gitcmd.git(upstream, "update-ref", f"refs/heads/topic-{number}", "refs/heads/main~1")
    look(operator, upstream).ok()
    held = published(operator)
    path = place(operator)
    for ref in held:  # more than may go at once: it is held back
        if ref != b"refs/heads/main":
            gitcmd.git(upstream, "update-ref", "-d", ref.decode())
    was_held = looked(operator, upstream)["held"]
    assert was_held == len(held) - 1
    for name, content in BREAKING.items():
        gitcmd.git(path, "pack-refs", "--all")
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
        made = nodes.add_commit(upstream, "refs/heads/main", f"after {len(name)}", b"more\n")
        assert looked(operator, upstream)["held"] == was_held, name
        after = gitcmd.refs(path)
        assert after[b"refs/heads/main"] == made, name
        assert published(operator) == {**held, b"refs/heads/main": made}, name
        assert gitcmd.text(path, "symbolic-ref", "HEAD") == "refs/heads/main", name
    operator.gittorrent("verify", "project").ok()


def test_other_refs_are_followed_on_request(operator: Person, upstream: Path) -> None:
    for name in ("refs/pull/1/head", "refs/pull/1/merge", "refs/pull/2/head", "refs/notes/x"):
        gitcmd.git(upstream, "update-ref", name, "refs/heads/main~1")
    look(operator, upstream).ok()
    assert not any(name.startswith(b"refs/pull/") for name in published(operator))
    look(operator, upstream, "--refs", "refs/pull/*/head", "--refs", "^refs/heads/topic/*").ok()
    refs = set(published(operator))
    assert {b"refs/pull/1/head", b"refs/pull/2/head"} <= refs
    assert not refs & {b"refs/pull/1/merge", b"refs/notes/x", b"refs/heads/topic/one"}
    gitcmd.git(upstream, "update-ref", "-d", "refs/pull/1/head")
    look(operator, upstream).ok()
    assert b"refs/pull/1/head" not in published(operator)
    look(operator, upstream, "--refs", "^refs/heads/old").ok()
    refs = set(published(operator))
    assert b"refs/heads/topic/one" in refs
    assert not refs & {b"refs/pull/2/head", b"refs/heads/old"}


def test_what_disappears_suddenly_is_held_back(operator: Person, upstream: Path) -> None:
    names = [f"refs/heads/many/{number}" for number in range(20)]
    for name in names:
        gitcmd.git(upstream, "update-ref", name, "refs/heads/main")
    look(operator, upstream).ok()
    for name in names:
        gitcmd.git(upstream, "update-ref", "-d", name)
    nodes.add_commit(upstream, "refs/heads/main", "more", b"more\n")
    assert looked(operator, upstream)["held"] == 20
    refs = published(operator)
    assert refs[b"refs/heads/main"] == gitcmd.refs(upstream)[b"refs/heads/main"]
    assert all(name.encode() in refs for name in names)
    assert looked(operator, upstream)["held"] == 20
    operator.gittorrent("confirm", "project").ok()
    assert looked(operator, upstream)["held"] == 0
    assert published(operator) == gitcmd.refs(upstream)


def test_refs_that_came_a_moment_before_hide_no_disappearance(
    operator: Person, upstream: Path
) -> None:
    names = [f"refs/heads/many/{number}" for number in range(20)]
    for name in names:
        gitcmd.git(upstream, "update-ref", name, "refs/heads/main")
    look(operator, upstream).ok()
    for number in range(60):
        gitcmd.git(upstream, "update-ref", f"refs/heads/junk/{number}", "refs/heads/main")
    look(operator, upstream).ok()
    for name in names:
        gitcmd.git(upstream, "update-ref", "-d", name)
    assert looked(operator, upstream)["held"] == 20
    assert set(map(str.encode, names)) <= published(operator).keys()


def test_what_is_held_back_is_confirmed_for_one_repository_alone(
    operator: Person, tmp_path: Path
) -> None:
    """One upstream, tracked under two names."""
    upstream = without_private(tmp_path / "upstreams" / "project.git")
    tip = gitcmd.text(upstream, "rev-parse", "refs/heads/main").strip()
    names = [f"refs/heads/b{number}" for number in range(20)]
    for name in names:
        gitcmd.git(upstream, "update-ref", name, tip)
    ours, other = ("--name", "project"), ("--name", "other")
    for which in (ours, other):
        look(operator, upstream, *which).ok()
    for name in names:
        gitcmd.git(upstream, "update-ref", "-d", name)
    assert [looked(operator, upstream, *which)["held"] for which in (ours, other)] == [20, 20]
    operator.gittorrent("confirm", "--refuse", "other").ok()
    operator.gittorrent("confirm", "project").ok()
    assert [looked(operator, upstream, *which)["held"] for which in (other, ours)] == [20, 0]
    assert set(map(str.encode, names)) <= published(operator, "other").keys()
    operator.gittorrent("remove", "project", "--yes").ok()
    (held,) = json.loads(operator.gittorrent("confirm", "--json").ok().out)
    assert (held["title"], held["decision"]) == ("other", "refused")


def test_another_history_is_held_back_however_small(operator: Person, tmp_path: Path) -> None:
    upstream = without_private(tmp_path / "project.git")
    look(operator, upstream).ok()
    before = published(operator)
    made = Builder(upstream, "sha1")
    made.commit("refs/heads/other", [], {b"file": b"nothing in common\n"})
    made.flush()
    gitcmd.git(upstream, "update-ref", "refs/heads/main", "refs/heads/other")
    gitcmd.git(upstream, "update-ref", "-d", "refs/heads/other")
    done = look(operator, upstream).ok()
    assert "1 ref held back" in done.err
    assert published(operator) == before
    operator.gittorrent("confirm", "project").ok()
    look(operator, upstream).ok()
    assert published(operator) == gitcmd.refs(upstream)


def test_a_shallow_upstream_is_refused_and_a_whole_one_taken(
    operator: Person, upstream: Path, tmp_path: Path
) -> None:
    shallow = tmp_path / "shallow" / "project.git"
    gitcmd.git(tmp_path, "clone", "-q", "--bare", "--depth=2", f"file://{upstream}", shallow)
    look(operator, shallow).failed(3, "cannot track")
    assert not json.loads(operator.gittorrent("status", "--json").ok().out)["repositories"]
    look(operator, upstream).ok()
    assert published(operator) == gitcmd.refs(upstream)


def test_submodules_are_left_alone(operator: Person, upstream: Path) -> None:
    operator.git("config", "--global", "fetch.recurseSubmodules", "true").ok()
    operator.git("config", "--global", "submodule.recurse", "true").ok()
    look(operator, upstream).ok()
    assert published(operator) == gitcmd.refs(upstream)


def test_redirects_are_named_and_not_followed(operator: Person, upstream: Path) -> None:
    with git_over_http(upstream.parent) as server:
        server.moved["/old/name.git"] = f"{server.base}/project.git"
        old = f"{server.base}/old/name.git"
        look(operator, old).failed(3, f"redirects to {server.base}/project.git", "--name")
        # What the server says is no command to be copied as it is.
        server.moved["/old/other.git"] = f"{server.base}/a.git;reboot"
        look(operator, f"{server.base}/old/other.git").failed(
            3, f"gittorrent track '{server.base}/a.git;reboot'"
        )
        look(operator, f"{server.base}/project.git", "--name", "name").ok()
        assert published(operator, "name") == gitcmd.refs(upstream)


def test_an_upstream_that_moved_is_followed_under_its_name(
    operator: Person, upstream: Path, tmp_path: Path
) -> None:
    first = looked(operator, upstream)
    moved = tmp_path / "elsewhere.git"
    upstream.rename(moved)
    look(operator, upstream).failed(3, "cannot track")
    nodes.add_commit(moved, "refs/heads/main", "more", b"more\n")
    there = looked(operator, moved, "--name", "project")
    assert there["repository_id"] == first["repository_id"]
    assert published(operator) == gitcmd.refs(moved)


def test_credentials_come_from_gits_helpers_and_nobody_is_asked(
    operator: Person, upstream: Path, tmp_path: Path
) -> None:
    asked = tmp_path / "asked"
    program = tmp_path / "ask"
    program.write_text(f"#!/bin/sh\ntouch {asked}\necho x\n")
    program.chmod(0o755)
    variables = {"GIT_ASKPASS": str(program), "SSH_ASKPASS": str(program)}
    person = Person(operator.root, operator.git_program, variables)
    with git_over_http(upstream.parent) as server:
        server.password = "secret words"
        url = f"{server.base}/project.git"
        look(person, url).failed(3, "cannot track", "git help credentials")
        look(person, url.replace("://", "://me:x@")).failed(2, "with a password")
        helper = "!f() { echo username=me; echo 'password=secret words'; }; f"
        person.git("config", "--global", "credential.helper", helper).ok()
        look(person, url).ok()
    assert not asked.exists()
    assert published(person) == gitcmd.refs(upstream)


def test_urls_that_git_rewrites_are_refused(operator: Person, upstream: Path) -> None:
    """Where clones of this machine are led to its own node, it would track itself."""
    operator.git("config", "--global", "url.http://localhost/.insteadOf", "https://h/").ok()
    look(operator, "https://h/project.git").failed(2, "leads https://h/project.git to http://local")


def test_jobs_that_are_led_to_a_node_change_nothing(operator: Person, upstream: Path) -> None:
    with git_over_http(upstream.parent) as server:
        operator.gittorrent("ci", "setup", "--for", server.base).ok()
        look(operator, f"{server.base}/project.git").ok()
        assert published(operator)
        assert not any("gittorrent" in each for each in server.requests)


def test_objects_that_break_rules_are_refused_unless_histories_have_them(
    operator: Person, tmp_path: Path
) -> None:
    upstream = without_private(tmp_path / "project.git")
    made = Builder(upstream, "sha1")
    tree = gitcmd.text(upstream, "rev-parse", "refs/heads/main^{tree}")
    old = f"tree {tree}\nauthor A <a@b> 1 +051800\ncommitter A <a@b> 1 +051800\n\nold\n"
    made.set_ref("refs/heads/old", made.write("commit", old.encode()))
    look(operator, upstream).ok()
    assert published(operator) == gitcmd.refs(upstream)
    blob = bytes.fromhex(gitcmd.text(upstream, "rev-parse", "refs/heads/main:large"))
    evil = made.write("tree", b"100644 .git\0" + blob)
    text = f"tree {evil}\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nevil\n"
    made.set_ref("refs/heads/evil", made.write("commit", text.encode()))
    look(operator, upstream).failed(5, "hasDotgit")
    assert b"refs/heads/evil" not in published(operator)


@pytest.mark.parametrize("packed", [False, True])
def test_a_web_server_that_has_files_and_no_git_is_held_to_the_same(
    operator: Person, tmp_path: Path, packed: bool
) -> None:
    """Its objects come one by one, or as whole packs, and git itself holds them to no rules."""
    upstream = without_private(tmp_path / "web" / "project.git")
    made = Builder(upstream, "sha1")

    def offer() -> None:
        if packed:
            gitcmd.git(upstream, "repack", "-q", "-a", "-d")
        gitcmd.git(upstream, "update-server-info")

    offer()
    with web_files.serving(upstream.parent) as base:
        url = f"{base}/project.git"
        look(operator, url).ok()
        assert published(operator) == gitcmd.refs(upstream)
        gitcmd.git(place(operator), "fsck", "--connectivity-only")
        nodes.add_commit(upstream, "refs/heads/main", "more", b"more\n")
        offer()
        look(operator, url).ok()
        assert published(operator) == gitcmd.refs(upstream)
        before = gitcmd.git(place(operator), "cat-file", "--batch-all-objects", "--batch-check")
        blob = bytes.fromhex(gitcmd.text(upstream, "rev-parse", "refs/heads/main:more"))
        evil = made.write("tree", b"100644 .git\0" + blob)
        text = f"tree {evil}\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nevil\n"
        made.set_ref("refs/heads/evil", made.write("commit", text.encode()))
        offer()
        look(operator, url).failed(5, "hasDotgit", f"from {url}")
    assert b"refs/heads/evil" not in published(operator)
    after = gitcmd.git(place(operator), "cat-file", "--batch-all-objects", "--batch-check")
    assert after == before


def test_what_cannot_be_tracked_is_said(operator: Person, tmp_path: Path) -> None:
    gitcmd.init(tmp_path / "empty.git")
    look(operator, tmp_path / "empty.git").failed(3, "no branch and no tag")
    nothing = operator.gittorrent("track", tmp_path / "nothing")
    nothing.failed(3, "cannot track", "git ls-remote")
    assert "looks for news" not in nothing.err
    operator.gittorrent("track", "git://127.0.0.1:1/p.git").failed(3, "Connection refused")
    look(operator, "gittorrent://h/p.git").failed(2, "published already", "mirror")
    look(operator, "ext::sh -c true").failed(2, "no URL of a plain git server")
    look(operator, "https://h/p.git", "--refs", "refs/gittorrent/*").failed(2, "reserved")
    operator.gittorrent("track", "https://h/p.git", "--lfs").failed(2, "LFS")
    assert not json.loads(operator.gittorrent("status", "--json").ok().out)["tracks"]


def test_a_name_that_is_taken_is_refused(operator: Person, upstream: Path, tmp_path: Path) -> None:
    own = nodes.make_repository(tmp_path / "own.git")
    operator.gittorrent("publish", own, "--new-key", "--name", "project").ok()
    look(operator, upstream).failed(2, "project")
    look(operator, upstream, "--name", "theirs").ok()
    other = bulk.make_small(tmp_path / "other" / "theirs.git")
    look(operator, other).failed(2, "theirs tracks")


def test_remove_and_track_again_go_on_with_the_same_repository(
    operator: Person, upstream: Path
) -> None:
    first = looked(operator, upstream)
    operator.gittorrent("remove", "project", "--yes").ok()
    assert not json.loads(operator.gittorrent("status", "--json").ok().out)["tracks"]
    nodes.add_commit(upstream, "refs/heads/main", "more", b"more\n")
    again = looked(operator, upstream)
    assert again["repository_id"] == first["repository_id"]
    assert published(operator) == gitcmd.refs(upstream)


def test_the_database_can_be_lost(operator: Person, upstream: Path) -> None:
    first = looked(operator, upstream)
    for file in operator.node.glob("node.sqlite*"):
        file.unlink()
    nodes.add_commit(upstream, "refs/heads/main", "more", b"more\n")
    assert looked(operator, upstream)["repository_id"] == first["repository_id"]
    assert published(operator) == gitcmd.refs(upstream)


def test_what_is_gone_is_not_published_anew(
    operator: Person, upstream: Path, tmp_path: Path
) -> None:
    """As where a backup was restored: it has what was tracked, and no logs."""
    first = looked(operator, upstream)
    mirror = somebody(tmp_path / "mirror")
    with serve(operator) as node:
        mirror.gittorrent("mirror", node.url(), "--once").ok()
    place(operator).rename(tmp_path / "gone.git")
    nodes.add_commit(upstream, "refs/heads/main", "more", b"more\n")
    look(operator, upstream).failed(2, "is gone", "adopt")
    with serve(mirror) as node:
        key = operator.node / "keys" / "track"
        operator.gittorrent("adopt", node.url(), "--key", key).ok()
    assert looked(operator, upstream)["repository_id"] == first["repository_id"]
    assert published(operator) == gitcmd.refs(upstream)
