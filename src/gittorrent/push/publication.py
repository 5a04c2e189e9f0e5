"""From changes of refs to the push certificates that publish them.

Pure. They are what ``git push --signed`` makes, so that one rule and one reader do for both. A
certificate has bounds, and HEAD is changed by an option that makes all lines of its certificate
happen together, so a publication may take several; each builds on those before it.

Rules: what is deleted comes first, so that names can become directories; then HEAD with what it
needs, then everything else (docs/protocol/trust.md, "Push certificate").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.push.certificate import MAX_LINES, MAX_TEXT, Certificate, Line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gittorrent.ids import ObjectFormat, Oid, RefName
    from gittorrent.push.certificate import Nonce

HEADER_ROOM = 8192
"""Bytes of a certificate kept for what stands before its lines: a person, a URL, a nonce."""


class HeadChange(Struct, frozen=True):
    """HEAD is to name another branch.

    Args:
        head: the branch.
        value: what it is when everything is published.
        former: the branch that HEAD names until then.
    """

    head: RefName
    value: Oid
    former: RefName


class Part(Struct, frozen=True):
    """What one certificate says.

    Args:
        lines: the changes, deletions first.
        head: the branch that HEAD is to name, if this part changes that.
    """

    lines: tuple[Line, ...]
    head: RefName | None = None


class CertificateHead(Struct, frozen=True):
    """Who publishes, and as what: the same in all certificates of a publication.

    Args:
        object_format: of the repository.
        person: as git writes people.
        time: now, in seconds.
        pushee: a URL that names the repository.
    """

    object_format: ObjectFormat
    person: bytes
    time: int
    pushee: bytes

    def certificate(self, part: Part, nonce: Nonce) -> Certificate:
        """Return the certificate of a part, to be signed."""
        return Certificate(
            object_format=self.object_format,
            pusher=self.person,
            time=self.time,
            zone="+0000",
            pushee=self.pushee,
            nonce=nonce,
            options=() if part.head is None else (b"head=" + part.head,),
            lines=part.lines,
        )


def parts_of(lines: Iterable[Line], head: HeadChange | None = None) -> list[Part]:
    """Return what the certificates of a publication say, in order.

    Args:
        lines: the changes of refs.
        head: the change of HEAD, if there is one.
    """
    gone: list[Line] = []
    others: list[Line] = []
    for line in sorted(lines, key=lambda line: line.ref):
        (gone if line.new is None else others).append(line)
    if head is None:
        return [Part(lines) for lines in _bounded([*gone, *others])]
    with_head = [line for line in gone if line.ref == head.former]
    with_head += [line for line in others if line.ref == head.head]
    if not any(line.ref == head.head for line in with_head):
        # A certificate has a line at least. This one asks for what is so already.
        with_head.append(Line(None, head.value, head.head))
    gone = [line for line in gone if line not in with_head]
    others = [line for line in others if line not in with_head]
    return [
        *(Part(lines) for lines in _bounded(gone)),
        Part(tuple(with_head), head.head),
        *(Part(lines) for lines in _bounded(others)),
    ]


def _bounded(lines: Iterable[Line]) -> Iterator[tuple[Line, ...]]:
    """Cut changes where a certificate would have too many, or too many bytes."""
    part: list[Line] = []
    room = MAX_TEXT - HEADER_ROOM
    for line in lines:
        size = 2 * len(line.old or line.new or "") + len(line.ref) + 3
        if part and (len(part) == MAX_LINES or size > room):
            yield tuple(part)
            part, room = [], MAX_TEXT - HEADER_ROOM
        part.append(line)
        room -= size
    if part:
        yield tuple(part)
