"""The messages of ``mirror-sync``, each a frozen `Struct` that can write and read itself.

For ``session`` and the node; pure. Each message is one pkt-line; ``encode`` gives its payload with
LF. ``Receive*`` messages announce raw bytes, which follow their packet directly.

Rules: parts are numbered from 0 in this program; ``parts`` converts. Unknown lines become
``Unknown`` and are skipped; a known line that breaks grammar or limits is a MessageError. Must not
know what was asked before: that is the session's. Source: docs/protocol/mirrorsync.md, mirror-sync.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from msgspec import Struct

from gittorrent.ids import ManifestId, PushId
from gittorrent.shapes import WHOLE, Shape, parse_shape
from gittorrent.wire.fields import MessageError, Words, clean_reason, encode_words
from gittorrent.wire.limits import (
    MAX_BUSY_SECONDS,
    MAX_CHECKPOINT_NUMBER,
    MAX_MANIFEST_BYTES,
    MAX_PACK_BYTES,
    MAX_PUSH_BYTES,
)
from gittorrent.wire.live import FetchPack as FetchPack
from gittorrent.wire.live import FreshLine as FreshLine
from gittorrent.wire.live import MissingPack as MissingPack
from gittorrent.wire.live import ReceivePack as ReceivePack
from gittorrent.wire.live import SendPushes as SendPushes
from gittorrent.wire.live import SentPush as SentPush
from gittorrent.wire.live import (
    parse_fetch_pack,
    parse_fresh_line,
    parse_missing_pack,
    parse_receive_pack,
    parse_send_pushes,
    parse_sent_push,
)
from gittorrent.wire.log_lines import EndLog as EndLog
from gittorrent.wire.log_lines import FetchLog as FetchLog
from gittorrent.wire.log_lines import MissingLog as MissingLog
from gittorrent.wire.log_lines import ReceiveLog as ReceiveLog
from gittorrent.wire.log_lines import parse_fetch_log, parse_receive_log
from gittorrent.wire.mirrorlist import MirrorEntry
from gittorrent.wire.parts import CancelParts as CancelParts
from gittorrent.wire.parts import FetchParts as FetchParts
from gittorrent.wire.parts import MissingParts as MissingParts
from gittorrent.wire.parts import PartRun as PartRun
from gittorrent.wire.parts import QueuedParts as QueuedParts
from gittorrent.wire.parts import ReceivePart as ReceivePart
from gittorrent.wire.parts import WrongParts as WrongParts
from gittorrent.wire.parts import parse_fetch_parts, parse_receive_part, parse_run
from gittorrent.wire.reelname import ReelName, parse_bitmap_word

VERSION = 1
"""The version of mirror-sync this program speaks."""

MAX_VERSION = 9999
"""The highest version number that is still read, so that it can be named when refused."""

ALIVE_LINE = b"alive\n"
"""Says only that the sender is there; readers skip it like any keyword they do not know."""


class Held(Enum):
    """Stands in for a bitmap when nothing is missing."""

    ALL = "all"


ALL = Held.ALL


class Unknown(Struct, frozen=True):
    """A line whose keyword this program does not know; to be skipped."""

    line: bytes


class Ready(Struct, frozen=True):
    """Opens the conversation: the version spoken, and who speaks (an opaque id)."""

    version: int
    node_id: str

    def encode(self) -> bytes:
        return encode_words("mirror-sync ready", self.version, self.node_id)


class HavePush(Struct, frozen=True):
    """Tells that the sender has ``push``, which its newest checkpoint has not taken.

    ``key`` made it, if that is known.
    """

    push: PushId
    key: str | None = None

    def encode(self) -> bytes:
        return encode_words(
            "have push", self.push, *(() if self.key is None else ("auth", self.key))
        )


class HaveCheckpoint(Struct, frozen=True):
    """Tells of the newest checkpoint that the sender's log has adopted, and its number."""

    checkpoint: PushId
    number: int

    def encode(self) -> bytes:
        return encode_words("have checkpoint", self.checkpoint, self.number)


class FetchPush(Struct, frozen=True):
    """Asks for one push object; answered by ReceivePush or MissingPush."""

    push: PushId

    def encode(self) -> bytes:
        return encode_words("fetch push", self.push)


class ReceivePush(Struct, frozen=True):
    """Announces a push object of ``size`` raw bytes."""

    push: PushId
    size: int

    def encode(self) -> bytes:
        return encode_words("receive push", self.push, "size", self.size)


class WantBundle(Struct, frozen=True):
    """Asks who has a reel; answered by any number of HaveBundle and then EndWant.

    ``shapes``: reels of other shapes than the whole are asked for, too; older readers skip that.
    """

    reel: ReelName
    shapes: bool = False

    def encode(self) -> bytes:
        return encode_words("want bundle", self.reel, *(("shapes",) if self.shapes else ()))


class HaveBundle(Struct, frozen=True):
    """Tells which parts of a reel's pack the sender has; asked for or not.

    ``pack_size``: bytes. ``parts``: ALL, or a packed bitmap whose fit to the number of parts is
    still to be checked with ``reelname.check_bitmap`` once the manifest is known. Of a reel of
    another ``shape`` than the whole it speaks in a line that older readers skip.
    """

    reel: ReelName
    manifest: ManifestId
    pack_size: int
    parts: Held | bytes
    shape: Shape = WHOLE

    def encode(self) -> bytes:
        held = self.parts.value if isinstance(self.parts, Held) else self.parts.hex()
        words = (self.reel, self.manifest, self.pack_size, held)
        if self.shape == WHOLE:
            return encode_words("have bundle", *words)
        return encode_words("have shape", self.shape.word, *words)


class EndWant(Struct, frozen=True):
    """Ends the answer to WantBundle."""

    reel: ReelName

    def encode(self) -> bytes:
        return encode_words("end want", self.reel)


class FetchManifest(Struct, frozen=True):
    """Asks for a manifest; answered by ReceiveManifest or MissingManifest."""

    manifest: ManifestId

    def encode(self) -> bytes:
        return encode_words("fetch manifest", self.manifest)


class ReceiveManifest(Struct, frozen=True):
    """Announces a manifest of ``size`` raw bytes, signature included."""

    manifest: ManifestId
    size: int

    def encode(self) -> bytes:
        return encode_words("receive manifest", self.manifest, "size", self.size)


class MissingPush(Struct, frozen=True):
    """Answers FetchPush: it is not here; no offence."""

    push: PushId

    def encode(self) -> bytes:
        return encode_words("missing push", self.push)


class MissingManifest(Struct, frozen=True):
    """Answers FetchManifest: it is not here; no offence."""

    manifest: ManifestId

    def encode(self) -> bytes:
        return encode_words("missing manifest", self.manifest)


class Try(Struct, frozen=True):
    """Tells of another mirror (peer exchange)."""

    entry: MirrorEntry

    def encode(self) -> bytes:
        return self.entry.encode()


class Busy(Struct, frozen=True):
    """Asks for nothing new to be asked for ``seconds``; what was asked before still stands."""

    seconds: int

    def encode(self) -> bytes:
        return encode_words("busy", self.seconds)


class Bye(Struct, frozen=True):
    """Ends the conversation; ``reason`` is for people and may be empty."""

    reason: str = ""

    def encode(self) -> bytes:
        """Write the line, with the reason made safe."""
        return encode_words("bye", *filter(None, [clean_reason(self.reason)]))


Question = FetchPush | FetchPack | FetchLog | WantBundle | FetchManifest | FetchParts
"""Messages that call for an answer."""

Answer = (
    ReceivePush | ReceiveLog | ReceivePack | EndLog | EndWant | ReceiveManifest | ReceivePart
    | MissingPush | MissingPack | MissingLog | MissingManifest | MissingParts
)  # fmt: skip
"""Messages that are an offence unless they were asked for."""

Announcement = ReceivePush | ReceiveLog | ReceivePack | ReceiveManifest | ReceivePart | SentPush
"""Messages that raw bytes follow."""

News = HavePush | HaveCheckpoint | FreshLine | SendPushes | SentPush
"""Messages that tell of a log, on live conversations."""

Message = (
    Ready
    | HavePush
    | HaveCheckpoint
    | FreshLine
    | SendPushes
    | SentPush
    | HaveBundle
    | CancelParts
    | WrongParts
    | QueuedParts
    | Try
    | Busy
    | Bye
    | Question
    | Answer
)


def _have_push(words: Words) -> HavePush | SentPush:
    push = words.push_id()
    if words.peek() == "size":
        return parse_sent_push(push, words)
    return HavePush(push, words.key() if words.optional("auth") else None)


def _have_checkpoint(words: Words) -> HaveCheckpoint:
    return HaveCheckpoint(words.push_id(), words.number("number", 1, MAX_CHECKPOINT_NUMBER))


def _have_shape(words: Words) -> HaveBundle | None:
    """Read what follows ``have shape``; None for a shape that is none of ours."""
    shape = parse_shape(words.take("shape"))
    if shape is None:
        return None
    said = _have_bundle(words, shape)
    if shape.commit is not None and len(shape.commit) != len(said.reel.end):
        raise MessageError("tip and reel of unlike formats")
    return said


def _have_bundle(words: Words, shape: Shape = WHOLE) -> HaveBundle:
    reel = ReelName.parse(words.take("reel"))
    manifest = words.manifest_id()
    size = words.number("pack size", 1, MAX_PACK_BYTES)
    held = words.take("part bitmap")
    parts = ALL if held == ALL.value else parse_bitmap_word(held)
    return HaveBundle(reel, manifest, size, parts, shape)


def _ready(words: Words) -> Ready:
    return Ready(words.number("version", 1, MAX_VERSION), words.node_id())


def _reel(words: Words) -> ReelName:
    return ReelName.parse(words.take("reel"))


_PARSERS: dict[tuple[str, str], Callable[[Words], Message | None]] = {
    ("mirror-sync", "ready"): _ready,
    ("fetch", "pack"): parse_fetch_pack,
    ("receive", "pack"): parse_receive_pack,
    ("missing", "pack"): parse_missing_pack,
    ("have", "push"): _have_push,
    ("send", "pushes"): parse_send_pushes,
    ("have", "checkpoint"): _have_checkpoint,
    ("have", "bundle"): _have_bundle,
    ("have", "shape"): _have_shape,
    ("want", "bundle"): lambda w: WantBundle(_reel(w), w.optional("shapes")),
    ("end", "want"): lambda w: EndWant(_reel(w)),
    ("end", "log"): lambda w: EndLog(w.push_id()),
    ("fetch", "push"): lambda w: FetchPush(w.push_id()),
    ("fetch", "log"): parse_fetch_log,
    ("fetch", "manifest"): lambda w: FetchManifest(w.manifest_id()),
    ("fetch", "bundle"): parse_fetch_parts,
    ("cancel", "bundle"): lambda w: CancelParts(*parse_run(w)),
    ("queued", "bundle"): lambda w: QueuedParts(*parse_run(w)),
    ("wrong", "bundle"): lambda w: WrongParts(*parse_run(w)),
    ("receive", "log"): parse_receive_log,
    ("receive", "push"): lambda w: ReceivePush(w.push_id(), w.size(MAX_PUSH_BYTES)),
    ("receive", "manifest"): lambda w: ReceiveManifest(w.manifest_id(), w.size(MAX_MANIFEST_BYTES)),
    ("receive", "bundle"): parse_receive_part,
    ("missing", "push"): lambda w: MissingPush(w.push_id()),
    ("missing", "log"): lambda w: MissingLog(w.push_id()),
    ("missing", "manifest"): lambda w: MissingManifest(w.manifest_id()),
    ("missing", "bundle"): lambda w: MissingParts(*parse_run(w)),
}

_SINGLE_PARSERS: dict[str, Callable[[Words], Message]] = {
    "fresh": parse_fresh_line,
    "try": lambda w: Try(MirrorEntry.parse(w)),
    "busy": lambda w: Busy(w.number("seconds", 0, MAX_BUSY_SECONDS)),
    "bye": lambda w: Bye(clean_reason(w.rest())),
}


def parse_message(line: bytes) -> Message | Unknown:
    """Read one line of the conversation.

    ``line``: the payload of one pkt-line, with or without LF. Raises MessageError when a known
    line breaks grammar or limits. Source: docs/protocol/mirrorsync.md, mirror-sync.
    """
    words = Words(line)
    keyword = words.peek()
    if not keyword:
        return Unknown(line)
    words.take("keyword")
    single = _SINGLE_PARSERS.get(keyword)
    if single is not None:
        return single(words)
    parser = _PARSERS.get((keyword, words.peek() or ""))
    if parser is None:
        return Unknown(line)
    words.take("noun")
    message = parser(words)
    return Unknown(line) if message is None else message
