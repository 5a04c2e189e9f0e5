"""Attacks on a node: real processes, real sockets, its memory watched, and others served meanwhile.

Callers at loopback have no share of their own, so what is shown here is what one flood or a crowd
of idlers costs, not how an address is kept to its share (test_node_gate shows that).
"""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gittorrent.ids import PushId
from gittorrent.node.connection_limiter import MAX_CONNECTIONS
from gittorrent.node.connections import allow_open_files
from gittorrent.node.options import Options
from gittorrent.push.spreading import MAX_ASKED
from gittorrent.repository.carried import Carried
from gittorrent.wire import pktline
from gittorrent.wire.limits import MAX_PUSH_BYTES, MAX_SENT_BYTES
from gittorrent.wire.messages import FetchPush, HaveCheckpoint, SendPushes, SentPush
from support import gitcmd, killing, nodes
from support.attackers import Pack, Wire, memory
from support.programs import PATIENCE, Daemon, serve, somebody, wait_until

MEMORY = 24 << 20
"""Bytes that an attack may cost a node."""

ENOUGH = 64 << 20
"""Bytes an attacker would send if nobody stopped it."""

LARGEST = bytes(MAX_PUSH_BYTES)
"""An entry as large as they may be."""

CROWD = MAX_CONNECTIONS + 500
"""Connections that are half open at once."""


@pytest.fixture(scope="module")
def node(large: Carried, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    owner = somebody(tmp_path_factory.mktemp("owner") / "owner")
    with serve(owner, large.layout.git_dir) as daemon:
        list_of(daemon)  # what is made at first use is there now
        yield daemon


@pytest.fixture(scope="module")
def pack(large: Carried) -> Pack:
    (stored,) = large.reels.all()
    m = stored.manifest
    return Pack(f":{m.end}", stored.id, m.pack_size, m.part_size, len(m.parts), stored.pack)


def address_of(node: Daemon, base: str = "") -> tuple[str, int]:
    host, _, port = (base or node.git).partition("://")[2].rpartition(":")
    return host, int(port)


def call(node: Daemon, receive_buffer: int = 0) -> Wire:
    return Wire.call(address_of(node), "project.git", receive_buffer=receive_buffer)


def list_of(node: Daemon) -> bytes:
    """Ask for the mirror-list as any client would."""
    with socket.create_connection(address_of(node), timeout=PATIENCE) as sock:
        sock.sendall(pktline.encode(b"mirror-list /project.git\0host=x\0"))
        received = b""
        while more := sock.recv(65536):
            received += more
    assert b"repo " in received
    return received


@contextlib.contextmanager
def bounded(node: Daemon) -> Iterator[None]:
    """Fail if the node uses much more memory at the end, or does not answer others by then."""
    before = memory(node.pid, "VmRSS")
    yield
    list_of(node)
    assert memory(node.pid, "VmRSS") < before + MEMORY


def lines(*texts: str) -> bytes:
    return b"".join(pktline.encode(f"{text}\n".encode()) for text in texts)


FLOODS: dict[str, Callable[[Pack], bytes]] = {
    "have push": lambda _: lines(*(f"have push {number:040x}" for number in range(1000))),
    "have checkpoint": lambda _: lines(*(f"have checkpoint {n:040x} 1" for n in range(1000))),
    "have bundle": lambda pack: lines(*[pack.claim("fff0")] * 500),
    "try own": lambda _: lines(*(f"try git://127.0.0.1:{1 + n}/x 60 partial" for n in range(1000))),
    "try others": lambda _: lines(*(f"try git://10.0.{n}.1/x 60 partial" for n in range(250))),
    "unknown": lambda _: lines(*["hello world"] * 5000),
    "cancel": lambda pack: lines(
        *[f"cancel bundle {pack.reel} {pack.manifest} parts 1-12/{pack.parts}"] * 500
    ),
    "long lines": lambda _: lines(f"hello {'x' * 60_000}") * 16,
    "sent pushes": lambda _: pktline.encode(SentPush(PushId(40 * "a"), 1, 1).encode()) + b"xx",
    "no lines": lambda _: b"zzzz" * 16384,
    "endless line": lambda _: b"fff0" + b"x" * 65532,
}


@pytest.mark.parametrize("name", sorted(FLOODS))
def test_floods_are_cut_off(node: Daemon, pack: Pack, name: str) -> None:
    with bounded(node), call(node) as wire:
        sent = wire.flood(FLOODS[name](pack), ENOUGH)
        assert sent < ENOUGH // 2, "nobody stopped it"


def test_pushes_are_not_sent_along_without_end(node: Daemon) -> None:
    """Whoever follows what is new may be asked to send pushes: they have to hold, and to end."""
    with bounded(node), call(node) as wire:
        wire.say(HaveCheckpoint(PushId(40 * "a"), 1))
        assert SendPushes(MAX_SENT_BYTES) in wire.messages()
        sent = SentPush(PushId(40 * "b"), 1024, MAX_SENT_BYTES - 1024)
        assert wire.flood(pktline.encode(sent.encode()) + bytes(sent.size), ENOUGH) < ENOUGH // 2


def test_others_are_served_while_somebody_floods(node: Daemon) -> None:
    """Before reading gave way to others, the one with the most to say was the only one heard."""
    over = threading.Event()

    def attack() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError), call(node) as wire:
                wire.flood(FLOODS["unknown"](Pack("", "", 1, 1, 1, Path())), ENOUGH)

    attackers = [threading.Thread(target=attack) for _ in range(3)]
    with bounded(node):
        for thread in attackers:
            thread.start()
        try:
            for _ in range(10):
                list_of(node)
        finally:
            over.set()
            for thread in attackers:
                thread.join(PATIENCE)


def test_pipelines_without_end(node: Daemon, pack: Pack) -> None:
    """More questions than may be open end the conversation; so do answers that are not read."""
    ask = lines(f"fetch bundle {pack.reel} {pack.manifest} parts 1-{pack.parts}/{pack.parts}")
    with bounded(node), call(node, receive_buffer=4096) as wire:
        assert wire.flood(ask * 100, ENOUGH) < ENOUGH // 2


def test_slow_readers_hold_no_memory_and_no_slot(node: Daemon, pack: Pack) -> None:
    """Forty ask for the whole pack and take next to nothing of it; somebody else gets it."""
    ask = f"fetch bundle {pack.reel} {pack.manifest} parts 1-{pack.parts}/{pack.parts}"
    with contextlib.ExitStack() as stack, bounded(node):
        for _ in range(40):
            wire = stack.enter_context(call(node, receive_buffer=2048))
            wire.say(ask)
        reader = stack.enter_context(call(node))
        reader.say(ask)
        received = 0
        while received < pack.size:
            received += len(reader.sock.recv(1 << 20))


def test_those_who_ask_and_take_nothing_keep_nobody_out(
    large: Carried, pack: Pack, tmp_path: Path
) -> None:
    """A node shows a crowd different parts; some of this one never ask for theirs."""
    person = somebody(tmp_path / "reader")
    home = nodes.make_home(tmp_path / "node")
    options = Options(git=(("127.0.0.1", 0),), announce=False)
    with nodes.serving(large, home=home, options=options) as node, contextlib.ExitStack() as stack:
        host, _, port = node.git.removeprefix("git://").rpartition(":")
        for _ in range(23):
            wire = stack.enter_context(Wire.call((host, int(port)), "project.git"))
            wire.say(f"want bundle {pack.reel}")
            next(line for line in wire.lines() if line.startswith(b"end want"))
        url = f"gittorrent://{large.info.repository_id}@{host}:{port}/project.git"
        done = person.git("clone", "-q", "--mirror", url, "c").ok()
    assert "no peer" not in done.err
    killing.assert_equal(person.root / "c", large)


def test_a_crowd_that_says_nothing(node: Daemon, large: Carried, tmp_path: Path) -> None:
    """Connections without a request, half a request, or half a header of HTTP; more than get in."""
    allow_open_files()
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 2 * CROWD:
        pytest.skip("this process may not open that many sockets")
    person = somebody(tmp_path / "reader")
    with contextlib.ExitStack() as stack, bounded(node):
        for number in range(CROWD):
            base, begin = [
                (node.git, b""), (node.git, b"003"), (node.http, b"GET / HTTP/1.1\r\nX-A: ")
            ][number % 3]  # fmt: skip
            sock = stack.enter_context(
                socket.create_connection(address_of(node, base), timeout=PATIENCE)
            )
            sock.sendall(begin)
        person.git("clone", "-q", "--mirror", node.url(), "c").ok()
    killing.assert_equal(person.root / "c", large)


NOT_HTTP = (
    b"GET /\x01 HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization : Basic c2VjcmV0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: x\r\n\r\n",
)


def test_what_is_no_http_is_not_repeated_in_the_log(node: Daemon) -> None:
    """Anybody can send it; tracebacks would fill the log, and what was sent may hold a token."""
    for request in NOT_HTTP:
        with socket.create_connection(address_of(node, node.http), timeout=PATIENCE) as sock:
            sock.sendall(request)
            assert b" 400 " in sock.recv(65536)
    encoded = b"GET /project.git/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: localhost\r\n"
    with socket.create_connection(address_of(node, node.http), timeout=PATIENCE) as sock:
        sock.sendall(encoded + b"Content-Encoding: br\r\n\r\n")
        assert b" 200 " in sock.recv(65536)
    list_of(node)
    for word in ("Traceback", "ERROR", "c2VjcmV0"):
        assert word not in node.running.err


def test_a_node_may_have_as_many_files_as_it_needs(large: Carried, tmp_path: Path) -> None:
    """The usual limit of 1,024 open files is less than connections, packs and git need together."""
    owner, reader = somebody(tmp_path / "owner"), somebody(tmp_path / "reader")
    former = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, former[1]))
    try:
        stack = contextlib.ExitStack()
        node = stack.enter_context(serve(owner, large.layout.git_dir))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, former)
    with stack:
        for _ in range(300):
            sock = socket.create_connection(address_of(node), timeout=PATIENCE)
            stack.enter_context(sock)
        reader.git("clone", "-q", "--mirror", node.url(), "c").ok()
        allowed, _ = resource.prlimit(node.pid, resource.RLIMIT_NOFILE)
        assert allowed > 300, "the clone waited until the idle ones were dropped"


def test_nobody_is_sent_to_third_parties(node: Daemon, large: Carried) -> None:
    """The node neither calls nor passes on any address but the one the conversation comes from."""
    repository = str(large.info.repository_id)
    with socket.create_server(("127.0.0.2", 0)) as victim, contextlib.ExitStack() as stack:
        victim.settimeout(0.2)
        port = victim.getsockname()[1]
        teller = stack.enter_context(call(node))
        for host in (
            "127.0.0.2",
            "[::ffff:127.0.0.2]",
            "localhost",
            "127.0.0.1.nip.io",
            "10.9.9.9",
        ):
            teller.say(f"try git://{host}:{port}/{repository} 3600 partial")
        teller.say(f"try http://127.0.0.2:{port}/x 3600 current")
        teller.say(f"try git://127.0.0.1:{port}/{repository} 3600 partial")
        hearer = stack.enter_context(call(node))
        heard = next(hearer.told(f"git://127.0.0.1:9/{repository}"))
        assert heard == f"git://127.0.0.1:{port}/{repository}"
        with pytest.raises(TimeoutError):
            victim.accept()


def test_entries_that_nobody_can_judge_are_held_within_bounds(node: Daemon) -> None:
    """Entries that a stranger tells of, sends, and keeps waiting for their packs."""
    with call(node) as wire:
        for number in range(MAX_ASKED):
            wire.say(f"have push {number:040x}")
        asked = (each for each in wire.messages() if isinstance(each, FetchPush))
        sent = 0
        with contextlib.suppress(ConnectionError):
            for question in asked:
                wire.say(f"receive push {question.push} size {len(LARGEST)}", LARGEST)
                sent += 1
        assert 0 < sent < MAX_ASKED
        assert wire.is_over()
    assert list_of(node)


def test_a_peer_that_never_reads_is_told_only_so_much(node: Daemon, pack: Pack) -> None:
    """Participants come and go all the time, each of whom it could be told of."""
    with contextlib.ExitStack() as stack, bounded(node):
        deaf = stack.enter_context(call(node, receive_buffer=2048))
        deaf.say("try git://127.0.0.1:9/x 3600 partial")
        for number in range(200):
            with call(node) as other:
                other.say(f"try git://127.0.0.1:{1000 + number}/x 3600 partial")
                next(other.lines())


def test_git_callers_that_read_nothing(node: Daemon, large: Carried) -> None:
    """A git client that asks for everything and reads none of it: git's own time limit is set."""
    head = gitcmd.text(large.layout.git_dir, "rev-parse", "refs/heads/main")
    with contextlib.ExitStack() as stack, bounded(node):
        for _ in range(8):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            sock.connect(address_of(node))
            sock.sendall(pktline.encode(b"git-upload-pack /project.git\0host=x\0"))
            sock.sendall(pktline.encode(f"want {head} ofs-delta\n".encode()) + b"00000009done\n")
        wait_until(lambda: bool(list_of(node)), "others are served")
