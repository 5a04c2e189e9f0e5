"""The key under which a repository stands in the mainline DHT.

Pure. A SHA-256 of the repository's id, cut to the 20 bytes of the DHT as BitTorrent's version 2
cuts its own (BEP 52). Whoever knows the id can compute it; from the key nobody learns the id, so
the nodes that store an announcement do not learn what is served.
Source: docs/protocol/mirrorsync.md, Discovery.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gittorrent.ids import RepositoryId

INFOHASH_BYTES = 20
"""Bytes of a key of the DHT (BEP 5)."""

_PREFIX = b"gittorrent dht 1\n"
"""Keeps these keys apart from whatever else is made from ids by SHA-256."""


def infohash(repository: RepositoryId) -> bytes:
    """Return the key of a repository in the DHT, 20 bytes."""
    return hashlib.sha256(_PREFIX + repository.encode("ascii")).digest()[:INFOHASH_BYTES]
