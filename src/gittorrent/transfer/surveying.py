"""Asks all mirrors of a repository how far each one has got, and whether they agree.

The log is fetched from the mirror named, into memory and a directory that is gone afterwards; from
each mirror whose newest checkpoint is not in it, what leads there is fetched too. So a checkpoint
that one mirror has and another contradicts comes to light with its signature, and so do two
policies in one place: that is equivocation, and the two signed texts prove it.

Rules: addresses that mirrors tell of are held to the rules for learned ones; each mirror has its
time, and one that fails is named with the reason. Nothing is remembered on this machine.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.discovery.ports import Way
from gittorrent.errors import GitTorrentError, LocalError, UnreachableError
from gittorrent.git import scratch
from gittorrent.ids import format_of
from gittorrent.push.log import VerifiedLog
from gittorrent.repository.layout import Layout
from gittorrent.repository.logstore import LogStore
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.content_source import EmptyContentSource
from gittorrent.transfer.git_mirror import ConversationContext
from gittorrent.transfer.limiter import Limits
from gittorrent.transfer.location import SCHEME
from gittorrent.transfer.log_intake import LogIntake
from gittorrent.transfer.opening import ask_list, open_mirror
from gittorrent.transfer.racing import keep
from gittorrent.transfer.reaching import Source, first_to_answer, learned, named_by_policy, unique
from gittorrent.wire.messages import FetchLog
from gittorrent.wire.urls import less_trusted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gittorrent.git.runner import Git
    from gittorrent.ids import PushId, RepositoryId
    from gittorrent.push.object import PushObject
    from gittorrent.transfer.finding import Finder
    from gittorrent.wire.mirrorlist import MirrorEntry, MirrorList
    from gittorrent.wire.urls import AddressClass

MAX_ASKED = 64
"""Mirrors that are asked; a list may name more, and each costs a connection."""

MAX_LOGS = 8
"""Mirrors whose own log is fetched because they have what the others do not."""


class Answer(Struct, frozen=True):
    """What is known of one mirror.

    Args:
        url: where it is.
        listed: how the mirror named lists it; None if it does not.
        found: its own list; None if it did not answer.
        trouble: why it did not, or why its log does not hold; empty if all is well.
        way: how it was found.
    """

    url: str
    listed: MirrorEntry | None
    found: MirrorList | None = None
    trouble: str = ""
    way: Way = Way.LISTED


class Signed(Struct, frozen=True):
    """One of several signed entries that exclude each other.

    Args:
        id: its push id.
        urls: of the mirrors that have it as their newest, or build on it.
        entry: the push object: text and signature, the proof.
    """

    id: PushId
    urls: tuple[str, ...]
    entry: PushObject


class Equivocation(Struct, frozen=True):
    """Two or more signed entries of which there may be one.

    Args:
        what: ``checkpoint`` or ``policy``.
        number: of the checkpoints, or the version of the policies.
        entries: all that were found.
    """

    what: str
    number: int
    entries: tuple[Signed, ...]


class Survey(Struct, frozen=True):
    """What asking around came to.

    Args:
        first: the list of the mirror named.
        answers: of all mirrors, that one first.
        log: verified, with all that the mirrors have; None if nobody has one that holds.
        equivocations: proofs against the keeper or the roots.
    """

    first: MirrorList
    answers: tuple[Answer, ...]
    log: VerifiedLog | None
    equivocations: tuple[Equivocation, ...]


async def survey_found(
    repository: RepositoryId,
    known: Sequence[Source],
    finder: Finder,
    client_timeouts: ClientTimeouts | None = None,
) -> Survey:
    """Ask the mirrors of a repository of which no user named one.

    Args:
        repository: its id.
        known: the mirrors that this machine knows.
        finder: finds others.
        client_timeouts: how long to wait for each.

    Raises:
        UnreachableError: nobody who carries it was found.
    """
    timeouts = client_timeouts or ClientTimeouts()
    sources = list(known)
    while more := await finder.more():
        sources += more
    sources = [each for each in unique(sources) if each.endpoint is not None][:MAX_ASKED]

    async def ask(source: Source) -> None:
        assert source.endpoint is not None
        found, _ = await ask_list(source.endpoint, source.trusted, timeouts)
        if found.repository_id != repository:
            raise UnreachableError(f"{source.url} carries another repository")

    won = await first_to_answer(sources, ask, {}, keep)
    if won is None:
        found = (
            f"answers, of {len(sources)} known or found"
            if sources
            else "is known on this machine, and none was found"
        )
        raise UnreachableError(
            f"no mirror of {SCHEME}://{repository} {found}",
            hint=f"name one that carries it: {SCHEME}://{repository}@HOST/PATH",
        )
    others = [each for each in sources if each is not won[0]]
    return await survey(won[0], others, timeouts)


async def survey(
    named: Source,
    others: Sequence[Source] = (),
    client_timeouts: ClientTimeouts | None = None,
    clock: Callable[[], float] = time.time,
) -> Survey:
    """Ask a mirror, those that it lists, and those that the policy names.

    Args:
        named: the mirror to begin with.
        others: to ask besides.
        client_timeouts: how long to wait for each.
        clock: seconds since 1970.

    Raises:
        GitTorrentError: that one does not answer.
    """
    timeouts = client_timeouts or ClientTimeouts()
    endpoint = named.endpoint
    assert endpoint is not None
    first, kind = await ask_list(endpoint, named.trusted, timeouts)
    if named.trusted is not None:
        kind = less_trusted(kind, named.trusted)
    object_format = None if first.latest is None else format_of(first.latest)
    listed = {entry.url: entry for entry in first.mirrors}
    if object_format is None:
        answer = Answer(endpoint.url, None, first, way=named.way)
        return Survey(first, (answer, *(Answer(e.url, e) for e in listed.values())), None, ())
    with scratch.blank(object_format) as git:
        layout = Layout(git.directory)
        store = LogStore(layout, object_format, first.repository_id)
        log, repository = VerifiedLog(object_format), first.repository_id
        asking = _Asking(log, store, repository, git, timeouts, clock)
        trouble = await asking.fetch(named, first)
        answers = [Answer(endpoint.url, listed.get(endpoint.url), first, trouble, named.way)]
        sources = [*others, *_others(first, asking.log, kind)]
        sources = [each for each in unique(sources) if each.url != endpoint.url][:MAX_ASKED]
        answers += await asking.ask_all(sources, listed, endpoint.url)
        held = None if asking.log.head is None else asking.log
        return Survey(first, tuple(answers), held, tuple(_equivocations(held, store, answers)))


def _others(first: MirrorList, log: VerifiedLog, kind: AddressClass) -> list[Source]:
    """Return the mirrors that the first one lists and the policy names; none of what is private."""
    if log.head is not None and log.policy.policy.private:
        return []
    found = [learned(entry.url, kind) for entry in first.mirrors]
    sources = [source for source in found if source is not None]
    if log.head is not None:
        sources += named_by_policy(log.policy.policy.mirrors, log.repository, kind)
    return sources


class _Asking:
    """One survey under way.

    Args:
        log: grows by what mirrors send.
        store: keeps it meanwhile.
        repository: whose log it must be.
        git: hashes entries.
        timeouts: how long to wait for each mirror.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        log: VerifiedLog,
        store: LogStore,
        repository: RepositoryId,
        git: Git,
        timeouts: ClientTimeouts,
        clock: Callable[[], float],
    ) -> None:
        self.log = log
        self._store = store
        self._repository = repository
        self._git = git
        self._timeouts = timeouts
        self._clock = clock
        self._logs = 0

    async def ask_all(
        self, sources: Sequence[Source], listed: dict[str, MirrorEntry], named_url: str
    ) -> list[Answer]:
        """Ask mirrors for their lists side by side, then for what is new one after another.

        Args:
            sources: the mirrors.
            listed: what the mirror named lists, by URL; those that cannot be asked come last.
            named_url: of the mirror named, which was asked already and may list itself.
        """
        asked = await asyncio.gather(*(self._ask(source, listed) for source in sources))
        answers = []
        for source, answer in zip(sources, asked, strict=True):
            found = answer.found
            if found is not None and found.latest is not None and found.latest not in self.log:
                answer = replace(answer, trouble=await self.fetch(source, found))
            answers.append(answer)
        urls = {named_url, *(source.url for source in sources)}
        return answers + [Answer(e.url, e) for url, e in listed.items() if not {url, e.url} & urls]

    async def _ask(self, source: Source, listed: dict[str, MirrorEntry]) -> Answer:
        entry = listed.get(source.url)
        if source.endpoint is None:
            return Answer(source.url, entry, None, "only git can ask over ssh", source.way)
        try:
            found, _ = await ask_list(source.endpoint, source.trusted, self._timeouts)
        except LocalError:
            raise
        except GitTorrentError as error:
            return Answer(source.url, entry, None, str(error), source.way)
        if found.repository_id != self._repository:
            other = f"it carries another repository, {found.repository_id}"
            return Answer(source.url, entry, None, other, source.way)
        return Answer(source.url, entry, found, way=source.way)

    async def fetch(self, source: Source, found: MirrorList) -> str:
        """Add what a mirror has to the log; returns why that failed, or nothing."""
        if self._logs > MAX_LOGS or source.endpoint is None or found.latest is None:
            return ""
        self._logs += 1
        try:
            async with asyncio.timeout(self._timeouts.turn):
                await self._fetch(source, found.latest)
            self.log.settle(short=True)
        except LocalError:
            raise
        except TimeoutError:
            return "takes long to send its log"
        except GitTorrentError as error:
            return str(error)
        return self.log.ledger.refuted.get(found.latest, "") if self.log.head else ""

    async def _fetch(self, source: Source, latest: PushId) -> None:
        assert source.endpoint is not None
        exchange = ConversationContext(
            secrets.token_hex(20), EmptyContentSource(), Limits(), client_timeouts=self._timeouts
        )
        mirror = await open_mirror(source.endpoint, exchange, source.trusted)
        intake = LogIntake(
            self.log, self._store, self._git, source.url, self._repository, self._clock
        )
        try:
            await mirror.fetch_log(
                FetchLog(latest, None, short=True), self.log.__contains__, intake.admit
            )
        finally:
            await mirror.close()


def _equivocations(
    log: VerifiedLog | None, store: LogStore, answers: Sequence[Answer]
) -> Iterable[Equivocation]:
    """Yield what the log proves against its keeper and its roots."""
    if log is None:
        return
    for twins in log.ledger.twins:
        sides = (twins.first.id, twins.second.id)
        signed = (Signed(side, _who_has(log, answers, side), store.push(side)) for side in sides)
        yield Equivocation("checkpoint", twins.first.number, tuple(signed))
    rivals = log.ledger.rivals
    if rivals:
        found = (Signed(each.id, (), store.push(each.id)) for each in rivals)
        yield Equivocation("policy", rivals[0].policy.version, tuple(found))


def _who_has(log: VerifiedLog, answers: Sequence[Answer], checkpoint: PushId) -> tuple[str, ...]:
    """Return the mirrors whose newest checkpoint is this one, or builds on it."""
    urls = []
    for answer in answers:
        latest = None if answer.found is None else answer.found.latest
        point = None if latest is None else log.ledger.point(latest)
        while point is not None and point.id != checkpoint:
            point = point.previous
        if point is not None:
            urls.append(answer.url)
    return tuple(urls)
