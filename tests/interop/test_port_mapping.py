"""A node behind a router that translates addresses has it map its port, by a real miniupnpd."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from gittorrent.node.config import DiscoveryConfig
from gittorrent.node.options import Options
from gittorrent.repository.carried import Carried
from support import gitcmd, nodes, routers
from support.programs import PATIENCE, Person, wait_until

pytest.importorskip("libtorrent", reason="the Python package libtorrent is not here")

pytestmark = [
    pytest.mark.skipif(bool(routers.obstacle()), reason=routers.obstacle() or "-"),
    pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen missing"),
]

PORT = 9418


def options(*, map_port: bool) -> Options:
    return Options(
        git=(("0.0.0.0", PORT),),
        announce=False,
        discovery=DiscoveryConfig(dht=False, map_port=map_port),
        dht_listen=(f"{routers.HOME}:0",),
    )


@pytest.mark.parametrize("protocol", ["upnp", "natpmp"])
def test_strangers_reach_a_node_whose_port_is_mapped(
    project: Carried, tmp_path: Path, person: Person, protocol: str
) -> None:
    upnp = protocol == "upnp"
    url = f"gittorrent://{routers.OUTSIDE}:{PORT}/project.git"
    with routers.home_network(tmp_path, upnp=upnp, natpmp=not upnp) as network:
        home = nodes.make_home(tmp_path / "node")
        with (
            network.home.entered(),
            nodes.serving(project, home=home, options=options(map_port=True)) as served,
        ):
            wait_until(lambda: f"dport {PORT}" in network.opened(), "the port is open")
            wait_until(lambda: served.node.mapped_port == PORT, "the node knows")
            with network.outside.entered():
                person.git("clone", "-q", url, "c").ok()
                listed = person.gittorrent("mirrors", "--json", url).ok()
            assert f'"git://{routers.OUTSIDE}/project.git"' in listed.out, "others are told"
        tip = gitcmd.text(project.layout.git_dir, "rev-parse", "refs/heads/main")
        assert person.git("rev-parse", "HEAD", cwd=person.root / "c").out.strip() == tip
        wait_until(lambda: f"dport {PORT}" not in network.opened(), "the port is given back")


def test_nothing_is_mapped_that_nobody_asked_for(project: Carried, tmp_path: Path) -> None:
    with routers.home_network(tmp_path) as network:
        home = nodes.make_home(tmp_path / "node")
        with (
            network.home.entered(),
            nodes.serving(project, home=home, options=options(map_port=False)),
        ):
            assert "dport" not in network.opened()
            with network.outside.entered(), pytest.raises(ConnectionRefusedError):
                socket.create_connection((routers.OUTSIDE, PORT), timeout=PATIENCE)
