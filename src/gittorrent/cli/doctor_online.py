"""What ``gittorrent doctor --online`` learns from the nodes that mirrors were made from.

Two questions: what time it is there, and whether they reach the node that runs here. For the second
they are sent a notice, which every node calls back before it answers. Rules: only servers that this
user named are asked, and only some; where the node is listed already its listing is renewed, as the
node does itself; where it is not, it is listed for one second.
Source: docs/protocol/mirrorsync.md, mirror-notify.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.cli.findings import problem, warning, well
from gittorrent.errors import GitTorrentError
from gittorrent.interruptions import run
from gittorrent.push.fresh import MAX_AHEAD
from gittorrent.repository.carried import MIRROR
from gittorrent.repository.layout import Layout
from gittorrent.repository.readers_file import is_private_here
from gittorrent.store.database_file import look_at_carried
from gittorrent.store.processes import NodeProcess
from gittorrent.store.snapshot import look_at_snapshots
from gittorrent.transfer.addresses import is_wildcard
from gittorrent.transfer.location import parse_location
from gittorrent.transfer.opening import ask_list, ask_time, send_notice
from gittorrent.transfer.reaching import is_confidential, named
from gittorrent.wire.fields import RemoteRefusal
from gittorrent.wire.notify import Notify
from gittorrent.wire.urls import UrlError, parse_learned_url

if TYPE_CHECKING:
    from gittorrent.cli.findings import Finding
    from gittorrent.store.carried_rows import CarriedRow
    from gittorrent.store.home import Home
    from gittorrent.wire.urls import Endpoint

MAX_ASKED = 8
"""Servers that are asked: enough to tell a fault here from one there."""

OFF_SECONDS = 60
"""Difference between clocks that NTP would not leave; below it the answer's way is part of it."""

RENEWAL_SECONDS = 24 * 3600
"""Listing asked for where the node is listed, which is what it asks for itself."""

TRIAL_SECONDS = 1
"""Listing asked for where it is not, so that nobody is sent to it."""


class _Source(Struct, frozen=True):
    """A server that a mirror came from, and where that mirror is served here; None if nowhere."""

    endpoint: Endpoint
    own: str | None


def look_online(home: Home) -> list[Finding]:
    """Return what is learned from others; some seconds for each that does not answer."""
    try:
        rows = look_at_carried(home.database) if home.database.exists() else []
    except GitTorrentError:
        return []  # which is a finding already
    nodes = [each for each in look_at_snapshots(home.run) if isinstance(each, NodeProcess)]
    sources = _sources(rows, nodes)
    if not sources:
        text = "nothing is mirrored here that others may be asked for, so there is nobody to ask"
        return [well("online", text)]
    return list(run(_ask_all(sources)))


def _sources(rows: list[CarriedRow], nodes: list[NodeProcess]) -> list[_Source]:
    """Return servers to ask, each once, for something public where there is such.

    Nobody is asked for what is private in the clear, nor to call a node for it.
    """
    found: dict[tuple[str, int | None], _Source] = {}
    for row in sorted(rows, key=_is_private):
        if row.role != MIRROR or not row.source:
            continue
        with contextlib.suppress(GitTorrentError):  # an id alone names no server
            endpoint = parse_location(row.source).require_endpoint()
            key = (endpoint.host, endpoint.port)
            if not _is_private(row):
                found.setdefault(key, _Source(endpoint, _own_url(row, nodes)))
            elif is_confidential(named(endpoint)):
                found.setdefault(key, _Source(endpoint, None))
    return list(found.values())[:MAX_ASKED]


def _is_private(row: CarriedRow) -> bool:
    return is_private_here(Layout(Path(row.path)), row.repository_id)


def _own_url(row: CarriedRow, nodes: list[NodeProcess]) -> str | None:
    """Return where a node of this machine serves a mirror; None if no address is known."""
    for node in nodes:
        if node.serves is not None and row.name not in node.serves:
            continue
        for base in [node.url] if node.url else node.listening:
            with contextlib.suppress(UrlError):  # written by another version
                if not _is_everywhere(parse_learned_url(base).host):
                    return f"{base.rstrip('/')}/{row.name}.git"
    return None


def _is_everywhere(host: str) -> bool:
    try:
        return is_wildcard(host)
    except ValueError:
        return False  # a name


async def _ask_all(sources: list[_Source]) -> list[Finding]:
    answers = await asyncio.gather(*map(_ask, sources))
    return [finding for answer in answers for finding in answer]


async def _ask(source: _Source) -> list[Finding]:
    where = source.endpoint.url
    try:
        before = time.time()
        there = await ask_time(source.endpoint)
        found = [] if there is None else [judge_clock(where, there - (before + time.time()) / 2)]
        if source.own is not None:
            found.append(await _call_back(source.endpoint, source.own))
    except GitTorrentError as error:
        return [warning("online", str(error), error.hint or "try again later")]
    return found or [well("online", f"{where} says no time, and no node here is to be called")]


def judge_clock(where: str, ahead: float) -> Finding:
    """Judge by how many seconds a server's clock is ahead of ours."""
    if abs(ahead) <= OFF_SECONDS:
        return well("clock", f"as at {where}")
    text = f"{abs(ahead):.0f} s {'behind' if ahead > 0 else 'ahead of'} {where}"
    remedy = "set the clock, and keep it right by NTP, unless the other one is wrong"
    return (problem if abs(ahead) > MAX_AHEAD else warning)("clock", text, remedy)


async def _call_back(endpoint: Endpoint, own: str) -> Finding:
    """Let a node call ours.

    Raises:
        GitTorrentError: it does not answer, or takes no notices.
    """
    there, _ = await ask_list(endpoint)
    if there.latest is None:
        return well("reach", f"{endpoint.url} has nothing yet, so it is not asked to call back")
    is_listed = any(each.url == own for each in there.mirrors)
    notice = Notify(own, there.latest, RENEWAL_SECONDS if is_listed else TRIAL_SECONDS)
    try:
        await send_notice(endpoint, lambda _seen: notice)
    except RemoteRefusal as error:
        text = f"{endpoint.url} was asked to call {own}, and says: {error.reason}"
        if own in error.reason:  # so it tried
            remedy = "open the port in firewalls, map it at the router (--map-port), or correct url"
            return problem("reach", text, remedy)
        return warning("reach", text, "ask another node, or try again later")
    return well("reach", f"{endpoint.url} called {own} back")
