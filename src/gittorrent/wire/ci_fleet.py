"""How nodes of CI runners prove to each other that they share a secret, and what they ask.

Pure. One runner's node posts to ``/.gittorrent/ci/answer`` of another: the upstream's URL; a space
and the name of the tags that the answer may have (`gittorrent.wire.followed_tags`), if it may have
any; LF, and a request of git's as `gittorrent.wire.upload_requests` writes it. The header
``GitTorrent-CI`` says who asks, when, whom, and a code of all that (HMAC-SHA256, RFC 2104); the
answer has its digest and a code of that and of the request's, so that nobody between the two can
put in another answer.
A request is for one start of one node, which told a number of its own when it proved itself, and
counts there once (`gittorrent.wire.ci_replays`): who hears it can do nothing with it.
The secret itself is never sent. Only what is public is asked for, so nothing has to be hidden.

Where operators let runners share lists of refs, one posts to ``/.gittorrent/ci/refs``: the URL, LF,
32 hexadecimal digits that nobody said before, LF, and git's request for refs. The answer: how many
bytes of it say what the upstream can, LF, these, and the list.

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
from msgspec.structs import replace

from gittorrent.errors import ProtocolError
from gittorrent.wire import pktline
from gittorrent.wire.ci_urls import parse_ci_url
from gittorrent.wire.pktline import HEADER_SIZE, PktLineError
from gittorrent.wire.upload_requests import parse_list_request, parse_upload_request

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gittorrent.wire.upload_requests import UploadRequest

REQUEST_HEADER = "GitTorrent-CI"
ANSWER_HEADER = "GitTorrent-CI-Answer"
AT_HEADER = "GitTorrent-CI-At"
KEPT_HEADER = "GitTorrent-CI-Kept"

ANOTHER_START = 409
"""Status of the answer to a request that was for another start of the node."""

PREFIX = "/.gittorrent/ci/"
"""What the paths begin with; no repository is called so."""

ANSWER_PATH = f"{PREFIX}answer"
MEMBER_PATH = f"{PREFIX}member"
REFS_PATH = f"{PREFIX}refs"

MAX_SKEW = 300
"""Seconds that clocks of runners may differ, and that a request counts for."""

ANY_START = "0" * 32
"""In place of a node's start, in the question what it is called."""

LEAST_SECRET = 32
"""Bytes of a secret: whoever hears a request may try secrets for as long as they like."""

MAX_SAID = 64 << 10
"""Bytes of what an upstream says that it can: some hundreds."""

MAX_LISTING = 32 << 20
"""Bytes of a list of refs: 400,000 of them."""

ANSWER_SIZE = 64 + 1 + 64
"""Bytes of the code at the end of an answer: two digests with a space between."""

BROKEN_OFF = " " * ANSWER_SIZE
"""Instead of the code: the answer is not whole, since the sender itself did not get the rest."""

_DIGEST = re.compile(rb"[0-9a-f]{64}\Z")
_NONCE = re.compile(rb"[0-9a-f]{32}\Z")
_SIZE = re.compile(rb"[0-9]{1,5}\Z")
_HEADER = re.compile(
    r"(?P<member>[0-9a-f]{40}) (?P<at>[0-9]{1,12})"
    r" (?P<session>[0-9a-f]{32}) (?P<number>[0-9]{1,18})"
    r" (?P<to>[0-9a-f]{32}) (?P<digest>[0-9a-f]{64}) (?P<code>[0-9a-f]{64})\Z"
)
_FORMER_HEADER = re.compile(r"[0-9a-f]{40} [0-9]{1,12} [0-9a-f]{64}\Z")
_MEMBER = re.compile(rb"(?P<name>[0-9a-f]{40}) (?P<start>[0-9a-f]{32})\n\Z")
_ANSWER = re.compile(r"(?P<digest>[0-9a-f]{64}) (?P<code>[0-9a-f]{64})\Z")


class NotAMemberError(ProtocolError):
    """Something does not come from a node that knows the secret."""


class Listed(Struct, frozen=True):
    """What a public upstream says.

    Args:
        said: of itself and what it can, as git's helper passes it on.
        refs: its answer to a request for refs.
    """

    said: bytes
    refs: bytes

    def encode(self) -> bytes:
        """Write it for another runner."""
        return b"%d\n%b%b" % (len(self.said), self.said, self.refs)

    def packets(self) -> Iterator[bytes]:
        """Yield the packets of the answer.

        Raises:
            PktLineError: it is no answer.
        """
        at = 0
        while at < len(self.refs):
            length = pktline.parse_length(self.refs[at : at + HEADER_SIZE])
            size = HEADER_SIZE + (length if isinstance(length, int) else 0)
            if at + size > len(self.refs):
                raise PktLineError("the last packet is cut short")
            yield self.refs[at : at + size]
            at += size


class Sender(Struct, frozen=True):
    """Who asks.

    Args:
        member: name of the node.
        session: 32 hexadecimal digits, made up when it started.
        number: of the request, from 1.
    """

    member: str
    session: str
    number: int


class Asked(Struct, frozen=True):
    """What is asked for, but for the body.

    Args:
        method: of HTTP.
        path: that is asked for.
        is_kept: whether only what is there is asked for, by `KEPT_HEADER`.
    """

    method: str
    path: str
    is_kept: bool = False


class Signed(Struct, frozen=True):
    """A request's header, taken apart.

    Args:
        sender: who asks.
        to: start of the node that is asked.
        digest: SHA-256 of the body.
        code: of the request.
    """

    sender: Sender
    to: str
    digest: str
    code: str

    @property
    def member(self) -> str:
        """Name of the node that asks."""
        return self.sender.member

    def require(self, body: bytes) -> None:
        """Make sure that the body is the one that was signed.

        Raises:
            NotAMemberError: it is not.
        """
        if not hmac.compare_digest(self.digest, _digest(body)):
            raise NotAMemberError("the request's body is another one")


def sign_request(
    secret: bytes, sender: Sender, to: str, now: int, asked: Asked, body: bytes
) -> str:
    """Return the header of a request.

    Args:
        secret: that the runners share.
        sender: this node.
        to: start of the node that is asked; `ANY_START` in the question what it is called.
        now: seconds since 1970.
        asked: what for.
        body: of the request.
    """
    digest = _digest(body)
    said = f"{sender.member} {now} {sender.session} {sender.number} {to} {digest}"
    kept = "kept" if asked.is_kept else "any"
    return f"{said} {_code(secret, 'request 2', said, asked.method, asked.path, kept)}"


def check_request(secret: bytes, header: str, now: int, asked: Asked) -> Signed:
    """Read the header of a request, whose body is still to come.

    Raises:
        NotAMemberError: who sent it does not know the secret, or it was sent at another time.
    """
    found = _HEADER.match(header)
    if found is None:
        raise NotAMemberError(
            "that runner's node is older than this one, which takes no requests that can be made"
            " twice: upgrade it"
            if _FORMER_HEADER.match(header)
            else "no header of a runner's node"
        )
    said, _, code = header.rpartition(" ")
    kept = "kept" if asked.is_kept else "any"
    wanted = _code(secret, "request 2", said, asked.method, asked.path, kept)
    if not hmac.compare_digest(wanted, code):
        raise NotAMemberError("the secret is another one")
    if abs(now - int(found["at"])) > MAX_SKEW:
        raise NotAMemberError("the clocks of the two runners differ by more than five minutes")
    sender = Sender(found["member"], found["session"], int(found["number"]))
    return Signed(sender, found["to"], found["digest"], found["code"])


def encode_member(name: str, start: str) -> bytes:
    """Write what a node is called, and its start."""
    return f"{name} {start}\n".encode()


def parse_member(data: bytes) -> tuple[str, str]:
    """Read what a node is called, and its start.

    Raises:
        ProtocolError: it says no such thing.
    """
    found = _MEMBER.match(data)
    if found is None:
        raise ProtocolError("it does not say what it is called as this version does")
    return found["name"].decode(), found["start"].decode()


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
    tags = f" {request.tags}" if request.tags else ""
    return f"{url}{tags}\n".encode() + request.encode()


def parse_body(body: bytes) -> tuple[str, UploadRequest]:
    """Read what is asked for.

    Raises:
        ProtocolError, CiUrlError: it is no such thing.
    """
    line, _, request = body.partition(b"\n")
    url, space, tags = line.partition(b" ")
    if space and _DIGEST.match(tags) is None:
        raise ProtocolError("no name of tags after the URL")
    wanted = replace(parse_upload_request(request), tags=tags.decode())
    return parse_ci_url(url.decode("utf-8", "backslashreplace")).url, wanted


def encode_refs_body(url: str, nonce: str, request: bytes) -> bytes:
    """Write which refs are asked for; the nonce makes the answer's code one of its own."""
    return b"\n".join((url.encode(), nonce.encode(), request))


def parse_refs_body(body: bytes) -> tuple[str, bytes]:
    """Read which refs are asked for: an upstream's URL, and git's request.

    Raises:
        ProtocolError, CiUrlError: it is no such thing.
    """
    url, _, rest = body.partition(b"\n")
    nonce, _, request = rest.partition(b"\n")
    if _NONCE.match(nonce) is None:
        raise ProtocolError("no nonce of 32 hexadecimal digits")
    return parse_ci_url(url.decode("utf-8", "backslashreplace")).url, parse_list_request(request)


def parse_listed(data: bytes) -> Listed:
    """Read what an upstream says, from another runner.

    Raises:
        ProtocolError: it is no such thing.
    """
    size, _, rest = data.partition(b"\n")
    if _SIZE.match(size) is None or int(size) > min(MAX_SAID, len(rest)):
        raise ProtocolError("what another runner says of refs cannot be read")
    found = Listed(rest[: int(size)], rest[int(size) :])
    for _ in found.packets():
        pass
    return found


def in_order(members: Iterable[str], url: str) -> list[str]:
    """Return names of nodes in the order in which an upstream is theirs."""

    def rank(member: str) -> bytes:
        return hashlib.sha256(f"{member}\n{url}".encode()).digest()

    return sorted(members, key=rank, reverse=True)


def _code(secret: bytes, *words: str) -> str:
    return hmac.new(secret, "\n".join(words).encode(), hashlib.sha256).hexdigest()


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
