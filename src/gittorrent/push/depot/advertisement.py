"""What a depot says first: its refs, what it can do, and what to sign.

Pure. The nonce to sign names the repository and the point of its log that the depot is at; git
signs it as any other. Refs of this program's own are not shown.
Source: gitprotocol-pack(5), Reference Discovery; gitprotocol-capabilities(5).
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from gittorrent.wire import pktline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gittorrent.ids import ObjectFormat, Oid, RefName, Refs
    from gittorrent.push.certificate import Nonce

HIDDEN = b"refs/gittorrent/"
"""Refs that belong to this program: the log is no branch."""

SERVICE = b"# service=git-receive-pack\n"
"""What comes first over HTTP (gitprotocol-http(5), Smart Clients)."""

_ABILITIES = (
    "report-status",
    "report-status-v2",
    "delete-refs",
    "side-band-64k",
    "quiet",
    "atomic",
    "ofs-delta",
    "push-options",
)


class RefLines:
    """Refs as a depot lists them, each in its packet; never changed, only succeeded.

    Between two pushes few of them change, so they are not listed anew for each.

    Args:
        refs: what is shown, open conflicts too; this program's own are left out.
    """

    __slots__ = ("_names", "_packets", "_text")

    def __init__(self, refs: Refs) -> None:
        self._names: list[RefName] = sorted(ref for ref in refs if not ref.startswith(HIDDEN))
        self._packets = [_packet(ref, refs[ref]) for ref in self._names]
        self._text: bytes | None = None

    def __len__(self) -> int:
        return len(self._names)

    def after(self, moves: Iterable[tuple[RefName, Oid | None, Oid | None]]) -> RefLines:
        """Return the list once refs moved.

        Args:
            moves: (name, old value, new value) of each.
        """
        made = RefLines({})
        made._names, made._packets = list(self._names), list(self._packets)
        for ref, _, new in moves:
            if ref.startswith(HIDDEN):
                continue
            at = bisect_left(made._names, ref)
            end = at + (at < len(made._names) and made._names[at] == ref)
            made._names[at:end] = [] if new is None else [ref]
            made._packets[at:end] = [] if new is None else [_packet(ref, new)]
        return made

    def first(self, said: bytes) -> bytes:
        """Return the first packet, with what is said behind the ref; empty if there is none."""
        if not self._packets:
            return b""
        return pktline.encode(self._packets[0][pktline.HEADER_SIZE : -1] + said + b"\n")

    def others(self) -> bytes:
        """Return all further packets."""
        if self._text is None:
            self._text = b"".join(self._packets[1:])
        return self._text


def _packet(ref: RefName, value: Oid) -> bytes:
    return pktline.encode(value.encode("ascii") + b" " + ref + b"\n")


def capabilities(object_format: ObjectFormat, nonce: Nonce, agent: str) -> bytes:
    """Return the capabilities, separated by spaces.

    Args:
        object_format: of the repository.
        nonce: what is to be signed.
        agent: this program and its version, without spaces.
    """
    words = [*_ABILITIES, f"object-format={object_format.name}"]
    words += [f"push-cert={nonce}", f"agent={agent}"]
    return " ".join(words).encode("ascii")


def advertisement(
    refs: RefLines,
    object_format: ObjectFormat,
    nonce: Nonce,
    agent: str,
    *,
    version: str | None = None,
) -> Iterator[bytes]:
    """Yield what a depot says first, one or more packets at a time.

    Args:
        refs: what it shows; HEAD is not among them.
        object_format: of the repository.
        nonce: what is to be signed.
        agent: this program and its version, without spaces.
        version: the version of git's protocol that was asked for; 1 differs by one line, and
            for pushes there is no version 2.
    """
    if version == "version=1":
        yield pktline.encode(b"version 1\n")
    said = b"\0" + capabilities(object_format, nonce, agent)
    if len(refs):
        yield refs.first(said)
        yield refs.others()
    else:
        zero = object_format.zero.encode("ascii")
        yield pktline.encode(zero + b" capabilities^{}" + said + b"\n")
    yield pktline.encode_special(pktline.FLUSH)
