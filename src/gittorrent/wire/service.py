"""The first packet on a git:// connection: which service is wanted, of which repository.

For the git:// listener and dialler; pure. Git's services and ours share one form:
``<service> <path> NUL [host=<host> NUL] [NUL <extra> NUL ...]``.

Rules: the path begins with a slash and holds no control byte; the rest is bounded. A service this
program does not know is still parsed, so that the listener can refuse it by name. Extra parameters
that are empty count for nothing. Must not know which paths exist.
Source: gitprotocol-pack(5), Git Transport; docs/protocol/mirrorsync.md, Services.
"""

from __future__ import annotations

import re

from msgspec import Struct

from gittorrent.wire.fields import MessageError, shown, strip_newline
from gittorrent.wire.limits import MAX_EXTRA, MAX_EXTRA_BYTES, MAX_HOST, MAX_PATH, MAX_SERVICE

UPLOAD_PACK = "git-upload-pack"
RECEIVE_PACK = "git-receive-pack"
UPLOAD_ARCHIVE = "git-upload-archive"
MIRROR_LIST = "mirror-list"
MIRROR_NOTIFY = "mirror-notify"
MIRROR_SYNC = "mirror-sync"
MIRROR_MUX = "mirror-mux"

KNOWN_SERVICES = frozenset(
    {UPLOAD_PACK, RECEIVE_PACK, UPLOAD_ARCHIVE, MIRROR_LIST, MIRROR_NOTIFY, MIRROR_SYNC, MIRROR_MUX}
)
"""The services of git and of this program."""

_SERVICE = re.compile(rb"[a-z][a-z0-9-]*\Z")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


class ServiceRequest(Struct, frozen=True):
    """What the calling end asks for.

    ``service``: its name, known or not. ``path``: begins with a slash, undecoded. ``host``: the
    name the caller used for us, with a port if it gave one. ``extra``: such as ``b"version=2"``.
    """

    service: str
    path: bytes
    host: bytes | None = None
    extra: tuple[bytes, ...] = ()

    @property
    def is_known(self) -> bool:
        """Tell whether this is one of KNOWN_SERVICES."""
        return self.service in KNOWN_SERVICES


def _check(request: ServiceRequest) -> ServiceRequest:
    name = request.service.encode("ascii", "replace")
    if len(name) > MAX_SERVICE or _SERVICE.match(name) is None:
        raise MessageError(f"not the name of a service: {shown(request.service)}")
    if not request.path.startswith(b"/"):
        raise MessageError(f"path does not begin with a slash: {shown(request.path)}")
    if len(request.path) > MAX_PATH:
        raise MessageError(f"path of {len(request.path)} bytes; at most {MAX_PATH} are allowed")
    if request.host is not None and len(request.host) > MAX_HOST:
        raise MessageError(f"host of {len(request.host)} bytes; at most {MAX_HOST} are allowed")
    if len(request.extra) > MAX_EXTRA or any(
        not 0 < len(extra) <= MAX_EXTRA_BYTES for extra in request.extra
    ):
        raise MessageError("too many, empty or over-long extra parameters in the service request")
    for part in (request.path, request.host or b"", *request.extra):
        if _CONTROL.search(part):
            raise MessageError(f"control byte in the service request: {shown(part)}")
    if request.host is not None and b" " in request.host:
        raise MessageError(f"space in the host: {shown(request.host)}")
    return request


def encode_request(request: ServiceRequest) -> bytes:
    """Write a request as the payload of one pkt-line.

    Raises MessageError for a request that ``parse_request`` would refuse.
    """
    _check(request)
    line = request.service.encode("ascii") + b" " + request.path + b"\0"
    if request.host is not None:
        line += b"host=" + request.host + b"\0"
    if request.extra:
        line += b"\0" + b"".join(extra + b"\0" for extra in request.extra)
    return line


def parse_request(line: bytes) -> ServiceRequest:
    """Read the first packet of a git:// connection.

    ``line``: the payload of one pkt-line. Raises MessageError. Source: gitprotocol-pack(5).
    """
    command, _, parameters = line.partition(b"\0")
    service, space, path = strip_newline(command).partition(b" ")
    if not space:
        raise MessageError(f"no path in the service request {shown(command)}")
    host, extra = _parse_parameters(parameters)
    # A name outside ASCII becomes one that the check refuses.
    return _check(ServiceRequest(service.decode("ascii", "replace"), path, host, extra))


def _parse_parameters(raw: bytes) -> tuple[bytes | None, tuple[bytes, ...]]:
    """Take apart what follows the path's NUL: the host, then a NUL and the extra parameters."""
    host = None
    if raw and not raw.startswith(b"\0"):
        first, end, raw = raw.partition(b"\0")
        if first[:5].lower() != b"host=" or not end:
            raise MessageError(f"unexpected parameter in the service request: {shown(first)}")
        host = first[5:]
    if not raw:
        return host, ()
    if not raw.startswith(b"\0") or (len(raw) > 1 and not raw.endswith(b"\0")):
        raise MessageError("parameters of the service request are not ended by NUL")
    # Dulwich ends them with a NUL more, and git daemon passes over what says nothing.
    return host, tuple(filter(None, raw[1:-1].split(b"\0")))
