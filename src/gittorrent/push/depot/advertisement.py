"""What a depot says first: its refs, what it can do, and what to sign.

Pure. The nonce to sign names the repository and the point of its log that the depot is at; git
signs it as any other. Refs of this program's own are not shown.
Source: gitprotocol-pack(5), Reference Discovery; gitprotocol-capabilities(5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.wire import pktline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gittorrent.ids import ObjectFormat, Refs
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
    refs: Refs, object_format: ObjectFormat, nonce: Nonce, agent: str, *, version: str | None = None
) -> Iterator[bytes]:
    """Yield what a depot says first, packet by packet.

    Args:
        refs: what it shows, open conflicts too; HEAD is not among them.
        object_format: of the repository.
        nonce: what is to be signed.
        agent: this program and its version, without spaces.
        version: the version of git's protocol that was asked for; 1 differs by one line, and
            for pushes there is no version 2.
    """
    if version == "version=1":
        yield pktline.encode(b"version 1\n")
    said = b"\0" + capabilities(object_format, nonce, agent)
    for name in sorted(refs):
        if not name.startswith(HIDDEN):
            yield pktline.encode(refs[name].encode("ascii") + b" " + name + said + b"\n")
            said = b""
    if said:
        zero = object_format.zero.encode("ascii")
        yield pktline.encode(zero + b" capabilities^{}" + said + b"\n")
    yield pktline.encode_special(pktline.FLUSH)
