"""Takes in what mirrors have of a repository, right before somebody signs for it here.

Whoever signs on an old state leaves others' pushes out until the next time; the keeper even signs
a second checkpoint in the place of one that others have. A running node hears of news by itself;
where none does, the mirrors known here are asked, side by side.

Rules: until it is known what is new, mirrors are waited for `LIST_SECONDS` and `LOG_SECONDS` at
most; each one's log is verified apart from the others', so that none can spoil what another has;
what is proved to be new is brought with its objects, as long as they flow. Must not know what is
signed.
Source: docs/decisions/0053-publishing-asks-mirrors-first.md.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.errors import GitTorrentError, LocalError, TrustError, UnreachableError
from gittorrent.git.fetching import FetchOptions
from gittorrent.git.history import describe, is_connected_to_refs
from gittorrent.ids import format_of
from gittorrent.push.object import PushKind
from gittorrent.repository.carried import ORIGIN
from gittorrent.repository.quarantine import extent_of
from gittorrent.store.signing_time import SigningTime
from gittorrent.transfer.content_source import EmptyContentSource
from gittorrent.transfer.git_mirror import ConversationContext
from gittorrent.transfer.limiter import Limits
from gittorrent.transfer.log_intake import LogIntake
from gittorrent.transfer.mirror_news import has_news
from gittorrent.transfer.opening import ask_list, open_mirror
from gittorrent.transfer.ordinary import OrdinaryFetch, TooLargeError, Wanted
from gittorrent.transfer.reaching import all_that_answer
from gittorrent.transfer.untaken import UntakenPushes
from gittorrent.transfer.working import stoppable, unbroken
from gittorrent.wire.messages import FetchLog

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gittorrent.ids import PushId
    from gittorrent.push.log import VerifiedLog
    from gittorrent.repository.carried import Carried
    from gittorrent.transfer.context import Context
    from gittorrent.transfer.mirror import LogEntry
    from gittorrent.transfer.reaching import Source
    from gittorrent.wire.mirrorlist import MirrorList

LIST_SECONDS = 3.0
"""Time for mirrors to say what they have, all of them together: a name looked up, two round trips
round the world and a lost packet. Somebody waits at a terminal, and most have nothing new."""

LOG_SECONDS = 3.0
"""Time for which those that have something new are then waited for; what this machine needs to
verify what they send does not count. Entries are small: who sends none by then stalls."""

SILENCE_SECONDS = 5.0
"""Silence after which a mirror is not fetched from any more: it proved a moment ago to be there."""


class News(Struct, frozen=True):
    """What asking came to.

    Args:
        checkpoints: how many were adopted.
        pushes: how many there are now, those that these took included.
        policies: how many versions of the policy came.
        urls: of the mirrors that they came from.
        failures: why something that is there could not be had, for people.
        answered: how many mirrors said what they have.
    """

    checkpoints: int = 0
    pushes: int = 0
    policies: int = 0
    urls: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    answered: int = 0


class _Told(Struct, frozen=True):
    """The log of one mirror, verified apart from others."""

    source: Source
    log: VerifiedLog


class OwnerNews:
    """What mirrors have of one repository, an origin or a mirror.

    Args:
        carried: the repository.
        sources: whom to ask; none costs nothing.
        context: of the world around it.
    """

    def __init__(self, carried: Carried, sources: Sequence[Source], context: Context) -> None:
        self._carried = carried
        self._store = carried.log_store
        self._sources = sources
        timeouts = replace(
            context.client_timeouts, answer=min(SILENCE_SECONDS, context.client_timeouts.answer)
        )
        self._context = replace(context, client_timeouts=timeouts)

    async def take(self) -> News:
        """Ask, and make what is new part of the repository; an origin's own refs stay as they are.

        Raises:
            LocalError: this machine let us down.
            LogStoreError: the log is damaged.
        """
        log = await stoppable(self._store.open)
        answers = await all_that_answer(self._sources, self._list_of, LIST_SECONDS)
        self._count_failures([source.url for source, _ in answers])
        self._hear_times(answers)
        tellers = [(source, found) for source, found in answers if _has_news(found, log)]
        if not tellers:
            return News(answered=len(answers))
        found = await asyncio.gather(*(self._log_of(*teller) for teller in tellers))
        failures = [each for each in found if isinstance(each, str)]
        done = News()
        if told := [each for each in found if isinstance(each, _Told)]:
            with self._carried.writing():
                done = await self._take_in(told)
        return replace(done, failures=(*failures, *done.failures), answered=len(answers))

    def _hear_times(self, answers: Sequence[tuple[Source, MirrorList]]) -> None:
        """Let what signs here know what time it is there, if its own clock is in doubt."""
        signing = SigningTime(self._context.home.clock)
        times = {
            source.endpoint.host: float(found.time)
            for source, found in answers
            if source.endpoint is not None and found.time is not None
        }
        if times and signing.wants_others():
            signing.heard(list(times.values()))

    def _count_failures(self, answered: Sequence[str]) -> None:
        """Let learned mirrors be forgotten that fail again and again while others answer."""
        database, repository = self._context.database, self._carried.info.repository_id
        with self._context.remembering():
            for url in {source.url for source in self._sources if answered} - set(answered):
                database.mirror_failed(repository, url)

    async def _list_of(self, source: Source) -> MirrorList:
        assert source.endpoint is not None
        timeouts = self._context.client_timeouts
        found, _ = await ask_list(source.endpoint, source.trusted, timeouts)
        if found.repository_id != self._carried.info.repository_id:
            raise UnreachableError(f"{source.url} carries another repository")
        if found.latest is None or format_of(found.latest) is not self._carried.object_format:
            raise UnreachableError(f"{source.url} has no log of this repository")
        return found

    async def _log_of(self, source: Source, found: MirrorList) -> _Told | str:
        """Verify what one mirror has, in a log of its own; or return why it is not to be had."""
        latest = found.latest
        assert latest is not None
        log = await stoppable(self._store.open)
        try:
            await self._follow(log, source, latest)
        except LocalError:
            raise
        except TimeoutError:
            return f"{source.url} takes long to send checkpoint {latest}"
        except GitTorrentError as error:
            return f"{source.url}: {error}"
        return _Told(source, log)

    async def _follow(self, log: VerifiedLog, source: Source, latest: PushId) -> None:
        assert source.endpoint is not None
        context, loop = self._context, asyncio.get_running_loop()
        exchange = ConversationContext(
            secrets.token_hex(20),
            EmptyContentSource(),
            Limits(),
            client_timeouts=context.client_timeouts,
        )
        intake = LogIntake(log, self._store, context.git, source.url, log.repository, context.clock)
        # From a mirror that is behind come the pushes that it has taken since.
        have = latest if latest in log.ids else log.head
        until = loop.time() + LOG_SECONDS
        async with asyncio.timeout_at(until) as limit:

            async def admit(entries: Sequence[LogEntry]) -> None:
                nonlocal until
                begun = loop.time()
                limit.reschedule(None)
                await intake.admit(entries)
                until += loop.time() - begun
                limit.reschedule(until)

            mirror = await open_mirror(source.endpoint, exchange, source.trusted)
            try:
                question = FetchLog(latest, have, short=False)
                await mirror.fetch_log(question, log.__contains__, admit)
            finally:
                await mirror.close()
        await intake.settle(latest, short=False)

    async def _take_in(self, told: Sequence[_Told]) -> News:
        """Make one log of what several have, bring the objects, and let it count.

        The lock is held.
        """
        log = await stoppable(self._store.open)
        before, number = set(log.entries), log.number
        waiting = {push.id for push in log.unjudged}
        failures = await stoppable(self._merge, log, told)
        new = {record.id: record.kind for record in log.records if record.id not in before}
        if not new and not waiting:
            return News(failures=failures)
        sources = [each.source for each in told]
        if failure := await self._failure(log, sources):
            return News(failures=(*failures, failure))
        await unbroken(self._commit, log)
        self._note_head(log)
        came = waiting - {push.id for push in log.unjudged}
        useful = (each for each in told if came or any(entry in each.log for entry in new))
        kinds = Counter(new.values())
        return News(
            max(0, log.number - number),
            kinds[PushKind.CERTIFICATE] + len(came),
            kinds[PushKind.POLICY],
            tuple(each.source.url for each in useful),
            failures,
        )

    def _merge(self, log: VerifiedLog, told: Iterable[_Told]) -> tuple[str, ...]:
        """Admit to one log what others were found to hold; its objects are stored already.

        Returns:
            Why what some have has no place beside what others have.
        """
        failures = []
        for each in told:
            try:
                for entry in each.log.entries:
                    if entry not in log:
                        log.admit(self._store.push(entry), entry)
            except TrustError as error:
                failures.append(f"{each.source.url}: {error}")
        log.settle()
        return tuple(failures)

    async def _failure(self, log: VerifiedLog, sources: Sequence[Source]) -> str:
        """Bring the objects and judge by them; returns why the log cannot count, or nothing.

        That a newer checkpoint is there is proved by then, whoever has its objects.
        """
        try:
            await self._fetch(log, sources)
        except GitTorrentError as error:
            if isinstance(error, LocalError) and not isinstance(error, TooLargeError):
                raise
            self._note_head(log)
            return f"the objects of checkpoint {log.head} could not be had: {error}"
        try:
            await stoppable(self._store.judge_again, log)
            layout, context = self._carried.layout, self._context
            untaken = UntakenPushes(layout, log, self._store, sources, context)
            if lacking := await untaken.lacking():
                await untaken.bring(lacking)
        except TrustError as error:
            return f"what mirrors have cannot be taken in: {error}"
        return ""

    async def _fetch(self, log: VerifiedLog, sources: Sequence[Source]) -> None:
        wants = await stoppable(self._lacking, log)
        if not wants:
            return
        layout, context = self._carried.layout, self._context
        fetch = OrdinaryFetch(
            layout,
            log.object_format,
            extent_of(layout.git_dir),
            context.max_bytes,
            context.client_timeouts,
            context.reporter,
        )
        await fetch.fetch(sources, wants, FetchOptions(), patient=False)

    def _lacking(self, log: VerifiedLog) -> list[Wanted]:
        """Return what is final and not here with all that it reaches; nothing if all is."""
        refs = log.final_refs
        oids = list(dict.fromkeys(refs.values()))
        git = self._carried.git
        if None not in describe(git, oids) and is_connected_to_refs(git, oids):
            return []
        return [Wanted(oid, ref) for ref, oid in refs.items()]

    def _commit(self, log: VerifiedLog) -> None:
        carried = self._carried
        carried.store_entries(log)
        carried.commit(log, () if carried.info.role == ORIGIN else None)

    def _note_head(self, log: VerifiedLog) -> None:
        """Let nobody sign here on anything older from now on."""
        if log.head is not None:
            now = int(self._context.clock())
            self._context.database.saw_head(log.repository, log.head, log.number, now)


def _has_news(found: MirrorList, log: VerifiedLog) -> bool:
    """Tell whether a mirror may have what a log does not, or what its pushes are about."""
    return has_news(found, log) or (found.latest is not None and bool(log.unjudged))
