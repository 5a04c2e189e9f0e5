"""What a CI job's helper and the node of its machine say to each other, at a socket of its own.

For both ends; pure. The jobs are other people's code, so this socket takes nothing else, and the
node's control socket, which can do everything, is not given to them::

    node    gittorrent-ci 3
    helper  serves <url>                              any number of times
    node    ready 0 | no <reason>                     whether all that begins so is allowed
    helper  open <url>
    node    ready <bytes> | login | no <reason>       after "ready" so many bytes: see below
    helper  login <Authorization header's value>      after "login", once
    helper  list <bytes> | fetch <bytes>              and so many bytes: a request of git's
    node    alive <bytes>                             any number of times, here and after "coming"
    node    coming                                    with a pipe, through which the answer comes
    node    given <bytes>                             once all of it has come
    node    no <reason>

``list`` and ``fetch`` may come several times; whoever was told ``login`` and says nothing gets no
answer to ``list``. An answer comes while the node gets it. Where that breaks off the pipe ends, and
the node says ``no``, or ``coming`` with another pipe, and the answer begins anew. What has another
size than ``given`` says is no answer. With ``ready`` comes what a public upstream says of itself
and what it can, as git's helper for HTTP passes it on; of another one nothing, since git asks that
itself. Rules: a line has at most `MAX_LINE` bytes with its LF; words and numbers are as in
MirrorSync (docs/protocol/mirrorsync.md, Lines); what is not known is an error.
"""

from __future__ import annotations

import re

from msgspec import Struct

from gittorrent.wire.ci_fleet import MAX_SAID
from gittorrent.wire.fields import MessageError, Words, clean_reason, encode_words, shown
from gittorrent.wire.limits import MAX_PACK_BYTES
from gittorrent.wire.upload_requests import MAX_REQUEST

VERSION = 3
"""Of this protocol; an end that hears another number goes its own way."""

MAX_LINE = 16 << 10
"""Bytes of a line: tokens that forges make for a job have some thousands."""

MAX_LIST_REQUEST = 64 << 10
"""Bytes of a request for refs: git says some prefixes, and no more than it has room for."""

_HEADER = re.compile(r"[!-~]+(?: [!-~]+)*\Z")


class Hello(Struct, frozen=True):
    """The node's first line."""

    version: int = VERSION

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("gittorrent-ci", self.version)


class Open(Struct, frozen=True):
    """Says which upstream this is about; see `gittorrent.wire.ci_urls`."""

    url: str

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("open", self.url)


class Serves(Struct, frozen=True):
    """Asks whether the node serves all upstreams whose URLs begin so."""

    prefix: str

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("serves", self.prefix)


class Login(Struct, frozen=True):
    """What the upstream is told of the caller: the value of HTTP's ``Authorization``."""

    header: str

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("login", self.header)


class FetchLine(Struct, frozen=True):
    """A request of git's follows, of so many bytes."""

    size: int

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("fetch", self.size)


class ListLine(Struct, frozen=True):
    """A request of git's for refs follows, of so many bytes; of a public upstream."""

    size: int

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("list", self.size)


class Ready(Struct, frozen=True):
    """The upstream lets the caller read; so many bytes follow of what it says that it can."""

    size: int = 0

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("ready", self.size)


class LoginWanted(Struct, frozen=True):
    """The upstream wants to know who asks."""

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("login")


class Alive(Struct, frozen=True):
    """The node is at work; so many bytes have come."""

    received: int = 0

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("alive", self.received)


class Coming(Struct, frozen=True):
    """The answer comes through the pipe that comes with this."""

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("coming")


class Given(Struct, frozen=True):
    """The answer has come, and had so many bytes."""

    size: int

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("given", self.size)


class No(Struct, frozen=True):
    """The node does not do it; the caller asks the upstream itself."""

    reason: str

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("no", clean_reason(self.reason))


Request = Open | Serves | Login | ListLine | FetchLine
Answer = Hello | Ready | LoginWanted | Alive | Coming | Given | No


def parse_request(line: bytes) -> Request:
    """Read a helper's line.

    Raises:
        MessageError: it is none.
    """
    words = Words(_bounded(line))
    keyword = words.take("request")
    if keyword == "open":
        return Open(words.url())
    if keyword == "serves":
        return Serves(words.url())
    if keyword == "login":
        return Login(_header(words.rest()))
    if keyword == "fetch":
        return FetchLine(words.number("size", 1, MAX_REQUEST))
    if keyword == "list":
        return ListLine(words.number("size", 1, MAX_LIST_REQUEST))
    raise MessageError(f"unknown request {shown(keyword)}")


def parse_answer(line: bytes) -> Answer:
    """Read a node's line.

    Raises:
        MessageError: it is none.
    """
    words = Words(_bounded(line))
    keyword = words.take("answer")
    if keyword == "gittorrent-ci":
        return Hello(words.number("version", 1, 1 << 31))
    if keyword == "ready":
        return Ready(words.number("bytes", 0, MAX_SAID))
    if keyword == "login":
        return LoginWanted()
    if keyword == "alive":
        return Alive(words.number("bytes", 0, MAX_PACK_BYTES))
    if keyword == "coming":
        return Coming()
    if keyword == "given":
        return Given(words.number("bytes", 1, MAX_PACK_BYTES))
    if keyword == "no":
        return No(clean_reason(words.rest()))
    raise MessageError(f"unknown answer {shown(keyword)}")


def _header(text: str) -> str:
    """Take what becomes a header: nothing in it may begin another one."""
    if _HEADER.match(text) is None:
        raise MessageError("what the upstream is to be told is no header")
    return text


def _bounded(line: bytes) -> bytes:
    if len(line) > MAX_LINE or b"\0" in line or b"\r" in line or b"\n" in line[:-1]:
        raise MessageError(f"not one line of at most {MAX_LINE} bytes")
    return line
