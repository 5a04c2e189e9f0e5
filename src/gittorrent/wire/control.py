"""What helpers and the node of one machine say to each other over the node's control socket.

For the node and for those who ask it; pure. One request for each connection, one line each way at
a time::

    node    gittorrent-control 1
    helper  fetch <repository id> <head> <base, or -> <url>
    node    phase <text> | note <text>
    node    mirror <rate> <parts> <bytes> <url> [<fault>]
    node    caller <rate> <parts> <bytes> <address:port> [<fault>]
    node    progress <manifest id> <parts> <total> <size> <received>
    node    alive
    node    at <directory>                                         any number of times
    node    done <seconds>
    helper  keep <seconds, or 0> <repository id> <url> <directory>
    helper  follow <name, or -> <url>
    helper  look-at <name>
    node    taken <process id>                                     once, before what follows
    node    hint <text> | failed <exit code> <reason>
    helper  reload
    node    problem <text>                                         any number of times
    helper  converse <repository id> <IP address, or -> <key>...    after done, mirror-sync
    helper  find <repository id>
    node    place <lan or dht> <IP address> <port>                 any number of times
    node    no <reason>

``mirror`` lines, and ``caller`` lines of peers that called, speak of the ``progress`` line that
follows. Texts, faults and reasons run to the
end of the line; directories are percent-encoded, so that any name fits. Words, numbers and ids are
as in MirrorSync (docs/protocol/mirrorsync.md, Lines).

Rules: a line has at most `MAX_LINE` bytes with its LF; a line that is known and malformed is an
error, an unknown answer is skipped, an unknown request refused.
"""

from __future__ import annotations

from urllib.parse import quote_from_bytes, unquote_to_bytes

from msgspec import Struct

from gittorrent.ids import ManifestId, PushId, RepositoryId, is_repository_id
from gittorrent.wire.fields import MessageError, Words, clean_reason, encode_words, shown
from gittorrent.wire.limits import MAX_PACK_BYTES, MAX_PARTS
from gittorrent.wire.urls import UrlError, address_class

VERSION = 1
"""Of this protocol; an end that hears another number uses itself, or nobody."""

MAX_LINE = 16 << 10
"""Bytes of a line: the longest path, all of it percent-encoded, and the words before it."""

MAX_SAID = 2000
"""Characters of what the user is to read: what git says of a server may be several lines."""

MAX_DIRECTORY = 4096
"""Bytes of a directory's name, as the kernel has it."""

MAX_KEEP_SECONDS = 366 * 24 * 3600
"""Longest time anybody can ask something to be kept for."""

_NOTHING = "-"


class Greeting(Struct, frozen=True):
    """The node's first line: it is there and speaks this version."""

    version: int = VERSION

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("gittorrent-control", self.version)


class Fetch(Struct, frozen=True):
    """Asks the node to have what leads a repository from ``base`` to ``head``.

    Args:
        repository: its id.
        head: log head that the asker has verified.
        base: newest push whose objects the asker has; None for nothing.
        url: a ``gittorrent`` URL of the mirror to begin with.
    """

    repository: RepositoryId
    head: PushId
    base: PushId | None
    url: str

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("fetch", self.repository, self.head, self.base or _NOTHING, self.url)


class Keep(Struct, frozen=True):
    """Hands the reels of a clone over to the node.

    Args:
        seconds: to keep them; 0 for as long as the node keeps things.
        repository: its id.
        url: a ``gittorrent`` URL of the mirror it came from.
        directory: git directory of the clone, as the kernel names it.
    """

    seconds: int
    repository: RepositoryId
    url: str
    directory: bytes

    def encode(self) -> bytes:
        """Write the line."""
        where = quote_from_bytes(self.directory)
        return encode_words("keep", self.seconds, self.repository, self.url, where)


class Follow(Struct, frozen=True):
    """Asks the node to carry a repository, and to follow it from then on.

    Args:
        url: where it comes from.
        name: to carry it under; empty for the policy's.
    """

    url: str
    name: str = ""

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("follow", self.name or _NOTHING, self.url)


class LookAt(Struct, frozen=True):
    """Asks the node to look at once at what it tracks under a name."""

    name: str

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("look-at", self.name)


class Reload(Struct, frozen=True):
    """Asks the node to read its configuration again, and to go by it."""

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("reload")


class Find(Struct, frozen=True):
    """Asks the node to look for mirrors of a repository: `PlaceLine` for each, and then `Done`.

    Args:
        repository: its id.
    """

    repository: RepositoryId

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("find", self.repository)


class Converse(Struct, frozen=True):
    """Hands a conversation over that began elsewhere: after `Done` its bytes pass here.

    Args:
        repository: that it is about.
        address: IP address of the caller; empty where that is not known.
        keys: names of the SSH keys that it proved to have.
    """

    repository: RepositoryId
    address: str
    keys: tuple[str, ...]

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("converse", self.repository, self.address or _NOTHING, *self.keys)


class PlaceLine(Struct, frozen=True):
    """Somewhere where a mirror may be; see `gittorrent.discovery.ports.Place`."""

    way: str
    address: str
    port: int

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("place", self.way, self.address, self.port)


class MirrorLine(Struct, frozen=True):
    """What came from one mirror, as part of the next `Progress`; see `MirrorFigures`."""

    rate: int
    parts: int
    received: int
    url: str
    fault: str = ""
    called_us: bool = False

    def encode(self) -> bytes:
        """Write the line."""
        fault = [clean_reason(self.fault)] if self.fault else []
        keyword = "caller" if self.called_us else "mirror"
        return encode_words(keyword, self.rate, self.parts, self.received, self.url, *fault)


class Progress(Struct, frozen=True):
    """How far the download of a reel is: its manifest, parts, bytes of the pack and received."""

    manifest: ManifestId
    parts: int
    total: int
    size: int
    received: int

    def encode(self) -> bytes:
        """Write the line."""
        words = (self.manifest, self.parts, self.total, self.size, self.received)
        return encode_words("progress", *words)


class Phase(Struct, frozen=True):
    """What is done now that parts do not arrive."""

    text: str

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("phase", clean_reason(self.text, MAX_SAID))


class Note(Struct, frozen=True):
    """Something worth a line to the user."""

    text: str

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("note", clean_reason(self.text, MAX_SAID))


class Alive(Struct, frozen=True):
    """Nothing; only to be heard."""

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("alive")


class At(Struct, frozen=True):
    """A git directory in which the node has reels of the repository."""

    directory: bytes

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("at", quote_from_bytes(self.directory))


class Done(Struct, frozen=True):
    """The request is fulfilled, and what it brought is kept for so many seconds."""

    seconds: int

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("done", self.seconds)


class Taken(Struct, frozen=True):
    """The node follows the repository from now on, whether or not anybody waits."""

    pid: int

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("taken", self.pid)


class Hint(Struct, frozen=True):
    """What to do about the `Failed` that comes next."""

    text: str

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("hint", clean_reason(self.text, MAX_SAID))


class Failed(Struct, frozen=True):
    """The request came to nothing, for a reason with an exit code of its own."""

    status: int
    reason: str

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("failed", self.status, clean_reason(self.reason, MAX_SAID))


class Problem(Struct, frozen=True):
    """Something is wrong with the configuration, and the node goes on by the former one."""

    text: str

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("problem", clean_reason(self.text, MAX_SAID))


class No(Struct, frozen=True):
    """The node does not do it."""

    reason: str

    def encode(self) -> bytes:
        """Write the line."""
        return encode_words("no", clean_reason(self.reason, MAX_SAID))


Request = Fetch | Keep | Follow | LookAt | Reload | Find | Converse
Answer = (
    Greeting | PlaceLine | MirrorLine | Progress | Phase | Note | Alive | At | Done | No
    | Taken | Hint | Failed | Problem
)  # fmt: skip


def parse_request(line: bytes) -> Request:
    """Read a helper's line.

    Raises:
        MessageError: it is none, or malformed.
    """
    words = Words(_bounded(line))
    keyword = words.take("request")
    if keyword == "fetch":
        repository, head = _repository(words), words.push_id("head")
        base = None if words.optional(_NOTHING) else words.push_id("base")
        return Fetch(repository, head, base, words.url())
    if keyword == "keep":
        seconds = words.number("seconds", 0, MAX_KEEP_SECONDS)
        return Keep(seconds, _repository(words), words.url(), _directory(words))
    if keyword == "follow":
        name = "" if words.optional(_NOTHING) else words.take("name")
        return Follow(words.url(), name)
    if keyword == "look-at":
        return LookAt(words.take("name"))
    if keyword == "reload":
        return Reload()
    if keyword == "find":
        return Find(_repository(words))
    if keyword == "converse":
        return _converse(words)
    raise MessageError(f"unknown request {shown(keyword)}")


def parse_answer(line: bytes) -> Answer | None:
    """Read a node's line; None if it says something that is not known here.

    Raises:
        ProtocolError: it is malformed.
    """
    words = Words(_bounded(line))
    keyword = words.take("answer")
    if keyword == "gittorrent-control":
        return Greeting(words.number("version", 1, 1 << 31))
    if keyword in ("mirror", "caller"):
        rate = words.number("rate", 0, MAX_PACK_BYTES)
        parts = words.number("number of parts", 0, MAX_PARTS)
        received = words.number("bytes", 0, MAX_PACK_BYTES)
        called_us = keyword == "caller"
        place = _caller(words) if called_us else words.url()
        return MirrorLine(rate, parts, received, place, clean_reason(words.rest()), called_us)
    if keyword == "place":
        return _place(words)
    if keyword == "progress":
        return _progress(words)
    if keyword == "at":
        return At(_directory(words))
    if keyword == "done":
        return Done(words.number("seconds", 0, MAX_KEEP_SECONDS))
    if keyword == "taken":
        return Taken(words.number("process id", 1, 1 << 31))
    if keyword == "failed":
        return Failed(words.number("exit code", 1, 255), clean_reason(words.rest(), MAX_SAID))
    text = clean_reason(words.rest(), MAX_SAID)
    texts: dict[str, Answer] = {
        "phase": Phase(text),
        "note": Note(text),
        "no": No(text),
        "hint": Hint(text),
        "problem": Problem(text),
        "alive": Alive(),
    }
    return texts.get(keyword)


def _converse(words: Words) -> Converse:
    repository, keys = _repository(words), []
    address = "" if words.optional(_NOTHING) else _address(words)
    while words.peek() is not None:
        keys.append(words.key())
    return Converse(repository, address, tuple(keys))


def _address(words: Words) -> str:
    """Take an IP address."""
    address = words.take("address")
    try:
        address_class(address)
    except UrlError as error:
        raise MessageError(str(error)) from error
    return address


def _place(words: Words) -> PlaceLine:
    way, address = words.take("way"), _address(words)
    return PlaceLine(way, address, words.number("port", 1, 65535))


def _progress(words: Words) -> Progress:
    manifest = words.manifest_id()
    parts = words.number("number of parts", 0, MAX_PARTS)
    total = words.number("number of all parts", max(1, parts), MAX_PARTS)
    size = words.number("size of the pack", 1, MAX_PACK_BYTES)
    return Progress(manifest, parts, total, size, words.number("bytes", 0, MAX_PACK_BYTES))


def _bounded(line: bytes) -> bytes:
    if len(line) > MAX_LINE or b"\0" in line or b"\r" in line or b"\n" in line[:-1]:
        raise MessageError(f"not one line of at most {MAX_LINE} bytes: {shown(line)}")
    return line


def _repository(words: Words) -> RepositoryId:
    text = words.take("repository id")
    if not is_repository_id(text):
        raise MessageError(f"not a repository id: {shown(text)}")
    return RepositoryId(text)


def _caller(words: Words) -> str:
    """Take ``ADDRESS:PORT``; it is shown, and nobody connects to it."""
    text = words.take("address")
    address, _, port = text.rpartition(":")
    if not (address and text.isprintable() and port.isascii() and port.isdigit()):
        raise MessageError(f"not ADDRESS:PORT: {shown(text)}")
    return text


def _directory(words: Words) -> bytes:
    """Take a directory; absolute, and written in the one way that we write it."""
    text = words.take("directory")
    found = unquote_to_bytes(text)
    if not found.startswith(b"/") or b"\0" in found or len(found) > MAX_DIRECTORY:
        raise MessageError(f"not an absolute directory: {shown(text)}")
    if quote_from_bytes(found) != text:
        raise MessageError(f"directory is not percent-encoded as it should be: {shown(text)}")
    return found
