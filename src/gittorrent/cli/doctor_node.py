"""What ``gittorrent doctor`` finds out about the node that runs here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.cli.findings import problem, warning, well
from gittorrent.cli.node_health import greeting_of, running_nodes
from gittorrent.wire.control import VERSION, Greeting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gittorrent.cli.findings import Finding
    from gittorrent.store.home import Home
    from gittorrent.store.processes import CiFigures, NodeProcess


def look_at_node(home: Home) -> Iterator[Finding]:
    """Yield what is to be said of the nodes that run for a usable home."""
    nodes = running_nodes(home)
    if not nodes:
        yield warning("node", "none runs here", "'gittorrent serve' runs one")
        return
    yield _ask(home, nodes)
    for node in nodes:
        yield from _look_at_reach(node)


def _ask(home: Home, nodes: list[NodeProcess]) -> Finding:
    """Tell whether a node answers this user's programs."""
    names = ", ".join(f"node {node.pid}" for node in nodes)
    greeting = greeting_of(home)
    if greeting is None:
        return problem(
            "node",
            f"{names} is here and does not answer at {home.control}",
            "look at its log; if it hangs, restart it",
        )
    if greeting != Greeting(VERSION):
        return problem(
            "node",
            f"{names} is of another version than this program",
            "restart it, so that it runs what is installed",
        )
    lacks = [each.lacks for each in nodes if each.lacks]
    if lacks:
        return warning("node", f"{names} is not ready: {lacks[0]}", "'gittorrent status' says more")
    return well("node", f"{names} answers")


def _look_at_ci(ci: CiFigures) -> Iterator[Finding]:
    """Say which other runners a node shares with."""
    there = [each.url for each in ci.runners if each.there]
    gone = [each.url for each in ci.runners if not each.there and not each.found]
    yield well("CI", f"answers jobs at {ci.socket}; other runners there: {len(there)}")
    if ci.lan and ci.port is None:
        yield warning(
            "CI",
            "other runners do not find this one on the local network",
            "write http below [listen] in node.toml, with an address of that network and a port"
            " from 1024 on",
        )
    if gone:
        yield warning(
            "CI",
            f"{gone[0]} and {len(gone) - 1} more are not there"
            if len(gone) > 1
            else f"{gone[0]} is not there",
            "look whether its node runs and has the same secret; without it this one asks the"
            " server more often",
        )


def _look_at_reach(node: NodeProcess) -> Iterator[Finding]:
    """Say whether others can reach a node, as far as it knows itself."""
    listening = ", ".join(node.listening)
    if node.url is None:
        yield warning(
            "listening",
            f"node {node.pid} listens at {listening}, and nobody is told where it can be reached",
            "say so with url in node.toml or 'serve --url', if others are to know this node",
        )
    else:
        yield well("listening", f"node {node.pid} listens at {listening}, known as {node.url}")
    figures = node.discovery
    if figures.dht and figures.port is None:
        yield warning(
            "DHT",
            "the node looks others up and announces nothing: it has no port that strangers reach",
            "listen at a public address, name url, or let the router map a port (serve --map-port)",
        )
    elif figures.dht:
        yield well("DHT", f"announces {figures.announced} at port {figures.port}")
    if node.ci is not None:
        yield from _look_at_ci(node.ci)
    if node.following is not None and node.following.failing:
        yield warning(
            "following",
            f"no news of {node.following.failing} of what it follows",
            "'gittorrent status' says of which, and why",
        )
