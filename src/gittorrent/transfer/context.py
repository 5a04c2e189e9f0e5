"""What updating a repository needs besides the repository: database, home, limits, reporter.

A command makes a `Context` and hands it down; nothing below reads settings or the environment.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, field

from gittorrent.disk_space import UNBOUNDED
from gittorrent.errors import LocalError
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.peer_manager import Sharing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gittorrent.discovery.ports import Lookup
    from gittorrent.disk_space import Space
    from gittorrent.git.runner import Git
    from gittorrent.store.database import Database
    from gittorrent.store.home import Home
    from gittorrent.store.processes import DownloadFigures
    from gittorrent.transfer.limiter import Limits

MAX_REPOSITORY_BYTES = 1 << 40
"""Pack bytes taken for one repository, unless the user allows more."""


class Reporter(Protocol):
    """Tells the user what happens; every method may do nothing."""

    def note(self, text: str) -> None:
        """Tell the user something that matters."""
        ...

    def detail(self, text: str) -> None:
        """Say something that explains what goes on and calls for nothing, if all is wanted."""
        ...

    def downloading(self, name: str, figures: DownloadFigures) -> None:
        """Show how far the download of a reel is."""
        ...

    def phase(self, text: str) -> None:
        """Say what is done now that parts do not arrive."""
        ...

    def git_says(self, said: bytes) -> None:
        """Show what a git says that fetches, progress for the most part, as it comes."""
        ...

    def close(self) -> None:
        """End the progress line, before something else is written."""
        ...


class Context(Struct, frozen=True):
    """What an acquisition needs of the world around it.

    Args:
        database: of the node.
        home: of the node; partial downloads lie there, and what processes say they do.
        git: where to hash log entries.
        reporter: tells the user.
        sharing: how to share what arrives with others.
        clock: seconds since 1970.
        max_bytes: of pack data to take.
        limits: what is sent and taken counts here too; None to go by ``sharing`` alone.
        take_local: whether reels may be taken from repositories of this machine.
        ask_own_node: whether the node of this machine may stand in for a mirror that is gone;
            not where it is the node's own repository that is brought up to date.
        client_timeouts: how long mirrors are waited for.
        lookups: the ways to look for mirrors that nobody named.
        space: tells whether there is room for what comes.
    """

    database: Database
    home: Home
    git: Git
    reporter: Reporter
    sharing: Sharing = field(default_factory=Sharing)
    clock: Callable[[], float] = time.time
    max_bytes: int = MAX_REPOSITORY_BYTES
    limits: Limits | None = None
    take_local: bool = True
    ask_own_node: bool = True
    client_timeouts: ClientTimeouts = ClientTimeouts()
    lookups: Sequence[Lookup] = ()
    space: Space = UNBOUNDED

    @contextlib.contextmanager
    def remembering(self) -> Iterator[None]:
        """Write down what makes later runs quicker; where that fails, this one goes on."""
        try:
            yield
        except LocalError as error:
            self.reporter.detail(f"who serves well is not remembered for later: {error}")
