"""A node whose disk changed what it gives hears of it from whoever got a wrong part."""

from __future__ import annotations

import contextlib
import errno
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gittorrent.repository.carried import Carried
from gittorrent.repository.damaged_reels import damaged_reels
from gittorrent.repository.reelstore import StoredReel
from gittorrent.shapes import WHOLE
from gittorrent.signing.keys import Signer
from gittorrent.store.carried_rows import CarriedRow
from gittorrent.store.database import Database
from gittorrent.transfer.repository_content import RepositoryContent
from gittorrent.wire.messages import EndWant, HaveBundle, WantBundle, WrongParts
from gittorrent.wire.reelname import ReelName
from support import bulk, nodes
from support.attackers import Wire
from support.hostile import spoil
from support.programs import Daemon, Person, serve, somebody, wait_until


@pytest.fixture
def origin(tmp_path: Path, owner_key: Signer) -> Carried:
    return nodes.publish(bulk.make_large(tmp_path / "r.git"), owner_key, "project")


@pytest.fixture
def reel(origin: Carried) -> StoredReel:
    (found,) = origin.reels.all()
    return found


@pytest.fixture
def node(origin: Carried, tmp_path: Path) -> Iterator[Daemon]:
    with serve(somebody(tmp_path / "operator"), origin.layout.git_dir) as daemon:
        yield daemon


def call(node: Daemon, origin: Carried) -> Wire:
    host, _, port = node.git.removeprefix("git://").rpartition(":")
    return Wire.call((host, int(port)), str(origin.info.repository_id))


def offered(node: Daemon, origin: Carried) -> list[str]:
    """Return the reels that a node says it has."""
    head = origin.log().head
    assert head is not None
    found = []
    with call(node, origin) as wire:
        wire.say(WantBundle(ReelName(None, head)))
        for message in wire.messages():
            if isinstance(message, EndWant):
                break
            if isinstance(message, HaveBundle) and message.shape == WHOLE:
                found.append(str(message.manifest))
    return found


def say_wrong(node: Daemon, origin: Carried, reel: StoredReel, part: int, total: int) -> None:
    """Complain of a part, and go."""
    manifest = reel.manifest
    name = ReelName(manifest.start, manifest.end)
    with call(node, origin) as wire:
        wire.say(WrongParts(name, reel.id, part, part, total))
        wire.say("bye")
        assert wire.is_over()


def test_a_part_that_came_wrong_is_looked_at(
    node: Daemon, origin: Carried, reel: StoredReel, person: Person
) -> None:
    assert offered(node, origin) == [reel.id]
    reel.pack.chmod(0o644)
    spoil(reel.pack, 3 * reel.manifest.part_size + 1000)
    person.git("clone", "--mirror", node.url("project"), "c")
    wait_until(lambda: "is damaged on this disk" in node.running.err, "the node has noticed")
    assert f"part 4 of reel {reel.id}" in node.running.err
    assert offered(node, origin) == []
    spoil(reel.pack, 3 * reel.manifest.part_size + 1000)  # as it was
    assert offered(node, origin) == [reel.id]


def test_who_only_says_so_changes_nothing(node: Daemon, origin: Carried, reel: StoredReel) -> None:
    parts = len(reel.manifest.parts)
    for part, total in ((0, parts), (parts - 1, parts), (parts, parts + 1)):
        say_wrong(node, origin, reel, part, total)
    assert "damaged" not in node.running.err
    assert offered(node, origin) == [reel.id]


def mirrors_known(operator: Person, origin: Carried) -> int:
    """Return how many mirrors a node has listed."""
    with contextlib.closing(Database(operator.node / "node.sqlite")) as database:
        return len(database.mirrors(origin.info.repository_id, int(time.time())))


def test_what_is_damaged_is_shown_and_stays_known(
    origin: Carried, reel: StoredReel, person: Person, tmp_path: Path
) -> None:
    """By `status` and `doctor`, and by the node after it was started anew."""
    operator = somebody(tmp_path / "operator")
    git_dir = origin.layout.git_dir
    with contextlib.closing(Database(nodes.make_home(operator.node).database)) as database:
        row = CarriedRow("project", origin.info.repository_id, str(git_dir), "origin")
        database.carry(row)
    with serve(operator) as node:
        spoil(reel.pack, 3 * reel.manifest.part_size + 1000)
        person.git("clone", "--mirror", node.url("project"), "c")
        wait_until(lambda: "is damaged on this disk" in node.running.err, "the node has noticed")
        wait_until(lambda: "is still damaged" in node.running.err, "nobody else has it")
    said = f"part 4 of reel {reel.id}"
    assert said in " ".join(operator.gittorrent("status").ok().out.split())
    (shown,) = json.loads(operator.gittorrent("status", "--json").ok().out)["repositories"]
    (damaged,) = shown["damaged"]
    assert (damaged["manifest"], damaged["part"]) == (reel.id, 4)
    done = operator.gittorrent("doctor")
    assert done.status == 1
    assert said in " ".join(done.out.split())
    with serve(operator) as node:
        assert offered(node, origin) == []
    spoil(reel.pack, 3 * reel.manifest.part_size + 1000)  # as it was
    assert "is damaged" not in operator.gittorrent("status").ok().out


def test_a_node_gets_damaged_parts_anew_from_another_mirror(
    origin: Carried, reel: StoredReel, tmp_path: Path
) -> None:
    whole = reel.pack.read_bytes()
    operator, other = somebody(tmp_path / "operator"), somebody(tmp_path / "other")
    with serve(operator, origin.layout.git_dir) as node, serve(other):
        other.gittorrent("mirror", node.url("project")).ok()
        wait_until(lambda: mirrors_known(operator, origin) == 1, "it is known")
        for part in (3, 7):
            spoil(reel.pack, part * reel.manifest.part_size + 1000)
        say_wrong(node, origin, reel, 3, len(reel.manifest.parts))
        wait_until(lambda: reel.pack.read_bytes() == whole, "it is mended")
        wait_until(lambda: offered(node, origin) == [reel.id], "it is given again")
    assert not damaged_reels(origin.layout)


def test_what_verifying_found_is_put_right_when_the_node_starts(
    origin: Carried, reel: StoredReel, tmp_path: Path
) -> None:
    """Nobody has to begin a conversation about the repository for that."""
    index = reel.pack.with_suffix(".idx")
    whole, git_dir = (reel.pack.read_bytes(), index.read_bytes()), origin.layout.git_dir
    operator, other = somebody(tmp_path / "operator"), somebody(tmp_path / "other")
    with serve(other):
        with serve(operator, git_dir) as node:
            other.gittorrent("mirror", node.url("project")).ok()
            wait_until(lambda: mirrors_known(operator, origin) == 1, "it is known")
        spoil(reel.pack, 3 * reel.manifest.part_size + 1000)
        spoil(reel.pack, len(whole[0]) - 1)
        spoil(index, 2000)
        assert operator.gittorrent("verify", str(git_dir)).status == 1
        noted = {each.manifest: each.part for each in damaged_reels(origin.layout)}
        assert noted.pop(reel.id) == 3
        assert len(noted) == 1, "its index is offered, too"
        with serve(operator, git_dir) as node:
            wait_until(lambda: not damaged_reels(origin.layout), "it is mended")
            assert (reel.pack.read_bytes(), index.read_bytes()) == whole
            assert offered(node, origin) == [reel.id]


def test_an_index_that_is_damaged_is_made_anew_and_asked_of_nobody(
    node: Daemon, origin: Carried, reel: StoredReel
) -> None:
    (index,) = origin.indexes.all()
    whole = index.pack.read_bytes()
    spoil(index.pack, 2000)
    say_wrong(node, origin, index, 0, len(index.manifest.parts))
    wait_until(lambda: index.pack.read_bytes() == whole, "it is made anew")
    wait_until(lambda: not damaged_reels(origin.layout), "the node knows")
    assert offered(node, origin) == [reel.id]


def test_a_running_node_goes_by_what_verifying_found(
    node: Daemon, origin: Carried, reel: StoredReel, tmp_path: Path
) -> None:
    spoil(reel.pack, 3 * reel.manifest.part_size + 1000)
    assert offered(node, origin) == [reel.id]
    verifier = somebody(tmp_path / "verifier")
    assert verifier.gittorrent("verify", str(origin.layout.git_dir)).status == 1
    assert offered(node, origin) == []


def test_what_cannot_be_read_just_now_is_not_damaged(
    origin: Carried, reel: StoredReel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever calls often enough may bring a node to where it can open no more files."""
    content = RepositoryContent(origin)

    def fail(number: int) -> None:
        def look(_reel: StoredReel, _part: int) -> bool:
            raise OSError(number, "")

        monkeypatch.setattr(StoredReel, "is_sound_part", look)

    for number in (errno.EMFILE, errno.ENFILE, errno.ENOENT, errno.EACCES):
        fail(number)
        assert not content.doubt(reel.id, 0)
        assert content.reel(reel.id) is not None
    fail(errno.EIO)
    assert content.doubt(reel.id, 0)
    assert content.reel(reel.id) is None
