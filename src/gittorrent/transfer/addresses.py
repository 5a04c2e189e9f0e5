"""IP addresses as they are compared, counted and shown.

Pure; names are resolved elsewhere (`gittorrent.transfer.dialling`).
"""

from __future__ import annotations

import ipaddress


def plain_address(address: str) -> str:
    """Return an IP address without zone, and IPv4 as such where it came mapped into IPv6."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(found)


def caller_group(address: str) -> str:
    """Return what counts as one caller: an IPv4 address, or the /64 an IPv6 one comes from."""
    found = ipaddress.ip_address(plain_address(address))
    if isinstance(found, ipaddress.IPv6Address) and not found.is_loopback:
        return str(ipaddress.IPv6Network((int(found), 64), strict=False))
    return str(found)


def neighbourhood(group: str) -> str:
    """Return the network that a `caller_group` is in and one party may have: an IPv4 /24, a /48."""
    network = ipaddress.ip_network(group)
    wider = 24 if network.version == 4 else 48
    return str(network if network.is_loopback else network.supernet(new_prefix=wider))


def is_loopback(address: str) -> bool:
    """Tell whether an IP address is this machine's own."""
    return ipaddress.ip_address(plain_address(address)).is_loopback


def is_wildcard(address: str) -> bool:
    """Tell whether an IP address stands for all of this machine's."""
    return ipaddress.ip_address(plain_address(address)).is_unspecified


def show_address(address: str, port: int) -> str:
    """Return ``HOST:PORT`` as it stands in a URL."""
    host = address.partition("%")[0]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
