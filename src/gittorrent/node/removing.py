"""Stops carrying a repository, and deletes what is to be deleted, while nobody else changes it.

For ``gittorrent remove``, and for what the owners of a collection took out of it. Must not know
why it goes, nor ask.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gittorrent.durable import locked
from gittorrent.errors import UsageError
from gittorrent.node.views import remove_view
from gittorrent.repository.carried import MIRROR
from gittorrent.repository.layout import Layout
from gittorrent.repository.relocating import is_at, require_of_home
from gittorrent.repository.removal import delete, set_aside, sweep_removed
from gittorrent.store.following import FollowTable
from gittorrent.store.held import HeldKind, HeldTable
from gittorrent.store.tracks import TrackTable
from gittorrent.transfer.mirroring import update_lock
from gittorrent.transfer.track_places import track_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gittorrent.store.carried_rows import CarriedRow
    from gittorrent.store.database import Database
    from gittorrent.store.home import Home


class BusyError(UsageError):
    """Another process changes the repository just now."""


def require_itself(row: CarriedRow, home: Home) -> None:
    """Make sure that what would be deleted is what is carried there by the node's record.

    Raises:
        UsageError: something else is at its place, which is published from it perhaps.
        OtherHomeError: it is another home's.
    """
    require_of_home(Path(row.path), home)
    if not is_at(Path(row.path), row):
        what = "mirror" if row.role == MIRROR else "copy"
        raise UsageError(
            f"{row.path} is not the {what} of {row.repository_id} that was there, and is not"
            " deleted",
            hint=f"'gittorrent remove {row.name}{' --keep' if row.role == MIRROR else ''}' only"
            " forgets it",
        )


def stop_carrying(
    row: CarriedRow,
    home: Home,
    database: Database,
    *,
    doomed: bool,
    wait: Callable[[], None] | None = None,
) -> None:
    """Carry a repository no more.

    Args:
        row: what the database says of it.
        home: of the node.
        database: of the node.
        doomed: whether its directory is deleted.
        wait: is called before another process is waited for; None not to wait for any.

    Raises:
        BusyError: another process changes it, and is not waited for.
        UsageError: something else is at its place.
        LocalError: it cannot be deleted.
    """
    path = Path(row.path)
    aside = None
    with _let_go(row, database), _nobody_else(row, home, wait):
        if doomed:
            require_itself(row, home)
            # A directory that was moved to another disk may have left a link in its place.
            aside = set_aside(path.resolve())
            if path.is_symlink():
                path.unlink()
        database.uncarry(row)
        HeldTable(database).forget(HeldKind.REFS, row.repository_id)
    remove_view(home.views, path)
    if aside is not None:
        delete(aside)
    sweep_removed(home.repositories)


@contextlib.contextmanager
def _let_go(row: CarriedRow, database: Database) -> Iterator[None]:
    """Let the node that follows a mirror, or tracks what is published, end what it does with it.

    It goes on if this fails.
    """
    table, tracks = FollowTable(database), TrackTable(database)
    how = table.followed(row.repository_id)
    track = None if row.role == MIRROR else tracks.find(row.name)
    if row.role == MIRROR:
        table.follow(row.repository_id, replace(how, paused=True))
    elif track is not None:
        tracks.remove(row.name)
    try:
        yield
    except BaseException:
        table.follow(row.repository_id, how)
        if track is not None:
            tracks.put(track)
        raise
    if track is not None:
        HeldTable(database).forget(HeldKind.TRACKED, track.name)


@contextlib.contextmanager
def _nobody_else(row: CarriedRow, home: Home, wait: Callable[[], None] | None) -> Iterator[None]:
    """Keep a repository from being updated or published meanwhile."""
    layout = Layout(Path(row.path))
    is_mirror = row.role == MIRROR
    locks = [update_lock(home, row.repository_id) if is_mirror else track_lock(home, row.name)]
    locks += [layout.lock] if layout.own.is_dir() else []
    with contextlib.ExitStack() as stack:
        for lock in locks:
            try:
                stack.enter_context(locked(lock, wait=False))
            except BlockingIOError:
                if wait is None:
                    raise BusyError(f"another process changes {row.name}") from None
                wait()
                stack.enter_context(locked(lock))
        yield
