"""Signs checkpoints where the keeper's key is: `gittorrent.push.keeping`, carried out.

Tracks one repository, whose key its configuration names (`gittorrent keeper here`). Each step of a
checkpoint is done in a thread; the node's log tells what was signed. Rules: what is signed was
recorded before; a checkpoint that the log has gone past meanwhile is seen by nobody.
Source: docs/protocol/push.md, Keeping.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

from gittorrent.durable import file_state, write_atomically
from gittorrent.errors import GitTorrentError
from gittorrent.event_log import EventLog
from gittorrent.git.repository import read_config
from gittorrent.push import keeping
from gittorrent.push.chain import CheckpointError
from gittorrent.push.checkpoint import parse_checkpoint
from gittorrent.push.fresh import Fresh
from gittorrent.push.keeping import Draft, Keeping, Outlook
from gittorrent.push.object import PushKind, PushObject
from gittorrent.repository.arrived_objects import Arrived
from gittorrent.repository.freshness import keep_fresh, read_fresh
from gittorrent.repository.recorded_key import recorded_signer
from gittorrent.repository.signed_entries import author_in
from gittorrent.repository.small_intake import identified
from gittorrent.store.processes import KeepingFigures
from gittorrent.transfer.task_set import TaskSet
from gittorrent.wire.messages import FreshLine

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from gittorrent.ids import PushId
    from gittorrent.node.keeper_clock import KeeperClock, Sources
    from gittorrent.node.live_repository import LiveRepository
    from gittorrent.push.keeping import Wait
    from gittorrent.signing.keys import Signer

ASK_SECONDS = 3.0
"""Time that mirrors get to say what they have, each time that they are asked."""

KEY_SECONDS = 60.0
"""How often it is looked whether the key is here by now; at once when another one is named."""

CONFIG_SECONDS = 600.0
"""Time after which git is asked for the key's name again though the repository's configuration is
the same: it may stand in the user's."""

_log = EventLog(__name__)


class Keeper:
    """Keeps one repository.

    Args:
        live: its part in live conversations.
        known: returns how many mirrors of it are known that could be asked.
        sources: returns these mirrors.
        clock: what is signed is dated by.
    """

    def __init__(
        self,
        live: LiveRepository,
        known: Callable[[], Coroutine[None, None, int]],
        sources: Sources,
        clock: KeeperClock,
    ) -> None:
        self._sources = sources
        self._clock = clock
        self._live = live
        self._carried = live.served.carried
        self._repository = live.served.info.repository_id
        self._known = known
        self._loop = asyncio.get_running_loop()
        self._keeping: Keeping | None = None
        self._signer: Signer | None = None
        self._signed: Arrived | None = None
        self._draft: Draft | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks = TaskSet()
        self._keyed_at: float | None = None
        self._config: object = None
        self._spec: str | None = None  # empty where none is named
        self._told: Wait | None = None

    def look(self) -> None:
        """Take note that the log may stand elsewhere."""
        summary = self._live.summary
        if summary is None or (
            self._keeping is None
            and not self._has_key_of(summary.keeper)
            and not self._is_key_due()
        ):
            return  # most nodes keep few of what they carry
        self._tasks.start(self._look())

    @property
    def next_look(self) -> float:
        """When to `look` again though nothing changed, on the loop's clock."""
        summary = self._live.summary
        if summary is None or self._has_key_of(summary.keeper):
            return math.inf
        return -math.inf if self._keyed_at is None else self._keyed_at + KEY_SECONDS

    def note_config(self) -> None:
        """Take note that the repository's configuration may name another key."""
        self._keyed_at = None
        self.look()

    async def stop(self) -> None:
        """Sign nothing more."""
        if self._timer is not None:
            self._timer.cancel()
        await self._tasks.stop()

    async def _look(self) -> None:
        summary = self._live.summary
        if summary is None:
            return
        await self._find_key(summary.keeper)
        if self._keeping is not None:
            outlook = Outlook(
                summary.head.id,
                self._has_key_of(summary.keeper),
                summary.is_stopped or self._live.awaits_date,
                summary.has_news,
            )
            self._do(self._keeping.saw(self._loop.time(), outlook))

    def _is_key_due(self) -> bool:
        """Tell whether it is time to look whether the key is here."""
        return self._keyed_at is None or self._loop.time() - self._keyed_at >= KEY_SECONDS

    async def _find_key(self, keeper: str) -> None:
        """Look for the key once in a while, and begin to keep once the policy names it.

        The key is here before the policy names it where other roots have to sign that.
        """
        try:
            if not self._has_key_of(keeper):
                if not self._is_key_due():
                    return
                self._keyed_at = self._loop.time()
                self._signer = await self._live.executor(self._signer_now)
            if self._keeping is None and self._has_key_of(keeper):
                begun = await self._live.executor(self._begin)
                if self._keeping is not None:
                    return  # another look was faster, and what it began is under way
                self._keeping = begun
                self._live.on_change()
                _log.info(
                    "keeping",
                    "{repository}: this node signs its checkpoints, with {key}",
                    repository=self._live.served.info.name,
                    key=keeper,
                )
        except GitTorrentError as error:
            self._note("not-keeping", error)

    @property
    def is_keeping(self) -> bool:
        """Whether this node signs the repository's checkpoints."""
        return self._keeping is not None

    def _signer_now(self) -> Signer | None:
        """Return the keeper's key; git is only asked which it is where that may have changed."""
        path = self._carried.layout.git_dir / "config"
        config = (file_state(path), self._loop.time() // CONFIG_SECONDS)
        if self._spec is None or config != self._config:
            self._config, self._spec = config, self._carried.keeper_key or ""
        if not self._spec:
            return None
        return recorded_signer(self._spec, read_config(self._carried.layout.git_dir))

    def figures(self) -> KeepingFigures | None:
        """Return how keeping goes; None where this node is not the keeper."""
        summary, machine, info = self._live.summary, self._keeping, self._live.served.info
        if machine is None or summary is None or not self._has_key_of(summary.keeper):
            return None
        wait = machine.wait
        return KeepingFigures(
            repository_id=info.repository_id,
            name=info.name,
            key=summary.keeper,
            waits=wait is not None,
            known=0 if wait is None else wait.known,
            answered=0 if wait is None else wait.answered,
            seconds_left=0 if wait is None else max(0, int(wait.until - self._loop.time())),
            clock_ahead=int(self._clock.ahead),
        )

    def _tell_wait(self) -> None:
        """Say once that mirrors are waited for, and that they are not any more."""
        assert self._keeping is not None
        before, self._told = self._told, self._keeping.wait
        name = self._live.served.info.name
        if before is None and self._told is not None:
            _log.warning(
                "waits-for-mirrors",
                "{repository}: the keeper signs nothing yet: {answered} of {known} mirrors have"
                " said what they have; without the others it begins in {seconds:.0f} s",
                repository=name,
                answered=self._told.answered,
                known=self._told.known,
                seconds=self._told.until - self._loop.time(),
            )
        elif before is not None and self._told is None:
            _log.info("waited", "{repository}: the keeper waits for no mirrors", repository=name)

    def _has_key_of(self, keeper: str) -> bool:
        return self._signer is not None and str(self._signer.key) == keeper

    def _begin(self) -> Keeping:
        layout, now = self._carried.layout, self._loop.time()
        fresh = read_fresh(layout, self._repository)
        age = None if fresh is None else max(0.0, time.time() - fresh.time)
        try:
            text = layout.draft(self._repository).read_bytes()
        except FileNotFoundError:
            draft = None
        else:
            previous = parse_checkpoint(text, self._carried.object_format).previous
            draft = None if previous is None else Draft(previous, text)
        return Keeping(now, draft, None if age is None else now - age)

    # -- what the machine wants done

    def _do(self, effects: Iterable[keeping.Effect]) -> None:
        for effect in effects:
            self._tasks.start(self._carry_out(effect))
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = None if self._keeping is None else self._keeping.next_deadline()
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._keeping is not None:
            self._do(self._keeping.tick(self._loop.time()))

    async def _carry_out(self, effect: keeping.Effect) -> None:
        machine = self._keeping
        assert machine is not None
        try:
            if isinstance(effect, keeping.SayFresh):
                await self._say_fresh(effect.checkpoint)
                return
            more = await self._step(machine, effect)
        except CheckpointError as error:
            self._note("not-signed", error)
            more = machine.failed(self._loop.time(), is_void=True)
        except GitTorrentError as error:
            self._note("not-signed", error)
            more = self._failed(machine, effect)
        except Exception:
            # What this machine has too little of, or a mistake, must not end signing for good.
            name = self._live.served.info.name
            _log.exception("failed", "{repository}: keeping failed", repository=name)
            more = self._failed(machine, effect)
        self._do(more)

    def _failed(self, machine: Keeping, effect: keeping.Effect) -> list[keeping.Effect]:
        if isinstance(effect, keeping.SayFresh):
            return []  # the next one is due in a minute
        return machine.failed(self._loop.time())

    async def _step(self, machine: Keeping, effect: keeping.Effect) -> list[keeping.Effect]:
        run = self._live.executor
        if isinstance(effect, keeping.AskMirrors):
            known = await self._known()
            answered, _ = await asyncio.gather(
                self._live.hear_all(known, ASK_SECONDS),
                self._clock.look(self._sources, may_wait=True),
            )
            more = machine.asked(self._loop.time(), known=known, answered=answered)
            self._tell_wait()
            return more
        if isinstance(effect, keeping.Compose):
            await self._clock.look(self._sources)
            draft = await run(self._compose)
            return machine.composed(self._loop.time(), draft)
        if isinstance(effect, keeping.Record):
            draft = effect.draft
            path = self._carried.layout.draft(self._repository)
            await run(lambda: write_atomically(path, draft.text))
            return machine.recorded(draft)
        if isinstance(effect, keeping.Sign):
            self._draft = effect.draft
            self._signed = await run(self._sign)
            return machine.signed()
        return await self._commit(machine)

    def _compose(self) -> Draft | None:
        with self._live.kept.reading() as log:
            ledger = log.ledger
            is_news = ledger.view().judged or ledger.policy.digest != ledger.adopted.policy.digest
            if not is_news or ledger.stopped:
                return None
            author = author_in(self._carried.layout.git_dir)
            made = ledger.proposal(tagger=author.person, time=int(self._clock.now()))
            return Draft(ledger.adopted.id, made.text())

    def _sign(self) -> Arrived:
        assert self._draft is not None
        assert self._signer is not None
        text = self._draft.text
        signature = self._signer.sign(text)
        push = PushObject(PushKind.CHECKPOINT, text, (signature,), signer=self._signer.key)
        return Arrived(identified(push, self._carried.object_format).id, push.encode())

    async def _commit(self, machine: Keeping) -> list[keeping.Effect]:
        draft, made = self._draft, self._signed
        assert draft is not None
        assert made is not None
        self._signed = None
        if not await self._live.adopt(draft.previous, made):
            raise CheckpointError("the log has gone on meanwhile")
        summary = self._live.summary
        _log.info(
            "signed",
            "{repository}: signed checkpoint {number}, {checkpoint}",
            repository=self._live.served.info.name,
            number=0 if summary is None else summary.head.number,
            checkpoint=made.id,
        )
        return machine.done(self._loop.time())

    # -- freshness

    async def _say_fresh(self, checkpoint: PushId) -> None:
        await self._clock.look(self._sources)
        line = await self._live.executor(lambda: self._make_fresh(checkpoint))
        self._live.say_fresh(line)

    def _make_fresh(self, checkpoint: PushId) -> FreshLine:
        assert self._signer is not None
        now = int(self._clock.now())
        text = Fresh(self._repository, checkpoint, now).text()
        line = FreshLine(checkpoint, now, self._signer.sign(text).data)
        keep_fresh(self._carried.layout, self._repository, line)
        return line

    def _note(self, event: str, error: GitTorrentError) -> None:
        _log.warning(
            event,
            "{repository}: the keeper could not sign: {reason}",
            repository=self._live.served.info.name,
            reason=error,
        )
