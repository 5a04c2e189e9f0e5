"""How nodes of CI runners prove to each other that they share a secret, and what they ask.

Pure. One runner's node posts to ``/.gittorrent/ci/answer`` of another: the upstream's URL, LF, and
a request of git's as `gittorrent.wire.upload_requests` writes it. The header ``GitTorrent-CI`` says
who asks, when, and a code of all that (HMAC-SHA256, RFC 2104); the answer's header says its digest
and a code of that and of the request's, so that nobody between the two can put in another answer.
The secret itself is never sent. Only what is public is asked for, so nothing has to be hidden.

Who of them makes an answer: the one whose name gives the highest digest with the upstream's URL
(rendezvous hashing), so that all agree without talking, and one that is gone changes nothing for
the upstreams of others.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import ProtocolError
from gittorrent.wire.ci_urls import parse_ci_url
from gittorrent.wire.upload_requests import parse_upload_request

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.wire.upload_requests import UploadRequest

REQUEST_HEADER = "GitTorrent-CI"
ANSWER_HEADER = "GitTorrent-CI-Answer"
AT_HEADER = "GitTorrent-CI-At"
KEPT_HEADER = "GitTorrent-CI-Kept"

PREFIX = "/.gittorrent/ci/"
"""What the paths begin with; no repository is called so."""

ANSWER_PATH = f"{PREFIX}answer"
MEMBER_PATH = f"{PREFIX}member"

MAX_SKEW = 300
"""Seconds that clocks of runners may differ, and that a request counts for."""

LEAST_SECRET = 32
"""Bytes of a secret: whoever hears a request may try secrets for as long as they like."""

_HEADER = re.compile(r"(?P<member>[0-9a-f]{40}) (?P<at>[0-9]{1,12}) (?P<code>[0-9a-f]{64})\Z")
_ANSWER = re.compile(r"(?P<digest>[0-9a-f]{64}) (?P<code>[0-9a-f]{64})\Z")


class NotAMemberError(ProtocolError):
    """Something does not come from a node that knows the secret."""


class Signed(Struct, frozen=True):
    """A request's header, taken apart.

    Args:
        member: name of the node that asks.
        code: of the request.
    """

    member: str
    code: str


def sign_request(secret: bytes, member: str, now: int, path: str, body: bytes) -> str:
    """Return the header of a request.

    Args:
        secret: that the runners share.
        member: name of this node.
        now: seconds since 1970.
        path: that is asked for.
        body: of the request.
    """
    return f"{member} {now} {_code(secret, 'request', member, str(now), path, _digest(body))}"


def check_request(secret: bytes, header: str, now: int, path: str, body: bytes) -> Signed:
    """Read the header of a request.

    Raises:
        NotAMemberError: who sent it does not know the secret, or it was sent at another time.
    """
    found = _HEADER.match(header)
    if found is None:
        raise NotAMemberError("no header of a runner's node")
    wanted = sign_request(secret, found["member"], int(found["at"]), path, body)
    if not hmac.compare_digest(wanted, header):
        raise NotAMemberError("the secret is another one")
    if abs(now - int(found["at"])) > MAX_SKEW:
        raise NotAMemberError("the clocks of the two runners differ by more than five minutes")
    return Signed(found["member"], found["code"])


def sign_answer(secret: bytes, asked: str, digest: str) -> str:
    """Return the header of an answer: ``asked`` is the request's code, ``digest`` the answer's."""
    return f"{digest} {_code(secret, 'answer', asked, digest)}"


def check_answer(secret: bytes, request_header: str, header: str) -> str:
    """Return the digest that an answer has to have.

    Raises:
        NotAMemberError: who sent it does not know the secret, or answers something else.
    """
    asked, found = _HEADER.match(request_header), _ANSWER.match(header)
    if asked is None or found is None:
        raise NotAMemberError("no header of a runner's node")
    if not hmac.compare_digest(sign_answer(secret, asked["code"], found["digest"]), header):
        raise NotAMemberError("the secret is another one")
    return found["digest"]


def encode_body(url: str, request: UploadRequest) -> bytes:
    """Write what is asked for."""
    return url.encode() + b"\n" + request.encode()


def parse_body(body: bytes) -> tuple[str, UploadRequest]:
    """Read what is asked for.

    Raises:
        ProtocolError, CiUrlError: it is no such thing.
    """
    url, _, request = body.partition(b"\n")
    return parse_ci_url(url.decode("utf-8", "backslashreplace")).url, parse_upload_request(request)


def in_order(members: Iterable[str], url: str) -> list[str]:
    """Return names of nodes in the order in which an upstream is theirs."""

    def rank(member: str) -> bytes:
        return hashlib.sha256(f"{member}\n{url}".encode()).digest()

    return sorted(members, key=rank, reverse=True)


def _code(secret: bytes, *words: str) -> str:
    return hmac.new(secret, "\n".join(words).encode(), hashlib.sha256).hexdigest()


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
