"""The guide to a mirror of anything, typed line by line."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from gittorrent.repository.carried import Carried, object_format_of
from support import bulk, gitcmd, nodes
from support.guides import run, typed
from support.plain_servers import git_over_http
from support.programs import Person, somebody, wait_until

GUIDE = "guide-mirror-of-anything.md"
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl missing")


def published(operator: Person) -> dict[bytes, str]:
    """Return what is final of the tracked project."""
    path = operator.node / "repositories" / "project.git"
    if not (path / "gittorrent" / "repository.json").exists():
        return {}
    log = Carried(path, object_format_of(path)).log()
    return {bytes(ref): str(oid) for ref, oid in log.refs.items()}


@needs_openssl
def test_a_mirror_of_anything(tmp_path: Path) -> None:
    operator, reader = somebody(tmp_path / "operator"), somebody(tmp_path / "reader")
    upstream = bulk.make_small(tmp_path / "upstreams" / "team" / "project.git")
    gitcmd.git(upstream, "update-ref", "refs/pull/1/head", "refs/heads/topic/one")
    gitcmd.git(upstream, "update-ref", "refs/heads/dependabot/x", "refs/heads/old")
    init, serve, track, clone = typed(GUIDE, "Track it")
    with git_over_http(tmp_path / "upstreams") as server:
        names = {"https://git.example.org": server.base}

        def here(line: str) -> str:
            for name, meant in names.items():
                line = line.replace(name, meant)
            return line

        run(operator, init)
        listen = serve.removesuffix("&").replace("0.0.0.0:9418", "127.0.0.1:0")
        listen = listen.replace("0.0.0.0:8417", "127.0.0.1:0")
        running = operator.start("sh", "-c", f"exec {listen} --no-dht")
        try:
            wait_until(lambda: running.out.count("listening at") >= 2, "it listens")
            ports = dict(re.findall(r"listening at (git|http)://127\.0\.0\.1:(\d+)", running.out))
            said = run(operator, here(track))
            found = re.search(r"gittorrent://([a-z0-9]+)@", said)
            assert found is not None, said
            names |= {
                "REPOSITORY_ID": found[1],
                "gittorrent://mirror.example.org": f"gittorrent://127.0.0.1:{ports['git']}",
                "@mirror.example.org": f"@127.0.0.1:{ports['git']}",
                "https://mirror.example.org": f"http://127.0.0.1:{ports['http']}",
            }
            main = gitcmd.text(upstream, "rev-parse", "main")
            run(reader, here(clone))
            assert gitcmd.text(reader.root / "project", "rev-parse", "HEAD") == main
            section = typed(GUIDE, "Pull requests, and what you do not want")
            follow_too, leave_out = (here(line) for line in section)
            run(operator, follow_too)
            wait_until(lambda: b"refs/pull/1/head" in published(operator), "pull requests came")
            run(operator, leave_out)
            wait_until(lambda: b"refs/heads/dependabot/x" not in published(operator), "it left")
            assert b"refs/heads/old" in published(operator)
            secret, rarely = typed(GUIDE, "At once, by a webhook")
            run(operator, secret)
            run(operator, here(rarely))
            commit = nodes.add_commit(upstream, "refs/heads/main", "new", b"new\n")
            wait_until(partial(hooked, operator, here, commit), "the webhook made it look")
            (try_once,) = typed(GUIDE, "Private servers")
            run(operator, try_once.replace("URL", f"{server.base}/team/project.git"))
            for number, line in enumerate(typed(GUIDE, "Stock git")):
                place = reader.root / f"stock{number}"
                run(reader, f"{here(line)} {place}")
                assert gitcmd.text(place, "rev-parse", "HEAD") == commit
        finally:
            running.stop()


def hooked(operator: Person, here: Callable[[str], str], commit: str) -> bool:
    """Tell the node as a forge does; returns whether it has published a commit."""
    url = here("https://mirror.example.org/project.git/webhook")
    send = (
        "key=$(cat hook-secret); "
        "sum=$(printf '{}' | openssl dgst -sha256 -hmac \"$key\" | sed 's/.* //'); "
        f"curl -fsS -X POST -H 'X-GitHub-Event: push' -H \"X-Hub-Signature-256: sha256=$sum\""
        f" -H 'Content-Type: application/json' -d '{{}}' {url}"
    )
    operator.run("sh", "-c", send).ok()
    return published(operator).get(b"refs/heads/main") == commit


def test_what_the_guide_says_of_a_past_that_changes(tmp_path: Path) -> None:
    operator = somebody(tmp_path / "operator")
    upstream = bulk.make_small(tmp_path / "upstreams" / "project.git")
    operator.gittorrent("track", upstream, "--once").ok()
    other = nodes.make_repository(tmp_path / "other.git")
    gitcmd.git(upstream, "fetch", "-q", "--force", str(other), "+refs/heads/main:refs/heads/main")
    before = published(operator)
    operator.gittorrent("track", upstream, "--once")
    shows, lets_go, _ = typed(GUIDE, "When the server changes its past")
    assert published(operator)[b"refs/heads/main"] == before[b"refs/heads/main"]
    assert "project" in run(operator, shows.partition("#")[0])
    run(operator, lets_go.partition("#")[0])
    operator.gittorrent("track", upstream, "--once").ok()
    assert published(operator)[b"refs/heads/main"] == gitcmd.refs(upstream)[b"refs/heads/main"]
