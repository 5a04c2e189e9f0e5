"""The node's database and home: what is remembered, by several processes at the same time."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.errors import LocalError, UsageError
from gittorrent.ids import PushId, RepositoryId
from gittorrent.store.carried_rows import CarriedRow
from gittorrent.store.database import CheckRow, Database, MirrorRow
from gittorrent.store.database_file import look_at_carried, schema_of
from gittorrent.store.home import VARIABLE, Home, open_home
from gittorrent.store.opening import newest_schema
from gittorrent.wire.mirrorlist import MirrorState
from support.copying import copy_tree
from support.programs import PATIENCE

A, B = RepositoryId("a" * 52), RepositoryId("b" * 52)
HEAD, OTHER = PushId("12" * 20), PushId("34" * 20)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.sqlite"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    opened = Database(path)
    yield opened
    opened.close()


def test_several_may_be_the_first_to_open_it(tmp_path: Path) -> None:
    """Each of 40 databases is made by four at once, and none of them is refused."""
    ready = threading.Barrier(4)

    def opened(number: int) -> None:
        ready.wait(PATIENCE)
        Database(tmp_path / f"{number}.sqlite").close()

    with ThreadPoolExecutor(4) as threads:
        for number in range(40):
            list(threads.map(opened, [number] * 4))


def test_carried_repositories(database: Database) -> None:
    assert database.carried() == []
    b = CarriedRow("b", B, "/b.git", "mirror", "git://x/b")
    a = CarriedRow("a", A, "/a.git", "origin")
    database.carry(b)
    database.carry(a)
    database.carry(a)
    assert database.carried() == [a, b]
    renamed = CarriedRow("c", A, "/a.git", "origin")
    database.carry(renamed)
    assert database.carried() == [b, renamed]


def test_paths_need_not_be_utf_8(path: Path, database: Database) -> None:
    rows = [CarriedRow(n, A, f"/srv/{n}\udce9%E9", "origin") for n in ("one", "two")]
    for row in rows:
        database.carry(row)
        database.carry(row)
        database.require_free(row.name, row.path)
    assert database.carried() == look_at_carried(path) == rows
    database.uncarry(rows[0])
    assert database.carried() == rows[1:]


def test_a_name_that_is_taken(database: Database) -> None:
    database.carry(CarriedRow("a", A, "/a.git", "origin"))
    with pytest.raises(UsageError, match=r"taken by the repository in /a\.git") as caught:
        database.carry(CarriedRow("a", B, "/b.git", "mirror"))
    assert "--name" in caught.value.hint
    assert len(database.carried()) == 1


def test_what_is_carried_no_more(database: Database) -> None:
    row = CarriedRow("a", A, "/a.git", "origin")
    listed = MirrorRow("git://m.example.org/a.git", MirrorState.CURRENT, "10.0.0.1", 1, 100, 0)
    for known in (row, CarriedRow("b", B, "/b.git", "origin")):
        database.carry(known)
        database.list_mirror(known.repository_id, listed)
    database.remember_url("git://x/a", A, 1)
    database.saw_head(A, HEAD, 1, 1)
    database.uncarry(CarriedRow("a", A, "/elsewhere.git", "origin"))
    assert len(database.carried()) == 2, "that is another one"
    database.uncarry(row)
    assert [known.name for known in database.carried()] == ["b"]
    assert (database.mirrors(A, 1), database.mirrors(B, 1)) == ([], [listed])
    # What protects clones is no part of it.
    assert database.known_url("git://x/a") == A
    assert database.seen_head(A) == (HEAD, 1)


def test_known_urls(database: Database) -> None:
    assert database.known_url("git://x/y") is None
    database.remember_url("git://x/y", A, 1)
    database.remember_url("git://x/y", B, 2)
    assert database.known_url("git://x/y") == A, "first contact counts"
    assert database.forget_url("git://x/y")
    assert not database.forget_url("git://x/y")
    assert database.known_url("git://x/y") is None


def test_heads_never_go_back(database: Database) -> None:
    assert database.seen_head(A) is None
    database.saw_head(A, HEAD, 5, 1)
    database.saw_head(A, OTHER, 4, 2)
    assert database.seen_head(A) == (HEAD, 5)
    database.saw_head(A, OTHER, 6, 3)
    assert database.seen_head(A) == (OTHER, 6)
    assert database.seen_head(B) is None


def test_what_checks_came_to(database: Database) -> None:
    assert database.check(A) == CheckRow()
    database.check_failed(A, "nobody answers", 5)
    assert database.check(A) == CheckRow(failed=5, error="nobody answers", failures=1)
    database.check_succeeded(A, "git://x/a.git", 6)
    database.check_failed(A, "it hung up", 7)
    database.check_failed(A, "nobody answers", 7)
    assert database.check(A) == CheckRow(6, "git://x/a.git", 7, "nobody answers", 2)
    database.check_succeeded(A, "git://y/a.git", 7)
    assert database.check(A) == CheckRow(7, "git://y/a.git", 7, "nobody answers", 0)
    assert database.check(B) == CheckRow()


def test_what_the_last_whole_update_came_to_stays_when_only_the_log_was_looked_at(
    database: Database,
) -> None:
    database.check_succeeded(A, "git://x/a.git", 6, HEAD)
    database.check_succeeded(A, "git://y/a.git", 7)
    found = database.check(A)
    assert (found.succeeded, found.source) == (7, "git://y/a.git")
    assert (found.head, found.whole) == (HEAD, 6)


def test_mirrors(database: Database) -> None:
    def row(url: str, verified: int, expires: int) -> MirrorRow:
        return MirrorRow(url, MirrorState.CURRENT, "peer", verified, expires, 0)

    rows = [row("git://a/x", 1, 100), row("git://b/x", 3, 100), row("git://c/x", 2, 50)]
    for mirror in rows:
        database.list_mirror(A, mirror)
    assert database.mirrors(A, 49) == [rows[1], rows[2], rows[0]]
    assert database.mirrors(A, 50) == [rows[1], rows[0]]
    assert database.mirrors(B, 0) == []
    database.list_mirror(A, row("git://a/x", 9, 200))
    assert database.mirrors(A, 100) == [row("git://a/x", 9, 200)]
    database.drop_mirror(A, "git://a/x")
    assert database.mirrors(A, 100) == []


def test_what_is_written_stays(path: Path) -> None:
    first = Database(path)
    first.remember_url("git://x/y", A, 1)
    first.close()
    second = Database(path)
    assert second.known_url("git://x/y") == A
    second.close()


def test_a_newer_database_is_left_alone(path: Path) -> None:
    Database(path).close()
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version = 99")
    raw.close()
    with pytest.raises(LocalError, match=f"{path} was written by a newer gittorrent"):
        Database(path)
    assert schema_of(path) == 99 > newest_schema()


def test_what_is_no_database(path: Path, tmp_path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(LocalError, match="cannot be used"):
        Database(path)
    with pytest.raises(LocalError, match="cannot be used"):
        Database(tmp_path / "nowhere" / "node.sqlite")


def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    raw = sqlite3.connect(path)
    raw.execute("CREATE TABLE mirrors (x)")
    raw.close()
    with pytest.raises(LocalError, match="cannot be used"):
        Database(path)
    raw = sqlite3.connect(path)
    tables = raw.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    assert tables == [("mirrors",)]
    assert raw.execute("PRAGMA user_version").fetchone() == (0,)
    raw.close()


_WRITER = """
import sys
from pathlib import Path
from gittorrent.store.database import Database
from gittorrent.ids import RepositoryId
number = int(sys.argv[2])
sys.stdin.readline()
for turn in range(20):
    database = Database(Path(sys.argv[1]))
    database.remember_url(f"git://{number}/{turn}", RepositoryId("a" * 52), turn)
    database.saw_head(RepositoryId("a" * 52), "12" * 20, number * 100 + turn, 1)
    database.close()
"""


def test_processes_share_a_database_from_its_very_first_moment(path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path), str(number)],
            stdin=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for number in range(4)
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    for writer in writers:
        _, said = writer.communicate()
        assert writer.returncode == 0, said.decode()
    database = Database(path)
    for number in range(4):
        for turn in range(20):
            assert database.known_url(f"git://{number}/{turn}") == A
    assert database.seen_head(A) == (HEAD, 319)
    database.close()


# --- home ----------------------------------------------------------------------------------------


def test_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "deep" / "home"))
    home = open_home()
    assert home.root == (tmp_path / "deep" / "home").resolve()
    assert home.root.stat().st_mode & 0o777 == 0o700
    places = {home.database, home.repositories, home.keys, home.partial}
    assert {place.parent for place in places} == {home.root}
    assert len(places) == 4
    assert open_home() == home


def test_home_without_a_name_follows_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert open_home().root == (tmp_path / "data" / "gittorrent").resolve()


def test_a_home_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "file" / "home"))
    with pytest.raises(LocalError, match="cannot make") as caught:
        open_home()
    assert VARIABLE in caught.value.hint


def test_the_nodes_name_stays(tmp_path: Path) -> None:
    home = Home(tmp_path)
    name = home.node_id()
    assert len(bytes.fromhex(name)) == 20
    assert Home(tmp_path).node_id() == name
    assert [path.name for path in tmp_path.iterdir()] == ["node-id"]


def test_a_copy_of_a_home_is_another_node(tmp_path: Path) -> None:
    """They would take each other for themselves, and never talk."""
    node = Home(tmp_path / "node")
    node.root.mkdir()
    name = node.node_id()
    copy_tree(node.root, tmp_path / "copy")
    assert Home(tmp_path / "copy").node_id() != name
    node.root.rename(tmp_path / "moved")
    assert Home(tmp_path / "moved").node_id() == name


def test_a_path_that_is_too_long_for_sqlite_is_named(tmp_path: Path) -> None:
    home = tmp_path.joinpath(*["d" * 200] * 3)
    home.mkdir(parents=True)
    with pytest.raises(LocalError, match="its path has") as raised:
        Database(home / "node.sqlite")
    assert "GITTORRENT_HOME" in raised.value.hint


def test_a_database_that_a_disk_damages_while_it_is_open_is_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "node.sqlite"
    row = CarriedRow("p", RepositoryId("a" * 52), "/p", "mirror", "x" * 300)
    with contextlib.closing(Database(path)) as database:
        for number in range(200):
            database.carry(replace(row, name=f"p{number}", path=f"/p{number}"))
    with contextlib.closing(Database(path)) as database:
        with path.open("r+b") as file:
            file.seek(3 * 4096)
            file.write(b"\xff" * (path.stat().st_size - 3 * 4096))
        with pytest.raises(LocalError, match="malformed"):
            database.carried()
        with pytest.raises(LocalError, match="malformed"):
            database.carry(row)
