"""Requests of git's protocol version 2 to upload-pack: where each ends, and what usual ones ask.

For whoever answers a question that many ask without having git think anew; pure. A request is cut
out of the stream by `RequestCutter`, and `parse_question` tells whether it is one whose answer
follows from the repository and the request alone: refs that are listed, bundles that are named, and
packs for somebody who says that he has nothing. Such questions get one canonical text, so that
clients which ask the same in other words get the same answer.

Rules: what is not understood to the last line is no question but git's business. Progress is not
part of a question: nobody is told of somebody else's. Source: gitprotocol-v2(5), Command Request,
ls-refs, fetch and bundle-uri.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.wire import pktline
from gittorrent.wire.limits import MAX_QUESTION_PREFIXES

if TYPE_CHECKING:
    from gittorrent.ids import ObjectFormat

_AGENT = re.compile(rb"agent=[!-~]{1,256}\Z")
_DEPTH = re.compile(rb"deepen ([1-9][0-9]{0,8})\Z")
_FILTER = re.compile(rb"filter ([!-~]{1,64})\Z")
_PREFIX = re.compile(rb"ref-prefix ([!-~\x80-\xff]{1,256})\Z")

_LISTING_WORDS = (b"peel", b"symrefs", b"unborn")
_FETCH_WORDS = (b"thin-pack", b"no-progress", b"include-tag", b"ofs-delta", b"done")


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
            header = self._header + data[at : at + pktline.HEADER_SIZE - len(self._header)]
            at += len(header) - len(self._header)
            if len(header) < pktline.HEADER_SIZE:
                self._header = header
                return None
            self._header = b""
            size = pktline.parse_length(header)
            if size is pktline.FLUSH:
                return at
            self._left = size if isinstance(size, int) else 0


def parse_question(raw: bytes, object_format: ObjectFormat) -> Question | None:
    """Return what a request asks; None if only git knows the answer, or what is wrong with it.

    Args:
        raw: a whole request, with the flush that ends it.
        object_format: of the repository that is asked.
    """
    packets = _packets(raw)
    if packets is None:
        return None
    said, arguments = packets
    command, capabilities = said[0] if said else b"", said[1:]
    formats = [word for word in capabilities if not _AGENT.match(word)]
    named = b"object-format=" + object_format.name.encode("ascii")
    if formats not in ([], [named]) or (not formats and object_format.name != "sha1"):
        return None
    prelude = [command, *([named] if formats else [])]
    if command == b"command=ls-refs":
        return _listing(prelude, arguments)
    if command == b"command=fetch":
        return _fetch(prelude, arguments, object_format)
    if command == b"command=bundle-uri" and not arguments:
        return Question(Kind.BUNDLES, _encode(prelude, []))
    return None


def _packets(raw: bytes) -> tuple[list[bytes], list[bytes]] | None:
    """Return the lines before and after the delimiter; None for anything else than that."""
    before: list[bytes] = []
    lines, at = before, 0
    while at < len(raw):
        try:
            size = pktline.parse_length(raw[at : at + pktline.HEADER_SIZE])
        except pktline.PktLineError:
            return None
        at += pktline.HEADER_SIZE
        if isinstance(size, int):
            lines.append(raw[at : at + size].removesuffix(b"\n"))
            at += size
        elif size is pktline.DELIM and lines is before:
            lines = []
        elif size is pktline.FLUSH and at == len(raw):
            return before, [] if lines is before else lines
        else:
            return None
    return None


def _listing(prelude: list[bytes], arguments: list[bytes]) -> Question | None:
    """Return a question for refs."""
    prefixes = {line for line in arguments if _PREFIX.match(line)}
    words = {line for line in arguments if line in _LISTING_WORDS}
    if len(prefixes) > MAX_QUESTION_PREFIXES or not prefixes | words >= set(arguments):
        return None
    return Question(Kind.REFS, _encode(prelude, [*sorted(words), *sorted(prefixes)]))


def _fetch(
    prelude: list[bytes], arguments: list[bytes], object_format: ObjectFormat
) -> Question | None:
    """Return a question for a pack, of somebody who has nothing and is done with saying so."""
    wants: set[str] = set()
    words: set[bytes] = set()
    once: list[bytes] = []
    for line in arguments:
        oid = line[5:].decode("ascii", "replace") if line.startswith(b"want ") else ""
        if object_format.is_oid(oid):
            wants.add(oid)
        elif line in _FETCH_WORDS:
            words.add(line)
        elif _DEPTH.match(line) or _FILTER.match(line):
            once.append(line)
        else:
            return None
    names = [line.partition(b" ")[0] for line in once]
    if not wants or b"done" not in words or len(set(names)) < len(names):
        return None
    ordered = tuple(sorted(wants))
    # Nothing is thin that builds on nothing.
    asked = [b"no-progress", *(word for word in _FETCH_WORDS[2:4] if word in words)]
    asked += [*sorted(once), *(b"want " + oid.encode("ascii") for oid in ordered), b"done"]
    return Question(
        Kind.PACK,
        _encode(prelude, asked),
        ordered,
        with_tags=b"include-tag" in words,
        of_one_commit=once == [b"deepen 1"],
        is_full=not once,
    )


def _encode(prelude: list[bytes], arguments: list[bytes]) -> bytes:
    """Return a request in the one form that questions have."""
    delimiter = pktline.encode_special(pktline.DELIM)
    framed = [pktline.encode(line + b"\n") for line in prelude]
    return b"".join(framed) + delimiter + pktline.encode_lines([a + b"\n" for a in arguments])
