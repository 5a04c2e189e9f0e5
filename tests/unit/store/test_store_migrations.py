"""Every schema that an earlier version left is brought up to date, with all that was in it."""

from __future__ import annotations

import contextlib
import sqlite3
from importlib import resources
from pathlib import Path

import pytest

from gittorrent.errors import LocalError
from gittorrent.ids import RepositoryId
from gittorrent.store.carried_rows import CarriedRow
from gittorrent.store.database import Database
from support.disks import small_disk

SCRIPTS = sorted(
    (
        entry
        for entry in (resources.files("gittorrent.store") / "migrations").iterdir()
        if entry.name.endswith(".sql")
    ),
    key=lambda entry: entry.name,
)

A = RepositoryId("a" * 52)
HEAD = "12" * 20

ROWS = [
    [
        f"INSERT INTO repositories VALUES ('a', '{A}', '/a.git', 'mirror', 'git://x/a')",
        f"INSERT INTO known_urls VALUES ('git://x/a', '{A}', 7)",
        f"INSERT INTO mirrors VALUES ('{A}', 'git://y/a', 'current', 'announced', 7, 99, 2)",
        f"INSERT INTO heads VALUES ('{A}', '{HEAD}', 3, 7)",
        f"INSERT INTO distrusted VALUES ('{A}', 'key', 'reason', 7)",
    ],
    [
        f"INSERT INTO remembered VALUES ('{A}', 'git://named/a', '', 7, 1, 0)",
        f"INSERT INTO remembered VALUES ('{A}', 'git://told/a', 'public', 7, 0, 1)",
    ],
    [f"INSERT INTO checks VALUES ('{A}', 5, 'git://x/a', 6, 'gone', 2)"],
    [
        "INSERT INTO wanted VALUES ('git://x/b', 'b', 7)",
        f"INSERT INTO following VALUES ('{A}', 1, 0)",
    ],
    [f"INSERT INTO remembered VALUES ('{A}', 'git://z/a', 'public', 7, 0, 0, 'dht', 'git://x/a')"],
    [
        f"INSERT INTO held VALUES (1, 'refs', '{A}', 'a', 20, 7, 99, 'waiting')",
        f"INSERT INTO held_names VALUES (1, 'refs/heads/x', '{HEAD}')",
        f"INSERT INTO departed VALUES ('refs', '{A}', 7, 12)",
    ],
    [
        f"INSERT INTO private VALUES ('{A}')",
        f"INSERT INTO tokens VALUES ('alice', '{'0' * 64}', '{A}', 7, 99)",
    ],
    [
        f"INSERT INTO collections VALUES ('git://x/c', 0, 7, '{{}}', '{A}', '{HEAD}', 8, '[]', '')",
        f"INSERT INTO collected VALUES ('{A}', '{A}', 'b', 0, 1, '[]', 7)",
        f"INSERT INTO refused VALUES ('{A}', 'reason', 7)",
        f"INSERT INTO excluded VALUES ('{A}')",
        f"INSERT OR REPLACE INTO following VALUES ('{A}', 0, 0, 1, 1)",
    ],
    [
        "INSERT INTO tracks VALUES ('t', 'https://x/t', 300, 'refs/pull/*/head', '/key', '', 0, 1,"
        " '12', 7, 7, 6, 'gone', 0, 99)",
    ],
    [f"INSERT INTO withheld VALUES ('{A}', 'git://y/a', 7)"],
    ["INSERT INTO arrived VALUES ('tracked', 't', 7, 12)"],
    ["INSERT INTO place VALUES ('/former 1 2')"],
]
"""What each version may have written, in the form of its schema: into tables that it added or
changed. A new migration has its rows here."""


def make(path: Path, version: int) -> None:
    """Write a database as the program of a version left it, with rows in every table."""
    with contextlib.closing(sqlite3.connect(path)) as raw:
        for number, script in enumerate(SCRIPTS[:version], start=1):
            raw.executescript(script.read_text(encoding="utf-8"))
            for statement in ROWS[number - 1]:
                raw.execute(statement)
            raw.execute(f"PRAGMA user_version = {number}")
        raw.commit()


def schema(path: Path) -> list[tuple[str, str, str]]:
    with contextlib.closing(sqlite3.connect(path)) as raw:
        return raw.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name").fetchall()


def content(path: Path) -> dict[str, list[dict[str, object]]]:
    """Return all rows of all tables by name of column."""
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.row_factory = sqlite3.Row
        names = raw.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        return {
            name: [dict(row) for row in raw.execute(f"SELECT * FROM {name} ORDER BY rowid")]
            for (name,) in map(tuple, names)
        }


def test_every_migration_has_rows_here() -> None:
    assert [int(script.name[:4]) for script in SCRIPTS] == list(range(1, len(ROWS) + 1))


@pytest.mark.parametrize("version", range(1, len(ROWS) + 1))
def test_what_an_earlier_version_wrote_is_kept(tmp_path: Path, version: int) -> None:
    path, new = tmp_path / "old.sqlite", tmp_path / "new.sqlite"
    make(path, version)
    before = content(path)
    Database(new).close()
    database = Database(path)
    assert database.carried() == [CarriedRow("a", A, "/a.git", "mirror", "git://x/a")]
    assert database.known_url("git://x/a") == A
    database.close()
    assert schema(path) == schema(new)
    after = content(path)
    for table, rows in before.items():
        kept = [
            {name: row[name] for name in old} for old, row in zip(rows, after[table], strict=True)
        ]
        # The one counts the rows that triggers saw, the other says where the home is now.
        if table not in ("changes", "place"):
            assert kept == rows, table


@pytest.mark.parametrize("room", [0, 40_000])
@pytest.mark.parametrize("version", [1, len(ROWS) - 1])
def test_a_full_disk_leaves_what_an_earlier_version_wrote(
    tmp_path: Path, version: int, room: int
) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk:
        path = disk.path / "old.sqlite"
        make(path, version)
        before = content(path)
        filler = disk.fill(leave=room)
        with pytest.raises(LocalError, match="full"):
            Database(path)
        filler.unlink()
        assert content(path) == before
        database = Database(path)
        assert database.carried() == [CarriedRow("a", A, "/a.git", "mirror", "git://x/a")]
        database.close()


@pytest.mark.parametrize("version", range(2, 5))
def test_named_mirrors_are_told_from_those_that_were_listed(tmp_path: Path, version: int) -> None:
    path = tmp_path / "old.sqlite"
    make(path, version)
    database = Database(path)
    found = {each.url: (each.found, each.teller) for each in database.remembered_mirrors(A)}
    database.close()
    assert found == {"git://named/a": ("named", ""), "git://told/a": ("listed", "")}


def test_an_upgraded_database_takes_what_a_new_one_does(tmp_path: Path) -> None:
    """Opened a second time nothing is migrated again, and a trigger counts changes."""
    path = tmp_path / "old.sqlite"
    make(path, 1)
    for turn in range(2):
        database = Database(path)
        database.carry(CarriedRow(f"b{turn}", A, f"/b{turn}.git", "origin"))
        database.close()
    with contextlib.closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (len(ROWS),)
        assert raw.execute("SELECT number FROM changes").fetchone() == (2,)
