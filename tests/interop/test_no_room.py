"""Disks at their marks: nothing more is taken, what is here is served, and with room it goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from gittorrent.disk_space import Reserve, Watermarks
from gittorrent.ids import PushId
from gittorrent.node.catalogue import Catalogue
from gittorrent.node.live_repository import LiveRepository
from gittorrent.node.reel_builder import ReelBuilder
from gittorrent.push.certificate import Line
from gittorrent.push.depot.admission import PushRefusedError
from gittorrent.reel.timing import ReelTimes, ReelTiming
from gittorrent.repository.carried import Carried, open_carried
from gittorrent.repository.depot import RepositoryDepot
from gittorrent.repository.kept_log import KeptLog
from gittorrent.repository.uploads import NO_ROOM
from gittorrent.store.home import Home
from gittorrent.wire.messages import HavePush
from support import gitcmd, nodes
from support.depot_client import MAIN, Client
from support.disks import Disk, FakeDisk, small_disk
from support.live_mirrors import Mirrors
from support.live_peers import Peer, nothing
from support.programs import PATIENCE, Done, Person, serve, wait_until
from support.repositories import noise

PUSH, OTHER = PushId("ab" * 20), PushId("cd" * 20)
TENTH = Reserve(percent=10)


class Short:
    """A disk with a tenth as reserve, full or not."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.disk = FakeDisk(total=1 << 30)
        self.space = Watermarks(TENTH, [place], self.disk)
        self.fill()

    def fill(self, free: int = 1000) -> None:
        self.disk.free[self.place] = free
        self.space.look()


# -- one taker after another


def test_a_depot_refuses_and_takes_again(tmp_path: Path) -> None:
    client = Client(tmp_path)
    short = Short(tmp_path)
    client.depot = RepositoryDepot(
        open_carried(client.git_dir), client.accepted.append, space=short.space
    )
    old, new = client.main, client.commit()
    text, pack = client.certificate(Line(old, new, MAIN)), client.pack(new, f"^{old}")
    with pytest.raises(PushRefusedError, match="takes no pushes") as caught:
        client.send(text, pack)
    assert "another mirror" in caught.value.hint
    client.nothing_happened()
    short.fill(1 << 30)
    client.send(text, pack)
    assert client.main == new


def test_a_pack_that_would_cross_the_mark_is_cut_off(tmp_path: Path) -> None:
    """Nobody says beforehand how large it is."""
    client = Client(tmp_path)
    short = Short(tmp_path)
    short.fill(short.disk.total // 10 + 2000)
    client.depot = RepositoryDepot(
        open_carried(client.git_dir), client.accepted.append, space=short.space
    )
    old, new = client.main, client.commit(files=2000)
    with pytest.raises(PushRefusedError, match=NO_ROOM):
        client.send(client.certificate(Line(old, new, MAIN)), client.pack(new, f"^{old}"))
    client.nothing_happened()


def test_the_operator_says_how_much_a_push_may_bring(tmp_path: Path) -> None:
    client = Client(tmp_path)
    most = [100]
    client.depot = RepositoryDepot(
        open_carried(client.git_dir), client.accepted.append, most=lambda: most[0]
    )
    for files in (2, 500):  # one is read into memory, the other goes to git
        old, new = client.main, client.commit(files=files)
        text, pack = client.certificate(Line(old, new, MAIN)), client.pack(new, f"^{old}")
        with pytest.raises(PushRefusedError, match="a push may bring 100 bytes here"):
            client.send(text, pack)
    client.nothing_happened()
    most[0] = 1 << 20
    client.send(text, pack)
    assert client.main == new


def play(live: LiveRepository, work: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None]:
    async def run() -> None:
        await live.begin()
        try:
            async with asyncio.timeout(PATIENCE):
                await work
        finally:
            await live.stop()

    return run()


def published(tmp_path: Path) -> Carried:
    key = nodes.signer(tmp_path)
    carried = nodes.publish(nodes.make_repository(tmp_path / "project.git"), key, "project")
    carried.remember_keeper(key.spec)
    return carried


def test_what_peers_tell_of_is_not_asked_for(tmp_path: Path) -> None:
    """They are not to blame; it is asked for later, as after any other failure."""
    short = Short(tmp_path)

    async def run() -> None:
        catalogue = Catalogue([published(tmp_path)])
        (served,) = catalogue
        executor = catalogue.threads.executor()
        live = LiveRepository(served, KeptLog(served.carried), executor, nothing, space=short.space)
        peer = Peer()

        async def work() -> None:
            key = live.joined(peer, is_called=False)
            live.heard(key, HavePush(PUSH))
            for _ in range(10):
                await asyncio.sleep(0)
            assert not peer.asked.is_set()
            assert not peer.ended
            short.fill(1 << 30)
            live.heard(key, HavePush(OTHER))
            await peer.asked.wait()

        await play(live, work())

    asyncio.run(run())


def test_no_reels_are_made(tmp_path: Path) -> None:
    short = Short(tmp_path)
    asked = []
    carried = published(tmp_path)
    for reel in carried.reels.all():
        reel.pack.unlink()

    async def make(*_: object) -> None:
        asked.append(1)

    async def run() -> None:
        catalogue = Catalogue([carried])
        (served,) = catalogue
        executor = catalogue.threads.executor()
        live = LiveRepository(served, KeptLog(carried), executor, nothing)

        async def work() -> None:
            for free in (1000, 1 << 30):
                short.fill(free)
                timing = ReelTiming(ReelTimes(many=1, quiet=0.0))
                builder = ReelBuilder(live, timing, make, short.space)
                builder.look()
                await builder.settled()
                assert len(asked) == (free > 1000)
                await builder.stop()

        await play(live, work())

    asyncio.run(run())


# -- real disks


def node_at(person: Person, *words: str) -> None:
    """Write a configuration."""
    person.node.mkdir(exist_ok=True)
    (person.node / "node.toml").write_text("\n".join(words) + "\n")


def status_of(person: Person) -> dict[str, Any]:
    (found,) = json.loads(person.gittorrent("status", "--json").ok().out)["processes"]
    assert isinstance(found, dict)
    return found


def pushing(person: Person) -> tuple[Path, Path]:
    """Publish a repository that a key may push to; return it, and somebody's clone of it."""
    key = person.root / "id"
    person.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).ok()
    work = person.root / "work"
    person.git("init", "-q", "-b", "main", work).ok()
    for name, value in (("gpg.format", "ssh"), ("user.signingKey", f"{key}.pub")):
        person.git("-C", work, "config", name, value).ok()
    commit(person, work, "first")
    origin = person.node / "repositories" / "project.git"
    origin.parent.mkdir(exist_ok=True)
    person.git("clone", "-q", "--bare", work, origin).ok()
    person.gittorrent("publish", origin, "--name", "project", "--key", key, "--wait").ok()
    return origin, work


def commit(person: Person, work: Path, name: str, size: int = 1000) -> str:
    (work / name).write_bytes(noise(name, size))
    person.git("-C", work, "add", name).ok()
    person.git("-C", work, "commit", "-q", "-m", name).ok()
    return person.git("-C", work, "rev-parse", "HEAD").ok().out.strip()


SSH_URL = "ssh://mirror.example.org/project.git"


def by_ssh(person: Person, *words: str | Path) -> Done:
    """Run git with something in ssh's place that runs the shell for pushes."""
    ssh = person.root / "ssh"
    ssh.write_text('#!/bin/sh\nshift\nexec gittorrent shell -c "$*"\n')
    ssh.chmod(0o755)
    return person.git("-c", f"core.sshCommand={ssh}", "-c", "ssh.variant=simple", *words)


def reserving(disk: Disk, reserve: int) -> Path:
    """Fill a disk beyond its mark, with some room left."""
    return disk.fill(leave=reserve // 2)


def test_a_node_at_its_mark(tmp_path: Path, person: Person) -> None:
    """Pushes are refused in plain words over each transport; fetches go on; then it takes again."""
    with small_disk(person.node, "40m") as disk:
        node_at(person, "[push]", "git = true", "[disk]", 'reserve = "8M"')
        origin, work = pushing(person)
        with serve(person) as daemon:
            urls = {"git": f"{daemon.git}/project.git", "http": f"{daemon.http}/project.git"}
            commit(person, work, "second")
            filler = reserving(disk, 8 << 20)
            wait_until(lambda: bool(status_of(person)["short"]), "it is noticed")
            for url in urls.values():
                said = person.git("-C", work, "push", "--signed", url, "main").failed(1).err
                assert NO_ROOM in " ".join(said.split()), said
            said = NO_ROOM.partition(",")[0]
            by_ssh(person, "-C", work, "push", "--signed", SSH_URL, "main").failed(1, said)
            person.git("clone", "-q", urls["git"], "stock").ok()
            person.git("clone", "-q", daemon.url(), "clone").ok()
            shown = person.gittorrent("status").ok().out
            assert "takes nothing more: " in shown
            found = json.loads(person.gittorrent("doctor", "--json").failed(1).out)["findings"]
            (finding,) = [
                each for each in found
                if each["subject"] == "disk" and str(person.node) in each["text"]
            ]  # fmt: skip
            assert finding["verdict"] == "problem"
            assert "reserve" in finding["remedy"]
            filler.unlink()
            wait_until(lambda: not status_of(person)["short"], "it is noticed")
            person.git("-C", work, "push", "--signed", urls["http"], "main").ok()
            assert "Traceback" not in daemon.running.err
            assert daemon.running.err.count("stay free: what is here goes on") == 1
            assert daemon.running.err.count("there is room again") == 1
        assert not list((origin / "gittorrent" / "uploads").glob("*"))


def test_how_large_a_push_may_be_changes_with_a_reload(tmp_path: Path, person: Person) -> None:
    """For depots that are open already, and over ssh."""
    person.node.mkdir()
    _, work = pushing(person)
    with serve(person) as daemon:
        url = f"{daemon.http}/project.git"
        commit(person, work, "first one", 3000)
        person.git("-C", work, "push", "--signed", url, "main").ok()
        commit(person, work, "second", 3000)
        node_at(person, "[push]", 'max-size = "2K"')
        person.gittorrent("reload").ok()
        said = "too large: a push may bring 2.00 KiB here"
        person.git("-C", work, "push", "--signed", url, "main").failed(1, said)
        by_ssh(person, "-C", work, "push", "--signed", SSH_URL, "main").failed(1, said)
        node_at(person, "[push]", 'max-size = "4K"')
        person.gittorrent("reload").ok()
        person.git("-C", work, "push", "--signed", url, "main").ok()


def test_a_push_that_fills_the_disk(tmp_path: Path, person: Person) -> None:
    """Without a reserve the system says when it is full; nothing half done stays."""
    with small_disk(person.node, "24m") as disk:
        node_at(person, "[disk]", 'reserve = "none"')
        origin, work = pushing(person)
        before = open_carried(origin).log().refs
        new = commit(person, work, "large", 8 << 20)
        with serve(person) as daemon:
            filler = disk.fill(leave=4 << 20)
            url = f"{daemon.http}/project.git"
            person.git("-C", work, "push", "--signed", url, "main").failed(
                1, "the disk of this mirror is full"
            )
            assert open_carried(origin).log().refs == before
            assert not list((origin / "gittorrent" / "uploads").glob("*"))
            person.git("clone", "-q", url, "clone").ok()
            filler.unlink()
            person.git("-C", work, "push", "--signed", url, "main").ok()
        assert open_carried(origin).log().refs[MAIN] == new
        gitcmd.git(origin, "fsck", "--connectivity-only")


def test_a_mirror_whose_disk_is_short_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """Its peers are not kept waiting, and none of them is left out for it."""
    with ExitStack() as stack:
        (tmp_path / "others").mkdir()
        made = Mirrors.of(tmp_path / "others", stack, count=1)
        disk = stack.enter_context(small_disk(tmp_path / "disk", "40m"))
        copy = nodes.copy_as_mirror(
            made.carried[0], disk.path / "mirror.git", f"{made.served[0].git}/project.git"
        )
        options = replace(made.options, reserve=Reserve(bytes=8 << 20))
        home = Home(disk.path / "home")
        home.root.mkdir()
        stack.enter_context(nodes.serving(copy, home=home, options=options))
        made.wait_for_final(made.push(made.carried[0], b"one\n"))
        filler = reserving(disk, 8 << 20)
        new = made.push(made.carried[0], b"two\n")
        made.wait_for_final(new)
        assert copy.log().refs[MAIN] != new
        filler.unlink()
        wait_until(lambda: copy.log().refs[MAIN] == new, "it is taken in")


def test_a_mirror_larger_than_the_room_is_refused_before_it_comes(
    large: Carried, tmp_path: Path, person: Person
) -> None:
    total = large.reels.all()[0].manifest.pack_size
    with nodes.serving(large, home=nodes.make_home(tmp_path / "h")) as served:
        url = f"gittorrent://{served.git.removeprefix('git://')}/project.git"
        with small_disk(person.node, str(3 * total)) as disk:
            node_at(person, "[disk]", f"reserve = {5 * total // 2}")
            words = ["gittorrent", "mirror", url, "--once"]
            person.run(*words).failed(7, "no space left for ", "[disk] reserve in node.toml")
            assert not person.partial
            assert not list((person.node / "repositories").glob("*"))
            node_at(person, "[disk]", f"reserve = {total // 4}")
            disk.grow(str(8 * total))
            person.run(*words).ok()


def test_a_node_that_follows_goes_on_when_there_is_room(
    large: Carried, tmp_path: Path, person: Person
) -> None:
    with nodes.serving(large, home=nodes.make_home(tmp_path / "h")) as served:
        url = f"gittorrent://{served.git.removeprefix('git://')}/project.git"
        with small_disk(person.node, "80m") as disk:
            node_at(
                person, "[disk]", 'reserve = "8M"', "[carry]", "[[carry.repository]]",
                f'url = "{url}"',
            )  # fmt: skip
            filler = reserving(disk, 8 << 20)
            with serve(person) as daemon:
                coming = "no space left"
                wait_until(
                    lambda: coming in json.dumps(status_of(person)["following"]["coming"]),
                    "it does not come",
                )
                filler.unlink()
                mirror = person.node / "repositories" / "project.git"
                wait_until(mirror.exists, "it comes")
                assert "Traceback" not in daemon.running.err
