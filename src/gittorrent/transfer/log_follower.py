"""Fetches and verifies a repository's log, from the first mirror whose log holds.

That is the mirror the user named, or another one where the repository's id is known: one that this
machine knows, or else one that is found. The id that it claims is checked before anything is asked
of it, and its log is verified entry by entry. When it fails, the next mirror becomes the first one
and continues from the entries that are here.

Whom it may turn to `gittorrent.transfer.candidates` knows. Must not know reels.
Source: docs/protocol/mirrorsync.md, Whom a client asks.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from gittorrent.discovery.ports import Way
from gittorrent.errors import (
    GitTorrentError,
    IdentityError,
    LocalError,
    TrustError,
    UnreachableError,
)
from gittorrent.ids import format_of
from gittorrent.push.log import VerifiedLog
from gittorrent.store.database import RememberedMirror
from gittorrent.store.privacy import note_private
from gittorrent.transfer.candidates import Candidates
from gittorrent.transfer.location import Location
from gittorrent.transfer.log_extent import LogExtent
from gittorrent.transfer.log_intake import BehindError, DatedAheadError, LogIntake
from gittorrent.transfer.log_words import contradictions, silence, troubles
from gittorrent.transfer.mirror import BusyMirrorError
from gittorrent.transfer.mirror_news import has_news
from gittorrent.transfer.opening import ask_list, calling_ahead
from gittorrent.transfer.reaching import (
    MAX_CANDIDATES,
    Source,
    all_that_answer,
    learned,
    named_by_policy,
    unique,
)
from gittorrent.transfer.working import stoppable
from gittorrent.wire.messages import FetchLog
from gittorrent.wire.mirrorlist import MirrorState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gittorrent.ids import ObjectFormat, RepositoryId
    from gittorrent.repository.logstore import LogStore
    from gittorrent.transfer.context import Context
    from gittorrent.transfer.mirror import Mirror
    from gittorrent.transfer.peer_manager import PeerManager
    from gittorrent.wire.mirrorlist import MirrorList
    from gittorrent.wire.urls import AddressClass


class WrongIdentityError(IdentityError):
    """The mirror carries another repository than the one asked for."""


class ChangedIdentityError(IdentityError):
    """A known URL leads to another repository than before."""


class _SlowLogError(UnreachableError):
    """A mirror sends its log, but not in the time that it has while others could."""


class LogFollower:
    """Follows the log of one repository.

    ``first_contact`` tells whether nothing on this machine says who the repository is.

    Args:
        location: the mirror to begin with.
        context: of the world around it.
        peer_manager: the first mirror is made one of them.
    """

    def __init__(self, location: Location, context: Context, peer_manager: PeerManager) -> None:
        self._location = location
        self._context = context
        self._peer_manager = peer_manager
        self._list: MirrorList | None = None
        self._first: Source | None = None
        self._known: Candidates | None = None
        self._hurries = True
        self._extent = LogExtent.KEPT
        self.first_contact = False

    @property
    def _candidates(self) -> Candidates:
        assert self._known is not None
        return self._known

    @property
    def mirror_list(self) -> MirrorList:
        """The list the first mirror answered with."""
        assert self._list is not None
        return self._list

    @property
    def claimed(self) -> RepositoryId:
        """The repository that the first mirror says it carries, and the only one it may prove."""
        return self.mirror_list.repository_id

    @property
    def object_format(self) -> ObjectFormat:
        """Of the repository, by the newest push of the list."""
        return _format_of(self.mirror_list, self.url)

    @property
    def first(self) -> Source:
        """The mirror it goes by."""
        assert self._first is not None
        return self._first

    @property
    def url(self) -> str:
        """URL of the first mirror."""
        return self.first.url

    def source_url(self) -> str:
        """Return the URL to come back to: of the mirror the user named, or else of the first."""
        location = self._location
        if location.endpoint is None:
            assert self._first is not None
            location = Location(self._first.endpoint, location.expected)
        return location.pinned_url(self.claimed)

    async def open(self) -> RepositoryId:
        """Ask a mirror who it carries and begin a conversation with it.

        That is the one the user named; where it does not answer and the repository is known, it is
        whichever of the mirrors known here answers first.

        Returns:
            The repository id it claims, which the log will have to prove.

        Raises:
            UnreachableError, NotAMirrorError: there is none that can be used.
            WrongIdentityError, ChangedIdentityError: it carries another repository.
        """
        context, location = self._context, self._location
        repository = location.expected or context.database.known_url(location.url)
        self._known = Candidates(location, repository, context)
        await self._open_next()
        return self.claimed

    async def close(self) -> None:
        """End the search for mirrors, if one is under way."""
        if self._known is not None:
            await self._known.close()

    async def _open_next(self) -> None:
        """Open the best mirror that did not fail yet.

        Raises:
            GitTorrentError: none is left, or none answers.
        """
        candidates = self._candidates
        self._begin_with(*await candidates.first_to_answer(self._open, _hang_up))
        candidates.note_failures(self.claimed)
        wanted = candidates.wanted
        if self.first is not wanted:
            self._say(wanted, f"{candidates.why_not_wanted}; going on with {self.url}")

    def _say(self, source: Source, text: str) -> None:
        """Say what is wrong with a mirror; of strangers that were found only who wants all."""
        reporter = self._context.reporter
        (reporter.detail if source.is_found else reporter.note)(text)

    def _begin_with(self, source: Source, opened: _Opened) -> None:
        """Let a mirror be the first one."""
        self._first, (self._list, kind, mirror) = source, opened
        assert source.endpoint is not None
        self._peer_manager.begin_with(mirror, source.endpoint, source.trusted, kind)

    async def _open(self, source: Source) -> _Opened:
        """Ask one mirror for its list, and for a conversation if it has what we want."""
        endpoint, client_timeouts = source.endpoint, self._context.client_timeouts
        assert endpoint is not None
        ahead = calling_ahead(endpoint, client_timeouts) if source.trusted is None else _nothing()
        async with ahead as calling:
            found, kind = await ask_list(endpoint, source.trusted, client_timeouts)
            self._check_identity(source, found.repository_id)
            _format_of(found, source.url)
            return found, kind, await self._peer_manager.call(endpoint, source.trusted, calling)

    def _check_identity(self, source: Source, claimed: RepositoryId) -> None:
        url = source.url
        expected = self._location.expected
        if expected is not None and claimed != expected:
            raise WrongIdentityError(
                f"{url} carries repository {claimed}, not {expected}",
                hint="check the URL; the id names the repository and cannot be changed by a mirror",
            )
        known = self._context.database.known_url(self._location.url)
        if expected is None and known is not None and known != claimed:
            raise ChangedIdentityError(
                f"{url} carried repository {known} before and now says {claimed}",
                hint="somebody may be in between. If its owners did start anew, run"
                f" 'gittorrent forget {url}' and try again",
            )
        self.first_contact = expected is None and known is None

    async def fetch_log(
        self, store: LogStore, object_format: ObjectFormat, extent: LogExtent
    ) -> VerifiedLog:
        """Bring the log up to date with the first mirror's, verified entry by entry.

        A mirror that fails at it gives way to the next one, which goes on where it was; so does one
        that takes long. When all do, all may have a slow line in common: then time does not count.

        Args:
            store: where the log is kept; what is new is added to it, the log not yet committed.
            object_format: of the repository.
            extent: how much of it is to be there; what no mirror has any more is done without.

        Raises:
            IdentityError: the log belongs to another repository.
            TrustError: an entry does not hold.
            MirrorLostError: the mirror stopped answering.
        """
        self._extent = extent
        log = await stoppable(store.open)
        lacks_past = extent >= LogExtent.WHOLE and log.begins_late
        if lacks_past or (extent >= LogExtent.COMPLETE and _lacks_pushes(log)):
            log = await self._with_its_past(log, store, object_format)
        while True:
            try:
                await self._follow(log, store, self.first, self.mirror_list, self._mirror)
            except LocalError:
                raise
            except BehindError as error:
                self._context.reporter.note(str(error))
                log = await stoppable(store.open)
                break
            except GitTorrentError as error:
                await self._give_way(error)
                if not isinstance(error, UnreachableError):
                    log = await stoppable(store.open)
            else:
                break
        if self.url != self._location.url:
            log = await self._look_for_news(log, store)
        self._confirm(log)
        return log

    async def _with_its_past(
        self, log: VerifiedLog, store: LogStore, object_format: ObjectFormat
    ) -> VerifiedLog:
        """Return a log with what a clone's does without, if the first mirror has that."""
        fresh = VerifiedLog(object_format)
        try:
            await self._follow(fresh, store, self.first, self.mirror_list, self._mirror)
        except LocalError:
            raise
        except GitTorrentError as error:
            self._context.reporter.detail(f"the log's past is not to be had: {error}")
            return log
        # What was verified before has to be in it.
        has_more = log.head in fresh.ids and len(fresh.entries) > len(log.entries)
        return fresh if has_more else log

    async def _give_way(self, error: GitTorrentError) -> None:
        """Turn to the next mirror after one failed; if there is none, the failure stands."""
        failed = self.first
        self._candidates.failures[self.url] = error
        # Whoever is busy is asked again, as whoever is busy from the beginning.
        if self._candidates.is_last(self._first) and not isinstance(error, BusyMirrorError):
            self._give_time(error)
        await self._peer_manager.drop_first()
        try:
            await self._open_next()
        except GitTorrentError:
            # What was still looked for may have come to nothing.
            self._give_time(error)
            await self._open_next()
        if not isinstance(error, UnreachableError):
            self._say(failed, f"left out: {error}")

    def _give_time(self, error: GitTorrentError) -> None:
        """Let those who were only slow try again, without a limit; if none was, the error stands.

        Raises:
            GitTorrentError: that error.
        """
        failures = self._candidates.failures
        slow = [url for url, why in failures.items() if isinstance(why, _SlowLogError)]
        if not slow or not self._hurries:
            raise error
        self._hurries = False
        for url in slow:
            del failures[url]

    async def _look_for_news(self, log: VerifiedLog, store: LogStore) -> VerifiedLog:
        """Go on with whatever other mirrors have beyond what the one that answered first has.

        The one the user named is gone, or none was named, and of those that stand in for it some
        may be behind: for a fetch as for a first clone.
        """
        others = [source for source in self._candidates.left if source.url != self.url]
        for source, found in await all_that_answer(others, self._list_of):
            if found.repository_id != log.repository or not has_news(found, log):
                continue
            if found.latest != log.head and found.latest is not None and found.latest in log:
                continue  # behind, or aside
            newer = await stoppable(store.copy_of, log)
            try:
                opened = await self._open(source)
                try:
                    await self._follow(newer, store, source, opened[0], opened[2])
                except BaseException:
                    await _hang_up(opened)
                    raise
            except LocalError:
                raise
            except BehindError as error:
                self._context.reporter.detail(str(error))
            except GitTorrentError as error:
                self._candidates.failures[source.url] = error
                self._context.reporter.note(f"left out: {error}")
            else:
                await self._peer_manager.drop_first()
                self._begin_with(source, opened)
                log = newer
        return log

    async def _list_of(self, source: Source) -> MirrorList:
        assert source.endpoint is not None
        return (await ask_list(source.endpoint, source.trusted, self._context.client_timeouts))[0]

    @property
    def _mirror(self) -> Mirror:
        """The conversation with the first mirror."""
        return self._peer_manager.mirrors[0]

    async def _follow(
        self, log: VerifiedLog, store: LogStore, source: Source, found: MirrorList, mirror: Mirror
    ) -> None:
        """Continue the log by what a mirror has.

        Args:
            log: to continue; if this fails, it is of no more use.
            store: where the log is kept.
            source: the mirror.
            found: what it said of itself.
            mirror: the conversation with it.
        """
        latest, url = found.latest, source.url
        assert latest is not None
        if format_of(latest) is not log.object_format:
            raise TrustError(f"{url} speaks of {_format_of(found, url).name} objects")
        if latest != log.head and latest in log.ids:
            self._context.reporter.note(
                f"{url} is behind: it does not have checkpoint {log.head} yet"
            )
            return
        if latest == log.head and not has_news(found, log):
            return
        hurries = self._hurries and not self._candidates.is_last(self._first)
        turn = self._context.client_timeouts.turn if hurries else None
        context = self._context
        intake = LogIntake(log, store, context.git, url, self.claimed, context.clock)
        short = self._extent is LogExtent.SHORT
        question = FetchLog(latest, log.head, short)
        try:
            async with asyncio.timeout(turn):
                await mirror.fetch_log(question, log.__contains__, intake.admit)
        except TimeoutError as error:
            raise _SlowLogError(f"{url} takes long to send its log") from error
        except IdentityError as error:
            raise WrongIdentityError(
                f"{url} says that it carries {self.claimed}, and its log is another's: {error}"
            ) from error
        known = log.head
        try:
            await intake.settle(latest, short=short)
        except DatedAheadError as error:
            if known is None:
                raise
            # The rest of what it has is as good as any: pushes go on, and the way back.
            self._context.reporter.note(f"warning: {error}")

    def _names_one(self) -> bool:
        """Tell whether the URL leads to one repository by itself, so that it may be remembered.

        An id in it is not there the next time that somebody types it. At the root of a host the id
        alone says which of many is meant (docs/commands.md, "URLs").
        """
        endpoint = self._location.endpoint
        return endpoint is not None and (
            self._location.expected is None or endpoint.path.strip("/") != ""
        )

    def _confirm(self, log: VerifiedLog) -> None:
        """Now that the log proves who it is: remember it, and notice a mirror that lags."""
        database, now = self._context.database, int(self._context.clock())
        assert log.head is not None
        if self.url == self._location.url and self._names_one():
            database.remember_url(self.url, log.repository, now)
        seen = database.seen_head(log.repository)
        for trouble in [*troubles(log), *contradictions(log, seen, self.url)]:
            self._context.reporter.note(f"warning: {trouble}")
        if said := silence(log, self.mirror_list.fresh, self.url, now):
            # Many keepers sign when their owner publishes; where the policy promises more, it is
            # a warning.
            reporter = self._context.reporter
            promised = log.policy.policy.fresh_within is not None
            (reporter.note if promised else reporter.detail)(f"warning: {said}")
        note_private(database, log.repository, private=log.policy.policy.private)
        database.saw_head(log.repository, log.head, len(log), now)
        teller = self.first.endpoint.host if self.first.endpoint is not None else ""
        known = [
            RememberedMirror(
                source.url,
                source.trusted,
                source.way.value,
                teller if source.way is Way.LISTED else "",
            )
            for source in self._listed(log)
        ]
        with self._context.remembering():
            database.remember_mirrors(log.repository, known, now)
            database.mirror_served(log.repository, self.url, now)

    def _listed(self, log: VerifiedLog) -> list[Source]:
        """Return the first mirror, those it lists, and those that the policy names."""
        assert self._first is not None
        trusted = self._peer_manager.trusted
        found = [self._first]
        if log.policy.policy.private:
            return found  # whoever is told of proved nothing
        for state in (MirrorState.CURRENT, MirrorState.STALE):
            for entry in self.mirror_list.mirrors:
                source = learned(entry.url, trusted) if entry.state is state else None
                found += [] if source is None else [source]
        return [*found, *named_by_policy(log.policy.policy.mirrors, log.repository, trusted)]

    def sources(self, log: VerifiedLog) -> list[Source]:
        """Return the mirrors for an ordinary fetch, the first one first; ssh ones come last."""
        found = unique([*self._listed(log), *self._candidates.known_here(log.repository)])
        usable = [source for source in found if source.url not in self._candidates.failures]
        usable.sort(key=lambda source: source.endpoint is None)
        return usable[:MAX_CANDIDATES]


_Opened = tuple["MirrorList", "AddressClass", "Mirror"]
"""What a mirror answered with: its list, the kind of its address, and the conversation."""


async def _hang_up(opened: _Opened) -> None:
    """End the conversation with a mirror that was not needed."""
    await opened[2].close()


@contextlib.asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    """Connect to nothing ahead: a learned address has to be judged first."""
    yield


def _format_of(found: MirrorList, url: str) -> ObjectFormat:
    object_format = None if found.latest is None else format_of(found.latest)
    if object_format is None:
        raise UnreachableError(f"{url} has no push yet")
    return object_format


def _lacks_pushes(log: VerifiedLog) -> bool:
    """Tell whether a log is without a push that one of its checkpoints took, as a clone's is."""
    return any(
        item.push not in log for each in log.ids for item in log.checkpoint(each).checkpoint.taken
    )
