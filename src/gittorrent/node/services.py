"""What the node says of a repository: the answer to mirror-list, and where it can be reached.

For both listeners. Tracks for each repository the ``auth`` lines of its policy, read again when
the log has changed. A list is not held up by a policy that takes long to verify, nor by a locked
database. Must not know transports.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import GitTorrentError
from gittorrent.event_log import EventLog
from gittorrent.repository.auth_lines import auth_lines
from gittorrent.repository.freshness import read_fresh
from gittorrent.transfer.addresses import is_loopback
from gittorrent.transfer.server_timeouts import SERVER_TIMEOUTS, ServerTimeouts
from gittorrent.transfer.static_files import BUNDLES
from gittorrent.wire.limits import MAX_TRY_LINES
from gittorrent.wire.mirrorlist import AuthLine, MirrorEntry, MirrorList, MirrorState
from gittorrent.wire.urls import UrlError, parse_learned_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gittorrent.ids import PushId
    from gittorrent.node.catalogue import Catalogue, Served
    from gittorrent.node.git_processes import GitProcesses
    from gittorrent.node.live import Live
    from gittorrent.node.mirror_table import MirrorTable
    from gittorrent.node.notices import Notices
    from gittorrent.node.pushes import Pushes
    from gittorrent.node.tokens import Tokens
    from gittorrent.node.webhooks import Webhooks
    from gittorrent.transfer.limiter import Limits
    from gittorrent.wire.messages import FreshLine
    from gittorrent.wire.mirrorlist import Untaken
    from gittorrent.wire.urls import Endpoint

OWN_VALID_SECONDS = 24 * 3600
"""For how long a node says its own address stays good."""

WAIT_SECONDS = 5.0
"""Time a list waits for its ``auth`` lines; a client waits 20 s for a list."""

_log = EventLog(__name__)


class Reachable(Struct):
    """Where this node can be reached: what the URLs of repositories begin with, the best one first.

    Args:
        public: what the operator gave, or what a router maps to us; or None.
        listening: of listeners at definite addresses, git:// before http://.
        is_given: whether the operator gave it, so that nothing else may take its place.
    """

    public: Endpoint | None = None
    listening: Sequence[Endpoint] = ()
    is_given: bool = False

    def bases(self) -> list[Endpoint]:
        """Return the bases to tell of; the operator's word replaces our own guess.

        HTTP is told of only where there is no git://: two addresses of one node would pass for
        two mirrors and share one link.
        """
        if self.public is not None:
            return [self.public]
        git = [base for base in self.listening if base.scheme == "git"]
        return git or list(self.listening)

    def urls(self, served: Served) -> list[str]:
        """Return the URLs of one repository, in the one form that URLs are compared in."""
        urls = []
        for base in self.bases():
            try:
                urls.append(base.below(served.path).url)
            except UrlError as error:
                _log.warning(
                    "unusable-url",
                    "{url} is not announced: {reason}",
                    url=base.url.rstrip("/") + served.path,
                    reason=error,
                )
        return urls

    def web_base(self, address: str) -> str | None:
        """Return what URLs of this node begin with for a web client at an address.

        None where that is not known for sure: whoever is told of a place that does not answer waits
        for it in vain.

        Args:
            address: where the client is.
        """
        if self.public is not None:
            is_web = self.public.scheme in ("http", "https")
            return self.public.url.rstrip("/") if is_web else None
        for base in self.listening:
            if base.scheme == "http" and (is_loopback(address) or not is_loopback(base.host)):
                return base.url.rstrip("/")
        return None


class Lists:
    """Makes the answers to mirror-list.

    Args:
        reachable: where this node is.
        mirrors: whom it knows besides; None for nobody.
        wait_seconds: seconds a list waits for its ``auth`` lines.
    """

    def __init__(
        self,
        reachable: Reachable,
        mirrors: MirrorTable | None = None,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._reachable = reachable
        self._mirrors = mirrors
        self._wait_seconds = wait_seconds
        self._auth: dict[str, tuple[PushId, tuple[AuthLine, ...]]] = {}

    @property
    def told_web_base(self) -> str | None:
        """What HTTP URLs of this node begin with, if the operator says it."""
        public = self._reachable.public
        if public is None or public.scheme not in ("http", "https"):
            return None
        return public.url.rstrip("/")

    def web_base(self, scheme: str, host: str) -> str | None:
        """Return what HTTP URLs of this node begin with for a caller: what the operator says first.

        None where the caller names none.

        Args:
            scheme: by which it came.
            host: that it named, with the port; anything at all.
        """
        if (told := self.told_web_base) is not None:
            return told
        try:
            return parse_learned_url(f"{scheme}://{host}/").url.rstrip("/")
        except UrlError:
            return None

    def bundles_at(self, served: Served, address: str) -> str | None:
        """Return what URIs of a repository's bundles begin with for a client at an address.

        None where it has to do without.
        """
        base = self._reachable.web_base(address)
        return None if base is None else f"{base}{served.path}/{BUNDLES}"

    async def answer(self, served: Served) -> MirrorList:
        """Return what this node knows of one repository.

        Raises:
            SlowError: the repository's disk does not answer.
        """
        if served.is_cached:
            # Without a push it is taken for what it is: a peer that has reels, for a while.
            return MirrorList(served.info.repository_id, (), None, ())
        (latest, untaken, fresh), others = await asyncio.gather(
            served.reading(partial(_how_far, served)), self.mirrors(served)
        )
        own = [] if served.is_private else self._reachable.urls(served)
        entries = [MirrorEntry(url, OWN_VALID_SECONDS, MirrorState.CURRENT) for url in own]
        entries += [entry for entry in others if entry.url not in own]
        return MirrorList(
            served.info.repository_id,
            () if latest is None else await self._auth_lines(served, latest),
            latest,
            tuple(entries[:MAX_TRY_LINES]),
            untaken,
            fresh,
            int(time.time()),
        )

    async def mirrors(self, served: Served) -> Sequence[MirrorEntry]:
        """Return the mirrors to tell of, without this node; none of what is private."""
        if self._mirrors is None or served.is_private:
            return ()
        return await self._mirrors.entries(served.info.repository_id)

    async def _auth_lines(self, served: Served, latest: PushId) -> tuple[AuthLine, ...]:
        """Return the lines for people, if the policy is opened in time: they decide nothing."""
        name = served.info.name

        def read() -> tuple[AuthLine, ...]:
            known = self._auth.get(name)
            if known is None or known[0] != latest:
                known = (latest, _read_auth(served))
                self._auth[name] = known
            return known[1]

        known = self._auth.get(name)
        if known is not None and known[0] == latest:
            return known[1]
        opening = asyncio.ensure_future(served.opening(read))
        done, _ = await asyncio.wait([opening], timeout=self._wait_seconds)
        if done:
            return opening.result()
        # It goes on, for those who ask later; nobody waits for it now.
        opening.add_done_callback(lambda task: task.cancelled() or task.exception())
        return () if known is None else known[1]


class NodeServices(Struct, frozen=True):
    """What both listeners serve callers with.

    Args:
        catalogue: what is served.
        lists: answers mirror-list.
        notices: answers mirror-notify.
        git_processes: runs git.
        limits: of all sending, and of sending to each caller.
        pushes: takes what is pushed.
        server_timeouts: how long callers are waited for.
        live: talks with other mirrors of what is new; None tells nobody.
        tokens: by which readers of private repositories come in over TLS; None for none.
        webhooks: answers webhooks; None takes none.
    """

    catalogue: Catalogue
    lists: Lists
    notices: Notices
    git_processes: GitProcesses
    limits: Limits
    pushes: Pushes
    server_timeouts: ServerTimeouts = SERVER_TIMEOUTS
    live: Live | None = None
    tokens: Tokens | None = None
    webhooks: Webhooks | None = None


def _how_far(served: Served) -> tuple[PushId | None, Untaken, FreshLine | None]:
    """Return the newest checkpoint, what is shown beyond it, and the keeper's newest word."""
    fresh = read_fresh(served.carried.layout, served.info.repository_id)
    return served.content.latest(), served.content.untaken(), fresh


def _read_auth(served: Served) -> tuple[AuthLine, ...]:
    """Return what a list says of who may change what; nothing if the policy is damaged."""
    try:
        return auth_lines(served.carried)
    except (GitTorrentError, OSError) as error:
        _log.warning(
            "damaged",
            "cannot read the policy of {repository}: {reason}",
            repository=served.info.name,
            reason=error,
        )
        return ()
