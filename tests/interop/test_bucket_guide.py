"""The guide to mirrors that are files, typed line by line, with nginx and a server of buckets."""

from __future__ import annotations

import re
import shlex
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from gittorrent.signing.keys import Signer
from support import bulk, gitcmd, nodes
from support.buckets import CREDENTIALS, bucket_server
from support.guides import DOCS, run, typed
from support.programs import Person, somebody, wait_until
from support.web_servers import nginx_files

GUIDE = "guide-from-a-bucket.md"


def nginx_block(root: Path) -> str:
    """Return the guide's lines for nginx, which serve a directory of this test."""
    found = re.search(r"```nginx\n(.*?)```", (DOCS / GUIDE).read_text(), re.DOTALL)
    assert found is not None
    assert "/var/www/mirrors" in found[1]
    return found[1].replace("/var/www/mirrors", str(root))


@pytest.fixture
def owner(tmp_path: Path, owner_key: Signer) -> Person:
    """Somebody who carries a repository by the name ``project``."""
    person = somebody(tmp_path / "owner", variables=CREDENTIALS)
    project = bulk.make_small(person.root / "project.git")
    person.gittorrent("publish", project, "--key", str(tmp_path_of(owner_key))).ok()
    return person


def tmp_path_of(key: Signer) -> Path:
    """Return the file of a key."""
    path = getattr(key, "path", None)
    assert isinstance(path, Path)
    return path


def headers(base: str, path: str) -> str:
    host, _, port = base.partition("://")[2].partition(":")
    answer, _ = nodes.fetch((host, int(port)), "GET", path)
    return f"{answer.status} {answer.getheader('Cache-Control')}"


def test_the_guide(owner: Person, person: Person, tmp_path: Path) -> None:
    www = tmp_path / "mirrors"
    with ExitStack() as stack:
        buckets = stack.enter_context(bucket_server(tmp_path / "buckets"))
        base = stack.enter_context(nginx_files(tmp_path / "nginx", nginx_block(www)))
        origin = f"file://{owner.root}/project.git"

        def here(line: str) -> str:
            line = re.sub(r"https://(cdn|one|two)\.example\.org", base, line)
            line = line.replace("https://s3.example.net", buckets.endpoint)
            line = line.replace("https://git.example.org/project.git", origin)
            return line.replace("/var/www/mirrors", str(www))

        (export,) = typed(GUIDE, "A directory behind a web server")
        run(owner, here(export))
        pack = next((www / "project" / "reels").glob("*.pack")).name
        assert headers(base, f"/project/reels/{pack}").endswith("immutable")
        assert headers(base, "/project/mirror-list") == "200 no-cache"
        assert headers(base, "/project/.gittorrent-export/inventory").startswith("404")
        install, to_bucket = typed(GUIDE, "A bucket")
        assert shlex.split(install) == ["pipx", "inject", "gittorrent", "obstore"]
        run(owner, here(to_bucket))
        assert buckets.read("project/mirror-list") == (www / "project/mirror-list").read_bytes()
        clone, mirror = typed(GUIDE, "Clone from it")
        run(person, here(clone))
        run(person, here(mirror))
        published = gitcmd.text(owner.root / "project.git", "rev-parse", "main")
        assert gitcmd.text(person.root / "project", "rev-parse", "HEAD") == published
        (follow,) = typed(GUIDE, "Keep it current")
        following = owner.start("sh", "-c", f"exec {here(follow)}")
        try:
            wait_until(lambda: "checkpoint" in following.out, "it looked")
            following.process.send_signal(signal.SIGTERM)
            assert following.wait() == 0
        finally:
            following.stop()
        with_bundles, stock = typed(GUIDE, "Stock git")
        run(owner, here(with_bundles))
        run(person, f"{here(stock)} stock")
        assert gitcmd.text(person.root / "stock", "rev-parse", "HEAD") == published
        (several,) = typed(GUIDE, "Many front ends")
        run(owner, here(several))
        assert (www / "project/mirror-list").read_text().count("try ") == 2
