"""``gittorrent backup`` and ``restore``: what goes in, what comes back, and what is refused."""

from __future__ import annotations

import io
import json
import re
import shutil
import sqlite3
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gittorrent.store import backup
from gittorrent.store.backup import MAX_BYTES, BackupDamagedError, Kind, read_backup
from support import bulk, gitcmd
from support.copying import copy_tree
from support.programs import Person, serve, somebody, wait_until

MIGRATIONS = Path(backup.__file__).parent / "migrations"

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not here")


@pytest.fixture
def owner(tmp_path: Path) -> Person:
    return somebody(tmp_path / "owner")


@pytest.fixture
def published(owner: Person, tmp_path: Path) -> Path:
    origin = bulk.make_small(tmp_path / "project.git")
    owner.gittorrent("publish", origin, "--new-key", "--wait").ok()
    return origin


def modes(*paths: Path) -> set[int]:
    return {path.stat().st_mode & 0o777 for path in paths}


def key_names(person: Person) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (person.node / "keys").iterdir()}


def test_a_node_goes_on_after_it_was_restored(
    owner: Person, published: Path, tmp_path: Path
) -> None:
    """The backup is made while the node serves; the mirrors come again by themselves."""
    mirror, later = somebody(tmp_path / "mirror"), somebody(tmp_path / "later")
    file = tmp_path / "node.tar"
    with serve(owner, published) as origin:
        mirror.gittorrent("mirror", origin.url(), "--once", "-q", "--name", "other").ok()
        (mirror.node / "node.toml").write_text("[log]\nlevel = 'info'\n")
        (mirror.node / "node-id").write_text(f"{'ab' * 20}\n")
        with serve(mirror):
            said = json.loads(mirror.gittorrent("backup", file, "--json").ok().out)
        nothing: list[str] = []
        assert said == {
            "file": str(file), "keys": None, "mirrors": ["other"], "published": nothing,
            "repositories": nothing,
        }  # fmt: skip
        shutil.rmtree(mirror.node)
        checked = json.loads(later.gittorrent("restore", "--check", file, "--json").ok().out)
        assert not later.node.exists()
        done = json.loads(later.gittorrent("restore", file, "--json").ok().out)
        assert done == checked
        assert (done["mirrors"], done["missing"], done["lost"]) == (["other"], [], [])
        assert (later.node / "node.toml").read_text() == "[log]\nlevel = 'info'\n"
        assert (later.node / "node-id").read_text() == f"{'ab' * 20}\n"
        brought = later.node / "repositories" / "other.git"
        (wanted,) = json.loads(later.gittorrent("status", "--json").ok().out)["wanted"]
        shown = later.gittorrent("status").ok().out
        assert f"{wanted} is to come: 'gittorrent serve' brings it" in shown
        with serve(later):
            wait_until(lambda: is_carried(later, "other"), "the mirror came again")
        assert bulk.published(gitcmd.refs(brought)) == bulk.published(gitcmd.refs(published))


def is_carried(person: Person, name: str) -> bool:
    rows = json.loads(person.gittorrent("status", "--json").ok().out)["repositories"]
    return [row["name"] for row in rows] == [name]


@pytest.mark.parametrize("how", ["restore", "copy"])
def test_a_home_beside_the_one_it_comes_from_keeps_to_its_own_files(
    owner: Person, published: Path, tmp_path: Path, how: str
) -> None:
    """The first goes on: what is removed, updated or served from the second is never its own."""
    first, second = somebody(tmp_path / "first"), somebody(tmp_path / "second")
    theirs = first.node / "repositories" / "other.git"
    ours = second.node / "repositories" / "other.git"
    with serve(owner, published) as origin:
        first.gittorrent("mirror", origin.url(), "--once", "-q", "--name", "other").ok()
        before = gitcmd.refs(theirs)
        if how == "copy":
            copy_tree(first.node, second.node)
        else:
            first.gittorrent("backup", tmp_path / "node.tar").ok()
            done = json.loads(
                second.gittorrent("restore", tmp_path / "node.tar", "--json").ok().out
            )
            assert done["mirrors"] == ["other"]
            assert json.loads(second.gittorrent("status", "--json").ok().out)["wanted"]
        commit(published, "newer")
        owner.gittorrent("publish", published, "--wait").ok()
        second.gittorrent("mirror", origin.url(), "--once", "-q", "--name", "other").ok()
        assert bulk.published(gitcmd.refs(ours)) == bulk.published(gitcmd.refs(published))
        assert gitcmd.refs(theirs) == before
        second.gittorrent("remove", "other", "--yes").ok()
        assert theirs.is_dir()
        assert not ours.exists()
        first.gittorrent("mirror", origin.url(), "--once", "-q").ok()
    assert bulk.published(gitcmd.refs(theirs)) == bulk.published(gitcmd.refs(published))


def test_one_command_backs_up_every_home_with_keys_or_without(
    owner: Person, published: Path, tmp_path: Path
) -> None:
    file, keys = tmp_path / "node.tar", tmp_path / "keys.tar"
    for key in (owner.node / "keys").iterdir():
        key.unlink()
    said = owner.gittorrent("backup", file, "--keys", keys).ok()
    assert f"{keys} is not written: there are no keys" in said.err
    assert file.exists()
    assert not keys.exists()
    done = owner.gittorrent("backup", file, "--keys", keys, "--json").ok()
    assert json.loads(done.out)["keys"] is None


def test_keys_are_apart(owner: Person, published: Path, tmp_path: Path) -> None:
    file, keys = tmp_path / "node.tar", tmp_path / "keys.tar"
    said = owner.gittorrent("backup", file).ok()
    assert "not in it: the keys" in said.err
    assert str(published) in said.out
    owner.gittorrent("backup", file, "--keys", file).failed(2, "apart")
    owner.gittorrent("backup", tmp_path / "none" / "node.tar").failed(2, "not a directory")
    owner.gittorrent("restore", tmp_path / "none").failed(2, "does not exist")
    owner.gittorrent("backup", file, "--keys", keys).ok()
    assert modes(file, keys) == {0o600}
    private = (owner.node / "keys" / "publish").read_bytes()
    assert private not in file.read_bytes()
    assert private in keys.read_bytes()
    later = somebody(tmp_path / "later")
    later.gittorrent("restore", keys).failed(2, "a backup of a node's keys")
    later.gittorrent("restore", file, "--keys", file).failed(2, "a backup of a node's home")
    done = json.loads(later.gittorrent("restore", file, "--keys", keys, "--json").ok().out)
    assert done["published"] == [str(published)]
    assert key_names(later) == key_names(owner)
    assert modes(*(later.node / "keys").iterdir(), later.node / "node.sqlite") == {0o600}
    assert modes(later.node / "keys") == {0o700}


def test_only_an_empty_home(owner: Person, published: Path, tmp_path: Path) -> None:
    assert published.exists()
    file = tmp_path / "node.tar"
    owner.gittorrent("backup", file).ok()
    before = (owner.node / "node.sqlite").read_bytes()
    owner.gittorrent("restore", file).failed(2, "is in use", "GITTORRENT_HOME")
    assert (owner.node / "node.sqlite").read_bytes() == before
    somebody(tmp_path / "nobody").gittorrent("backup", tmp_path / "no.tar").failed(2, "no node")
    assert not (tmp_path / "no.tar").exists()


def test_an_interrupted_restore_goes_on(owner: Person, published: Path, tmp_path: Path) -> None:
    """What was put in place before it was interrupted is no other node's."""
    assert published.exists()
    (owner.node / "node.toml").write_text("[log]\nlevel = 'info'\n")
    file = tmp_path / "node.tar"
    owner.gittorrent("backup", file).ok()
    later = somebody(tmp_path / "later")
    later.node.mkdir(mode=0o700)
    shutil.copy(owner.node / "node.toml", later.node)
    (later.node / "node.sqlite.restoring").write_bytes(b"cut short")
    (later.node / "node.sqlite.restoring-wal").write_bytes(b"cut short")
    later.gittorrent("restore", file).ok()
    assert not list(later.node.glob("*restoring*"))
    (changed := somebody(tmp_path / "changed")).node.mkdir(mode=0o700)
    (changed.node / "node.toml").write_text("[log]\nlevel = 'error'\n")
    changed.gittorrent("restore", file).failed(2, "there is node.toml")


def archive(*members: tuple[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as into:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            into.addfile(member, io.BytesIO(content))
    return made.getvalue()


def link() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as into:
        member = tarfile.TarInfo("node.toml")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        into.addfile(member)
    return made.getvalue()


def sparse(size: int) -> bytes:
    """Return an archive of a few KiB with a member of ``size`` bytes, all of them left out."""
    member = tarfile.TarInfo("node.toml")
    member.size = 512
    member.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "node.toml",
        "GNU.sparse.realsize": str(size),
    }
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as into:
        into.addfile(member, io.BytesIO(f"1\n{size}\n0\n".encode().ljust(512, b"\0")))
    return made.getvalue()


def chain(kind: bytes, count: int = 3000) -> bytes:
    """Return an archive of headers each of which belongs to the next one."""
    member = tarfile.TarInfo("node.toml")
    member.type = kind
    return member.tobuf(tarfile.GNU_FORMAT) * count


def contents(digests: dict[str, str], kind: str = "home", number: int = 1) -> tuple[str, bytes]:
    said = {"format": number, "kind": kind, "made": 1, "home": "/h", "digests": digests}
    return "backup.json", json.dumps(said).encode()


EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no archive"),
        (b"this is no archive" * 100, "no archive"),
        (archive(("node.toml", b"")), "no backup of a node"),
        (archive(contents({"node.toml": EMPTY})), "not the files"),
        (archive(contents({}), ("node.toml", b"")), "not the files"),
        (archive(contents({"node.toml": "0" * 64}), ("node.toml", b"")), "damaged"),
        (archive(contents({"../x": EMPTY}), ("../x", b"")), "in no backup"),
        (archive(contents({"/x": EMPTY}), ("/x", b"")), "in no backup"),
        (archive(contents({"keys/a": EMPTY}), ("keys/a", b"")), "in no backup"),
        (archive(contents({}), contents({})), "in no backup"),
        (link(), "in no backup"),
        (sparse(1 << 50), "in no backup"),
        (chain(tarfile.GNUTYPE_LONGNAME), "no archive"),
        (chain(tarfile.XHDTYPE), "no archive"),
    ],
)
def test_what_is_no_backup(tmp_path: Path, data: bytes, words: str) -> None:
    file = tmp_path / "node.tar"
    file.write_bytes(data)
    with pytest.raises(BackupDamagedError, match=words):
        read_backup(file, Kind.HOME)


@pytest.mark.parametrize("name", ["keys/../x", "keys/.x", "keys/a/b", "node.toml", "keys/"])
def test_names_that_no_key_has(tmp_path: Path, name: str) -> None:
    file = tmp_path / "keys.tar"
    file.write_bytes(archive(contents({name: EMPTY}, "keys"), (name, b"")))
    with pytest.raises(BackupDamagedError, match="in no backup"):
        read_backup(file, Kind.KEYS)


def test_a_backup_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "node.tar"
    with file.open("wb") as made:
        made.truncate(MAX_BYTES + 1)
    with pytest.raises(BackupDamagedError, match="larger"):
        read_backup(file, Kind.HOME)


def test_damage_is_found_before_anything_is_written(
    owner: Person, published: Path, tmp_path: Path
) -> None:
    assert published.exists()
    file, later = tmp_path / "node.tar", somebody(tmp_path / "later")
    owner.gittorrent("backup", file).ok()
    whole = file.read_bytes()
    at = whole.index(b"SQLite format 3") + 40
    for data in (whole[:at] + b"\xff" + whole[at + 1 :], whole[: len(whole) // 2]):
        file.write_bytes(data)
        later.gittorrent("restore", "--check", file).failed(1, "another backup")
        later.gittorrent("restore", file).failed(1)
        assert not later.node.exists()
    file.write_bytes(archive(contents({}, number=2)))
    later.gittorrent("restore", "--check", file).failed(2, "newer gittorrent")


def test_a_damaged_database_is_not_backed_up(
    owner: Person, published: Path, tmp_path: Path
) -> None:
    """The backup that was there stays."""
    assert published.exists()
    file = tmp_path / "node.tar"
    owner.gittorrent("backup", file).ok()
    before = file.read_bytes()
    for path in owner.node.glob("node.sqlite*"):
        path.unlink()
    (owner.node / "node.sqlite").write_bytes(b"this is no database" * 1000)
    owner.gittorrent("backup", file).failed(7, "cannot be copied")
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.glob("*.tar*")] == ["node.tar"]


def commit(project: Path, text: str) -> None:
    words = ["commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", text]
    gitcmd.text(project, "update-ref", "refs/heads/main", gitcmd.text(project, *words))


def twins_of(person: Person, project: Path) -> list[object]:
    said = json.loads(person.gittorrent("keeper", "show", project, "--json").ok().out)
    found = said["twins"]
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_keeper_from_an_old_backup_signs_no_twins(
    owner: Person, published: Path, tmp_path: Path, is_lost: bool
) -> None:
    """Its log is as new as the repository that is in its place, or that of a mirror."""
    file, keys = tmp_path / "node.tar", tmp_path / "keys.tar"
    owner.gittorrent("backup", file, "--keys", keys).ok()
    commit(published, "after the backup")
    owner.gittorrent("publish", published, "--wait").ok()
    mirror, later = somebody(tmp_path / "mirror"), somebody(tmp_path / "later")
    with serve(owner, published) as origin:
        mirror.gittorrent("mirror", origin.url(), "--once", "-q").ok()
    shutil.rmtree(owner.node)
    if is_lost:
        shutil.rmtree(published)
    done = json.loads(later.gittorrent("restore", file, "--keys", keys, "--json").ok().out)
    assert (done["published"], done["missing"]) == (
        ([], [str(published)]) if is_lost else ([str(published)], [])
    )
    key = later.node / "keys" / "publish"
    with serve(mirror) as served:
        if is_lost:
            later.gittorrent("publish", published).failed(2)
            later.gittorrent("adopt", served.url(), "--key", key).ok()
            (row,) = json.loads(later.gittorrent("status", "--json").ok().out)["repositories"]
            published = Path(row["path"])
    commit(published, "after it was restored")
    later.gittorrent("publish", published, "--key", key, "--wait").ok()
    assert twins_of(later, published) == []
    with serve(later, published) as origin:
        mirror.gittorrent("mirror", origin.url(), "--once", "-q").ok()
    copy = mirror.node / "repositories" / "project.git"
    assert bulk.published(gitcmd.refs(copy)) == bulk.published(gitcmd.refs(published))
    assert twins_of(mirror, copy) == []


def test_a_backup_of_an_earlier_version(
    owner: Person, published: Path, tmp_path: Path, older: Callable[[Path], None]
) -> None:
    """Its schema is brought up to date where it is restored."""
    assert published.exists()
    older(owner.node / "node.sqlite")
    file, later = tmp_path / "node.tar", somebody(tmp_path / "later")
    owner.gittorrent("backup", file).ok()
    later.gittorrent("restore", file).ok()
    assert "project" in later.gittorrent("status").ok().out


@pytest.fixture
def older() -> Callable[[Path], None]:
    """Return what takes a database back to the schema of the fourth migration."""
    files = [path for path in sorted(MIGRATIONS.glob("*.sql")) if path.name > "0005"]
    later = "\n".join(path.read_text(encoding="utf-8") for path in files)
    made = re.findall(r"^CREATE (TABLE|TRIGGER) (\w+)", later, re.MULTILINE)
    added = re.findall(r"^ALTER TABLE (\w+) ADD COLUMN (\w+)", later, re.MULTILINE)

    def take_back(path: Path) -> None:
        raw = sqlite3.connect(path)
        for kind, name in reversed(made):
            raw.execute(f"DROP {kind} IF EXISTS {name}")
        for table, column in added:
            raw.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        raw.execute("PRAGMA user_version = 4")
        raw.commit()
        raw.close()

    return take_back
