"""A home network behind a router that translates addresses, as its only way to the rest.

Three network namespaces: ``home`` (10.9.0.2), the router, and ``outside`` (11.78.0.2), from where
the router is 11.78.0.1. The router drops what nobody inside asked for; miniupnpd, as it runs on
real routers, opens ports when it is asked to by UPnP, NAT-PMP or PCP.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import netns

OUTSIDE = "11.78.0.1"
"""The router's address, as seen from outside."""

HOME = "10.9.0.2"
"""The address of the machine at home."""

_FIREWALL = """
table inet filter {
  chain miniupnpd {
  }
  chain forward {
    type filter hook forward priority 0; policy drop;
    iifname "lan" accept
    ct state established,related accept
    jump miniupnpd
  }
}
table inet nat {
  chain prerouting_miniupnpd {
  }
  chain postrouting_miniupnpd {
  }
  chain prerouting {
    type nat hook prerouting priority -100;
    jump prerouting_miniupnpd
  }
  chain postrouting {
    type nat hook postrouting priority 100;
    jump postrouting_miniupnpd
    oifname "wan" masquerade
  }
}
"""

_ORDINARY = """
table ip nat {
  chain postrouting {
    type nat hook postrouting priority 100;
    oifname "eth0" masquerade
  }
}
table inet filter {
  chain input {
    type filter hook input priority 0; policy drop;
    iifname "lo" accept
    ct state established,related accept
  }
  chain forward {
    type filter hook forward priority 0; policy drop;
    iifname "lan" accept
    ct state established,related accept
  }
}
"""

_DAEMON = """
ext_ifname=wan
listening_ip=lan
http_port=0
enable_upnp={upnp}
enable_natpmp={natpmp}
secure_mode=yes
upnp_table_name=filter
upnp_nat_table_name=nat
upnp_forward_chain=miniupnpd
upnp_nat_chain=prerouting_miniupnpd
upnp_nat_postrouting_chain=postrouting_miniupnpd
uuid=00000000-1111-2222-3333-444444444444
allow 1024-65535 0.0.0.0/0 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""


def obstacle() -> str:
    """Return why there can be no such router here; empty if nothing is in the way."""
    if reason := netns.obstacle():
        return reason
    for tool, package in (("nft", "nftables"), ("miniupnpd", "miniupnpd")):
        if shutil.which(tool) is None:
            return f"{tool} is not installed (Debian, Ubuntu: apt install {package})"
    return ""


@dataclass(frozen=True)
class HomeNetwork:
    """The network.

    Args:
        home: the machine behind the router.
        router: it.
        outside: a machine that is not.
    """

    home: netns.Node
    router: netns.Node
    outside: netns.Node

    def opened(self) -> str:
        """Return the ports that the router leads inside, as nft lists them."""
        with self.router.entered():
            return _run("nft", "list", "chain", "inet", "nat", "prerouting_miniupnpd")


@contextlib.contextmanager
def home_network(folder: Path, *, upnp: bool = True, natpmp: bool = True) -> Iterator[HomeNetwork]:
    """Build the network for the block, with a router that speaks one protocol or both."""
    names = [f"gtr-{os.getpid()}-{role}" for role in ("home", "router", "outside")]
    home, router, outside = (netns.Node(name, "", "") for name in names)
    for name in names:
        _run("ip", "netns", "add", name)
    daemon = None
    try:
        _join(home, router, "lan", (f"{HOME}/24", "10.9.0.1/24"))
        _join(outside, router, "wan", ("11.78.0.2/24", f"{OUTSIDE}/24"))
        _run("ip", "-n", names[0], "route", "add", "default", "via", "10.9.0.1")
        _run("ip", "-n", names[1], "route", "add", "224.0.0.0/4", "dev", "lan")
        config, rules = folder / "miniupnpd.conf", folder / "rules.nft"
        said = {True: "yes", False: "no"}
        config.write_text(_DAEMON.format(upnp=said[upnp], natpmp=said[natpmp]))
        rules.write_text(_FIREWALL)
        with router.entered():
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n")
            _run("nft", "-f", str(rules))
            words = ["miniupnpd", "-d", "-f", str(config), "-P", str(folder / "miniupnpd.pid")]
            with open(folder / "miniupnpd.log", "wb") as log:
                daemon = subprocess.Popen(words, stdout=log, stderr=log)
        yield HomeNetwork(home, router, outside)
    finally:
        if daemon is not None:
            daemon.kill()
            daemon.wait()
        for name in names:
            _run("ip", "netns", "del", name)


@contextlib.contextmanager
def behind(router: netns.Node, number: int) -> Iterator[netns.Node]:
    """Turn a machine of a network into a router, and yield the one machine behind it.

    The router translates addresses and drops what nobody behind it asked for.

    Args:
        router: it has one link so far, ``eth0``.
        number: of its inner network, 10.9.NUMBER.0/24.
    """
    inner = netns.Node(f"gtr-{os.getpid()}-inner{number}", f"10.9.{number}.2", "")
    _run("ip", "netns", "add", inner.namespace)
    try:
        _join(inner, router, "lan", (f"{inner.address}/24", f"10.9.{number}.1/24"))
        _run("ip", "-n", inner.namespace, "route", "add", "default", "via", f"10.9.{number}.1")
        with router.entered():
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n")
            subprocess.run(["nft", "-f", "-"], input=_ORDINARY, text=True, check=True)
        yield inner
    finally:
        _run("ip", "netns", "del", inner.namespace)


def _join(machine: netns.Node, router: netns.Node, port: str, addresses: tuple[str, str]) -> None:
    """Connect a machine to a port of the router."""
    inner, outer = machine.namespace, router.namespace
    _run("ip", "-n", outer, "link", "add", port, "type", "veth", "peer", "eth0", "netns", inner)
    for place, name, address in ((inner, "eth0", addresses[0]), (outer, port, addresses[1])):
        _run("ip", "-n", place, "addr", "add", address, "dev", name)
        _run("ip", "-n", place, "link", "set", name, "up")
        _run("ip", "-n", place, "link", "set", "lo", "up")


def _run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout
