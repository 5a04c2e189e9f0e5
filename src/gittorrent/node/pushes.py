"""Takes pushes of unmodified git clients, for both listeners.

Tracks a depot for each repository that was pushed to, whose turn it is, and the pushes under way:
each has a thread of its own, in which everything waits, and which is ended with its caller or with
the node. Fetches have other turns, so that slow pushes hold nobody up who only reads. A caller that
is silent or sends a trickle loses its turn while others wait for one.

Must not know transports. Source: docs/protocol/push.md, Depot.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from typing import TYPE_CHECKING, TypeVar

from gittorrent.disk_space import UNBOUNDED
from gittorrent.event_log import EventLog
from gittorrent.git.runner import Stopper
from gittorrent.node.caller_watch import LEAST_BYTES, MAX_SECONDS, PATIENCE, Watch
from gittorrent.node.git_turns import WAIT_SECONDS, GitTurns
from gittorrent.node.watched import watched
from gittorrent.printable import printable
from gittorrent.repository.carried import MIRROR, ORIGIN
from gittorrent.repository.depot import RepositoryDepot
from gittorrent.repository.housekeeping import start_if_due
from gittorrent.repository.kept_log import KeptLog
from gittorrent.repository.receive_pack import CallerGoneError, Channel, Ended, greeting, receive
from gittorrent.repository.uploads import MAX_PUSHED
from gittorrent.transfer.off_loop import Threads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from pathlib import Path
    from typing import Any

    from gittorrent.disk_space import Space
    from gittorrent.node.caller_watch import Look, Patience
    from gittorrent.node.catalogue import Served
    from gittorrent.repository.carried import Carried
    from gittorrent.repository.depot import AcceptedPush

PUSHES = 16
"""Pushes that are received at once: most of them wait for their networks."""

PER_ADDRESS = 4
"""Of those, how many from one address."""

TIDY_PUSHES = 100
"""Pushes after which it is looked whether housekeeping is due: each leaves some loose objects."""

BUSY = "this mirror receives other pushes already; push again later, or to another mirror"
"""What those are told who waited in vain."""

T = TypeVar("T")

_log = EventLog(__name__)


async def _nothing(_served: Served) -> None:
    """Be as up to date as one is."""


class Pushes:
    """Takes pushes.

    Args:
        accepted: told of what was accepted, in the event loop.
        kept: returns the log of a repository, which others use as well.
        catch_up: brings a repository up to date as far as others are known to have more.
        wait_seconds: time after which callers are told that others are pushing.
        tidy: starts a repository's housekeeping if it is due; called in a thread.
        tidy_pushes: pushes after which that is looked at.
        space: tells whether there is room for what is pushed.
        patience: how long whoever has a turn is waited for.

    ``most`` is how many bytes a push may bring from now on.
    """

    def __init__(
        self,
        accepted: Callable[[Served, AcceptedPush], None] = lambda _served, _push: None,
        kept: Callable[[Served], KeptLog] = lambda served: KeptLog(served.carried),
        catch_up: Callable[[Served], Awaitable[None]] = _nothing,
        wait_seconds: float = WAIT_SECONDS,
        tidy: Callable[[Carried], None] = start_if_due,
        tidy_pushes: int = TIDY_PUSHES,
        space: Space = UNBOUNDED,
        patience: Patience = PATIENCE,
    ) -> None:
        self._patience = patience
        self._space = space
        self.most = MAX_PUSHED
        self._accepted = accepted
        self._tidy = tidy
        self._tidy_pushes = tidy_pushes
        self._kept = kept
        self._catch_up = catch_up
        self._threads = Threads(PUSHES)
        self._depots: dict[Path, tuple[Carried, RepositoryDepot]] = {}
        self._under_way: dict[Stopper, socket.socket] = {}
        self.turns = GitTurns(PUSHES, PER_ADDRESS, wait_seconds)

    async def in_turn(
        self,
        work: Callable[[], Coroutine[Any, Any, T]],
        address: str,
        look: Callable[[], Look | None],
        is_gone: Callable[[], bool] = lambda: False,
    ) -> T:
        """Do something for a caller when it is its turn; returns what it comes to.

        Args:
            work: begins it.
            address: where the caller comes from.
            look: returns what the kernel tells of its connection.
            is_gone: asked now and then while it waits for its turn.

        Raises:
            BusyError: there was no turn in time.
            CallerGoneError: the caller did not wait for it.
            CallerEndedError: it did too little while others waited.
        """
        loop = asyncio.get_running_loop()
        async with self.turns.turn(address, is_gone):
            watch = Watch(loop.time(), LEAST_BYTES, self._patience)

            def why_end() -> str | None:
                waiting = self.turns.others_wait(address)
                return watch.judge(loop.time(), look(), others_wait=waiting)

            return await watched(work(), why_end, self._patience.look)

    def takes(self, served: Served) -> bool:
        """Tell whether a repository can be pushed to."""
        return served.info.role in (ORIGIN, MIRROR)

    async def greeting(self, served: Served, protocol: str | None) -> bytes:
        """Return what is said first.

        Args:
            served: the repository.
            protocol: version of git's protocol that was asked for.

        Raises:
            GitTorrentError: it takes no pushes, or its log is damaged.
        """
        await self._catch_up(served)
        depot = self._depot(served)
        return await served.opening(lambda: greeting(depot, protocol))

    async def receive(self, served: Served, sock: socket.socket, address: str) -> None:
        """Hear and answer one push.

        Args:
            served: the repository.
            sock: to the caller, or to who passes on what it says; blocks afterwards.
            address: where the caller comes from.
        """
        depot, stopper = self._depot(served), Stopper()
        sock.setblocking(True)
        channel = Channel(sock.fileno(), sock.fileno())

        def work() -> Ended:
            with stopper.watching():
                try:
                    return receive(depot, channel)
                except CallerGoneError as error:
                    return Ended(f"lost: {error}")

        self._under_way[stopper] = sock
        working = asyncio.ensure_future(self._threads.executor(MAX_SECONDS)(work))
        try:
            ended = await asyncio.shield(working)
        except asyncio.CancelledError:
            _end(stopper, sock)
            await asyncio.wait([working])
            if not working.cancelled():
                working.exception()  # of no interest: it was stopped
            raise
        finally:
            del self._under_way[stopper]
        note = _log.error if ended.is_our_fault else _log.info
        note(
            "receive-pack",
            "receive-pack {repository} from {peer}: {ended}",
            repository=served.info.name,
            peer=address,
            ended=printable(ended.text),
        )

    def stop(self) -> None:
        """End all pushes that are not accepted yet."""
        for stopper, sock in self._under_way.items():
            _end(stopper, sock)

    def _depot(self, served: Served) -> RepositoryDepot:
        """Return the depot of a repository, kept as long as it is served."""
        git_dir = served.carried.layout.git_dir
        carried, depot = self._depots.get(git_dir, (None, None))
        if depot is None or carried is not served.carried:
            loop = asyncio.get_running_loop()

            count = itertools.count(1)

            def tell(push: AcceptedPush) -> None:
                loop.call_soon_threadsafe(self._accepted, served, push)
                if next(count) % self._tidy_pushes == 0:
                    self._tidy(served.carried)

            kept = self._kept(served)
            depot = RepositoryDepot(served.carried, tell, kept, self._space, lambda: self.most)
            self._depots[git_dir] = (served.carried, depot)
        return depot


def _end(stopper: Stopper, sock: socket.socket) -> None:
    """End the git that a push has running, and what waits for its caller."""
    stopper.stop()
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is gone already
