"""The small questions of one conversation: logs, offers and manifests, and what comes in answer.

For `gittorrent.transfer.git_mirror`. Tracks what is waited for, and how much of a log is held that
nobody has verified yet: while that is too much the conversation is not read, so what a mirror sends
ahead waits in its own memory. A mirror that answers more slowly than `ClientTimeouts` allows is
given up.
Must not know: how entries or manifests are verified.
Source: docs/protocol/mirrorsync.md, Questions and answers.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct, structs

from gittorrent.transfer.client_timeouts import Allowance
from gittorrent.transfer.mirror import MirrorLostError, NotThereError
from gittorrent.wire.messages import (
    EndLog,
    EndWant,
    FetchManifest,
    FetchPack,
    FetchPush,
    HaveBundle,
    MissingLog,
    MissingManifest,
    MissingPack,
    MissingPush,
    ReceiveManifest,
    ReceivePack,
    ReceivePush,
    WantBundle,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.ids import ManifestId, PushId
    from gittorrent.transfer.client_timeouts import ClientTimeouts
    from gittorrent.transfer.conversation import Conversation
    from gittorrent.transfer.mirror import Admit, LogEntry
    from gittorrent.wire.messages import FetchLog
    from gittorrent.wire.reelname import ReelName
    from gittorrent.wire.session import MessageReceived

T = TypeVar("T")

MAX_OFFERS = 4000
"""Reels one end may offer in answer to one question: four times what this program does."""

MAX_OFFER_BYTES = 8 << 20
"""Bytes of bitmaps in these offers; complete reels, which most are, need none."""

BATCH_BYTES = 1 << 20
"""Bytes of log entries that are verified together: some hundreds to a few starts of git."""

HELD_BYTES = 4 * BATCH_BYTES
"""Bytes of log entries, those being verified included, from which on nothing more is read."""

ENTRY_BYTES = 512
"""What an entry costs beside its bytes, so that many small ones count too."""

LOOKS = 20
"""How many times within the time for an answer it is looked at how much has come."""


class _Log(Struct):
    """A log on its way; ``stirred`` is done when there is something to hand over or no more."""

    stirred: asyncio.Future[None]
    entries: list[LogEntry]
    gathered: int = 0  # bytes of those
    verifying: int = 0
    ended: bool = False
    failure: MirrorLostError | NotThereError | None = None

    def add(self, entry: LogEntry) -> None:
        self.entries.append(entry)
        self.gathered += len(entry[1]) + ENTRY_BYTES
        if self.gathered >= BATCH_BYTES:
            _settle(self.stirred, None)

    def hand_over(self, stirred: asyncio.Future[None]) -> list[LogEntry]:
        """Return what has gathered, and begin to gather anew."""
        batch, self.entries = self.entries, []
        self.verifying, self.gathered = self.gathered, 0
        self.stirred = stirred
        return batch

    @property
    def is_full(self) -> bool:
        return self.gathered + self.verifying >= HELD_BYTES


class _Offers(Struct):
    """Offers on their way."""

    take: Callable[[HaveBundle], None]
    ended: asyncio.Future[None]
    count: int = 0
    bytes: int = 0


class Questions:
    """Asks one mirror, and takes its answers.

    Args:
        name: what the mirror is called in messages.
        conversation: with it.
        client_timeouts: how long to wait.
    """

    def __init__(
        self, name: str, conversation: Conversation, client_timeouts: ClientTimeouts
    ) -> None:
        self._name = name
        self._conversation = conversation
        self._client_timeouts = client_timeouts
        self._loop = asyncio.get_running_loop()
        self._log: _Log | None = None
        self._offers: dict[ReelName, _Offers] = {}
        self._manifests: dict[ManifestId, asyncio.Future[bytes]] = {}
        self._pushes: dict[PushId, asyncio.Future[bytes]] = {}
        self._packs: dict[PushId, asyncio.Future[bytes | None]] = {}

    async def fetch_log(self, question: FetchLog, admit: Admit) -> None:
        """Hand the push objects over that are asked for, each after those that it names."""
        log = self._log = _Log(self._loop.create_future(), [])
        self._conversation.say(structs.replace(question, deflated=True))
        try:
            await self._take_log(log, admit)
        except NotThereError:
            raise
        except BaseException:
            # The question cannot be withdrawn, and the rest may be long.
            self._conversation.end("its log is not read any further")
            raise
        finally:
            self._log = None

    async def _take_log(self, log: _Log, admit: Admit) -> None:
        while True:
            await self._follow(log.stirred)
            while batch := log.hand_over(self._loop.create_future()):
                await admit(batch)
                log.verifying = 0
                if not log.is_full:
                    self._conversation.resume()
                if not log.ended and log.gathered < BATCH_BYTES:
                    break
            if log.ended and not log.entries:
                return
            if log.failure is not None:
                raise log.failure

    async def offers(
        self, reel: ReelName, take: Callable[[HaveBundle], None], *, shapes: bool = False
    ) -> None:
        """Hand the reels the mirror has that help to complete ``reel`` over as they are named."""
        offers = self._offers[reel] = _Offers(take, self._loop.create_future())
        try:
            self._conversation.say(WantBundle(reel, shapes))
            await self._follow(offers.ended)
        finally:
            if self._offers.get(reel) is offers:
                del self._offers[reel]

    async def fetch_manifest(self, manifest: ManifestId, most: int) -> bytes:
        """Return a manifest with its signature, of ``most`` bytes at most."""
        future = self._manifests[manifest] = self._loop.create_future()
        try:
            self._conversation.say(FetchManifest(manifest), most=most)
            return await self._follow(future)
        finally:
            if self._manifests.get(manifest) is future:
                del self._manifests[manifest]

    async def fetch_push(self, push: PushId, most: int) -> bytes:
        """Return a push object, or a tag, of ``most`` bytes at most."""
        future = self._pushes[push] = self._loop.create_future()
        try:
            self._conversation.say(FetchPush(push), most=most)
            return await self._follow(future)
        finally:
            if self._pushes.get(push) is future:
                del self._pushes[push]

    async def fetch_pack(self, push: PushId) -> bytes | None:
        """Return the pack that comes with a push; None if the mirror has none."""
        future = self._packs[push] = self._loop.create_future()
        try:
            self._conversation.say(FetchPack(push))
            return await self._follow(future)
        finally:
            if self._packs.get(push) is future:
                del self._packs[push]

    def let_go(self, reason: str) -> None:
        """Tell everybody who waits that nothing more will come."""
        error = MirrorLostError(f"{self._name}: {reason}")
        for offers in self._offers.values():
            _refuse(offers.ended, error)
        for future in (*self._manifests.values(), *self._pushes.values()):
            _refuse(future, error)
        for pack in self._packs.values():
            _refuse(pack, error)
        if self._log is not None:
            self._log.failure = error
            _settle(self._log.stirred, None)

    async def _follow(self, future: asyncio.Future[T]) -> T:
        """Wait for an answer as long as enough of it, or of those before it, comes."""
        session = self._conversation.session
        allowance = Allowance(self._client_timeouts, self._loop.time())
        seen = session.answered
        while not future.done():
            left = allowance.left(self._loop.time())
            if not left:
                raise MirrorLostError(f"{self._name} does not answer, or too slowly")
            await asyncio.wait([future], timeout=min(left, self._client_timeouts.answer / LOOKS))
            now = self._loop.time()
            if self._conversation.is_paused:
                allowance.renew(now)
            allowance.paid(session.answered - seen, now)
            seen = session.answered
        return future.result()

    def take(self, event: MessageReceived) -> None:
        """Take what the mirror says, if it is such an answer."""
        message, payload = event.message, event.payload
        if isinstance(message, HaveBundle):
            self._take_offer(message)
        elif isinstance(message, EndWant):
            if message.reel in self._offers:
                _settle(self._offers[message.reel].ended, None)
        elif isinstance(message, ReceiveManifest):
            if message.manifest in self._manifests:
                _settle(self._manifests[message.manifest], bytes(payload or b""))
        elif isinstance(message, MissingManifest):
            if message.manifest in self._manifests:
                error = NotThereError(f"{self._name} has no such manifest")
                _refuse(self._manifests[message.manifest], error)
        elif isinstance(message, ReceivePack | MissingPack):
            if message.push in self._packs:
                pack = bytes(payload or b"") if isinstance(message, ReceivePack) else None
                _settle(self._packs[message.push], pack)
        elif isinstance(message, ReceivePush) and message.push in self._pushes:
            _settle(self._pushes[message.push], bytes(payload or b""))
        elif isinstance(message, MissingPush):
            if message.push in self._pushes:
                error = NotThereError(f"{self._name} has no such push object or tag")
                _refuse(self._pushes[message.push], error)
        elif self._log is not None:
            self._take_entry(self._log, event)

    def _take_offer(self, message: HaveBundle) -> None:
        for offers in self._offers.values():
            offers.count += 1
            offers.bytes += len(message.parts) if isinstance(message.parts, bytes) else 0
            if offers.count > MAX_OFFERS or offers.bytes > MAX_OFFER_BYTES:
                self._conversation.fail("it offers reels without end")
                return
            offers.take(message)

    def _take_entry(self, log: _Log, event: MessageReceived) -> None:
        message = event.message
        if isinstance(message, ReceivePush):
            log.add((message.push, event.payload or b""))
            if log.is_full:
                self._conversation.pause()
        elif isinstance(message, EndLog):
            log.ended = True
            _settle(log.stirred, None)
        elif isinstance(message, MissingLog):
            log.failure = NotThereError(f"{self._name} does not have {message.head}")
            _settle(log.stirred, None)


def _settle(future: asyncio.Future[T], value: T) -> None:
    if not future.done():
        future.set_result(value)


def _refuse(
    future: asyncio.Future[None] | asyncio.Future[bytes] | asyncio.Future[bytes | None],
    error: MirrorLostError | NotThereError,
) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # nobody may be waiting for it
