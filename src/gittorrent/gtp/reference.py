"""Reference objects: the body of a tag whose message lists refs, and who signed it.

Pure. The id is the one git would give the tag. Lines ``<sha1> TAB <ref>`` (the dialect of 2008:
blanks) name refs; ``HEAD`` and peeled ``^{}`` lines may occur, other lines are text for people.
Rules: names that git does not allow, names that cannot stand side by side and doubled names make
the whole object bad; well-formed names that must not be created here (``refs/stash``, this
program's own) are left out, but what they point at still belongs to the reels.
Source: docs/protocol/gtp01.md, Reference objects.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import TrustError
from gittorrent.gtp.errors import BadReferenceError
from gittorrent.gtp.limits import MAX_REFERENCE
from gittorrent.ids import SHA1, Oid, RefName
from gittorrent.printable import decoded
from gittorrent.push.refnames import check_no_directory_conflict, check_ref_name
from gittorrent.trust import openpgp
from gittorrent.trust.keys import KeyKind
from gittorrent.trust.refpattern import ref_name_fault
from gittorrent.trust.signature import split_signed

if TYPE_CHECKING:
    from gittorrent.ids import Refs

TAB = b"\t"
SPACE = b" "

_TAG_NAME = b"gittorrent-references"
_HEADER = re.compile(
    rb"object ([0-9a-f]{40})\ntype (commit|tree|blob|tag)\ntag ([^\n\0]{0,1024})\n"
    rb"tagger [^\n\0]{0,1024}?(\d{1,12}) [+-]\d{4}\n\n"
)
_BLANKS = rb"[ \t\f\r\v]+"
"""What the peer of 2008 takes for the separator."""

_SIGNED = b"\n-----BEGIN PGP SIGNATURE-----\n"


class Reference(Struct, frozen=True):
    """A reference object that was read, not yet believed.

    Args:
        body: the tag's content, with its signature if it has one.
        refs: refs that may be created, and what they point at.
        head: what HEAD points at, None when no line says.
        commit: what the tag itself is of, None unless that is a commit; where no line says, HEAD.
        tips: everything the object names, which is what reels lead to.
        time: when it was made, in seconds.
        previous: id (hexadecimal) of the object it supersedes; None when it names none.
    """

    body: bytes
    refs: Refs
    head: Oid | None
    tips: frozenset[Oid]
    time: int
    previous: Oid | None
    commit: Oid | None = None

    @property
    def id(self) -> bytes:
        """The binary id."""
        return reference_id(self.body)

    @property
    def is_signed(self) -> bool:
        """Tell whether there is a signature to verify."""
        return _SIGNED in self.body

    def supersedes(self, other: Reference) -> bool:
        """Tell whether this is newer: by its link, else by date, else by id."""
        if self.previous == other.id.hex():
            return True
        if other.previous == self.id.hex():
            return False
        return (self.time, self.id) > (other.time, other.id)


class Tagger(Struct, frozen=True):
    """Who makes a reference object, as git writes people, and when in seconds."""

    person: bytes
    time: int


def reference_id(body: bytes) -> bytes:
    """Return the binary id of a reference object: that of the tag with this content."""
    # Whoever signs a reference vouches for it; a colliding one would have to be signed as well.
    head = b"tag %d\0" % len(body)
    return hashlib.sha1(head + body, usedforsecurity=False).digest()


def write_reference(
    refs: Refs, head: Oid | None, previous: Oid | None, tagger: Tagger, separator: bytes = TAB
) -> bytes:
    """Return an unsigned reference object.

    Args:
        refs: what to list.
        head: what HEAD points at, None to leave it out (the dialect of 2008 always does).
        previous: id of the reference object this one supersedes.
        tagger: who and when.
        separator: between id and name.
    """
    if previous is not None:
        target, kind = previous, b"tag"
    elif head is not None:
        target, kind = head, b"commit"
    else:
        target, kind = SHA1.empty_tree, b"tree"
    lines = [b"object " + target.encode(), b"type " + kind, b"tag " + _TAG_NAME]
    lines += [b"tagger " + tagger.person + b" %d +0000" % tagger.time, b""]
    if head is not None and separator == TAB:
        lines.append(head.encode() + separator + b"HEAD")
    # The peer of 2008 sorts its lines, which begin with the id.
    lines += sorted(oid.encode() + separator + name for name, oid in refs.items())
    return b"\n".join(lines) + b"\n"


def parse_reference(body: bytes, separator: bytes = TAB) -> Reference:
    """Read a reference object.

    Args:
        body: the tag's content.
        separator: between id and name in its lines.

    Raises:
        BadReferenceError: no such tag, or names that must not be.
    """
    if len(body) > MAX_REFERENCE:
        raise BadReferenceError(f"reference object of {len(body)} bytes; {MAX_REFERENCE} are read")
    header = _HEADER.match(body)
    if header is None:
        raise BadReferenceError(f"reference object is no tag: it begins {decoded(body[:60])!r}")
    message = body[header.end() :].partition(_SIGNED)[0]
    between = _BLANKS if separator == SPACE else re.escape(separator)
    line = re.compile(rb"([0-9a-f]{40})" + between + rb"([^\n]+)")
    refs: Refs = {}
    seen: set[bytes] = set()
    head: Oid | None = None
    tips: set[Oid] = set()
    for raw in message.split(b"\n"):
        found = line.fullmatch(raw)
        if found is None:
            continue
        oid, name = Oid(found[1].decode()), found[2]
        if name.endswith(b"^{}"):
            continue
        if name in seen or oid == SHA1.zero:
            raise BadReferenceError(
                f"reference object names {decoded(name[:100])!r} twice, or nothing"
            )
        seen.add(name)
        tips.add(oid)
        if name == b"HEAD":
            head = oid
        elif _may_exist(name):
            refs[RefName(name)] = oid
    try:
        check_no_directory_conflict(refs)
    except TrustError as error:
        raise BadReferenceError(f"reference object: {error}") from error
    tagged, kind = Oid(header[1].decode()), header[2]
    return Reference(
        body,
        refs,
        head,
        frozenset(tips),
        int(header[4]),
        previous=tagged if kind == b"tag" else None,
        commit=tagged if kind == b"commit" else None,
    )


def _may_exist(name: bytes) -> bool:
    """Tell whether a ref may be created; raises for names that are no ref names at all."""
    if fault := ref_name_fault(name):
        shown = name[:100].decode(errors="backslashreplace")
        raise BadReferenceError(f"reference object names {shown!r}, which {fault}")
    try:
        check_ref_name(name)
    except TrustError:
        return False
    return True


def verify_reference(reference: Reference, certificate: bytes) -> None:
    """Make sure that the owner of ``certificate`` signed a reference object.

    Args:
        reference: what was read.
        certificate: OpenPGP key of the repository, armored or binary.

    Raises:
        BadReferenceError: not signed, or not so.
    """
    try:
        payload, signature = split_signed(reference.body)
        if signature.kind is not KeyKind.OPENPGP:
            raise BadReferenceError("reference object is not signed by an OpenPGP key")
        openpgp.verify(signature.data, payload, certificate)
    except BadReferenceError:
        raise
    except TrustError as error:
        raise BadReferenceError(
            f"reference object {reference.id.hex()} is not to be trusted: {error}",
            hint=error.hint,
        ) from error
