"""A private repository is not there for strangers, whatever they ask, and is for its readers."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.ids import RepositoryId
from gittorrent.node import live
from gittorrent.node import node as node_module
from gittorrent.node.discovering import may_be_announced
from gittorrent.node.options import Options
from gittorrent.repository.carried import Carried
from gittorrent.repository.copying import copy_repository, place_copy
from gittorrent.repository.readers_file import readers_here
from gittorrent.signing.keys import Signer
from gittorrent.store.database import Database, RememberedMirror
from gittorrent.store.home import Home
from gittorrent.store.privacy import is_private
from gittorrent.trust.keys import KeyRef
from gittorrent.trust.sshkey import parse_key_line
from gittorrent.wire import pktline
from gittorrent.wire.limits import MAX_SENT_BYTES
from gittorrent.wire.live import SendPushes
from gittorrent.wire.messages import HaveCheckpoint
from support import gitcmd, nodes, publishing
from support.attackers import Wire
from support.nodes import LOOPBACK, Served, call, request
from support.programs import BIN, GITS, PATIENCE, Done, Person, serve, somebody, wait_until
from support.sshd import Account, account
from support.websockets import request as websocket_request

MISSING = "n" * 52
OPEN = Options(git=LOOPBACK.git, http=LOOPBACK.http, announce=False, git_push=True)

SERVICES = (
    "git-upload-pack", "git-receive-pack", "mirror-list", "mirror-notify", "mirror-sync",
    "git-upload-archive", "git-unknown",
)  # fmt: skip
RESOURCES = (
    "", "/info/refs", "/info/refs?service=git-upload-pack", "/info/refs?service=git-receive-pack",
    "/git-upload-pack", "/git-receive-pack", "/mirror-list", "/mirror-notify", "/mirror-sync",
    "/pushes/index", "/pushes/short", "/pushes/{push}", "/reels/index", "/reels/{reel}.manifest",
    "/reels/{reel}.have", "/reels/{reel}.pack", "/HEAD", "/objects/info/packs",
)  # fmt: skip


@pytest.fixture
def secret(tmp_path: Path, owner_key: Signer) -> Carried:
    """A private repository; ``secrets`` is as long as the name of one that is not there."""
    return nodes.publish(
        nodes.make_repository(tmp_path / "secrets.git", 200_000), owner_key, "secrets", private=True
    )


@pytest.fixture
def node(secret: Carried, project: Carried, tmp_path: Path) -> Iterator[Served]:
    home = nodes.make_home(tmp_path / "node")
    with nodes.serving(secret, project, home=home, options=OPEN) as served:
        yield served


def paths(repository: RepositoryId, name: str) -> list[str]:
    return [f"/{name}.git", f"/{name}", f"/{repository}", f"/{repository}/{name}.git"]


def both(secret: Carried) -> list[tuple[str, str]]:
    """Return each path of the private repository, and one like it that leads nowhere."""
    here = paths(secret.info.repository_id, "secrets")
    return list(zip(here, paths(RepositoryId(MISSING), "missing"), strict=True))


def test_strangers_over_git_learn_nothing(secret: Carried, node: Served) -> None:
    for service in SERVICES:
        for there, nowhere in both(secret):
            answers = [
                call(node.git_address, request(service, path.encode(), b"version=2"), end=True)
                for path in (there, nowhere)
            ]
            assert answers[0] == answers[1]
            assert b"ERR " in answers[0]


def raw(node: Served, method: str, path: str, *headers: str) -> bytes:
    """Do one HTTP request; returns every byte of the answer but the date."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers, "", ""]
    said = call(node.http_address, "\r\n".join(lines).encode())
    return b"\r\n".join(each for each in said.split(b"\r\n") if not each.startswith(b"Date:"))


def test_strangers_over_http_learn_nothing(secret: Carried, node: Served) -> None:
    (reel, *_), head = secret.reels.all(), secret.log_store.head()
    basic = "Authorization: Basic eDp5"
    kinds: list[tuple[str, tuple[str, ...]]] = [
        (method, ()) for method in ("GET", "HEAD", "POST", "OPTIONS", "PUT")
    ]
    more = ("Origin: http://page.example", basic, "Range: bytes=0-1")
    for method, headers in [*kinds, *(("GET", (each,)) for each in more)]:
        for resource in RESOURCES:
            rest = resource.format(push=head, reel=reel.id)
            for there, nowhere in both(secret)[:3:2]:
                answers = [raw(node, method, f"{at}{rest}", *headers) for at in (there, nowhere)]
                assert answers[0] == answers[1]
                assert b" 404 " in answers[0].split(b"\r\n")[0]
    for name in ("secrets", "missing"):
        with nodes.connected(node.http_address) as sock:
            sock.sendall(websocket_request(f"/{name}.git/mirror-sync"))
            assert sock.recv(65536).startswith(b"HTTP/1.1 404")
    assert b"secrets" not in raw(node, "GET", "/")
    assert b"project" in raw(node, "GET", "/")


def test_where_strangers_are_told_what_there_is(secret: Carried, node: Served) -> None:
    found = {served.info.name: served for served in node.node._catalogue}
    assert not may_be_announced(found["secrets"])
    assert may_be_announced(found["project"])


def test_what_turns_private_is_gone_at_once(
    tmp_path: Path, owner_key: Signer, person: Person
) -> None:
    carried = nodes.publish(nodes.make_repository(tmp_path / "r.git"), owner_key, "project")
    home = nodes.make_home(tmp_path / "node")
    with nodes.serving(carried, home=home, options=OPEN) as node:
        url = f"{node.git}/project.git"
        person.git("ls-remote", url).ok()
        nodes.change_policy(carried, owner_key, private=True)
        person.git("ls-remote", url).failed(128, "no such repository here")
        nodes.change_policy(carried, owner_key, private=False)
        wait_until(lambda: person.git("ls-remote", url).status == 0, "it is public again")


def test_what_turns_private_is_closed_to_other_users(tmp_path: Path, owner_key: Signer) -> None:
    """News of that may come in a conversation: no command is run at this machine."""
    home = nodes.make_home(tmp_path / "node")
    there = nodes.make_repository(home.repositories / "project.git")
    carried = nodes.publish(there, owner_key, "project")
    there.chmod(0o755)
    with nodes.serving(carried, home=home, options=OPEN):
        nodes.change_policy(carried, owner_key, private=True)
        wait_until(lambda: not there.stat().st_mode & 0o077, "nobody else may read it")


def test_whoever_hears_that_it_turned_private_asks_for_it_in_the_clear_no_more(
    tmp_path: Path, owner_key: Signer
) -> None:
    """No mirror by its plain URL, and no strangers, until somebody says that it is public again."""
    made = nodes.make_repository(tmp_path / "r.git")
    carried = nodes.publish(made, owner_key, "project")
    repository, operator = carried.info.repository_id, somebody(tmp_path / "operator")
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "node"), options=OPEN) as node:
        url = f"gittorrent://{repository}@{node.git.removeprefix('git://')}/project.git"
        operator.gittorrent("mirror", "--once", url).ok()
    copy = publishing.carried(Home(operator.node).repositories / "project.git")
    database = Database(Home(operator.node).database)
    with contextlib.closing(database), serve(operator, "--no-announce"):
        # As a conversation brings it: the log is another one, and no look at the origin was made.
        nodes.change_policy(copy, owner_key, private=True)
        wait_until(lambda: is_private(database, repository), "it is noted")
        asked = operator.gittorrent("doctor", "--online", "--json")
        assert [each["verdict"] for each in about(asked, "online")] == ["ok"]
        assert not about(asked, "reach")
        refused = operator.gittorrent("mirror", "--once", url).failed(2, "in the clear")
        # The hint can be followed as it stands.
        hint = refused.err.partition("'gittorrent forget ")[2].partition("'")[0]
        operator.gittorrent("forget", hint).ok()
        operator.gittorrent("mirror", "--once", url).failed(3, "cannot connect")


def about(done: Done, subject: str) -> list[dict[str, str]]:
    """Return what doctor found of one subject."""
    return [each for each in json.loads(done.out)["findings"] if each["subject"] == subject]


def test_a_conversation_ends_with_the_right_to_it(tmp_path: Path, owner_key: Signer) -> None:
    carried = nodes.publish(nodes.make_repository(tmp_path / "r.git"), owner_key, "project")
    home = nodes.make_home(tmp_path / "node")
    with nodes.serving(carried, home=home, options=OPEN) as node:
        asked = request("mirror-sync", b"/project.git")
        with nodes.connected(node.git_address) as sock:
            sock.sendall(asked)
            assert sock.recv(65536)
            nodes.change_policy(carried, owner_key, private=True)
            heard = b""
            while more := sock.recv(65536):
                heard += more
        assert b"no such repository here" in heard


def everything(wire: Wire) -> bytes:
    """Return all that the other end says until it hangs up."""
    heard = b""
    with contextlib.suppress(ConnectionResetError):
        while more := wire.sock.recv(65536):
            heard += more
    return heard


@pytest.mark.parametrize("clock", ["live", "callers"])
def test_whoever_talks_in_the_clear_is_told_that_it_is_private_and_nothing_after(
    tmp_path: Path, owner_key: Signer, monkeypatch: pytest.MonkeyPatch, clock: str
) -> None:
    """Whichever part of a node notices first: the policy goes along with the news of it."""
    carried = nodes.publish(nodes.make_repository(tmp_path / "r.git"), owner_key, "project")
    home = nodes.make_home(tmp_path / "node")
    if clock == "live":
        monkeypatch.setattr(node_module, "KEEP_OUT_SECONDS", PATIENCE)
    else:
        monkeypatch.setattr(live, "LOOK_SECONDS", PATIENCE)
    with nodes.serving(carried, home=home, options=OPEN) as node:
        log = carried.log()
        assert log.head is not None
        with Wire.call(node.git_address, "project.git") as wire:
            wire.say(HaveCheckpoint(log.head, log.number))
            wire.say(SendPushes(MAX_SENT_BYTES))
            heard = b""
            while b"have checkpoint" not in heard or b"send pushes" not in heard:
                more = wire.sock.recv(65536)
                assert more
                heard += more
            nodes.change_policy(carried, owner_key, private=True)
            nodes.push_to_main(carried, owner_key, b"secret")
            heard = everything(wire)
        after = carried.log()
        policy = after.ledger.policy.id
        assert b"have push %s size" % policy.encode() in heard
        assert b"private" in heard
        told = [entry for entry in after.ids if entry.encode() in heard and entry not in log.ids]
        assert not set(told) - {policy}
        assert not any(push.id.encode() in heard for push in after.unfinal)


def test_a_mirror_that_is_called_in_the_clear_hears_that_it_is_private_and_nothing_after(
    tmp_path: Path, owner_key: Signer
) -> None:
    carried = nodes.publish(nodes.make_repository(tmp_path / "r.git"), owner_key, "project")
    repository = carried.info.repository_id
    mirror = nodes.copy_as_mirror(carried, tmp_path / "m.git", "git://127.0.0.1:1/project.git")
    home, there = nodes.make_home(tmp_path / "node"), nodes.make_home(tmp_path / "there")
    with nodes.serving(mirror, home=there, options=OPEN) as other:
        url = f"gittorrent://{other.git.removeprefix('git://')}/project.git"
        with contextlib.closing(Database(home.database)) as database:
            named = [RememberedMirror(url, None, "named")]
            database.remember_mirrors(repository, named, int(time.time()))
        with nodes.serving(carried, home=home, options=OPEN):
            first = nodes.push_to_main(carried, owner_key, b"first")
            wait_until(lambda: nodes.shows_on_main(mirror, first), "they talk")
            nodes.change_policy(carried, owner_key, private=True)
            secret = nodes.push_to_main(carried, owner_key, b"secret")
            wait_until(lambda: readers_here(mirror.layout, repository) is not None, "it is told")
    assert not nodes.shows_on_main(mirror, secret)
    listed = gitcmd.text(mirror.layout.git_dir, "cat-file", "--batch-all-objects", "--batch-check")
    assert secret not in listed


SLOW = 8192
"""Bytes a second that a caller is sent where a download has to last until the test is through."""


def heard(sock: socket.socket) -> int:
    """Return how many bytes come yet until the other end hangs up."""
    count = 0
    with contextlib.suppress(ConnectionResetError):
        while more := sock.recv(65536):
            count += len(more)
    return count


@pytest.mark.parametrize("how", ["http", "git", "smart http"])
def test_a_download_ends_with_the_right_to_it(tmp_path: Path, owner_key: Signer, how: str) -> None:
    """Of what turns private while it is given to everybody."""
    size = 400_000
    made = nodes.make_repository(tmp_path / "r.git", size)
    carried = nodes.publish(made, owner_key, "project")
    options = replace(OPEN, peer_up_limit=SLOW)
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "node"), options=options) as node:
        tip = gitcmd.refs(carried.layout.git_dir)[b"refs/heads/main"]
        wants = pktline.encode(f"want {tip}\n".encode()) + b"0000" + pktline.encode(b"done\n")
        (reel, *_) = carried.reels.all()
        asked, address = {
            "http": (get(f"/project.git/reels/{reel.id}.pack"), node.http_address),
            "git": (request("git-upload-pack", b"/project.git") + wants, node.git_address),
            "smart http": (post_fetch(wants), node.http_address),
        }[how]
        with nodes.connected(address) as sock:
            sock.sendall(asked)
            begun = 0
            while begun < 10_000:  # the refs have gone, and of the rest a part
                more = sock.recv(4096)
                assert more
                begun += len(more)
            nodes.change_policy(carried, owner_key, private=True)
            assert begun + heard(sock) < size / 2


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def post_fetch(wants: bytes) -> bytes:
    kind = "application/x-git-upload-pack-request"
    head = f"POST /project.git/git-upload-pack HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}"
    return f"{head}\r\nContent-Length: {len(wants)}\r\n\r\n".encode() + wants


def test_a_fetch_over_ssh_ends_with_the_right_to_it(
    secret: Carried, owner_key: Signer, tmp_path: Path
) -> None:
    key = ssh_keys(tmp_path, "reader")["reader"]
    nodes.change_policy(secret, owner_key, readers=(key,))
    tip = gitcmd.refs(secret.layout.git_dir)[b"refs/heads/main"]
    asked = {"SSH_ORIGINAL_COMMAND": "git-upload-pack '/secrets.git'"}
    reader = Person(tmp_path / "reader-home", variables=asked)
    words = (BIN / "gittorrent", "shell", "--key", str(key), secret.layout.git_dir)
    with subprocess.Popen(
        words, env=reader.environ(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as fetch:
        assert fetch.stdin is not None
        assert fetch.stdout is not None
        fetch.stdin.write(pktline.encode(f"want {tip}\n".encode()) + b"0000")
        fetch.stdin.write(pktline.encode(b"done\n"))
        fetch.stdin.flush()
        assert fetch.stdout.read(1000)  # git waits until more of the pack is taken
        nodes.change_policy(secret, owner_key, readers=())
        assert fetch.wait(PATIENCE) == 128


SSH = """\
#!/bin/sh
while [ $# -gt 1 ]; do shift; done
SSH_ORIGINAL_COMMAND="$1" exec {bin}/gittorrent shell {words}
"""


def ssh_keys(folder: Path, *names: str) -> dict[str, KeyRef]:
    found = {}
    for name in names:
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
        found[name] = parse_key_line((folder / f"{name}.pub").read_text()).key
    return found


def over_ssh(person: Person, *words: str, **variables: str) -> Person:
    """Return somebody whose ssh runs what sshd would."""
    program = person.root / "ssh"
    program.parent.mkdir(exist_ok=True)
    program.write_text(SSH.format(bin=BIN, words=" ".join(words)))
    program.chmod(0o755)
    more = {**person.variables, "GIT_SSH_COMMAND": str(program), **variables}
    return Person(person.root, person.git_program, more)


@pytest.mark.parametrize("git", GITS)
def test_readers_come_in_by_their_keys(
    secret: Carried, owner_key: Signer, tmp_path: Path, git: str
) -> None:
    keys = ssh_keys(tmp_path, "reader", "other")
    nodes.change_policy(secret, owner_key, readers=(keys["reader"],))
    assert readers_here(secret.layout, secret.info.repository_id) == frozenset(
        {keys["reader"], owner_key.key}
    )
    place, url = str(secret.layout.git_dir), "ssh://git@mirror.example.org/secrets.git"
    reader = over_ssh(somebody(tmp_path / "r", git), "--key", str(keys["reader"]), place)
    reader.git("clone", url, "copy").ok()
    said = tmp_path / "said"
    said.write_text(f"publickey {(tmp_path / 'reader.pub').read_text()}")
    told = over_ssh(somebody(tmp_path / "t", git), place, SSH_USER_AUTH=str(said))
    told.git("clone", url, "copy").ok()
    nowhere = url.replace("secrets", "missing")
    for words in ((), ("--key", str(keys["other"]))):
        other = over_ssh(somebody(tmp_path / f"o{len(words)}", git), *words, place)
        for command in (("ls-remote", url), ("clone", url, "copy")):
            refused = other.git(*command).failed(128, "no such repository here")
            assert refused.err == other.git(*[w.replace("secrets", "missing") for w in command]).err
    assert nowhere != url
    nodes.change_policy(secret, owner_key, readers=())
    reader.git("ls-remote", url).failed(128, "no such repository here")
    nodes.change_policy(secret, owner_key, readers=(keys["reader"],))
    # A key that named itself in the place of the one that sshd let in would be believed by nobody.
    claimed = over_ssh(
        somebody(tmp_path / "c", git), "--key", str(keys["other"]), place, SSH_USER_AUTH=str(said)
    )
    claimed.git("ls-remote", url).failed(128, "no such repository here")


COMMANDS = (
    "git-upload-pack '{}'", "git-receive-pack '{}'", "git upload-pack '{}'", "git-mirror-list '{}'",
    "git-mirror-notify '{}'", "git-mirror-sync '{}'", "git-upload-archive '{}'", "ls '{}'",
)  # fmt: skip


def test_strangers_over_ssh_learn_nothing(secret: Carried, tmp_path: Path) -> None:
    other = ssh_keys(tmp_path, "other")["other"]
    operator = somebody(tmp_path / "operator")
    places, keys = both(secret)[:3:2], ((), ("--key", str(other)))
    for number, command in enumerate(COMMANDS):
        # Who calls and how the path is written are looked at one after the other: each with each
        # would take twice the time.
        for (there, nowhere), key in zip(places, keys[:: -1 if number % 2 else 1], strict=True):
            words = ("gittorrent", "shell", *key, str(secret.layout.git_dir), "-c")
            said = [operator.run(*words, command.format(at)) for at in (there, nowhere)]
            found = [(each.status, each.out, each.err) for each in said]
            assert found[0] == found[1]
            assert said[0].status != 0


@pytest.fixture
def there(secret: Carried, owner_key: Signer, tmp_path: Path) -> Iterator[Account]:
    """A real sshd, whose one key is a reader's."""
    operator = somebody(tmp_path / "operator")
    with ExitStack() as stack:
        found = stack.enter_context(
            account(tmp_path / "ssh", operator, secret.layout.git_dir, exposes=True)
        )
        key = parse_key_line((tmp_path / "ssh" / "id.pub").read_text()).key
        nodes.change_policy(secret, owner_key, readers=(key,))
        yield found


def test_a_clone_keeps_to_itself(
    secret: Carried, there: Account, person: Person, tmp_path: Path
) -> None:
    friend, repository = there(person), secret.info.repository_id
    friend.git("config", "--global", "gittorrent.seedTime", "600").ok()
    url = f"gittorrent::{there.base}/secrets.git"
    friend.git("clone", url, "copy").ok()
    copy = person.root / "copy"
    friend.git("fsck", "--strict", cwd=copy).ok()
    friend.git("fetch", cwd=copy).ok()
    clone = Carried(copy / ".git", secret.object_format, repository)
    assert readers_here(clone.layout, repository)
    database = Database(Home(person.node).database)
    assert is_private(database, repository)
    database.close()
    friend.gittorrent("seed", "copy").failed(2, "is private", "gives nothing of it")
    pinned = f"gittorrent://{repository}@127.0.0.1:1/secrets.git"
    friend.git("ls-remote", pinned).failed(128, "in the clear")
    (Home(person.node).database).unlink()
    friend.git("fetch", pinned, cwd=copy).failed(128, "in the clear", f"forget {pinned}'", "anew")


def test_a_mirror_of_it_is_private_too(secret: Carried, there: Account, tmp_path: Path) -> None:
    operator = there(somebody(tmp_path / "second"))
    operator.gittorrent("mirror", "--once", f"gittorrent::{there.base}/secrets.git").ok()
    mirror = publishing.carried(Home(operator.node).repositories / "secrets.git")
    assert readers_here(mirror.layout, mirror.info.repository_id)
    assert not mirror.layout.git_dir.stat().st_mode & 0o077
    with nodes.serving(mirror, home=nodes.make_home(tmp_path / "h"), options=OPEN) as node:
        answer = call(node.git_address, request("git-upload-pack", b"/secrets.git"))
        assert b"no such repository here" in answer


def test_a_public_fork_gives_nothing_of_it(
    tmp_path: Path, owner_key: Signer, person: Person, there: Account, secret: Carried
) -> None:
    """A fork at the same refs has the same pack; neither gets it from the other by a link."""
    fork = tmp_path / "fork.git"
    gitcmd.git(tmp_path, "clone", "-q", "--mirror", "--no-local", secret.layout.git_dir, fork)
    gitcmd.git(fork, "update-ref", "-d", "refs/gittorrent/log")
    public = nodes.publish(fork, owner_key, "fork")
    hidden = nodes.add_commit(secret.layout.git_dir, "refs/heads/main", "x", b"hidden\n")
    nodes.publish(secret.layout.git_dir, owner_key, None)
    operator = there(person)
    operator.gittorrent("mirror", "--once", f"gittorrent::{there.base}/secrets.git").ok()
    home = nodes.make_home(tmp_path / "origin")
    with nodes.serving(public, home=home, options=OPEN) as node:
        url = f"gittorrent://{node.git.removeprefix('git://')}/fork.git"
        operator.gittorrent("mirror", "--once", url).ok()
    mirrors = [
        publishing.carried(Home(person.node).repositories / f"{name}.git")
        for name in ("secrets", "fork")
    ]
    inodes = [
        {path.stat().st_ino for path in each.layout.objects.rglob("*") if path.is_file()}
        for each in mirrors
    ]
    assert not inodes[0] & inodes[1]
    with nodes.serving(*mirrors, home=nodes.make_home(tmp_path / "h"), options=OPEN) as node:
        for version in ("0", "2"):
            wanted = person.git(
                "-c", f"protocol.version={version}", "fetch-pack", f"{node.git}/fork.git", hidden
            )
            assert wanted.status != 0
            assert hidden not in person.git("ls-remote", f"{node.git}/fork.git").ok().out


def test_news_pass_over_ssh(
    secret: Carried, owner_key: Signer, there: Account, tmp_path: Path
) -> None:
    """The node holds what the shell hands over to it, as long as the caller may read."""
    mirror = nodes.copy_as_mirror(secret, tmp_path / "mirror.git", "")
    mirror.set_info(replace(mirror.info, source=f"gittorrent::{there.base}/secrets.git"))
    operator, place = Person(tmp_path / "operator"), secret.layout.git_dir
    with serve(operator, place), serve(there(somebody(tmp_path / "o")), mirror.layout.git_dir):
        first = nodes.push_to_main(mirror, owner_key, b"at the mirror\n")
        wait_until(partial(nodes.shows_on_main, secret, first), "the origin has it")
        second = nodes.push_to_main(secret, owner_key, b"at the origin\n")
        wait_until(partial(nodes.shows_on_main, mirror, second), "the mirror has it")


def test_a_copy_that_comes_back_is_private(secret: Carried, tmp_path: Path) -> None:
    folder, place = tmp_path / "copies", tmp_path / "repositories"
    folder.mkdir()
    place.mkdir()
    copied = copy_repository(secret, folder, "one")
    place_copy(folder, copied, place / "secrets.git")
    back = publishing.carried(place / "secrets.git")
    readers = readers_here(back.layout, secret.info.repository_id)
    assert readers == readers_here(secret.layout, secret.info.repository_id)
    assert readers is not None
    assert not back.layout.git_dir.stat().st_mode & 0o077
