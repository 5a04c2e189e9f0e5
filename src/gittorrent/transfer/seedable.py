"""The reels that a clone can seed, and the reasons why it cannot seed others.

Found out by `gittorrent.transfer.preparing`; pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from pathlib import Path

    from gittorrent.ids import ManifestId, Oid, PushId, RepositoryId


class UnbuildableReel(Struct, frozen=True):
    """A reel that cannot be built for want of objects.

    Args:
        manifest: its id.
        end: push that it completes.
        oid: an object that is not here, or not with all its past; None if nobody knows which.
    """

    manifest: ManifestId
    end: PushId
    oid: Oid | None


class SeedableReels(Struct, frozen=True):
    """What a clone can give.

    Args:
        name: of the repository, by its policy.
        repository_id: its id.
        latest: its newest push.
        held: reels whose packs were there.
        built: reels whose packs were built from objects just now.
        missing: reels whose objects are not all here.
        different: reels that came out otherwise here than they were signed.
        failed: reels that git did not make, or that this machine cannot make, and why.
        behind: a ref whose published value is not here; None if all are.
        remedy: the git command that brings it, for a shell; empty if nothing is behind.
    """

    name: str
    repository_id: RepositoryId
    latest: PushId
    held: tuple[ManifestId, ...] = ()
    built: tuple[ManifestId, ...] = ()
    missing: tuple[UnbuildableReel, ...] = ()
    different: tuple[ManifestId, ...] = ()
    failed: dict[ManifestId, str] = {}
    behind: str | None = None
    remedy: str = ""

    @property
    def impossible(self) -> int:
        """How many reels cannot be given."""
        return len(self.missing) + len(self.different) + len(self.failed)


def why_not(found: SeedableReels, git_dir: Path, url: str) -> list[str]:
    """Return what to tell the user of reels that cannot be given, and what would help.

    Args:
        found: by a look at a clone.
        git_dir: of the clone.
        url: of the mirror.
    """
    words = []
    if found.missing:
        example = next((f", such as {lack.oid}" for lack in found.missing if lack.oid), "")
        needs = f"{_reels(len(found.missing))} objects that {git_dir} lacks{example}"
        if found.behind is not None:
            words.append(
                f"{needs}: it is behind, {found.behind} for one; they are given too after"
                f"\n{found.remedy}"
            )
        else:
            words.append(
                f"{needs}: no branch or tag leads there any more, so that git fetches them no"
                f" longer; 'gittorrent mirror {url}' does"
            )
    if found.different:
        words.append(
            f"{_reels(len(found.different))} other bytes than stock zlib makes of the same objects:"
            f" they were published without it; 'gittorrent mirror {url}' downloads them"
        )
    if found.failed:
        reason = next(iter(found.failed.values()))
        words.append(f"{len(found.failed)} of the reels cannot be built here: {reason}")
    return words


def _reels(count: int) -> str:
    return "1 reel needs" if count == 1 else f"{count} reels need"
