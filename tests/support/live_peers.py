"""Peers of live conversations that have and say what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from gittorrent.errors import LocalError
from gittorrent.ids import ManifestId, PushId
from gittorrent.node.catalogue import Served
from gittorrent.repository.arrived_objects import Arrived
from gittorrent.transfer.mirror import Admit, NotThereError
from gittorrent.wire.messages import FetchLog, HaveBundle, News
from gittorrent.wire.reelname import ReelName
from gittorrent.wire.session import MessageReceived


class Peer:
    """A `LivePeer` that has what it was given, once somebody lets it answer."""

    name = "a peer"
    is_behind = False

    def __init__(self, **has: bytes) -> None:
        self.has = has
        self.told: list[News | HaveBundle] = []
        self.payloads: list[bytes] = []
        self.ended = ""
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    def tell(self, message: News | HaveBundle, payload: bytes = b"") -> None:
        self.told.append(message)
        self.payloads.append(payload)

    async def offers(self, reel: ReelName, take: Callable[[HaveBundle], None]) -> None:
        """Have no reels."""

    async def fetch_manifest(self, manifest: ManifestId, most: int) -> bytes:
        raise NotThereError("not there")

    async def fetch_push(self, push: PushId, most: int) -> bytes:
        self.asked.set()
        await self.may_answer.wait()
        if push not in self.has:
            raise NotThereError("not there")
        return self.has[push]

    async def fetch_pack(self, push: PushId) -> bytes | None:
        await self.may_answer.wait()
        return None

    async def fetch_log(
        self, question: FetchLog, is_held: Callable[[PushId], bool], admit: Admit
    ) -> None:
        raise NotThereError("not there")

    def make_room(self, reason: str) -> None:
        self.ended = reason

    def take(self, event: MessageReceived) -> None:
        """Take an answer: there are none."""

    def let_go(self, reason: str) -> None:
        """Take note of the end."""


async def nothing(_served: Served, _missing: Sequence[Arrived]) -> Sequence[Path]:
    raise LocalError("nobody gives it")
