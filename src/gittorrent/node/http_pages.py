"""Tells requests of web pages from those of programs, before a page's request has an effect.

A browser lets any page send requests to this machine and to the user's network, from where they
look as if the user had sent them. What a page cannot do without asking first is to leave out its
origin, and to send a body of a type that forms do not have; so effects demand both. A page whose
name was made to resolve to this machine (DNS rebinding) still names itself in ``Host``.

Pure. Source: docs/protocol/mirrorsync.md, HTTP resources; the Fetch standard, "CORS protocol".
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from gittorrent.transfer.addresses import is_loopback

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

FROM_PAGE = "web pages may not do this; it is for git and for mirrors"
"""What a request is answered with that a page sent."""

OTHER_HOST = (
    "this node is not called that; from its own machine use its address, localhost, or the name"
    " that it was given with --url"
)
"""The answer to a request whose ``Host`` is not this machine's."""


def is_from_page(headers: Mapping[str, str]) -> bool:
    """Tell whether a web page sent a request, as far as the browser says so.

    Browsers name the origin in whatever a page sends but plain reads, and new ones say in those
    too, to addresses they trust (loopback among them), what made them ask.

    Args:
        headers: of the request; names are found in any case.
    """
    return "Origin" in headers or headers.get("Sec-Fetch-Site", "none").lower() != "none"


def is_misdirected(host: str | None, caller: str, names: Collection[str]) -> bool:
    """Tell whether a request from this machine names another host (DNS rebinding).

    Args:
        host: the ``Host`` header; None where it is missing, as no browser leaves it.
        caller: IP address it came from.
        names: lower-case names this node goes by.
    """
    if host is None or not is_loopback(caller):
        return False
    name = _without_port(host).lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost") or name in names:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return True
    return False


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
