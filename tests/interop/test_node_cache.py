"""Clones on a machine where a node runs: one download for all, and seeding after the clone is gone.

The origin runs in this process and logs what it sent; the node and the clones are real programs.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gittorrent.event_log import fields_of
from gittorrent.node.options import Options
from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from support import bulk, gitcmd, nodes
from support.nodes import Served
from support.programs import Daemon, Person, Running, processes, serve, wait_until
from support.repositories import noise

SLOW = 1 << 20
"""Bytes per second of an origin whose clones are to be caught midway: all takes ten seconds."""


class Sent(logging.Handler):
    """Counts what conversations sent."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        self.ended: list[dict[str, object]] = []

    def emit(self, record: logging.LogRecord) -> None:
        event, fields = fields_of(record)
        if event == "conversation-ended":
            self.ended.append(fields)
            self.total += int(str(fields["sent"]))


@pytest.fixture
def sent() -> Iterator[Sent]:
    """What the origin has sent in conversations that ended."""
    logger = logging.getLogger("gittorrent.node.conversations")
    handler, level = Sent(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def url_of(served: Served) -> str:
    return f"gittorrent://{served.git.removeprefix('git://')}/project.git"


def size_of(large: Carried) -> int:
    return large.reels.all()[0].manifest.pack_size


def slow() -> Options:
    return Options(git=(("127.0.0.1", 0),), up_limit=SLOW, announce=False)


def assert_cloned(clone: Path, large: Carried) -> None:
    assert gitcmd.refs(clone) == bulk.published(gitcmd.refs(large.layout.git_dir))
    gitcmd.git(clone, "fsck", "--strict")


def pack_in(clone: Path, large: Carried) -> Path:
    return clone / "objects" / "pack" / large.reels.all()[0].pack.name


def kept(person: Person) -> list[dict[str, object]]:
    """Return what the person's node keeps, by its own account."""
    said = json.loads(person.gittorrent("status", "--json").ok().out)
    nodes_shown = [process for process in said["processes"] if process["kind"] == "node"]
    return [entry for node in nodes_shown for entry in node["cache"]]


def kept_one(person: Person) -> dict[str, object]:
    """Return the one thing that a person's node keeps, once it says so: it does once a second."""
    wait_until(lambda: len(kept(person)) == 1, "the node says what it keeps")
    (entry,) = kept(person)
    return entry


def wait_for_part(person: Person, running: Running) -> None:
    def begun() -> bool:
        for path in person.partial:
            if (path / "parts").exists() and (path / "parts").read_bytes().count(1) >= 2:
                return True
        return running.process.poll() is not None

    wait_until(begun, "a part or two are verified")


def test_two_clones_at_once_cost_one_download(
    large: Carried, tmp_path: Path, person: Person, sent: Sent
) -> None:
    with nodes.serving(large, home=nodes.make_home(tmp_path / "o"), options=slow()) as origin:
        with serve(person):
            both = [
                person.start("git", "clone", "--progress", "--mirror", url_of(origin), name)
                for name in ("a", "b")
            ]
            try:
                wait_until(
                    lambda: all("Receiving parts" in each.err for each in both), "both are at work"
                )
                origin.limit(None)
                for running in both:
                    assert running.wait() == 0, running.err
                said = [running.err for running in both]
            finally:
                for running in both:
                    running.stop()
            entry = kept_one(person)
    assert sent.total < 1.1 * size_of(large)
    for name, words in zip(("a", "b"), said, strict=True):
        assert "without a download" in words
        # The progress is the node's, shown where the clone runs.
        assert "Receiving parts: 100%" in words
        assert_cloned(person.root / name, large)
        assert pack_in(person.root / name, large).stat().st_nlink == 3
    assert entry["repository_id"] == large.info.repository_id
    assert entry["bytes"] == size_of(large)
    assert 23 * 3600 < int(str(entry["seconds_left"])) <= 24 * 3600


def test_later_clones_and_fetches_cost_nothing_more(
    large: Carried, tmp_path: Path, owner_key: Signer, person: Person, sent: Sent
) -> None:
    git_dir = tmp_path / "project.git"
    gitcmd.git(tmp_path, "clone", "-q", "--mirror", str(large.layout.git_dir), "project.git")
    carried = nodes.publish(git_dir, owner_key, "project")
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "o")) as origin, serve(person):
        url = url_of(origin)
        for name in ("a", "b"):
            person.git("clone", "--mirror", url, name).ok()
        wait_until(lambda: len(sent.ended) >= 3, "the conversations are over")
        assert sent.total < 1.1 * size_of(carried)
        before = sent.total
        for number in range(40):
            nodes.add_commit(git_dir, "refs/heads/main", "f", noise(f"{number}", 50_000))
        nodes.publish(git_dir, owner_key, None)
        for name in ("a", "b"):
            person.git("fetch", cwd=person.root / name).ok()
            assert_cloned(person.root / name, carried)
        new = max(reel.manifest.pack_size for reel in carried.reels.all() if reel.manifest.start)
        wait_until(lambda: len(sent.ended) >= 6, "the conversations are over")
        assert sent.total - before < 1.2 * new


def test_a_clone_killed_midway_stops_the_download_and_loses_nothing(
    large: Carried, tmp_path: Path, person: Person, sent: Sent
) -> None:
    with nodes.serving(large, home=nodes.make_home(tmp_path / "o"), options=slow()) as origin:
        with serve(person) as daemon:
            running = person.start("git", "clone", "--mirror", url_of(origin), "a")
            try:
                wait_for_part(person, running)
                running.signal_group(signal.SIGKILL)
                running.wait()
            finally:
                running.stop()
            # Nobody waits for it any more, so the node hangs up.
            wait_until(lambda: sent.total > 0, "the download has stopped")
            assert sent.total < size_of(large)
            origin.limit(None)
            done = person.git("clone", "--mirror", url_of(origin), "b").ok()
            assert daemon.running.process.poll() is None
    assert "without a download" in done.err
    assert_cloned(person.root / "b", large)
    # Parts that were under way when it was killed come twice, others do not.
    assert sent.total < 1.5 * size_of(large)


def test_a_node_killed_midway_leaves_the_clone_to_finish_by_itself(
    large: Carried, tmp_path: Path, person: Person
) -> None:
    with nodes.serving(large, home=nodes.make_home(tmp_path / "o"), options=slow()) as origin:
        with serve(person) as daemon:
            running = person.start("git", "clone", "--progress", "--mirror", url_of(origin), "a")
            try:
                wait_until(lambda: "Receiving parts" in running.err, "it is seen to work")
                os.kill(daemon.pid, signal.SIGKILL)
                origin.limit(None)
                assert running.wait() == 0, running.err
                said = running.err
            finally:
                running.stop()
        assert "does not go on" in said
        assert "without a download" not in said
        assert_cloned(person.root / "a", large)
        # A node that was killed is in nobody's way.
        person.git("clone", "--mirror", url_of(origin), "b").ok()
        with serve(person):
            person.git("clone", "--mirror", url_of(origin), "c").ok()
            assert kept_one(person)


def test_a_node_that_is_silent_is_not_waited_for(
    large: Carried, tmp_path: Path, person: Person
) -> None:
    with nodes.serving(large, home=nodes.make_home(tmp_path / "o")) as origin:
        with serve(person) as daemon:
            os.kill(daemon.pid, signal.SIGSTOP)
            said = person.git("clone", "--mirror", url_of(origin), "a").ok().err
            os.kill(daemon.pid, signal.SIGCONT)
    assert said.count("gittorrent: ") == 2, said  # first contact, and the URL with the id
    assert_cloned(person.root / "a", large)


def test_what_a_clone_hands_over_is_seeded_after_its_end(
    large: Carried, tmp_path: Path, people: Callable[[str], Person], sent: Sent
) -> None:
    """The clone is deleted, and the next downloader still gets parts from its node."""
    user, other = people("user"), people("other")
    options = Options(git=(("127.0.0.1", 0),), up_limit=SLOW, announce=False, lan=True)
    with nodes.serving(large, home=nodes.make_home(tmp_path / "o"), options=options) as origin:
        with serve(user):
            seeding = ("-c", "gittorrent.seedTime=3600")
            user.git(*seeding, "clone", "--mirror", url_of(origin), "a").ok()
            shutil.rmtree(user.root / "a")
            assert not seeds(user)
            entry = kept_one(user)
            assert int(str(entry["seconds_left"])) > 3000
            before = sent.total
            said = other.git("clone", "--progress", "--mirror", url_of(origin), "b").ok().err
    assert_cloned(other.root / "b", large)
    # Its node listens at a port of its own and was introduced by the origin.
    places = [line for line in said.splitlines() if line.startswith("Parts: ")]
    assert places, said
    assert large.info.repository_id in places[-1], places
    assert sent.total - before < size_of(large) * 2


def seeds(person: Person) -> list[str]:
    """Return the command lines of processes that seed a person's clones."""
    root = str(person.root)
    return [line for _, _, line in processes() if "gittorrent seed" in line and root in line]


def test_seed_hands_over(large: Carried, tmp_path: Path, person: Person) -> None:
    with nodes.serving(large, home=nodes.make_home(tmp_path / "o")) as origin:
        person.git("clone", "--mirror", f"{origin.git}/project.git", "c").ok()
        words = ("seed", "c", url_of(origin), "--hand-over", "--for", "600")
        person.gittorrent(*words).failed(3, "no node of yours", "gittorrent serve")
        with serve(person) as daemon:
            assert "for 600 s" in person.gittorrent(*words).ok().out
            entry = kept_one(person)
            assert 0 < int(str(entry["seconds_left"])) <= 600
            # Stock git finds nothing there: what is kept has no refs.
            person.git("ls-remote", f"{daemon.git}/{large.info.repository_id}").failed(
                128, "no such repository"
            )


def test_what_does_not_hold_is_not_taken_over(
    large: Carried, tmp_path: Path, person: Person
) -> None:
    with nodes.serving(large, home=nodes.make_home(tmp_path / "o")) as origin:
        person.git("clone", "--mirror", url_of(origin), "c").ok()
        pack = pack_in(person.root / "c", large)
        pack.chmod(0o644)
        with pack.open("r+b") as file:
            file.seek(3 << 20)
            file.write(b"rotten")
        with serve(person, "--log-format", "json", "--log-level", "info") as daemon:
            words = ("seed", "c", url_of(origin), "--hand-over")
            person.gittorrent(*words).failed(3)
            events = [json.loads(line) for line in daemon.running.err.splitlines() if "{" in line]
            assert not kept(person)
    refused = [event for event in events if event["event"] == "request-refused"]
    assert "is damaged" in refused[0]["reason"]


def test_handing_over_what_the_node_carries_says_so(
    large: Carried, tmp_path: Path, person: Person
) -> None:
    with nodes.serving(large, home=nodes.make_home(tmp_path / "o")) as origin:
        person.gittorrent("mirror", "--once", url_of(origin)).ok()
        with serve(person):
            person.git("clone", "--mirror", url_of(origin), "c").ok()
            done = person.gittorrent("seed", "c", url_of(origin), "--hand-over").ok()
            assert "which it carries" in done.out


def test_a_damaged_copy_is_noticed_and_downloaded_instead(
    large: Carried, tmp_path: Path, person: Person
) -> None:
    with nodes.serving(large, home=nodes.make_home(tmp_path / "o")) as origin, serve(person):
        person.git("clone", "--mirror", url_of(origin), "a").ok()
        entry = kept_one(person)
        pack = pack_in(Path(str(entry["path"])), large)
        pack.chmod(0o644)
        with pack.open("r+b") as file:
            file.seek(3 << 20)
            file.write(b"rotten")
        said = person.git("clone", "--mirror", url_of(origin), "b").ok().err
    assert "is damaged" in said
    assert "downloading instead" in said
    assert_cloned(person.root / "b", large)


@pytest.mark.parametrize(
    "setting", ["useNode=false", "listen=off", "downLimit=1G", "peerUpLimit=1G"]
)
def test_the_node_is_left_alone_where_the_user_says_so(
    large: Carried, tmp_path: Path, person: Person, setting: str
) -> None:
    with nodes.serving(large, home=nodes.make_home(tmp_path / "o")) as origin, serve(person):
        setting = f"gittorrent.{setting}"
        said = person.git("-c", setting, "clone", "--mirror", url_of(origin), "a").ok().err
        assert "without a download" not in said
        assert not kept(person)


def test_a_node_that_is_to_keep_nothing_keeps_nothing(
    large: Carried, tmp_path: Path, person: Person
) -> None:
    with nodes.serving(large, home=nodes.make_home(tmp_path / "o")) as origin:
        with serve(person, "--keep-for", "0"):
            said = person.git("clone", "--mirror", url_of(origin), "a").ok().err
            assert "without a download" not in said
            assert not kept(person)
        with serve(person, "--keep-size", "1M"):
            person.git("clone", "--mirror", url_of(origin), "b").ok()
            assert not kept(person)


def test_nothing_outlives_its_time(large: Carried, tmp_path: Path, person: Person) -> None:
    cache = person.node / "cache"
    with nodes.serving(large, home=nodes.make_home(tmp_path / "o")) as origin:
        with serve(person, "--keep-for", "2", "--log-level", "info") as daemon:
            person.git("clone", "--mirror", url_of(origin), "a").ok()
            # On a busy machine it may be gone before anybody has looked; the log tells of it.
            wait_until(
                lambda: "is not kept any longer" in daemon.running.err, "its time has passed"
            )
            assert daemon.running.err.count("is not kept any longer") == 1
            assert not list(cache.iterdir())
        with serve(person, "--keep-for", "1"):
            person.git("clone", "--mirror", url_of(origin), "b").ok()
        # The node has gone; whoever downloads next removes what it left.
        wait_until(lambda: not alive(cache), "its time has passed")
        person.git("-c", "gittorrent.useNode=false", "clone", "--mirror", url_of(origin), "c").ok()
        assert not list(cache.iterdir())


def test_what_turned_private_is_kept_no_more(
    tmp_path: Path, person: Person, owner_key: Signer
) -> None:
    carried = nodes.publish(nodes.make_repository(tmp_path / "r.git"), owner_key, "project")

    def answers(node: Daemon) -> int:
        address = ("127.0.0.1", int(node.http.rpartition(":")[2]))
        path = f"/{carried.info.repository_id}/mirror-list"
        return nodes.fetch(address, "GET", path)[0].status

    cache = person.node / "cache"
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "o")) as origin:
        with serve(person) as node:
            person.git("clone", url_of(origin), "copy").ok()
            kept_one(person)
            assert answers(node) == 200
    nodes.change_policy(carried, owner_key, private=True)
    mirror = nodes.copy_as_mirror(carried, tmp_path / "mirror.git", "")
    with serve(person, mirror.layout.git_dir) as node:
        assert answers(node) == 404
        wait_until(lambda: not list(cache.iterdir()), "the old copy is gone")


def alive(cache: Path) -> bool:
    """Tell whether something in a cache has time left."""
    found = [float(path.read_text()) for path in cache.glob("*/gittorrent/kept")]
    return any(until > time.time() for until in found)


def test_somebody_elses_socket_and_an_old_node_are_passed_by(
    large: Carried, tmp_path: Path, person: Person
) -> None:
    (person.node / "run").mkdir(parents=True)
    folder = os.open(person.node / "run", os.O_RDONLY)
    old = socket.socket(socket.AF_UNIX)
    old.bind(f"/proc/self/fd/{folder}/control")
    old.listen()

    def answer() -> None:
        with old.accept()[0] as caller:
            caller.sendall(b"gittorrent-control 2 from the future\n")
            caller.recv(1)

    thread = threading.Thread(target=answer)
    thread.start()
    with nodes.serving(large, home=nodes.make_home(tmp_path / "o")) as origin:
        said = person.git("clone", "--mirror", url_of(origin), "a").ok().err
    thread.join()
    old.close()
    os.close(folder)
    assert said.count("gittorrent: ") == 2, said  # first contact, and the URL with the id
    assert_cloned(person.root / "a", large)
