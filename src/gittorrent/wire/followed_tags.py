"""Annotated tags that come along with what they are on, where a request says ``include-tag``.

Pure. Such an answer follows from more than the request: a tag that was put on a commit later is not
in an answer that was made before, and one that was deleted is. So an answer is named by these tags
as well. Rules: what of the history an answer has is not known before it is there, so all tags that
are listed count, but for those that are wanted and come in any case.
Source: gitprotocol-v2(5), fetch and ls-refs; git-pack-objects(1), ``--include-tag``.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gittorrent.wire.pktline import HEADER_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gittorrent.wire.upload_requests import UploadRequest

INCLUDE_TAG = b"include-tag"

_TAG = re.compile(
    rb"(?P<oid>[0-9a-f]{40}) refs/tags/[^ \n\0]+(?: [!-~]+)*? peeled:(?P<peeled>[0-9a-f]{40})\n?\Z"
)


def annotated(packets: Iterable[bytes]) -> dict[bytes, bytes]:
    """Return what the annotated tags in a list of refs with ``peel`` are on, by the tags' ids."""
    found = (_TAG.match(packet[HEADER_SIZE:]) for packet in packets)
    return {each["oid"]: each["peeled"] for each in found if each}


def followed(tags: Mapping[bytes, bytes], request: UploadRequest) -> dict[bytes, bytes]:
    """Return those of the tags that an answer has, beside what is wanted, if it has what they are
    on."""
    if INCLUDE_TAG not in request.switches:
        return {}
    wants = frozenset(request.wants)
    return {oid: peeled for oid, peeled in tags.items() if oid not in wants}


def with_tags(tags: Mapping[bytes, bytes], request: UploadRequest) -> UploadRequest:
    """Return a request whose answer is named by these tags, too, where it may have them."""
    found = followed(tags, request)
    lines = b"".join(oid + b"\n" for oid in sorted(found))
    name = hashlib.sha256(lines).hexdigest() if found else ""
    return replace(request, tags=name)
