"""A node that tracks plain git servers: schedule, webhooks, configuration, kills."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gittorrent.repository.carried import Carried, object_format_of
from support import bulk, certificates, gitcmd, nodes
from support.plain_servers import git_over_http
from support.programs import Person, serve, wait_until
from support.web_servers import block_of_the_guide, nginx

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def operator(people: Callable[[str], Person]) -> Person:
    return people("operator")


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    return bulk.make_small(tmp_path / "upstreams" / "project.git")


def status(operator: Person) -> dict[str, Any]:
    found = json.loads(operator.gittorrent("status", "--json").ok().out)
    assert isinstance(found, dict)
    return found


def tracked(operator: Person, name: str = "project") -> dict[str, Any]:
    return dict(next(each for each in status(operator)["tracks"] if each["name"] == name))


def follows(operator: Person, upstream: Path, name: str = "project") -> bool:
    """Tell whether all that the upstream has is final here."""
    path = operator.node / "repositories" / f"{name}.git"
    if not (path / "gittorrent" / "repository.json").exists():
        return False
    log = Carried(path, object_format_of(path)).log()
    return {bytes(ref): str(oid) for ref, oid in log.refs.items()} == gitcmd.refs(upstream)


def grow(upstream: Path, name: str) -> None:
    nodes.add_commit(upstream, "refs/heads/main", name, name.encode())


def post(url: str, headers: dict[str, str], body: bytes) -> int:
    request = urllib.request.Request(url, body, headers, method="POST")
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def signed(forge: str, body: bytes) -> dict[str, str]:
    """Return the headers by which a forge proves a webhook."""
    mac = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    return {
        "github": {"X-GitHub-Event": "push", "X-Hub-Signature-256": f"sha256={mac}"},
        "gitlab": {"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": SECRET},
        "forgejo": {
            "X-Forgejo-Event": "push",
            "X-Forgejo-Signature": mac,
            "X-Gitea-Signature": mac,
            "X-Hub-Signature-256": f"sha256={mac}",
        },
        "gitea": {"X-Gitea-Event": "push", "X-Gitea-Signature": mac},
    }[forge] | {"Content-Type": "application/json"}


def test_the_schedule_outlives_the_node(operator: Person, upstream: Path) -> None:
    with serve(operator):
        done = operator.gittorrent("track", upstream, "--every", "10s").ok()
        assert "handed over" in done.err
        assert "gittorrent://" in done.out
        assert follows(operator, upstream)
        reels = operator.node / "repositories" / "project.git" / "gittorrent" / "reels"
        wait_until(lambda: any(reels.glob("*.manifest")), "the first reel is made")
    grow(upstream, "one")
    with serve(operator) as node:
        wait_until(lambda: follows(operator, upstream), "the new node has looked")
        assert tracked(operator)["every"] == 10
        assert tracked(operator)["failures"] == 0
        assert not gitcmd.text(upstream, "for-each-ref", "refs/gittorrent")
        reader = Person(operator.root / "reader")
        reader.root.mkdir()
        reader.git("clone", node.url(), "copy").ok()


def test_pause_resume_and_remove(operator: Person, upstream: Path) -> None:
    with serve(operator):
        operator.gittorrent("track", upstream, "--every", "10s").ok()
        operator.gittorrent("pause", "project").ok()
        grow(upstream, "one")
        assert tracked(operator)["paused"]
        assert "paused until" in operator.gittorrent("status").ok().out
        operator.gittorrent("resume", "project").ok()
        wait_until(lambda: follows(operator, upstream), "it is tracked again")
        operator.gittorrent("remove", "project", "--yes", "--delete").ok()
        assert status(operator)["tracks"] == status(operator)["repositories"] == []
        assert not (operator.node / "repositories" / "project.git").exists()
    operator.gittorrent("pause", "project").failed(2, "no repository that is carried here")


def test_the_first_look_that_fails_leaves_no_schedule(operator: Person, tmp_path: Path) -> None:
    with serve(operator):
        operator.gittorrent("track", tmp_path / "nothing.git").failed(3, "cannot track")
        assert status(operator)["tracks"] == []


def test_failures_are_told_and_end(operator: Person, upstream: Path) -> None:
    with serve(operator):
        operator.gittorrent("track", upstream, "--every", "10s").ok()
        away = upstream.with_name("away.git")
        upstream.rename(away)
        operator.gittorrent("track", upstream).failed(3, "cannot track")
        assert tracked(operator)["failures"] >= 1
        assert "no news" in operator.gittorrent("status").ok().out
        away.rename(upstream)
        grow(upstream, "one")
        operator.gittorrent("track", upstream).ok()
        assert follows(operator, upstream)
        assert tracked(operator)["failures"] == 0


@pytest.mark.parametrize("forge", ["github", "gitlab", "forgejo", "gitea"])
def test_webhooks_make_the_node_look(operator: Person, upstream: Path, forge: str) -> None:
    (operator.root / "secret").write_text(f"{SECRET}\n")
    with serve(operator) as node:
        track_rarely(operator, upstream)
        grow(upstream, "one")
        body = json.dumps({"ref": "refs/heads/main", "commits": ["x" * 70_000]}).encode()
        hook = f"{node.http}/project.git/webhook"
        assert post(hook, signed(forge, body), body) == 202
        wait_until(lambda: follows(operator, upstream), "the node has looked")
        replay = urllib.request.Request(hook, body, signed(forge, body), method="POST")
        with urllib.request.urlopen(replay) as answer:
            assert b"came before" in answer.read()
        grow(upstream, "two")
        other = json.dumps({"ref": "refs/heads/main", "commits": []}).encode()
        assert post(hook, signed(forge, other), other) == 202
        wait_until(lambda: follows(operator, upstream), "a replay holds nothing new up")


def track_rarely(operator: Person, upstream: Path) -> None:
    words = ("--every", "30d", "--hook-secret", operator.root / "secret")
    operator.gittorrent("track", upstream, *words).ok()


def test_webhooks_without_proof_are_refused(operator: Person, upstream: Path) -> None:
    (operator.root / "secret").write_text(SECRET)
    with serve(operator) as node:
        track_rarely(operator, upstream)
        hook, body = f"{node.http}/project.git/webhook", b"{}"
        right = signed("github", body)
        from_page = {**right, "Origin": "https://evil.example.org", "Sec-Fetch-Mode": "cors"}
        assert post(hook, from_page, body) == 403
        assert post(f"{node.http}/other.git/webhook", right, body) == 404
        assert post(hook, right, b"{ }") == 403
        for _ in range(7):
            assert post(hook, {}, body) == 403
        for encoding in ("br", "gzip"):
            encoded = {**signed("github", body), "Content-Encoding": encoding}
            assert post(hook, encoded, body) == 400
        for _ in range(3):
            assert post(hook, {}, body) == 429
            assert post(hook, signed("forgejo", b"?"), body) == 429
        assert post(hook, right, body) == 202, "it comes from a forge that others use as well"
        assert node.running.err.count("has no proof") == 10, "nobody fills the log"
    operator.gittorrent("track", upstream, "--once", "--name", "plain").ok()
    with serve(operator) as node:
        assert post(f"{node.http}/plain.git/webhook", signed("github", b"{}"), b"{}") == 404


def test_a_webhook_behind_nginx(operator: Person, upstream: Path, tmp_path: Path) -> None:
    (operator.root / "secret").write_text(SECRET)
    authority = tmp_path / "authority"
    authority.mkdir()
    certificates.authority(authority)
    certificate = certificates.issue(authority)
    with serve(operator, "--behind-proxy") as node:
        track_rarely(operator, upstream)
        grow(upstream, "one")
        location = block_of_the_guide(node.http.removeprefix("http://"))
        with nginx(tmp_path / "nginx", certificate, location) as base:
            words = ["--silent", "--show-error", "--fail", "--insecure", "--data", "{}"]
            for name, value in signed("github", b"{}").items():
                words += ["--header", f"{name}: {value}"]
            operator.run("curl", *words, f"{base}/project.git/webhook").ok()
        wait_until(lambda: follows(operator, upstream), "the node has looked")


def test_the_configuration_names_what_is_tracked(operator: Person, upstream: Path) -> None:
    other = bulk.make_small(upstream.with_name("other.git"))
    config = operator.node / "node.toml"
    operator.node.mkdir(mode=0o700)
    config.write_text(f'[[track]]\nurl = "{upstream}"\nevery = "10s"\n')
    with serve(operator):
        wait_until(lambda: follows(operator, upstream), "the first is published")
        config.write_text(f'[[track]]\nurl = "{other}"\nrefs = "^refs/heads/topic/*"\n')
        operator.gittorrent("reload").ok()
        path = operator.node / "repositories" / "other.git"
        wait_until(lambda: (path / "gittorrent" / "repository.json").exists(), "the second is")
        wait_until(
            lambda: [t["name"] for t in status(operator)["tracks"]] == ["other"], "it is all"
        )
        operator.gittorrent("track", other).failed(2, "configuration")
        operator.gittorrent("remove", "other", "--yes").failed(2, "node.toml")
        assert {row["name"] for row in status(operator)["repositories"]} == {"project", "other"}


def test_a_confirmation_makes_the_node_look(operator: Person, upstream: Path) -> None:
    names = [f"refs/heads/many/{number}" for number in range(20)]
    for name in names:
        gitcmd.git(upstream, "update-ref", name, "refs/heads/main")
    with serve(operator):
        operator.gittorrent("track", upstream, "--every", "30d").ok()
        for name in names:
            gitcmd.git(upstream, "update-ref", "-d", name)
        operator.gittorrent("track", upstream).ok()
        assert "disappeared at once" in operator.gittorrent("status").ok().out
        assert not follows(operator, upstream)
        operator.gittorrent("confirm", "project").ok()
        wait_until(lambda: follows(operator, upstream), "the node has let them go")


def how_far(operator: Person) -> list[Callable[[], bool]]:
    """Return what shows how far a first look has come, in the order in which it does."""
    place = operator.node / "repositories" / "project.git"
    return [
        operator.node.exists,
        place.exists,
        lambda: any(place.glob("gittorrent/incoming/incoming-*")),
        lambda: any(place.glob("objects/pack/*.pack")),
        (place / "packed-refs").exists,
        (place / "gittorrent" / "repository.json").exists,
    ]


@pytest.mark.slow
@pytest.mark.parametrize("stage", range(6))
def test_kills_in_the_middle_of_a_look_lose_nothing(
    operator: Person, tmp_path: Path, stage: int
) -> None:
    upstream = bulk.make_large(tmp_path / "upstreams" / "project.git")
    running = operator.start("gittorrent", "track", upstream, "--once", "--quiet")
    has_come, ended = how_far(operator)[stage], running.process.poll
    wait_until(lambda: has_come() or ended() is not None, "it is that far")
    running.stop()
    running.wait_all()
    grow(upstream, "more")
    operator.gittorrent("track", upstream, "--once").ok()
    assert follows(operator, upstream)
    gitcmd.git(operator.node / "repositories" / "project.git", "fsck", "--strict")
    operator.gittorrent("verify", "project").ok()


def test_the_node_asks_only_for_a_list_where_nothing_is_new(
    operator: Person, upstream: Path
) -> None:
    with git_over_http(upstream.parent) as server, serve(operator):
        url = f"{server.base}/project.git"
        operator.gittorrent("track", url, "--every", "30d").ok()
        server.requests.clear()
        operator.gittorrent("track", url).ok()
        services = [re.sub(r".*/project.git/", "", each) for each in server.requests]
        assert services == ["info/refs?service=git-upload-pack", "git-upload-pack"]
