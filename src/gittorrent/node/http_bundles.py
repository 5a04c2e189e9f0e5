"""Reels as bundles, which git by itself downloads before it asks for the rest (git-bundle-uri).

Two resources for each repository: the list, which changes, and each bundle, which does not. A
bundle is a header and the reel's file, which is sent as it lies there. Private repositories have
none: git sends no credentials with these requests.
Source: docs/protocol/mirrorsync.md, HTTP resources; gitformat-bundle(5).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from gittorrent.ids import ManifestId, is_sha256
from gittorrent.node.http_static import Resource, resource_of_bytes
from gittorrent.reel.bundle import list_text
from gittorrent.transfer.static_files import BUNDLE_TYPE, BUNDLES, REVALIDATE, TEXT_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gittorrent.node.catalogue import Served
    from gittorrent.reel.pack import FilePiece


def bundle_list(served: Served, base: str | None) -> Resource:
    """Return the list of a repository's bundles; empty where there are none.

    Args:
        served: the repository.
        base: what HTTP URLs of this node begin with; None where URIs are to be relative, which git
            takes since 2.40.
    """
    bundles = [] if served.is_private else served.content.bundles()
    text = list_text(bundles, BUNDLES if base is None else f"{base}{served.path}/{BUNDLES}")
    tag = hashlib.sha256(text).hexdigest()
    return resource_of_bytes(text, f"bundles-{tag}", TEXT_TYPE, REVALIDATE)


def bundle_resource(served: Served, name: str) -> Resource | None:
    """Return one bundle; None if there is none of that name, or not in the list any more.

    Args:
        served: the repository.
        name: id of its reel's manifest.
    """
    if served.is_private or not is_sha256(name):
        return None
    manifest = ManifestId(name)
    found = next((each for each in served.content.bundles() if each.manifest == manifest), None)
    pack = served.content.pack(manifest) if found is not None else None
    if found is None or pack is None:
        return None
    header, view = found.header, pack.view

    def pieces(offset: int, count: int) -> Iterator[bytes | FilePiece]:
        head = header[offset : offset + count]
        if head:
            yield head
        if count > len(head):
            yield from view.pieces(max(0, offset - len(header)), count - len(head))

    # The header tells which reel it follows, and that may be another one after a splice.
    tag = f"{name}-{hashlib.sha256(header).hexdigest()[:16]}"
    size = len(header) + view.size
    return Resource(tag, size, pieces, pack.path, BUNDLE_TYPE, REVALIDATE)
