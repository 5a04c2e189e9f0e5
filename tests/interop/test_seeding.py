"""Clones that help others: seeds without a download, reels taken from the same machine."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from gittorrent.repository.carried import Carried
from gittorrent.store.database import Database, MirrorRow
from gittorrent.wire.mirrorlist import MirrorState
from support import bulk, gitcmd, killing, nodes
from support.killing import processes
from support.nodes import Served
from support.programs import Person, somebody, wait_until


def url_of(served: Served) -> str:
    return f"gittorrent://{served.git.removeprefix('git://')}/project.git"


def seeds(person: Person) -> list[int]:
    """Return the processes that seed a person's clones."""
    root = f"{person.root}/"
    return [pid for pid, _, line in processes() if "gittorrent seed" in line and root in line]


def test_any_clone_becomes_a_seed(large: Carried, tmp_path: Path, person: Person) -> None:
    """The clone comes by stock git, so its packs are others; the reel is built from objects."""
    with nodes.serving(large, home=nodes.make_home(tmp_path / "node")) as served:
        person.git("clone", "--mirror", f"{served.git}/project.git", "c").ok()
        done = person.gittorrent("seed", "c", url_of(served), "--for", "0").ok()
    assert "0 reels held, 1 built, 0 not possible" in done.out
    (reel,) = large.reels.all()
    seeded = person.root / "c" / "objects" / "pack" / reel.pack.name
    assert seeded.read_bytes() == reel.pack.read_bytes()
    assert not person.partial


def test_a_seed_listens_where_the_configuration_says(
    large: Carried, tmp_path: Path, person: Person
) -> None:
    """Nowhere at all with ``off``, unless the command says otherwise this time."""
    with nodes.serving(large, home=nodes.make_home(tmp_path / "node")) as served:
        person.git("clone", "--mirror", f"{served.git}/project.git", "c").ok()
        seed = ("seed", "c", url_of(served))
        person.git("-C", "c", "config", "gittorrent.listen", "off").ok()
        done = person.gittorrent(*seed)
        assert done.status == 2
        assert "gittorrent.listen is off" in done.err
        person.gittorrent(*seed, "--port", "0", "--for", "0").ok()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        person.git("-C", "c", "config", "gittorrent.listen", str(port)).ok()
        running = person.start("gittorrent", *seed)
        try:

            def listens() -> bool:
                with socket.socket() as sock:
                    return sock.connect_ex(("127.0.0.1", port)) == 0

            wait_until(listens, "the seed listens there")
            done = person.gittorrent(*seed, "--for", "30")
            assert done.status == 7
            assert f"cannot listen at port {port}" in done.err
        finally:
            running.stop()


def test_seed_time_starts_no_seed_that_may_not_listen(
    large: Carried, tmp_path: Path, person: Person
) -> None:
    seeding = ("-c", "gittorrent.seedTime=30")
    with nodes.serving(large, home=nodes.make_home(tmp_path / "node")) as served:
        off = ("-c", "gittorrent.listen=off")
        done = person.git(*seeding, *off, "clone", "--mirror", url_of(served), "a").ok()
        assert "gittorrent.seedTime is left out, since gittorrent.listen is off" in done.err
        assert not seeds(person)
        done = person.git(*seeding, "clone", "--mirror", url_of(served), "b").ok()
        assert "gittorrent.seedTime" not in done.err
        (pid,) = seeds(person)
        os.kill(pid, signal.SIGTERM)
        killing.wait_for_background(person)


def test_clone_takes_what_its_node_carries(large: Carried, tmp_path: Path) -> None:
    user = somebody(tmp_path / "user")
    with nodes.serving(large, home=nodes.make_home(tmp_path / "node")) as served:
        user.gittorrent("mirror", url_of(served), "--once").ok()
        said = user.git("clone", "--mirror", url_of(served), "c").ok().err
    assert "without a download" in said
    (reel,) = large.reels.all()
    pack = user.root / "c" / "objects" / "pack" / reel.pack.name
    assert pack.stat().st_nlink == 2
    assert gitcmd.refs(user.root / "c") == bulk.published(gitcmd.refs(large.layout.git_dir))


def test_a_seed_is_listed_by_all_mirrors_and_gives(
    large: Carried, tmp_path: Path, people: Callable[[str], Person]
) -> None:
    """A seed that talks to the origin is told of by a mirror too."""
    user, other = people("user"), people("other")
    copy = nodes.copy_as_mirror(large, tmp_path / "copy.git", "git://192.0.2.1/project.git")
    with (
        nodes.serving(large, home=nodes.make_home(tmp_path / "o")) as origin,
        nodes.serving(copy, home=nodes.make_home(tmp_path / "m")) as mirror,
    ):
        now = int(time.time())
        database = Database(tmp_path / "o" / "node.sqlite")
        row = MirrorRow(f"{mirror.git}/project.git", MirrorState.CURRENT, "x", now, now + 500, 0)
        database.list_mirror(large.about.repository_id, row)
        database.close()
        user.git("clone", "--mirror", f"{origin.git}/project.git", "c").ok()
        seed = user.start("gittorrent", "seed", "c", url_of(origin))
        try:

            def listed(by: Served) -> list[str]:
                words = ("mirrors", f"{by.git}/project.git", "--json")
                found = json.loads(other.gittorrent(*words).ok().out)["mirrors"]
                return [each["url"] for each in found if each["state"] == "partial"]

            wait_until(lambda: bool(listed(origin) and listed(mirror)), "both list the seed")
            assert listed(origin) == listed(mirror)
            place = listed(mirror)[0]
            said = other.git("clone", "--progress", "--mirror", url_of(mirror), "d").ok().err
        finally:
            seed.stop()
    parts = [line for line in said.splitlines() if line.startswith("Parts: ")]
    assert place in parts[-1]
