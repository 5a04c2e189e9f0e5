"""The command line as users and scripts meet it: real processes, pipes, exit codes, JSON."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gittorrent.cli.main import COMMANDS
from gittorrent.ids import format_of, is_repository_id, is_sha256
from support import bulk, gitcmd, nodes
from support.programs import Done, Person, serve, somebody, wait_until

SHOWN = [name for name in COMMANDS if name != "tidy"]


@pytest.fixture
def owner(tmp_path: Path) -> Person:
    return somebody(tmp_path / "owner")


@pytest.fixture
def people(tmp_path: Path) -> Callable[[str], Person]:
    return lambda name: somebody(tmp_path / name)


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return bulk.make_small(tmp_path / "project.git")


SLOW = {"aiohttp", "libtorrent", "zeroconf", "gittorrent.node.node"}
"""Slow to import: a command that every push by ssh starts, or that says a line, has no use for
them."""


def publish(owner: Person, path: Path, *options: str) -> dict[str, str]:
    done = owner.gittorrent("publish", path, "--new-key", "--wait", "--json", *options).ok()
    assert done.err == ""
    found = json.loads(done.out)
    assert isinstance(found, dict)
    return found


# --- help ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHOWN)
def test_help_has_an_example_and_imports_no_other_command(owner: Person, name: str) -> None:
    code = (
        "import sys, runpy\n"
        f"sys.argv = ['gittorrent', '{name}', '--help']\n"
        "try:\n    runpy.run_module('gittorrent', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "print('', *sys.modules, sep='\\f\\n')\n"
    )
    done = owner.run(sys.executable, "-c", code).ok()
    assert done.err == ""
    out, _, listed = done.out.partition("\f")
    listed = listed.replace("\f", "")
    sub = re.findall(r"^  (\w+) {2,}\w", out.partition("Commands:")[2], re.MULTILINE)
    if sub:
        done = owner.gittorrent(name, sub[0], "--help").ok()
        assert done.err == ""
        out = done.out
    assert re.search(rf"Examples?:\n\s+(gittorrent {name}|git )", out), out
    loaded = set(re.findall(r"^gittorrent\.cli\.(\w+)$", listed, re.MULTILINE))
    modules = {module for module, _, _ in COMMANDS.values()}
    assert loaded & modules <= {COMMANDS[name][0]}
    if name != "serve":
        assert not SLOW & set(listed.split())


def test_top_level_help_names_everything(owner: Person) -> None:
    for words in (["--help"], ["-h"]):
        out = owner.gittorrent(*words).ok().out
        assert all(re.search(rf"^  {name} +\w", out, re.MULTILINE) for name in SHOWN)
        assert "Exit codes" in out
    assert re.match(r"gittorrent, version \d", owner.gittorrent("--version").ok().out)
    owner.run("git", "torrent", "--version").ok()


def test_bad_usage(owner: Person) -> None:
    owner.gittorrent("nonsense").failed(2, "No such command")
    for words in (["publish"], ["policy", "add"], []):
        shown = owner.gittorrent("help", *words).ok().out
        assert shown == owner.gittorrent(*words, "--help").ok().out
    owner.gittorrent("help", "nonsense").failed(2, "No such command 'nonsense'")
    owner.gittorrent("pubilsh").failed(2, "No such command 'pubilsh'", "Did you mean 'publish'?")
    owner.gittorrent("publish", "--nonsense").failed(2, "No such option")
    owner.gittorrent("clone").failed(2, "Missing argument")
    owner.run("git-remote-gittorrent").failed(2, "git runs this")


# --- output --------------------------------------------------------------------------------------


def test_json_of_every_command_that_reports(owner: Person, origin: Path) -> None:
    said = publish(owner, origin)
    repository, push = said["repository_id"], said["push_id"]
    assert is_repository_id(repository)
    assert format_of(push) is not None
    assert said["url"] == f"gittorrent://{repository}@localhost/project.git"

    (reel,) = json.loads(owner.gittorrent("reel", "show", origin, "--json").ok().out)
    assert (reel["start"], reel["end"]) == (None, push)
    assert reel["pack_size"] == sum_of_parts(reel)
    assert all(is_sha256(part) for part in reel["parts"])
    for key in ("target", "objects", "pack_size", "part_size"):
        assert reel[key] > 0
    assert format_of(reel["pack_checksum"]) is not None
    for segment in reel["segments"]:
        assert set(segment) == {"offset", "objects", "raw_size", "frontier"}
        assert all(format_of(oid) is not None for oid in segment["frontier"])
    assert sum(segment["objects"] for segment in reel["segments"]) == reel["objects"]

    status = json.loads(owner.gittorrent("status", "--json").ok().out)
    (row,) = status["repositories"]
    assert (row["name"], row["repository_id"], row["latest"]) == ("project", repository, push)
    assert (row["role"], row["pushes"], row["reels"]) == ("origin", 1, 1)
    assert row["check"] is None, "an origin follows nobody"

    log = json.loads(owner.gittorrent("log", origin, "--json").ok().out)
    kinds = [entry["kind"] for entry in log]
    assert kinds == ["checkpoint", "certificate", "checkpoint", "policy"]
    assert log[0]["push_id"] == push
    assert {c["ref"] for c in log[1]["changes"]} >= {"refs/heads/main", "refs/tags/v1"}

    verified = json.loads(owner.gittorrent("verify", origin, "--json").ok().out)
    assert verified["ok"] is True
    assert (verified["entries"], verified["reels"], verified["findings"]) == (4, 1, [])

    with serve(owner) as daemon:
        assert daemon.repositories == {"/project.git": repository}
        mirrors = json.loads(owner.gittorrent("mirrors", daemon.url(), "--json").ok().out)
        assert (mirrors["repository_id"], mirrors["latest"]) == (repository, push)
        assert {key["refs"] for key in mirrors["auth"]}


def sum_of_parts(reel: dict[str, int | list[str]]) -> int:
    """Return the pack size that the number of parts allows, or -1."""
    parts, part_size, size = reel["parts"], reel["part_size"], reel["pack_size"]
    assert isinstance(parts, list)
    assert isinstance(size, int)
    assert isinstance(part_size, int)
    return size if (len(parts) - 1) * part_size < size <= len(parts) * part_size else -1


def test_tables_for_people(owner: Person, origin: Path) -> None:
    assert "no repositories yet" in owner.gittorrent("status").ok().out
    done = owner.gittorrent("publish", origin, "--new-key", "--wait").ok()
    assert "published project: 5 refs created" in done.out
    assert "made the signing key" in done.err
    assert re.search(r"^project +origin +1 +1 ", owner.gittorrent("status").ok().out, re.MULTILINE)
    assert "refs/heads/main" in owner.gittorrent("log", origin).ok().out
    assert re.search(r"segments?, \d+ parts?", owner.gittorrent("reel", "show", origin).ok().out)
    assert "all is well" in owner.gittorrent("verify", origin).ok().out
    done = owner.gittorrent("publish", origin).ok()
    assert "nothing new" in done.out
    assert owner.gittorrent("publish", origin, "-q").ok() == Done(
        ("gittorrent", "publish", str(origin), "-q"), 0, "", ""
    )


@pytest.mark.parametrize("words", [["log"], ["log", "--json"], ["reel", "show", "--json"], ["-h"]])
def test_a_reader_that_has_enough_is_no_failure(
    owner: Person, tmp_path: Path, words: list[str]
) -> None:
    repository = nodes.make_repository(tmp_path / "many.git")
    main = gitcmd.text(repository, "rev-parse", "main")
    lines = "".join(f"create refs/heads/many/{n:04} {main}\n" for n in range(3000))
    gitcmd.git(repository, "update-ref", "--stdin", stdin=lines.encode())
    publish(owner, repository)
    script = f"set -o pipefail; gittorrent {' '.join(words)} | head -1"
    if words != ["-h"]:
        script = script.replace(" | ", f" {repository} | ")
    done = owner.run("bash", "-c", script)
    assert done.err == ""
    assert done.out.count("\n") == 1
    assert done.status in (0, 141)


# --- publishing a working clone ------------------------------------------------------------------


@pytest.fixture
def work(owner: Person) -> Path:
    path = owner.root / "tool"
    owner.git("init", "-q", "-b", "main", path).ok()
    commit(owner, path, "first")
    return path


def commit(owner: Person, path: Path, name: str) -> str:
    (path / name).write_text(f"{name}\n")
    owner.git("add", name, cwd=path).ok()
    owner.git("commit", "-q", "-m", name, cwd=path).ok()
    return gitcmd.text(path, "rev-parse", "HEAD")


def test_working_clone_is_published_through_a_copy(owner: Person, work: Path) -> None:
    before = (work / ".git" / "config").read_text()
    done = owner.gittorrent("publish", "--new-key", "--wait", cwd=work).ok()
    copy = owner.node / "repositories" / "tool.git"
    assert str(copy) in done.err
    assert "added the remote 'gittorrent'" in done.err
    assert gitcmd.text(work, "config", "remote.gittorrent.url") == str(copy)
    # Nothing else of the clone's configuration changed.
    after = (work / ".git" / "config").read_text()
    assert after.startswith(before)
    added = {line.strip().partition(" =")[0] for line in after[len(before) :].splitlines()}
    ours = {"[gittorrent]", "copy", "repository"}
    assert added == {*ours, '[remote "gittorrent"]', "url", "fetch"}
    head = commit(owner, work, "second")
    done = owner.gittorrent("publish", "--wait", cwd=work).ok()
    assert "added the remote" not in done.err
    assert gitcmd.refs(copy)[b"refs/heads/main"] == head
    with serve(owner, work) as daemon:
        owner.git("clone", daemon.url("tool"), "again").ok()
    assert gitcmd.text(owner.root / "again", "rev-parse", "HEAD") == head
    # From a subdirectory and from a linked worktree it is the same repository.
    (work / "sub").mkdir()
    assert "nothing new" in owner.gittorrent("publish", cwd=work / "sub").ok().out
    owner.git("worktree", "add", "-q", "-b", "side", owner.root / "linked", cwd=work).ok()
    owner.gittorrent("publish", cwd=owner.root / "linked").ok()
    assert b"refs/heads/side" in gitcmd.refs(copy)


def test_work_trees_of_a_bare_repository_are_a_clone(owner: Person, work: Path) -> None:
    """It is published through a copy from wherever, since their files follow no push."""
    place = owner.root / "project"
    owner.git("clone", "-q", "--bare", work, place / ".bare").ok()
    (place / ".git").write_text("gitdir: ./.bare\n")
    owner.git("worktree", "add", "-q", "main", cwd=place).ok()
    first = publish(owner, place / "main")
    assert first["name"] == "project"
    for each in (place, place / ".bare", place / "main"):
        again = publish(owner, each)
        assert (again["repository_id"], again["path"]) == (first["repository_id"], first["path"])
        assert owner.gittorrent("verify", each).ok()


def test_a_bare_repository_with_what_follows_no_branch_is_published_in_place(
    owner: Person, work: Path
) -> None:
    bare, site, live = (owner.root / name for name in ("deployed.git", "site", "live"))
    owner.git("clone", "-q", "--bare", work, bare).ok()
    owner.git("worktree", "add", "-q", "--detach", site, cwd=bare).ok()
    first = publish(owner, site)
    assert (first["name"], first["path"]) == ("deployed", str(bare))
    # It stays that when somebody checks out a branch.
    owner.git("worktree", "add", "-q", live, cwd=bare).ok()
    for each in (bare, site, live):
        again = publish(owner, each)
        assert (again["repository_id"], again["path"]) == (first["repository_id"], str(bare))


def test_a_work_tree_apart_from_its_git_directory_is_what_is_named(
    owner: Person, work: Path
) -> None:
    """Its user knows the work tree, and not where git keeps the rest."""
    place, inner = owner.root / "apart", owner.root / "apart" / "vendor" / "part"
    owner.git("clone", "-q", "--separate-git-dir", owner.root / "store", work, place).ok()
    (place / "sub").mkdir()
    done = owner.gittorrent("publish", "--new-key", cwd=place / "sub").ok()
    assert f"{place} is published through the bare copy" in done.err
    assert "published apart: " in done.out
    allowed = ("-c", "protocol.file.allow=always")
    owner.git(*allowed, "submodule", "--quiet", "add", work, "vendor/part", cwd=place).ok()
    refused = owner.gittorrent("publish", inner).failed(2, f"{inner} belongs to repository")
    assert "modules" not in refused.err
    assert publish(owner, inner, "--new-repository")["name"] == "part"


def test_the_remote_of_the_copy_may_have_another_name(owner: Person, work: Path) -> None:
    publish(owner, work)
    owner.git("remote", "rename", "gittorrent", "public", cwd=work).ok()
    publish(owner, work)
    assert owner.git("remote", cwd=work).ok().out == "public\n"
    owner.git("remote", "remove", "public", cwd=work).ok()
    publish(owner, work)
    assert owner.git("remote", cwd=work).ok().out == "gittorrent\n"


def test_default_branch_renamed_in_a_clone(owner: Person, work: Path) -> None:
    """The bare copy's HEAD follows where its branch is gone, and no checked out topic."""
    publish(owner, work)
    copy = owner.node / "repositories" / "tool.git"
    owner.git("checkout", "-q", "-b", "topic", cwd=work).ok()
    publish(owner, work)
    assert gitcmd.text(copy, "symbolic-ref", "HEAD") == "refs/heads/main"
    owner.git("checkout", "-q", "main", cwd=work).ok()
    owner.git("branch", "-m", "main", "trunk", cwd=work).ok()
    publish(owner, work)
    assert gitcmd.text(copy, "symbolic-ref", "HEAD") == "refs/heads/trunk"


def test_second_clone_of_the_same_name_is_kept_apart(owner: Person, work: Path) -> None:
    """Another repository in a directory of that name must not end up in the first one's copy."""
    first = publish(owner, work)
    other = owner.root / "elsewhere" / "tool"
    owner.git("init", "-q", "-b", "main", other).ok()
    commit(owner, other, "other")
    copy = owner.node / "repositories" / "tool.git"
    before = gitcmd.refs(copy)
    owner.gittorrent("publish", other).failed(2, "tool", "--name")
    assert gitcmd.refs(copy) == before
    second = publish(owner, other, "--name", "other-tool")
    assert second["repository_id"] != first["repository_id"]
    owner.gittorrent("verify", copy).ok()


def test_what_is_to_select_refs_is_looked_at_first(owner: Person, work: Path) -> None:
    for pattern in ("notes", "refs/notes/", "refs/replace/*"):
        done = owner.gittorrent("publish", work, "--new-key", "--refs", pattern)
        done.failed(2, f"cannot publish {pattern!r}")
    assert not (owner.node / "keys").exists()
    publish(owner, work, "--refs", "refs/notes/commits")
    publish(owner, work)  # it need not be there
    owner.git("notes", "add", "-m", "note", cwd=work).ok()
    assert "refs/notes/commits" in owner.gittorrent("publish", work).ok().out


def test_names_that_cannot_be_directories(owner: Person, work: Path) -> None:
    for name in ("../escape", "a/b", "x.git", ".hidden", ""):
        owner.gittorrent("publish", work, "--new-key", f"--name={name}").failed(2, "--name")
    assert not (owner.node / "escape.git").exists()
    odd = owner.root / "c++ & more"
    shutil.copytree(work, odd)
    owner.gittorrent("publish", odd, "--new-key").failed(2, "c++", "--name")
    publish(owner, odd, "--name", "cpp")


def test_notes_are_published_on_request_and_from_then_on(owner: Person, origin: Path) -> None:
    notes = owner.root / "notes"
    gitcmd.git(origin, "notes", "add", "-m", "a note", "main")
    publish(owner, origin, "--refs", "refs/notes/*")
    commit_id = gitcmd.refs(origin)[b"refs/notes/commits"]
    with serve(owner) as daemon:
        owner.git("clone", "--mirror", daemon.url(), notes).ok()
        assert gitcmd.refs(notes)[b"refs/notes/commits"] == commit_id
        gitcmd.git(origin, "notes", "append", "-m", "more", "main")
        publish(owner, origin)
        owner.git("fetch", cwd=notes).ok()
        assert (
            gitcmd.refs(notes)[b"refs/notes/commits"]
            == (gitcmd.refs(origin)[b"refs/notes/commits"])
        )


# --- publishing in place -------------------------------------------------------------------------


def test_publishing_again_adds_a_small_reel(owner: Person, origin: Path) -> None:
    first = publish(owner, origin)
    nodes.add_commit(origin, "refs/heads/main", "new", b"new\n")
    second = publish(owner, origin)
    reels = json.loads(owner.gittorrent("reel", "show", origin, "--json").ok().out)
    assert [(r["start"], r["end"]) for r in reels] == [
        (None, first["push_id"]),
        (first["push_id"], second["push_id"]),
    ]
    assert reels[1]["pack_size"] < 2000
    assert second["repository_id"] == first["repository_id"]
    assert "all is well" in owner.gittorrent("verify", origin).ok().out


def test_configuration_of_the_repository_stays_its_owners(owner: Person, origin: Path) -> None:
    gitcmd.git(origin, "config", "core.compression", "3")
    gitcmd.git(origin, "config", "receive.denyNonFastForwards", "true")
    before = set(gitcmd.text(origin, "config", "--local", "--list").splitlines())
    publish(owner, origin)
    after = set(gitcmd.text(origin, "config", "--local", "--list").splitlines())
    assert before <= after
    assert {line.partition("=")[0] for line in after - before} == {
        "gittorrent.signingkey",
        "repack.packkeptobjects",
        "repack.writebitmaps",
    }


def test_housekeeping_drops_what_is_redundant_and_loses_nothing(
    owner: Person, origin: Path
) -> None:
    gitcmd.git(origin, "repack", "-ad", "-q")
    dangling = gitcmd.text(
        origin, "commit-tree", "-m", "dangling", gitcmd.text(origin, "rev-parse", "main^{tree}")
    )
    blob = gitcmd.text(origin, "hash-object", "-w", "--stdin", stdin=b"nobody points here\n")
    before = every_object(origin)
    publish(owner, origin)
    assert every_object(origin) >= before
    for oid in (dangling, blob):
        gitcmd.git(origin, "cat-file", "-e", oid)
    packs = list((origin / "objects" / "pack").glob("*.pack"))
    kept = [p for p in packs if p.with_suffix(".keep").exists()]
    assert len(kept) == 1
    # What the reel holds is nowhere else.
    assert sum(p.stat().st_size for p in packs) < 2 * kept[0].stat().st_size
    gitcmd.git(origin, "fsck", "--strict")
    # Git's own housekeeping keeps the reel, too.
    gitcmd.git(origin, "gc", "--quiet", "--prune=now")
    assert kept[0].exists()
    assert "all is well" in owner.gittorrent("verify", origin).ok().out


def every_object(git_dir: Path) -> set[str]:
    listed = gitcmd.text(git_dir, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)")
    return set(listed.splitlines())


def test_background_housekeeping_ends(owner: Person, origin: Path) -> None:
    owner.gittorrent("publish", origin, "--new-key").ok()
    packs = origin / "objects" / "pack"
    wait_until(lambda: any(packs.glob("multi-pack-index-*.bitmap")), "the bitmap is there")
    owner.gittorrent("tidy", origin).ok()
    assert "all is well" in owner.gittorrent("verify", origin).ok().out


def test_verify_finds_damage(owner: Person, origin: Path) -> None:
    publish(owner, origin)
    (pack,) = (
        p for p in (origin / "objects/pack").glob("*.pack") if p.with_suffix(".keep").exists()
    )
    pack.chmod(0o644)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
    done = owner.gittorrent("verify", origin)
    assert done.status == 1
    assert "part 1 of 1 is damaged" in done.err
    said = json.loads(owner.gittorrent("verify", origin, "--json").out)
    assert said["ok"] is False
    assert said["findings"][0]["subject"]


def test_what_is_not_published_is_said(owner: Person, origin: Path) -> None:
    publish(owner, origin)
    (row,) = json.loads(owner.gittorrent("status", "--json").ok().out)["repositories"]
    assert (row["unpublished"], row["not_published"]) == ([], "")
    gitcmd.git(origin, "branch", "one", "main")
    gitcmd.git(origin, "branch", "two", "main")
    said = "2 branches not published"
    assert f"project: {said}" in owner.gittorrent("status").ok().out
    (row,) = json.loads(owner.gittorrent("status", "--json").ok().out)["repositories"]
    named = [{"ref": f"refs/heads/{name}", "change": "added"} for name in ("one", "two")]
    assert (row["unpublished"], row["not_published"]) == (named, said)
    assert said in owner.gittorrent("verify", origin).ok().out
    assert json.loads(owner.gittorrent("verify", origin, "--json").ok().out)["unpublished"] == named
    publish(owner, origin)
    assert said not in owner.gittorrent("status").ok().out


def test_keys_of_the_user(owner: Person, origin: Path, tmp_path: Path) -> None:
    """Git's own signing key is the default; a key file can be named; --new-key makes one once."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "id")], check=True
    )
    owner.git("config", "--global", "gpg.format", "ssh").ok()
    owner.git("config", "--global", "user.signingKey", f"{tmp_path / 'id'}.pub").ok()
    owner.gittorrent("publish", origin, "--wait").ok()
    fingerprint = subprocess.run(
        ["ssh-keygen", "-l", "-f", str(tmp_path / "id.pub")],
        check=True, capture_output=True, text=True,
    ).stdout.split()[1]  # fmt: skip
    assert fingerprint in owner.gittorrent("log", origin).ok().out
    assert not (owner.node / "keys").exists()


# --- a node's life -------------------------------------------------------------------------------


def test_serve_prints_where_and_ends_cleanly(owner: Person, origin: Path) -> None:
    publish(owner, origin)
    running = owner.start("gittorrent", "serve", "--git", "127.0.0.1:0", "--http", "[::1]:0")
    try:
        wait_until(lambda: "serving" in running.out, "it serves")
        lines = running.out.splitlines()
        assert re.fullmatch(r"listening at git://127\.0\.0\.1:\d+", lines[0])
        assert re.fullmatch(r"listening at http://\[::1\]:\d+", lines[1])
        assert re.fullmatch(r"serving /project\.git  [a-z2-7]{52}", lines[2])
        running.process.terminate()
        assert running.wait() == 0
        assert running.err == ""
        assert not running.group()
    finally:
        running.stop()


def test_mirror_keeps_current_until_interrupted(
    owner: Person, origin: Path, people: Callable[[str], Person]
) -> None:
    publish(owner, origin)
    follower = people("follower")
    with serve(owner) as daemon:
        running = follower.start("gittorrent", "mirror", daemon.url(), "--interval", "1")
        mirror = follower.node / "repositories" / "project.git"
        try:
            wait_until(mirror.is_dir, "the mirror is made")
            main = nodes.add_commit(origin, "refs/heads/main", "new", b"new\n")
            publish(owner, origin)
            wait_until(
                lambda: gitcmd.refs(mirror).get(b"refs/heads/main") == main, "the mirror follows"
            )
            running.process.send_signal(2)
            assert running.wait() == 130
            assert "Traceback" not in running.err
        finally:
            running.stop()
        again = follower.gittorrent("mirror", daemon.url(), "--once").ok()
        assert "is up to date" in again.out
        said = json.loads(follower.gittorrent("mirror", daemon.url(), "--once", "--json").ok().out)
        assert said["changed"] is False
    assert "all is well" in follower.gittorrent("verify", mirror).ok().out
