"""A node whose disk changed what it gives hears of it from whoever got a wrong part."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gittorrent.repository.carried import Carried
from gittorrent.repository.reelstore import StoredReel
from gittorrent.shapes import WHOLE
from gittorrent.signing.keys import Signer
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
