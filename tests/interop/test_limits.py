"""Rate limits of the programs as users start them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gittorrent.repository.carried import Carried
from support import nodes
from support.programs import Person, serve


@pytest.mark.slow
@pytest.mark.parametrize("how", ["option", "configuration", "mirror"])
def test_downloads_keep_to_their_limit(
    large: Carried, tmp_path: Path, person: Person, how: str
) -> None:
    size = large.reels.all()[0].manifest.pack_size
    with nodes.serving(large, home=nodes.make_home(tmp_path / "node")) as served:
        url = f"gittorrent://{served.git.removeprefix('git://')}/project.git"
        begin = time.monotonic()
        if how == "option":
            person.gittorrent("clone", "--down-limit", "4M", url, "c", "--mirror").ok()
            # It holds for this clone only.
            config = person.git("config", "--list", "--local", cwd=person.root / "c").ok().out
            assert "downlimit" not in config.lower()
        elif how == "configuration":
            limit = "gittorrent.downLimit=4M"
            person.git("-c", limit, "clone", "--mirror", url, "c").ok()
        else:
            person.gittorrent("mirror", "--once", "--down-limit", "4M", url).ok()
        seconds = time.monotonic() - begin
    assert seconds > 0.9 * size / (4 << 20)


@pytest.mark.slow
def test_a_node_keeps_to_the_limit_of_each_peer(
    large: Carried, people: Callable[[str], Person]
) -> None:
    """Two clones from one address share what one peer gets."""
    server, user = people("server"), people("user")
    size = large.reels.all()[0].manifest.pack_size
    with serve(server, "--peer-up-limit", "8M", large.layout.git_dir) as daemon:
        begin = time.monotonic()
        alone = {"GITTORRENT_HOME": str(user.root / "other")}
        other = Person(user.root, variables=alone)
        both = [
            each.start(
                "git", "-c", "gittorrent.listen=off", "clone", "--mirror", daemon.url(), name
            )
            for each, name in ((user, "a"), (other, "b"))
        ]
        try:
            for running in both:
                assert running.wait() == 0, running.err
        finally:
            for running in both:
                running.stop()
        seconds = time.monotonic() - begin
    assert seconds > 0.9 * 2 * size / (8 << 20)
