"""Push certificates: what ``git push --signed`` signs, read strictly.

Pure. A certificate binds a repository, a point in its log (by the nonce), the change of each ref
and, by the signature, a person. Git writes it in one form; what does not come back to the same
bytes is refused, so that nobody can make two pushes out of one
(docs/protocol/trust.md, "Push certificate").

Must not know who signed, what a policy allows, or which checkpoints there are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import TrustError
from gittorrent.ids import Oid, PushId, RefName, RepositoryId, format_of, is_repository_id
from gittorrent.printable import decoded, printable
from gittorrent.push.refnames import check_no_directory_conflict, check_ref_name
from gittorrent.trust.refpattern import ref_name_fault

if TYPE_CHECKING:
    from collections.abc import Collection

    from gittorrent.ids import ObjectFormat

MAX_TEXT = 1 << 20
"""Bytes; ten thousand lines of the usual length."""

MAX_LINES = 10_000
"""Refs in a push; a first push of a large repository makes several."""

MAX_OPTIONS = 64
"""Push options; git sets no bound, forges use a handful."""

MAX_OPTION = 1024
"""Bytes of a push option; room for the longest ref name."""

MAX_COUNT = 65_535
"""The highest count in a nonce; pushes that share it still fit on top of each other."""

CONFLICTS = b"refs/conflicts/"
"""Where conflicts are shown; their names can be deleted and nothing else."""

_BRANCHES = b"refs/heads/"
_HEAD = b"head="
_PUSHER = re.compile(rb"pusher ([^\n\r\0]+) (0|[1-9]\d{0,11}) ([+-]\d{4})\Z")
_PUSHEE = re.compile(rb"pushee ([\x21-\x7e\x80-\xff]+)\Z")
_NONCE = re.compile(r"([a-z2-7]{52})/([0-9a-f]{40,64})/([1-9]\d{0,4})\Z")


class CertificateError(TrustError):
    """A push certificate's text is not one that this protocol allows."""


class Nonce(Struct, frozen=True):
    """What a depot offers for signing: a repository, a checkpoint, and a count on top of it.

    Raises `CertificateError` for parts that could not be written and read again.
    """

    repository: RepositoryId
    checkpoint: PushId
    count: int

    def __post_init__(self) -> None:
        if not is_repository_id(self.repository) or format_of(self.checkpoint) is None:
            raise CertificateError("a nonce names a repository id and a checkpoint's id")
        if not 1 <= self.count <= MAX_COUNT:
            raise CertificateError(f"the count in a nonce is 1 to {MAX_COUNT}, not {self.count}")

    def __str__(self) -> str:
        return f"{self.repository}/{self.checkpoint}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Nonce:
        """Read a nonce; raises `CertificateError`."""
        found = _NONCE.match(text)
        if found is None:
            raise CertificateError(
                f"not a nonce of this protocol: {text[:150]!r}",
                hint="push to a mirror of this repository that takes pushes",
            )
        return cls(RepositoryId(found[1]), PushId(found[2]), int(found[3]))


class Line(Struct, frozen=True, gc=False):
    """How one ref changes; None stands for "no such ref"."""

    old: Oid | None
    new: Oid | None
    ref: RefName


class Certificate(Struct, frozen=True):
    """What a push certificate says.

    Args:
        object_format: of the repository.
        pusher: who git says pushes; shown, nothing is decided by it.
        time: when, in seconds.
        zone: such as ``+0000``.
        pushee: the URL pushed to, as git wrote it.
        nonce: what the depot offered.
        options: push options, in order.
        lines: the changes, in order.
    """

    object_format: ObjectFormat
    pusher: bytes
    time: int
    zone: str
    pushee: bytes
    nonce: Nonce
    options: tuple[bytes, ...]
    lines: tuple[Line, ...]

    def text(self) -> bytes:
        """Return the certificate without signature, which is what gets signed."""
        zero = self.object_format.zero
        head = [
            b"certificate version 0.1",
            b"pusher " + self.pusher + f" {self.time} {self.zone}".encode("ascii"),
            b"pushee " + self.pushee,
            b"nonce " + str(self.nonce).encode("ascii"),
            *(b"push-option " + option for option in self.options),
            b"",
        ]
        lines = [
            f"{line.old or zero} {line.new or zero} ".encode("ascii") + line.ref
            for line in self.lines
        ]
        return b"\n".join([*head, *lines, b""])

    @property
    def head(self) -> RefName | None:
        """The branch that HEAD is to name from now on, if the push says so."""
        found = [option for option in self.options if option.startswith(_HEAD)]
        return RefName(found[0].removeprefix(_HEAD)) if found else None

    @property
    def atomic(self) -> bool:
        """Whether all lines happen or none."""
        return b"atomic" in self.options or self.head is not None

    def names_repository(self, names: Collection[str]) -> bool:
        """Tell whether it was pushed to a URL of this repository.

        Args:
            names: the names that the repository has or had.
        """
        path = self.pushee.decode("utf-8", "surrogateescape").removesuffix("/").split("/")
        last = path[-1].rpartition(":")[2].removesuffix(".git")
        own = str(self.nonce.repository)
        return last in names or last == own or (len(path) > 1 and path[-2] == own)


def subject_of(ref: RefName) -> RefName:
    """Return the ref that a name speaks of: that of the conflict, for a conflict's name."""
    if not ref.startswith(CONFLICTS):
        return ref
    return RefName(b"refs/" + ref.removeprefix(CONFLICTS).partition(b"/")[2])


def parse_certificate(text: bytes, object_format: ObjectFormat) -> Certificate:
    """Read a push certificate's text (without signature).

    Raises:
        CertificateError: it breaks the grammar or a limit.
        RefNameError: it names a ref that must not exist.
    """
    if len(text) > MAX_TEXT or text.count(b"\n") > MAX_LINES + MAX_OPTIONS + 5:
        raise CertificateError(
            f"push certificate of {len(text)} bytes is longer than {MAX_TEXT}, or has more than"
            f" {MAX_LINES} refs",
            hint="push fewer refs at a time",
        )
    head, blank, body = text.partition(b"\n\n")
    if not blank or not body.endswith(b"\n") or b"\r" in text or b"\0" in text:
        raise CertificateError("push certificate is cut off, or has bytes that git does not write")
    lines = head.split(b"\n")
    if lines[0] != b"certificate version 0.1" or len(lines) < 4:
        raise CertificateError(f"not a push certificate: it begins {decoded(lines[0][:80])!r}")
    pusher, pushee = _PUSHER.match(lines[1]), _PUSHEE.match(lines[2])
    if pusher is None or pushee is None or not lines[3].startswith(b"nonce "):
        raise CertificateError("push certificate needs pusher, pushee and nonce, in this order")
    certificate = Certificate(
        object_format=object_format,
        pusher=pusher[1],
        time=int(pusher[2]),
        zone=pusher[3].decode("ascii"),
        pushee=pushee[1],
        nonce=Nonce.parse(lines[3].removeprefix(b"nonce ").decode("ascii", "replace")),
        options=_options(lines[4:]),
        lines=tuple(_line(line, object_format) for line in body[:-1].split(b"\n")),
    )
    if certificate.text() != text:
        raise CertificateError("push certificate is not in its canonical form")
    _check(certificate)
    return certificate


def _options(lines: list[bytes]) -> tuple[bytes, ...]:
    options = []
    for line in lines:
        keyword, _, option = line.partition(b" ")
        if keyword != b"push-option" or len(option) > MAX_OPTION:
            raise CertificateError(f"push certificate has the line {decoded(line[:80])!r}")
        options.append(option)
    if len(options) > MAX_OPTIONS:
        raise CertificateError(f"push certificate has more than {MAX_OPTIONS} push options")
    return tuple(options)


def _line(line: bytes, object_format: ObjectFormat) -> Line:
    words = line.split(b" ", 2)
    ids = [word.decode("ascii", "replace") for word in words[:2]]
    if len(words) != 3 or not all(object_format.is_oid(oid) for oid in ids):
        raise CertificateError(
            f"push certificate: no change of a ref in line {decoded(line[:80])!r}"
        )
    if ids[0] == ids[1]:
        ref = printable(decoded(words[2][:100]))
        if ids[0] == object_format.zero:
            raise CertificateError(f"there is no {ref} that could be deleted")
        raise CertificateError(f"push certificate: {ref} is {ids[0]} before and after")
    old, new = (None if oid == object_format.zero else Oid(oid) for oid in ids)
    name = words[2]
    if name.startswith(CONFLICTS):
        if new is not None or ref_name_fault(name) or name.count(b"/") < 4:
            raise CertificateError(
                f"a conflict can only be deleted: {decoded(name[:100])!r}",
                hint="push to the branch itself, with a merge of both",
            )
    else:
        check_ref_name(name)
    return Line(old, new, RefName(name))


def _check(certificate: Certificate) -> None:
    """Check what the lines say together."""
    if not certificate.object_format.is_oid(certificate.nonce.checkpoint):
        raise CertificateError("the nonce names a checkpoint of another object format")
    if len(certificate.lines) > MAX_LINES:
        raise CertificateError(f"push certificate changes more than {MAX_LINES} refs")
    if len({line.ref for line in certificate.lines}) != len(certificate.lines):
        raise CertificateError("push certificate changes a ref twice")
    check_no_directory_conflict(line.ref for line in certificate.lines if line.new is not None)
    heads = [option for option in certificate.options if option.startswith(_HEAD)]
    head = certificate.head
    if len(heads) > 1 or (head is not None and not head.startswith(_BRANCHES)):
        raise CertificateError("push option head= names one branch, such as head=refs/heads/main")
    if head is not None:
        check_ref_name(head)
