"""Whether what is about to be published for the first time is a repository already.

A first publication makes a new repository id, which nobody's URLs lead to, so it must be meant.
Looked at: what is kept in the directory itself, what this node recorded of it, its remotes, and
whose commits it has. Rules: the cheapest comes first; what cannot be reached or read is passed
over, since this only warns. Must not know how anything is published.
"""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.cli.bare_copy import recorded_copy, recorded_repository
from gittorrent.errors import GitTorrentError, UsageError
from gittorrent.git.alternates import borrowing
from gittorrent.git.history import describe
from gittorrent.git.refs import read_ref, read_refs
from gittorrent.git.remotes import remote_urls
from gittorrent.git.repository import find_repository
from gittorrent.git.runner import Git
from gittorrent.ids import RepositoryId, is_repository_id
from gittorrent.interruptions import run
from gittorrent.repository.carried import ORIGIN, Carried, object_format_of
from gittorrent.repository.layout import LOG_REF, Layout
from gittorrent.repository.logstore import LogStore
from gittorrent.repository.readers_file import is_private_here
from gittorrent.store.privacy import is_private
from gittorrent.transfer.location import LocationError, may_lead_to_mirror, parse_location
from gittorrent.transfer.opening import ask_list
from gittorrent.transfer.reaching import Source, all_that_answer, named
from gittorrent.trust.errors import PolicyError
from gittorrent.trust.policy import repository_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gittorrent.git.repository import FoundRepository
    from gittorrent.ids import ObjectFormat, Oid
    from gittorrent.repository.carried import RepositoryInfo
    from gittorrent.store.carried_rows import CarriedRow
    from gittorrent.store.database import Database

AT_ONCE = 200
"""Repositories that one git looks into: their paths are one variable of its environment."""

MAX_TIPS = 1000
"""Branches by which a repository is recognised: more say nothing new and cost time."""


class AlreadyARepositoryError(UsageError):
    """What was to be published for the first time belongs to a repository that there is."""


class Relation(Struct, frozen=True):
    """Which repository something belongs to.

    Args:
        repository: its id; None where it is lost.
        why: how that is known, as the second half of a sentence.
        published_at: where it is published from, if that is there.
        lost_copy: where the bare copy was that it was published through, if that is gone.
        log_at: the directory here that has its log, if one has.
    """

    repository: RepositoryId | None
    why: str
    published_at: Path | None = None
    lost_copy: Path | None = None
    log_at: Path | None = None


def require_new(found: FoundRepository, database: Database) -> None:
    """Refuse to publish something as a new repository that belongs to one already.

    Args:
        found: what is to be published, in place or through a bare copy.
        database: of the node.

    Raises:
        AlreadyARepositoryError: with how that is known, and what to do.
    """
    relation = find_relation(found, database)
    if relation is None:
        return
    where = found.place
    whose = f"repository {relation.repository}" if relation.repository else "a repository"
    if relation.published_at is not None:
        instead = f"push to {relation.published_at} and publish that"
        if not found.is_bare and recorded_copy(found.git_dir) is not None:
            config = f"'git -C {where} config gittorrent.copy {relation.published_at}'"
            instead += f", or run {config} to publish {where} through it"
    elif relation.lost_copy is not None:
        instead = (
            f"if it was moved, run 'git -C {where} config gittorrent.copy NEW_PLACE'; if it is"
            " lost, 'gittorrent adopt URL_OF_A_MIRROR' goes on with it if you have its key"
        )
    else:
        place = relation.log_at or "URL_OF_A_MIRROR"
        instead = f"'gittorrent adopt {place}' goes on with that one if you have its key"
    raise AlreadyARepositoryError(
        f"{where} belongs to {whose}: {relation.why}; publishing it would make another one, with"
        " a new id",
        hint=f"{instead}, or say --new-repository",
    )


def require_meant(found: FoundRepository, database: Database) -> None:
    """Refuse to publish for everybody what another repository keeps private.

    Args:
        found: what is to be published as a new repository.
        database: of the node.

    Raises:
        UsageError: it has what is private, as far as this machine knows.
    """
    private = _private_source(found, database)
    if private is None:
        return
    name = next((r.name for r in database.carried() if r.repository_id == private), private)
    raise UsageError(
        f"{found.place} has what {name} has, which is private, and everybody could read it",
        hint="--private lets only those read whom its policy names; --even-if-private publishes it"
        " for everybody all the same",
    )


def _private_source(found: FoundRepository, database: Database) -> RepositoryId | None:
    """Return a private repository that this belongs to; None where none is known."""
    copy = None if found.is_bare else recorded_copy(found.git_dir)
    for place in (found.git_dir, *([] if copy is None else [copy])):
        for each in own_logs(place, found.object_format):
            if is_private_here(Layout(place), each):
                return each
    relation = find_relation(found, database, asks=False)
    repository = None if relation is None else relation.repository
    return repository if repository is not None and is_private(database, repository) else None


def has_log(place: Path, object_format: ObjectFormat) -> bool:
    """Tell whether a repository is published from a git directory."""
    carried = Carried(place, object_format)
    return carried.is_published_or_mirrored and bool(carried.log_store.ids())


def require_another(found: FoundRepository, name: str | None) -> None:
    """Make sure that another repository can be made of what is published already.

    It needs a directory of its own for its log, and a name of its own.

    Args:
        found: what is published, in place or through a bare copy.
        name: the one that the user chose.

    Raises:
        UsageError: it cannot.
    """
    if found.is_bare:
        clone = f"'git clone --bare {found.git_dir} NEW_PLACE'"
        raise UsageError(
            f"{found.git_dir} is published already, and has one repository's log",
            hint=f"without --new-repository what changed is published; to make another one, run"
            f" {clone} and publish that with --new-repository --name NAME",
        )
    if name is None:
        raise UsageError(
            f"{found.place} is published already, through {recorded_copy(found.git_dir)}",
            hint="without --new-repository what changed is published; another one needs a name of"
            " its own: --new-repository --name NAME",
        )


def find_relation(
    found: FoundRepository, database: Database, *, asks: bool = True
) -> Relation | None:
    """Return which repository this belongs to, if it was not published yet; None if to none.

    Args:
        found: the repository, a bare one or a clone.
        database: of the node.
        asks: whether remotes of which nothing is known here are asked.
    """
    copy = None if found.is_bare else recorded_copy(found.git_dir)
    published_at = copy or found.git_dir
    published = Carried(published_at, found.object_format)
    is_there = found.is_bare or (copy is not None and copy.is_dir())
    if is_there and has_log(published_at, found.object_format):
        return None
    rows = database.carried()
    kept = published if is_there and not found.is_bare else None
    relation = (
        _by_log_in(found.git_dir, found.place, found.object_format)
        or (kept and _by_log_in(published_at, published_at, found.object_format))
        or _by_record(found, copy, rows, is_there=is_there)
        or _by_remotes(found, database, asks=asks)
        or _by_commits(found, rows)
    )
    if relation is None or relation.published_at is not None:
        return relation
    return replace(relation, published_at=_origin_here(relation, rows, found))


def _origin_here(
    relation: Relation, rows: Iterable[CarriedRow], found: FoundRepository
) -> Path | None:
    """Return where this node publishes a repository from; None if it does not, or that is gone."""
    for row in rows:
        if row.repository_id == relation.repository and row.role == ORIGIN:
            place = Path(row.path)
            if Carried(place, found.object_format).is_carried:
                return place
    return None


def own_logs(git_dir: Path, object_format: ObjectFormat) -> list[RepositoryId]:
    """Return the repositories whose logs are kept in a git directory."""
    layout = Layout(git_dir)
    ids = [RepositoryId(p.name) for p in sorted(layout.logs.glob("*")) if is_repository_id(p.name)]
    return [i for i in ids if LogStore(layout, object_format, i).ids()]


def _by_log_in(git_dir: Path, place: Path, object_format: ObjectFormat) -> Relation | None:
    """Look for a log, or for the branch that shows it."""
    logs = own_logs(git_dir, object_format)
    if logs:
        return Relation(logs[0], f"that one's log is in {git_dir}", log_at=place)
    git = Git(git_dir)
    if read_ref(git, LOG_REF) is None:
        return None
    root = git.run("rev-list", "--max-parents=0", LOG_REF).decode("ascii").split()[0]
    text = git.attempt("cat-file", "blob", f"{root}:text").stdout
    with contextlib.suppress(PolicyError):
        return Relation(repository_id(text), f"{LOG_REF} in {git_dir} shows that one's log")
    return None


def _by_record(
    found: FoundRepository, copy: Path | None, rows: Iterable[CarriedRow], *, is_there: bool
) -> Relation | None:
    """See whether this node carried something where this is published, and it is gone."""
    place = found.git_dir if found.is_bare else copy
    row = next((row for row in rows if row.path == str(place)), None)
    if place is None or (row is None and is_there):
        return None
    repository = row.repository_id if row else recorded_repository(found.git_dir)
    if is_there:
        why = f"it was published before, and its log in {Layout(place).own} is gone"
        return Relation(repository, why)
    why = f"it was published before, and the bare copy {place} is gone"
    return Relation(repository, why, lost_copy=place)


def _by_remotes(found: FoundRepository, database: Database, *, asks: bool) -> Relation | None:
    """Look at the remotes: at what their URLs say first, and then at who answers there."""
    unknown: list[tuple[str, Source]] = []
    for name, url in remote_urls(found.git_dir):
        local = _at_path(found.place, url)
        if local is not None:
            at = Path(url) if local.role == ORIGIN else None
            return Relation(local.repository_id, f"its remote {name} is {url}", at)
        try:
            location = parse_location(url)
        except LocationError:
            continue
        repository = location.expected or database.known_url(location.url)
        if repository is not None:
            return Relation(repository, f"its remote {name} leads there")
        if asks and location.endpoint is not None and may_lead_to_mirror(url):
            unknown.append((name, named(location.endpoint)))
    if not unknown:
        return None
    answers = run(all_that_answer([source for _, source in unknown], partial(_list_of)))
    for source, repository in answers:
        name = next(name for name, asked in unknown if asked is source)
        return Relation(repository, f"its remote {name} leads there")
    return None


async def _list_of(source: Source) -> RepositoryId:
    assert source.endpoint is not None
    return (await ask_list(source.endpoint))[0].repository_id


def _at_path(base: Path, url: str) -> RepositoryInfo | None:
    """Return what is carried where a remote is a directory of this machine; None if nothing."""
    place = unquote(urlsplit(url).path) if url.startswith("file://") else url
    if "://" in place:
        return None
    with contextlib.suppress(GitTorrentError, OSError):
        other = find_repository(base / place)
        return Carried(other.git_dir, other.object_format).info
    return None


def _by_commits(found: FoundRepository, rows: Iterable[CarriedRow]) -> Relation | None:
    """See whether branches of this are known to a carried repository, or the other way round."""
    git = Git(found.git_dir)
    own = _tips(git)
    here = [row for row in rows if own and _is_like(row, found)]
    for first in range(0, len(here), AT_ONCE):
        some = here[first : first + AT_ONCE]
        row = _has_any(some, own, git) or _is_of_any(some, git)
        if row is not None:
            at = Path(row.path) if row.role == ORIGIN else None
            why = f"commits of its branches are in {row.name} ({row.path})"
            return Relation(row.repository_id, why, at)
    return None


def _is_like(row: CarriedRow, found: FoundRepository) -> bool:
    """Tell whether what is carried is there, and of the same object format."""
    place = Path(row.path)
    with contextlib.suppress(GitTorrentError, OSError):
        return (place / "objects").is_dir() and object_format_of(place) is found.object_format
    return False


def _has_any(rows: Sequence[CarriedRow], commits: Sequence[Oid], git: Git) -> CarriedRow | None:
    """Return which of some repositories has one of these commits; None if none does.

    All are looked into by one git, and none by itself unless that finds something: a node may
    carry thousands.
    """
    own, *others = (Path(row.path) / "objects" for row in rows)
    there = borrowing(replace(git, objects=own), others)
    with contextlib.suppress(GitTorrentError, OSError):
        if not any(describe(there, commits)):
            return None
    for row in rows:
        with contextlib.suppress(GitTorrentError, OSError):
            if any(describe(Git(Path(row.path)), commits)):
                return row
    return None


def _is_of_any(rows: Sequence[CarriedRow], git: Git) -> CarriedRow | None:
    """Return of which of some repositories a branch's commit is in this one; None if of none."""
    tips: dict[Oid, CarriedRow] = {}
    for row in rows:
        with contextlib.suppress(GitTorrentError, OSError):
            for tip in _tips(Git(Path(row.path))):
                tips.setdefault(tip, row)
    known = [tip for tip, each in zip(tips, describe(git, tips), strict=True) if each is not None]
    return tips[known[0]] if known else None


def _tips(git: Git) -> list[Oid]:
    """Return what branches point to, some of them where there are many."""
    return sorted(set(read_refs(git, "refs/heads").values()))[:MAX_TIPS]
