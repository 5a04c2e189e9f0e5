"""URLs learned from strangers, and which addresses they may lead us to.

For the node's dialling; pure: names are resolved elsewhere and each resulting address is judged
here before it is contacted.

Rules: git, http and https only, and nothing in them that another program could read differently:
no credentials, query, fragment, control byte, backslash, ``..`` (encoded or not), nor numbers that
resolvers take for addresses (``127.1``, ``0x7f.1``). A stranger's word never makes us contact
loopback or private ranges we were not already in, so it cannot aim us at somebody's inner network.
Source: docs/protocol/mirrorsync.md, Learned addresses.
"""

from __future__ import annotations

import ipaddress
import re
from enum import Enum
from urllib.parse import quote, unquote_to_bytes

from msgspec import Struct

from gittorrent.errors import ProtocolError
from gittorrent.wire.fields import shown
from gittorrent.wire.limits import MAX_HOST_NAME, MAX_LABEL, MAX_URL

DEFAULT_PORTS = {"git": 9418, "http": 80, "https": 443, "ssh": 22}
"""The port that each scheme implies."""

LEARNED_SCHEMES = frozenset({"git", "http", "https"})
"""The schemes a learned URL may have: ssh uses what is the user's own."""

_SHAPE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)(/.*)?\Z")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?\Z")
_NUMERIC_LABEL = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)\Z")
_PORT = re.compile(r"[1-9][0-9]{0,4}\Z", re.ASCII)
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PATH_SAFE = "/%!$&'()*+,;=:@~"

_V4 = ipaddress.IPv4Network
_V6 = ipaddress.IPv6Network
_V4_PRIVATE = tuple(
    map(
        _V4,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"),
    )
)
_V4_RESERVED = tuple(
    map(
        _V4,
        (
            "0.0.0.0/8",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
        ),
    )
)
_V6_PRIVATE = tuple(map(_V6, ("fc00::/7", "fe80::/10", "fec0::/10", "64:ff9b:1::/48")))
_V6_RESERVED = tuple(map(_V6, ("2001::/23", "2001:db8::/32", "3fff::/20")))
_V6_GLOBAL = _V6("2000::/3")
_NAT64 = _V6("64:ff9b::/96")


LOW_PORTS = frozenset({80, 443})
"""Ports below 1024 at which somebody found by address alone may be asked: those of web servers,
which expect strangers. Behind the others are services that must not hear from everybody who looks
for a repository because somebody announced their address (compare WHATWG Fetch, port blocking)."""


class UrlError(ProtocolError):
    """A learned URL or address is malformed or of a kind that is never contacted."""


class Endpoint(Struct, frozen=True):
    """A checked URL in parts.

    ``host``: lower-case ASCII name or plain IP address, without brackets. ``path``: begins with a
    slash, percent-encoded where needed. ``user``: whom to be at a host of ssh; empty for whom ssh
    chooses.
    """

    scheme: str
    host: str
    port: int
    path: str
    user: str = ""

    @property
    def url(self) -> str:
        """The URL in its one canonical form; the port is left out when the scheme implies it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        user = f"{self.user}@" if self.user else ""
        return f"{self.scheme}://{user}{host}{port}{self.path}"

    def below(self, path: str) -> Endpoint:
        """Return the endpoint of ``path``, which begins with a slash, below this one.

        Raises UrlError where nobody would take the URL from a stranger.
        """
        return parse_learned_url(self.url.rstrip("/") + path)


class AddressClass(Enum):
    """Whom an IP address belongs to, as far as its number tells."""

    LOOPBACK = "loopback"
    PRIVATE = "private"
    """Private, link-local, unique-local and carrier-grade NAT ranges."""
    PUBLIC = "public"
    RESERVED = "reserved"
    """Multicast, unspecified, documentation and undefined ranges: never contacted."""


def parse_learned_url(url: str) -> Endpoint:
    """Take apart a URL a stranger gave us.

    Raises UrlError for all but plain git, http and https URLs. Source:
    docs/protocol/mirrorsync.md, Learned addresses.
    """
    if len(url.encode("utf-8", "replace")) > MAX_URL:
        raise UrlError(f"URL of more than {MAX_URL} bytes")
    if not url.isprintable() or any(c in url for c in ' \\?#"<>^`{|}'):
        raise UrlError(f"query, fragment, space or forbidden character in URL {shown(url)}")
    shape = _SHAPE.match(url)
    if shape is None:
        raise UrlError(f"not a URL with a host: {shown(url)}")
    scheme = shape[1].lower()
    if scheme not in LEARNED_SCHEMES:
        raise UrlError(f"scheme {shown(scheme)} is not git, http or https")
    if "@" in shape[2]:
        raise UrlError(f"credentials in a learned URL with scheme {scheme}")
    host, port = _split_authority(shape[2])
    endpoint = Endpoint(
        scheme,
        host,
        DEFAULT_PORTS[scheme] if port is None else _parse_port(port),
        _parse_path(shape[3] or "/"),
    )
    if len(endpoint.url) > MAX_URL:
        raise UrlError(f"URL of more than {MAX_URL} bytes once encoded")
    return endpoint


def found_endpoint(address: str, port: int, path: str, scheme: str = "git") -> Endpoint:
    """Return where to ask somebody of whom only an IP address and a port are known.

    Args:
        address: IPv4 or IPv6 in numbers, without brackets or zone.
        port: of TCP.
        path: what to ask for.
        scheme: in which way.

    Raises UrlError for what is no address, or a port below 1024 that is none of the web's. Whether
    the address may be contacted is another question (`may_contact`). Source:
    docs/protocol/mirrorsync.md, Learned addresses.
    """
    address_class(address)
    if port < 1024 and port not in LOW_PORTS:
        raise UrlError(f"port {port} is not asked on the word of strangers")
    host = f"[{address}]" if ":" in address else address
    return parse_learned_url(f"{scheme}://{host}:{port}{path}")


def check_host_and_port(text: str) -> None:
    """Check that a word is ``HOST:PORT``, the host as in a learned URL.

    Raises UrlError where it is not.
    """
    _, colon, port = text.rpartition(":")
    if not colon or "/" in text or "@" in text:
        raise UrlError(f"not HOST:PORT: {shown(text)}")
    _parse_port(port)
    parse_learned_url(f"git://{text}/")


def _split_authority(authority: str) -> tuple[str, str | None]:
    """Part host and port; the host comes back checked and in its one form."""
    if authority.startswith("["):
        inside, bracket, after = authority[1:].partition("]")
        if not bracket or (after and not after.startswith(":")):
            raise UrlError(f"not a host: {shown(authority)}")
        return _parse_ipv6(inside), after[1:] if after else None
    host, colon, port = authority.partition(":")
    return parse_host(host), port if colon else None


def _parse_ipv6(text: str) -> str:
    if "%" in text:
        raise UrlError(f"address with a zone: {shown(text)}")
    try:
        return ipaddress.IPv6Address(text).compressed
    except ValueError:
        raise UrlError(f"not an IPv6 address: {shown(text)}") from None


def parse_host(text: str) -> str:
    """Return a host name or IPv4 address that a stranger gave, in its one form.

    Names outside ASCII become their IDNA form. Raises UrlError for what is neither, and for numbers
    that resolvers read as addresses in other notations. Source: docs/protocol/mirrorsync.md,
    Learned addresses.
    """
    if not text or len(text) > MAX_HOST_NAME:
        raise UrlError(f"host is empty or longer than {MAX_HOST_NAME} characters")
    try:
        host = text.lower() if text.isascii() else text.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise UrlError(f"host name has no IDNA form: {shown(text)}") from None
    labels = host.split(".")
    if len(host) > MAX_HOST_NAME or any(
        len(label) > MAX_LABEL or _LABEL.match(label) is None for label in labels
    ):
        raise UrlError(f"not a host name: {shown(text)}")
    if _NUMERIC_LABEL.match(labels[-1]):
        # Resolvers read such names as addresses in many notations; only the plain one is allowed.
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise UrlError(f"not a plain IPv4 address: {shown(text)}") from None
    return host


def parse_learned_host(text: str) -> str:
    """Return a host that a stranger gave without a URL around it: as `parse_host`, or IPv6.

    IPv6 addresses have no brackets and no zone. Raises UrlError for anything else.
    """
    return _parse_ipv6(text) if ":" in text else parse_host(text)


def _parse_port(text: str) -> int:
    if _PORT.match(text) is None or int(text) > 65535:
        raise UrlError(f"not a port: {shown(text)}")
    return int(text)


def _parse_path(text: str) -> str:
    if _BAD_PERCENT.search(text):
        raise UrlError(f"broken percent-encoding in path {shown(text)}")
    decoded = unquote_to_bytes(text)
    if any(byte < 0x20 or byte in b"\x7f\\" for byte in decoded) or "%2f" in text.lower():
        raise UrlError(f"encoded slash, backslash or control byte in path {shown(text)}")
    if any(segment in (b".", b"..") for segment in decoded.split(b"/")):
        raise UrlError(f"'.' or '..' in path {shown(text)}")
    return quote(text, safe=_PATH_SAFE)


def address_class(ip: str) -> AddressClass:
    """Tell what kind of address ``ip`` is.

    ``ip``: IPv4 or IPv6 in numbers; an IPv6 zone may follow. IPv6 addresses that stand for an
    IPv4 one (mapped, 6to4, NAT64) are what that one is. Raises UrlError when it is no address.
    """
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        raise UrlError(f"not an IP address: {shown(ip)}") from None
    if isinstance(address, ipaddress.IPv4Address):
        return _class_v4(address)
    inner = _embedded_v4(address)
    return _class_v6(address) if inner is None else _class_v4(inner)


def _embedded_v4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _class_v4(address: ipaddress.IPv4Address) -> AddressClass:
    if address.is_loopback:
        return AddressClass.LOOPBACK
    if any(address in network for network in _V4_PRIVATE):
        return AddressClass.PRIVATE
    if any(address in network for network in _V4_RESERVED):
        return AddressClass.RESERVED
    return AddressClass.PUBLIC


def _class_v6(address: ipaddress.IPv6Address) -> AddressClass:
    # Compared as numbers, since a zone makes an address unequal to the plain one.
    number = ipaddress.IPv6Address(int(address))
    if number.is_loopback:
        return AddressClass.LOOPBACK
    if any(number in network for network in _V6_PRIVATE):
        return AddressClass.PRIVATE
    if number not in _V6_GLOBAL or any(number in network for network in _V6_RESERVED):
        return AddressClass.RESERVED
    return AddressClass.PUBLIC


_TRUST = (AddressClass.RESERVED, AddressClass.PUBLIC, AddressClass.PRIVATE, AddressClass.LOOPBACK)


def less_trusted(one: AddressClass, other: AddressClass) -> AddressClass:
    """Return which of two kinds of address may send us to fewer others."""
    return min(one, other, key=_TRUST.index)


def may_contact(learned: AddressClass, trusted: AddressClass) -> bool:
    """Tell whether a learned address may be contacted.

    ``learned``: the class of the address. ``trusted``: that of the address the user gave us, which
    shows whether we are meant to be on this machine, on a LAN or out in the world. Source:
    docs/protocol/mirrorsync.md, Learned addresses.
    """
    if learned is AddressClass.PUBLIC:
        return True
    if learned is AddressClass.LOOPBACK:
        return trusted is AddressClass.LOOPBACK
    if learned is AddressClass.PRIVATE:
        return trusted in (AddressClass.PRIVATE, AddressClass.LOOPBACK)
    return False
