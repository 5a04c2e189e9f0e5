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

from msgspec import Struct, field

from gittorrent.ids import ManifestId, PushId
from gittorrent.wire.limits import (
    MAX_LATE_ANSWERS,
    MAX_LATE_RUNS,
    MAX_LOG_ENTRIES,
    MAX_PARTS_PER_REQUEST,
)
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
    ReceiveLog,
    ReceiveManifest,
    ReceivePack,
    ReceivePart,
    ReceivePush,
    WantBundle,
)
from gittorrent.wire.reelname import PackShape, ReelName

RUN_BYTES = 512
"""Bytes in memory for each run of parts, as measured."""

_PackKey = tuple[ReelName, ManifestId, int]
"""A pack by reel, manifest and its number of parts."""


class PendingRequestError(Exception):
    """A question too many or an answer not asked for; the session says whose fault it is."""


class _Run(Struct, eq=False):
    """Parts of one request that an answer may come to.

    Args:
        first: number of the part that the lowest bit stands for.
        parts: a bit for each part.
        shape: of the pack, if known.
        begun: bytes at the beginning of its part that need not come.
    """

    first: int
    parts: int
    shape: PackShape | None
    begun: int = 0

    def has(self, part: int) -> bool:
        """Tell whether a part is one of them."""
        place = part - self.first
        return place >= 0 and bool(self.parts >> place & 1)

    def take(self, part: int) -> None:
        """Take out a part that is one of them."""
        self.parts &= ~(1 << (part - self.first))

    def among(self, wanted: _Run) -> int:
        """Return which parts of ``wanted`` are here, as bits of that."""
        shift = self.first - wanted.first
        if abs(shift) >= MAX_PARTS_PER_REQUEST:
            return 0  # no run is longer
        return (self.parts << shift if shift >= 0 else self.parts >> -shift) & wanted.parts

    def drop(self, wanted: _Run, bits: int) -> None:
        """Take out parts that `among` found."""
        shift = self.first - wanted.first
        self.parts &= ~(bits >> shift if shift >= 0 else bits << -shift)

    def check(self, message: ReceivePart) -> None:
        """See to it that a part has the size that its place in the pack gives it.

        Of one that was begun all may come: not everybody knows how to leave a beginning out.
        """
        part = message.part
        if message.begun not in (0, self.begun):
            raise PendingRequestError(
                f"part {part + 1} is announced from byte {message.begun}, which was not asked"
            )
        if self.shape is None:
            return
        wanted = self.shape.size_of(part) - message.begun
        if wanted != message.size:
            raise PendingRequestError(
                f"part {part + 1} is announced with {message.size} bytes instead of {wanted}"
            )


class _Pack(Struct):
    """The parts of one pack that answers may come to: those asked for, and withdrawn ones."""

    asked: list[_Run] = field(default_factory=list)
    late: list[_Run] = field(default_factory=list)

    def run_of(self, part: int, begun: int) -> _Run | None:
        """Return the run that a part belongs to: one that leaves out as much of it, if there is.

        Of such the oldest, of those asked for if it is in one.
        """
        found = None
        for runs in (self.asked, self.late):
            for run in runs:
                if run.has(part):
                    if run.begun == begun:
                        return run
                    found = found or run
        return found


class _Late:
    """Answers still let in once each; the oldest are forgotten beyond MAX_LATE_ANSWERS."""

    def __init__(self) -> None:
        self._answers: Counter[Hashable] = Counter()
        self._count = 0

    def add(self, key: Hashable) -> None:
        self._answers[key] += 1
        self._count += 1
        while self._count > MAX_LATE_ANSWERS:
            self._count -= self._answers.pop(next(iter(self._answers)))

    def take(self, key: Hashable) -> bool:
        if not self._answers[key]:
            return False
        self._answers[key] -= 1
        self._count -= 1
        if not self._answers[key]:
            del self._answers[key]
        return True


class _PendingParts:
    """The parts that are asked for, and those withdrawn, as runs: a request names up to 256."""

    def __init__(self) -> None:
        self._packs: dict[_PackKey, _Pack] = {}
        self._late: dict[_Run, _PackKey] = {}  # the oldest first

    @property
    def late(self) -> int:
        """How many runs were withdrawn whose answers are still let in."""
        return len(self._late)

    def ask(self, question: FetchParts, shape: PackShape | None) -> None:
        """Record a request."""
        pack = self._packs.setdefault(_pack_key(question), _Pack())
        run = _run(question, shape)
        run.begun = question.begun
        pack.asked.append(run)

    def cancel(self, message: CancelParts) -> int:
        """Withdraw parts; returns how many requests that settles."""
        key, wanted = _pack_key(message), _run(message)
        pack = self._packs.get(key)
        if pack is None:
            return 0
        for run in pack.asked:
            if bits := run.among(wanted):
                late = _Run(wanted.first, bits, run.shape, run.begun)
                pack.late.append(late)
                self._late[late] = key
                run.drop(wanted, bits)
        settled = self._forget_settled(key, pack)
        while len(self._late) > MAX_LATE_RUNS:
            oldest, key = next(iter(self._late.items()))
            oldest.parts = 0
            self._forget_settled(key, self._packs[key])
        return settled

    def receive(self, message: ReceivePart) -> int:
        """Record a part that came; returns how many requests that settles."""
        key = (message.reel, message.manifest, message.total)
        pack = self._packs.get(key)
        run = None if pack is None else pack.run_of(message.part, message.begun)
        if pack is None or run is None:
            raise PendingRequestError(
                f"part {message.part + 1}/{message.total}, which was not asked"
            )
        run.check(message)
        run.take(message.part)
        return 0 if run.parts else self._forget_settled(key, pack)

    def miss(self, message: MissingParts) -> int:
        """Record parts that do not come; returns how many requests that settles."""
        key, wanted = _pack_key(message), _run(message)
        pack = self._packs.get(key) or _Pack()
        runs = (*pack.asked, *pack.late)
        unknown = wanted.parts
        for run in runs:
            unknown &= ~run.among(wanted)
        if unknown:
            part = message.first + (unknown & -unknown).bit_length()
            raise PendingRequestError(
                f"part {part}/{message.total} called missing, but was not asked"
            )
        for run in runs:
            bits = run.among(wanted)
            run.drop(wanted, bits)
            wanted.parts &= ~bits
        return self._forget_settled(key, pack)

    def _forget_settled(self, key: _PackKey, pack: _Pack) -> int:
        """Forget runs none of whose parts may come; returns how many of them were asked for."""
        for run in pack.late:
            if not run.parts:
                del self._late[run]
        pack.late = [run for run in pack.late if run.parts]
        before = len(pack.asked)
        pack.asked = [run for run in pack.asked if run.parts]
        if not pack.asked and not pack.late:
            self._packs.pop(key, None)
        return before - len(pack.asked)


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
        self._parts = _PendingParts()
        self._logs: Counter[PushId] = Counter()
        self._deflated: set[PushId] = set()
        self._log_entries = 0
        self._late = _Late()

    @property
    def held(self) -> int:
        """About how many bytes are in memory for questions that were withdrawn."""
        return RUN_BYTES * self._parts.late

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
        """Record a question; raises PendingRequestError when too many are open.

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
            self._parts.ask(question, shape)
        elif isinstance(question, FetchLog):
            self._logs[question.head] += 1
            if question.deflated:
                self._deflated.add(question.head)
        else:
            if isinstance(question, WantBundle):
                question = WantBundle(question.reel)  # its end says no more
            self._single[question] += 1
            if isinstance(question, FetchManifest | FetchPush) and most is not None:
                self._most[question] = max(most, self._most.get(question, 0))

    def cancel(self, message: CancelParts) -> None:
        """Withdraw questions for parts; those not open (any more) are passed over."""
        self._open -= self._parts.cancel(message)

    def answer(self, message: Answer) -> None:
        """Record an answer; raises PendingRequestError if it or its size was not asked for."""
        match message:
            case ReceivePart():  # by far the most
                self._open -= self._parts.receive(message)
            case ReceivePush():
                self._receive_push(message)
            case ReceiveLog():
                if message.head not in self._deflated:
                    raise PendingRequestError(
                        f"deflated log of {message.head}, which was not asked"
                    )
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
            case MissingParts():
                self._open -= self._parts.miss(message)

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
                self._late.add(question)
            return
        self._settle(question)

    def _end_log(self, head: PushId) -> None:
        if not self._logs[head]:
            raise PendingRequestError(f"end of the log of {head}, which was not asked")
        self._logs[head] -= 1
        if not self._logs[head]:
            del self._logs[head]
            self._deflated.discard(head)
        self._open -= 1
        if not self._logs:
            self._log_entries = 0


def _pack_key(run: PartRun) -> _PackKey:
    return (run.reel, run.manifest, run.total)


def _run(run: PartRun, shape: PackShape | None = None) -> _Run:
    return _Run(run.first, (1 << len(run.indices)) - 1, shape)


def _named(question: Question) -> str:
    return repr(question.encode().decode().strip())
