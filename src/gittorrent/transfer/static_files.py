"""What is said of resources that web servers may hold as files: types, and how long they keep.

For the node, which serves them, and exports, which write them.
Source: docs/protocol/mirrorsync.md, HTTP resources.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.push.records import Record
    from gittorrent.wire.messages import HaveBundle

IMMUTABLE = "public, max-age=31536000, immutable"
"""Cache-Control of what is named by a digest of itself: a year, and never asked again."""

REVALIDATE = "no-cache"
"""Cache-Control of what grows: kept, but asked about each time."""

MAX_INDEX_BYTES = 16 << 20
"""Bytes of an index of pushes or reels."""

TEXT_TYPE = "text/plain; charset=utf-8"
PUSH_TYPE = "application/x-gittorrent-push"
MANIFEST_TYPE = "application/x-gittorrent-manifest"
PACK_TYPE = "application/octet-stream"
BUNDLE_TYPE = "application/x-git-bundle"

BUNDLES = "bundles/"
"""Where bundles are, seen from the repository's URL: git 2.40 and newer take that."""


def media_type(header: str | None) -> str:
    """Return what a Content-Type says without its parameters, in lower case.

    They are left unread: some of what can stand in them Python's parser does not get over.

    Args:
        header: as anybody sent it; None without any.
    """
    return (header or "").partition(";")[0].strip().lower()


def index_of_pushes(records: Iterable[Record]) -> bytes:
    """Return the lines of ``pushes/index`` or ``pushes/short``."""
    return "".join(f"{record.id} {record.kind.value}\n" for record in records).encode("ascii")


def index_of_reels(offers: Iterable[HaveBundle]) -> bytes:
    """Return the lines of ``reels/index``."""
    return b"".join(offer.encode() for offer in offers)
