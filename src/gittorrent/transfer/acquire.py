"""Getting a repository from its mirrors: identity, log, reels.

`Acquisition` begins at one mirror, verifies who the repository is and what its refs are, gathers
the other mirrors, and downloads the reels that lead from what is here to the newest push any reel
reaches. What no reel covers is left to an ordinary fetch, which the caller does.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, field

from gittorrent.errors import IdentityError, TrustError
from gittorrent.ids import PushId
from gittorrent.reel.manifest import parse_manifest
from gittorrent.reel.path import ReelOffer
from gittorrent.repository.receive import LyingReelError, SignedManifest
from gittorrent.transfer.log_intake import LogIntake
from gittorrent.transfer.mirror import NotThereError
from gittorrent.transfer.neighbours import Neighbours, Sharing
from gittorrent.transfer.opening import ask_list, calling_ahead
from gittorrent.transfer.patience import Patience
from gittorrent.transfer.planning import Planner
from gittorrent.transfer.taking import Taker
from gittorrent.trust.signature import split_signed, verify
from gittorrent.wire.mirrorlist import MirrorState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from gittorrent.git.runner import Git
    from gittorrent.ids import ObjectFormat, Oid, RepositoryId
    from gittorrent.push.log import VerifiedLog
    from gittorrent.repository.logstore import LogStore
    from gittorrent.repository.receive import Receiver
    from gittorrent.store.database import Database
    from gittorrent.store.home import Home
    from gittorrent.transfer.limiter import Limits
    from gittorrent.transfer.location import Location
    from gittorrent.transfer.mirror import Mirror
    from gittorrent.transfer.pack_download import DownloadFigures
    from gittorrent.wire.mirrorlist import MirrorList

MAX_MIRRORS = 16
"""Mirrors one download talks to; more add little speed and much chatter."""

MAX_REPOSITORY_BYTES = 1 << 40
"""Pack bytes taken for one repository, unless the user allows more."""


class WrongIdentityError(IdentityError):
    """The mirror carries another repository than the one asked for."""


class ChangedIdentityError(IdentityError):
    """A known URL leads to another repository than before."""


class Reporter(Protocol):
    """Tells the user what happens; every method may do nothing."""

    def note(self, text: str) -> None:
        """Say something worth a line."""
        ...

    def downloading(self, name: str, figures: DownloadFigures) -> None:
        """Show how far the download of a reel is."""
        ...

    def phase(self, text: str) -> None:
        """Say what is done now that parts do not arrive."""
        ...


class Context(Struct, frozen=True):
    """What an acquisition needs of the world around it.

    Args:
        database: of the node.
        home: of the node; partial downloads lie there, and what processes say they do.
        git: where to hash log entries.
        reporter: tells the user.
        sharing: how to share what arrives with others.
        clock: seconds since 1970.
        max_bytes: of pack data to take.
        limits: what is sent and taken counts here too; None to go by ``sharing`` alone.
        take_local: whether reels may be taken from repositories of this machine.
        patience: how long mirrors are waited for.
    """

    database: Database
    home: Home
    git: Git
    reporter: Reporter
    sharing: Sharing = field(default_factory=Sharing)
    clock: Callable[[], float] = time.time
    max_bytes: int = MAX_REPOSITORY_BYTES
    limits: Limits | None = None
    take_local: bool = True
    patience: Patience = Patience()


class Acquisition:
    """Gets one repository; use it as an asynchronous context manager.

    Args:
        location: the mirror to begin with.
        context: of the world around it.
    """

    def __init__(self, location: Location, context: Context) -> None:
        self._location = location
        self._context = context
        self._neighbours = Neighbours(
            context.reporter.note, context.sharing, context.limits, context.patience
        )
        self._taker = Taker(self._neighbours, context)
        self._list: MirrorList | None = None
        self.first_contact = False

    async def __aenter__(self) -> Acquisition:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._neighbours.close()
        self._taker.close()

    @property
    def mirror_list(self) -> MirrorList:
        """The list the first mirror answered with."""
        assert self._list is not None
        return self._list

    @property
    def claimed(self) -> RepositoryId:
        """The repository that the first mirror says it carries, and the only one it may prove."""
        return self.mirror_list.repository_id

    def mirror_urls(self) -> list[str]:
        """Return the URLs of the mirrors that answered, the first one first."""
        others = [mirror.url for mirror in self._mirrors[1:]]
        urls = [url for url in others if not url.startswith("peer:")]
        return [self._location.endpoint.url, *urls]

    @property
    def _mirrors(self) -> list[Mirror]:
        return self._neighbours.mirrors

    async def open(self) -> RepositoryId:
        """Ask the first mirror who it carries and begin a conversation with it.

        Returns:
            The repository id it claims, which the log will have to prove.

        Raises:
            CannotConnectError, NotAMirrorError, NotCarriedThereError: it cannot be used.
            WrongIdentityError, ChangedIdentityError: it carries another repository.
        """
        endpoint = self._location.endpoint
        async with calling_ahead(endpoint) as calling:
            self._list, kind = await ask_list(endpoint, patience=self._context.patience)
            claimed = self._list.repository_id
            self._check_identity(claimed)
            await self._neighbours.open_first(endpoint, kind, calling)
        return claimed

    def _check_identity(self, claimed: RepositoryId) -> None:
        url = self._location.url
        expected = self._location.expected
        if expected is not None and claimed != expected:
            raise WrongIdentityError(
                f"{url} carries repository {claimed}, not {expected}",
                hint="check the URL; the id names the repository and cannot be changed by a mirror",
            )
        known = self._context.database.known_url(url)
        if expected is None and known is not None and known != claimed:
            raise ChangedIdentityError(
                f"{url} carried repository {known} before and now says {claimed}",
                hint="somebody may be in between. If its owners did start anew, run"
                f" 'gittorrent forget {url}' and try again",
            )
        self.first_contact = expected is None and known is None

    async def fetch_log(self, store: LogStore, object_format: ObjectFormat) -> VerifiedLog:
        """Bring the log up to date with the first mirror's, verified entry by entry.

        Args:
            store: where the log is kept; what is new is added to it, the log not yet committed.
            object_format: of the repository.

        Raises:
            IdentityError: the log belongs to another repository.
            TrustError: an entry does not hold.
            MirrorLostError: the mirror stopped answering.
        """
        log = store.open()
        latest = self.mirror_list.latest
        if latest is None or latest in log:
            if log.head is None:
                raise NotThereError(f"{self._location.url} has no push yet")
            if latest != log.head:
                self._context.reporter.note(
                    f"{self._location.url} is behind: it does not have push {log.head} yet"
                )
        else:
            await self._extend(log, latest, store)
        self._confirm(log)
        self._neighbours.shelf.know(log, store)
        return log

    async def _extend(self, log: VerifiedLog, latest: PushId, store: LogStore) -> None:
        url, expected = self._location.url, self.claimed
        intake = LogIntake(log, store, self._context.git, url, expected)
        await self._mirrors[0].fetch_log(latest, log.head, intake.admit)
        if log.head != latest:
            raise TrustError(f"{url} announced push {latest} and did not send it")

    def _confirm(self, log: VerifiedLog) -> None:
        """Now that the log proves who it is: remember it, and notice a mirror that lags."""
        database, url, now = self._context.database, self._location.url, int(self._context.clock())
        assert log.head is not None
        if self._location.expected is None:
            database.remember_url(url, log.repository, now)
        seen = database.seen_head(log.repository)
        if seen is not None and seen[0] not in log and seen[1] > len(log):
            self._context.reporter.note(
                f"{url} is behind or withholds something: this machine has verified push"
                f" {seen[0]}, which it does not have"
            )
        database.saw_head(log.repository, log.head, len(log), now)

    def gather(self, log: VerifiedLog) -> None:
        """Begin to connect to the other mirrors; they join downloads as they answer."""
        urls = [
            entry.url for entry in self.mirror_list.mirrors if entry.state is not MirrorState.STALE
        ]
        urls += [u for u in log.policy.policy.mirrors if u.startswith(("git:", "http"))]
        self._neighbours.gather(list(dict.fromkeys(urls))[:MAX_MIRRORS])

    async def plan(
        self, log: VerifiedLog, have: Collection[PushId]
    ) -> list[tuple[ReelOffer, SignedManifest]]:
        """Find the reels that lead from ``have`` towards the log's head.

        Returns:
            The reels to take in order, each with its verified manifest; empty when none helps.
        """
        note = self._context.reporter.note
        planner = Planner(self._neighbours, log, lambda d, o: self._accept(log, d, o), note)
        planned = await planner.plan(have)
        total = sum(signed.manifest.pack_size for _, signed in planned)
        if total > self._context.max_bytes:
            raise TrustError(
                f"the repository's packs come to {total >> 20} MiB, more than the"
                f" {self._context.max_bytes >> 20} MiB allowed",
                hint="raise gittorrent.maxSize if that is right",
            )
        return planned

    def _accept(self, log: VerifiedLog, data: bytes, offer: ReelOffer) -> SignedManifest:
        """Verify a manifest, and that its signer is still believed here."""
        signed = verify_manifest(data, log, offer)
        reason_not = self._context.database.distrusted(log.repository, str(signed.key))
        if reason_not is not None:
            raise TrustError(f"{signed.key} is not believed here: {reason_not}")
        return signed

    async def download(
        self, offer: ReelOffer, signed: SignedManifest, receiver: Receiver, tips: Sequence[Oid]
    ) -> None:
        """Bring one reel to the receiver; see `gittorrent.transfer.taking`."""
        await self._taker.take(offer, signed, receiver, tips)

    def look_in(self, nearby: Sequence[Path]) -> None:
        """Look for reels in these repositories of this machine before they are downloaded."""
        self._taker.nearby = nearby

    def distrust(self, log: VerifiedLog, error: LyingReelError) -> None:
        """Believe a key no more that signed a manifest for the wrong objects; drop the pack."""
        self._context.reporter.note(str(error))
        self._context.database.distrust(
            log.repository, str(error.key), str(error), int(self._context.clock())
        )
        self.discard_partial()

    def discard_partial(self) -> None:
        """Remove the downloads of this acquisition: what they held is in the repository."""
        self._taker.discard()


def verify_manifest(data: bytes, log: VerifiedLog, offer: ReelOffer) -> SignedManifest:
    """Read a manifest and check who signed it and what it is for.

    Raises:
        TrustError: it is not the manifest of that reel, or nobody entitled signed it.
    """
    text, signature = split_signed(data)
    manifest = parse_manifest(text)
    if manifest.id != offer.manifest:
        raise TrustError(f"manifest {offer.manifest} has the id {manifest.id}")
    wanted = (log.repository, offer.start, offer.end, log.object_format)
    if (manifest.repository, manifest.start, manifest.end, manifest.object_format) != wanted:
        raise TrustError(f"manifest {manifest.id} is for another reel")
    key = verify(signature, text, log.policy.keyring).key
    if not log.policy.policy.may_sign_reels(key):
        raise TrustError(f"manifest {manifest.id} is signed by {key}, which may not sign reels")
    return SignedManifest(manifest, signature, key)
