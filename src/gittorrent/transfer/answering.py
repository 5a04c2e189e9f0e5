"""Turns questions into answers from a shelf, one piece at a time.

A question becomes an iterator of steps; the conversation takes the next step when its socket has
room. So a peer that asks for everything and reads nothing costs the questions' few bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.ids import ManifestId
from gittorrent.reel.pack import FilePiece
from gittorrent.wire.messages import (
    EndLog,
    EndWant,
    FetchLog,
    FetchManifest,
    FetchParts,
    FetchPush,
    MissingLog,
    MissingManifest,
    MissingParts,
    MissingPush,
    ReceiveManifest,
    ReceivePart,
    ReceivePush,
    WantBundle,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gittorrent.transfer.shelf import ServedPack, Shelf
    from gittorrent.wire.messages import CancelParts, Message, Question


class Step(Struct, frozen=True):
    """One message, with the raw bytes that follow it: given, or pieces of a file."""

    message: Message
    payload: bytes = b""
    path: Path | None = None
    pieces: tuple[bytes | FilePiece, ...] = ()


class Answer:
    """The answer to one question, made step by step."""

    def __init__(self, question: Question, shelf: Shelf) -> None:
        self.question = question
        self._cancelled: set[int] = set()
        self._steps = self._make(shelf)

    @property
    def cancelled(self) -> set[int]:
        """The parts that are left out."""
        return self._cancelled

    def next_step(self) -> Step | None:
        """Return the next step, None when the question is answered."""
        return next(self._steps, None)

    def cancel(self, message: CancelParts) -> None:
        """Leave out the parts named, as far as they are not under way."""
        question = self.question
        if isinstance(question, FetchParts) and question.manifest == message.manifest:
            # Only what was asked for: a peer could name parts without end.
            asked = range(question.first, question.last + 1)
            self._cancelled.update(part for part in message.indices if part in asked)

    def leaves_out(self, part: int) -> bool:
        """Tell whether a part was cancelled, perhaps after its step was taken."""
        return part in self._cancelled

    def _make(self, shelf: Shelf) -> Iterator[Step]:
        question = self.question
        if isinstance(question, FetchPush):
            data = shelf.push(question.push)
            yield (
                Step(MissingPush(question.push))
                if data is None
                else Step(ReceivePush(question.push, len(data)), data)
            )
        elif isinstance(question, FetchManifest):
            data = shelf.manifest(question.manifest)
            yield (
                Step(MissingManifest(question.manifest))
                if data is None
                else Step(ReceiveManifest(question.manifest, len(data)), data)
            )
        elif isinstance(question, WantBundle):
            for offer in shelf.offers(question.reel):
                yield Step(offer)
            yield Step(EndWant(question.reel))
        elif isinstance(question, FetchLog):
            yield from self._log(question, shelf)
        else:
            yield from self._parts(question, shelf)

    def _log(self, question: FetchLog, shelf: Shelf) -> Iterator[Step]:
        ids = shelf.log_between(question.head, question.base)
        for push in ids or ():
            data = shelf.push(push)
            if data is None:
                ids = None
                break
            yield Step(ReceivePush(push, len(data)), data)
        yield Step(MissingLog(question.head) if ids is None else EndLog(question.head))

    def _parts(self, question: FetchParts, shelf: Shelf) -> Iterator[Step]:
        pack = shelf.pack(question.manifest)
        for index in question.indices:
            if index in self._cancelled:
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
            yield part_step(pack, question.manifest, index)


def part_step(pack: ServedPack, manifest: ManifestId, index: int) -> Step:
    """Return the step that sends one part of a pack."""
    offset = index * pack.part_size
    count = min(pack.part_size, pack.view.size - offset)
    return Step(
        ReceivePart(pack.reel, manifest, index, pack.parts, count),
        path=pack.path,
        pieces=tuple(pack.view.pieces(offset, count)),
    )
