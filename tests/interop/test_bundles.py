"""Stock git takes the bulk of a clone as bundles, which are reels with a header."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gittorrent.node.config_values import endpoint
from gittorrent.node.services import Reachable
from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from support import bulk, gitcmd, nodes
from support.programs import GITS, Daemon, Person, serve, somebody


@pytest.fixture(params=GITS)
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Person:
    return somebody(tmp_path / "reader", str(request.param))


@pytest.fixture
def operator(people: Callable[[str], Person]) -> Person:
    return people("operator")


def grown(path: Path, key: Signer, object_format: str = "sha1") -> Carried:
    """Publish a repository twice, so that it has a chain of two reels."""
    bulk.make_large(path, object_format)
    nodes.publish(path, key, "project")
    nodes.add_commit(path, "refs/heads/main", "more", b"more\n")
    return nodes.publish(path, key, None)


def sent_by_git(node: Daemon) -> int:
    """Return the bytes of the largest answer of upload-pack over HTTP.

    To be asked when the node has ended: a client may be done before the line about it is written.
    """
    sizes = re.findall(
        r"POST /project.git/git-upload-pack to \S+: 200, (\d+) bytes", node.running.err
    )
    return max(map(int, sizes), default=0)


def bundles_sent(node: Daemon) -> int:
    """Return how many bundles went out; to be asked when the node has ended, too."""
    return len(re.findall(r"GET /project.git/bundles/\S+ to \S+: 200", node.running.err))


def git_version(reader: Person) -> tuple[int, ...]:
    """Return the first two numbers of the version of somebody's git."""
    return tuple(map(int, re.findall(r"\d+", reader.git("version").ok().out)[:2]))


def test_a_list_that_was_named(reader: Person, operator: Person, owner_key: Signer) -> None:
    origin = grown(operator.root / "project.git", owner_key)
    with serve(operator, origin.layout.git_dir, "--log-level", "info") as node:
        url = f"{node.http}/project.git"
        done = reader.git("clone", "--mirror", f"--bundle-uri={url}/bundle-list", url, "copy").ok()
    assert "warning" not in done.err
    assert bundles_sent(node) == 2
    assert sent_by_git(node) < 100_000, "the bulk came as files"
    copy = reader.root / "copy"
    refs = {n: o for n, o in gitcmd.refs(copy).items() if not n.startswith(b"refs/bundles/")}
    assert refs == {bytes(n): str(o) for n, o in origin.log().refs.items()}
    reader.git("fsck", "--strict", cwd=copy).ok()


def test_a_list_for_a_host_that_is_none(operator: Person, owner_key: Signer) -> None:
    """What a caller names would be part of what a cache on the way gives to others."""
    origin = bulk.make_small(operator.root / "project.git")
    nodes.publish(origin, owner_key, "project")
    with serve(operator, origin) as node:
        where, _, port = node.http.removeprefix("http://").partition(":")
        for host in (b"\xff.localhost", b'a";#.localhost', b"u@localhost", b"localhost:0", None):
            header = b"" if host is None else b"Host: " + host + b"\r\n"
            request = b"GET /project.git/bundle-list HTTP/1.0\r\n" + header + b"\r\n"
            said = nodes.call((where, int(port)), request)
            if b" 421 " not in said:
                (uri,) = re.findall(rb"uri = (.*)", said)
                assert re.fullmatch(rb"bundles/[0-9a-f]{64}\.bundle", uri), host
        assert "Traceback" not in node.running.err


def test_bundles_that_the_server_tells_of(
    operator: Person, owner_key: Signer, people: Callable[[str], Person]
) -> None:
    reader = people("reader")
    origin = grown(operator.root / "project.git", owner_key)
    with serve(operator, origin.layout.git_dir, "--log-level", "info") as node:
        reader.git("clone", "--mirror", f"{node.http}/project.git", "plain").ok()
    assert bundles_sent(node) == 0, "who does not ask is given none"
    with serve(operator, origin.layout.git_dir, "--log-level", "info") as node:
        url = f"{node.http}/project.git"
        reader.git("-c", "transfer.bundleURI=true", "clone", "--mirror", url, "copy").ok()
    if git_version(reader) < (2, 40):
        pytest.skip("this git asks no server for bundles")
    assert bundles_sent(node) == 2
    assert sent_by_git(node) < 100_000
    plain, copy = (gitcmd.refs(reader.root / name) for name in ("plain", "copy"))
    assert plain == {n: o for n, o in copy.items() if not n.startswith(b"refs/bundles/")}


def test_bundles_told_of_over_git(operator: Person, owner_key: Signer, reader: Person) -> None:
    origin = grown(operator.root / "project.git", owner_key)
    with serve(operator, origin.layout.git_dir, "--log-level", "info") as node:
        reader.git("clone", "--mirror", f"{node.git}/project.git", "plain").ok()
    assert bundles_sent(node) == 0, "who does not ask is given none"
    with serve(operator, origin.layout.git_dir, "--log-level", "info") as node:
        url = f"{node.git}/project.git"
        reader.git("-c", "transfer.bundleURI=true", "clone", "--mirror", url, "told").ok()
    assert bundles_sent(node) == (2 if git_version(reader) >= (2, 40) else 0)
    with serve(operator, origin.layout.git_dir, "--log-level", "info") as node:
        url = f"{node.git}/project.git"
        named = f"--bundle-uri={node.http}/project.git/bundle-list"
        reader.git("clone", "--mirror", named, url, "named").ok()
    assert bundles_sent(node) == 2
    for name in ("told", "named"):
        refs = gitcmd.refs(reader.root / name).items()
        found = {ref: oid for ref, oid in refs if not ref.startswith(b"refs/bundles/")}
        assert found == gitcmd.refs(reader.root / "plain")
        reader.git("fsck", "--strict", cwd=reader.root / name).ok()


@pytest.mark.parametrize(
    ("public", "listening", "address", "base"),
    [
        ("https://a.example.org/x/", "http://127.0.0.1:80", "192.0.2.1", "https://a.example.org/x"),
        ("git://a.example.org", "http://192.0.2.9:8080", "192.0.2.1", None),
        (None, "http://192.0.2.9:8080", "192.0.2.1", "http://192.0.2.9:8080"),
        (None, "http://127.0.0.1:8080", "192.0.2.1", None),
        (None, "http://127.0.0.1:8080", "127.0.0.1", "http://127.0.0.1:8080"),
        (None, "git://192.0.2.9", "192.0.2.1", None),
    ],
)
def test_where_bundles_are_told_to_be(
    public: str | None, listening: str, address: str, base: str | None
) -> None:
    here = Reachable(None if public is None else endpoint(public), [endpoint(listening)])
    assert here.web_base(address) == base


def test_sha256(reader: Person, operator: Person, owner_key: Signer) -> None:
    origin = grown(operator.root / "project.git", owner_key, "sha256")
    with serve(operator, origin.layout.git_dir, "--log-level", "info") as node:
        url = f"{node.http}/project.git"
        reader.git("clone", "--mirror", f"--bundle-uri={url}/bundle-list", url, "copy").ok()
    reader.git("fsck", "--strict", cwd=reader.root / "copy").ok()


def test_a_bundle_by_ranges_is_the_same(operator: Person, owner_key: Signer) -> None:
    origin = grown(operator.root / "project.git", owner_key)
    with serve(operator, origin.layout.git_dir) as node:
        listed = operator.run("curl", "-sf", f"{node.http}/project.git/bundle-list").ok().out
        uris = re.findall(r"uri = (\S+)", listed)
        assert len(uris) == 2
        for uri in uris:
            whole = fetched(uri)
            cuts = [0, 7, 60, 61, 300, len(whole)]
            parts = [fetched(uri, f"{a}-{b - 1}") for a, b in itertools.pairwise(cuts)]
            assert b"".join(parts) == whole
        file = operator.root / "one.bundle"
        file.write_bytes(fetched(uris[0]))
        operator.git("clone", "--bare", file, "from-file").ok()
        operator.git("bundle", "verify", file, cwd=origin.layout.git_dir).ok()
        other = uris[0].replace(uris[0][-20:-7], "0" * 13)
        operator.run("curl", "-sf", other).failed(22)


def fetched(uri: str, span: str | None = None) -> bytes:
    words = ["curl", "-sf", *(["-r", span] if span else []), uri]
    return subprocess.run(words, capture_output=True, check=True).stdout


def test_private_repositories_have_none(operator: Person) -> None:
    path = bulk.make_small(operator.root / "project.git")
    said = operator.gittorrent("publish", path, "--new-key", "--private")
    said.ok()
    assert "is public" not in said.err
    assert "origin, private" in operator.gittorrent("status").ok().out
    assert "is public" not in operator.gittorrent("token", "new", "a", "-r", path).ok().err
    with serve(operator) as node:
        operator.run("curl", "-sf", f"{node.http}/project.git/bundle-list").failed(22)
        assert json.loads(operator.gittorrent("status", "--json").ok().out)["repositories"]
