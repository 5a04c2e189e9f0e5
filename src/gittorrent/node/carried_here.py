"""Where the repositories of a catalogue come from: the node's database, or directories named.

Both are read again now and then, so that a node follows what is published, moved and removed while
it runs. Must not know requests.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from gittorrent.errors import GitTorrentError
from gittorrent.event_log import EventLog
from gittorrent.git.repository import NotARepositoryError, find_repository
from gittorrent.node.catalogue import Catalogue, Listing, still_carried
from gittorrent.repository.carried import Carried, NotCarriedError, open_carried
from gittorrent.repository.layout import Layout
from gittorrent.repository.relocating import folders_of, relocate
from gittorrent.store.following import FollowTable
from gittorrent.transfer.mirroring import open_mirror

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gittorrent.ids import RepositoryId
    from gittorrent.store.carried_rows import CarriedRow
    from gittorrent.store.database import Database

MAX_DEPTH = 3
"""How far below a directory given repositories are looked for: ``group/user/name.git``."""

SCAN_SECONDS = 30.0
"""How often directories are looked through again: that may take a while where they are large."""

_log = EventLog(__name__)


def catalogue_of_database(
    database: Database, clock: Callable[[], float] = time.monotonic
) -> Catalogue:
    """Return all that the node carries, and what it will carry later."""
    unusable: set[str] = set()
    searched: dict[Path, tuple[int, ...]] = {}
    changes = FollowTable(database)
    rows: dict[Path, CarriedRow] = {}
    seen: tuple[int, int] | None = None

    def load(known: set[Path]) -> Listing:
        # A node that carries thousands need not read all of it every second.
        nonlocal rows, seen
        number = changes.change_number()
        if (number, len(known)) == seen and not unusable:
            return Listing()
        if (number, len(known)) != seen:
            rows = {Path(row.path): row for row in database.carried()}
        missing = [row for path, row in rows.items() if path not in known]
        if _relocate_missing(database, missing, searched):
            rows = {Path(row.path): row for row in database.carried()}
        fresh = []
        for path, row in rows.items():
            if path in known:
                continue
            carried = _open_row(row, complain=row.path not in unusable)
            if carried is None:
                unusable.add(row.path)
            else:
                fresh.append(carried)
        unusable.intersection_update(row.path for row in missing)
        unusable.difference_update(str(carried.layout.git_dir) for carried in fresh)
        gone = known - rows.keys()
        seen = (number, len(known) - len(gone) + len(fresh))
        return Listing(fresh, gone)

    return Catalogue(load(set()).fresh, load, clock, has_all=True)


def _relocate_missing(
    database: Database, rows: Iterable[CarriedRow], searched: dict[Path, tuple[int, ...]]
) -> bool:
    """Look for what was renamed or moved with the home, again only when a folder has changed.

    Args:
        database: of the node.
        rows: repositories that are not served; whoever asks for one that is finds out if it is
            missing.
        searched: times of change of the folders that were looked through, by missing repository.

    Returns:
        Whether any was found.
    """
    has_found = False
    for row in rows:
        path = Path(row.path)
        if path.is_dir():
            searched.pop(path, None)
            continue
        try:
            changed = tuple(each.stat().st_mtime_ns for each in folders_of(row, database))
            if searched.get(path) == changed:
                continue
            if relocate(row, database) is None:
                searched[path] = changed
            else:
                has_found = True
        except OSError as error:
            _log.debug("not-served", "cannot look for {path}: {reason}", path=path, reason=error)
    return has_found


def _open_row(row: CarriedRow, *, complain: bool) -> Carried | None:
    """Open what the database lists; what is gone or damaged must not keep others from serving."""
    path = Path(row.path)
    try:
        if not path.is_dir():
            raise NotCarriedError(
                f"{path} is not there any more; if it is gone for good, 'gittorrent remove"
                f" {row.name}' forgets it"
            )
        carried = open_mirror(path)
        _ = carried.info
    except (GitTorrentError, KeyError, OSError) as error:
        note = _log.warning if complain else _log.debug
        text = "{repository} is not served: {reason}"
        note("not-served", text, repository=row.name, reason=error)
        return None
    return carried


def catalogue_of_paths(
    paths: Iterable[Path],
    clock: Callable[[], float] = time.monotonic,
    database: Database | None = None,
) -> Catalogue:
    """Return the repositories named, and those below directories named, now and later.

    Args:
        paths: of them.
        clock: seconds that never run backwards.
        database: knows where what was named has been moved to since.

    Raises:
        NotCarriedError: a repository was never published or mirrored, or a directory has none.
        NameTakenError: two have one name.
    """
    places = list(paths)
    found: dict[Path, Carried] = {}
    repositories: dict[Path, RepositoryId] = {}
    directories: list[Path] = []
    for path in places:
        if _is_repository(path):
            carried = open_carried(path)
            repositories[carried.layout.git_dir] = carried.info.repository_id
            found.setdefault(carried.layout.git_dir, carried)
            continue
        directories.append(path)
        below = list(_carried_below(path, MAX_DEPTH, set()))
        if not below:
            raise NotCarriedError(
                f"there is no published or mirrored repository in {path}",
                hint="run 'gittorrent publish' on one first",
            )
        for carried in below:
            found.setdefault(carried.layout.git_dir, carried)

    next_scan = clock() + SCAN_SECONDS
    seen_last = set(found)

    def load(known: set[Path]) -> Listing:
        nonlocal next_scan, seen_last
        places = [_place_now(place, owner, database) for place, owner in repositories.items()]
        fresh = {each.layout.git_dir: each for each in still_carried(places, known).fresh}
        # One that was dropped since may lie elsewhere in them.
        is_due = clock() >= next_scan or not seen_last <= known
        if is_due:
            next_scan = clock() + SCAN_SECONDS
        for directory in directories if is_due else ():
            seen = set(known)
            try:
                for carried in _carried_below(directory, MAX_DEPTH, seen):
                    fresh.setdefault(carried.layout.git_dir, carried)
            except NotCarriedError as error:
                _log.warning("not-served", "not served: {reason}", reason=error)
        seen_last = known | fresh.keys()
        return Listing([carried for path, carried in fresh.items() if path not in known])

    return Catalogue(found.values(), load, clock)


def _place_now(place: Path, repository: RepositoryId, database: Database | None) -> Path:
    """Return where a repository is that was named at a place."""
    if place.is_dir() or database is None:
        return place
    for row in database.carried():
        if row.repository_id == repository:
            found = row if Path(row.path).is_dir() else relocate(row, database)
            if found is not None:
                return Path(found.path)
    return place


def _is_repository(path: Path) -> bool:
    """Tell whether ``path`` itself is a repository; one that merely contains it does not count."""
    bare = (path / "HEAD").is_file() and (path / "objects").is_dir()
    return bare or (path / ".git").exists()


def _may_be_carried(path: Path) -> bool:
    """Tell whether a repository may have been published or mirrored, before git is asked."""
    linked = (path / ".git").is_file()
    return linked or any(Layout(each).info.exists() for each in (path, path / ".git"))


def _is_to_serve(carried: Carried) -> bool:
    """Tell whether a repository that was found, and not named, is served: no clone that seeds is.

    People have several of one project, and did not ask that these take the place of a mirror.
    """
    try:
        return carried.is_published_or_mirrored
    except GitTorrentError:  # it is damaged, which whoever serves it says
        return True


def _carried_below(directory: Path, depth: int, seen: set[Path]) -> Iterator[Carried]:
    """Yield carried repositories below ``directory``, each once however links lead to it."""
    try:
        entries = sorted(entry for entry in directory.iterdir() if entry.is_dir())
    except OSError as error:
        raise NotCarriedError(f"cannot look into {directory}: {error.strerror}") from error
    for entry in entries:
        real = entry.resolve()
        if real in seen:
            continue
        seen.add(real)
        if _is_repository(entry):
            if not _may_be_carried(entry):
                continue  # git is asked about few: this is done again and again
            try:
                found = find_repository(entry)
            except NotARepositoryError as error:
                _log.warning("not-served", "not served: {reason}", reason=error)
                continue
            carried = Carried(found.git_dir, found.object_format)
            if _is_to_serve(carried):
                yield carried
        elif depth > 1:
            yield from _carried_below(entry, depth - 1, seen)
