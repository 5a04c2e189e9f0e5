"""One look at a plain git server that is tracked: whether it has news, and publishing what it has.

Tracks nothing between looks but what the database says (`gittorrent.store.tracks`). Rules: where
the server lists what it listed when all of it was published, that is all, at the cost of one list
of branches and tags; its HEAD is asked for once an hour, and whenever something else changed. What
it deletes or rewinds at once and in numbers, and another history in the place of the one that was,
is held back until somebody agrees (`gittorrent.push.purge_guard`). What is new at mirrors is taken
in before anything is signed. Nothing is settled before it is published, so that whatever kills this
in between, the next look does it again.
Source: docs/commands.md, gittorrent track.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.durable import locked_patiently
from gittorrent.errors import GitTorrentError, UsageError
from gittorrent.git import scratch
from gittorrent.git.repository import (
    create_bare,
    read_config,
    require_complete,
    set_config,
)
from gittorrent.git.stale_locks import set_mark
from gittorrent.git.upstream import UpstreamError, list_refs, parse_upstream
from gittorrent.ids import SHA1
from gittorrent.permissions import explain_local_error
from gittorrent.push.purge_guard import REFS, Threshold, judge
from gittorrent.push.upstream_refs import Selection
from gittorrent.repository.carried import ORIGIN, Carried
from gittorrent.repository.newest_push import require_newest
from gittorrent.repository.publish import Publisher
from gittorrent.repository.recorded_key import recorded_signer
from gittorrent.repository.relocating import require_of_home
from gittorrent.repository.signed_entries import author_in
from gittorrent.repository.upstream_intake import UpstreamIntake
from gittorrent.store.carried_rows import CarriedRow
from gittorrent.store.copied_home import mark_as_own
from gittorrent.store.held import HeldKind, HeldRow, HeldTable
from gittorrent.store.signing_time import SigningTime
from gittorrent.store.tracks import TrackTable
from gittorrent.transfer.owner_news import OwnerNews
from gittorrent.transfer.reaching import known_to_owner
from gittorrent.transfer.track_places import (
    UPSTREAM,
    mend_tracked,
    place_of,
    repository_at,
    require_tracked,
    track_lock,
)
from gittorrent.transfer.working import stoppable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gittorrent.git.upstream import Upstream
    from gittorrent.ids import RefName, RepositoryId
    from gittorrent.push.purge_guard import Judgement
    from gittorrent.push.upstream_refs import Advertised
    from gittorrent.repository.publish import Published
    from gittorrent.repository.upstream_intake import Loss, Move
    from gittorrent.signing.keys import Signer
    from gittorrent.store.tracks import Track, TrackState
    from gittorrent.transfer.context import Context

HEAD_SECONDS = 3600
"""How often an upstream's HEAD is asked for where nothing else changed: that takes a list of all
its refs, of which some have a hundred thousand for pull requests."""

LOOK_EVERY = 300
"""Seconds between looks at an upstream, unless the operator says otherwise."""

ANOTHER_HISTORY = Threshold(count=0, percent=0)
"""For refs whose default branch becomes one that shares nothing with it: all of them at once."""


class RemovedTrackError(UsageError):
    """What is looked at is not tracked any more."""


class Tracked(Struct, frozen=True):
    """What a look came to.

    Args:
        name: of the repository.
        path: where it is.
        repository_id: its id.
        published: what was published; None where the upstream had nothing new.
        is_new: whether this made the repository.
        held: how many refs are held back.
    """

    name: str
    path: Path
    repository_id: RepositoryId
    published: Published | None = None
    is_new: bool = False
    held: int = 0

    @property
    def changed(self) -> bool:
        """Whether anything is published that was not before."""
        return self.published is not None and self.published.is_news


class Tracking:
    """One look at one upstream.

    Args:
        track: what is tracked.
        context: of the world around it.
        makes_reels: whether reels are made at once; otherwise the node here makes them in time.
        is_current: whether a node hears of what is new at mirrors, so that nobody has to be asked.
        progress: told how far building a reel is.
        hear: told of git's progress; None leaves that out.
    """

    def __init__(
        self,
        track: Track,
        context: Context,
        *,
        makes_reels: bool,
        is_current: bool = False,
        hear: Callable[[bytes], None] | None = None,
        progress: Callable[[str, int, int], None] = lambda _phase, _done, _total: None,
    ) -> None:
        self._track = track
        self._context = context
        self._makes_reels = makes_reels
        self._is_current = is_current
        self._progress = progress
        self._hear = hear
        self._selection = Selection(track.patterns)
        self._table = TrackTable(context.database)
        self._held = HeldTable(context.database)
        self._judged: Judgement[str] | None = None
        self._had_refs = False
        self.path = place_of(context.home.repositories, track.name)

    async def look(self) -> Tracked:
        """Look, publish what is new, and record what that came to.

        Raises:
            GitTorrentError: it could not be done; the next look does it again.
        """
        try:
            async with locked_patiently(track_lock(self._context.home, self._track.name)):
                return await self._look()
        except GitTorrentError as error:
            self._table.failed(self._track.name, str(error), self._now)
            raise
        except OSError as error:
            trouble = explain_local_error(error)
            if trouble is None:
                raise
            self._table.failed(self._track.name, str(trouble), self._now)
            raise trouble from error

    @property
    def _now(self) -> int:
        return int(self._context.clock())

    async def _look(self) -> Tracked:
        state = self._table.state(self._track.name)
        if state.succeeded:
            await stoppable(mend_tracked, self.path)
        carried = self._known()
        upstream = self._upstream()
        if carried is not None and self._may_be_settled(state):
            usual = self._selection.is_usual and self._now - state.headed < HEAD_SECONDS
            found = await stoppable(self._list, upstream, only_usual=usual)
            is_same = self._selection.digest(found.refs) == state.settled
            if is_same and (usual or not self._has_other_head(carried, found)):
                headed = None if usual else self._now
                self._table.succeeded(self._track, state.settled, self._now, headed)
                return self._nothing_new(carried)
            if usual:
                found = await stoppable(self._list, upstream, only_usual=False)
        else:
            self._require_still_there(carried, state)
            found = await stoppable(self._list, upstream, only_usual=False)
        return await self._publish(upstream, found)

    def _require_still_there(self, carried: Carried | None, state: TrackState) -> None:
        """Make sure that what was published is not published anew, with another id.

        Raises:
            UsageError: it was, and is gone, as where a backup was restored.
        """
        if carried is None and state.succeeded:
            raise UsageError(
                f"{self.path} is gone, which was published",
                hint="'gittorrent adopt URL_OF_A_MIRROR' brings it back; after 'gittorrent remove"
                f" {self._track.name}' it is published anew, with another id",
            )

    def _known(self) -> Carried | None:
        """Return the repository if it was published before."""
        present = repository_at(self.path)
        if present is None:
            return None
        carried = Carried(self.path, present.object_format)
        return carried if carried.is_carried and carried.log_store.head() is not None else None

    def _upstream(self) -> Upstream:
        config = self.path / "config"
        return parse_upstream(self._track.url, config if config.exists() else None)

    def _may_be_settled(self, state: TrackState) -> bool:
        held = self._held.of(HeldKind.TRACKED, self._track.name)
        return bool(state.settled) and not any(
            row.for_judging().is_released(self._now) for row in held
        )

    def _list(self, upstream: Upstream, *, only_usual: bool) -> Advertised:
        with scratch.blank(SHA1) as staging:
            return list_refs(upstream, staging.directory, only_usual=only_usual)

    def _has_other_head(self, carried: Carried, found: Advertised) -> bool:
        head = found.head
        if head is None or head not in self._selection.select(found.refs):
            return False
        return carried.peek().ledger.view().listing.head != head

    def _nothing_new(self, carried: Carried) -> Tracked:
        info = carried.info
        return Tracked(info.name, self.path, info.repository_id, held=self._count_held())

    def _count_held(self) -> int:
        return sum(len(r.names) for r in self._held.of(HeldKind.TRACKED, self._track.name))

    # -- news

    async def _publish(self, upstream: Upstream, found: Advertised) -> Tracked:
        """Take in what an upstream lists, and publish it."""
        selected = self._selection.select(found.refs)
        if not selected:
            raise UpstreamError(
                f"{upstream.url} has no branch and no tag to track",
                hint="push to it first, and 'gittorrent track' it again",
            )
        carried = await stoppable(self._repository, found)
        signer = recorded_signer(self._track.key, read_config(carried.layout.git_dir))
        log = await stoppable(carried.peek)
        if log.head is not None:
            await self._hear_mirrors(carried)
            instead = "'gittorrent adopt' goes on with what a mirror has"
            log = carried.peek()
            require_newest(log, self._context.database, str(self.path), instead)
        reporter = self._context.reporter
        reporter.phase("fetching from the upstream")
        intake = UpstreamIntake(
            carried,
            upstream,
            self._selection,
            self._context.max_bytes,
            self._hold_back,
            self._hear,
            self._context.space,
        )
        self._note(await stoppable(intake.take_in, found))
        done = await stoppable(self._sign, carried, signer)
        digest = self._selection.digest(found.refs)
        self._table.succeeded(self._track, digest, self._now, self._now)
        return Tracked(
            done.name, self.path, done.repository_id, done, done.is_new, self._count_held()
        )

    def _repository(self, found: Advertised) -> Carried:
        """Return the repository that follows the upstream, made if there is none."""
        object_format = found.object_format
        assert object_format is not None
        own = None
        present = repository_at(self.path)
        if present is not None:
            if present.object_format is not object_format:
                raise UpstreamError(
                    f"{self._track.url} has {object_format.name} ids by now, and {self.path} has"
                    f" {present.object_format.name} ids: it is another repository",
                    hint="track it under another --name",
                )
            carried = Carried(self.path, object_format)
            if not self._table.state(self._track.name).succeeded:
                require_tracked(carried)
            require_complete(carried.git)
            own = carried.info.repository_id if carried.is_carried else None
        self._context.database.require_free(self._track.name, str(self.path), own)
        # Harmless where it is whole, and completes one whose making was cut short.
        create_bare(self.path, object_format)
        require_of_home(self.path, self._context.home)
        mark_as_own(self.path, self._context.home)
        carried = Carried(self.path, object_format)
        set_mark(self.path, is_ours=True)
        set_config(carried.git, {UPSTREAM: self._track.url})
        return carried

    async def _hear_mirrors(self, carried: Carried) -> None:
        """Take in what mirrors have that this node lacks: the keeper must not sign beside it."""
        if self._is_current:
            return
        context = self._context
        sources = known_to_owner(carried.peek(), context.database, context.home, self._now)
        if sources:
            news = await OwnerNews(carried, sources, context).take()
            for failure in news.failures:
                context.reporter.note(f"warning: {failure}")

    def _sign(self, carried: Carried, signer: Signer) -> Published:
        reporter, database = self._context.reporter, self._context.database
        signing = SigningTime(self._context.home.clock)
        signing.heard(())  # mirrors were asked, as far as there are any
        author = author_in(self.path, signing.now)
        publisher = Publisher(
            carried, signer, author, self._progress, reporter.note, makes_reels=self._makes_reels
        )
        done = publisher.publish(self._track.name, self._selection.published)
        if carried.keeper_key is None:
            carried.remember_keeper(signer.spec)  # the node here makes the reels with it
        row = CarriedRow(done.name, done.repository_id, str(self.path), ORIGIN)
        database.carry(row)
        database.saw_head(done.repository_id, done.push_id, done.number, int(time.time()))
        return done

    # -- what is held back

    def _hold_back(self, loss: Loss) -> frozenset[RefName]:
        """Return the refs that stay as they are, though the upstream lost what they are."""
        names = {_text(name): name for name in loss.own}
        lost = {_text(name) for name in loss.names}
        of = self._track.name  # one upstream may be tracked under several
        threshold = ANOTHER_HISTORY if loss.is_other_history else REFS
        found = judge(
            names.keys(),
            names.keys() - lost,
            threshold,
            now=self._now,
            held=[row.for_judging() for row in self._held.of(HeldKind.TRACKED, of)],
            recent=self._held.recently_departed(HeldKind.TRACKED, of, self._now),
            arrived=self._held.recently_arrived(HeldKind.TRACKED, of, self._now),
        )
        self._had_refs = bool(names)
        if found.newly_held:
            values: Mapping[str, str] = {n: loss.own[names[n]] for n in found.newly_held}
            row = HeldRow(HeldKind.TRACKED, of, of, values, total=len(names), since=self._now)
            self._held.hold(row)
            self._context.reporter.note(
                f"{self._track.name}: {len(values)} of {len(names)} refs were deleted or rewound at"
                " once upstream, and stay published until 'gittorrent confirm'"
            )
        self._judged = found
        return frozenset(names[name] for name in found.held if name in names)

    def _note(self, moves: Sequence[Move]) -> None:
        """Record what came, and what became of what the upstream lost, now that refs have moved."""
        found, of = self._judged, self._track.name
        came = sum(old is None for _, old, _ in moves)
        if came and self._had_refs:
            self._held.note_arrived(HeldKind.TRACKED, of, came, self._now)
        if found is None:
            return
        self._held.release(HeldKind.TRACKED, of, [*found.go, *found.back])
        if found.departed:
            self._held.note_departed(HeldKind.TRACKED, of, found.departed, self._now)


def _text(name: RefName) -> str:
    return name.decode("utf-8", "backslashreplace")
