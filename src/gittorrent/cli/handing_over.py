"""Hands ``gittorrent mirror`` over to the node of this user, where one runs.

The node follows the repository from then on. The command shows how far it is until the first copy
is here, and may leave before. Must not know how the node does it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gittorrent.errors import LocalError
from gittorrent.interruptions import run
from gittorrent.repository.carried import MIRROR, Carried, object_format_of
from gittorrent.transfer.local_node import LocalNode, Refusal
from gittorrent.transfer.mirroring import Mirrored
from gittorrent.wire.control import Follow

if TYPE_CHECKING:
    from gittorrent.ids import PushId
    from gittorrent.store.carried_rows import CarriedRow
    from gittorrent.store.database import Database
    from gittorrent.store.home import Home
    from gittorrent.transfer.context import Reporter
    from gittorrent.transfer.location import Location


class LeftToNode(KeyboardInterrupt):
    """Whoever waited was interrupted, and the node goes on."""


def hand_over(
    location: Location, name: str | None, home: Home, database: Database, reporter: Reporter
) -> Mirrored | None:
    """Let the node of this machine carry and follow a repository.

    Args:
        location: where it comes from.
        name: to carry it under; None for the policy's.
        home: of the node.
        database: of the node.
        reporter: tells the user.

    Returns:
        What it came to; None where no node runs, or it does not follow.

    Raises:
        LeftToNode: the user does not wait any longer.
        GitTorrentError: the node could not bring it.
    """
    before = _row(location, database)
    head = None if before is None else _head(before)
    took: list[int] = []

    def taken(pid: int) -> None:
        took.append(pid)
        reporter.note(
            f"handed over to the node that runs here (process {pid}): {location.url};"
            " Ctrl-C leaves it there"
        )

    node = LocalNode(home.control, reporter)
    try:
        outcome = run(node.follow(Follow(location.full_url, name or ""), taken))
    except KeyboardInterrupt:
        if took:
            reporter.note("left to the node: 'gittorrent status' shows how far it is")
            raise LeftToNode from None
        raise
    finally:
        reporter.close()
    if isinstance(outcome, Refusal):
        reporter.note(f"the node that runs here does not follow it: {outcome.reason}")
        return None
    return _mirrored(location, database, head) if outcome else None


def _mirrored(location: Location, database: Database, before: PushId | None) -> Mirrored:
    """Return what is here now of what was handed over."""
    row = _row(location, database)
    head = None if row is None else _head(row)
    if row is None or head is None:
        raise LocalError(f"the mirror of {location.url} has gone again", hint="was it removed?")
    source = database.check(row.repository_id).source
    path = Path(row.path)
    return Mirrored(row.repository_id, row.name, path, head, source, changed=before != head)


def _row(location: Location, database: Database) -> CarriedRow | None:
    repository = location.expected or database.known_url(location.url)
    rows = (row for row in database.carried() if row.role == MIRROR)
    return next((row for row in rows if row.repository_id == repository), None)


def _head(row: CarriedRow) -> PushId | None:
    path = Path(row.path)
    return Carried(path, object_format_of(path)).log_store.head() if path.is_dir() else None
