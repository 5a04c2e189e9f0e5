"""`git clone gittorrent://REPOSITORY_ID`: mirrors are found, whoever lies, in a network of its own.

Machines are network namespaces joined by a bridge, each with a public and a private address, which
exist there only. The DHT is one of real libtorrent sessions, the local network has real multicast.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from msgspec.structs import replace

from gittorrent.discovery.dht import Dht
from gittorrent.discovery.lan import (
    MAX_NODES,
    RESOLVE_SECONDS,
    SERVICE,
    Lan,
    LanAnnouncer,
)
from gittorrent.discovery.session import Session, SessionOptions
from gittorrent.ids import RepositoryId
from gittorrent.node.config import DiscoveryConfig
from gittorrent.node.options import Options
from gittorrent.repository.carried import Carried
from support import gitcmd, networks, nodes
from support.networks import Loop, Machine
from support.programs import PATIENCE, Done, Person, wait_until

if TYPE_CHECKING:
    from zeroconf._dns import DNSRecord
    from zeroconf._protocol.incoming import DNSIncoming

pytest.importorskip("libtorrent", reason="the Python package libtorrent is not here")
pytest.importorskip("zeroconf", reason="the Python package zeroconf is not here")

pytestmark = [
    pytest.mark.skipif(bool(networks.obstacle()), reason=networks.obstacle() or "-"),
    pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen missing"),
]

DHT_PORT = 6881
GIT_PORT = 9418


@pytest.fixture(scope="module")
def machines() -> Iterator[list[Machine]]:
    """Four machines."""
    with networks.machines(4) as made:
        yield made


DHT_NODES = 3
"""Nodes of the DHT besides those of the test."""


@contextlib.contextmanager
def dht_node(machine: Machine, *known: Machine) -> Iterator[tuple[Loop, Session]]:
    """Run a node of the DHT of others, or some that make one up, with which strangers begin."""
    loop = Loop(machine)
    made: list[Session] = []
    begin = tuple(f"{each.public}:{DHT_PORT}" for each in known) or (f"{machine.public}:1",)

    async def start() -> None:
        for number in range(1 if known else DHT_NODES):
            places = listens(machine, DHT_PORT + number)
            made.append(Session(SessionOptions(bootstrap=begin, listen=places)))
            made[0].add_nodes([(machine.public, DHT_PORT + number)])
            made[-1].add_nodes([(machine.public, DHT_PORT)])

    async def end() -> None:
        for session in made:
            await session.close()

    try:
        loop.do(start)
        yield loop, made[0]
    finally:
        loop.do(end)
        loop.stop()


def listens(machine: Machine, port: int = DHT_PORT) -> tuple[str, ...]:
    return (f"{machine.public}:{port}",)


def announce(node: tuple[Loop, Session], repository: RepositoryId, port: int) -> None:
    """Announce whatever anybody wants to, until it is found."""
    loop, session = node

    async def work() -> None:
        while True:
            Dht(session).announce(repository, port)
            async with contextlib.aclosing(Dht(session, 1.0).find(repository)) as finding:
                async for places in finding:
                    if port in {place.port for place in places}:
                        return

    loop.do(work)


@contextlib.contextmanager
def serving(
    machine: Machine, carried: Carried, home: Path, bootstrap: Machine, *, lan: bool = False
) -> Iterator[nodes.Served]:
    """Run a node that announces what it serves in the DHT, and on the local network if told to."""
    place = machine.private if lan else machine.public
    options = Options(
        git=((place, GIT_PORT),),
        announce=False,
        lan=lan,
        discovery=DiscoveryConfig(dht=not lan, lan=lan),
        dht_bootstrap=() if lan else (f"{bootstrap.public}:{DHT_PORT}",),
        dht_listen=listens(machine),
    )
    with (
        machine.node.entered(),
        nodes.serving(carried, home=nodes.make_home(home), options=options) as served,
    ):
        yield served


def looks_in(person: Person, bootstrap: Machine | None, *, lan: bool = False) -> Person:
    """Return somebody who looks for mirrors in the DHT, or on the local network."""
    nodes_of_dht = "" if bootstrap is None else f"{bootstrap.public}:{DHT_PORT}"
    person.variables["GITTORRENT_DHT_BOOTSTRAP"] = nodes_of_dht
    person.git("config", "--global", "gittorrent.lan", "true" if lan else "false").ok()
    return person


def tip(carried: Carried) -> str:
    return gitcmd.text(carried.layout.git_dir, "rev-parse", "refs/heads/main")


def clone(machine: Machine, person: Person, carried: Carried, *words: str) -> Done:
    url = f"gittorrent://{carried.info.repository_id}"
    return machine.run(person, "git", "clone", *words, url, "c")


def test_by_the_dht(
    machines: list[Machine], project: Carried, tmp_path: Path, person: Person
) -> None:
    first, mirror, client, _ = machines
    looks_in(person, first)
    with dht_node(first), serving(mirror, project, tmp_path / "home", first):
        clone(client, person, project, "-q").ok()
        assert person.git("rev-parse", "HEAD", cwd=person.root / "c").out.strip() == tip(project)
        shown = client.run(
            person, "gittorrent", "mirrors", "--json", f"gittorrent://{project.info.repository_id}"
        ).ok()
        found = {each["url"]: each["found"] for each in json.loads(shown.out)["asked"]}
        assert found[f"git://{mirror.public}/{project.info.repository_id}"] == "dht"
        assert found[f"git://{mirror.public}/project.git"] == "listed"
    assert (person.node / "dht").stat().st_size > 50, "the routing table is kept"


def test_a_poisoned_dht_costs_a_bounded_time_and_is_named_only_to_who_asks(
    machines: list[Machine], project: Carried, tmp_path: Path, person: Person
) -> None:
    """Addresses where nobody is, where somebody says nothing, and where another repository is."""
    first, mirror, client, liar = machines
    looks_in(person, first)
    repository = project.info.repository_id
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(dht_node(first))
        lying = stack.enter_context(dht_node(liar, first))
        with liar.node.entered():
            silent = stack.enter_context(socket.create_server((liar.public, 2000)))
        announce(lying, repository, 2000)
        announce(lying, repository, 2001)
        announce(node, repository, 22)
        stack.enter_context(serving(mirror, project, tmp_path / "home", first))
        done = clone(client, person, project, "-q").ok()
        assert liar.public not in done.err
        assert person.git("rev-parse", "HEAD", cwd=person.root / "c").out.strip() == tip(project)
        silent.close()


def test_only_liars_are_an_error_that_says_what_to_do(
    machines: list[Machine], project: Carried, person: Person
) -> None:
    first, _, client, liar = machines
    looks_in(person, first)
    repository = project.info.repository_id
    with dht_node(first) as node, dht_node(liar, first) as lying:
        announce(lying, repository, GIT_PORT)
        announce(node, repository, 22)
        done = clone(client, person, project, "-v", "-v")
    done.failed(128, f"no mirror of gittorrent://{repository} can be asked", "name one")
    assert "port 22 is not asked" in done.err, "who wants all is told"
    assert f"cannot connect to {liar.public}" in done.err


def test_by_the_local_network(
    machines: list[Machine], project: Carried, tmp_path: Path, person: Person
) -> None:
    first, mirror, client, _ = machines
    looks_in(person, None, lan=True)
    with serving(mirror, project, tmp_path / "home", first, lan=True):
        clone(client, person, project, "-q").ok()
    assert person.git("rev-parse", "HEAD", cwd=person.root / "c").out.strip() == tip(project)


def test_ways_are_turned_on_and_off_by_a_reload(
    machines: list[Machine], project: Carried, tmp_path: Path, person: Person
) -> None:
    first, mirror, client, _ = machines
    looks_in(person, first, lan=True)
    nowhere = Options(
        git=((mirror.public, GIT_PORT),),
        announce=False,
        lan=True,
        discovery=DiscoveryConfig(dht=False),
        dht_bootstrap=(f"{first.public}:{DHT_PORT}",),
        dht_listen=listens(mirror),
    )
    by_dht = replace(nowhere, discovery=DiscoveryConfig(dht=True))
    by_lan = replace(nowhere, discovery=DiscoveryConfig(dht=False, lan=True))
    home = nodes.make_home(tmp_path / "home")

    def found() -> set[str]:
        shutil.rmtree(person.node, ignore_errors=True)
        url = f"gittorrent://{project.info.repository_id}"
        shown = client.run(person, "gittorrent", "mirrors", "--json", url)
        asked = json.loads(shown.out)["asked"] if shown.status == 0 else []
        return {each["found"] for each in asked}

    with dht_node(first), mirror.node.entered():
        with nodes.serving(project, home=home, options=nowhere) as served:

            def reload(options: Options) -> None:
                work = served.node.reload(options)
                asyncio.run_coroutine_threadsafe(work, served.loop).result(PATIENCE)

            assert found() == set()
            reload(by_lan)
            assert "lan" in found()
            reload(by_dht)
            wait_until(lambda: "dht" in found(), "it is announced")
            reload(nowhere)
            assert "lan" not in found()


def test_a_lying_host_on_the_local_network_costs_a_bounded_time(
    machines: list[Machine], project: Carried, tmp_path: Path, person: Person
) -> None:
    """It says that it is somebody who is silent, somebody else's address, and this machine."""
    first, mirror, client, liar = machines
    looks_in(person, None, lan=True)
    lies = [([liar.private], 2000), ([liar.private], 22), (["127.0.0.1"], GIT_PORT)]
    announcers = [LanAnnouncer(addresses, port) for addresses, port in lies]
    silent = (liar.private, 2000)
    with Loop(liar) as loop, liar.node.entered(), socket.create_server(silent):
        for announcer in announcers:
            loop.do(announcer.start)
        with serving(mirror, project, tmp_path / "home", first, lan=True):
            done = clone(client, person, project, "-q").ok()
        for announcer in announcers:
            loop.do(announcer.stop)
    assert liar.private not in done.err
    assert person.git("rev-parse", "HEAD", cwd=person.root / "c").out.strip() == tip(project)


@contextlib.contextmanager
def contesting(machine: Machine) -> Iterator[None]:
    """Say of each name that somebody is about to take that it is taken."""
    from zeroconf._dns import DNSPointer

    def taken(said: DNSIncoming) -> list[DNSRecord]:
        return [each for each in said.answers() if isinstance(each, DNSPointer)]

    with responding(machine, taken):
        yield


@contextlib.contextmanager
def boasting(machine: Machine, names: Sequence[str]) -> Iterator[threading.Event]:
    """Answer whoever asks anything with names of nodes; gives what tells that it has."""
    from zeroconf import const
    from zeroconf._dns import DNSPointer

    asked = threading.Event()

    def made_up(said: DNSIncoming) -> list[DNSRecord]:
        del said
        asked.set()
        return [DNSPointer(SERVICE, const._TYPE_PTR, const._CLASS_IN, 120, n) for n in names]

    with responding(machine, made_up):
        yield asked


@contextlib.contextmanager
def responding(
    machine: Machine, answer: Callable[[DNSIncoming], Sequence[DNSRecord]]
) -> Iterator[None]:
    """Answer questions of multicast DNS."""
    from zeroconf import const
    from zeroconf._protocol.incoming import DNSIncoming
    from zeroconf._protocol.outgoing import DNSOutgoing

    group = (machine.private, socket.inet_aton("224.0.0.251"))
    loop = Loop(machine)

    class Responder(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast("asyncio.DatagramTransport", transport)

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            said = DNSIncoming(data)
            records = answer(said) if said.is_query() else ()
            out = DNSOutgoing(const._FLAGS_QR_RESPONSE | const._FLAGS_AA)
            for record in records:
                out.add_answer_at_time(record, 0)
            for packet in out.packets() if records else ():
                for place in (addr, ("224.0.0.251", 5353)):
                    self.transport.sendto(packet, place)

    async def begin() -> asyncio.BaseTransport:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("", 5353))
        member = group[1] + socket.inet_aton(group[0])
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(group[0]))
        made, _ = await asyncio.get_running_loop().create_datagram_endpoint(Responder, sock=sock)
        return made

    transport = loop.do(begin)

    async def end() -> None:
        assert isinstance(transport, asyncio.BaseTransport)
        transport.close()

    try:
        with machine.node.entered():
            yield
    finally:
        loop.do(end)
        loop.stop()


def test_names_that_lead_nowhere_hide_nobody_on_the_local_network(
    machines: list[Machine], project: Carried
) -> None:
    """They are heard first, and there are more than could be looked at one after the other."""
    _, mirror, client, liar = machines
    announcer = LanAnnouncer([mirror.private], GIT_PORT)
    names = [f"{number:016x}.{SERVICE}" for number in range(MAX_NODES - 1)]
    seconds = RESOLVE_SECONDS * len(names) / 2

    async def look() -> list[str]:
        finding = Lan(pytest.fail, seconds).find(project.info.repository_id)
        async with contextlib.aclosing(finding):
            async for places in finding:
                return [place.address for place in places]
        return []

    with Loop(mirror) as there, Loop(client) as here:
        with boasting(liar, names) as asked, ThreadPoolExecutor(1) as pool:
            found = pool.submit(here.do, look)
            assert asked.wait(PATIENCE)
            there.do(announcer.start)
            assert found.result(PATIENCE) == [mirror.private]
        there.do(announcer.stop)


def test_who_contests_each_name_keeps_nobody_off_the_local_network(
    machines: list[Machine], project: Carried
) -> None:
    _, mirror, client, liar = machines
    announcer = LanAnnouncer([mirror.private], GIT_PORT)

    async def look() -> list[str]:
        finding = Lan(pytest.fail).find(project.info.repository_id)
        return [place.address async for places in finding for place in places]

    with Loop(mirror) as there, Loop(client) as here, contesting(liar):
        there.do(announcer.start)
        assert here.do(look) == [mirror.private]
        there.do(announcer.stop)


def test_who_gets_another_address_is_known_at_it(machines: list[Machine], project: Carried) -> None:
    """A node outlives its machine's addresses, such as of a laptop that comes home."""
    _, mirror, client, _ = machines
    announcer = LanAnnouncer(["0.0.0.0"], GIT_PORT, look=0.05)
    more = "10.99.7.7"

    async def look() -> list[str]:
        finding = Lan(pytest.fail, 1.0).find(project.info.repository_id)
        async with contextlib.aclosing(finding):
            return [place.address async for places in finding for place in places]

    def found() -> list[str]:
        seen = here.do(look)
        assert isinstance(seen, list)
        return seen

    with Loop(mirror) as there, Loop(client) as here:
        there.do(announcer.start)
        assert more not in found()
        with mirror.also_at(more):
            wait_until(lambda: more in found(), "it is known at its new address")
        wait_until(lambda: more not in (known := found()) and bool(known), "and at it no more")
        there.do(announcer.stop)


def test_what_is_turned_off_is_not_asked(
    machines: list[Machine], project: Carried, tmp_path: Path, person: Person
) -> None:
    first, mirror, client, _ = machines
    looks_in(person, first)
    person.git("config", "--global", "gittorrent.dht", "false").ok()
    with dht_node(first), serving(mirror, project, tmp_path / "home", first):
        clone(client, person, project, "-q").failed(128, "none is known on this machine")
    assert not (person.node / "dht").exists()


def test_the_node_of_this_machine_is_asked_first(
    machines: list[Machine], project: Carried, tmp_path: Path, person: Person
) -> None:
    """It knows its way about in the DHT, and the command makes no session of its own."""
    first, mirror, client, _ = machines
    looks_in(person, first)
    own = Options(
        git=(("127.0.0.1", 0),),
        announce=False,
        discovery=DiscoveryConfig(dht=True),
        dht_bootstrap=(f"{first.public}:{DHT_PORT}",),
        dht_listen=listens(client),
    )
    with dht_node(first), serving(mirror, project, tmp_path / "home", first):
        with client.node.entered(), nodes.serving(home=nodes.make_home(person.node), options=own):
            looks_in(person, None)
            clone(client, person, project, "-q").ok()
    assert person.git("rev-parse", "HEAD", cwd=person.root / "c").out.strip() == tip(project)


def test_a_mirror_of_an_id_and_one_whose_origin_is_gone(
    machines: list[Machine], project: Carried, tmp_path: Path, person: Person
) -> None:
    """The host in a URL may be gone for good: the id in it leads to others."""
    first, mirror, client, liar = machines
    looks_in(person, first)
    repository = project.info.repository_id
    gone = f"gittorrent://{repository}@{liar.public}:2002/gone.git"
    with dht_node(first), serving(mirror, project, tmp_path / "home", first):
        done = client.run(person, "gittorrent", "mirror", gone, "--once").ok()
        assert f"going on with git://{mirror.public}/{repository}" in done.err
        client.run(person, "git", "clone", "-q", gone, "c").ok()
    (carried,) = person.node.glob("repositories/*.git")
    assert gitcmd.refs(carried)[b"refs/heads/main"] == tip(project)


@pytest.mark.parametrize("host", ["", "@{gone}:2002/gone.git"])
def test_a_seed_looks_for_mirrors_itself(
    machines: list[Machine], project: Carried, tmp_path: Path, person: Person, host: str
) -> None:
    """It knows an id, or a host that is gone as well, and nothing is remembered."""
    first, mirror, client, liar = machines
    looks_in(person, first)
    plain = f"gittorrent://{project.info.repository_id}"
    url = plain + host.format(gone=liar.public)
    with dht_node(first), serving(mirror, project, tmp_path / "home", first):
        clone(client, person, project, "-q").ok()
        shutil.rmtree(person.node)
        client.run(person, "gittorrent", "seed", "c", url, "--for", "1", "--json").ok()
        shown = client.run(person, "gittorrent", "mirrors", "--json", plain).ok()
    found = {each["url"]: each["found"] for each in json.loads(shown.out)["asked"]}
    assert found[f"git://{mirror.public}/{project.info.repository_id}"] == "dht"
