"""What ``gittorrent publish`` says and refuses, as owners meet it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gittorrent.ids import Oid, RefName
from gittorrent.push.certificate import Line
from gittorrent.repository.signed_entries import Author, EntrySigner
from gittorrent.signing.keys import make_ssh_key, resolve_signer
from gittorrent.store.snapshot import read_snapshots
from gittorrent.trust.policy import Grant, Rule
from gittorrent.trust.refpattern import RefPattern
from support import gitcmd, nodes, packings
from support.programs import Person, serve, somebody, wait_until
from support.publishing import carried, push_elsewhere


@pytest.fixture
def owner(tmp_path: Path) -> Person:
    return somebody(tmp_path / "owner")


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return nodes.make_repository(tmp_path / "project.git")


def test_publish_and_log_say_what_became_of_refs(owner: Person, origin: Path) -> None:
    done = owner.gittorrent("publish", origin, "--new-key").ok()
    assert "published project: 3 refs created, " in done.out
    assert "  created  refs/heads/main\n" in done.out
    old = gitcmd.text(origin, "rev-parse", "main")
    gitcmd.git(origin, "update-ref", "refs/heads/main", "main~1")
    gitcmd.git(origin, "update-ref", "-d", "refs/tags/v1")
    nodes.add_commit(origin, "refs/heads/topic", "more", b"more\n")
    done = owner.gittorrent("publish", origin).ok()
    assert "published project: 1 ref rewound, 1 deleted, 1 moved, " in done.out
    new = gitcmd.text(origin, "rev-parse", "main")
    assert f"  rewound  refs/heads/main  {old[:10]}...{new[:10]}\n" in done.out
    assert "  deleted  refs/tags/v1  was " in done.out
    shown = owner.gittorrent("log", origin).ok().out
    assert f"  {old[:10]} -> {new[:10]} refs/heads/main (rewound)\n" in shown
    assert shown.count("(rewound)") == 1
    entries = json.loads(owner.gittorrent("log", origin, "--json").ok().out)
    changes = next(entry["changes"] for entry in entries if entry["changes"])
    assert [(each["ref"], each["change"]) for each in changes] == [
        ("refs/heads/main", "rewound"),
        ("refs/heads/topic", "moved"),
        ("refs/tags/v1", "deleted"),
    ]
    nodes.add_commit(origin, "refs/heads/main", "again", b"again\n")
    done = owner.gittorrent("publish", origin, "--json").ok()
    (change,) = json.loads(done.out)["changes"]
    assert (change["ref"], change["change"], change["old"]) == ("refs/heads/main", "moved", new)


@pytest.mark.parametrize("is_named", [False, True])
def test_files_of_git_lfs_are_warned_of_once(owner: Person, is_named: bool) -> None:
    """Nobody carries them, and git-lfs would look for them at the remote's URL."""
    work = owner.root / "work"
    owner.git("init", "-q", work).ok()
    (work / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    if is_named:
        (work / ".lfsconfig").write_text("[lfs]\n\turl = https://lfs.example.org/x\n")
    for number in range(2):
        (work / "file").write_text(f"{number}\n")
        owner.git("-C", work, "add", ".").ok()
        owner.git("-C", work, "commit", "-q", "-m", "files").ok()
        done = owner.gittorrent("publish", work, "--new-key").ok()
        assert ("Git LFS" in done.err) is (number == 0 and not is_named)


def test_refs_that_changed_elsewhere_too_are_named(owner: Person, origin: Path) -> None:
    owner.gittorrent("publish", origin, "--new-key", "--wait").ok()
    signer = resolve_signer(str(owner.node / "keys" / "publish"), {})
    main, topic = RefName(b"refs/heads/main"), RefName(b"refs/heads/topic")
    old = Oid(gitcmd.text(origin, "rev-parse", "main"))
    gitcmd.git(origin, "branch", "scratch", "main")
    theirs = Oid(nodes.add_commit(origin, "refs/heads/scratch", "theirs", b"theirs\n"))
    gitcmd.git(origin, "update-ref", "-d", "refs/heads/scratch")
    topic_old = Oid(gitcmd.text(origin, "rev-parse", "topic"))
    lines = [Line(old, theirs, main), Line(topic_old, None, topic)]
    push_elsewhere(origin, lines, signer, keeper=signer)
    ours = nodes.add_commit(origin, "refs/heads/main", "ours", b"ours\n")
    gitcmd.git(origin, "branch", "new", "main")
    done = owner.gittorrent("publish", origin).failed(1, "not published:")
    assert "took over from elsewhere: 1 ref deleted\n  deleted  refs/heads/topic" in done.out
    assert "published project: 1 ref created, " in done.out
    both = f"refs/heads/main was changed both here and elsewhere: {ours[:10]} here, {theirs[:10]}"
    assert both in done.err
    kept = "refs/gittorrent/elsewhere/heads/main"
    assert f"merge {kept} of {origin} into it, push that, and publish again" in done.err
    failed = owner.gittorrent("publish", origin, "--json").failed(1)
    (parted,) = json.loads(failed.out)["parted"]
    assert parted == {
        "ref": "refs/heads/main", "here": ours, "elsewhere": theirs, "why": "both_moved",
    }  # fmt: skip
    # As the guide says.
    work = owner.root / "work"
    owner.git("clone", "-q", origin, work).ok()
    owner.git("fetch", "-q", "origin", kept, cwd=work).ok()
    owner.git("merge", "-q", "-m", "both", "-X", "ours", "FETCH_HEAD", cwd=work).ok()
    owner.git("push", "-q", "origin", "main", cwd=work).ok()
    done = owner.gittorrent("publish", origin).ok()
    assert "published project: 1 ref moved, " in done.out


def test_a_branch_that_is_checked_out_is_merged_where_that_is(owner: Person, origin: Path) -> None:
    owner.gittorrent("publish", origin, "--new-key", "--wait").ok()
    signer = resolve_signer(str(owner.node / "keys" / "publish"), {})
    place, main = owner.root / "place", RefName(b"refs/heads/main")
    owner.git("worktree", "add", "-q", place, "main", cwd=origin).ok()
    old = Oid(gitcmd.text(origin, "rev-parse", "main"))
    theirs = Oid(gitcmd.text(origin, "commit-tree", "-p", old, "-m", "theirs", f"{old}^{{tree}}"))
    push_elsewhere(origin, [Line(old, theirs, main)], signer, keeper=signer)
    said = owner.gittorrent("publish", place).ok().err
    way = re.search(r"main was changed elsewhere, and is checked out .*'git (merge \S+)'", said)
    assert way, said
    assert gitcmd.text(origin, "rev-parse", "main") == old
    assert owner.git("status", "--porcelain", cwd=place).ok().out == ""
    owner.git(*way[1].split(), cwd=place).ok()
    assert "checked out" not in owner.gittorrent("publish", place).ok().err
    assert gitcmd.text(origin, "rev-parse", "main") == theirs


def test_another_key_than_the_keepers_publishes_provisionally(owner: Person, origin: Path) -> None:
    owner.gittorrent("publish", origin, "--new-key", "--wait").ok()
    keeper = resolve_signer(str(owner.node / "keys" / "publish"), {})
    contributor = make_ssh_key(owner.root / "contributor", "contributor")
    this = carried(origin)
    with this.writing():
        log, _ = this.take_log()
        entries = EntrySigner(this, log, keeper, Author(b"O <o@example.org>"))
        former = log.policy.policy
        rule = Rule(RefPattern(b"refs/heads/*"), contributor.key, Grant.PLAIN)
        assert log.head is not None
        entries.policy(former.next_version(log.head, rules=(*former.rules, rule)))
        entries.checkpoint()
        this.commit(log)
    nodes.add_commit(origin, "refs/heads/main", "more", b"more\n")
    done = owner.gittorrent("publish", origin, "--key", owner.root / "contributor").ok()
    assert "published project: 1 ref moved, 0 bytes of reels" in done.out
    assert f"This is provisional until the keeper signs it: {keeper.key}" in done.err
    assert not json.loads(owner.gittorrent("publish", origin, "--json").ok().out)["is_final"]
    gitcmd.git(origin, "tag", "mine", "main")
    refused = owner.gittorrent("publish", origin).failed(5, "cannot publish refs/tags/mine")
    assert "the policy does not let this key do that" in refused.err
    gitcmd.git(origin, "tag", "-d", "mine")
    key = owner.node / "keys" / "publish"
    said = json.loads(owner.gittorrent("publish", origin, "--key", key, "--json").ok().out)
    assert (said["is_final"], len(said["reels"])) == (True, 1)


def test_a_log_is_shown_where_objects_are_lost(owner: Person, origin: Path) -> None:
    owner.gittorrent("publish", origin, "--new-key", "--wait").ok()
    lost = nodes.add_commit(origin, "refs/heads/main", "lost", b"lost\n")
    nodes.add_commit(origin, "refs/heads/main", "more", b"more\n")
    owner.gittorrent("publish", origin).ok()
    packings.loose(origin)
    (origin / "objects" / lost[:2] / lost[2:]).unlink()
    done = owner.gittorrent("log", origin).ok()
    assert "refs/heads/main" in done.out
    assert "rewound" not in done.out
    assert "cannot tell which pushes rewound refs" in done.err


@pytest.mark.parametrize("kind", ["tag", "tree", "blob"])
def test_a_missing_object_is_named_with_the_refs_that_need_it(
    owner: Person, origin: Path, tmp_path: Path, kind: str
) -> None:
    """And the way out leads out."""
    gitcmd.git(origin, "tag", "-a", "-m", "first", "needed", "main")
    tree = gitcmd.text(origin, "rev-parse", "main^{tree}")
    listed = gitcmd.text(origin, "ls-tree", "-r", "main").splitlines()
    lost = {
        "tag": gitcmd.text(origin, "rev-parse", "needed"),
        "tree": tree,
        "blob": listed[0].split()[2],
    }[kind]
    owner.gittorrent("publish", origin, "--new-key", "--wait").ok()
    nodes.add_commit(origin, "refs/heads/main", "more", b"more\n")
    owner.git("clone", "-q", "--mirror", "--no-local", origin, tmp_path / "clone").ok()
    packings.loose(origin)
    (origin / "objects" / lost[:2] / lost[2:]).unlink()
    done = owner.gittorrent("publish", origin)
    needed_by = "refs/tags/needed" if kind == "tag" else "the history of its refs"
    done.failed(7, f"{origin} is damaged: object {lost} is missing, which {needed_by} needs")
    command = re.findall(r"'git (-C [^']+ fetch --refetch CLONE) (\S+)'", done.err)
    ((words, named),) = command
    assert named == ("refs/tags/needed" if kind == "tag" else "BRANCH")
    words = words.replace("CLONE", str(tmp_path / "clone"))
    owner.git(*words.split(), named.replace("BRANCH", "main")).ok()
    owner.gittorrent("publish", origin).ok()


def test_the_url_is_the_running_nodes(owner: Person, origin: Path) -> None:
    said = json.loads(owner.gittorrent("publish", origin, "--new-key", "--json").ok().out)
    repository = said["repository_id"]
    assert said["urls"] == [f"gittorrent://{repository}@localhost/project.git"]
    assert not said["is_served"]
    with serve(owner) as daemon:
        wait_until(lambda: bool(read_snapshots(owner.node / "run")), "the node says where it is")
        said = json.loads(owner.gittorrent("publish", origin, "--json").ok().out)
        web = f"gittorrent::{daemon.http.replace('://', f'://{repository}@')}/project.git"
        assert said["urls"] == [daemon.url("project", repository), web]
        assert (said["url"], said["is_served"]) == (said["urls"][0], True)
        for url in said["urls"]:
            owner.git("ls-remote", url, "HEAD").ok()
        # A repository that is published while it runs is served too.
        second = nodes.make_repository(owner.root / "second.git")
        done = owner.gittorrent("publish", second, "--new-repository").ok()
        (url,) = (line for line in done.out.splitlines() if line.startswith("gittorrent://"))
        assert url.endswith(f"{daemon.git.removeprefix('git://')}/second.git")
        assert "listens for this machine only" in done.err
        # A node looks for new repositories once a second at most.
        wait_until(lambda: owner.git("ls-remote", url, "HEAD").status == 0, "it is served")


def test_a_node_that_serves_something_else_is_not_named(owner: Person, origin: Path) -> None:
    other = nodes.make_repository(owner.root / "other.git")
    owner.gittorrent("publish", other, "--new-key").ok()
    with serve(owner, other):
        wait_until(lambda: bool(read_snapshots(owner.node / "run")), "the node says where it is")
        said = json.loads(
            owner.gittorrent("publish", origin, "--new-repository", "--json").ok().out
        )
    assert not said["is_served"]


def test_what_the_operator_calls_the_node_comes_first(owner: Person, origin: Path) -> None:
    owner.gittorrent("publish", origin, "--new-key").ok()
    with serve(owner, "--url", "https://mirror.example.org/git"):
        wait_until(lambda: bool(read_snapshots(owner.node / "run")), "the node says where it is")
        said = json.loads(owner.gittorrent("publish", origin, "--json").ok().out)
    pinned = f"{said['repository_id']}@mirror.example.org/git/project.git"
    assert said["urls"] == [f"gittorrent::https://{pinned}"]


def test_a_single_root_is_warned_of_at_policies_and_not_at_each_push(
    owner: Person, origin: Path
) -> None:
    warning = "warning: one root decides everything"
    done = owner.gittorrent("publish", origin, "--new-key", "--install-hook").ok()
    assert done.err.count(warning) == 1
    nodes.add_commit(origin, "refs/heads/main", "more", b"more\n")
    assert warning not in owner.gittorrent("publish", origin).ok().err
    clone = origin.parent / "clone"
    owner.git("clone", "-q", origin, clone)
    owner.git("-C", clone, "commit", "-q", "--allow-empty", "-m", "pushed")
    pushed = owner.git("-C", clone, "push", "origin", "HEAD").ok()
    assert "published project: 1 ref moved" in pushed.err
    assert warning not in pushed.err
    renamed = owner.gittorrent("publish", origin, "--name", "other").ok()
    assert renamed.err.count(warning) == 1
    assert owner.gittorrent("policy", "show", origin).ok().err.count(warning) == 1
    said = json.loads(owner.gittorrent("publish", origin, "--json").ok().out)
    assert said["warnings"] == []


def test_publish_says_whose_pushes_are_provisional(owner: Person, origin: Path) -> None:
    owner.gittorrent("publish", origin, "--new-key", "--wait").ok()
    keeper = origin.parent / "keeper"
    make_ssh_key(keeper, "keeper")
    owner.gittorrent("keeper", "here", origin, "--key", keeper).ok()
    nodes.add_commit(origin, "refs/heads/main", "more", b"more\n")
    assert "This is provisional until the keeper signs it: ssh:" in (
        owner.gittorrent("publish", origin).ok().err
    )
    done = owner.gittorrent("publish", origin).ok()
    assert "nothing new to publish" in done.out
    assert "This is" not in done.err
    assert "1 push is provisional until the keeper signs it: ssh:" in done.err


def test_what_another_clone_began_to_publish_is_not_published_with_this(
    owner: Person, tmp_path: Path
) -> None:
    """Both directories are called the same; the first one's publication was killed half-way."""
    for place, branch in (("secret", "plans"), ("open", "main")):
        origin = nodes.make_repository(tmp_path / f"{place}.git")
        gitcmd.git(origin, "branch", "plans", "main")
        words = ("clone", "-q", "--single-branch", "-b", branch, origin, owner.root / place / "app")
        owner.git(*words).ok()
    secret, shown = owner.root / "secret" / "app", owner.root / "open" / "app"
    begun = owner.node / "repositories" / "app.git"
    owner.git("clone", "-q", "--bare", secret, begun).ok()
    owner.git("-C", secret, "config", "gittorrent.copy", begun).ok()
    done = owner.gittorrent("publish", shown, "--new-key").failed(2)
    assert "holds what another repository of the name app has" in done.err
    owner.gittorrent("publish", shown, "--new-key", "--name", "open").ok()
    assert "refs/heads/plans" not in owner.gittorrent("log", shown).ok().out
    assert "refs/heads/plans" in owner.gittorrent("publish", secret).ok().out
