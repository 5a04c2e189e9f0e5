"""The ordinary fetch: from one mirror's upload-pack after another, until one gave what was wanted.

Where several mirrors are known, one that gives next to nothing for as long as any answer may take
(`ClientTimeouts.answer`) gives way to the next; only when none was any good they are asked again
without that limit, since all of them may be slow for good reasons. What a mirror sends stays apart
until it is proved whole (`gittorrent.repository.quarantine`): a mirror that lies costs time,
nothing else.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.disk_space import UNBOUNDED
from gittorrent.errors import GitTorrentError, LocalError, TrustError
from gittorrent.git import history
from gittorrent.git.fetching import FetchFailedError, FetchSource, fetch
from gittorrent.git.fsckrules import RulesBrokenError
from gittorrent.git.guarded import Bounds, Broken, Guarded
from gittorrent.repository.index_settings import index_settings
from gittorrent.repository.quarantine import Extent, IncompleteSourceError, quarantine
from gittorrent.transfer.dialling import judged_addresses
from gittorrent.transfer.working import stoppable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from gittorrent.disk_space import Space
    from gittorrent.git.fetching import FetchOptions
    from gittorrent.git.runner import Git
    from gittorrent.ids import ObjectFormat, Oid, RefName
    from gittorrent.repository.layout import Layout
    from gittorrent.repository.prepared import Prepared
    from gittorrent.transfer.client_timeouts import ClientTimeouts
    from gittorrent.transfer.context import Reporter
    from gittorrent.transfer.reaching import Source

IMPATIENT_BYTES = 64 << 10
"""Bytes that count as something then: a trickle does not."""

IMPATIENT_INDEXING = 10.0
"""Seconds of indexing that count as something then, beyond what the bytes that came may take."""

LOOK_BYTES = 64 << 20
"""Bytes of what is only looked at: a quarter of a million commits."""

PATIENT_SECONDS = 300.0
"""Time without a byte after which the last mirror is given up, too."""


class Wanted(Struct, frozen=True):
    """An id to fetch and the name of a ref that points at it, which plain HTTP asks for."""

    oid: Oid
    name: RefName


class TooLargeError(LocalError):
    """More would have come than the user allows."""


class OrdinaryFetch:
    """Fetches into one repository, whose lock the caller holds.

    Args:
        layout: of the repository.
        object_format: of its objects.
        extent: how much of its history it holds.
        max_bytes: to take in all.
        client_timeouts: how long others are waited for.
        reporter: tells the user; also what git says, where progress is wanted.
        space: tells whether there is room for it.
    """

    def __init__(
        self,
        layout: Layout,
        object_format: ObjectFormat,
        extent: Extent,
        max_bytes: int,
        client_timeouts: ClientTimeouts,
        reporter: Reporter,
        space: Space = UNBOUNDED,
    ) -> None:
        self._space = space
        self._layout = layout
        self._format = object_format
        self._extent = extent
        self._max_bytes = max_bytes
        self._client_timeouts = client_timeouts
        self._reporter = reporter

    async def fetch(
        self,
        sources: Sequence[Source],
        wants: Sequence[Wanted],
        options: FetchOptions,
        *,
        welcome: Collection[Oid] = (),
        borrows: bool = True,
        patient: bool = True,
        prepared: Prepared | None = None,
    ) -> Source:
        """Bring what is wanted with all that it reaches.

        Args:
            sources: mirrors, the best first.
            wants: what to bring.
            options: how.
            welcome: ids of annotated tags that may come besides, with all that they reach.
            borrows: whether what the repository holds is taken for granted.
            patient: whether mirrors that give next to nothing are asked again when none was good.
            prepared: what was brought before, and is built on.

        Returns:
            Who gave it.

        Raises:
            TooLargeError: whoever was asked sends more than the user allows.
            NoRoomError: there is no room for it.
            RulesBrokenError: objects break fsck's rules, and no other was better.
            IncompleteSourceError: one sent less than it should, and no other was better.
            FetchFailedError: none of them gave it; says why each did not.
        """
        failures: dict[str, GitTorrentError] = {}
        rounds = [Bounds(self._max_bytes, PATIENT_SECONDS)] if patient else []
        if len(sources) > 1 or not patient:
            silence = self._client_timeouts.answer
            impatient = Bounds(self._max_bytes, silence, IMPATIENT_BYTES, IMPATIENT_INDEXING)
            rounds.insert(0, impatient)
        for bounds in rounds:
            for source in sources:
                if _is_final(failures.get(source.url)):
                    continue
                try:
                    bring = partial(
                        self._bring,
                        wants=wants,
                        options=options,
                        bounds=bounds,
                        welcome=welcome,
                        borrows=borrows,
                        prepared=prepared,
                    )
                    await self._at_an_address(source, bring)
                except LocalError:
                    raise
                except GitTorrentError as error:
                    failures[source.url] = error
                    if len(sources) > 1:
                        told = self._reporter
                        tell = told.note if source.trusted is None else told.detail
                        tell(f"{source.url} is left out: {error}")
                else:
                    return source
        if failures and all(map(_is_too_large, failures.values())):
            said = "; ".join(map(str, failures.values()))
            raise TooLargeError(said, hint="raise gittorrent.maxSize if that is right")
        if len(failures) == 1:
            raise next(iter(failures.values()))
        said = "; ".join(map(str, failures.values())) or "no mirror to fetch from"
        for failure in failures.values():
            if isinstance(failure, RulesBrokenError):
                raise failure
        if any(isinstance(error, IncompleteSourceError) for error in failures.values()):
            raise IncompleteSourceError(said)
        raise FetchFailedError(said)

    def take_prepared(
        self,
        prepared: Prepared,
        wants: Sequence[Wanted],
        options: FetchOptions,
        welcome: Collection[Oid],
    ) -> bool:
        """Install what was brought before, if nothing else is wanted; blocks.

        Args:
            prepared: what was brought.
            wants: what is to be here in the end.
            options: how it is wanted.
            welcome: as for `fetch`.

        Returns:
            Whether all that is wanted was there.

        Raises:
            IncompleteSourceError: what is wanted was there, and not all that it reaches.
        """
        oids = list(dict.fromkeys(want.oid for want in wants))
        with quarantine(self._layout, self._format, self._extent, borrows=True) as apart:
            prepared.put(apart.staging)
            if None in history.describe(apart.staging, oids):
                return False
            apart.forget_boundary(prepared.base, oids)
            apart.check(oids, options, welcome)
            apart.install()
        return True

    async def fetch_into(
        self, staging: Git, source: Source, wants: Sequence[Wanted], options: FetchOptions
    ) -> None:
        """Bring something small for a look at it, which is proved by whoever looks.

        Args:
            staging: a scratch repository that is thrown away.
            source: the mirror.
            wants: what to bring.
            options: how.

        Raises:
            FetchFailedError: it did not give that.
        """
        silence = self._client_timeouts.answer
        most = min(self._max_bytes, LOOK_BYTES)
        bounds = Bounds(most, silence, IMPATIENT_BYTES, IMPATIENT_INDEXING)

        def bring(seen: FetchSource) -> None:
            guarded = Guarded(staging.directory, bounds, _unheard, self._room)
            fetch(staging.directory, seen, _named(wants), options, guarded, None)

        await self._at_an_address(source, bring)

    async def _at_an_address(self, source: Source, bring: Callable[[FetchSource], None]) -> None:
        """Try one mirror, at each of its addresses that may be contacted until one answers.

        Args:
            source: the mirror.
            bring: fetches from it as git sees it; blocks.
        """
        addresses: Sequence[str | None] = [None]
        if source.trusted is not None and source.endpoint is not None:
            addresses = await judged_addresses(
                source.endpoint, source.trusted, self._client_timeouts
            )
        for number, address in enumerate(addresses, start=1):
            try:
                seen = self._as_git_sees(source, address)
                await stoppable(bring, seen)
            except FetchFailedError as error:
                # Another address of the same mirror helps where this one does not answer at all.
                if number == len(addresses) or error.broken is not None:
                    raise
            else:
                return

    def _room(self) -> int:
        """Return how many bytes may still come."""
        return self._space.room(self._layout.git_dir)

    def _as_git_sees(self, source: Source, address: str | None) -> FetchSource:
        endpoint = source.endpoint
        return FetchSource(
            source.url,
            is_learned=source.trusted is not None,
            address=address,
            host="" if endpoint is None else endpoint.host,
            port=0 if endpoint is None else endpoint.port,
            config=None if source.trusted is not None else self._layout.git_dir / "config",
        )

    def _bring(
        self,
        source: FetchSource,
        wants: Sequence[Wanted],
        options: FetchOptions,
        bounds: Bounds,
        welcome: Collection[Oid],
        borrows: bool,
        prepared: Prepared | None,
    ) -> None:
        """Fetch from one mirror, prove and install; blocks."""
        self._space.require(self._layout.git_dir)
        rules = index_settings(self._layout.git_dir).rules
        oids = list(dict.fromkeys(want.oid for want in wants))
        with quarantine(self._layout, self._format, self._extent, borrows=borrows) as apart:
            staging = apart.staging.directory
            if prepared is not None:
                prepared.put(apart.staging)
                welcome = prepared.still_welcome(apart.staging, welcome)
            hear = self._reporter.git_says if options.progress else _unheard
            guarded = Guarded(staging, bounds, hear, self._room)
            is_held = fetch(staging, source, _named(wants), options, guarded, rules)
            if prepared is not None:
                apart.forget_boundary(prepared.base, oids)
            try:
                apart.check(oids, options, welcome)
            except IncompleteSourceError as error:
                raise IncompleteSourceError(
                    f"{source.url} cannot be fetched from: {error}",
                    hint="tell whoever runs it; another mirror may be complete",
                ) from error
            if rules is not None and not is_held:
                apart.hold_to(rules, source.url)
            apart.install()


def _named(wants: Sequence[Wanted]) -> list[tuple[Oid, str]]:
    return [(want.oid, want.name.decode("utf-8", "surrogateescape")) for want in wants]


def _is_too_large(error: GitTorrentError | None) -> bool:
    return isinstance(error, FetchFailedError) and error.broken is Broken.TOO_LARGE


def _is_final(error: GitTorrentError | None) -> bool:
    """Tell whether a mirror need not be asked again: time makes no liar honest, nor much little."""
    return isinstance(error, TrustError) or _is_too_large(error)


def _unheard(said: bytes) -> None:
    """Discard what git says while progress is off."""
    del said
