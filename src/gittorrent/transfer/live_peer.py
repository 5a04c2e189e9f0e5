"""The other end of a live conversation, whoever called: told of news, and asked for entries.

`gittorrent.transfer.git_mirror.GitMirror` is one that we called; `CallingPeer` one that called us.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.conversation import ConversationEndedError
from gittorrent.transfer.questions import Questions

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.ids import ManifestId, PushId
    from gittorrent.transfer.conversation import Conversation
    from gittorrent.transfer.mirror import Admit
    from gittorrent.wire.messages import FetchLog, HaveBundle, News
    from gittorrent.wire.reelname import ReelName
    from gittorrent.wire.session import MessageReceived


class LivePeer(Protocol):
    """The other end of a conversation."""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        ...

    @property
    def is_behind(self) -> bool:
        """Whether it has so much to read that nothing large is to be added to it."""
        ...

    def tell(self, message: News | HaveBundle, payload: bytes = b"") -> None:
        """Tell it something, with the raw bytes that follow; lost if the conversation is over."""
        ...

    async def offers(self, reel: ReelName, take: Callable[[HaveBundle], None]) -> None:
        """Hand the reels over that it has and that help to complete ``reel``, as it names them.

        Raises:
            MirrorLostError: it hung up, or answers too slowly.
        """
        ...

    async def fetch_manifest(self, manifest: ManifestId, most: int) -> bytes:
        """Return a manifest with its signature, unverified; raises as `fetch_push` does."""
        ...

    async def fetch_push(self, push: PushId, most: int) -> bytes:
        """Return an entry, unverified.

        Raises:
            NotThereError: it does not have it.
            MirrorLostError: it hung up, or answers too slowly.
        """
        ...

    async def fetch_pack(self, push: PushId) -> bytes | None:
        """Return the pack that comes with a push, None if it has none; raises as above."""
        ...

    async def fetch_log(
        self, question: FetchLog, is_held: Callable[[PushId], bool], admit: Admit
    ) -> None:
        """Hand the entries over that are asked for, in batches; raises as above."""
        ...

    def make_room(self, reason: str) -> None:
        """End the conversation, telling the other end why."""
        ...


class CallingPeer:
    """A `LivePeer` that called us.

    Args:
        address: it calls from.
        conversation: with it.
        client_timeouts: how long its answers are waited for.
    """

    def __init__(
        self,
        address: str,
        conversation: Conversation,
        client_timeouts: ClientTimeouts | None = None,
    ) -> None:
        self.name = address
        self._conversation = conversation
        self._questions = Questions(address, conversation, client_timeouts or ClientTimeouts())

    def take(self, event: MessageReceived) -> None:
        """Take what it says, if that is an answer."""
        self._questions.take(event)

    def let_go(self, reason: str) -> None:
        """Tell everybody who waits for it that nothing more will come."""
        self._questions.let_go(reason)

    @property
    def is_behind(self) -> bool:
        """Whether it has so much to read that nothing large is to be added to it."""
        return self._conversation.is_behind

    def tell(self, message: News | HaveBundle, payload: bytes = b"") -> None:
        """Tell it something, with the raw bytes that follow; lost if the conversation is over."""
        with contextlib.suppress(ConversationEndedError):
            self._conversation.say(message, payload=payload)

    async def offers(self, reel: ReelName, take: Callable[[HaveBundle], None]) -> None:
        """Hand the reels over that it has and that help to complete ``reel``."""
        await self._questions.offers(reel, take)

    async def fetch_manifest(self, manifest: ManifestId, most: int) -> bytes:
        """Return a manifest with its signature, unverified."""
        return await self._questions.fetch_manifest(manifest, most)

    async def fetch_push(self, push: PushId, most: int) -> bytes:
        """Return an entry, unverified."""
        return await self._questions.fetch_push(push, most)

    async def fetch_pack(self, push: PushId) -> bytes | None:
        """Return the pack that comes with a push."""
        return await self._questions.fetch_pack(push)

    async def fetch_log(
        self, question: FetchLog, is_held: Callable[[PushId], bool], admit: Admit
    ) -> None:
        """Hand the entries over that are asked for."""
        del is_held  # the base says it
        await self._questions.fetch_log(question, admit)

    def make_room(self, reason: str) -> None:
        """End the conversation, telling the other end why."""
        self._conversation.end(reason)
