"""``gittorrent status`` while things are being transferred."""

from __future__ import annotations

import signal
from collections.abc import Callable

from gittorrent.repository.carried import Carried
from support.programs import Person, serve, wait_until


def test_status_shows_both_ends_of_a_download(
    large: Carried, people: Callable[[str], Person]
) -> None:
    server, user = people("server"), people("user")
    with serve(server, "--up-limit", "2M", large.layout.git_dir) as daemon:
        running = user.start("git", "clone", "--mirror", daemon.url(), "c")
        there = here = ""
        try:

            def seen() -> bool:
                # Either end writes once a second what it does, and not at the same moment.
                nonlocal there, here
                there = user.gittorrent("status").ok().out
                here = server.gittorrent("status").ok().out
                return "takes part" in there and "is sent parts" in here

            wait_until(lambda: running.process.poll() is not None or seen(), "both ends show it")
            running.signal_group(signal.SIGINT)
            running.wait()
        finally:
            running.stop()

        def ended() -> bool:
            return "ended in the last minute" in server.gittorrent("status").ok().out

        wait_until(ended, "its end is shown")
    total = len(large.reels.all()[0].manifest.parts)
    assert f" of {total} parts, " in there
    assert "takes part" in there
    assert daemon.git in there
    assert "1 caller, sending " in here
    assert "127.0.0.1  project" in here
    assert "is sent parts" in here
