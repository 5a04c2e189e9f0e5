"""What users are told when something is wrong, and the exit code programs get."""

from __future__ import annotations

import contextlib
import gzip
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gittorrent.node.options import Options
from gittorrent.push.object import PushKind, PushObject
from gittorrent.push.records import Held, record_of
from gittorrent.push.replay import SignedCheckpoint
from gittorrent.repository.carried import Carried
from gittorrent.repository.logstore import identify
from gittorrent.signing.keys import Signer
from support import bulk, gitcmd, nodes
from support.copying import copy_tree
from support.disks import small_disk
from support.nodes import Served
from support.ports import free_port
from support.programs import PATIENCE, Person, wait_until
from support.running_servers import running

OTHER_ID = "a" * 52


def url_of(served: Served, name: str = "project") -> str:
    return f"gittorrent://{served.git.removeprefix('git://')}/{name}.git"


def clone(person: Person, url: str, status: int, *fragments: str) -> str:
    """Clone in both ways: 'gittorrent clone' ends with ``status``, git with its own 128."""
    done = person.gittorrent("clone", url, "one").failed(status, *fragments)
    assert not (person.root / "one").exists()
    person.git("clone", url, "two").failed(128, *fragments)
    assert not (person.root / "two").exists()
    return done.err


# --- where nothing is to be had ------------------------------------------------------------------


def test_nobody_listens(person: Person) -> None:
    port = free_port()
    hint = "hint: check host and port, or try another mirror"
    url = f"gittorrent://127.0.0.1:{port}/project.git"
    clone(person, url, 3, "cannot connect", str(port), hint)
    url = f"gittorrent::http://127.0.0.1:{port}/project.git"
    clone(person, url, 3, "cannot reach", str(port), hint)


def test_wrong_port_is_named_in_one_sentence(project_node: Served, person: Person) -> None:
    git = project_node.git.removeprefix("git://")
    web = project_node.http.removeprefix("http://")
    cases = [
        (f"gittorrent://{web}/project.git", 6, "it is a web server", f"gittorrent::http://{web}/"),
        (f"gittorrent::http://{git}/project.git", 3, "does not speak HTTP", f"gittorrent://{git}/"),
        (f"gittorrent::https://{web}/project.git", 3, "does not speak TLS", f"::http://{web}/"),
        (f"gittorrent::https://{git}/project.git", 3, "does not speak TLS", f"::http://{git}/"),
    ]
    for url, status, why, instead in cases:
        said = clone(person, url, status, why, instead)
        ours = [line for line in said.splitlines() if line.startswith(("gittorrent:", "hint:"))]
        assert len(ours) == 2, said


@pytest.mark.parametrize(
    ("greeting", "fragment"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "it is an ssh port"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "it is a TLS port"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "it is a web server"),
    ],
)
def test_other_servers_are_recognized(person: Person, greeting: bytes, fragment: str) -> None:
    with greeter(greeting) as port:
        clone(person, f"gittorrent://127.0.0.1:{port}/project.git", 6, fragment)


@contextlib.contextmanager
def greeter(greeting: bytes) -> Iterator[int]:
    """Say the same to everybody who calls, and hang up; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    sock, _ = server.accept()
                except OSError:
                    return  # the test has ended
                with sock, contextlib.suppress(OSError):  # who hung up first
                    sock.recv(1 << 12)
                    sock.sendall(greeting)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_unknown_host(person: Person) -> None:
    url = "gittorrent://no-such-host.invalid/project.git"
    clone(person, url, 3, "cannot find host no-such-host.invalid: name or service not known")
    clone(person, "gittorrent::http://no-such-host.invalid/p.git", 3, "no-such-host.invalid")


@pytest.mark.parametrize(
    ("limit", "words", "said"),
    [
        ("-n 8", ["mirror", "gittorrent://127.0.0.1:1/p.git", "--once"], "ulimit -n"),
        ("-f 1", ["status"], "ulimit -f"),
    ],
)
def test_limits_of_the_process_are_named(
    person: Person, limit: str, words: list[str], said: str
) -> None:
    person.variables["PYTHONDONTWRITEBYTECODE"] = "1"  # of which the limit would keep a part
    program = f'ulimit {limit}; exec gittorrent "$@"'
    done = person.run("/bin/sh", "-c", program, "sh", *words).failed(7, said)
    assert "never awaited" not in done.err


def test_an_address_of_another_machine(person: Person) -> None:
    done = person.gittorrent("serve", "--git", "192.0.2.1:0")
    done.failed(7, "cannot listen at 192.0.2.1:0", "no address of this machine")


def test_a_web_server_that_asks_who_calls(person: Person) -> None:
    class Asking(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="all"')
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Asking)
    with running(server):
        url = f"gittorrent::http://127.0.0.1:{server.server_port}/p.git"
        clone(person, url, 6, "answers 401", "over https alone")


@pytest.mark.parametrize(
    ("status", "headers", "body", "ends", "says"),
    [
        (301, {"Location": "https://m.example.org/p.git/mirror-list"}, b"", 6,
         ["answers 301 and leads to https://m.example.org/p.git/mirror-list",
          "the URL is gittorrent::https://m.example.org/p.git"]),
        (302, {"Location": "/login?to=p"}, b"", 6, ["answers 302 and leads to http://127.0.0.1:"]),
        (301, {"Location": "http://["}, b"", 6, ["answers 301 and leads to http://["]),
        (200, {"Content-Type": "text/html"}, b"<!DOCTYPE html>\n", 6,
         ["/p.git/mirror-list is a web page, and no list of mirrors", "want a login first"]),
        (200, {}, b"nonsense\n", 8, ["/p.git/mirror-list: mirror list without"]),
        (200, {"Content-Encoding": "gzip"}, gzip.compress(b"repo x\n"), 3,
         ["in the encoding 'gzip'", "send files as they are"]),
    ],
    ids=["moved", "login", "nowhere", "page", "nonsense", "encoded"],
)  # fmt: skip
def test_a_web_server_that_is_no_mirror(
    person: Person, status: int, headers: dict[str, str], body: bytes, ends: int, says: list[str]
) -> None:
    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    with running(server):
        clone(person, f"gittorrent::http://127.0.0.1:{server.server_port}/p.git", ends, *says)


def test_repository_not_carried(project_node: Served, person: Person) -> None:
    said = clone(person, url_of(project_node, "absent"), 3, "absent.git", "does not serve")
    assert "mirror" in said
    url = f"gittorrent::{project_node.http}/absent.git"
    clone(person, url, 3, "absent.git")


@pytest.mark.parametrize(
    ("url", "fragment"),
    [
        ("gittorrent://", "names no host"),
        ("gittorrent://host", "names no repository"),
        ("gittorrent://host/", "names no repository"),
        ("gittorrent://host:99999/p.git", "Port out of range"),
        ("gittorrent://nobody@host/p.git", "is no repository id"),
        (f"gittorrent://{OTHER_ID}:9418", "no gittorrent URL"),
        (f"gittorrent://{OTHER_ID}@{OTHER_ID}", "no gittorrent URL"),
        ("gittorrent://host/p.git?x=1", "cannot have"),
        ("gittorrent://user:secret@host/p.git", "cannot have"),
        ("ftp://host/p.git", "no gittorrent URL"),
        ("git+ssh://host/p.git", "over ssh"),
        ("git@host:p.git", "over ssh"),
        ("/srv/p.git", "on this machine"),
        ("file:///srv/p.git", "on this machine"),
        ("gittorrent://-host/p.git", "names no host"),
    ],
)
def test_bad_url(person: Person, url: str, fragment: str) -> None:
    person.gittorrent("clone", url, "c").failed(2, fragment)
    if url.startswith("gittorrent:") and fragment != "names no host":
        person.git("clone", url, "c").failed(128, fragment)


# --- who it is -----------------------------------------------------------------------------------


def test_wrong_repository_id(project_node: Served, project: Carried, person: Person) -> None:
    url = url_of(project_node).replace("//", f"//{OTHER_ID}@", 1)
    clone(person, url, 4, str(project.info.repository_id), OTHER_ID)


def test_changed_identity_and_forget(
    project: Carried, tmp_path: Path, person: Person, owner_key: Signer
) -> None:
    other = nodes.publish(nodes.make_repository(tmp_path / "other.git"), owner_key, "project")
    with nodes.serving(project, home=nodes.make_home(tmp_path / "h1")) as served:
        url, options = url_of(served), served.git_address
        first = person.git("clone", url, "c").ok()
        assert f"first contact with {served.git}/project.git" in first.err
        assert str(project.info.repository_id) in first.err
        second = person.git("clone", url, "d").ok()
        assert "first contact" not in second.err
    place = Options(git=(options,), announce=False)
    with nodes.serving(other, home=nodes.make_home(tmp_path / "h2"), options=place):
        said = clone(person, url, 4, str(project.info.repository_id), str(other.info.repository_id))
        # The hint can be followed as it stands.
        hint = said.partition("'gittorrent forget ")[2].partition("'")[0]
        person.git("fetch", cwd=person.root / "c").failed(128, "not " + project.info.repository_id)
        person.gittorrent("forget", hint).ok()
        person.gittorrent("forget", hint).failed(2, "no record of")
        assert "first contact" in person.git("clone", url, "e").ok().err


# --- what is not signed as it must be -------------------------------------------------------------


def damaged(project: Carried, target: Path) -> Carried:
    copy_tree(project.layout.git_dir, target)
    return Carried(target, project.object_format)


def test_log_that_does_not_verify(project: Carried, tmp_path: Path, person: Person) -> None:
    carried = damaged(project, tmp_path / "r.git")
    for number, record in enumerate(carried.log_store.records()):
        if record.kind is PushKind.CERTIFICATE:
            continue  # clones get none that a checkpoint has taken
        path = carried.layout.push(record.id)
        data = path.read_bytes()
        name, other = b"refs/heads/main", b"refs/heads/mian"
        if record.kind is PushKind.POLICY:
            name, other = b"project", b"tcejorp"
        assert name in data
        path.chmod(0o644)
        path.write_bytes(data.replace(name, other, 1))
        with nodes.serving(carried, home=nodes.make_home(tmp_path / f"h{number}")) as served:
            clone(person, url_of(served), 5)
        path.write_bytes(data)


def test_refs_signed_by_somebody_else(
    project: Carried, tmp_path: Path, person: Person, owner_key: Signer
) -> None:
    """A mirror adds a checkpoint of its own key, which is not the keeper's."""
    (tmp_path / "k").mkdir()
    stranger = nodes.signer(tmp_path / "k")
    carried = damaged(project, tmp_path / "r.git")
    forge_checkpoint(carried, stranger)
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "h")) as served:
        said = clone(person, url_of(served), 5)
        assert str(stranger.key) in said


def forge_checkpoint(carried: Carried, key: Signer) -> None:
    """Add a checkpoint to the log as a mirror would that checks nothing."""
    log = carried.log()
    checkpoint = log.ledger.proposal(tagger=b"M <m@example.org>", time=1_900_000_000)
    text = checkpoint.text()
    push = PushObject(PushKind.CHECKPOINT, text, (key.sign(text),), signer=key.key)
    (push_id,) = identify(carried.git, [push], carried.object_format, write=True)
    carried.log_store.store_push(push_id, push)
    record = record_of(SignedCheckpoint(push_id, checkpoint, key.key), Held.ADOPTED)
    with carried.log_store.path.open("ab") as file:
        file.write(f"{record.line()}\n".encode())


def test_mirror_withholds_the_newest_push(
    large: Carried, tmp_path: Path, person: Person, owner_key: Signer
) -> None:
    """A mirror that lags is used, and the user hears that it lags."""
    old = damaged(large, tmp_path / "old.git")
    new = damaged(large, tmp_path / "new.git")
    nodes.add_commit(new.layout.git_dir, "refs/heads/main", "new", b"new\n")
    nodes.publish(new.layout.git_dir, owner_key, None)
    with ExitStack() as stack:
        ahead = stack.enter_context(nodes.serving(new, home=nodes.make_home(tmp_path / "h1")))
        behind = stack.enter_context(nodes.serving(old, home=nodes.make_home(tmp_path / "h2")))
        person.git("clone", "-q", url_of(ahead), "c").ok()
        done = person.git("clone", url_of(behind), "d").ok()
        assert "behind" in done.err
        # A clone that has seen more never goes back.
        clone_dir = person.root / "c"
        person.git("remote", "set-url", "origin", url_of(behind), cwd=clone_dir).ok()
        before = gitcmd.refs(clone_dir)
        assert "behind" in person.git("fetch", cwd=clone_dir).ok().err
        assert gitcmd.refs(clone_dir) == before


# --- plain git servers ---------------------------------------------------------------------------


@contextmanager
def git_daemon(base: Path) -> Iterator[str]:
    port = free_port()
    words = ["git", "daemon", "--export-all", f"--base-path={base}", "--listen=127.0.0.1"]
    process = subprocess.Popen(
        [*words, f"--port={port}", "--reuseaddr", str(base)],
        stderr=subprocess.DEVNULL, env=gitcmd.ENVIRONMENT, start_new_session=True,
    )  # fmt: skip

    def listens() -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(listens, "git daemon listens")
        yield f"127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        process.wait(PATIENCE)


def test_plain_git_server(tmp_path: Path, person: Person) -> None:
    bulk.make_small(tmp_path / "served" / "project.git")
    with git_daemon(tmp_path / "served") as place:
        url = f"gittorrent://{place}/project.git"
        clone(person, url, 6, "does not speak MirrorSync", "gittorrent.allowUnverified")
        allow = ("-c", "gittorrent.allowUnverified=true")
        done = person.git("clone", *allow, url, "c").ok()
        assert "without verification" in done.err
        origin = gitcmd.refs(tmp_path / "served" / "project.git")
        cloned = gitcmd.refs(person.root / "c")
        assert cloned[b"refs/remotes/origin/main"] == origin[b"refs/heads/main"]
        # 'clone -c' is remembered in the clone, so fetching goes on as it was allowed.
        main = nodes.add_commit(
            tmp_path / "served" / "project.git", "refs/heads/main", "more", b"more\n"
        )
        person.git("fetch", cwd=person.root / "c").ok()
        assert gitcmd.refs(person.root / "c")[b"refs/remotes/origin/main"] == main
        person.gittorrent("clone", "--allow-unverified", url, "d").ok()
        person.git(*allow, "clone", "--depth", "1", url, "e").ok()


def test_web_server_on_the_git_port(project_node: Served, person: Person) -> None:
    url = f"gittorrent://{project_node.http.removeprefix('http://')}/project.git"
    said = clone(person, url, 6, "it is a web server")
    hint = next(word for word in said.split() if word.startswith("gittorrent::http"))
    person.git("clone", hint, "c").ok()


def test_where_git_fetches_by_itself_paranoia_is_not_for_show(
    tmp_path: Path, person: Person
) -> None:
    bulk.make_small(tmp_path / "served" / "project.git")
    with git_daemon(tmp_path / "served") as place:
        url = f"gittorrent://{place}/project.git"
        words = ("-c", "gittorrent.allowUnverified=true", "-c", "gittorrent.paranoid=true")
        person.git(*words, "clone", url, "c").failed(128, "transfer.fsckObjects")
        person.git(*words, "-c", "transfer.fsckObjects=true", "clone", url, "d").ok()


def test_archives_are_not_to_be_had(project_node: Served, person: Person) -> None:
    """Nobody signed them, so there would be nothing to compare them with."""
    done = person.git("archive", f"--remote={url_of(project_node)}", "HEAD")
    done.failed(128, "what it brings cannot be verified", "hint: clone with --depth 1")
    assert done.out == ""


def test_pinned_url_is_never_unverified(tmp_path: Path, person: Person) -> None:
    bulk.make_small(tmp_path / "served" / "project.git")
    with git_daemon(tmp_path / "served") as place:
        url = f"gittorrent://{OTHER_ID}@{place}/project.git"
        allow = ("-c", "gittorrent.allowUnverified=true")
        person.git(*allow, "clone", url, "c").failed(128, "does not speak MirrorSync")


# --- publishing ----------------------------------------------------------------------------------


def test_nothing_to_publish(person: Person, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    person.gittorrent("publish", empty, "--new-key").failed(2, "no git repository", str(empty))
    person.gittorrent("publish", tmp_path / "absent").failed(2, "absent")
    person.gittorrent("verify", empty).failed(2, "no git repository")
    bulk.make_small(tmp_path / "r.git")
    person.gittorrent("verify", tmp_path / "r.git").failed(2, "not published", "gittorrent publish")
    person.gittorrent("serve", tmp_path / "r.git").failed(2, "not published", "gittorrent publish")
    person.gittorrent("serve", empty).failed(2, "no published or mirrored repository")


def test_incomplete_repositories_are_refused(person: Person, tmp_path: Path) -> None:
    origin = bulk.make_small(tmp_path / "r.git")
    gitcmd.git(origin, "config", "uploadpack.allowFilter", "true")
    url = f"file://{origin}"
    for options, fragments in (
        (["--depth=1"], ("is shallow", "--unshallow")),
        (["--filter=blob:none"], ("is a partial clone",)),
    ):
        target = tmp_path / options[0]
        person.git("clone", "-q", "--bare", *options, url, target).ok()
        person.gittorrent("publish", target, "--new-key").failed(2, *fragments)
        assert not (person.node / "keys").exists(), "no key is made for nothing"
        assert not (target / "gittorrent" / "logs").exists()


def test_no_signing_key(person: Person, tmp_path: Path) -> None:
    origin = bulk.make_small(tmp_path / "r.git")
    person.gittorrent("publish", origin).failed(7, "--new-key")
    person.gittorrent("publish", origin, "--key", tmp_path / "absent").failed(7, "absent")
    assert not (origin / "gittorrent" / "logs").exists()
    person.gittorrent("publish", origin, "--new-key").ok()


def test_name_taken(person: Person, tmp_path: Path) -> None:
    first, second = bulk.make_small(tmp_path / "1.git"), bulk.make_small(tmp_path / "2.git")
    person.gittorrent("publish", first, "--name", "project", "--new-key", "--wait").ok()
    done = person.gittorrent("publish", second, "--name", "project", "--new-repository")
    done.failed(2, "project is taken", str(first), "--name")
    # Refused before anything was made, so another name can be chosen.
    person.gittorrent("publish", second, "--name", "other", "--new-repository", "--wait").ok()
    done = person.gittorrent("publish", first, "--name", "other")
    done.failed(2, "other is taken", str(second))


def test_unfit_names_and_patterns(person: Person, tmp_path: Path) -> None:
    origin = bulk.make_small(tmp_path / "r.git")
    for name in ("a/b", "..", "", "-x", "sp ace", "x" * 300):
        done = person.gittorrent("publish", origin, "--new-key", f"--name={name}")
        done.failed(done.status)
        assert done.status in (2, 5), (name, done)
    done = person.gittorrent("publish", origin, "--new-key", "--refs", "notes")
    done.failed(2, "'notes'", "refs/heads/*")
    done = person.gittorrent("publish", origin, "--new-key", "--refs", "refs/gittorrent/*")
    done.failed(2)


def test_rates_and_places(person: Person) -> None:
    for rate in ("fast", "0", "-1", "1T", "10 M B"):
        person.gittorrent("serve", f"--up-limit={rate}").failed(2, "is no rate", "500K")
    for size in ("large", "0", "-1"):
        for option in ("--keep-size", "--git-memory"):
            person.gittorrent("serve", f"{option}={size}").failed(2, option, "is not a size", "10G")
    person.gittorrent("serve", "--git-memory=1K").failed(2, "--git-memory", "64M or more")
    for size in ("large", "0", "-1"):
        words = ("gtp", "clone", "no.gittorrent", "d", f"--block-size={size}")
        person.gittorrent(*words).failed(2, "--block-size", "is not a size")
    for time in ("0", "-1", "1.5", "inf", "nan", "2w", "1e9", "9" * 40):
        done = person.gittorrent("mirror", "git://127.0.0.1:1/x.git", f"--interval={time}")
        done.failed(2, "--interval", "no length of time", "30m")
    for place in ("localhost", "host:port", ":9418", "host:70000"):
        person.gittorrent("serve", "--git", place).failed(2, "HOST:PORT")
    for port in ("²", "9" * 5000):
        place = f"127.0.0.1:{port}"
        person.gittorrent("gtp", "tracker", "--http", place).failed(2, "[::1]:9417")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = person.gittorrent("serve", "--git", f"127.0.0.1:{port}")
        done.failed(7, str(port))


def test_publishing_a_mirror(project_node: Served, person: Person) -> None:
    person.gittorrent("mirror", url_of(project_node), "--once").ok()
    mirror = person.node / "repositories" / "project.git"
    person.gittorrent("publish", mirror, "--new-key").failed(2, "is a mirror of")


# --- this machine --------------------------------------------------------------------------------


def test_disk_full_under_partial(large: Carried, tmp_path: Path, person: Person) -> None:
    with nodes.serving(large, home=nodes.make_home(tmp_path / "h")) as served:
        with small_disk(person.node, "4m"):
            clone(person, url_of(served), 7, "MiB are free", "GITTORRENT_HOME")


def test_disk_full_under_the_clone(large: Carried, tmp_path: Path, person: Person) -> None:
    with nodes.serving(large, home=nodes.make_home(tmp_path / "h")) as served:
        disk = tmp_path / "disk"
        with small_disk(disk, "5m"):
            done = person.gittorrent("clone", url_of(served), disk / "c")
            done.failed(7, "No space left")
            assert not (disk / "c").exists()
        # The parts are kept: with room the clone needs no second download.
        assert len(person.partial) == 1
        done = person.gittorrent("clone", url_of(served), "c", "--progress").ok()
        assert "), 0 bytes" in done.err


def test_more_than_the_user_allows(large: Carried, tmp_path: Path, person: Person) -> None:
    """Nobody's fault: neither the owner's, who is not to be told, nor the mirrors'."""
    person.git("config", "--global", "gittorrent.maxSize", "600K").ok()
    with nodes.serving(large, home=nodes.make_home(tmp_path / "node")) as served:
        clone(person, url_of(served), 7, "more than the 600.00 KiB allowed", "gittorrent.maxSize")


def test_home_that_cannot_be_made(person: Person, project_node: Served) -> None:
    person.node.parent.joinpath("node").write_text("a file\n")
    clone(person, url_of(project_node), 7, "cannot make", "GITTORRENT_HOME")


def test_damaged_database(person: Person, project_node: Served) -> None:
    person.node.mkdir()
    (person.node / "node.sqlite").write_bytes(b"not a database" * 1000)
    clone(person, url_of(project_node), 7, "node.sqlite")
    person.gittorrent("status").failed(7, "node.sqlite")


def test_no_git(person: Person, project_node: Served) -> None:
    without = Person(person.root, "git", {"GITTORRENT_GIT": "/nonexistent/git"})
    without.gittorrent("clone", url_of(project_node), "c").failed(7, "cannot find", "install git")


# --- what is said and what is not -----------------------------------------------------------------


def test_quiet_is_silent(project_node: Served, person: Person) -> None:
    done = person.git("clone", "-q", url_of(project_node), "c").ok()
    assert (done.out, done.err) == ("", "")
    done = person.gittorrent("clone", url_of(project_node), "d", "--quiet").ok()
    assert (done.out, done.err) == ("", "")
    done = person.git("fetch", "-q", cwd=person.root / "c").ok()
    assert (done.out, done.err) == ("", "")


def test_pipes_get_notes_and_no_progress(project_node: Served, person: Person) -> None:
    done = person.git("clone", url_of(project_node), "c").ok()
    assert "\r" not in done.err
    assert all(
        line.startswith(("Cloning into", "gittorrent: first contact", "gittorrent: origin is now"))
        for line in done.err.splitlines()
    ), done.err
    shown = person.git("clone", "--progress", url_of(project_node), "d").ok()
    assert "Receiving parts: 100% (1/1)" in shown.err


def test_errors_are_heard_in_quiet_too(person: Person) -> None:
    url = f"gittorrent://127.0.0.1:{free_port()}/project.git"
    person.git("clone", "-q", url, "c").failed(128, "cannot connect")


# --- pushing -------------------------------------------------------------------------------------


def test_push_is_refused_with_reasons_by_a_node(project_node: Served, person: Person) -> None:
    person.git("clone", "-q", url_of(project_node), "c").ok()
    clone_dir = person.root / "c"
    person.git("commit", "-q", "--allow-empty", "-m", "mine", cwd=clone_dir).ok()
    done = person.git("push", cwd=clone_dir)
    assert done.status != 0
    assert "push" in done.err
    assert "Traceback" not in done.err


def test_push_goes_through_to_a_plain_git_server(tmp_path: Path, person: Person) -> None:
    """What the helper does for a push is to connect git with the other end's receive-pack."""
    git_dir = bulk.make_small(tmp_path / "served" / "project.git")
    gitcmd.git(git_dir, "config", "daemon.receivepack", "true")
    with git_daemon(tmp_path / "served") as place:
        url = f"gittorrent://{place}/project.git"
        person.git("clone", "-q", "-c", "gittorrent.allowUnverified=true", url, "c").ok()
        clone_dir = person.root / "c"
        for number in range(5):
            person.git("commit", "-q", "--allow-empty", "-m", f"{number}", cwd=clone_dir).ok()
            person.git("push", "origin", "main", cwd=clone_dir).ok()
    assert gitcmd.refs(git_dir)[b"refs/heads/main"] == gitcmd.text(clone_dir, "rev-parse", "HEAD")


def test_a_plain_git_server_that_hangs_up_ends_the_clone(person: Person) -> None:
    """While git waits for the server, something waits for git; neither may wait for the other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    caller, _ = listener.accept()
                except OSError:
                    return  # the test has ended
                with caller, contextlib.suppress(OSError):  # who hung up first
                    if b"upload-pack" in caller.recv(4096):
                        caller.sendall(b"001e# service=git-upl")

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"gittorrent://127.0.0.1:{listener.getsockname()[1]}/x.git"
        running = person.start("gittorrent", "clone", "--allow-unverified", url, "c")
        try:
            assert running.wait() != 0
            running.wait_all()
        finally:
            running.stop()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
    assert "Traceback" not in running.err
    assert not (person.root / "c").exists()


def test_a_helper_makes_no_file_for_those_who_are_gone(person: Person, tmp_path: Path) -> None:
    """`gittorrent clone` removes its directory while a helper that git left behind still ends."""
    status = tmp_path / "status"
    person.variables["GITTORRENT_STATUS_FILE"] = str(status)
    url = f"gittorrent://127.0.0.1:{free_port()}/project.git"
    person.git("ls-remote", url).failed(128)
    assert not status.exists()
    status.touch()
    person.git("ls-remote", url).failed(128)
    assert status.read_text() == "3"
