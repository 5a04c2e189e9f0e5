"""The repositories that a node follows: what is under way, who waits, and how each failed last.

Tracks those that are followed, by key, and among them
those that are not here yet and those that fail. Rules: one that is being brought just now goes on
as it began, under whatever key it is known by then; who waits for one that is followed no more is
told. Must not know how updates are made, nor when they are due.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from msgspec import Struct, field

from gittorrent.node.follow_plan import Plan
from gittorrent.node.waiters import Waiters
from gittorrent.store.processes import ComingRepository, FollowFigures
from gittorrent.transfer.mirroring import Mirrored, RemovedError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from gittorrent.ids import RepositoryId
    from gittorrent.node.follow_plan import Target

MAX_SHOWN = 20
"""Repositories that are not here yet and shown by name."""


class Followed(Struct):
    """A repository that is followed: the update under way, who waits, and how it failed last.

    ``is_overdue`` tells that it has another name or bound since its last look began.
    """

    target: Target
    task: asyncio.Task[None] | None = None
    waiters: Waiters[Mirrored] = field(default_factory=Waiters)
    failure: str = ""
    is_settled: bool = False
    is_overdue: bool = False

    def adopt(self, target: Target) -> None:
        """Go by what the plan says of it now."""
        is_renamed = target.name is not None and target.name != self.target.name
        if is_renamed or target.max_size != self.target.max_size:
            self.is_overdue = True
        self.target = target


class FollowedSet:
    """All that is followed, and the plan that it follows from."""

    def __init__(self) -> None:
        self.plan = Plan({}, frozenset(), {})
        self._all: dict[str, Followed] = {}
        self._coming: dict[str, Followed] = {}
        self._failing: set[str] = set()

    def __iter__(self) -> Iterator[Followed]:
        return iter(list(self._all.values()))

    def __contains__(self, key: str) -> bool:
        return key in self._all

    def __getitem__(self, key: str) -> Followed:
        return self._all[key]

    def overdue(self) -> list[str]:
        """Return the keys of what has another name or bound since its last look began."""
        return [key for key, each in self._all.items() if each.is_overdue]

    def has(self, key: str, followed: Followed) -> bool:
        """Tell whether that is what is followed under a key."""
        return self._all.get(key) is followed

    def is_paused(self, repository: RepositoryId) -> bool:
        """Tell whether a mirror is left as it is: paused, named no more, or beyond a limit."""
        found = self.plan
        return (
            repository in found.paused or repository in found.dropped or repository in found.barred
        )

    def adopt(self, found: Plan) -> tuple[dict[str, Target], list[str]]:
        """Go by a plan; an update that is under way and has to end is cancelled.

        Returns:
            What is followed from now on, by key, and the keys of what is followed no more.
        """
        self.plan = found
        # What is brought just now has its id by now and may be recorded already: it goes on as it
        # began, and is found under its id when it is done.
        bringing = {
            key: each
            for key, each in self._all.items()
            if each.task is not None and not each.target.is_here and self._is_wanted(each.target)
        }
        coming = [each.target for each in bringing.values()]
        targets = {
            key: target
            for key, target in found.targets.items()
            if key in bringing or not any(map(target.is_same, coming))
        }
        gone = list(self._all.keys() - targets.keys() - bringing.keys())
        for key in gone:
            self._drop(key)
        new = {key: target for key, target in targets.items() if key not in self._all}
        for key, target in targets.items():
            if key in new:
                self._all[key] = Followed(target)
            else:
                self._all[key].adopt(target)
        self._coming = {key: each for key, each in self._all.items() if not each.target.is_here}
        return new, gone

    def _is_wanted(self, target: Target) -> bool:
        """Tell whether something that is not here yet is asked for still, under its id perhaps."""
        return any(map(target.is_same, self.plan.targets.values()))

    def _drop(self, key: str) -> None:
        gone = self._all.pop(key)
        self._failing.discard(key)
        if gone.task is not None:
            gone.task.cancel()
        gone.waiters.failed(RemovedError(f"{gone.target.location.url} is not followed any more"))

    def find(self, url: str, repository: RepositoryId | None) -> Followed | None:
        """Return what is followed from a URL, or under an id."""
        for key in (url, repository):
            if key is not None and key in self._all:
                return self._all[key]
        same = (each for each in self._all.values() if each.target.location.url == url)
        return next(same, None)

    def set_failure(self, followed: Followed, failure: str) -> None:
        """Note why there is no news of a repository; empty if there is no reason."""
        followed.failure = failure
        key = followed.target.key
        if failure and self.has(key, followed):
            self._failing.add(key)
        else:
            self._failing.discard(key)

    def report(self, looking: int) -> FollowFigures:
        """Return what there is to say of all of it; costs the same, however much is followed.

        Args:
            looking: how many are looked at or brought now.
        """
        shown = itertools.islice(self._coming.values(), MAX_SHOWN)
        return FollowFigures(
            followed=len(self._all),
            looking=looking,
            failing=len(self._failing),
            paused=len(self.plan.paused),
            coming=list(map(_coming, shown)),
            more=max(0, len(self._coming) - MAX_SHOWN),
        )


def _coming(followed: Followed) -> ComingRepository:
    """Return what there is to say of a repository that is not here yet."""
    target = followed.target
    return ComingRepository(
        url=target.location.url,
        name=target.name or "",
        bringing=followed.task is not None,
        error=followed.failure,
    )
