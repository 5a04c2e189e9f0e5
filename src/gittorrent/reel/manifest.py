"""The manifest: signed text that lists a reel's segments and parts.

Pure. Canonical: the same reel of the same pushes gives the same text on every machine, so the
SHA-256 of the text before the signature is its id. Parsing is strict: what does not serialise
to the same bytes again is refused. Signatures are not judged here
(docs/protocol/reels.md, "Manifest").
"""

from __future__ import annotations

import hashlib

from msgspec import Struct

from gittorrent.errors import TrustError
from gittorrent.ids import (
    OBJECT_FORMATS,
    ManifestId,
    ObjectFormat,
    Oid,
    PushId,
    RepositoryId,
    is_repository_id,
    is_sha256,
)
from gittorrent.reel.pack_index import is_index_size
from gittorrent.reel.parts import part_count
from gittorrent.shapes import WHOLE, Shape, ShapeKind, parse_shape

MANIFEST_VERSION = 1

MAX_TEXT = 64 << 20
"""Bytes: room for the parts of a pack of half a terabyte; more is an attempt to fill memory."""

OTHER_BYTES = 256 << 10
"""Bytes of a manifest beside what grows with the pack: signature, figures of its segments."""

MAX_SEGMENTS = 1 << 12
"""A reel has about 16 segments; this leaves room for histories of huge single commits."""

MAX_PART_SIZE = 16 << 20
"""A part is held in memory until its digest is known."""

MIN_PART_SIZE = 1 << 12
"""Below this the digests outweigh what they protect."""

MAX_NUMBER = 1 << 50
"""No count or size beyond a petabyte is believed."""

MAX_OBJECTS = (1 << 32) - 1
"""Objects of a reel: what the header of a pack can count."""

_FIRST_LINE = f"gittorrent manifest {MANIFEST_VERSION}"


class ManifestError(TrustError):
    """A manifest's text is not one that this protocol allows."""


class Segment(Struct, frozen=True):
    """One segment of a reel pack.

    Args:
        offset: of its first entry in the reel pack, bytes.
        objects: entries it has.
        raw_size: sum of their uncompressed sizes, bytes.
        frontier: its commits that are no parent of another of its commits, sorted.
    """

    offset: int
    objects: int
    raw_size: int
    frontier: tuple[Oid, ...]


class Manifest(Struct, frozen=True):
    """What a reel pack consists of.

    Args:
        repository: whose reel it is.
        object_format: SHA-1 or SHA-256.
        start: push the reel starts after, None for the beginning of history.
        end: push whose refs the reel completes.
        encoder: version of the rules that made the bytes.
        target: raw bytes at which segments are cut.
        part_size: bytes.
        objects: entries in the pack.
        pack_size: bytes.
        pack_checksum: the pack's trailer, hexadecimal.
        segments: in order of offset.
        parts: SHA-256 of each part, hexadecimal.
        shape: which of the objects between the two pushes it has. Of a pack's index, sizes,
            checksum and parts are the index's, and there are no segments.
    """

    repository: RepositoryId
    object_format: ObjectFormat
    start: PushId | None
    end: PushId
    encoder: int
    target: int
    part_size: int
    objects: int
    pack_size: int
    pack_checksum: str
    segments: tuple[Segment, ...]
    parts: tuple[str, ...]
    shape: Shape = WHOLE

    def text(self) -> bytes:
        """Return the canonical text, which is what gets signed."""
        lines = [
            _FIRST_LINE,
            f"repository {self.repository}",
            f"object-format {self.object_format.name}",
            f"start {self.start or '-'}",
            f"end {self.end}",
            *(() if self.shape == WHOLE else (f"shape {self.shape.words}",)),
            f"encoder {self.encoder}",
            f"target {self.target}",
            f"part-size {self.part_size}",
            f"objects {self.objects}",
            f"pack-size {self.pack_size}",
            f"pack-checksum {self.pack_checksum}",
        ]
        for segment in self.segments:
            words = ["segment", str(segment.offset), str(segment.objects), str(segment.raw_size)]
            lines.append(" ".join([*words, *segment.frontier]))
        lines += [f"part {digest}" for digest in self.parts]
        return "".join(f"{line}\n" for line in lines).encode("ascii")

    @property
    def id(self) -> ManifestId:
        """SHA-256 of the text."""
        return ManifestId(hashlib.sha256(self.text()).hexdigest())

    @property
    def raw_size(self) -> int:
        """Uncompressed bytes of all objects."""
        return sum(segment.raw_size for segment in self.segments)


def longest_file(pack_size: int) -> int:
    """Return how many bytes a manifest with its signature may have for a pack of some size.

    A part has at least `MIN_PART_SIZE` bytes, and each commit of a frontier is in the pack.
    """
    return min(MAX_TEXT, OTHER_BYTES + 2 * pack_size)


def parse_manifest(text: bytes) -> Manifest:
    """Read a manifest's text (without signature).

    Raises:
        ManifestError: with the line that breaks the rules.
    """
    if len(text) > MAX_TEXT:
        raise ManifestError(f"manifest of {len(text)} bytes is longer than {MAX_TEXT}")
    if text.count(b"\n") > 12 + MAX_SEGMENTS + len(text) // 70:
        raise ManifestError("manifest has more lines than parts can fill")
    try:
        lines = text.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise ManifestError(f"manifest has a byte that is not ASCII at {error.start}") from error
    if lines.pop() != "":
        raise ManifestError("manifest does not end with a line feed")
    manifest = _Reader(lines).manifest()
    if manifest.text() != text:
        raise ManifestError("manifest is not in its canonical form")
    _check_arithmetic(manifest)
    return manifest


class _Reader:
    """Takes the lines in their fixed order."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._at = 0

    def manifest(self) -> Manifest:
        if self._next() != _FIRST_LINE:
            raise ManifestError(f"manifest does not begin with {_FIRST_LINE!r}")
        repository = self._value("repository")
        if not is_repository_id(repository):
            raise self._wrong("a repository id")
        format_name = self._value("object-format")
        if format_name not in OBJECT_FORMATS:
            raise self._wrong("an object format git has")
        object_format = OBJECT_FORMATS[format_name]
        start = self._value("start")
        if start != "-":
            self._oid(start, object_format)
        end = self._oid(self._value("end"), object_format)
        shape = self._shape(object_format)
        return Manifest(
            repository=RepositoryId(repository),
            object_format=object_format,
            start=None if start == "-" else PushId(start),
            end=PushId(end),
            encoder=self._number("encoder"),
            target=self._number("target"),
            part_size=self._number("part-size"),
            objects=self._number("objects"),
            pack_size=self._number("pack-size"),
            pack_checksum=self._oid(self._value("pack-checksum"), object_format),
            segments=self._segments(object_format),
            parts=self._parts(),
            shape=shape,
        )

    def _shape(self, object_format: ObjectFormat) -> Shape:
        if not self._peek().startswith("shape "):
            return WHOLE
        shape = parse_shape(self._value("shape"), " ")
        if shape is None:
            raise self._wrong("a shape that is known")
        if shape.commit is not None:
            self._oid(shape.commit, object_format)
        return shape

    def _segments(self, object_format: ObjectFormat) -> tuple[Segment, ...]:
        segments = []
        while self._peek().startswith("segment "):
            words = self._next().split(" ")[1:]
            if len(words) < 3:
                raise self._wrong("offset, objects and raw size")
            offset, objects, raw_size = (self._parse_number(word) for word in words[:3])
            frontier = tuple(self._oid(word, object_format) for word in words[3:])
            segments.append(Segment(offset, objects, raw_size, frontier))
            if len(segments) > MAX_SEGMENTS:
                raise ManifestError(f"manifest has more than {MAX_SEGMENTS} segments")
        return tuple(segments)

    def _parts(self) -> tuple[str, ...]:
        parts = []
        while self._at < len(self._lines):
            digest = self._value("part")
            if not is_sha256(digest):
                raise self._wrong("a SHA-256 digest")
            parts.append(digest)
        return tuple(parts)

    def _peek(self) -> str:
        return self._lines[self._at] if self._at < len(self._lines) else ""

    def _next(self) -> str:
        if self._at == len(self._lines):
            raise ManifestError(f"manifest ends after line {self._at}, before its parts")
        self._at += 1
        return self._lines[self._at - 1]

    def _value(self, keyword: str) -> str:
        line = self._next()
        if not line.startswith(f"{keyword} "):
            raise self._wrong(f"{keyword!r}")
        return line[len(keyword) + 1 :]

    def _number(self, keyword: str) -> int:
        return self._parse_number(self._value(keyword))

    def _parse_number(self, word: str) -> int:
        if not (word.isascii() and word.isdigit()) or len(word) > 16 or int(word) > MAX_NUMBER:
            raise self._wrong("a number within limits")
        return int(word)

    def _oid(self, word: str, object_format: ObjectFormat) -> Oid:
        if not object_format.is_oid(word):
            raise self._wrong(f"a {object_format.name} id")
        return Oid(word)

    def _wrong(self, wanted: str) -> ManifestError:
        line = self._lines[self._at - 1][:80]
        return ManifestError(f"manifest line {self._at}: expected {wanted}, found {line!r}")


def _check_arithmetic(manifest: Manifest) -> None:
    """Refuse counts and offsets that contradict each other, before anything is fetched."""
    smallest = 12 + manifest.object_format.raw_size
    if not MIN_PART_SIZE <= manifest.part_size <= MAX_PART_SIZE:
        raise ManifestError(f"part size {manifest.part_size} is out of range")
    if manifest.pack_size <= smallest or manifest.objects < 1:
        raise ManifestError("a reel without objects has no manifest")
    if manifest.objects > manifest.pack_size // 3 or manifest.objects > MAX_OBJECTS:
        raise ManifestError(f"{manifest.objects} objects do not fit {manifest.pack_size} bytes")
    if len(manifest.parts) != part_count(manifest.pack_size, manifest.part_size):
        raise ManifestError(f"{len(manifest.parts)} parts do not make {manifest.pack_size} bytes")
    if manifest.shape.kind is ShapeKind.INDEX:
        _check_index(manifest)
        return
    if not manifest.segments:
        raise ManifestError("manifest has no segment")
    if manifest.shape.kind is ShapeKind.TIP:
        _check_tip(manifest)
    if sum(segment.objects for segment in manifest.segments) != manifest.objects:
        raise ManifestError("the segments' objects do not add up")
    expected = 12
    for segment in manifest.segments:
        if segment.offset < expected or segment.objects < 1:
            raise ManifestError(f"segment at {segment.offset} is out of order or empty")
        if list(segment.frontier) != sorted(set(segment.frontier)):
            raise ManifestError(f"frontier of the segment at {segment.offset} is not sorted")
        expected = segment.offset + segment.objects
    if manifest.segments[0].offset != 12 or expected > manifest.pack_size:
        raise ManifestError("the segments do not fill the pack")


def _check_index(manifest: Manifest) -> None:
    """Refuse an index that could not be one of so many objects, or is of a thin pack."""
    if manifest.start is not None or manifest.segments:
        raise ManifestError("a pack's index begins after a push, or has segments")
    if not is_index_size(manifest.pack_size, manifest.objects, manifest.object_format):
        raise ManifestError(
            f"an index of {manifest.objects} objects does not have {manifest.pack_size} bytes"
        )


def _check_tip(manifest: Manifest) -> None:
    """Refuse a tip that begins anywhere, or is no single commit."""
    if manifest.start is not None or len(manifest.segments) != 1:
        raise ManifestError("a tip begins after a push, or has several segments")
    if manifest.segments[0].frontier != (manifest.shape.commit,):
        raise ManifestError("a tip's frontier is not its commit")
