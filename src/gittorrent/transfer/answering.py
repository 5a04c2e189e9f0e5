"""Turns questions into answers from a content source, a few pieces at a time.

A question becomes an iterator of steps; the conversation takes the next step when its socket has
room. So a peer that asks for everything and reads nothing costs the questions' few bytes. Where
the content source has to read from disk, it does so away from the event loop, some steps at a time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from gittorrent.ids import ManifestId
from gittorrent.reel.pack import FilePiece
from gittorrent.transfer.deflated_logs import EntryGoneError
from gittorrent.wire.messages import (
    EndLog,
    EndWant,
    FetchLog,
    FetchManifest,
    FetchPack,
    FetchParts,
    FetchPush,
    HaveBundle,
    MissingLog,
    MissingManifest,
    MissingPack,
    MissingParts,
    MissingPush,
    ReceiveLog,
    ReceiveManifest,
    ReceivePack,
    ReceivePart,
    ReceivePush,
    WantBundle,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gittorrent.transfer.content_source import ContentSource, ServedPack
    from gittorrent.transfer.off_loop import Reading
    from gittorrent.wire.messages import CancelParts, Message, Question


READ_STEPS = 64
"""Steps that are read together: what it costs to change threads is shared by so many."""

READ_BYTES = 256 << 10
"""Bytes read together, but for the last piece: what waits in memory for a slow reader."""

Show: TypeAlias = "Callable[[HaveBundle, int], HaveBundle]"
"""Returns what to say of an offer, given the number of the pack's parts; called in the loop."""

QUESTION_BYTES = 1 << 10
"""Bytes that a question costs until it is answered, with what its answer is made with."""

DEFLATING_BYTES = 320 << 10
"""Bytes that a log which is being deflated takes besides: zlib's state, and a piece of it."""

KNOWN_SECONDS = 10.0
"""Time for which a pack that was found is taken to be there still; sending notices if it is not."""


class LastPack(Struct):
    """The pack that a conversation was given parts of last, so that not every question reads."""

    pack: ServedPack | None = None
    manifest: ManifestId | None = None
    found: float = 0.0

    def known(self, manifest: ManifestId, now: float) -> ServedPack | None:
        """Return the pack if it was found lately."""
        is_known = self.manifest == manifest and now - self.found < KNOWN_SECONDS
        return self.pack if is_known else None


class Step(Struct, frozen=True):
    """One message, with the raw bytes that follow it: given, or pieces of a file."""

    message: Message
    payload: bytes = b""
    path: Path | None = None
    pieces: tuple[bytes | FilePiece, ...] = ()
    parts: int = 0
    """Number of parts of the pack that is offered; 0 where it does not matter."""


class Answer:
    """The answer to one question, made step by step.

    Args:
        question: of a peer.
        content: what it may have.
        reading: where the content source is read; None to do that here, and to hold nothing ahead.
        show: what to say of offers; None for what they are.
        last: the pack that the same peer got parts of before.
    """

    def __init__(
        self,
        question: Question,
        content: ContentSource,
        reading: Reading | None = None,
        show: Show | None = None,
        last: LastPack | None = None,
    ) -> None:
        self.question = question
        self._last = last or LastPack()
        self._cancelled = 0  # a bit for each part of the question
        self._reading = reading
        self._show = show
        self._ahead: deque[Step | None] | None = None  # most wait for their turn
        self._ahead_bytes = 0
        self._content = content
        self._steps: Iterator[Step] | None = None
        self._is_begun = False  # and not all of it made

    @property
    def held(self) -> int:
        """Bytes in memory for it."""
        is_deflating = isinstance(self.question, FetchLog) and self.question.deflated
        made_with = DEFLATING_BYTES if is_deflating and self._is_begun else 0
        return QUESTION_BYTES + self._ahead_bytes + made_with

    async def next_step(self) -> Step | None:
        """Return the next step, None when the question is answered.

        Raises:
            SlowError: the disk does not answer.
        """
        step = await self._take()
        if step is None or self._show is None or not isinstance(step.message, HaveBundle):
            return step
        return Step(self._show(step.message, step.parts))

    async def _take(self) -> Step | None:
        reading = self._reading
        if reading is not None and isinstance(self.question, FetchParts):
            # Once the pack is found its parts are places in a file.
            self._reading = None
            await self._find_pack(reading, self.question)
        elif reading is not None:
            if not self._ahead:
                self._ahead = deque(await reading(self._read_some))
                self._ahead_bytes = sum(len(step.payload) for step in self._ahead if step)
            step = self._ahead.popleft()
            self._ahead_bytes -= 0 if step is None else len(step.payload)
            return step
        return self._next()

    async def _find_pack(self, reading: Reading, question: FetchParts) -> None:
        now = asyncio.get_running_loop().time()
        pack = self._last.known(question.manifest, now)
        if pack is None:
            pack = await reading(lambda: self._content.pack(question.manifest))
            self._last.pack, self._last.manifest, self._last.found = pack, question.manifest, now
        self._steps = self._parts(question, pack)

    def _next(self) -> Step | None:
        if self._steps is None:
            self._steps = self._make(self._content)
        step = next(self._steps, None)
        self._is_begun = step is not None
        return step

    def _read_some(self) -> list[Step | None]:
        """Make some steps, in a thread; None stands for the end."""
        found: list[Step | None] = []
        size = 0
        while len(found) < READ_STEPS and size < READ_BYTES:
            step = self._next()
            found.append(step)
            if step is None:
                break
            size += len(step.payload)
        return found

    def cancel(self, message: CancelParts) -> None:
        """Leave out the parts named, as far as they are not under way."""
        question = self.question
        if isinstance(question, FetchParts) and question.manifest == message.manifest:
            # Only what was asked for: a peer could name parts without end.
            asked = range(question.first, question.last + 1)
            for part in message.indices:
                if part in asked:
                    self._cancelled |= 1 << (part - question.first)

    def leaves_out(self, part: int) -> bool:
        """Tell whether a part was cancelled, perhaps after its step was taken."""
        question = self.question
        if not isinstance(question, FetchParts) or part < question.first:
            return False
        return bool(self._cancelled >> (part - question.first) & 1)

    def _make(self, content: ContentSource) -> Iterator[Step]:
        question = self.question
        if isinstance(question, FetchPush):
            data = content.push(question.push)
            yield (
                Step(MissingPush(question.push))
                if data is None
                else Step(ReceivePush(question.push, len(data)), data)
            )
        elif isinstance(question, FetchPack):
            data = content.push_pack(question.push)
            yield (
                Step(MissingPack(question.push))
                if data is None
                else Step(ReceivePack(question.push, len(data)), data)
            )
        elif isinstance(question, FetchManifest):
            data = content.manifest(question.manifest)
            yield (
                Step(MissingManifest(question.manifest))
                if data is None
                else Step(ReceiveManifest(question.manifest, len(data)), data)
            )
        elif isinstance(question, WantBundle):
            shaped = content.shaped_offers(question.reel) if question.shapes else ()
            for offer in (*content.offers(question.reel), *shaped):
                pack = None if self._show is None else content.pack(offer.manifest)
                yield Step(offer, parts=0 if pack is None else pack.parts)
            yield Step(EndWant(question.reel))
        elif isinstance(question, FetchLog):
            yield from self._log(question, content)
        elif isinstance(question, FetchPack):
            yield Step(MissingPack(question.push))
        else:
            yield from self._parts(question, content.pack(question.manifest))

    def _log(self, question: FetchLog, content: ContentSource) -> Iterator[Step]:
        if question.deflated:
            yield from self._deflated_log(question, content)
            return
        ids = content.log_entries(question)
        for push in ids or ():
            data = content.push(push)
            if data is None:
                ids = None
                break
            yield Step(ReceivePush(push, len(data)), data)
        yield Step(MissingLog(question.head) if ids is None else EndLog(question.head))

    def _deflated_log(self, question: FetchLog, content: ContentSource) -> Iterator[Step]:
        pieces = content.deflated_log(question)
        try:
            for piece in pieces or ():
                yield Step(ReceiveLog(question.head, len(piece)), piece)
        except EntryGoneError:
            pieces = None
        yield Step(MissingLog(question.head) if pieces is None else EndLog(question.head))

    def _parts(self, question: FetchParts, pack: ServedPack | None) -> Iterator[Step]:
        for index in question.indices:
            if self.leaves_out(index):
                continue
            if pack is None or question.total != pack.parts or question.reel != pack.reel:
                yield Step(
                    MissingParts(
                        question.reel, question.manifest, index, question.last, question.total
                    )
                )
                return
            if pack.has is not None and not pack.has(index):
                run = (question.reel, question.manifest, index, index, question.total)
                yield Step(MissingParts(*run))
                continue
            yield part_step(pack, question.manifest, index, question.begun)


def part_step(pack: ServedPack, manifest: ManifestId, index: int, begun: int = 0) -> Step:
    """Return the step that sends one part of a pack, without its first ``begun`` bytes."""
    offset = index * pack.part_size
    count = min(pack.part_size, pack.view.size - offset)
    if begun >= count:
        begun = 0  # there is no such beginning: all of it is what can be sent
    return Step(
        ReceivePart(pack.reel, manifest, index, pack.parts, count - begun, begun),
        path=pack.path,
        pieces=tuple(pack.view.pieces(offset + begun, count - begun)),
    )
