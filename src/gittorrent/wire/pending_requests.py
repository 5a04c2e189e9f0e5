"""Which questions one end has open, and so which answers the other may send.

For ``session``, which keeps one for each direction; pure. Tracks every open question by what would
answer it, and a bounded number of *late* answers: those to questions withdrawn or perhaps already
answered, which may still be under way and must not be taken for an offence.

Rules: answers come in any order; an answer nobody asked for raises, before any of its bytes is
taken in; so does a part of another size than its pack's shape gives. Must not know which end it
speaks for. Source: docs/protocol/mirrorsync.md, Questions and answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

from msgspec import Struct

from gittorrent.ids import ManifestId, PushId
from gittorrent.wire.limits import MAX_LATE_ANSWERS, MAX_LOG_ENTRIES
from gittorrent.wire.messages import (
    Answer,
    CancelParts,
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
    PartRun,
    Question,
    ReceiveManifest,
    ReceivePack,
    ReceivePart,
    ReceivePush,
    WantBundle,
)
from gittorrent.wire.reelname import PackShape, ReelName

_PartKey = tuple[ReelName, ManifestId, int, int]
"""A part by reel, manifest, number from 0, and the pack's number of parts."""


PART_BYTES = 256
"""Bytes in memory for each part that is asked for or late, as measured."""


class PendingRequestError(Exception):
    """A question too many or an answer not asked for; the session says whose fault it is."""


class _Run(Struct):
    """One open request for parts: how many are still owed, and the pack's shape if known."""

    owed: int
    shape: PackShape | None

    def check(self, part: int, size: int) -> None:
        if self.shape is not None and self.shape.size_of(part) != size:
            raise PendingRequestError(
                f"part {part + 1} is announced with {size} bytes "
                f"instead of {self.shape.size_of(part)}"
            )


class _Late:
    """Answers still let in once each; the oldest are forgotten beyond MAX_LATE_ANSWERS."""

    def __init__(self) -> None:
        self._runs: dict[Hashable, list[_Run]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, key: Hashable, run: _Run) -> None:
        self._runs.setdefault(key, []).append(run)
        self._count += 1
        while self._count > MAX_LATE_ANSWERS:
            oldest = next(iter(self._runs))
            self._count -= len(self._runs.pop(oldest))

    def peek(self, key: Hashable) -> _Run | None:
        runs = self._runs.get(key)
        return runs[0] if runs else None

    def take(self, key: Hashable) -> bool:
        runs = self._runs.get(key)
        if not runs:
            return False
        runs.pop(0)
        self._count -= 1
        if not runs:
            del self._runs[key]
        return True


class PendingRequests:
    """The open questions of one end.

    ``limit``: how many may be open at once; a request for a run of parts counts as one until each
    of its parts is answered or withdrawn.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open = 0
        self._single: Counter[Question] = Counter()
        self._most: dict[Question, int] = {}
        self._parts: dict[_PartKey, list[_Run]] = {}
        self._logs: Counter[PushId] = Counter()
        self._log_entries = 0
        self._late = _Late()

    @property
    def held(self) -> int:
        """About how many bytes are in memory for parts."""
        return PART_BYTES * (len(self._parts) + len(self._late))

    @property
    def open(self) -> int:
        """How many questions are open."""
        return self._open

    def expects(self, message: object) -> bool:
        """Tell whether a message is what a question calls for: an answer, or an offer."""
        return isinstance(message, Answer) or (
            isinstance(message, HaveBundle)
            and any(isinstance(question, WantBundle) for question in self._single)
        )

    @property
    def room(self) -> int:
        """How many more may be asked now."""
        return self._limit - self._open

    def ask(
        self, question: Question, shape: PackShape | None = None, most: int | None = None
    ) -> None:
        """Record a question; raises LedgerError when too many are open.

        ``shape``: for parts, how their pack is cut, so that announced sizes can be checked.
        ``most``: bytes that a manifest or push object may have.
        """
        if self._open >= self._limit:
            raise PendingRequestError(f"more than {self._limit} requests open at once")
        if shape is not None and (
            not isinstance(question, FetchParts) or shape.parts != question.total
        ):
            raise PendingRequestError(
                f"pack of {shape.parts} parts does not fit {_named(question)}"
            )
        self._open += 1
        if isinstance(question, FetchParts):
            run = _Run(len(question.indices), shape)
            for key in _keys(question):
                self._parts.setdefault(key, []).append(run)
        elif isinstance(question, FetchLog):
            self._logs[question.head] += 1
        else:
            if isinstance(question, WantBundle):
                question = WantBundle(question.reel)  # its end says no more
            self._single[question] += 1
            if isinstance(question, FetchManifest | FetchPush) and most is not None:
                self._most[question] = max(most, self._most.get(question, 0))

    def cancel(self, message: CancelParts) -> None:
        """Withdraw questions for parts; those not open (any more) are passed over."""
        for key in _keys(message):
            for run in self._parts.pop(key, []):
                self._late.add(key, run)
                self._pay(run)

    def answer(self, message: Answer) -> None:
        """Record an answer; raises LedgerError when it was not asked for or is of a wrong size."""
        match message:
            case ReceivePush():
                self._receive_push(message)
            case MissingPush():
                self._settle(FetchPush(message.push))
            case ReceivePack():
                self._settle(FetchPack(message.push))
            case MissingPack():
                self._settle(FetchPack(message.push))
            case ReceiveManifest():
                question = FetchManifest(message.manifest)
                self._check_size(question, message.size)
                self._settle(question)
            case MissingManifest():
                self._settle(FetchManifest(message.manifest))
            case EndWant():
                self._settle(WantBundle(message.reel))
            case EndLog() | MissingLog():
                self._end_log(message.head)
            case ReceivePart():
                self._receive_part(message)
            case MissingParts():
                self._missing_parts(message)

    def _check_size(self, question: FetchManifest | FetchPush, size: int) -> None:
        most = self._most.get(question)
        if most is not None and size > most:
            kind = "manifest" if isinstance(question, FetchManifest) else "push object"
            raise PendingRequestError(f"{kind} announced with {size} bytes, more than {most}")

    def _settle(self, question: FetchPush | FetchPack | FetchManifest | WantBundle) -> None:
        if self._close(question) or self._late.take(question):
            return
        raise PendingRequestError(f"answer to {_named(question)}, which was not asked")

    def _close(self, question: Question) -> bool:
        if not self._single[question]:
            return False
        self._single[question] -= 1
        if not self._single[question]:
            del self._single[question]
            self._most.pop(question, None)
        self._open -= 1
        return True

    def _receive_push(self, message: ReceivePush) -> None:
        push = message.push
        question = FetchPush(push)
        self._check_size(question, message.size)
        if self._logs:
            # It may belong to a log or to a question of its own, and then comes once more.
            if self._log_entries >= MAX_LOG_ENTRIES:
                raise PendingRequestError(f"log of more than {MAX_LOG_ENTRIES} entries")
            self._log_entries += 1
            if self._close(question):
                self._late.add(question, _Run(0, None))
            return
        self._settle(question)

    def _end_log(self, head: PushId) -> None:
        if not self._logs[head]:
            raise PendingRequestError(f"end of the log of {head}, which was not asked")
        self._logs[head] -= 1
        if not self._logs[head]:
            del self._logs[head]
        self._open -= 1
        if not self._logs:
            self._log_entries = 0

    def _receive_part(self, message: ReceivePart) -> None:
        key = (message.reel, message.manifest, message.part, message.total)
        runs = self._parts.get(key)
        run = runs[0] if runs else self._late.peek(key)
        if run is None:
            raise PendingRequestError(
                f"part {message.part + 1}/{message.total}, which was not asked"
            )
        run.check(message.part, message.size)
        self._drop_part(key)

    def _missing_parts(self, message: MissingParts) -> None:
        keys = _keys(message)
        for key in keys:
            if not self._parts.get(key) and self._late.peek(key) is None:
                raise PendingRequestError(
                    f"part {key[2] + 1}/{key[3]} called missing, but was not asked"
                )
        for key in keys:
            self._drop_part(key)

    def _drop_part(self, key: _PartKey) -> None:
        runs = self._parts.get(key)
        if not runs:
            self._late.take(key)
            return
        self._pay(runs.pop(0))
        if not runs:
            del self._parts[key]

    def _pay(self, run: _Run) -> None:
        run.owed -= 1
        if run.owed == 0:
            self._open -= 1


def _keys(run: PartRun) -> list[_PartKey]:
    return [(run.reel, run.manifest, part, run.total) for part in run.indices]


def _named(question: Question) -> str:
    return repr(question.encode().decode().strip())
