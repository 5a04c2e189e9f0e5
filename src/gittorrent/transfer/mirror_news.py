"""What a mirror's list says of what it has, against a log that is here.

It is a claim: what is asked for then proves itself.
Source: docs/protocol/mirrorsync.md, "mirror-list".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.push.log_range import policies_beyond
from gittorrent.wire.mirrorlist import NONE_UNTAKEN, Untaken

if TYPE_CHECKING:
    from gittorrent.push.log import VerifiedLog
    from gittorrent.wire.mirrorlist import MirrorList


def has_news(found: MirrorList, log: VerifiedLog) -> bool:
    """Tell whether a mirror may have a checkpoint that a log lacks, or more beyond it."""
    if found.latest is None or found.latest not in log:
        return found.latest is not None
    untaken = Untaken.of([*policies_beyond(log.records), *(push.id for push in log.unfinal)])
    return found.untaken not in (NONE_UNTAKEN, untaken)
