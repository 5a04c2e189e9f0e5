"""Requests of git's protocol version 2 to upload-pack: where each ends, and what it asks.

For whoever gives an answer again to others who ask the same; pure. What git asks a server for with
``command=fetch`` names every object by its id, so what comes back depends on the request alone. Two
users read requests here: a node that answers for an upstream (`parse_upload_request`,
`parse_list_request`: whatever no ref decides), and one that answers from its own repositories
(`parse_question`: refs that are listed, bundles that are named, and packs for somebody who says
that he has nothing). Requests that ask the same in other words are written the same.

Rules: what is not understood to the last line, or what a server answers by its refs (``want-ref``,
``deepen-not``), is no such request, and goes to the upstream, or to git, as it is. So does a filter
that names a file (``sparse:oid``): it may do so by a ref, and its answer shows what lines the file
has. Progress is not part of it: nobody is told of somebody else's. Source: gitprotocol-v2(5),
Command Request, ls-refs, fetch and bundle-uri.
"""

from __future__ import annotations

import hashlib
import re
from enum import Enum
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import ProtocolError
from gittorrent.ids import SHA1
from gittorrent.wire import pktline
from gittorrent.wire.limits import MAX_QUESTION_PREFIXES
from gittorrent.wire.pktline import DELIM, FLUSH, HEADER_SIZE, PktLineError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.ids import ObjectFormat

MAX_REQUEST = 8 << 20
"""Bytes of a request: a checkout of a partial clone asks for 150,000 blobs at once."""

_LIST, _FETCH, _BUNDLES = b"command=ls-refs", b"command=fetch", b"command=bundle-uri"
_AGENT = b"agent=gittorrent"
_FORMAT = b"object-format="
_IGNORED_CAPABILITIES = (b"agent=", b"session-id=")
_PLAIN_AGENT = re.compile(rb"agent=[!-~]{1,256}\Z")
_LISTING = re.compile(rb"(?:peel|symrefs|unborn|ref-prefix [^\x00-\x20\x7f]{1,1024})\Z")
_SWITCHES = frozenset({b"thin-pack", b"include-tag", b"ofs-delta", b"deepen-relative"})
_SHAPE = re.compile(
    rb"(?:(?:deepen|deepen-since) [1-9][0-9]{0,18}"
    rb"|filter (?:blob:none|blob:limit=[0-9]{1,18}[kmg]?|tree:[0-9]{1,9}))\Z"
)
_OIDS = {size: re.compile(rb"(want|have|shallow) ([0-9a-f]{%d})\Z" % size) for size in (40, 64)}

_MAX_PREFIX = len(b"ref-prefix ") + 256
_COUNTED = re.compile(rb"deepen [1-9][0-9]{0,8}\Z")
"""Depths that git takes as they are: of longer ones it keeps 32 bits, and 2,147,483,647 is all."""
_QUESTION_SHAPE = re.compile(_COUNTED.pattern + rb"|filter ")
_QUESTION_SWITCHES = frozenset({b"include-tag", b"ofs-delta"})


class OtherRequestError(ProtocolError):
    """Something else than a request whose answer can be given to others."""


class UploadRequest(Struct, frozen=True):
    """A request for objects.

    Args:
        wants: ids of what is asked for, each once, in order.
        haves: ids of what the asker has, in its order.
        is_done: whether it asks for the pack whatever the server knows of ``haves``.
        shallow: ids of commits without their parents at the asker's.
        shape: what of the history is asked for, such as ``deepen 1``, in order.
        switches: of how the pack is made, in order.
        tags: name of the annotated tags that the answer may have beside what is wanted, as
            `gittorrent.wire.followed_tags` gives it. No server is told: it goes by its own.
    """

    wants: tuple[bytes, ...]
    haves: tuple[bytes, ...] = ()
    is_done: bool = True
    shallow: tuple[bytes, ...] = ()
    shape: tuple[bytes, ...] = ()
    switches: tuple[bytes, ...] = ()
    tags: str = ""

    @property
    def is_from_nothing(self) -> bool:
        """Whether the asker builds on nothing, so that many may ask for the same."""
        return self.is_done and not self.haves

    @property
    def is_whole(self) -> bool:
        """Whether the answer has all that the wants reach."""
        return self.is_from_nothing and not self.shape and not self.shallow

    @property
    def is_counted(self) -> bool:
        """Whether history ends so many commits after what is wanted, and nothing else decides.

        With the depth that stands for all of it, and with one that counts from where the asker's
        history ends, git gives what is wanted by nobody: the past of commits called shallow.
        """
        is_depth = all(map(_COUNTED.match, self.shape))
        return len(self.shape) == 1 and is_depth and b"deepen-relative" not in self.switches

    def arguments(self) -> list[bytes]:
        """Return its lines after the command, in the one order that they have here."""
        lines = [*self.switches, b"no-progress"]
        lines += [b"shallow " + oid for oid in self.shallow]
        lines += self.shape
        lines += [b"want " + oid for oid in self.wants]
        lines += [b"have " + oid for oid in self.haves]
        return [*lines, b"done"] if self.is_done else lines

    def encode(self) -> bytes:
        """Write it for an upstream of sha1, in the one way that it is written in here."""
        return _encode([_FETCH, _AGENT, _named(SHA1)], self.arguments())

    def digest(self, url: str) -> str:
        """Return the name of its answer, 64 hexadecimal digits; ``url`` is the upstream's."""
        tags = b"\0" + self.tags.encode() if self.tags else b""
        return hashlib.sha256(url.encode() + b"\0" + self.encode() + tags).hexdigest()


class Kind(Enum):
    """What a question asks for; the value is git's name of the command."""

    REFS = b"ls-refs"
    PACK = b"fetch"
    BUNDLES = b"bundle-uri"


class Question(Struct, frozen=True):
    """A request whose answer follows from the repository alone.

    Args:
        kind: what it asks for.
        text: the canonical request, for git.
        wants: ids of the objects that a pack is wanted for, each once, sorted.
        with_tags: whether tags that point into the pack are to come along.
        of_one_commit: whether history is cut off after what is wanted.
        is_full: whether everything is wanted that belongs to it.
    """

    kind: Kind
    text: bytes
    wants: tuple[str, ...] = ()
    with_tags: bool = False
    of_one_commit: bool = False
    is_full: bool = False


class RequestCutter:
    """Finds where a request ends in a stream that comes in pieces of any size."""

    def __init__(self) -> None:
        self._header = b""
        self._left = 0

    def end_in(self, data: bytes) -> int | None:
        """Return how many bytes of the next piece belong to the request; None for all, and more.

        Raises:
            PktLineError: the stream is no sequence of pkt-lines.
        """
        at = 0
        while True:
            step = min(self._left, len(data) - at)
            at, self._left = at + step, self._left - step
            if self._left:
                return None
            header = self._header + data[at : at + HEADER_SIZE - len(self._header)]
            at += len(header) - len(self._header)
            if len(header) < HEADER_SIZE:
                self._header = header
                return None
            self._header = b""
            size = pktline.parse_length(header)
            if size is FLUSH:
                return at
            self._left = size if isinstance(size, int) else 0


def parse_upload_request(data: bytes) -> UploadRequest:
    """Read a request for objects, to an upstream of sha1.

    Raises:
        ProtocolError: it is another one, or none.
    """
    if len(data) > MAX_REQUEST:
        raise OtherRequestError(f"a request of more than {MAX_REQUEST} bytes")
    command = _taken_apart(data)
    if command.name != _FETCH:
        raise OtherRequestError("no request for objects")
    command.require_known_capabilities()
    return _fetch(command.arguments, SHA1)


def parse_list_request(data: bytes) -> bytes:
    """Read a request for refs (``command=ls-refs``) and return it as it is written in here.

    Raises:
        ProtocolError: it is another one, or none.
    """
    command = _taken_apart(data)
    if command.name != _LIST:
        raise OtherRequestError("no request for refs")
    command.require_known_capabilities()
    return encode_list_words(_listing(command.arguments))


def list_request(*prefixes: bytes) -> bytes:
    """Return a request for the refs whose names begin so, as it is written in here."""
    return encode_list_words(b"ref-prefix " + each for each in prefixes)


def list_words(request: bytes) -> list[bytes]:
    """Return the arguments of a request for refs that is written as in here."""
    return _taken_apart(request).arguments


def encode_list_words(words: Iterable[bytes]) -> bytes:
    """Write a request for refs with these arguments, each once, in order."""
    return _encode([_LIST, _AGENT, _named(SHA1)], sorted(set(words)))


def parse_question(raw: bytes, object_format: ObjectFormat) -> Question | None:
    """Return what a request asks; None if only git knows the answer, or what is wrong with it.

    Args:
        raw: a whole request, with the flush that ends it.
        object_format: of the repository that is asked.
    """
    try:
        command = _taken_apart(raw)
        formats = [word for word in command.capabilities if not _PLAIN_AGENT.match(word)]
        if formats != [_named(object_format)] and (formats or object_format is not SHA1):
            return None
        return _question([command.name, *formats], command.arguments, object_format)
    except ProtocolError:
        return None


def _question(
    prelude: list[bytes], arguments: list[bytes], object_format: ObjectFormat
) -> Question | None:
    if prelude[0] == _LIST:
        lines = _listing(arguments)
        prefixes = [line for line in lines if line.startswith(b"ref-prefix ")]
        if len(prefixes) > MAX_QUESTION_PREFIXES or max(map(len, lines), default=0) > _MAX_PREFIX:
            return None
        return Question(Kind.REFS, _encode(prelude, lines))
    if prelude[0] == _FETCH:
        return _pack(prelude, _fetch(arguments, object_format))
    if prelude[0] == _BUNDLES and not arguments:
        return Question(Kind.BUNDLES, _encode(prelude, []))
    return None


def _pack(prelude: list[bytes], asked: UploadRequest) -> Question | None:
    """Return a question for a pack, of somebody who has nothing and is done with saying so."""
    is_plain = asked.is_from_nothing and not asked.shallow
    if not is_plain or b"deepen-relative" in asked.switches:
        return None
    if not all(map(_QUESTION_SHAPE.match, asked.shape)):
        return None
    # Nothing is thin that builds on nothing.
    switches = tuple(word for word in asked.switches if word in _QUESTION_SWITCHES)
    same = UploadRequest(asked.wants, shape=asked.shape, switches=switches)
    return Question(
        Kind.PACK,
        _encode(prelude, same.arguments()),
        tuple(oid.decode("ascii") for oid in same.wants),
        with_tags=b"include-tag" in switches,
        of_one_commit=same.shape == (b"deepen 1",),
        is_full=not same.shape,
    )


class _Command(Struct, frozen=True):
    """A request taken apart, whatever it asks."""

    name: bytes
    capabilities: list[bytes]
    arguments: list[bytes]

    def require_known_capabilities(self) -> None:
        """Make sure that a request to an upstream says nothing that changes its answer.

        Raises:
            OtherRequestError: it may.
        """
        for word in self.capabilities:
            if word != _named(SHA1) and not word.startswith(_IGNORED_CAPABILITIES):
                raise OtherRequestError("a request with a capability that is not known here")


def _taken_apart(data: bytes) -> _Command:
    """Take a request apart; the LF at the end of a line does not count.

    Raises:
        PktLineError: it is no sequence of whole packets.
        OtherRequestError: it is not a command, its arguments if any, and the flush that ends it.
    """
    said: list[bytes] = []
    lines, at, view = said, 0, memoryview(data)
    arguments: list[bytes] = []
    while at < len(view):
        size = pktline.parse_length(view[at : at + HEADER_SIZE])
        at += HEADER_SIZE
        if isinstance(size, int):
            if at + size > len(view):
                raise PktLineError("the last packet is cut short")
            lines.append(bytes(view[at : at + size]).removesuffix(b"\n"))
            at += size
        elif size is DELIM and lines is said:
            lines = arguments
        elif size is FLUSH and at == len(view) and said:
            return _Command(said[0], said[1:], arguments)
        else:
            break
    raise OtherRequestError("no request of one command")


def _listing(arguments: list[bytes]) -> list[bytes]:
    """Return the arguments of a request for refs, each once, in order."""
    if not all(map(_LISTING.match, arguments)):
        raise OtherRequestError("a request with words that are not known here")
    return sorted(set(arguments))


def _fetch(arguments: list[bytes], object_format: ObjectFormat) -> UploadRequest:
    """Read the arguments of a request for objects."""
    ids: dict[bytes, dict[bytes, None]] = {b"want": {}, b"have": {}, b"shallow": {}}
    shape: list[bytes] = []
    words: set[bytes] = set()
    is_oid = _OIDS[object_format.hex_size]
    for line in arguments:
        if found := is_oid.match(line):
            ids[found[1]][found[2]] = None
        elif _SHAPE.match(line):
            shape.append(line)
        elif line in _SWITCHES or line in (b"done", b"no-progress"):
            words.add(line)
        else:
            raise OtherRequestError("a request with words that are not known here")
    if not ids[b"want"]:
        raise OtherRequestError("a request that asks for no object")
    if len({line.partition(b" ")[0] for line in shape}) < len(shape):
        raise OtherRequestError("a request that says twice how deep")
    return UploadRequest(
        tuple(sorted(ids[b"want"])),
        tuple(ids[b"have"]),
        b"done" in words,
        tuple(sorted(ids[b"shallow"])),
        tuple(sorted(shape)),
        tuple(sorted(words & _SWITCHES)),
    )


def _named(object_format: ObjectFormat) -> bytes:
    return _FORMAT + object_format.name.encode("ascii")


def _encode(prelude: list[bytes], arguments: list[bytes]) -> bytes:
    """Write a request in the one form that requests have here."""
    before = b"".join(map(pktline.encode, prelude))
    return before + pktline.encode_special(DELIM) + pktline.encode_lines(arguments)
