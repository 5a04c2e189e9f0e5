"""What ``gittorrent doctor`` finds out about the node's home and the repositories it carries.

Rules: nothing is made, removed or changed, not even what other commands sweep in passing; a home
of another user is not looked into.
"""

from __future__ import annotations

import os
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gittorrent.cli.ages import how_long
from gittorrent.cli.findings import problem, warning, well
from gittorrent.cli.node_toml import read_config
from gittorrent.cli.output import count
from gittorrent.cli.repositories import advice_on_broken
from gittorrent.cli.repository_status import DAMAGE_HINT
from gittorrent.cli.signing_clock import RIGHT
from gittorrent.disk_space import DEFAULT_RESERVE, HINT, SystemDisk
from gittorrent.errors import GitTorrentError
from gittorrent.git.broken_files import broken_files
from gittorrent.git.work_trees import branches_in_use
from gittorrent.node.config import NodeConfig
from gittorrent.node.connection_limiter import MAX_CONNECTIONS
from gittorrent.node.connections import callers_with, files_remedy, open_files_allowed
from gittorrent.ownership import NotOwnError, require_own
from gittorrent.permissions import denied_at
from gittorrent.push.fresh import MAX_AHEAD
from gittorrent.repository.carried import MIRROR, ORIGIN, open_carried
from gittorrent.repository.damaged_reels import damaged_reels, part_in_words
from gittorrent.repository.freshness import read_fresh
from gittorrent.repository.layout import Layout
from gittorrent.repository.recorded_key import present_place
from gittorrent.sizes import show_bytes
from gittorrent.store.database_file import look_at_carried, schema_of
from gittorrent.store.opening import newest_schema, written_by_newer
from gittorrent.store.signing_time import SigningTime

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gittorrent.cli.findings import Finding
    from gittorrent.store.carried_rows import CarriedRow
    from gittorrent.store.home import Home

NEAR = 2
"""A disk is near its mark that has less than so many times what stays free."""

_OWN = "set GITTORRENT_HOME to a directory of your own"

_READ_BY_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def is_usable(home: Home) -> bool:
    """Tell whether a home is there, and may be looked into."""
    try:
        require_own(home.root, "")
    except (NotOwnError, OSError):
        return False
    return True


def look_at_home(home: Home) -> Iterator[Finding]:
    """Yield what is to be said of a home, whether or not it is there."""
    denied = denied_at(home.root, reading=False)
    if not home.root.exists():
        above = next(each for each in home.root.absolute().parents if each.exists())
        if not above.is_dir():
            yield problem("home", f"{home.root} cannot be made: {above} is no directory", _OWN)
            return
        yield (
            well("home", f"{home.root} is not there yet, and is made at first use")
            if denied is None
            else problem("home", str(denied), _OWN)
        )
        return
    try:
        require_own(home.root, _OWN)
    except NotOwnError as error:
        yield problem("home", str(error), error.hint)
        return
    if denied is None:
        yield well("home", str(home.root))
    else:
        yield problem("home", str(denied), denied.hint)
    yield from _look_at_files(home)
    config = NodeConfig()
    try:
        config = read_config(home.config, is_named=False)
    except GitTorrentError as error:
        yield problem("configuration", str(error), error.hint or f"correct {home.config}")
    else:
        if home.config.exists():
            yield well("configuration", str(home.config))
    yield from _look_at_keys(home)
    connections = config.limits.connections or MAX_CONNECTIONS
    yield judge_open_files(open_files_allowed(connections), connections)


def look_at_carried_repositories(home: Home) -> Iterator[Finding]:
    """Yield what is to be said of what a usable home carries, its disks and the clock."""
    rows: list[CarriedRow] = []
    if home.database.exists():
        try:
            rows = look_at_carried(home.database)
            if schema_of(home.database) > newest_schema():
                newer = written_by_newer(home.database)
                yield problem("database", str(newer), newer.hint)
        except GitTorrentError as error:
            remedy = "'gittorrent status' says more; what repositories hold is not lost with it"
            yield problem("database", str(error), remedy)
    yield from _look_at_places(rows)
    yield from _look_at_reels(rows)
    yield from _look_at_recorded_keys(rows)
    yield from _look_at_disks(home, [home.root, *(Path(row.path) for row in rows)])
    yield _look_at_clock(home, rows)


def _look_at_files(home: Home) -> Iterator[Finding]:
    present = (home.keys, home.run, home.partial, home.cache, home.repositories, home.database)
    for path in present:
        if path.exists():
            try:
                require_own(path, "give it back to its user", within=home.root)
            except NotOwnError as error:
                yield problem("home", str(error), error.hint)


def _look_at_keys(home: Home) -> Iterator[Finding]:
    """Look at the modes of private keys; no key is opened."""
    if not home.keys.is_dir():
        return
    keys = [path for path in sorted(home.keys.iterdir()) if path.suffix != ".pub"]
    exposed = [path for path in keys if path.is_file() and path.stat().st_mode & _READ_BY_OTHERS]
    for path in exposed:
        mode = stat.S_IMODE(path.stat().st_mode)
        yield problem(
            "keys",
            f"others may use {path} (its mode is {mode:04o}), and ssh-keygen refuses it",
            f"chmod 600 {path}; if others could enter its directory, replace the key",
        )
    if keys and not exposed:
        yield well("keys", f"{count(len(keys), 'key')} that nobody else may read")


def judge_open_files(allowed: int, connections: int = MAX_CONNECTIONS) -> Finding:
    """Return what is to be said of the files that a process of this user may open.

    Args:
        allowed: that many.
        connections: of callers that a node is to let in.
    """
    callers = callers_with(allowed, connections)
    if callers < connections:
        text = f"a node here may open {allowed} files, and lets in at most {callers} callers"
        return warning("open files", f"{text} instead of {connections}", files_remedy(connections))
    return well("open files", f"a node may open {allowed}")


def _look_at_places(rows: Sequence[CarriedRow]) -> Iterator[Finding]:
    missing = [row for row in rows if not Path(row.path).is_dir()]
    for row in missing:
        yield problem(
            "repositories",
            f"{row.name} is not at {row.path}",
            f"name its new place once, as in 'gittorrent log NEW_PATH', or forget it with"
            f" 'gittorrent remove {row.name}'",
        )
    denied = [row for row in rows if row not in missing and not os.access(row.path, os.W_OK)]
    for row in denied:
        yield problem(
            "repositories",
            f"this user may not write to {row.path}",
            "run this as the node's user, or give the repository to that user",
        )
    broken = 0
    for row in rows:
        try:
            found = broken_files(Path(row.path))
        except OSError:
            continue  # that it is denied is said above
        for each in found:
            yield problem("repositories", str(each), advice_on_broken(row.role, row.name, each))
        broken += len(found)
    for row in rows:
        used = branches_in_use(Path(row.path)) if row.role == MIRROR else ()
        for branch in sorted(used):
            name = branch.removeprefix(b"refs/heads/").decode(errors="backslashreplace")
            yield warning(
                "repositories",
                f"a work tree that is linked to the mirror {row.path} has {name} checked out, and"
                " is left behind, with a detached HEAD, when the branch moves",
                f"work in a clone of the mirror: 'git clone {row.path}'",
            )
    if not missing and not denied and not broken:
        yield well("repositories", f"{count(len(rows), 'repository')}, all in their places")


def _look_at_reels(rows: Sequence[CarriedRow]) -> Iterator[Finding]:
    """Say which reels a node found damaged; no reel is read."""
    for row in rows:
        try:
            damaged = damaged_reels(Layout(Path(row.path)))
        except OSError:
            continue  # that it is denied is said of its place
        for reel in damaged:
            what = f"{part_in_words(reel.part)} of reel {reel.manifest} of {row.name} is damaged"
            yield problem("reels", f"{what} in {reel.path}", DAMAGE_HINT)


def _look_at_recorded_keys(rows: Sequence[CarriedRow]) -> Iterator[Finding]:
    """Look whether keys that repositories record as files are there; no key is opened."""
    for row in rows:
        if row.role != ORIGIN:
            continue
        try:
            carried = open_carried(Path(row.path))
        except GitTorrentError:
            continue  # that it is missing or damaged is said elsewhere
        recorded = {"publishes": carried.signing_key, "signs checkpoints of": carried.keeper_key}
        for does, spec in recorded.items():
            place = Path(present_place(spec)) if spec else None
            if place is not None and place.is_absolute() and not place.exists():
                yield problem(
                    "keys",
                    f"the key that {does} {row.name} is not at {place}",
                    "bring it back from its copy; 'gittorrent adopt' and 'gittorrent keeper here'"
                    " take another one that the policy names",
                )


def _look_at_disks(home: Home, places: Sequence[Path]) -> Iterator[Finding]:
    """Look at the room on each file system, named by the first of the places that is on it."""
    try:
        config = read_config(home.config, is_named=False)
    except GitTorrentError:
        config = NodeConfig()  # what is wrong with it is said of the configuration
    reserve = config.disk.reserve or DEFAULT_RESERVE
    seen: set[int] = set()
    for place in [*places, Path(tempfile.gettempdir())]:
        found = SystemDisk().look(place)
        if found.device in seen:
            continue
        seen.add(found.device)
        least, least_files = reserve.of(found.total), reserve.files_of(found.files)
        text = f"{show_bytes(found.free)} free at {place}, {show_bytes(least)} stay free"
        files = f"{found.free_files} files can be made at {place}, {least_files} stay free"
        if found.free <= least:
            yield problem("disk", text, f"nothing more is taken: {HINT}")
        elif found.files and found.free_files <= least_files:
            yield problem("disk", files, f"nothing more is taken: {HINT}")
        elif found.free < NEAR * least:
            yield warning("disk", text, "make room before updates and pushes are refused")
        elif found.free_files < NEAR * least_files:
            yield warning("disk", files, "remove some before updates and pushes are refused")
        else:
            yield well("disk", text)


def _look_at_clock(home: Home, rows: Sequence[CarriedRow]) -> Finding:
    """Compare the clock with what keepers signed, which had been judged when it came."""
    now = time.time()
    if ahead := SigningTime(home.clock).ahead():
        return problem(
            "clock",
            f"it is {how_long(int(ahead))} ahead of what it can be: what is signed here is dated by"
            " the time that has passed",
            f"set the clock; if it is right, run '{RIGHT}'",
        )
    for row in rows:
        line = read_fresh(Layout(Path(row.path)), row.repository_id)
        if line is not None and line.time > now + MAX_AHEAD:
            behind = int(line.time - now)
            return problem(
                "clock",
                f"it is at least {behind} s behind the keeper of {row.name}",
                "set the clock, and keep it right by NTP: freshness is judged by it",
            )
        if row.role == ORIGIN and (signed := _signed_ahead(row, now)):
            return problem(
                "clock",
                f"{row.name} has checkpoints dated {how_long(signed)} ahead of it: mirrors hold"
                " them until then",
                "set the clock; if it is right, it was not when they were signed:"
                f" 'gittorrent keeper show {row.path}' says how to go on from before",
            )
    return well("clock", "not behind any keeper's statement that is kept here")


def _signed_ahead(row: CarriedRow, now: float) -> int:
    """Return by how many seconds the newest checkpoint is dated ahead of now; 0 if it is not."""
    try:
        records = open_carried(Path(row.path)).log_store.records()
    except GitTorrentError:
        return 0  # which is a finding of its own
    newest = max((each.time for each in records if each.is_in_chain), default=0)
    return int(newest - now) if newest > now + MAX_AHEAD else 0
