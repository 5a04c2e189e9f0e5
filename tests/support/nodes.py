"""Published repositories and running nodes for tests.

A node runs in a thread of its own with its own event loop, so that tests can use blocking clients:
git, plain sockets, and ``http.client``.
"""

from __future__ import annotations

import asyncio
import http.client
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from gittorrent.ids import OBJECT_FORMATS, Oid, PushId, RefName
from gittorrent.node.catalogue import Catalogue
from gittorrent.node.node import Node
from gittorrent.node.options import Options
from gittorrent.push.certificate import Certificate, Line, Nonce
from gittorrent.push.object import PushKind, PushObject
from gittorrent.repository.carried import MIRROR, Carried
from gittorrent.repository.logstore import identify
from gittorrent.repository.publish import Publisher
from gittorrent.repository.signed_entries import Author, EntrySigner
from gittorrent.signing.keys import Signer, make_ssh_key
from gittorrent.store.copied_home import KEEPER_KEY
from gittorrent.store.database import Database, MirrorRow
from gittorrent.store.home import Home
from gittorrent.store.processes import EndedConversation
from gittorrent.transfer.server_timeouts import SERVER_TIMEOUTS, ServerTimeouts
from gittorrent.wire import pktline
from gittorrent.wire.mirrorlist import MirrorState
from support import gitcmd
from support.copying import copy_tree
from support.objects import commit_file
from support.programs import PATIENCE
from support.repositories import noise

LOOPBACK = Options(git=(("127.0.0.1", 0),), http=(("127.0.0.1", 0),), announce=False)
"""A node on free ports of this machine."""

MAIN = RefName(b"refs/heads/main")
AUTHOR = Author(b"A U Thor <author@example.org>", clock=lambda: 1_000_000_000.0)


def signer(folder: Path) -> Signer:
    """Return a new key."""
    return make_ssh_key(folder / "key", "test")


def add_commit(git_dir: Path, ref: str, name: str, data: bytes) -> str:
    """Commit one file to a ref of a bare repository and return the commit's id."""
    present = gitcmd.refs(git_dir).get(ref.encode())
    parents = [] if present is None else [present]
    commit = commit_file(git_dir, name, data, parents, f"add {name}")
    gitcmd.git(git_dir, "update-ref", ref, commit)
    return commit


def make_repository(git_dir: Path, size: int = 1000, object_format: str = "sha1") -> Path:
    """Make a repository with two branches, a tag, and a ref that is not published."""
    gitcmd.init(git_dir, object_format)
    add_commit(git_dir, "refs/heads/main", "first", b"first\n")
    add_commit(git_dir, "refs/heads/main", "large", noise(git_dir.name, size))
    add_commit(git_dir, "refs/heads/topic", "other", b"other\n")
    gitcmd.git(git_dir, "tag", "-a", "-m", "one", "v1", "refs/heads/main")
    add_commit(git_dir, "refs/private/secret", "secret", b"secret\n")
    return git_dir


def publish(
    git_dir: Path,
    key: Signer,
    name: str | None,
    *,
    now: float | None = None,
    private: bool = False,
) -> Carried:
    """Publish a repository as it is now, at some time in seconds."""
    object_format = gitcmd.text(git_dir, "rev-parse", "--show-object-format")
    carried = Carried(git_dir, OBJECT_FORMATS[object_format])
    author = AUTHOR if now is None else Author(AUTHOR.person, clock=lambda: now)
    Publisher(carried, key, author).publish(name, private=private)
    return carried


def change_policy(carried: Carried, key: Signer, **changes: Any) -> None:
    """Make a version of a repository's policy count, and a checkpoint with it."""
    with carried.writing():
        log = carried.log()
        assert log.head is not None
        entries = EntrySigner(carried, log, key, AUTHOR)
        policy = log.policy.policy.next_version(log.head, **changes)
        entries.policy(policy, log.policy.signed.certificates)
        entries.checkpoint()
        carried.commit(log)


def push_on(
    carried: Carried,
    key: Signer,
    changes: Mapping[RefName, Oid | None],
    old: Mapping[RefName, Oid] | None = None,
    nonce: Nonce | None = None,
) -> PushId:
    """Add a push to a log that no checkpoint has taken, whether or not its objects are here.

    It was made where refs were at ``old``; those that are left out, where they are shown here. It
    has the log's nonce of now unless there is another one.
    """
    with carried.writing():
        log = carried.log_store.open()
        shown = {**log.refs, **(old or {})}
        url = f"gittorrent://{log.repository}/{log.policy.policy.name}.git"
        certificate = Certificate(
            carried.object_format,
            AUTHOR.person,
            AUTHOR.now,
            "+0000",
            url.encode(),
            log.ledger.nonce() if nonce is None else nonce,
            (),
            tuple(Line(shown.get(ref), new, ref) for ref, new in changes.items()),
        )
        text = certificate.text()
        push = PushObject(PushKind.CERTIFICATE, text, (key.sign(text),), signer=key.key)
        (push_id,) = identify(carried.git, [push], carried.object_format, write=True)
        log.admit(push, push_id)
        log.settle()
        carried.log_store.store_push(push_id, push)
        carried.commit(log)
    return push_id


def push_to_main(carried: Carried, key: Signer, data: bytes) -> Oid:
    """Put a push of a commit with one file into a log that no checkpoint has taken; returns it."""
    old = carried.log().refs[MAIN]
    new = Oid(commit_file(carried.layout.git_dir, "new", data, [old], "new"))
    push_on(carried, key, {MAIN: new})
    return new


def shows_on_main(carried: Carried, value: Oid) -> bool:
    return carried.log().refs.get(MAIN) == value


def copy_as_mirror(carried: Carried, target: Path, source: str) -> Carried:
    """Return a copy of a carried repository that says it mirrors ``source`` and has no key."""
    # What is being written is nobody's yet, and may be gone before it is copied.
    copy_tree(carried.layout.git_dir, target, ignore=shutil.ignore_patterns(".*.new"))
    copy = Carried(target, carried.object_format)
    if copy.keeper_key is not None:  # two that keep one repository sign beside each other
        gitcmd.git(target, "config", "--local", "--unset-all", KEEPER_KEY)
    copy.set_info(replace(carried.info, role=MIRROR, source=source))
    return copy


def list_mirrors(home: Home, carried: Carried, *urls: str) -> None:
    """Make the node at ``home`` tell of further mirrors."""
    database = Database(home.database)
    now = int(time.time())
    for number, url in enumerate(urls):
        row = MirrorRow(url, MirrorState.CURRENT, f"10.0.0.{number}", now, now + 3600, 1)
        database.list_mirror(carried.info.repository_id, row)
    database.close()


def make_home(root: Path) -> Home:
    """Return an empty home."""
    root.mkdir(parents=True, exist_ok=True)
    return Home(root)


@dataclass(frozen=True)
class Served:
    """A node that runs: where it listens, and the loop it runs in."""

    node: Node
    loop: asyncio.AbstractEventLoop
    git: str
    http: str
    https: str = ""

    def ended_conversations(self) -> list[EndedConversation]:
        """Return the conversations that ended lately, the last one first."""

        async def look() -> list[EndedConversation]:
            return self.node.ended_conversations()

        return asyncio.run_coroutine_threadsafe(look(), self.loop).result(PATIENCE)

    def limit(self, up: int | None) -> None:
        """Let it send at another rate from now on, in bytes per second, for some twenty seconds.

        A test that has to look at something while it lasts begins with a low rate, and lets the
        rest come at once when it has looked.
        """
        self.node.limits.set_rates(up, None, None)

    @property
    def git_address(self) -> tuple[str, int]:
        return _address(self.git)

    @property
    def https_address(self) -> tuple[str, int]:
        return _address(self.https)

    @property
    def http_address(self) -> tuple[str, int]:
        return _address(self.http)


def _address(base: str) -> tuple[str, int]:
    host, _, port = base.partition("://")[2].rpartition(":")
    return host.strip("[]"), int(port)


@contextmanager
def serving(
    *repositories: Carried,
    home: Home,
    options: Options = LOOPBACK,
    with_database: bool = True,
    catalogue: Callable[..., Catalogue] = Catalogue,
    server_timeouts: ServerTimeouts = SERVER_TIMEOUTS,
) -> Iterator[Served]:
    """Run a node while the block runs; ``catalogue`` makes what it looks repositories up in."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> tuple[Node, Database | None]:
        database = Database(home.database) if with_database else None
        node = Node(catalogue(repositories), database, home, options, server_timeouts)
        await node.start()
        return node, database

    database = None
    node = None
    try:
        node, database = asyncio.run_coroutine_threadsafe(start(), loop).result(PATIENCE)
        bases = {base.partition("://")[0]: base for base in node.addresses}
        yield Served(
            node, loop, bases.get("git", ""), bases.get("http", ""), bases.get("https", "")
        )
    finally:
        if node is not None:
            asyncio.run_coroutine_threadsafe(node.stop(), loop).result(PATIENCE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()
        if database is not None:
            database.close()


@contextmanager
def connected(address: tuple[str, int]) -> Iterator[socket.socket]:
    """Have a connection that does not wait for ever."""
    with socket.create_connection(address, timeout=PATIENCE) as sock:
        yield sock


def call(address: tuple[str, int], data: bytes, *, end: bool = False) -> bytes:
    """Send bytes and return everything that comes back until the other end closes."""
    with socket.create_connection(address, timeout=PATIENCE) as sock:
        sock.sendall(data)
        if end:
            sock.shutdown(socket.SHUT_WR)
        received = b""
        while more := sock.recv(65536):
            received += more
    return received


def request(service: str, path: bytes, *extra: bytes) -> bytes:
    """Return the first packet of a git:// connection, unchecked."""
    line = service.encode() + b" " + path + b"\0host=localhost\0"
    if extra:
        line += b"\0" + b"".join(word + b"\0" for word in extra)
    return pktline.encode(line)


def fetch(
    address: tuple[str, int], method: str, path: str, body: bytes = b"", /, **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    """Do one HTTP request; underscores in header names stand for dashes."""
    connection = http.client.HTTPConnection(*address, timeout=PATIENCE)
    try:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body or None, given)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()
