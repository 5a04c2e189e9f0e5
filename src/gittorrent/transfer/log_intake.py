"""Takes a log as a mirror sends it: verified batch by batch, and no more held than a batch.

Whoever sends a log may send anything. So entries are judged as they come, in the order of the log,
and the first that does not hold ends the intake; what is held unverified is one batch, or one
entry if that is larger. Entries that hold are stored at once: they are signed, and count for
nothing before the log that lists them is committed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.errors import TrustError
from gittorrent.push.log import ConcurrentEntriesError
from gittorrent.push.object import parse_push_object
from gittorrent.push.parent import parent_of
from gittorrent.repository.logstore import identify
from gittorrent.transfer.working import stoppable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gittorrent.git.runner import Git
    from gittorrent.ids import PushId, RepositoryId
    from gittorrent.push.log import VerifiedLog
    from gittorrent.push.object import PushObject
    from gittorrent.repository.logstore import LogStore
    from gittorrent.transfer.mirror import LogEntry

MAX_LOG_BYTES = 1 << 30
"""Bytes of push objects taken in one go: what a repository's owners could make a stranger store."""


class LogIntake:
    """Continues one verified log by what one mirror sends.

    Args:
        log: verified so far; entries are admitted to it. After one that does not hold it is of no
            more use; where the mirror merely failed, another one may go on.
        store: where push objects are kept; the log is not committed.
        git: hashes entries.
        url: of the mirror, for people.
        expected: the repository id that a first policy must have.
    """

    def __init__(
        self, log: VerifiedLog, store: LogStore, git: Git, url: str, expected: RepositoryId
    ) -> None:
        self._log = log
        self._store = store
        self._git = git
        self._url = url
        self._expected = expected
        self._begun = False
        self._bytes = 0

    async def admit(self, entries: Sequence[LogEntry]) -> None:
        """Verify the next entries and store them; when cancelled, wait until the thread is done.

        Raises:
            IdentityError: the log belongs to another repository.
            TrustError: an entry does not hold.
            ConcurrentEntriesError: an entry needs the merge rule.
        """
        await stoppable(self._admit, entries)

    def _admit(self, entries: Sequence[LogEntry]) -> None:
        self._bytes += sum(len(data) for _, data in entries)
        if self._bytes > MAX_LOG_BYTES:
            raise TrustError(f"{self._url} has a log of more than {MAX_LOG_BYTES >> 20} MiB")
        object_format = self._log.object_format
        pushes = [parse_push_object(data) for _, data in entries]
        ids = identify(self._git, pushes, object_format, write=False)
        for (announced, _), push_id, push in zip(entries, ids, pushes, strict=True):
            if announced != push_id:
                raise TrustError(f"{self._url} sent push {push_id} under the name {announced}")
            if not self._begun:
                # A mirror that does not have the newest entry known here sends all it has.
                if push_id in self._log:
                    continue
                self._check_descent(push)
                self._begun = True
            self._judge(push_id, push)

    def _check_descent(self, push: PushObject) -> None:
        """Make sure that the first entry that is not known here builds on one that is."""
        parent = parent_of(push, self._log.object_format)
        if parent == self._log.head or (parent is not None and parent in self._log):
            return
        raise TrustError(
            f"{self._url} has a log that does not continue the one verified before,"
            f" whose head is {self._log.head}",
            hint="it withholds pushes, or its repository was made anew under the same id",
        )

    def _judge(self, push_id: PushId, push: PushObject) -> None:
        """Let the log judge an entry, and keep it if it holds."""
        try:
            self._log.admit(push, push_id, self._expected)
        except ConcurrentEntriesError as error:
            raise ConcurrentEntriesError(f"{self._url}: {error}", hint=error.hint) from error
        self._store.store_push(push_id, push)
