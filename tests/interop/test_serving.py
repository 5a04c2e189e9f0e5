"""A node against stock git, plain HTTP clients, and our own conversations."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.ids import ManifestId, PushId
from gittorrent.node.conversations import NOT_SERVED
from gittorrent.node.git_listener import NO_PUSH, OUR_FAULT
from gittorrent.reel.manifest import Manifest, parse_manifest
from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from gittorrent.transfer.content_source import EmptyContentSource
from gittorrent.transfer.conversation import Conversation
from gittorrent.transfer.conversation_roles import ConversationHandlers, Upload
from gittorrent.transfer.limiter import Limiter
from gittorrent.trust.signature import split_signed
from gittorrent.wire import pktline
from gittorrent.wire.messages import (
    EndLog,
    FetchLog,
    FetchManifest,
    FetchParts,
    HaveBundle,
    HaveCheckpoint,
    ReceiveManifest,
    ReceivePart,
    ReceivePush,
    WantBundle,
    parse_message,
)
from gittorrent.wire.mirrorlist import parse_lines, parse_text
from gittorrent.wire.pktline import FLUSH
from gittorrent.wire.reelname import PackShape, ReelName
from gittorrent.wire.service import ServiceRequest, encode_request
from gittorrent.wire.session import MessageReceived, Role, Session
from support import gitcmd, nodes
from support.nodes import Served, call, fetch, request
from support.packets import PacketStream
from support.programs import PATIENCE

GITS = sorted({os.path.realpath(p) for p in (shutil.which("git"), "/usr/bin/git") if p})
SIZE = 2_600_000
"""Bytes of the large file: a pack of several parts."""

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen missing")


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return nodes.signer(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def carried(tmp_path_factory: pytest.TempPathFactory, key: Signer) -> Carried:
    root = tmp_path_factory.mktemp("published")
    return nodes.publish(nodes.make_repository(root / "r.git", SIZE), key, "project")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, carried: Carried) -> Iterator[Served]:
    home = nodes.make_home(tmp_path_factory.mktemp("home"))
    with nodes.serving(carried, home=home) as running:
        yield running


def run_git(git: str, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [git, *words],
        capture_output=True,
        text=True,
        env=gitcmd.ENVIRONMENT,
        cwd=cwd,
        timeout=PATIENCE,
    )


def clone(git: str, url: str, target: Path, *options: str) -> Path:
    done = run_git(git, "clone", "--quiet", "--bare", *options, url, str(target))
    assert done.returncode == 0, done.stderr
    return target


def published_refs(carried: Carried) -> dict[bytes, str]:
    every = gitcmd.refs(carried.layout.git_dir)
    return {n: o for n, o in every.items() if n.startswith((b"refs/heads/", b"refs/tags/"))}


# --- git clients ---------------------------------------------------------------------------------


@pytest.mark.parametrize("git", GITS)
@pytest.mark.parametrize("version", ["0", "1", "2"])
@pytest.mark.parametrize("transport", ["git", "http"])
def test_stock_clone(
    served: Served, carried: Carried, tmp_path: Path, git: str, version: str, transport: str
) -> None:
    url = f"{getattr(served, transport)}/project.git"
    made = clone(git, url, tmp_path / "c", "--mirror", "-c", f"protocol.version={version}")
    assert gitcmd.refs(made) == published_refs(carried)
    gitcmd.git(made, "fsck", "--strict")


@pytest.mark.parametrize("transport", ["git", "http"])
def test_shallow_and_partial_clones(served: Served, tmp_path: Path, transport: str) -> None:
    url = f"{getattr(served, transport)}/project"
    shallow = clone("git", url, tmp_path / "shallow", "--depth=1")
    assert gitcmd.text(shallow, "rev-list", "--count", "main") == "1"
    partial = clone("git", url, tmp_path / "partial", "--filter=blob:none")
    missing = gitcmd.text(partial, "rev-list", "--all", "--objects", "--missing=print")
    assert "?" in missing


@pytest.mark.parametrize("transport", ["git", "http"])
def test_paths_by_id(served: Served, carried: Carried, tmp_path: Path, transport: str) -> None:
    base, repository = getattr(served, transport), carried.info.repository_id
    for number, path in enumerate((repository, f"{repository}/project.git", "project.git/")):
        clone("git", f"{base}/{path}", tmp_path / str(number))


@pytest.mark.parametrize("version", ["0", "2"])
@pytest.mark.parametrize("transport", ["git", "http"])
def test_only_published_refs_are_shown(
    served: Served, carried: Carried, transport: str, version: str
) -> None:
    url = f"{getattr(served, transport)}/project.git"
    done = run_git("git", "-c", f"protocol.version={version}", "ls-remote", url)
    assert done.returncode == 0, done.stderr
    names = {line.split("\t")[1] for line in done.stdout.splitlines()}
    assert "HEAD" in names
    names -= {"HEAD", "refs/tags/v1^{}"}
    assert names == {name.decode() for name in published_refs(carried)}


@pytest.mark.parametrize("version", ["0", "2"])
def test_objects_can_be_fetched_by_id(
    served: Served, carried: Carried, tmp_path: Path, version: str
) -> None:
    wanted = gitcmd.text(carried.layout.git_dir, "rev-parse", "refs/heads/main~1")
    target = gitcmd.init(tmp_path / "t")
    url = f"{served.git}/project.git"
    done = run_git("git", "-c", f"protocol.version={version}", "fetch", url, wanted, cwd=target)
    assert done.returncode == 0, done.stderr
    assert gitcmd.text(target, "cat-file", "-t", wanted) == "commit"


@pytest.mark.parametrize("git", GITS)
@pytest.mark.parametrize(("transport", "words"), [("git", NO_PUSH), ("http", "not signed")])
def test_push_is_refused_with_our_words(
    served: Served, carried: Carried, git: str, transport: str, words: str
) -> None:
    url = f"{getattr(served, transport)}/project.git"
    done = run_git(git, "push", url, "main:refs/heads/new", cwd=carried.layout.git_dir)
    assert done.returncode != 0
    assert words in done.stderr


@pytest.mark.parametrize(
    ("path", "host", "named"),
    [
        (b"/project.git", b"localhost:1", "http://localhost:{port}/project.git"),
        (b"/nothing.git", b"m.example.org", "http://m.example.org:{port}/nothing.git"),
        (b"/project.git", b"m.example.org\\x", ""),
        (b"/project.git", b"me@m.example.org", ""),
        (b"/../x", b"m.example.org", ""),
        (b"/" + b"x" * 150, b"m.example.org", ""),
        (b"/project.git", None, ""),
    ],
)
def test_where_pushes_are_taken_is_said_to_whoever_may_not(
    served: Served, path: bytes, host: bytes | None, named: str
) -> None:
    """What is named is made of the caller's words, so that it tells nothing of what is here."""
    line = encode_request(ServiceRequest("git-receive-pack", path, host))
    answer = call(served.git_address, pktline.encode(line))
    url = named.format(port=served.http_address[1])
    where = f"{url}, over ssh, or to another mirror\n" if named else ""
    assert (
        answer[4:].decode().startswith(f"ERR {NO_PUSH}; push {'to' if named else 'over'} {where}")
    )


def test_configuration_of_the_repository_does_not_weaken_serving(
    tmp_path: Path, key: Signer
) -> None:
    carried = nodes.publish(nodes.make_repository(tmp_path / "r.git"), key, "odd")
    git_dir = carried.layout.git_dir
    gitcmd.git(git_dir, "config", "transfer.hideRefs", "!refs/private")
    gitcmd.git(git_dir, "config", "uploadpack.allowFilter", "false")
    gitcmd.git(git_dir, "config", "uploadpack.packObjectsHook", f"touch {tmp_path}/hooked; false")
    if os.geteuid() == 0:
        for path in (git_dir, *git_dir.rglob("*")):
            os.chown(path, 65534, 65534)
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "h")) as served:
        made = clone("git", f"{served.git}/odd", tmp_path / "c", "--mirror", "--filter=blob:none")
    assert b"refs/private/secret" not in gitcmd.refs(made)
    assert not (tmp_path / "hooked").exists()


def test_sha256_repository(tmp_path: Path, key: Signer) -> None:
    repository = nodes.make_repository(tmp_path / "r.git", object_format="sha256")
    carried = nodes.publish(repository, key, "long")
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "h")) as served:
        for base in (served.git, served.http):
            made = clone("git", f"{base}/long.git", tmp_path / base[:3], "--mirror")
            assert gitcmd.refs(made) == published_refs(carried)
        latest = carried.log_store.ids()[-1]
        _, data = fetch(served.http_address, "GET", f"/long.git/pushes/{latest}")
        assert data == carried.log_store.push_file(latest)


def test_compressed_and_announced_bodies(served: Served, carried: Carried) -> None:
    body = pktline.encode(b"command=ls-refs\n") + b"0001" + pktline.encode(b"symrefs\n") + b"0000"
    path = "/project.git/git-upload-pack"
    headers = {
        "Content_Type": "application/x-git-upload-pack-request",
        "Git_Protocol": "version=2",
    }
    zipped = gzip.compress(body)
    for data, more in ((body, {}), (zipped, {"Content_Encoding": "gzip"})):
        response, text = fetch(served.http_address, "POST", path, data, **headers, **more)
        assert response.status == 200
        assert b"symref-target:refs/heads/main" in text
    response, _ = fetch(served.http_address, "POST", path, body, Content_Type="text/plain")
    assert response.status == 415
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        "Expect: 100-continue",
        "Connection: close",
    ]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    with socket.create_connection(served.http_address, timeout=PATIENCE) as sock:
        sock.sendall("\r\n".join(lines).encode())
        # The head of the answer may follow at once, in the same packet.
        proceed = b"HTTP/1.1 100 Continue\r\n\r\n"
        answer = sock.recv(1000)
        assert answer.startswith(proceed)
        answer = answer.removeprefix(proceed)
        sock.sendall(body)
        while more_bytes := sock.recv(65536):
            answer += more_bytes
    assert b"200 OK" in answer
    assert b"refs/heads/main" in answer


def test_a_damaged_repository_is_our_fault(tmp_path: Path, key: Signer) -> None:
    carried = nodes.publish(nodes.make_repository(tmp_path / "r.git"), key, "worn")
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "h")) as served:
        carried.log_store.path.write_text("no push id\n")
        answer = call(served.git_address, request("git-upload-pack", b"/worn.git"))
        assert OUR_FAULT.encode() in answer
        assert str(tmp_path).encode() not in answer
        path = "/worn.git/info/refs?service=git-upload-pack"
        response, text = fetch(served.http_address, "GET", path)
        assert (response.status, text.decode()) == (500, f"{OUR_FAULT}\n")
        answer = call(served.git_address, request("mirror-list", b"/worn.git"))
        assert b"repo " in answer
        assert b"latest" not in answer


def test_a_repository_that_vanished_is_not_served(tmp_path: Path, key: Signer) -> None:
    carried = nodes.publish(nodes.make_repository(tmp_path / "r.git"), key, "gone")
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "h")) as served:
        carried.layout.git_dir.rename(tmp_path / "away")
        for service in ("git-upload-pack", "mirror-list", "mirror-sync"):
            answer = call(served.git_address, request(service, b"/gone.git"))
            assert NOT_SERVED.encode() in answer
        response, text = fetch(served.http_address, "GET", "/gone.git/mirror-list")
        assert (response.status, text.decode()) == (404, f"{NOT_SERVED}\n")


# --- what is refused -----------------------------------------------------------------------------

TRICKS = [
    b"/", b"//project.git", b"/project.git/.", b"/./project.git", b"/x/../project.git",
    b"/../project.git", b"/project.git/..", b"/PROJECT.git", b"/%70roject.git", b"/project.git.git",
    b"/etc/passwd", b"/project.git/objects", b"/~root/project.git", b"/other.git",
    b"/project.gi\xff",
]  # fmt: skip


@pytest.mark.parametrize("path", TRICKS)
@pytest.mark.parametrize("service", ["git-upload-pack", "mirror-list", "mirror-sync"])
def test_path_tricks_are_refused_alike(served: Served, service: str, path: bytes) -> None:
    answer = call(served.git_address, request(service, path))
    assert answer == pktline.encode(f"ERR {NOT_SERVED}\n".encode())


def test_the_real_path_on_disk_is_not_served(served: Served, carried: Carried) -> None:
    path = os.fsencode(carried.layout.git_dir)
    assert NOT_SERVED.encode() in call(served.git_address, request("git-upload-pack", path))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (request("git-receive-pack", b"/project.git"), NO_PUSH.encode()),
        (request("git-upload-archive", b"/project.git"), b"archive"),
        (request("mirror-destroy", b"/project.git"), b"no service mirror-destroy"),
        (request("git-upload-pack", b"project.git"), b"no request"),
        (request("git-upload-pack", b"/project.git\n/x"), b"no request"),
        (b"GET / HTTP/1.1\r\n\r\n", b"no request"),
        (b"0000", b"no request"),
        (b"fff0", b"no request"),
    ],
)
def test_other_requests_are_refused_with_reason(served: Served, data: bytes, words: bytes) -> None:
    answer = call(served.git_address, data, end=True)
    assert answer[4:8] == b"ERR "
    assert words in answer


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/../project.git/mirror-list", 404),
        ("//project.git/mirror-list", 404),
        ("/%2e%2e/project.git/mirror-list", 404),
        ("/x%2fproject.git/mirror-list", 404),
        ("/project.git%00/mirror-list", 404),
        ("/project.git/reels/..%2f..%2fconfig", 404),
        ("/project.git/reels/../../config", 404),
        ("/project.git/config", 404),
        ("/project.git/HEAD", 404),
        ("/project.git/objects/info/packs", 404),
        ("/project.git/", 404),
        ("/project.git/pushes/", 404),
        ("/project.git/pushes/0000", 404),
        ("/project.git/reels/" + 64 * "0" + ".pack", 404),
        ("/other.git/mirror-list", 404),
        ("/project.git/info/refs", 403),
    ],
)
def test_http_serves_nothing_else(served: Served, path: str, status: int) -> None:
    response, _ = fetch(served.http_address, "GET", path)
    assert response.status == status


@pytest.mark.parametrize("service", ["git-upload-pack", "git-receive-pack"])
def test_head_says_what_get_would(served: Served, service: str) -> None:
    path = f"/project.git/info/refs?service={service}"
    told = fetch(served.http_address, "GET", path)[0]
    response, data = fetch(served.http_address, "HEAD", path)
    assert (response.status, data) == (told.status, b"")
    if told.status == 200:
        assert response.getheader("Content-Type") == told.getheader("Content-Type")


# --- MirrorSync over HTTP ------------------------------------------------------------------------


def stored_manifest(carried: Carried) -> Manifest:
    (reel,) = carried.reels.all()
    return reel.manifest


def test_front_page_and_lists(served: Served, carried: Carried) -> None:
    _, page = fetch(served.http_address, "GET", "/")
    assert b"/project.git" in page
    _, text = fetch(served.http_address, "GET", "/project.git/mirror-list")
    found = parse_text(text)
    assert found.repository_id == carried.info.repository_id
    assert found.latest == carried.log_store.ids()[-1]
    # Two addresses of one node would pass for two mirrors.
    assert [entry.url for entry in found.mirrors] == [f"{served.git}/project.git"]
    packets = PacketStream().feed(call(served.git_address, request("mirror-list", b"/project.git")))
    assert packets.pop() is FLUSH
    again = parse_lines(packet for packet in packets if isinstance(packet, bytes))
    # The two may have been made in different seconds.
    assert replace(again, time=found.time) == found
    assert found.auth[0].pattern == b"refs/*"


def test_indexes_name_what_is_there(served: Served, carried: Carried) -> None:
    _, pushes = fetch(served.http_address, "GET", "/project.git/pushes/index")
    store = carried.log_store
    assert pushes.decode().split()[::2] == store.entries()
    _, short = fetch(served.http_address, "GET", "/project.git/pushes/short")
    lines = [line.split() for line in short.decode().splitlines()]
    assert [push for push, kind in lines if kind == "checkpoint"] == store.ids()
    assert {kind for _, kind in lines} == {"policy", "checkpoint"}
    for push in store.entries():
        response, data = fetch(served.http_address, "GET", f"/project.git/pushes/{push}")
        assert response.getheader("ETag") == f'"{push}"'
        assert data == carried.log_store.push_file(push)
    response, reels = fetch(served.http_address, "GET", "/project.git/reels/index")
    assert response.getheader("Cache-Control") == "no-cache"
    offer = parse_message(reels)
    assert isinstance(offer, HaveBundle)
    assert offer.manifest == stored_manifest(carried).id


def test_ranges_of_the_pack_are_the_parts(served: Served, carried: Carried) -> None:
    manifest = stored_manifest(carried)
    path = f"/project.git/reels/{manifest.id}"
    _, text = fetch(served.http_address, "GET", f"{path}.manifest")
    assert parse_manifest(split_signed(text)[0]) == manifest
    assert len(manifest.parts) > 2
    for index, digest in enumerate(manifest.parts):
        first = index * manifest.part_size
        wanted = f"bytes={first}-{first + manifest.part_size - 1}"
        response, data = fetch(served.http_address, "GET", f"{path}.pack", Range=wanted)
        assert response.status == 206
        assert response.getheader("ETag") == f'"{manifest.id}"'
        assert response.getheader("Cache-Control") == "public, max-age=31536000, immutable"
        end = first + len(data) - 1
        assert response.getheader("Content-Range") == f"bytes {first}-{end}/{manifest.pack_size}"
        assert hashlib.sha256(data).hexdigest() == digest
    _, have = fetch(served.http_address, "GET", f"{path}.have")
    assert have == b"all\n"


def test_http_conditions(served: Served, carried: Carried) -> None:
    manifest = stored_manifest(carried)
    address, path = served.http_address, f"/project.git/reels/{manifest.id}.pack"
    response, whole = fetch(address, "GET", path)
    assert (response.status, len(whole)) == (200, manifest.pack_size)
    digest = hashlib.new(manifest.object_format.name, whole[:-20]).hexdigest()
    assert digest == manifest.pack_checksum == whole[-20:].hex()
    response, data = fetch(address, "HEAD", path)
    assert (response.status, data) == (200, b"")
    assert response.getheader("Content-Length") == str(manifest.pack_size)
    response, data = fetch(address, "GET", path, If_None_Match=f'"{manifest.id}"')
    assert (response.status, data) == (304, b"")
    for text, wanted in (("bytes=5-20", whole[5:21]), ("bytes=-30", whole[-30:])):
        response, data = fetch(address, "GET", path, Range=text)
        assert (response.status, data) == (206, wanted)
    old, new = {"If_Range": '"older"'}, {"If_Range": f'"{manifest.id}"'}
    response, data = fetch(address, "GET", path, Range="bytes=0-3", **old)
    assert (response.status, len(data)) == (200, manifest.pack_size)
    response, data = fetch(address, "GET", path, Range="bytes=0-3", **new)
    assert (response.status, data) == (206, b"PACK")
    response, _ = fetch(address, "GET", path, Range=f"bytes={manifest.pack_size}-")
    assert response.status == 416
    assert response.getheader("Content-Range") == f"bytes */{manifest.pack_size}"


# --- mirror-sync ---------------------------------------------------------------------------------


class Asker:
    """The calling end of a conversation: asks for everything there is."""

    def __init__(self) -> None:
        self.parts: dict[int, bytes] = {}
        self.pushes: list[tuple[str, bytes]] = []
        self.manifest: Manifest | None = None
        self.conversation: Conversation

    def take(self, event: MessageReceived) -> None:
        message, payload = event.message, bytes(event.payload or b"")
        say = self.conversation.say
        if isinstance(message, HaveCheckpoint):
            self.head = message
            say(FetchLog(message.checkpoint))
        elif isinstance(message, ReceivePush):
            self.pushes.append((message.push, payload))
        elif isinstance(message, EndLog):
            say(WantBundle(ReelName(None, self.head.checkpoint)))
        elif isinstance(message, HaveBundle):
            self.offer = message
            say(FetchManifest(message.manifest))
        elif isinstance(message, ReceiveManifest):
            self.manifest = parse_manifest(split_signed(payload)[0])
            shape = PackShape(self.manifest.pack_size, self.manifest.part_size)
            offer = self.offer
            run = FetchParts(offer.reel, offer.manifest, 0, shape.parts - 1, shape.parts)
            say(run, shape)
        elif isinstance(message, ReceivePart):
            self.parts[message.part] = payload
            if len(self.parts) == message.total:
                self.conversation.end("done")


def converse(address: tuple[str, int], path: bytes) -> Asker:
    asker = Asker()

    async def work() -> None:
        sock = socket.create_connection(address, timeout=PATIENCE)
        sock.sendall(request("mirror-sync", path))
        sock.setblocking(False)
        session = Session(Role.CALLER, asyncio.get_running_loop().time())
        asker.conversation = Conversation(
            sock,
            session,
            Upload(EmptyContentSource(), Limiter(None)),
            ConversationHandlers(asker.take),
        )
        async with asyncio.timeout(PATIENCE):
            await asker.conversation.run()

    asyncio.run(work())
    return asker


def test_mirror_sync_gives_log_manifest_and_parts(served: Served, carried: Carried) -> None:
    found = converse(served.git_address, b"/project.git")
    assert found.conversation.ended == "done"
    store = carried.log_store
    assert found.head == HaveCheckpoint(store.ids()[-1], len(store.ids()))
    assert [push for push, _ in found.pushes] == store.entries()
    for push, data in found.pushes:
        assert data == store.push_file(PushId(push))
    manifest = stored_manifest(carried)
    assert found.manifest == manifest
    digests = [hashlib.sha256(found.parts[i]).hexdigest() for i in range(len(manifest.parts))]
    assert tuple(digests) == manifest.parts


def test_what_is_published_while_serving_is_served(tmp_path: Path, key: Signer) -> None:
    repository = nodes.make_repository(tmp_path / "r.git")
    carried = nodes.publish(repository, key, "live")
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "h")) as served:
        _, before = fetch(served.http_address, "GET", "/live.git/reels/index")
        commit = nodes.add_commit(repository, "refs/heads/main", "more", b"more\n")
        # Published through another handle, as another process would.
        nodes.publish(repository, key, None)
        _, after = fetch(served.http_address, "GET", "/live.git/reels/index")
        assert (len(before.splitlines()), len(after.splitlines())) == (1, 2)
        found = converse(served.git_address, b"/live.git")
        assert len(found.pushes) == 6, "a policy, three checkpoints, two pushes"
        assert commit in run_git("git", "ls-remote", f"{served.git}/live.git").stdout


# --- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["git", "http", "pack", "sync"])
def test_up_limit_paces_everything(carried: Carried, tmp_path: Path, kind: str) -> None:
    rate = 4_000_000
    options = replace(nodes.LOOPBACK, up_limit=rate)
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "h"), options=options) as served:
        begin = time.monotonic()
        if kind == "pack":
            path = f"/project.git/reels/{stored_manifest(carried).id}.pack"
            fetch(served.http_address, "GET", path)
        elif kind == "sync":
            found = converse(served.git_address, b"/project.git")
            assert found.manifest is not None
            assert len(found.parts) == len(found.manifest.parts)
        else:
            clone("git", f"{getattr(served, kind)}/project.git", tmp_path / "c")
        elapsed = time.monotonic() - begin
    # The last chunk is not waited for, hence a little less than size by rate.
    assert elapsed >= 0.8 * SIZE / rate


SERVER = """
import sys
from pathlib import Path
from gittorrent.interruptions import PROCESS, run
from gittorrent.node.carried_here import catalogue_of_paths
from gittorrent.node.node import Node
from gittorrent.node.options import Options
from gittorrent.store.home import Home

async def main():
    home = Home(Path(sys.argv[1]))
    catalogue = catalogue_of_paths([Path(sys.argv[2])])
    here = (("127.0.0.1", 0),)
    node = Node(catalogue, None, home, Options(git=here, http=here))
    await node.start()
    print(*node.addresses, flush=True)
    await node.run_until_interrupted()

PROCESS.install()
run(main())
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_node_and_its_children(
    carried: Carried, tmp_path: Path, number: signal.Signals
) -> None:
    home = nodes.make_home(tmp_path / "h")
    words = [sys.executable, "-c", SERVER, str(home.root), str(carried.layout.git_dir)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = nodes._address(process.stdout.readline().split()[0])
        with (
            socket.create_connection(address, timeout=PATIENCE) as fetching,
            socket.create_connection(address, timeout=PATIENCE) as talking,
        ):
            fetching.sendall(request("git-upload-pack", b"/project.git"))
            talking.sendall(request("mirror-sync", b"/project.git"))
            assert fetching.recv(4)
            heard = talking.recv(65536)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            assert len(children) == 1
            process.send_signal(number)
            while more := talking.recv(65536):
                heard += more
            assert b"bye the node is shutting down" in heard
            assert process.wait(PATIENCE) == 0
    assert not [child for child in children if Path(f"/proc/{child}").exists()]


def test_manifest_ids_are_checked_before_disk(served: Served) -> None:
    response, _ = fetch(
        served.http_address, "GET", f"/project.git/reels/{ManifestId('x' * 64)}.pack"
    )
    assert response.status == 404
