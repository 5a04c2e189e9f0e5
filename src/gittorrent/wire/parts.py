"""The messages of ``mirror-sync`` that name parts of a pack, and how parts are counted.

For ``messages``, which re-exports them; pure.

Rules: parts and runs of parts are numbered from 0 in this program and from 1 on the wire, and the
two meet in this module only; ``last`` belongs to the run; a run is bounded.
Source: docs/protocol/mirrorsync.md, mirror-sync.
"""

from __future__ import annotations

from msgspec import Struct

from gittorrent.ids import ManifestId
from gittorrent.wire.fields import MessageError, Words, encode_words, parse_number
from gittorrent.wire.limits import MAX_PART_BYTES, MAX_PARTS, MAX_PARTS_PER_REQUEST
from gittorrent.wire.reelname import ReelName


class PartRun(Struct, frozen=True):
    """Consecutive parts ``first`` to ``last``, counted from 0, of a pack of ``total`` parts."""

    reel: ReelName
    manifest: ManifestId
    first: int
    last: int
    total: int

    @property
    def indices(self) -> range:
        """The parts named, counted from 0."""
        return range(self.first, self.last + 1)

    def _encode(self, keyword: str, *more: object) -> bytes:
        first, last = self.first + 1, self.last + 1
        run = ("part", f"{first}/{self.total}")
        if first != last:
            run = ("parts", f"{first}-{last}/{self.total}")
        return encode_words(keyword, "bundle", self.reel, self.manifest, *run, *more)


class FetchParts(PartRun, frozen=True):
    """Asks for a run of parts; answered for each part by ReceivePart or MissingParts.

    Of a single part the first ``begun`` bytes may be left out: they came before.
    """

    begun: int = 0

    def encode(self) -> bytes:
        return self._encode("fetch", *_from(self.begun))


class CancelParts(PartRun, frozen=True):
    """Withdraws a question for parts; those already under way may still arrive."""

    def encode(self) -> bytes:
        return self._encode("cancel")


class MissingParts(PartRun, frozen=True):
    """Answers FetchParts: these parts are not here; no offence."""

    def encode(self) -> bytes:
        return self._encode("missing")


class WrongParts(PartRun, frozen=True):
    """Says that parts which came are not what the manifest says; asks for nothing."""

    def encode(self) -> bytes:
        return self._encode("wrong")


class QueuedParts(PartRun, frozen=True):
    """Says that parts which were asked for wait for their turn; asks for nothing."""

    def encode(self) -> bytes:
        return self._encode("queued")


class ReceivePart(Struct, frozen=True):
    """Announces part ``part``, counted from 0, of ``total``: ``size`` raw bytes of the pack.

    They are what follows the first ``begun`` bytes of the part, if so many were to be left out.
    """

    reel: ReelName
    manifest: ManifestId
    part: int
    total: int
    size: int
    begun: int = 0

    def encode(self) -> bytes:
        place = f"{self.part + 1}/{self.total}"
        size = ("size", self.size, *_from(self.begun))
        return encode_words("receive bundle", self.reel, self.manifest, "part", place, *size)


def _from(begun: int) -> tuple[object, ...]:
    """Return the words that leave the beginning of a part out."""
    return ("from", begun) if begun else ()


def _part_place(text: str, total: str) -> tuple[int, int]:
    """Read one part's number and their total; returns the part counted from 0, and the total."""
    number = parse_number(text, "part", 1, MAX_PARTS)
    parts = parse_number(total, "number of parts", 1, MAX_PARTS)
    if number > parts:
        raise MessageError(f"part {number} of only {parts}")
    return number - 1, parts


def parse_run(words: Words) -> tuple[ReelName, ManifestId, int, int, int]:
    """Read ``<reel> <manifest> part k/n`` or ``... parts a-b/n``; raises MessageError."""
    reel = ReelName.parse(words.take("reel"))
    manifest = words.manifest_id()
    kind = words.take("the word 'part' or 'parts'")
    run, _, total_text = words.take("run of parts").partition("/")
    low, dash, high = run.partition("-")
    if kind not in ("part", "parts") or (kind == "parts") != bool(dash):
        raise MessageError(f"neither 'part k/n' nor 'parts a-b/n' but {kind!a}")
    first, total = _part_place(low, total_text)
    last = _part_place(high, total_text)[0] if dash else first
    if not first <= last < first + MAX_PARTS_PER_REQUEST:
        raise MessageError(f"run of parts is backwards or exceeds {MAX_PARTS_PER_REQUEST}")
    return reel, manifest, first, last, total


def _parse_begun(words: Words) -> int:
    """Read ``from <bytes>`` if that follows."""
    if not words.optional("from"):
        return 0
    return words.number("beginning of a part", 1, MAX_PART_BYTES - 1)


def parse_fetch_parts(words: Words) -> FetchParts:
    """Read what follows ``fetch bundle``; raises MessageError."""
    reel, manifest, first, last, total = parse_run(words)
    begun = _parse_begun(words) if first == last else 0
    return FetchParts(reel, manifest, first, last, total, begun)


def parse_receive_part(words: Words) -> ReceivePart:
    """Read what follows ``receive bundle``; raises MessageError."""
    reel = ReelName.parse(words.take("reel"))
    manifest = words.manifest_id()
    words.literal("part")
    number, _, total_text = words.take("part").partition("/")
    part, total = _part_place(number, total_text)
    size = words.size(MAX_PART_BYTES)
    return ReceivePart(reel, manifest, part, total, size, _parse_begun(words))
