"""How ``gittorrent mirror`` begins and ends as a service."""

from __future__ import annotations

import signal
from collections.abc import Callable

from gittorrent.repository.carried import Carried
from support import gitcmd
from support.programs import Person, serve, somebody, wait_until


def test_a_source_that_is_down_at_the_start(
    project: Carried, people: Callable[[str], Person]
) -> None:
    owner, mirror = people("owner"), people("mirror")
    with serve(owner, project.layout.git_dir) as origin:
        url = origin.url()
        mirror.gittorrent("mirror", url, "--once").ok()
    path = mirror.node / "repositories" / "project.git"
    assert (path / "packed-refs").read_bytes().startswith(b"# pack-refs")
    assert not [f for f in (path / "refs" / "heads").rglob("*") if f.is_file()]
    gitcmd.git(path, "fsck", "--strict")
    running = mirror.start("gittorrent", "mirror", url, "--interval", "600")
    try:
        wait_until(
            lambda: "trying again" in running.err or running.process.poll() is not None,
            "it says so",
        )
        assert running.process.poll() is None, running.err
        running.process.send_signal(signal.SIGTERM)
        assert running.wait() == 0
    finally:
        running.stop()
    mirror.gittorrent("mirror", url, "--once").failed(3)
    stranger = somebody(mirror.root.parent / "stranger")
    stranger.gittorrent("mirror", url).failed(3)


def test_a_public_url_that_nobody_could_use(person: Person) -> None:
    person.gittorrent("serve", "--git", "127.0.0.1:0", "--url", "foo").failed(2, "--url foo")
