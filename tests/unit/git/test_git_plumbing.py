"""The typed plumbing against real git: walking, refs, packs, environment, what a directory is."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gittorrent.errors import LocalError
from gittorrent.git import environment, history, packs, refs, scratch
from gittorrent.git.hashing import hash_objects, tree_content
from gittorrent.git.reader import ObjectReader
from gittorrent.git.remotes import remote_urls
from gittorrent.git.repository import (
    NotARepositoryError,
    OccupiedError,
    UnsuitableRepositoryError,
    create_bare,
    find_repository,
    read_config,
    require_complete,
    set_config,
)
from gittorrent.git.runner import EXECUTABLE_VARIABLE, Git, GitError, GitMissingError, executable
from gittorrent.git.version import GitTooOldError, git_version
from gittorrent.ids import OBJECT_FORMATS, SHA1, Oid, RefName
from support import gitcmd, packings
from support.programs import GITS
from support.repositories import Made, noise

MISSING = Oid("12" * 20)


@pytest.fixture
def tags(copied: Callable[[str], Made]) -> Git:
    return Git(copied("tags").git_dir)


def name(git: Git, what: str) -> Oid:
    return Oid(gitcmd.text(git.directory, "rev-parse", what))


# --- walking -------------------------------------------------------------------------------------


def test_commits_between(tags: Git) -> None:
    main = name(tags, "main")
    (only,) = history.commits_between(tags, [name(tags, "main~1")], [name(tags, "chain3"), main])
    assert (only.oid, only.parents) == (main, (name(tags, "main~1"),))
    assert str(only.time) == gitcmd.text(tags.directory, "show", "-s", "--format=%ct", "main")
    assert history.commits_between(tags, [], []) == []
    assert history.commits_between(tags, [main], []) == []
    assert history.commits_between(tags, [], [name(tags, "light-blob"), name(tags, "lonely")]) == []
    with pytest.raises(GitError):
        history.commits_between(tags, [], [MISSING])


def test_malformed_dates_are_read_alike_by_all_gits(copied: Callable[[str], Made]) -> None:
    made = copied("negative")
    found = {
        commit.time
        for commit in history.commits_between(Git(made.git_dir), [], map(Oid, made.states[-1]))
    }
    assert found == {0, 5, 6, 7, 8, 9, 1_000_000_060, history.LATEST}


def test_describe_and_read(tags: Git) -> None:
    blob = name(tags, "light-blob")
    found = history.describe(tags, [blob, MISSING, name(tags, "main")])
    assert found[0] == history.ObjectInfo(blob, "blob", 6)
    assert found[1] is None
    assert found[2] is not None
    assert found[2].kind == "commit"
    assert history.describe(tags, []) == []
    assert history.read_objects(tags, [blob, blob]) == [b"light\n"] * 2
    with pytest.raises(history.MissingObjectError, match=MISSING):
        history.read_objects(tags, [blob, MISSING])


def test_reachable_objects(tags: Git) -> None:
    listed = list(history.reachable_objects(tags, [name(tags, "lonely^{tree}")]))
    assert len(listed) == len(set(listed)) == 4
    with pytest.raises(GitError):
        list(history.reachable_objects(tags, [MISSING]))


def test_a_walk_may_be_left_early(copied: Callable[[str], Made]) -> None:
    git = Git(copied("linear").git_dir)
    for _ in history.reachable_objects(git, [name(git, "main")]):
        break


def test_sizes(tags: Git) -> None:
    counter = history.SizeCounter(tags)
    wanted = [name(tags, "light-blob"), name(tags, "main")]
    for oid in wanted:
        counter.add(oid.encode())
    assert counter.finish() == [info.size for info in history.describe(tags, wanted) if info]
    counter = history.SizeCounter(tags)
    counter.add(MISSING.encode())
    with pytest.raises(history.MissingObjectError, match="is missing in"):
        counter.finish()
    counter = history.SizeCounter(tags)
    counter.add(MISSING.encode())
    counter.abandon()


def test_connectivity(tags: Git) -> None:
    old, new = name(tags, "main~1"), name(tags, "main")
    assert history.is_connected(tags, [new, name(tags, "lonely")])
    packings.loose(tags.directory)
    blob = name(tags, "main:a/b/c")
    (tags.directory / "objects" / blob[:2] / blob[2:]).unlink()
    assert not history.is_connected(tags, [new])
    assert history.is_connected(tags, [old])
    assert history.is_connected(tags, [new], [new])


@pytest.mark.parametrize("program", GITS)
def test_refs_vouch_for_what_they_reach(
    tags: Git, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By every git: old ones understand fewer options on standard input."""
    monkeypatch.setenv(EXECUTABLE_VARIABLE, program)
    old, new = name(tags, "main~1"), name(tags, "main")
    assert history.is_connected_to_refs(tags, [old, new])
    assert not history.is_connected_to_refs(tags, [MISSING])
    tree = gitcmd.text(tags.directory, "rev-parse", "main^{tree}")
    beyond = gitcmd.text(tags.directory, "commit-tree", tree, "-p", new, "-m", "beyond")
    assert history.is_connected_to_refs(tags, [Oid(beyond)])


def test_tagged_object() -> None:
    assert history.tagged_object(b"object 12\ntype blob\n") == "12"
    with pytest.raises(LocalError):
        history.tagged_object(b"tree 12\n")


# --- hashing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_name", ["sha1", "sha256"])
def test_hashing(format_name: str, tmp_path: Path) -> None:
    object_format = OBJECT_FORMATS[format_name]
    git = create_bare(tmp_path / "x.git", object_format)
    contents = [b"", b"crlf\r\n\0", b"x" * 100_000]
    oids = hash_objects(git, "blob", contents, write=False)
    for oid, content in zip(oids, contents, strict=True):
        head = b"blob %d\0" % len(content)
        assert oid == object_format.new_hash(head + content).hexdigest()
    assert history.describe(git, oids) == [None] * 3
    assert hash_objects(git, "blob", contents, write=True) == oids
    assert None not in history.describe(git, oids)
    tree = tree_content([("a", oids[0]), ("b", oids[1])])
    (oid,) = hash_objects(git, "tree", [tree], write=True)
    assert gitcmd.text(git.directory, "ls-tree", "--name-only", oid) == "a\nb"
    assert hash_objects(git, "tree", [b""], write=False) == [object_format.empty_tree]
    with pytest.raises(GitError):
        hash_objects(git, "commit", [b"no commit"], write=True)


# --- refs ----------------------------------------------------------------------------------------


def test_refs_move_in_one_go(tags: Git) -> None:
    old, new = name(tags, "main~1"), name(tags, "main")
    a, b, nested = (RefName(n) for n in (b"refs/heads/a", b"refs/heads/\xff", b"refs/heads/a/b"))
    refs.apply_changes(tags, [(a, None, old), (b, None, new)], SHA1)
    found = refs.read_refs(tags, "refs/heads")
    assert (found[a], found[b]) == (old, new)
    refs.apply_changes(tags, [(a, old, None), (nested, None, new), (b, new, old)], SHA1)
    found = refs.read_refs(tags, "refs/heads/*")
    assert a not in found
    assert found[b] == old
    assert refs.read_refs(tags, "refs/heads/a")[nested] == new
    refs.apply_changes(tags, [(nested, new, None), (a, None, old)], SHA1)
    refs.apply_changes(tags, [], SHA1)
    assert refs.read_ref(tags, "refs/heads/a") == old
    assert refs.read_ref(tags, "refs/heads/a/b") is None


def test_a_ref_that_changed_meanwhile_stops_the_whole_change(tags: Git) -> None:
    old, new = name(tags, "main~1"), name(tags, "main")
    a, main = RefName(b"refs/heads/a"), RefName(b"refs/heads/main")
    with pytest.raises(GitError):
        refs.apply_changes(tags, [(a, None, old), (main, old, new)], SHA1)
    assert refs.read_ref(tags, "refs/heads/a") is None
    with pytest.raises(GitError):
        refs.apply_changes(tags, [(a, None, MISSING)], SHA1)


def test_branches_that_are_no_commits_keep_no_other_ref_from_moving(tags: Git) -> None:
    old, new, tree = name(tags, "main~1"), name(tags, "main"), name(tags, "main^{tree}")
    a, main, tag = (RefName(n) for n in (b"refs/heads/a", b"refs/heads/main", b"refs/tags/tree"))
    refs.apply_changes(tags, [(main, new, old), (a, None, tree), (tag, None, tree)], SHA1)
    assert refs.read_ref(tags, "refs/heads/a") is None
    assert [refs.read_ref(tags, n) for n in ("refs/heads/main", "refs/tags/tree")] == [old, tree]
    refs.apply_changes(tags, [(main, old, tree)], SHA1)
    assert refs.read_ref(tags, "refs/heads/main") == old
    packed = refs.packed_refs(tags, {main: old, a: tree, tag: tree})
    kept = [f"{old} refs/heads/main", f"{tree} refs/tags/tree"]
    assert packed.decode().splitlines()[1:] == kept


def test_head(tags: Git) -> None:
    assert refs.head_target(tags) == b"refs/heads/main"
    refs.set_head(tags, RefName("refs/heads/日本".encode()))
    assert refs.head_target(tags) == "refs/heads/日本".encode()
    gitcmd.git(tags.directory, "update-ref", "--no-deref", "HEAD", name(tags, "main"))
    assert refs.head_target(tags) is None


# --- objects one by one --------------------------------------------------------------------------


def test_objects_are_read_one_by_one(tags: Git) -> None:
    with ObjectReader(tags) as reader:
        for what, kind in (("main", "commit"), ("main^{tree}", "tree"), ("light-blob", "blob")):
            content = gitcmd.git(tags.directory, "cat-file", kind, name(tags, what))
            assert reader.read(name(tags, what)) == (kind, content)
            assert reader.read(MISSING) is None
    with ObjectReader(tags):
        pass  # nothing was asked, so no git was started


def test_a_damaged_object_is_an_error_and_no_answer(tmp_path: Path) -> None:
    git = create_bare(tmp_path / "damaged.git", SHA1)
    oid = gitcmd.text(git.directory, "hash-object", "-w", "--stdin", stdin=noise("damaged", 5000))
    path = git.directory / "objects" / oid[:2] / oid[2:]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:2000])
    with ObjectReader(git) as reader, pytest.raises(GitError, match="cat-file"):
        reader.read(oid)


# --- packs ---------------------------------------------------------------------------------------


def test_a_broken_pack_is_refused_with_gits_words(tmp_path: Path) -> None:
    with scratch.receiving(tmp_path, SHA1) as git:
        for data in (b"", b"PACK", b"PACK\0\0\0\2\0\0\0\1garbage" * 3, b"x" * (1 << 22)):
            broken = tmp_path / "broken.pack"
            broken.write_bytes(data)
            for thin in (False, True):
                with pytest.raises(GitError, match="index-pack"):
                    packs.index_file(git, broken, thin=thin)
        with pytest.raises(GitError):
            packs.unpack_file(git, broken)


def test_a_scratch_repository_goes_away(tmp_path: Path) -> None:
    with scratch.receiving(tmp_path, SHA1) as git:
        folder = git.directory
        process = packs.IndexingProcess(git, thin=False, check_connected=True)
        process.stdin.write(b"PACK")
        process.abandon()
    assert not folder.exists()
    assert list(tmp_path.iterdir()) == []


def test_packs_are_adopted_and_unpacked(copied: Callable[[str], Made], tmp_path: Path) -> None:
    made = copied("pushes")
    packings.repacked(made.git_dir)
    (source,) = (made.git_dir / "objects" / "pack").glob("*.pack")
    target = create_bare(tmp_path / "target.git", SHA1)
    with scratch.receiving(tmp_path / "in", SHA1) as git:
        copy = git.directory / "objects" / "pack" / "x.pack"
        copy.write_bytes(source.read_bytes())
        packs.index_file(git, copy, thin=False)
        wanted = target.directory / "objects" / "pack" / "pack-named.pack"
        packs.adopt_pack(copy, wanted, keep="for a reason")
    assert wanted.with_suffix(".keep").read_text() == "for a reason\n"
    assert wanted.with_suffix(".idx").exists()
    assert packings.all_objects(target.directory) == packings.all_objects(made.git_dir)
    assert packs.count_loose(target) == (0, 0)
    other = create_bare(tmp_path / "other.git", SHA1)
    packs.unpack_file(other, source)
    assert packings.all_objects(other.directory) == packings.all_objects(made.git_dir)
    assert packs.count_loose(other)[0] == len(packings.all_objects(other.directory))


def test_tidying_loses_nothing(copied: Callable[[str], Made]) -> None:
    made = copied("tags")
    git = Git(made.git_dir)
    before = packings.all_objects(made.git_dir)
    packings.many_packs(made.git_dir)
    packs.tidy(git, None)
    assert packings.all_objects(made.git_dir) == before
    assert packs.count_loose(git)[0] == 0
    packs.tidy(git, None)


def test_tidying_an_empty_repository(tmp_path: Path) -> None:
    packs.tidy(create_bare(tmp_path / "x.git", SHA1), None)


def test_tidying_a_repository_without_refs_or_commits(
    copied: Callable[[str], Made], tmp_path: Path
) -> None:
    made = copied("pushes")
    packings.without_refs(made.git_dir)
    before = packings.all_objects(made.git_dir)
    packs.tidy(Git(made.git_dir), None)
    assert packings.all_objects(made.git_dir) == before
    blobs = create_bare(tmp_path / "blobs.git", SHA1)
    (blob,) = hash_objects(blobs, "blob", [b"alone"], write=True)
    gitcmd.git(blobs.directory, "update-ref", "refs/tags/blob", blob)
    packs.tidy(blobs, None)
    assert packings.all_objects(blobs.directory) == [blob]


def test_copying_refs(copied: Callable[[str], Made], tmp_path: Path) -> None:
    made = copied("tags")
    target = create_bare(tmp_path / "copy.git", SHA1)
    patterns = ["refs/heads/*", "refs/tags/*"]
    packs.copy_refs_from(target, made.git_dir, patterns)
    assert gitcmd.refs(target.directory) == gitcmd.refs(made.git_dir)
    gitcmd.git(made.git_dir, "update-ref", "refs/heads/main", "main~1")
    packs.copy_refs_from(target, made.git_dir, patterns)
    assert gitcmd.refs(target.directory) == gitcmd.refs(made.git_dir)


# --- environment ---------------------------------------------------------------------------------


def test_environments_pass_on_no_steering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in packings.hostile_variables(tmp_path).items():
        monkeypatch.setenv(variable, value)
    of_the_user = {
        "GIT_SSH_COMMAND": "ssh -v",
        "GIT_SSL_CAINFO": "/authorities",
        "GIT_COMMITTER_EMAIL": "me@example.org",
    }
    for variable, value in of_the_user.items():
        monkeypatch.setenv(variable, value)
    # Some of what steers reels is the user's to set, for the user's own git.
    of_the_user |= {
        name: os.environ[name]
        for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CEILING_DIRECTORIES")
    }
    monkeypatch.setenv("CI_JOB_TOKEN", "what a credential helper prints")
    allowed = {
        "GIT_NO_REPLACE_OBJECTS", "GIT_NO_LAZY_FETCH", "GIT_OPTIONAL_LOCKS",
        "GIT_TERMINAL_PROMPT", "GIT_ADVICE",
    }  # fmt: skip
    isolated = {key for key in environment.isolated() if key.startswith("GIT_")}
    assert isolated == allowed | {
        "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_GLOBAL", "GIT_ATTR_NOSYSTEM",
    }  # fmt: skip
    assert environment.isolated()["HOME"] == os.devnull
    trusted = {key for key in environment.trusted() if key.startswith("GIT_")}
    assert trusted == allowed | of_the_user.keys()
    assert of_the_user.items() <= environment.trusted().items()
    assert environment.trusted()["CI_JOB_TOKEN"] == os.environ["CI_JOB_TOKEN"]
    assert "CI_JOB_TOKEN" not in environment.isolated()
    assert "CI_JOB_TOKEN" not in environment.strangers()
    assert environment.trusted({"GIT_DIR": "x"})["GIT_DIR"] == "x"


def test_the_git_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EXECUTABLE_VARIABLE, str(tmp_path / "no-git"))
    with pytest.raises(GitMissingError, match="no-git"):
        executable()
    for version, error in (("2.38.9", GitTooOldError), ("3.0.0", None), ("bogus", LocalError)):
        fake = tmp_path / f"git-{version}"
        fake.write_text(f"#!{sys.executable}\nprint('git version {version}')\n")
        fake.chmod(0o755)
        monkeypatch.setenv(EXECUTABLE_VARIABLE, str(fake))
        if error is None:
            assert git_version() == (3, 0, 0)
        else:
            with pytest.raises(error):
                git_version()
    monkeypatch.delenv(EXECUTABLE_VARIABLE)
    assert git_version() >= (2, 39)


def test_failures_say_what_and_where(tmp_path: Path) -> None:
    git = create_bare(tmp_path / "x.git", SHA1)
    with pytest.raises(GitError, match=r"git cat-file -t failed in .*x\.git: fatal: ") as caught:
        git.run("cat-file", "-t", MISSING)
    assert caught.value.status == 128
    with pytest.raises(LocalError, match="is not there"):
        Git(tmp_path / "nowhere").run("rev-parse")
    with pytest.raises(LocalError, match="is not there"):
        Git(tmp_path / "nowhere").start("rev-parse")


# --- what a directory is -------------------------------------------------------------------------


def test_finding_repositories(tmp_path: Path) -> None:
    bare = create_bare(tmp_path / "bare.git", OBJECT_FORMATS["sha256"])
    found = find_repository(bare.directory)
    assert (found.git_dir, found.is_bare) == (bare.directory.resolve(), True)
    assert found.object_format.name == "sha256"
    work = tmp_path / "work"
    gitcmd.git(tmp_path, "init", "-q", "work")
    gitcmd.git(work, "commit", "-q", "--allow-empty", "-m", "x")
    gitcmd.git(work, "worktree", "add", "-q", str(tmp_path / "other"))
    for path in (work, work / ".git", tmp_path / "other"):
        assert find_repository(path).git_dir == (work / ".git").resolve()
    link = tmp_path / "link"
    link.symlink_to(work)
    assert find_repository(link).git_dir == (work / ".git").resolve()


@pytest.mark.parametrize("folder", ["a\nb", "a\n", "\n", "a\u2028b", "a\x85b", "a\rb"])
def test_paths_may_have_ends_of_lines_in_them(tmp_path: Path, folder: str) -> None:
    place = tmp_path / folder
    bare = create_bare(place / "bare.git", SHA1).directory
    assert find_repository(bare).git_dir == bare.resolve()
    work = place / "work"
    gitcmd.git(place, "init", "-q", "work")
    gitcmd.git(work, "commit", "-q", "--allow-empty", "-m", "x")
    gitcmd.git(work, "worktree", "add", "-q", str(tmp_path / "other"))
    for path in (work, tmp_path / "other"):
        assert find_repository(path).git_dir == (work / ".git").resolve()


@pytest.mark.parametrize(
    ("name", "words"),
    [("packed-refs.lock", ("pack-refs", "--all")), ("config.lock", ("config", "a.b", "c"))],
)
def test_locks_of_others_are_named(tmp_path: Path, name: str, words: tuple[str, ...]) -> None:
    git = create_bare(tmp_path / "x.git", SHA1)
    lock = git.directory / name
    lock.touch()
    with pytest.raises(GitError) as raised:
        git.run(*words)
    assert raised.value.hint.endswith(f"remove {lock}")


def test_what_is_no_repository(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for path in ("empty", "file", "nowhere"):
        with pytest.raises(NotARepositoryError, match=path):
            find_repository(tmp_path / path)


@pytest.mark.parametrize("git", GITS)
def test_why_git_does_not_read_a_repository_is_said(
    tmp_path: Path, git: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITTORRENT_GIT", git)
    path = create_bare(tmp_path / "x.git", SHA1).directory
    config = (path / "config").read_text()
    with (path / "config").open("a") as file:
        file.write("[core]\nrepositoryformatversion = 1\n[extensions]\nnewer = true\n")
    with pytest.raises(NotARepositoryError, match=r"extension.* newer") as raised:
        find_repository(path)
    assert not raised.value.hint
    (path / "config").write_text(f"{config}[core\n")
    with pytest.raises(NotARepositoryError, match="bad config line") as raised:
        find_repository(path)
    assert not raised.value.hint


@pytest.mark.parametrize("git", GITS)
@pytest.mark.parametrize("format_name", ["sha1", "sha256"])
def test_a_repository_whose_making_was_cut_short_is_completed(
    tmp_path: Path, git: str, format_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A git that is killed as it makes one leaves a part of it, and locks."""
    monkeypatch.setenv("GITTORRENT_GIT", git)
    whole = create_bare(tmp_path / "whole.git", OBJECT_FORMATS[format_name])
    settings = (whole.directory / "config").read_bytes()
    for number in range(len(settings.splitlines())):
        path = tmp_path / f"{number}.git"
        (path / "refs").mkdir(parents=True)
        (path / "HEAD").write_bytes((whole.directory / "HEAD").read_bytes())
        (path / "config").write_bytes(b"".join(settings.splitlines(keepends=True)[:number]))
        (path / "config.lock").write_bytes(settings)
        (path / "HEAD.lock").touch()
        create_bare(path, OBJECT_FORMATS[format_name])
        assert find_repository(path).object_format.name == format_name
        assert not list(path.glob("*.lock"))
        assert read_config(path) == read_config(whole.directory)


def test_a_repository_that_is_whole_is_left_alone(tmp_path: Path) -> None:
    git = create_bare(tmp_path / "x.git", SHA1)
    lock = git.directory / "config.lock"  # somebody is about to change a setting
    lock.touch()
    create_bare(git.directory, SHA1)
    assert lock.exists()


def test_a_repository_that_cannot_be_made_is_an_error_with_gits_words(tmp_path: Path) -> None:
    (tmp_path / "x.git").mkdir()
    (tmp_path / "x.git" / "HEAD").mkdir()
    (tmp_path / "y.git").write_text("no directory")
    for name, why in (("x", "has something in it: .*HEAD"), ("y", r"y\.git")):
        with pytest.raises((LocalError, OSError), match=why):
            create_bare(tmp_path / f"{name}.git", SHA1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.git", "y.git"]


@pytest.mark.parametrize(
    "name", ["poetry.lock", "config", "HEAD", "objects/a", "refs/heads/main", "hooks/update", "a/b"]
)
def test_what_is_no_killed_gits_is_not_cleared_away(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.git" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * 5000)
    (tmp_path / "x.git" / "config.lock").touch()
    with pytest.raises(OccupiedError, match="has something in it"):
        create_bare(tmp_path / "x.git", SHA1)
    assert path.read_bytes() == b"x" * 5000
    assert (tmp_path / "x.git" / "config.lock").exists()


def test_nothing_is_removed_through_a_link(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "config").touch()
    (tmp_path / "x.git").mkdir()
    (tmp_path / "x.git" / "refs").symlink_to(other)
    (tmp_path / "x.git" / "config").symlink_to(other / "config")
    with pytest.raises(OccupiedError):
        create_bare(tmp_path / "x.git", SHA1)
    assert (other / "config").exists()


def test_a_repository_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    """Git's own lock files in one whose making was cut short would stay in the way for ever."""
    program = tmp_path / "git"
    program.write_text(
        '#!/bin/sh\nfor last; do :; done\nprintf x > "$last/config.lock"\nkill -9 $PPID\n'
    )
    program.chmod(0o755)
    target = tmp_path / "made" / "x.git"
    code = (
        "import sys; from pathlib import Path; from gittorrent.git.repository import create_bare;"
        "from gittorrent.ids import SHA1; create_bare(Path(sys.argv[1]), SHA1)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, target],
        env={**os.environ, EXECUTABLE_VARIABLE: str(program)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert not target.exists()
    (left,) = target.parent.iterdir()
    create_bare(target, SHA1)
    set_config(Git(target), {"x.y": "z"})
    os.utime(left, (0, 0))
    create_bare(tmp_path / "made" / "y.git", SHA1)
    assert left.exists()  # of another name
    shutil.rmtree(target)
    create_bare(target, SHA1)
    assert sorted(path.name for path in target.parent.iterdir()) == ["x.git", "y.git"]


def test_settings(tmp_path: Path) -> None:
    git = create_bare(tmp_path / "x.git", SHA1)
    set_config(git, {"repack.packKeptObjects": "false", "x.y": "a b\nc"})
    found = read_config(git.directory, isolated=True)
    assert (found["repack.packkeptobjects"], found["x.y"]) == ("false", "a b\nc")
    before = (git.directory / "config").stat().st_mtime_ns
    set_config(git, {"repack.packKeptObjects": "false"})
    assert (git.directory / "config").stat().st_mtime_ns == before
    gitcmd.git(git.directory, "config", "valueless.key", "")
    assert read_config(git.directory)["valueless.key"] == ""


def test_a_completed_shallow_clone_is_complete(
    copied: Callable[[str], Made], tmp_path: Path
) -> None:
    made = copied("pushes")
    source = f"file://{made.git_dir}"
    gitcmd.git(tmp_path, "clone", "-q", "--bare", "--depth=1", source, "s.git")
    git = Git(tmp_path / "s.git")
    with pytest.raises(UnsuitableRepositoryError, match="is shallow") as caught:
        require_complete(git)
    assert "--unshallow" in caught.value.hint
    gitcmd.git(git.directory, "fetch", "-q", "--unshallow")
    require_complete(git)


def test_an_index_that_was_given_up_is_never_finished(tmp_path: Path) -> None:
    """Whoever finishes and whoever gives up are two threads, and either may be first."""
    git = create_bare(tmp_path / "r.git", SHA1)
    process = packs.IndexingProcess(git, thin=False, check_connected=True)
    process.abandon()
    process.abandon()
    with pytest.raises(GitError, match="stopped") as caught:
        process.finish()
    assert caught.value.is_own_trouble


def test_urls_of_remotes_end_where_git_ends_them(tmp_path: Path) -> None:
    git = create_bare(tmp_path / "x.git", SHA1)
    url = "gittorrent://host/a\u2028b\x85c.git"
    git.run("remote", "add", "origin", url)
    git.run("config", "--add", "remote.origin.url", "git://other/")
    assert remote_urls(git.directory) == [("origin", url), ("origin", "git://other/")]
