"""``gittorrent status`` while things are being transferred."""

from __future__ import annotations

import signal
from collections.abc import Callable

from gittorrent.repository.carried import Carried
from support.programs import PATIENCE, Person, serve, wait_until

SLOW = "15K"
"""Upload limit under which the large repository takes longer than any wait of a test."""


def test_status_shows_both_ends_of_a_download(
    large: Carried, people: Callable[[str], Person]
) -> None:
    server, user = people("server"), people("user")
    size = large.reels.all()[0].manifest.pack_size
    assert size > PATIENCE * 15 * 1024, "the download could end before anybody has looked"
    with serve(server, "--up-limit", SLOW, large.layout.git_dir) as daemon:
        running = user.start("git", "clone", "--mirror", daemon.url(), "c")
        there = here = ""
        try:

            def seen() -> bool:
                # Either end writes once a second what it does, and not at the same moment.
                nonlocal there, here
                there = user.gittorrent("status").ok().out
                here = server.gittorrent("status").ok().out
                return "takes part" in there and "is sent parts" in here

            wait_until(seen, "both ends show it")
            assert running.process.poll() is None, running.err
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
