"""``gittorrent reel``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gittorrent.cli.output import count, json_option, print_json
from gittorrent.cli.repositories import CARRIED_REPOSITORY, repository_at_hand
from gittorrent.repository.carried import open_carried

if TYPE_CHECKING:
    from gittorrent.ids import PushId
    from gittorrent.repository.reelstore import StoredReel


@click.group()
def reel() -> None:
    """Look at reels: the objects between two pushes as verified bytes."""


@reel.command()
@click.argument("repository", type=CARRIED_REPOSITORY, default=repository_at_hand)
@json_option
def show(repository: Path, as_json: bool) -> None:
    """Print the manifests of a carried repository's reels, in order of the push they end at.

    \b
    Examples:
      gittorrent reel show project
      gittorrent reel show /srv/git/project.git --json
    """
    carried = open_carried(repository)
    rank = {push: number for number, push in enumerate(carried.log_store.ids())}
    reels = sorted(carried.reels.all(), key=lambda r: _place(r, rank))
    if as_json:
        print_json([_as_json(stored) for stored in reels])
        return
    for stored in reels:
        manifest = stored.manifest
        click.echo(f"reel {manifest.start or ''}:{manifest.end}")
        click.echo(f"  manifest {stored.id}")
        click.echo(
            f"  {count(manifest.objects, 'object')}, {manifest.pack_size} bytes packed,"
            f" {manifest.raw_size} raw, {count(len(manifest.segments), 'segment')},"
            f" {count(len(manifest.parts), 'part')} of {manifest.part_size}"
        )
        state = "" if stored.is_available else "  (missing)"
        click.echo(f"  {stored.pack}{state}")


def _place(stored: StoredReel, rank: dict[PushId, int]) -> tuple[int, int]:
    start = stored.manifest.start
    return rank.get(stored.manifest.end, -1), -1 if start is None else rank.get(start, -1)


def _as_json(stored: StoredReel) -> dict[str, Any]:
    manifest = stored.manifest
    return {
        "manifest": stored.id,
        "repository_id": manifest.repository,
        "object_format": manifest.object_format.name,
        "start": manifest.start,
        "end": manifest.end,
        "encoder": manifest.encoder,
        "target": manifest.target,
        "objects": manifest.objects,
        "pack_size": manifest.pack_size,
        "pack_checksum": manifest.pack_checksum,
        "segments": [
            {
                "offset": segment.offset,
                "objects": segment.objects,
                "raw_size": segment.raw_size,
                "frontier": list(segment.frontier),
            }
            for segment in manifest.segments
        ],
        "part_size": manifest.part_size,
        "parts": list(manifest.parts),
        "available": stored.is_available,
        "pack": str(stored.pack),
    }
