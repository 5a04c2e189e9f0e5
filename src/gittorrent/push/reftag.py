"""References tags: a signed tag whose message lists every ref.

Pure. The text is a git tag object that points at the empty tree; the signature, appended as git
appends it to tags, is not part of the text. Parsing is strict: what does not serialise to the
same bytes again is refused (docs/protocol/trust.md, "References tag").
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import TrustError
from gittorrent.ids import Oid, PushId, RefName, RepositoryId, is_repository_id
from gittorrent.push.refnames import check_no_directory_conflict, check_ref_name

if TYPE_CHECKING:
    from gittorrent.ids import ObjectFormat, Refs

MAX_TEXT = 32 << 20
"""Bytes: room for a quarter of a million refs."""

MIN_LINE = 48
"""Bytes of the shortest line that can list a ref, with its line feed."""

_TAG_NAME = "gittorrent-refs"
_FIRST_LINE = "gittorrent refs 1"
_TAGGER = re.compile(rb"tagger ([^<>\n\0]*) <([^<>\n\0]*)> (\d{1,12}) ([+-]\d{4})\Z")


class ReferencesTagError(TrustError):
    """A references tag's text is not one that this protocol allows."""


class ReferencesTag(Struct, frozen=True):
    """What a references tag says.

    Args:
        object_format: of the repository.
        repository: its id.
        parent: log head that the tag builds on.
        refs: every ref and what it points at.
        tagger: who made it, as git writes people: ``Name <email>``.
        time: when, in seconds; informative, nothing is decided by it.
        zone: such as ``+0000``.
    """

    object_format: ObjectFormat
    repository: RepositoryId
    parent: PushId
    refs: Refs
    tagger: bytes
    time: int
    zone: str = "+0000"

    def text(self) -> bytes:
        """Return the tag object's content without signature, which is what gets signed."""
        head = (
            f"object {self.object_format.empty_tree}\ntype tree\ntag {_TAG_NAME}\ntagger "
        ).encode("ascii")
        head += self.tagger + f" {self.time} {self.zone}\n\n".encode("ascii")
        message = f"{_FIRST_LINE}\nrepository {self.repository}\nparent {self.parent}\n\n"
        lines = [
            oid.encode("ascii") + b"\t" + name + b"\n" for name, oid in sorted(self.refs.items())
        ]
        return head + message.encode("ascii") + b"".join(lines)


def parse_references_tag(text: bytes, object_format: ObjectFormat) -> ReferencesTag:
    """Read a references tag's text (without signature).

    Raises:
        ReferencesTagError: it breaks the grammar.
        RefNameError: it names a ref that must not exist.
    """
    if len(text) > MAX_TEXT:
        raise ReferencesTagError(f"references tag of {len(text)} bytes is longer than {MAX_TEXT}")
    if text.count(b"\n") > 9 + len(text) // MIN_LINE:
        raise ReferencesTagError("references tag has more lines than refs can fill")
    lines = text.split(b"\n")
    if len(lines) < 10 or lines.pop() != b"":
        raise ReferencesTagError("references tag ends too early or without a line feed")
    tagger = _TAGGER.match(lines[3])
    if tagger is None:
        raise ReferencesTagError(f"references tag line 4: no tagger in {lines[3][:80]!r}")
    repository = _value(lines, 6, b"repository")
    if not is_repository_id(repository):
        raise ReferencesTagError("references tag line 7: not a repository id")
    tag = ReferencesTag(
        object_format=object_format,
        repository=RepositoryId(repository),
        parent=_parent(lines, object_format),
        refs=_refs(lines[9:], object_format),
        tagger=tagger[1] + b" <" + tagger[2] + b">",
        time=int(tagger[3]),
        zone=tagger[4].decode("ascii"),
    )
    if tag.text() != text:
        raise ReferencesTagError("references tag is not in its canonical form")
    check_no_directory_conflict(tag.refs)
    return tag


def references_parent(text: bytes, object_format: ObjectFormat) -> PushId:
    """Return the log head that a references tag builds on, without a look at its refs.

    They are many, and nobody has signed them yet as far as the caller knows.

    Raises:
        ReferencesTagError: it does not begin as such a text does.
    """
    end = 0
    for _ in range(8):
        end = text.find(b"\n", end) + 1
        if not end:
            raise ReferencesTagError("references tag ends too early or without a line feed")
    return _parent(text[:end].split(b"\n"), object_format)


def _parent(lines: list[bytes], object_format: ObjectFormat) -> PushId:
    parent = _value(lines, 7, b"parent")
    if not object_format.is_oid(parent):
        raise ReferencesTagError("references tag line 8: not a log head")
    return PushId(parent)


def _value(lines: list[bytes], index: int, keyword: bytes) -> str:
    found, _, value = lines[index].partition(b" ")
    if found != keyword or not value.isascii():
        raise ReferencesTagError(
            f"references tag line {index + 1}: expected {keyword.decode()!r},"
            f" found {lines[index][:80]!r}"
        )
    return value.decode("ascii")


def _refs(lines: list[bytes], object_format: ObjectFormat) -> Refs:
    refs: Refs = {}
    for line in lines:
        oid, tab, name = line.partition(b"\t")
        text = oid.decode("ascii", errors="replace")
        if not tab or not object_format.is_oid(text) or text == object_format.zero:
            raise ReferencesTagError(f"references tag: no ref in line {line[:80]!r}")
        check_ref_name(name)
        refs[RefName(name)] = Oid(text)
    return refs
