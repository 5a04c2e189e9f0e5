"""Reels as git's bundles, so that git by itself takes them from files.

Pure. A bundle is a header and a pack (gitformat-bundle(5)), and a reel is a pack; so the bundle of
a reel is a header made from its manifest, and the reel's bytes. Rules: what a bundle adds are the
commits at the ends of its segments, under names of this program's own, which git keeps below
``refs/bundles`` and takes for what it has; what it needs is what the bundle before it adds, so that
a chain is only taken in its order. Must not know where bundles are served.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.ids import SHA1

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gittorrent.ids import ManifestId, Oid
    from gittorrent.reel.manifest import Manifest

MAX_BUNDLES = 64
"""Bundles of a list: each is a request, and a chain of reels is spliced long before."""

MAX_TIPS = 1000
"""Commits that a bundle adds by name; the last ones, which stand for all before them."""


class Bundle(Struct, frozen=True):
    """A bundle of a list.

    Args:
        manifest: id of its reel's manifest.
        token: grows along a chain (``creationToken``, git-bundle-uri).
        header: what stands before the reel's bytes.
    """

    manifest: ManifestId
    token: int
    header: bytes


def bundles_of(chain: Iterable[tuple[ManifestId, int, Manifest]]) -> list[Bundle]:
    """Return the bundles of a chain of reels, in its order.

    A reel without commits, such as one of tags alone, is left out with all that follow: git could
    not tell what it is for.

    Args:
        chain: id, number of the checkpoint that it completes, and manifest of each, the first one
            from the beginning of history.
    """
    found: list[Bundle] = []
    needed: Sequence[Oid] = ()
    for manifest_id, token, manifest in chain:
        tips = _tips(manifest)
        if not tips or len(found) == MAX_BUNDLES:
            break
        found.append(Bundle(manifest_id, token, _header(manifest, tips, needed)))
        needed = tips
    return found


def _tips(manifest: Manifest) -> list[Oid]:
    """Return the commits at the ends of a reel's segments, each once."""
    ends = (oid for segment in manifest.segments for oid in segment.frontier)
    return list(dict.fromkeys(ends))[-MAX_TIPS:]


def _header(manifest: Manifest, tips: Sequence[Oid], needed: Sequence[Oid]) -> bytes:
    if manifest.object_format is SHA1:
        lines = ["# v2 git bundle"]
    else:
        lines = ["# v3 git bundle", f"@object-format={manifest.object_format.name}"]
    lines += [f"-{oid} " for oid in needed]
    where = f"refs/heads/gittorrent/{manifest.end}"
    lines += [f"{oid} {where}/{number}" for number, oid in enumerate(tips)]
    return "".join(f"{line}\n" for line in [*lines, ""]).encode("ascii")


def list_text(
    bundles: Iterable[Bundle], base: str, named: Callable[[Bundle], str] = lambda b: b.manifest
) -> bytes:
    """Return a list of bundles as git reads it from a file (git-bundle-uri).

    Args:
        bundles: them.
        base: what their URIs begin with.
        named: returns what a bundle's file is called, without the suffix.
    """
    lines = ["[bundle]", "\tversion = 1", "\tmode = all", "\theuristic = creationToken"]
    for each in bundles:
        lines += [
            f'[bundle "{each.manifest}"]',
            f"\turi = {base}{named(each)}.bundle",
            f"\tcreationToken = {each.token}",
        ]
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def settings(bundles: Iterable[Bundle], base: str) -> tuple[str, ...]:
    """Return the same as the settings by which upload-pack tells of it; none where there is none.

    Args:
        bundles: them.
        base: what their URIs begin with.
    """
    found = [
        setting
        for each in bundles
        for setting in (
            f"bundle.{each.manifest}.uri={base}{each.manifest}.bundle",
            f"bundle.{each.manifest}.creationToken={each.token}",
        )
    ]
    if not found:
        return ()
    general = ("bundle.version=1", "bundle.mode=all", "bundle.heuristic=creationToken")
    return ("uploadpack.advertiseBundleURIs=true", *general, *found)
