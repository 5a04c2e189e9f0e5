"""When a keeper signs: the next checkpoint, and statements of freshness.

Pure. The node that has the keeper's key feeds it what it sees and what became of what it was told
to do; what is to be done comes back as effects, one step of a checkpoint at a time:
`Compose`, `Record`, `Sign`, `Commit`. So a node that dies between any two of them signs the same
text again, or nothing, and never another one in its place
(docs/protocol/push.md, "Keeping").

Tracks whether mirrors were asked since the start, how far the next checkpoint is, and when it
signed before. Rules: nothing is signed before the mirrors known answered, or only some did for
`SYNC_SOME`, or none for `SYNC_PATIENCE`; nothing while the log is stopped or somebody else is the
keeper; at once for a push that comes alone, at most one a second while they go on coming. Must not
know texts, keys or files.
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from gittorrent.ids import PushId

BATCH_SECONDS = 1.0
"""Longest time for which pushes that come in a row are gathered for one checkpoint."""

BURST = 4
"""Checkpoints signed at once before pushes are gathered: people who push one thing after another
wait for none of them; one place comes back every `BATCH_SECONDS`."""

FRESH_SECONDS = 60.0
"""Time between statements of freshness: what `fresh-within` can be measured in."""

SYNC_RETRY = 5.0
"""Time after which mirrors are asked again if none of them answered."""

SYNC_SOME = 30.0
"""Time after which those that answered are enough: a mirror that answers may itself be behind."""

SYNC_PATIENCE = 600.0
"""Time after which a keeper signs though none of the mirrors that it knows answered: all of them
may be gone for good. Until then pushes are shown as not final, which loses nothing; two
checkpoints in one place, signed by a keeper that came back from a backup, cost the roots a
policy."""

RETRY_SECONDS = 5.0
"""Time after which a checkpoint that could not be made is tried again."""


class Draft(Struct, frozen=True):
    """A checkpoint that was composed: what it follows, and the text to sign."""

    previous: PushId
    text: bytes


class Outlook(Struct, frozen=True):
    """What a node sees of its log.

    Args:
        head: the adopted checkpoint.
        is_keeper: whether the key that the policy names as keeper is here.
        is_stopped: whether no checkpoint can follow for now.
        has_news: whether pushes are shown that are not final, or a policy counts that no
            checkpoint names.
    """

    head: PushId
    is_keeper: bool
    is_stopped: bool
    has_news: bool

    @property
    def can_sign(self) -> bool:
        """Tell whether a signature of this node would count."""
        return self.is_keeper and not self.is_stopped


class AskMirrors(Struct, frozen=True):
    """Learn what mirrors have; `Keeping.asked` says how that went."""


class Compose(Struct, frozen=True):
    """Write the checkpoint that takes in what is shown; `Keeping.composed` takes it."""


class Record(Struct, frozen=True):
    """Keep a draft so that it survives a crash, in place of the one before; then `recorded`."""

    draft: Draft


class Sign(Struct, frozen=True):
    """Sign a draft that is recorded; then `signed`."""

    draft: Draft


class Commit(Struct, frozen=True):
    """Let the log adopt the checkpoint that was just signed, and tell everybody; then `done`."""


class SayFresh(Struct, frozen=True):
    """Sign that a checkpoint is the newest one now, and tell everybody."""

    checkpoint: PushId


Effect = AskMirrors | Compose | Record | Sign | Commit | SayFresh


class _Step(Enum):
    """What is being done."""

    NOTHING = "nothing"
    ASKING = "asking"
    MAKING = "making"


class Wait(Struct, frozen=True):
    """Why a keeper signs nothing yet: mirrors have not said what they have.

    Args:
        known: mirrors that it knows.
        answered: how many of them answered, and all that they have is here.
        until: when it goes on without the others.
    """

    known: int
    answered: int
    until: float


class Keeping:
    """Decides for one repository.

    Args:
        now: seconds on any steady clock, the one that all methods get.
        recorded: the draft that was recorded before a restart; None if there is none.
        fresh_at: when a statement of freshness was made last; None if it is long ago.
    """

    def __init__(
        self, now: float, recorded: Draft | None = None, fresh_at: float | None = None
    ) -> None:
        self._started = now
        self._recorded = recorded
        self._step = _Step.NOTHING
        self._outlook: Outlook | None = None
        self._is_synced = False
        self._wait: Wait | None = None
        self._ask_at = now
        self._burst = float(BURST)
        self._burst_at = now
        self._not_before = now
        self._fresh_at = fresh_at

    @property
    def is_synced(self) -> bool:
        """Tell whether mirrors were asked since the start, so that it may sign."""
        return self._is_synced

    @property
    def wait(self) -> Wait | None:
        """What it waits for since it asked mirrors; None if it may sign, or has not asked yet."""
        outlook = self._outlook
        return self._wait if outlook is not None and outlook.can_sign else None

    def saw(self, now: float, outlook: Outlook) -> list[Effect]:
        """Take note of the log as it is now; to be called whenever it may have changed."""
        self._outlook = outlook
        return self.tick(now)

    def asked(self, now: float, *, known: int, answered: int) -> list[Effect]:
        """Take note of how asking the mirrors went.

        Args:
            now: the time.
            known: how many mirrors are known.
            answered: how many of them answered, and all that they have is here.
        """
        self._step = _Step.NOTHING
        patience = SYNC_SOME if answered else SYNC_PATIENCE
        is_over = now - self._started >= patience
        self._is_synced = self._is_synced or answered >= known or is_over
        self._wait = None if self._is_synced else Wait(known, answered, self._started + patience)
        self._ask_at = now + SYNC_RETRY
        return self.tick(now)

    def composed(self, now: float, draft: Draft | None) -> list[Effect]:
        """Take a draft to be signed; None where nothing was to be taken in after all."""
        if draft is None:
            return self.done(now)
        return [Record(draft)]

    def recorded(self, draft: Draft) -> list[Effect]:
        """Take note that a draft survives a crash from now on."""
        self._recorded = draft
        return [Sign(draft)]

    def signed(self) -> list[Effect]:
        """Take note that the draft has a signature, which nobody has seen yet."""
        return [Commit()]

    def done(self, now: float) -> list[Effect]:
        """Take note that a checkpoint was adopted, or that there was nothing to adopt."""
        self._step = _Step.NOTHING
        self._recorded = None
        return self.tick(now)

    def failed(self, now: float, *, is_void: bool = False) -> list[Effect]:
        """Take note that the last effect could not be carried out.

        Args:
            now: the time.
            is_void: whether the draft does not follow from the log; nobody has seen it signed,
                since it would be in the log then, so another may stand in its place.
        """
        self._step = _Step.NOTHING
        if is_void:
            self._recorded = None
        self._not_before = self._ask_at = now + RETRY_SECONDS
        return self.tick(now)

    def next_deadline(self) -> float | None:
        """Return when `tick` is due at the latest; None while nothing depends on the time."""
        outlook = self._outlook
        if outlook is None or self._step is not _Step.NOTHING or not outlook.can_sign:
            return None
        if not self._is_synced:
            return self._ask_at
        deadlines = [] if self._fresh_at is None else [self._fresh_at + FRESH_SECONDS]
        if outlook.has_news:
            deadlines.append(self._may_sign_at())
        return min(deadlines, default=None)

    def tick(self, now: float) -> list[Effect]:
        """Take note of the time and return what is due."""
        outlook = self._outlook
        if outlook is None or self._step is not _Step.NOTHING or not outlook.can_sign:
            return []
        if not self._is_synced:
            if now < self._ask_at:
                return []
            self._step = _Step.ASKING
            return [AskMirrors()]
        return [*self._next_checkpoint(now, outlook), *self._fresh(now, outlook)]

    def _next_checkpoint(self, now: float, outlook: Outlook) -> list[Effect]:
        draft = self._recorded
        if draft is not None and draft.previous == outlook.head and now >= self._not_before:
            # It may have been signed before a crash, so nothing else may stand in its place.
            self._step = _Step.MAKING
            return [Sign(draft)]
        if not outlook.has_news or now < self._may_sign_at():
            return []
        self._refill(now)
        self._burst -= 1.0
        self._step = _Step.MAKING
        return [Compose()]

    def _fresh(self, now: float, outlook: Outlook) -> list[Effect]:
        if self._step is not _Step.NOTHING:
            return []
        if self._fresh_at is not None and now < self._fresh_at + FRESH_SECONDS:
            return []
        self._fresh_at = now
        return [SayFresh(outlook.head)]

    def _may_sign_at(self) -> float:
        """Return when the next checkpoint may be made."""
        missing = max(0.0, 1.0 - self._burst)
        return max(self._not_before, self._burst_at + missing * BATCH_SECONDS)

    def _refill(self, now: float) -> None:
        gained = (now - self._burst_at) / BATCH_SECONDS
        self._burst = min(float(BURST), self._burst + gained)
        self._burst_at = now
