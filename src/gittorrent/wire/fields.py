"""The words of a message line, read strictly: numbers, ids, keys, URLs and reasons.

For the text parsers of ``wire``; pure. Tracks nothing but a position in one line.

Rules: words are parted by exactly one space; a number has no sign, no leading zero and a stated
range; ids are full length. Callers stop reading where their message ends, so unknown trailing words
are skipped without being looked at. Source: docs/protocol/mirrorsync.md, Lines.
"""

from __future__ import annotations

import re

from gittorrent.errors import ProtocolError
from gittorrent.ids import ManifestId, PushId, format_of, is_sha256
from gittorrent.printable import decoded, printable
from gittorrent.wire.limits import MAX_KEY, MAX_NODE_ID, MAX_REASON, MAX_URL

_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,18})\Z", re.ASCII)
_KEY = re.compile(r"[a-z][a-z0-9]*:[!-~]+\Z")
_NODE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9:+/=._-]*\Z")


BUSY = "busy"
"""Begins the reason of who turns a caller away for having too many."""


class MessageError(ProtocolError):
    """A line of text breaks the grammar or a limit."""


class RemoteRefusal(ProtocolError):
    """The peer answered ``ERR``; ``reason`` is its own account, made safe to show."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the other end refused: {reason}" if reason else "the other end refused",
            hint="check the path, or ask another mirror",
        )
        self.reason = reason


def is_busy(reason: str) -> bool:
    """Tell by a reason whether who refused has too much to do, and may soon serve the same."""
    return reason == BUSY or reason.startswith(f"{BUSY}:")


def clean_reason(text: str, most: int = MAX_REASON) -> str:
    """Make a stranger's words safe for a terminal: printable, one line, so many characters."""
    words = " ".join(text.split())
    return printable(words[:most])[:most].strip()


def shown(line: bytes | str) -> str:
    """Quote the start of a line for an error message."""
    text = line if isinstance(line, str) else line.decode("utf-8", "backslashreplace")
    text = text.removesuffix("\n")
    return ascii(text if len(text) <= 80 else text[:77] + "...")


def raise_if_refused(line: bytes) -> None:
    """Raise RemoteRefusal when ``line`` is an ``ERR`` line; git's own servers refuse that way."""
    if line == b"ERR" or line.startswith((b"ERR ", b"ERR\n")):
        raise RemoteRefusal(clean_reason(decoded(line[4:])))


def strip_newline(line: bytes) -> bytes:
    """Drop the one LF a line may end with."""
    return line.removesuffix(b"\n")


def parse_number(text: str, what: str, low: int, high: int) -> int:
    """Read a decimal number of ``low`` to ``high``; raises MessageError naming ``what``."""
    if _NUMBER.match(text) is None:
        raise MessageError(f"{what} is no plain decimal number: {shown(text)}")
    value = int(text)
    if not low <= value <= high:
        raise MessageError(f"{what} {value} is outside {low} to {high}")
    return value


def parse_push_id(text: str, what: str = "push id") -> PushId:
    """Read a full push id of 40 or 64 digits; raises MessageError naming ``what``."""
    if format_of(text) is None:
        raise MessageError(f"{what} is no full object id: {shown(text)}")
    return PushId(text)


def parse_manifest_id(text: str) -> ManifestId:
    """Read a manifest id of 64 digits; raises MessageError."""
    if not is_sha256(text):
        raise MessageError(f"manifest id is no SHA-256: {shown(text)}")
    return ManifestId(text)


def parse_key(text: str) -> str:
    """Read a key's name, ``<kind>:<fingerprint>``, of any kind; raises MessageError."""
    if len(text) > MAX_KEY or _KEY.match(text) is None:
        raise MessageError(f"not the name of a key: {shown(text)}")
    return text


def parse_node_id(text: str) -> str:
    """Read a node id, an opaque word; raises MessageError."""
    if len(text) > MAX_NODE_ID or _NODE_ID.match(text) is None:
        raise MessageError(f"not a node id: {shown(text)}")
    return text


def parse_url_word(text: str) -> str:
    """Read a URL as a word; whether it may be contacted is for ``urls`` to say."""
    if len(text.encode()) > MAX_URL:
        raise MessageError(f"URL of {len(text.encode())} bytes; at most {MAX_URL} are allowed")
    if "://" not in text or " " in text or not text.isprintable():
        raise MessageError(f"not a URL: {shown(text)}")
    return text


def encode_words(*words: object) -> bytes:
    """Write a line of words parted by single spaces, with LF."""
    return (" ".join(map(str, words)) + "\n").encode()


class Words:
    """A cursor over the words of one line; ``MessageError`` whenever a needed word is not there."""

    def __init__(self, line: bytes) -> None:
        self._line = line
        try:
            text = strip_newline(line).decode("utf-8")
        except UnicodeDecodeError:
            raise MessageError(f"line is not UTF-8: {shown(line)}") from None
        self._words = text.split(" ")
        self._at = 0

    def peek(self) -> str | None:
        """Return the next word without taking it; None at the end of the line."""
        return self._words[self._at] if self._at < len(self._words) else None

    def take(self, what: str) -> str:
        """Take the next word, which the grammar calls ``what``."""
        word = self.peek()
        if not word:
            raise MessageError(f"{what} is missing in {shown(self._line)}")
        self._at += 1
        return word

    def literal(self, word: str) -> None:
        """Take the next word, which must be ``word``."""
        if self.take(word) != word:
            raise MessageError(f"the word {word!r} is missing in {shown(self._line)}")

    def optional(self, word: str) -> bool:
        """Take the next word if it is ``word``, and tell whether it was."""
        found = self.peek() == word
        self._at += found
        return found

    def number(self, what: str, low: int, high: int) -> int:
        """Take a number of ``low`` to ``high``."""
        return parse_number(self.take(what), what, low, high)

    def size(self, limit: int) -> int:
        """Take the word ``size`` and a number of bytes from 1 to ``limit``."""
        self.literal("size")
        return self.number("size in bytes", 1, limit)

    def push_id(self, what: str = "push id") -> PushId:
        """Take a push id."""
        return parse_push_id(self.take(what), what)

    def manifest_id(self) -> ManifestId:
        """Take a manifest id."""
        return parse_manifest_id(self.take("manifest id"))

    def key(self) -> str:
        """Take the name of a key."""
        return parse_key(self.take("key"))

    def node_id(self) -> str:
        """Take a node id."""
        return parse_node_id(self.take("node id"))

    def url(self) -> str:
        """Take a URL."""
        return parse_url_word(self.take("URL"))

    def rest(self) -> str:
        """Take everything up to the end of the line."""
        rest = " ".join(self._words[self._at :])
        self._at = len(self._words)
        return rest
