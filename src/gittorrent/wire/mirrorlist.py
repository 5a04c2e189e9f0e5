"""The answer of ``mirror-list``: who else carries a repository, and how far its log goes.

For the node, over git:// and ssh as pkt-lines and over HTTP as lines of text; pure. Tracks, while
reading, the lines seen so far against their limits.

Rules: ``repo`` comes once, ``latest``, ``pushes``, ``fresh`` and ``time`` at most once; unknown
keywords and trailing words are skipped. What is listed is hearsay: URLs are only words here
(``urls`` judges them) and ``auth`` lines are for people, never for decisions.
Source: docs/protocol/mirrorsync.md, mirror-list.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from enum import Enum

from msgspec import Struct

from gittorrent.ids import PushId, RepositoryId, is_repository_id, is_sha256
from gittorrent.wire import pktline
from gittorrent.wire.fields import (
    MessageError,
    Words,
    parse_key,
    raise_if_refused,
    shown,
    strip_newline,
)
from gittorrent.wire.limits import (
    MAX_AUTH_LINES,
    MAX_LIST_BYTES,
    MAX_LIST_LINES,
    MAX_REF_PATTERN,
    MAX_SECONDS,
    MAX_TRY_LINES,
    MAX_UNTAKEN,
    MAX_VALID_SECONDS,
)
from gittorrent.wire.live import FreshLine, parse_fresh_line


class MirrorState(Enum):
    """How a mirror was found when it was last checked."""

    CURRENT = "current"
    STALE = "stale"
    PARTIAL = "partial"


class MirrorEntry(Struct, frozen=True):
    """One mirror somebody told us of: its URL, for how many seconds, and in which state."""

    url: str
    valid: int
    state: MirrorState

    def encode(self) -> bytes:
        """Write the ``try`` line, with LF."""
        return f"try {self.url} {self.valid} {self.state.value}\n".encode()

    @classmethod
    def parse(cls, words: Words) -> MirrorEntry:
        """Read what follows the word ``try``; raises MessageError."""
        url = words.url()
        valid = words.number("validity in seconds", 1, MAX_VALID_SECONDS)
        state = words.take("state")
        try:
            return cls(url, valid, MirrorState(state))
        except ValueError:
            raise MessageError(f"unknown mirror state {shown(state)}") from None


class AuthLine(Struct, frozen=True):
    """A hint at the policy: refs that match ``pattern`` may be changed by ``key``."""

    pattern: bytes
    key: str

    def encode(self) -> bytes:
        """Write the ``auth`` line, with LF."""
        return b"auth " + self.pattern + b" " + self.key.encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> AuthLine:
        """Read a whole ``auth`` line, byte by byte since ref names need not be UTF-8."""
        words = strip_newline(line).split(b" ")
        if len(words) < 3:
            raise MessageError(f"pattern or key is missing in {shown(line)}")
        pattern = words[1]
        if not 0 < len(pattern) <= MAX_REF_PATTERN or any(b < 0x21 or b == 0x7F for b in pattern):
            raise MessageError(f"not a ref pattern: {shown(pattern)}")
        return cls(pattern, parse_key(words[2].decode("utf-8", "replace")))


class Untaken(Struct, frozen=True):
    """Which entries a mirror has that its newest checkpoint neither took nor names.

    These are the pushes that it shows beyond it; and where it has more policies than that one
    names, all policies. ``digest``: SHA-256 of their ids, sorted, each with LF. Who has the same
    asks for none.
    """

    count: int
    digest: str

    @classmethod
    def of(cls, pushes: Collection[PushId]) -> Untaken:
        """Return what is said of some pushes, each there once."""
        text = "".join(f"{push}\n" for push in sorted(pushes))
        return cls(len(pushes), hashlib.sha256(text.encode("ascii")).hexdigest())

    def encode(self) -> bytes:
        """Write the ``pushes`` line, with LF."""
        return f"pushes {self.count} {self.digest}\n".encode("ascii")

    @classmethod
    def parse(cls, words: Words) -> Untaken:
        """Read what follows the word ``pushes``; raises MessageError."""
        count = words.number("number of pushes", 0, MAX_UNTAKEN)
        digest = words.take("digest")
        if not is_sha256(digest):
            raise MessageError(f"digest is no SHA-256: {shown(digest)}")
        return cls(count, digest)


NONE_UNTAKEN = Untaken.of(())
"""What a list without a ``pushes`` line stands for."""


class MirrorList(Struct, frozen=True):
    """What a mirror answers to ``mirror-list``.

    ``latest``: the newest checkpoint; None before the first publication. ``untaken``: the pushes
    beyond it. ``fresh``: the keeper's newest word. ``time``: what time it is there, in seconds
    since 1970; None from files, which are of any time.
    """

    repository_id: RepositoryId
    auth: tuple[AuthLine, ...] = ()
    latest: PushId | None = None
    mirrors: tuple[MirrorEntry, ...] = ()
    untaken: Untaken = NONE_UNTAKEN
    fresh: FreshLine | None = None
    time: int | None = None

    def encode_lines(self) -> list[bytes]:
        """Write one pkt-line payload per line, each with LF, without the closing flush."""
        lines = [f"repo {self.repository_id}\n".encode()]
        lines += [auth.encode() for auth in self.auth]
        if self.latest is not None:
            lines.append(f"latest {self.latest}\n".encode())
        if self.untaken != NONE_UNTAKEN:
            lines.append(self.untaken.encode())
        if self.fresh is not None:
            lines.append(self.fresh.encode())
        if self.time is not None:
            lines.append(f"time {self.time}\n".encode())
        return lines + [mirror.encode() for mirror in self.mirrors]

    def encode_packets(self) -> bytes:
        """Write the answer as it goes over git:// and ssh: pkt-lines and a flush."""
        return pktline.encode_lines(self.encode_lines())

    def encode_text(self) -> bytes:
        """Write the answer as it goes over HTTP: lines ended by LF, no framing."""
        return b"".join(self.encode_lines())


class MirrorListParser:
    """Reads a mirror list line by line, so that an endless one is cut off early."""

    def __init__(self) -> None:
        self._lines = 0
        self._repository_id: RepositoryId | None = None
        self._latest: PushId | None = None
        self._untaken: Untaken | None = None
        self._fresh: FreshLine | None = None
        self._time: int | None = None
        self._auth: list[AuthLine] = []
        self._mirrors: list[MirrorEntry] = []

    def line(self, line: bytes) -> None:
        """Take in the next line, with or without LF.

        Raises MessageError for a broken line or limit, RemoteRefusal for an ``ERR`` line.
        """
        raise_if_refused(line)
        self._lines += 1
        if self._lines > MAX_LIST_LINES:
            raise MessageError(f"mirror list of more than {MAX_LIST_LINES} lines")
        keyword = strip_newline(line).partition(b" ")[0]
        if keyword == b"auth":
            self._take_auth(line)
        elif keyword in (b"repo", b"latest", b"pushes", b"fresh", b"time", b"try"):
            words = Words(line)
            words.literal(keyword.decode())
            if keyword == b"repo":
                self._take_repo(words)
            elif keyword == b"latest":
                self._take_latest(words)
            elif keyword == b"pushes":
                self._take_untaken(words)
            elif keyword == b"fresh":
                self._take_fresh(words)
            elif keyword == b"time":
                self._take_time(words)
            else:
                self._take_try(words)

    def finish(self) -> MirrorList:
        """Return the list after its last line; raises MessageError when ``repo`` is missing."""
        if self._repository_id is None:
            raise MessageError("mirror list without a repo line")
        return MirrorList(
            self._repository_id,
            tuple(self._auth),
            self._latest,
            tuple(self._mirrors),
            self._untaken or NONE_UNTAKEN,
            self._fresh,
            self._time,
        )

    def _take_repo(self, words: Words) -> None:
        text = words.take("repository id")
        if self._repository_id is not None:
            raise MessageError("mirror list with two repo lines")
        if not is_repository_id(text):
            raise MessageError(f"not a repository id: {shown(text)}")
        self._repository_id = RepositoryId(text)

    def _take_latest(self, words: Words) -> None:
        if self._latest is not None:
            raise MessageError("mirror list with two latest lines")
        self._latest = words.push_id()

    def _take_untaken(self, words: Words) -> None:
        if self._untaken is not None:
            raise MessageError("mirror list with two pushes lines")
        self._untaken = Untaken.parse(words)

    def _take_fresh(self, words: Words) -> None:
        if self._fresh is not None:
            raise MessageError("mirror list with two fresh lines")
        self._fresh = parse_fresh_line(words)

    def _take_time(self, words: Words) -> None:
        if self._time is not None:
            raise MessageError("mirror list with two time lines")
        self._time = words.number("time", 0, MAX_SECONDS)

    def _take_try(self, words: Words) -> None:
        if len(self._mirrors) >= MAX_TRY_LINES:
            raise MessageError(f"mirror list with more than {MAX_TRY_LINES} mirrors")
        self._mirrors.append(MirrorEntry.parse(words))

    def _take_auth(self, line: bytes) -> None:
        if len(self._auth) >= MAX_AUTH_LINES:
            raise MessageError(f"mirror list with more than {MAX_AUTH_LINES} auth lines")
        self._auth.append(AuthLine.parse(line))


def parse_lines(lines: Iterable[bytes]) -> MirrorList:
    """Read the pkt-line payloads of a mirror list, without its flush.

    Raises MessageError, or RemoteRefusal when the peer answered ``ERR``. Source:
    docs/protocol/mirrorsync.md, mirror-list.
    """
    parser = MirrorListParser()
    for line in lines:
        parser.line(line)
    return parser.finish()


def parse_text(text: bytes) -> MirrorList:
    """Read a mirror list in its HTTP form; raises as ``parse_lines`` does."""
    return parse_lines(split_text(text))


def split_text(text: bytes) -> list[bytes]:
    """Cut a text form into lines, bounded by MAX_LIST_BYTES; raises MessageError beyond."""
    if len(text) > MAX_LIST_BYTES:
        raise MessageError(f"text of {len(text)} bytes; at most {MAX_LIST_BYTES} are allowed")
    return text.removesuffix(b"\n").split(b"\n") if text else []
