"""``gittorrent mirror --collection``: limits as they are typed, and following without a node."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from gittorrent.cli import node_toml
from gittorrent.cli.limits import size_of
from gittorrent.errors import GitTorrentError, TrustError, UsageError
from gittorrent.git.repository import read_config
from gittorrent.node.collecting import Collecting, read_collection, trust_in
from gittorrent.node.collection_file import CollectionError
from gittorrent.node.collection_judge import LeftOutError, judge_log
from gittorrent.push.carry_limits import CollectionLimits
from gittorrent.repository.carried import ORIGIN, open_carried
from gittorrent.store.collected import CollectionRow, CollectionTable
from gittorrent.store.following import FollowTable
from gittorrent.transfer.location import Location
from gittorrent.transfer.mirroring import Mirroring, tidy_after
from gittorrent.transfer.settings import read_settings
from gittorrent.trust.keys import KeyRef
from gittorrent.trust.refpattern import RefPattern

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gittorrent.discovery.ports import Lookup
    from gittorrent.disk_space import Space
    from gittorrent.ids import RepositoryId
    from gittorrent.node.collection_plan import Brought
    from gittorrent.push.log import VerifiedLog
    from gittorrent.store.database import Database
    from gittorrent.store.home import Home
    from gittorrent.transfer.context import Reporter
    from gittorrent.transfer.peer_manager import Sharing

_USUAL = CollectionLimits()


def collection_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say what a collection may bring."""
    for option in reversed(
        (
            click.option(
                "--collection",
                is_flag=True,
                help="Carry what the collection.toml of the repository names, too.",
            ),
            click.option(
                "--max-repositories",
                type=click.IntRange(min=1),
                metavar="COUNT",
                help=f"Carry at most so many for the collection; {_USUAL.repositories} by default.",
            ),
            click.option(
                "--max-total",
                metavar="SIZE",
                callback=size_of,
                help="Take at most so many bytes for it in all; 100G by default.",
            ),
            click.option(
                "--max-each",
                metavar="SIZE",
                callback=size_of,
                help="Take at most so many bytes of each; 20G by default.",
            ),
            click.option(
                "--refs",
                metavar="PATTERN",
                multiple=True,
                help="Carry only repositories whose refs are all within these patterns.",
            ),
            click.option(
                "--owner",
                metavar="KEY",
                multiple=True,
                help="Carry only repositories whose policy one of these keys signed as a root.",
            ),
        )
    ):
        command = option(command)
    return command


def limits_of(
    repositories: int | None,
    total: int | None,
    each: int | None,
    refs: Sequence[str],
    owners: Sequence[str],
) -> CollectionLimits | None:
    """Return the limits that were typed; None where none was.

    Raises:
        UsageError: one is not understood.
    """
    found = CollectionLimits(
        repositories or _USUAL.repositories,
        total or _USUAL.total,
        each or _USUAL.each,
        tuple(refs),
        tuple(map(_key, owners)),
    )
    for pattern in refs:
        _require_pattern(pattern)
    typed = (repositories, total, each, *refs, *owners)
    return found if any(each is not None for each in typed) else None


def _require_pattern(text: str) -> None:
    try:
        RefPattern(text.encode("utf-8", "surrogateescape"))
    except TrustError as error:
        raise UsageError(
            f"--refs: {text!r} is no pattern of refs",
            hint="give a full name such as refs/heads/main, or end it with * as in refs/heads/*",
        ) from error


def _key(text: str) -> str:
    name = f"ssh:{text}" if text.startswith("SHA256:") else text
    try:
        return str(KeyRef.parse(name))
    except TrustError as error:
        raise UsageError(
            f"--owner: {error}", hint="name a key as ssh:SHA256:... or openpgp:FINGERPRINT"
        ) from error


def follow_collection(
    location: Location, limits: CollectionLimits | None, home: Home, database: Database
) -> None:
    """Record that a collection is followed; limits that were there stay where none are typed.

    Raises:
        UsageError: the node's configuration names it, with limits of its own.
    """
    config = node_toml.read_config(home.config, is_named=False)
    if any(each.location.url == location.url for each in config.carry.collections):
        raise UsageError(
            f"{home.config} names {location.url}, and says what it may bring",
            hint="change it there, and run 'gittorrent reload'",
        )
    table = CollectionTable(database)
    known = {row.url: row for row in table.all()}
    row = known.get(location.full_url) or CollectionRow(location.full_url, since=int(time.time()))
    table.follow(replace(row, limits=limits or row.limits, by_config=False))


def is_published_here(location: Location, database: Database) -> bool:
    """Tell whether a collection is published by this node, which brings what it names by itself."""
    repository = location.expected or database.known_url(location.url)
    rows = database.carried()
    return any(row.repository_id == repository and row.role == ORIGIN for row in rows)


def require_no_limits(limits: CollectionLimits | None) -> None:
    """Make sure that limits of collections are not typed for a single repository.

    Raises:
        UsageError: they are.
    """
    if limits is not None:
        raise UsageError(
            "--max-repositories, --max-total, --max-each, --refs and --owner say what a collection"
            " may bring",
            hint="use them with --collection",
        )


class NotReadError(UsageError):
    """A repository is no collection, or one that is not understood.

    Args:
        url: of it.
        problem: why.
    """

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(
            f"{url}: {problem}; nothing changes by it",
            hint="its owner publishes a collection.toml that 'gittorrent collection check' finds"
            f" right; 'gittorrent mirror {url}' carries this repository alone",
        )


def require_collection(url: str, git_dir: Path) -> None:
    """Make sure that a repository that is here is a collection.

    Raises:
        NotReadError: it is none.
        GitTorrentError: its log cannot be read.
    """
    carried = open_carried(git_dir)
    try:
        read_collection(carried, carried.log())
    except CollectionError as error:
        raise NotReadError(url, str(error)) from error


class CollectionRound:
    """Brings what collections name, one after another, where no node does.

    Args:
        home: of the node.
        database: of the node.
        reporter: tells the user.
        sharing: as for `Mirroring`.
        lookups: the ways to look for mirrors.
        space: tells whether there is room.
    """

    def __init__(
        self,
        home: Home,
        database: Database,
        reporter: Reporter,
        sharing: Sharing,
        lookups: Sequence[Lookup],
        space: Space,
    ) -> None:
        self._home = home
        self._database = database
        self._reporter = reporter
        self._sharing = sharing
        self._lookups = lookups
        self._space = space
        self._said: set[str] = set()
        self._table = CollectionTable(database)
        self._collecting = Collecting(database, home, logs=False)

    async def run(self) -> None:
        """Take in what collections name now, bring it up to date, and let go of what went.

        Raises:
            GitTorrentError: the first reason for which something did not come.
        """
        self._collecting.take_in_news()
        self._collecting.remove_gone()
        failure: GitTorrentError | None = None
        for row in self._table.all():
            if row.problem and failure is None:
                failure = NotReadError(row.url, row.problem)  # said by whoever hears of it
            elif row.problem:
                self.note(str(NotReadError(row.url, row.problem)))
            for fault in row.faults:
                self.note(f"{row.url}: {fault}")
        done: set[RepositoryId] = set()
        while (brought := self._next(done)) is not None:
            done.add(brought.row.repository)
            try:
                await self._bring(brought)
            except LeftOutError as error:
                self._reporter.note(f"{brought.row.repository} is left out: {error}")
            except GitTorrentError as error:
                self._reporter.note(f"{brought.row.repository} did not come: {error}")
                failure = failure or error
        if failure is not None:
            raise failure

    def note(self, text: str) -> None:
        """Say something once, in however many rounds it is found."""
        if text not in self._said:
            self._said.add(text)
            self._reporter.note(text)

    def _next(self, done: set[RepositoryId]) -> Brought | None:
        """Return what comes next: what is here first, then by priority; None at the end."""
        followed = FollowTable(self._database).all_followed()
        plan = self._collecting.plan(self._database.carried(), followed)
        left = [
            each
            for repository, each in plan.brought.items()
            if repository not in done
            and not (repository in followed and followed[repository].paused)
        ]
        rank = {each.row.repository: number for number, each in enumerate(left)}
        return min(
            left,
            key=lambda each: (not each.is_here, -each.row.priority, rank[each.row.repository]),
            default=None,
        )

    async def _bring(self, brought: Brought) -> None:
        repository = brought.row.repository
        self._collecting.mark(brought, await trust_in(brought.source))

        def judge(log: VerifiedLog) -> None:
            judge_log(log, brought.limits)

        most = read_settings(read_config(self._home.root)).max_bytes
        mirroring = Mirroring(
            Location(None, repository),
            self._home,
            self._database,
            self._reporter,
            self._sharing,
            min(most, brought.room),
            lookups=self._lookups,
            space=self._space,
            judge=judge,
            by_id=True,
        )
        try:
            found = await mirroring.check(brought.name)
        except LeftOutError as error:
            self._table.refuse(repository, str(error), int(time.time()))
            raise
        finally:
            self._collecting.has_grown(repository)
        self._table.accept(repository)
        tidy_after(found, wait=True)
        if found.changed:
            self._reporter.note(f"{found.name} updated: checkpoint {found.push_id} of {repository}")


def note_asked_for(repository: RepositoryId, database: Database) -> None:
    """Record that the operator asked for a repository: no collection changes or removes it."""
    table = FollowTable(database)
    how = table.followed(repository)
    if how.by_collection or how.leaving:
        table.follow(repository, replace(how, by_collection=False, leaving=False))
    CollectionTable(database).include(repository)
