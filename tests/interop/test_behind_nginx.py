"""A node behind real nginx with TLS, by the one location block that the guide shows."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.ids import RefName
from gittorrent.node.options import Options
from gittorrent.repository.carried import Carried, open_carried
from gittorrent.trust.keys import KeyRef
from gittorrent.trust.policy import Rule
from gittorrent.trust.refpattern import RefPattern
from gittorrent.trust.sshkey import parse_key_line
from support import certificates, depots, gitcmd, nodes
from support.certificates import Certificate
from support.nodes import Served
from support.programs import GITS, PATIENCE, Person, serve, somebody, wait_until
from support.publishing import builder, grow, publish
from support.web_servers import block_of_the_guide, nginx
from support.websockets import BINARY, Caller, calling, request

pytestmark = pytest.mark.git_in_turn

WEB_ONLY = Options(http=(("127.0.0.1", 0),), announce=False)
MAIN = RefName(b"refs/heads/main")


@dataclass(frozen=True)
class Place:
    """A published repository, its node, and nginx before it."""

    origin: Carried
    served: Served
    base: str
    authority: Path
    person: Person

    @property
    def url(self) -> str:
        return f"{self.base}/project.git"

    def trusts(self, person: Person) -> Person:
        """Have somebody believe in the authority, for this host alone."""
        name = f"http.{self.base}/.sslCAInfo"
        person.git("config", "--global", name, self.authority).ok()
        return person


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder = tmp_path_factory.mktemp("authority")
    certificates.authority(folder)
    return certificates.issue(folder)


@pytest.fixture(params=GITS)
def place(
    request: pytest.FixtureRequest, tmp_path: Path, certificate: Certificate
) -> Iterator[Place]:
    person = somebody(tmp_path / "person", str(request.param))
    person.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "id").ok()
    key: KeyRef = parse_key_line((tmp_path / "id.pub").read_text()).key
    origin = tmp_path / "project.git"
    grow(builder(origin), 3)
    publish(origin, name="project")
    depots.let_in(origin, Rule(RefPattern(b"refs/heads/*"), key))
    with ExitStack() as stack:
        carried = open_carried(origin)
        home = nodes.make_home(tmp_path / "home")
        served = stack.enter_context(nodes.serving(carried, home=home, options=WEB_ONLY))
        block = block_of_the_guide(served.http.removeprefix("http://"))
        base = stack.enter_context(nginx(tmp_path / "nginx", certificate, block))
        made = Place(carried, served, base, certificate.authority, person)
        made.trusts(person)
        yield made


def test_a_clone_converses_through_it(place: Place) -> None:
    place.person.git("clone", f"gittorrent::{place.url}", "copy").ok()
    assert place.served.ended_conversations()[0].reason == "done"
    place.person.git("clone", place.url, "stock").ok()


def test_its_certificate_has_to_hold(place: Place, tmp_path: Path) -> None:
    stranger = somebody(tmp_path / "stranger", place.person.git_program)
    url = f"gittorrent::{place.url}"
    stranger.git("clone", url, "copy").failed(128, "its certificate does not hold")
    stranger.git("-c", f"http.sslCAInfo={place.authority}", "clone", url, "one").ok()
    stranger.git("-c", "http.sslVerify=false", "clone", url, "two").ok()
    by_variable = Person(
        tmp_path / "other", stranger.git_program, {"GIT_SSL_CAINFO": str(place.authority)}
    )
    by_variable.root.mkdir()
    by_variable.git("clone", url, "three").ok()
    missing = ("-c", "http.sslCAInfo=/nowhere/ca.pem")
    newcomer = somebody(tmp_path / "newcomer", place.person.git_program)
    newcomer.git(*missing, "clone", url, "four").failed(
        128, "settings cannot be used: there is no "
    )


def push(place: Place, url: str, data: str) -> str:
    """Push a signed commit by stock git; returns its id."""
    person = place.person
    work = person.root / "work"
    if not work.exists():
        person.git("clone", "-q", url, work).ok()
    (work / "file").write_text(data)
    person.git("add", "file", cwd=work).ok()
    person.git("commit", "-q", "-m", data, cwd=work).ok()
    signing = ["-c", "gpg.format=ssh", "-c", f"user.signingKey={person.root.parent / 'id.pub'}"]
    person.git(*signing, "push", "--signed", url, "HEAD:refs/heads/main", cwd=work).ok()
    return person.git("rev-parse", "HEAD", cwd=work).out.strip()


def test_pushes_pass_both_ways(place: Place, tmp_path: Path) -> None:
    """Smart HTTP into the origin through nginx, and on to a mirror that knows nothing else."""
    copy = nodes.copy_as_mirror(place.origin, tmp_path / "mirror.git", "")
    copy.set_info(replace(copy.info, source=f"gittorrent::{place.url}"))
    operator = place.trusts(somebody(tmp_path / "operator", place.person.git_program))
    with serve(operator, copy.layout.git_dir) as daemon:
        first = push(place, place.url, "to the origin")
        wait_until(partial(shows, copy, first), "the mirror has it")
        second = push(place, f"{daemon.http}/project.git", "to the mirror")
        wait_until(partial(shows, place.origin, second), "the origin has it")
    assert gitcmd.refs(copy.layout.git_dir)[MAIN] == second


def shows(carried: Carried, value: str) -> bool:
    return carried.log().refs.get(MAIN) == value


def test_a_block_without_upgrades_is_enough_for_files(
    place: Place, tmp_path: Path, certificate: Certificate
) -> None:
    block = block_of_the_guide(place.served.http.removeprefix("http://"))
    lines = [line for line in block.splitlines(keepends=True) if "$http_" not in line]
    with nginx(tmp_path / "plain", certificate, "".join(lines)) as base:
        settings = ("-c", f"http.sslCAInfo={place.authority}")
        url = f"gittorrent::{base}/project.git"
        done = place.person.git(*settings, "clone", "-v", url, "plain").ok()
    assert "agrees to no conversation (426)" in done.err


@pytest.mark.parametrize("believes", [True, False])
def test_who_called_nginx_is_known_if_that_is_wanted(place: Place, believes: bool) -> None:
    """An address in a header counts only from loopback, and only where the operator says so."""
    forged = {"X_Real_IP": "192.0.2.7"}

    async def change() -> None:
        await place.served.node.reload(replace(WEB_ONLY, behind_proxy=believes))

    asyncio.run_coroutine_threadsafe(change(), place.served.loop).result(PATIENCE)
    with calling(place.served.http_address, request(**forged)) as caller:
        caller.agreed().hear(b"mirror-sync ready")
        caller.send(BINARY, b"000dbye done\n")
        caller.rest()
    wait_until(lambda: bool(place.served.ended_conversations()), "its end is noted")
    (ended,) = place.served.ended_conversations()
    assert ended.peer == ("192.0.2.7" if believes else "127.0.0.1")
    # What a caller says to nginx does not arrive.
    host, _, port = place.base.removeprefix("https://").rpartition(":")
    context = ssl.create_default_context(cafile=place.authority)
    with (
        socket.create_connection((host, int(port)), timeout=PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname=host) as sock,
    ):
        sock.sendall(request(**forged, Host=host))
        caller = Caller(sock)
        caller.agreed().hear(b"mirror-sync ready")
        caller.send(BINARY, b"000dbye done\n")
        caller.rest()
    wait_until(lambda: len(place.served.ended_conversations()) == 2, "its end is noted")
    assert place.served.ended_conversations()[0].peer == "127.0.0.1"
