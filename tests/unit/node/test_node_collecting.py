"""Reading a collection from its repository, and what is remembered of its addresses."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from gittorrent.discovery.ports import Way
from gittorrent.disk_space import bytes_below
from gittorrent.ids import Oid, RepositoryId
from gittorrent.node.collecting import Collecting, read_collection, trust_in
from gittorrent.node.collection_file import MAX_BYTES, CollectionError
from gittorrent.node.collection_judge import LeftOutError, judge_log
from gittorrent.node.collection_plan import Brought
from gittorrent.push.carry_limits import CollectionLimits
from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from gittorrent.store.carried_rows import CarriedRow
from gittorrent.store.collected import CollectedRow, CollectionRow, CollectionTable
from gittorrent.store.database import Database
from gittorrent.store.following import FollowRow, FollowTable
from gittorrent.store.held import HeldKind, HeldRow, HeldTable
from gittorrent.store.signing_time import Clocks, SigningTime
from gittorrent.wire.urls import AddressClass
from support import gitcmd, nodes

A, B = RepositoryId("a" * 52), RepositoryId("b" * 52)
FILE = "collection.toml"


def entry(repository: RepositoryId) -> bytes:
    return f'[[repository]]\nid = "{repository}"\n'.encode()


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return nodes.signer(tmp_path_factory.mktemp("key"))


@pytest.fixture
def published(tmp_path: Path, key: Signer) -> Carried:
    path = gitcmd.init(tmp_path / "list.git")
    nodes.add_commit(path, "refs/heads/main", FILE, entry(A))
    return nodes.publish(path, key, "list")


def test_only_what_is_final_is_read(published: Carried, key: Signer) -> None:
    git_dir = published.layout.git_dir
    blob = gitcmd.text(git_dir, "hash-object", "-w", "--stdin", stdin=entry(B))
    tree = gitcmd.text(git_dir, "mktree", stdin=f"100644 blob {blob}\t{FILE}\n".encode())
    old = published.log().refs[nodes.MAIN]
    new = Oid(gitcmd.text(git_dir, "commit-tree", "-p", old, "-m", "new", tree))
    nodes.push_on(published, key, {nodes.MAIN: new})
    log = published.log()
    assert log.refs[nodes.MAIN] == new
    assert read_collection(published, log).named == {A}


@pytest.mark.parametrize(
    ("mode", "data", "said"),
    [
        ("120000", b"/etc/passwd", "is no regular file"),
        ("100644", b"#" * (MAX_BYTES + 1), "longer than"),
        ("100644", b"x = {}\n", "collection.toml:1: "),
    ],
)
def test_what_is_no_such_file_is_refused(
    tmp_path: Path, key: Signer, mode: str, data: bytes, said: str
) -> None:
    path = gitcmd.init(tmp_path / "list.git")
    blob = gitcmd.text(path, "hash-object", "-w", "--stdin", stdin=data)
    tree = gitcmd.text(path, "mktree", stdin=f"{mode} blob {blob}\t{FILE}\n".encode())
    gitcmd.git(
        path, "update-ref", "refs/heads/main", gitcmd.text(path, "commit-tree", "-m", "x", tree)
    )
    carried = nodes.publish(path, key, "list")
    with pytest.raises(CollectionError, match=said):
        read_collection(carried, carried.log())


def test_a_key_counts_only_if_it_is_a_root_that_signed(published: Carried, key: Signer) -> None:
    log = published.log()
    judge_log(log, CollectionLimits(owners=(str(key.key),)))
    other = "ssh:SHA256:" + "A" * 42 + "E"
    with pytest.raises(LeftOutError, match="none of the keys"):
        judge_log(log, CollectionLimits(owners=(other,)))


def test_refs_have_to_be_within_the_patterns(published: Carried) -> None:
    log = published.log()
    judge_log(log, CollectionLimits(refs=("refs/tags/*", "refs/heads/*")))
    with pytest.raises(LeftOutError, match="refs/heads/main"):
        judge_log(log, CollectionLimits(refs=("refs/tags/*",)))


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("git://127.0.0.1/list.git", AddressClass.LOOPBACK),
        ("git://10.1.2.3/list.git", AddressClass.PRIVATE),
        ("git://8.8.8.8/list.git", AddressClass.PUBLIC),
        (f"gittorrent://{A}", AddressClass.PUBLIC),
    ],
)
def test_addresses_are_trusted_as_far_as_where_the_collection_comes_from(
    url: str, kind: AddressClass
) -> None:
    assert asyncio.run(trust_in(url)) is kind


def test_addresses_are_remembered_as_learned_and_what_comes_as_brought(
    database: Database, tmp_path: Path
) -> None:
    row = CollectedRow(A, urls=("git://h.example.org/a.git",))
    brought = Brought(row, B, "git://8.8.8.8/list.git", CollectionLimits(), False, None, 1, 1, 1)
    home = nodes.make_home(tmp_path / "home")
    Collecting(database, home).mark(brought, AddressClass.PUBLIC)
    (mirror,) = database.remembered_mirrors(A)
    assert (mirror.url, mirror.trusted) == ("git://h.example.org/a.git", AddressClass.PUBLIC)
    assert (mirror.found, mirror.teller) == (Way.COLLECTION.value, B)
    assert FollowTable(database).followed(A) == FollowRow(by_collection=True)


def test_a_collection_that_cannot_be_read_is_left_as_it_is_for_a_while(
    published: Carried, database: Database, tmp_path: Path
) -> None:
    """Its file is not here, as after a disk lost it: nothing changes, and nobody is kept busy."""
    path = published.layout.git_dir
    blob = gitcmd.text(path, "rev-parse", f"refs/heads/main:{FILE}")
    (path / "objects" / blob[:2] / blob[2:]).unlink()
    for pack in (path / "objects" / "pack").glob("*"):
        pack.unlink()
    repository = published.info.repository_id
    database.carry(CarriedRow("list", repository, str(path), "mirror", ""))
    table = CollectionTable(database)
    table.follow(CollectionRow(f"gittorrent://{repository}"))
    collecting = Collecting(database, nodes.make_home(tmp_path / "home"))
    collecting.take_in_news()
    (row,) = table.all()
    assert row.problem
    assert (row.checkpoint, table.named(repository)) == ("", [])
    assert not collecting.has_news()


@pytest.mark.parametrize("leapt", [False, True])
def test_what_waits_for_its_time_does_not_go_because_the_clock_leaps(
    published: Carried, database: Database, tmp_path: Path, leapt: bool
) -> None:
    repository = published.info.repository_id
    database.carry(CarriedRow("list", repository, str(published.layout.git_dir), "mirror", ""))
    table, held = CollectionTable(database), HeldTable(database)
    table.follow(CollectionRow(f"gittorrent://{repository}"))
    home = nodes.make_home(tmp_path / "home")
    off = 40 * 86400.0 if leapt else 0.0
    believed = Clocks(lambda: time.time() - off)  # so that the clock is ahead of it
    SigningTime(home.clock, believed).confirm()
    until = int(time.time()) - 60
    held.hold(HeldRow(HeldKind.REPOSITORIES, repository, "list", {B: "b"}, 9, until - 900, until))
    table.take(repository, "", [CollectedRow(B)], (), until, [])
    Collecting(database, home).take_in_news()
    assert {row.repository for row in table.named(repository)} == {A, *[B] * leapt}
    assert [row.until for row in held.of(HeldKind.REPOSITORIES, repository)] == [until] * leapt


def test_every_file_of_a_repository_counts(published: Carried) -> None:
    path = published.layout.git_dir
    before = bytes_below(path)
    (published.layout.own / "pushes" / "large").write_bytes(b"x" * 5000)
    assert bytes_below(path) - before >= 5000
