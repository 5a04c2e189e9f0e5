"""Readers of private repositories come in by tokens over TLS, and only there."""

from __future__ import annotations

import http.server
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.ids import Oid
from gittorrent.node.options import Options
from gittorrent.node.tls import CertificateFiles
from gittorrent.repository.carried import Carried
from gittorrent.repository.readers_file import readers_here
from gittorrent.signing.keys import Signer
from gittorrent.store.database import Database
from gittorrent.store.home import Home
from gittorrent.store.tokens import TokenRow, TokenTable
from gittorrent.trust.policy import Rule
from gittorrent.trust.refpattern import RefPattern
from gittorrent.trust.sshkey import parse_key_line
from gittorrent.wire import pktline
from gittorrent.wire.tokens import digest_of, encode_basic, make_token
from support import bulk, certificates, nodes, publishing
from support.nodes import Served
from support.programs import GITS, PATIENCE, Person, serve, somebody, wait_until
from support.running_servers import running
from support.web_servers import block_of_the_guide, nginx
from support.websockets import BINARY, Caller, request

pytestmark = pytest.mark.git_in_turn

OPEN = Options(
    git=(("127.0.0.1", 0),), http=(("127.0.0.1", 0),), https=(("127.0.0.1", 0),), announce=False
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    certificates.authority(tmp_path / "ca")
    certificates.issue(tmp_path / "ca")
    return tmp_path / "ca"


@pytest.fixture
def secret(tmp_path: Path, owner_key: Signer) -> Carried:
    made = nodes.make_repository(tmp_path / "secrets.git", 200_000)
    return nodes.publish(made, owner_key, "secrets", private=True)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return nodes.make_home(tmp_path / "node")


@pytest.fixture
def node(secret: Carried, project: Carried, home: Home, folder: Path) -> Iterator[Served]:
    files = CertificateFiles(folder / "server.pem", folder / "server.key")
    with nodes.serving(
        secret, project, home=home, options=replace(OPEN, certificate=files)
    ) as served:
        yield served


def add_token(home: Home, name: str, repository: str = "", expires: int = 0) -> str:
    token = make_token(name.encode().ljust(32, b"."))
    with closing(Database(home.database)) as database:
        TokenTable(database).add(TokenRow(name, digest_of(token), repository, 1, expires))
    return token


def revoke(home: Home, name: str) -> None:
    with closing(Database(home.database)) as database:
        TokenTable(database).revoke([name])


def secured(node: Served, folder: Path) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    sock = socket.create_connection(node.https_address, timeout=PATIENCE)
    return context.wrap_socket(sock, server_hostname="127.0.0.1")


def raw(node: Served, folder: Path, path: str, token: str = "", *headers: str) -> bytes:
    """Do one request over TLS; returns every byte of the answer but the date."""
    more = [f"Authorization: {encode_basic('x', token)}"] if token else []
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close", *more, *headers]
    with secured(node, folder) as sock:
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        said = b""
        while data := sock.recv(65536):
            said += data
    return b"\r\n".join(each for each in said.split(b"\r\n") if not each.startswith(b"Date:"))


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_what_is_answered(
    secret: Carried, project: Carried, node: Served, home: Home, folder: Path
) -> None:
    there, nowhere = "/secrets.git/mirror-list", "/missing.git/mirror-list"
    assert raw(node, folder, there) == raw(node, folder, nowhere)
    assert status(raw(node, folder, there)) == 404, "a node without tokens asks for none"
    good = add_token(home, "alice", secret.info.repository_id)
    other = add_token(home, "bob", project.info.repository_id)
    late = add_token(home, "carol", "", int(time.time()) - 1)
    all_of_them = add_token(home, "dan")
    made_up = make_token(bytes(32))
    for token in ("", other, late, made_up, "nonsense"):
        answer = raw(node, folder, there, token)
        assert answer == raw(node, folder, nowhere, token)
        assert status(answer) == (404 if token == other else 401)
        assert status(raw(node, folder, "/project.git/mirror-list", token)) == 200
    for token in (good, all_of_them):
        assert status(raw(node, folder, there, token)) == 200
        assert status(raw(node, folder, nowhere, token)) == 404
    assert b"mirror" not in raw(node, folder, there, good).split(b"\r\n\r\n")[1].split(b"\n")[-2]
    (reel, *_) = secret.reels.all()
    pack = raw(node, folder, f"/secrets.git/reels/{reel.id}.pack", good)
    assert b"Cache-Control: private, no-store" in pack
    twice = raw(node, folder, there, good, f"Authorization: {encode_basic('x', good)}")
    assert status(twice) == 401, "two headers are none"
    # In the clear it is worth nothing, and tells nothing.
    plain = [
        nodes.fetch(node.http_address, "GET", path, Authorization=encode_basic("x", good))
        for path in (there, nowhere)
    ]
    assert [(answer.status, body) for answer, body in plain] == [(404, plain[0][1])] * 2
    revoke(home, "alice")
    assert raw(node, folder, there, good) == raw(node, folder, nowhere, good)
    assert status(raw(node, folder, there, good)) == 401


def test_no_cache_on_the_way_keeps_what_is_private(
    secret: Carried, node: Served, home: Home, folder: Path
) -> None:
    good = add_token(home, "alice", secret.info.repository_id)
    (reel, *_) = secret.reels.all()
    lists = ("mirror-list", "bundle-list", "reels/index", "pushes/index", "pushes/short")
    of_git = [f"info/refs?service=git-{each}-pack" for each in ("upload", "receive")]
    of_reel = [f"reels/{reel.id}.{each}" for each in ("pack", "manifest", "have")]
    refused = (f"bundles/{reel.id}.bundle", "pushes/none", "mirror-sync", "mirror-mux", "webhook")
    for rest in (*lists, *of_git, *of_reel, *refused):
        head, _, _ = raw(node, folder, f"/secrets.git/{rest}", good).partition(b"\r\n\r\n")
        found = [each for each in head.split(b"\r\n") if each.startswith(b"Cache-Control:")]
        assert found == [b"Cache-Control: private, no-store"], (rest, head)


def remembers(person: Person, node: Served, folder: Path, token: str) -> Path:
    """Let somebody's git know an authority, and a token for a node; returns the token's file."""
    person.git("config", "--global", "http.sslCAInfo", folder / "ca.pem").ok()
    return knows(person, node.https, token)


def knows(person: Person, base: str, token: str) -> Path:
    """Let somebody's git know a token, as a credential helper does; returns its file."""
    file = person.root / "credentials"
    file.write_text(f"https://x:{token}@{base.removeprefix('https://')}\n")
    person.git("config", "--global", "credential.helper", f"store --file {file}").ok()
    return file


@pytest.mark.parametrize("git", GITS)
def test_git_and_clones_come_in(
    secret: Carried, node: Served, home: Home, folder: Path, tmp_path: Path, git: str
) -> None:
    token = add_token(home, "alice", secret.info.repository_id)
    person = somebody(tmp_path / "person", git)
    file = remembers(person, node, folder, token)
    url = f"{node.https}/secrets.git"
    person.git("clone", url, "stock").ok()
    person.git("clone", f"gittorrent::{url}", "copy").ok()
    copy = person.root / "copy"
    assert node.ended_conversations()[0].reason == "done"
    assert token not in (copy / ".git" / "config").read_text()
    assert readers_here(
        Carried(copy / ".git", secret.object_format).layout, secret.log().repository
    )
    nodes.add_commit(secret.layout.git_dir, "refs/heads/main", "more", b"more\n")
    person.git("fetch", "--depth", "1", cwd=copy).ok()
    assert token in file.read_text()
    revoke(home, "alice")
    add_token(home, "bob")
    person.git("fetch", cwd=copy).failed(128, "takes no such name and password")
    assert token not in file.read_text(), "the helper was told that it is of no use"
    person.git("fetch", cwd=copy).failed(128, "asks who you are")


def test_a_mirror_and_a_push_over_https(
    node: Served, home: Home, folder: Path, tmp_path: Path, secret: Carried, owner_key: Signer
) -> None:
    token = add_token(home, "mirror")
    operator = somebody(tmp_path / "operator")
    remembers(operator, node, folder, token)
    url = f"gittorrent::{node.https}/secrets.git"
    operator.gittorrent("mirror", "--once", url).ok()
    mirror = publishing.carried(Home(operator.node).repositories / "secrets.git")
    assert readers_here(mirror.layout, mirror.info.repository_id)
    assert token not in (mirror.layout.info).read_text()
    key = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    operator.git("clone", f"{node.https}/secrets.git", "work").ok()
    work = operator.root / "work"
    operator.git("commit", "--allow-empty", "-m", "x", cwd=work).ok()
    settings = ("-c", "gpg.format=ssh", "-c", f"user.signingKey={key}.pub")
    pushed = operator.git(*settings, "push", "--signed", "origin", "HEAD:main", cwd=work)
    assert "token" not in pushed.err
    assert pushed.status != 0, "who reads may not push for that"


@pytest.mark.parametrize("git", GITS)
def test_each_repository_of_a_server_has_its_token(
    secret: Carried, home: Home, folder: Path, tmp_path: Path, owner_key: Signer, git: str
) -> None:
    """One node mirrors two repositories of one server, by tokens that are good for one each."""
    path = nodes.make_repository(tmp_path / "riddles.git")
    other = nodes.publish(path, owner_key, "riddles", private=True)
    files = CertificateFiles(folder / "server.pem", folder / "server.key")
    operator = somebody(tmp_path / "operator", git)
    with (
        nodes.serving(secret, other, home=home, options=replace(OPEN, certificate=files)) as node,
        serve(operator),
    ):
        lines = []
        for each in (secret, other):
            token = add_token(home, each.info.name, each.info.repository_id)
            host = node.https.removeprefix("https://")
            lines.append(f"https://x:{token}@{host}/{each.info.name}.git\n")
        remembers(operator, node, folder, "").write_text("".join(lines))
        operator.git("config", "--global", "credential.useHttpPath", "true").ok()
        for name in ("secrets", "riddles"):
            operator.gittorrent("mirror", f"gittorrent::{node.https}/{name}.git").ok()


def test_news_pass_over_https(
    node: Served, home: Home, folder: Path, tmp_path: Path, secret: Carried, owner_key: Signer
) -> None:
    operator = somebody(tmp_path / "operator")
    remembers(operator, node, folder, add_token(home, "mirror"))
    mirror = nodes.copy_as_mirror(secret, tmp_path / "mirror.git", "")
    mirror.set_info(replace(mirror.info, source=f"gittorrent::{node.https}/secrets.git"))
    with serve(operator, mirror.layout.git_dir):
        first = nodes.push_to_main(mirror, owner_key, b"at the mirror\n")
        wait_until(partial(nodes.shows_on_main, secret, first), "the origin has it")
        second = nodes.push_to_main(secret, owner_key, b"at the origin\n")
        wait_until(partial(nodes.shows_on_main, mirror, second), "the mirror has it")


def test_a_mirror_whose_token_was_revoked_says_that_it_was_not_taken(
    node: Served, home: Home, folder: Path, tmp_path: Path
) -> None:
    """Git forgets what a server did not take, so that the operator finds nothing to look at."""
    operator = somebody(tmp_path / "operator")
    remembers(operator, node, folder, add_token(home, "mirror"))
    add_token(home, "other")  # without any the node asks nobody who they are
    url = f"gittorrent::{node.https}/secrets.git"
    with serve(operator):
        operator.gittorrent("mirror", url).ok()
        revoke(home, "mirror")
        for words in (("takes no such", "did not take"), ("did not take",)):
            said = operator.gittorrent("mirror", url).failed(3).err
            assert any(each in said for each in words), said
            assert "revoked" in said


def test_who_types_a_token_types_it_once(
    node: Served, home: Home, folder: Path, person: Person
) -> None:
    """Git's own processes get what was typed, also where no helper remembers it."""
    token = add_token(home, "alice")
    person.git("config", "--global", "http.sslCAInfo", folder / "ca.pem").ok()
    asked = person.root / "asked"
    once = f"test $1 = get && test ! -e {asked} && touch {asked}"
    helper = f"!f() {{ {once} && echo username=x && echo password={token}; }}; f"
    person.git("config", "--global", "credential.helper", helper).ok()
    url = f"gittorrent::{node.https}/secrets.git"
    done = person.git("-c", "credential.helper=", "clone", "--depth", "1", url, "no")
    done.failed(128, "asks who you are")
    person.git("clone", "--depth", "1", url, "copy").ok()
    assert asked.exists()


def test_what_is_set_by_variables_counts_as_for_git(
    node: Served, home: Home, folder: Path, tmp_path: Path
) -> None:
    """As in CI jobs: the token, the settings and the authority are in no file of the home."""
    settings = tmp_path / "settings"
    helper = '!f() { echo "username=x"; echo "password=$CI_JOB_TOKEN"; }; f'
    variables = {
        "CI_JOB_TOKEN": add_token(home, "alice"),
        "GIT_CONFIG_GLOBAL": str(settings),
        "GIT_SSL_CAINFO": str(folder / "ca.pem"),
    }
    person = somebody(tmp_path / "job", variables=variables)
    person.git("config", "--global", "credential.helper", helper).ok()
    assert settings.exists()
    url = f"gittorrent::{node.https}/secrets.git"
    for number, options in enumerate(([], ["--depth", "1"], ["--filter=blob:none"])):
        person.git("clone", *options, url, f"copy{number}").ok()
        person.git("fetch", cwd=person.root / f"copy{number}").ok()


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_a_header_that_is_configured_says_who_asks(
    node: Served, home: Home, folder: Path, tmp_path: Path, scheme: str
) -> None:
    """As it does for stock git, also as a setting of the clone alone."""
    token = add_token(home, "alice")
    said = encode_basic("x", token) if scheme == "Basic" else f"Bearer {token}"
    header = f"Authorization: {said}"
    person = somebody(tmp_path / "job", variables={"GIT_SSL_CAINFO": str(folder / "ca.pem")})
    once = ("-c", f"http.extraHeader={header}")
    for number, url in enumerate((node.https, f"gittorrent::{node.https}")):
        clone = person.root / f"copy{number}"
        at = f"{url}/secrets.git"
        person.git("clone", at, clone).failed(128)
        person.git(*once, "clone", at, clone).ok()
        person.git("fetch", cwd=clone).failed(128)
        person.git("config", f"http.{node.https}/.extraHeader", header, cwd=clone).ok()
        done = person.git("fetch", "-v", cwd=clone).ok()
        assert token not in done.err + done.out
        # A token that is no good gives way to what git's helpers know.
        false = f"Authorization: Bearer gtt_{'A' * 43}"
        person.git("config", f"http.{node.https}/.extraHeader", false, cwd=clone).ok()
        person.git("fetch", cwd=clone).failed(128)


def test_a_token_in_netrc_counts_as_for_git(
    node: Served, home: Home, folder: Path, tmp_path: Path
) -> None:
    token = add_token(home, "alice")
    person = somebody(tmp_path / "job", variables={"GIT_SSL_CAINFO": str(folder / "ca.pem")})
    remembered = person.root / "remembered"
    person.git("config", "--global", "credential.helper", f"store --file {remembered}").ok()
    file = person.root / "home" / ".netrc"
    at = f"gittorrent::{node.https}/secrets.git"
    file.write_text("machine elsewhere.example login x password y\nnonsense {\n")
    person.git("clone", at, "no").failed(128, "asks who you are")
    file.write_text(f"machine 127.0.0.1\n  login x\n  password {token}\n")
    file.chmod(0o600)
    for number, url in enumerate((f"{node.https}/secrets.git", at)):
        person.git("clone", url, f"copy{number}").ok()
    assert not remembered.exists()
    # What is there and is no good gives way to what a helper knows.
    file.write_text("machine 127.0.0.1 login x password old\n")
    knows(person, node.https, token)
    person.git("clone", at, "again").ok()


def test_no_header_is_sent_where_nobody_is_sure_to_whom(
    secret: Carried, node: Served, home: Home, folder: Path, tmp_path: Path
) -> None:
    header = f"Authorization: Bearer {add_token(home, 'alice')}"
    person = somebody(tmp_path / "job")
    settings = ("-c", f"http.extraHeader={header}", "-c", "http.sslVerify=false")
    person.git(*settings, "clone", f"gittorrent::{node.https}/secrets.git", "copy").failed(128)


def test_a_conversation_ends_with_its_token(node: Served, home: Home, folder: Path) -> None:
    token = add_token(home, "alice")
    with secured(node, folder) as sock:
        sock.sendall(request("/secrets.git/mirror-sync", Authorization=encode_basic("x", token)))
        talk = Caller(sock).agreed()
        talk.hear(b"mirror-sync ready")
        revoke(home, "alice")
        talk.hear(b"no such repository here")


def test_a_download_ends_with_its_token(secret: Carried, home: Home, folder: Path) -> None:
    token = add_token(home, "alice")
    files = CertificateFiles(folder / "server.pem", folder / "server.key")
    options = replace(OPEN, certificate=files, peer_up_limit=8192)
    (reel, *_) = secret.reels.all()
    with nodes.serving(secret, home=home, options=options) as node, secured(node, folder) as sock:
        lines = [f"GET /secrets.git/reels/{reel.id}.pack HTTP/1.1", "Host: localhost"]
        lines += [f"Authorization: {encode_basic('x', token)}", "", ""]
        sock.sendall("\r\n".join(lines).encode())
        heard = len(sock.recv(4096))
        revoke(home, "alice")
        with suppress(ConnectionResetError, ssl.SSLEOFError):
            while more := sock.recv(65536):
                heard += len(more)
        assert 0 < heard < reel.manifest.pack_size


def test_a_shared_connection_gives_what_its_token_is_good_for(
    secret: Carried, node: Served, home: Home, folder: Path
) -> None:
    token = add_token(home, "alice", secret.info.repository_id)

    def refused(talk: Caller, number: int, name: str) -> bytes:
        talk.send(BINARY, pktline.encode(f"open {number} /{name}.git\n".encode()))
        said = talk.hear(f"close {number} ".encode())
        return said.partition(f"close {number} ".encode())[2].partition(b"\n")[0]

    with secured(node, folder) as sock:
        sock.sendall(request("/project.git/mirror-mux"))
        talk = Caller(sock).agreed()
        refusals = {refused(talk, 1, "secrets"), refused(talk, 2, "missing")}
    with secured(node, folder) as sock:
        basic = encode_basic("x", token)
        sock.sendall(request("/project.git/mirror-mux", Authorization=basic))
        talk = Caller(sock).agreed()
        talk.send(BINARY, pktline.encode(b"open 1 /secrets.git\n"))
        talk.hear(b"mirror-sync ready")
        refusals.add(refused(talk, 2, "missing"))
        revoke(home, "alice")
        talk.hear(b"no such repository here")
        refusals.add(refused(talk, 3, "secrets"))
    assert len(refusals) == 1


@contextmanager
def redirecting(folder: Path, target: str) -> Iterator[str]:
    """Serve TLS, and send whoever calls elsewhere; yields its base URL."""

    class Redirect(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "Authorization" in self.headers:
                self.send_response(302)
                self.send_header("Location", target + self.path)
            else:
                self.send_response(401)
                self.send_header("WWW-Authenticate", "Basic realm=x")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            return

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirect)
    # The handshake is the handler's: who calls and says nothing keeps nobody waiting.
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    with running(server):
        yield f"https://127.0.0.1:{server.server_port}"


def test_nobody_is_led_elsewhere_with_a_token(folder: Path, tmp_path: Path, person: Person) -> None:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as clear:
        clear.settimeout(0.01)
        target = f"http://127.0.0.1:{clear.getsockname()[1]}"
        with redirecting(folder, target) as base:
            person.git("config", "--global", "http.sslCAInfo", folder / "ca.pem").ok()
            helper = f"!f() {{ echo username=x; echo password={make_token(bytes(32))}; }}; f"
            person.git("config", "--global", "credential.helper", helper).ok()
            done = person.git("clone", f"gittorrent::{base}/secrets.git", "copy")
            assert done.status == 128
            assert "Traceback" not in done.err
            with pytest.raises(TimeoutError):
                heard.append(clear.accept()[0].recv(65536))
    assert not heard


def test_what_nobody_vouches_for_gets_no_token(
    node: Served, home: Home, folder: Path, person: Person
) -> None:
    """Where certificates are not judged anybody may answer."""
    token = add_token(home, "alice")
    remembers(person, node, folder, token)
    person.git("config", "--global", "http.sslVerify", "false").ok()
    url = f"gittorrent::{node.https}/secrets.git"
    person.git("clone", url, "copy").failed(128, "401", "http.sslVerify is off")


def test_behind_a_web_server(secret: Carried, home: Home, tmp_path: Path) -> None:
    options = replace(OPEN, https=(), behind_proxy=True)
    token = add_token(home, "alice")
    basic = encode_basic("x", token)
    path = "/secrets.git/mirror-list"
    with nodes.serving(secret, home=home, options=options) as node:

        def ask(**headers: str) -> int:
            given = {"X_Real_IP": "192.0.2.7", "Authorization": basic, **headers}
            return nodes.fetch(node.http_address, "GET", path, **given)[0].status

        assert ask(X_Forwarded_Proto="https") == 200
        assert ask(X_Forwarded_Proto="http") == 404
        assert ask() == 404
        assert ask(X_Forwarded_Proto="https", Authorization="") == 401
    with nodes.serving(secret, home=home, options=replace(options, behind_proxy=False)) as node:
        answer, _ = nodes.fetch(
            node.http_address, "GET", path, Authorization=basic, X_Forwarded_Proto="https"
        )
        assert answer.status == 404, "nobody is believed who is not known to be there"


@pytest.mark.parametrize("git", GITS)
def test_through_the_block_of_the_guide(
    secret: Carried, home: Home, owner_key: Signer, tmp_path: Path, git: str
) -> None:
    """Real nginx holds the certificate: clones, conversations and pushes come in by a token."""
    certificates.authority(tmp_path / "authority")
    certificate = certificates.issue(tmp_path / "authority")
    person = somebody(tmp_path / "person", git)
    person.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "id").ok()
    key = parse_key_line((tmp_path / "id.pub").read_text()).key
    rules = (*secret.log().policy.policy.rules, Rule(RefPattern(b"refs/heads/*"), key))
    nodes.change_policy(secret, owner_key, rules=rules)
    token = add_token(home, "alice", secret.info.repository_id)
    options = replace(OPEN, https=(), behind_proxy=True)
    with nodes.serving(secret, home=home, options=options) as node:
        block = block_of_the_guide(node.http.removeprefix("http://"))
        with nginx(tmp_path / "nginx", certificate, block) as base:
            person.git("config", "--global", "http.sslCAInfo", certificate.authority).ok()
            url = f"{base}/secrets.git"
            for each in (url, f"gittorrent::{url}"):
                person.git("clone", each, "no").failed(128)
            knows(person, base, token)
            person.git("clone", f"gittorrent::{url}", "copy").ok()
            assert node.ended_conversations()[0].reason == "done"
            person.git("clone", url, "work").ok()
            work = person.root / "work"
            person.git("commit", "-q", "--allow-empty", "-m", "more", cwd=work).ok()
            signing = ("-c", "gpg.format=ssh", "-c", f"user.signingKey={tmp_path / 'id.pub'}")
            words = ("push", "--signed", "--progress", "origin", "HEAD:main")
            pushing = person.git(*signing, *words, cwd=work)
            assert "accepted as push" in pushing.ok().err
            new = person.git("rev-parse", "HEAD", cwd=work).out.strip()
            assert nodes.shows_on_main(secret, Oid(new))
            # In the clear the same push finds nothing.
            clear = f"{node.http}/secrets.git"
            refused = person.git(*signing, "push", "--signed", clear, "HEAD:main", cwd=work)
            refused.failed(128, "not found")


def test_the_command(home: Home, tmp_path: Path) -> None:
    operator = somebody(tmp_path / "operator")
    made = operator.gittorrent("token", "new", "alice", "--expires", "30d").ok()
    token = made.out.strip()
    operator.gittorrent("token", "new", "alice").failed(2, "there is a token alice")
    operator.gittorrent("token", "new", "a b").failed(2, "not a name")
    operator.gittorrent("token", "new", "bob", "--expires", "soon").failed(2, "no length of time")
    assert "alice: all private repositories" in operator.gittorrent("token", "list").ok().out
    shown = operator.gittorrent("token", "list", "--json").ok().out
    assert '"good": true' in shown
    kept = operator.node / "node.sqlite"
    said = b"".join(p.read_bytes() for p in operator.node.glob("node.sqlite*"))
    assert token.encode() not in said
    assert kept.stat().st_mode & 0o077 == 0
    operator.gittorrent("token", "revoke", "alice").ok()
    operator.gittorrent("token", "revoke", "alice").failed(2, "no token alice")
    assert "there are no tokens" in operator.gittorrent("token", "list").ok().out


def test_a_token_for_a_public_repository_is_remarked_on(tmp_path: Path) -> None:
    operator = somebody(tmp_path / "operator")
    operator.gittorrent("publish", bulk.make_small(tmp_path / "project.git"), "--new-key").ok()
    made = operator.gittorrent("token", "new", "alice", "--repository", "project").ok()
    assert "project is public" in made.err
