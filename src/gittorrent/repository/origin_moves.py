"""Lets an origin's refs follow single pushes, at the cost of what these change.

`gittorrent.repository.origin_refs` compares all refs of an origin with its log, which is how
anything may be settled. A push to its depot needs that seldom: it moves some refs forward, which
were the same here and in the log. Here it is found out whether that is so, as far as it can be
without git; git moves the refs only if they are what they should be.

Rules: whatever is not plain is left to the comparison; what was moved is remembered as the
comparison would have remembered it. Tracks the file of the last comparison.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.durable import file_state, write_atomically
from gittorrent.git.work_trees import branches_in_use
from gittorrent.push.certificate import CONFLICTS
from gittorrent.push.rule import UnknownObjectError
from gittorrent.repository.last_published import Since, read_compared, read_since
from gittorrent.repository.origin_refs import select_shown
from gittorrent.trust.refpattern import is_reserved

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.ids import Oid, RefName
    from gittorrent.push.log import VerifiedLog
    from gittorrent.repository.carried import Carried, Moves
    from gittorrent.repository.last_published import LastPublished

TAGS = b"refs/tags/"

MAX_SINCE = 64
"""Refs that single pushes moved before all are compared again: the second file is written with
each."""


class OriginMoves:
    """What became of one origin's refs since they were last compared with its log.

    Args:
        carried: the origin.
        contains: tells whether one commit is in the past of another.
    """

    def __init__(self, carried: Carried, contains: Callable[[Oid, Oid], bool]) -> None:
        self._carried = carried
        self._contains = contains
        self._state: object = None
        self._last: LastPublished | None = None

    def plain(self, log: VerifiedLog, moves: Moves, *, is_final: bool) -> Moves | None:
        """Return which refs git may move, as long as they are what they were in the log.

        Args:
            log: it, as it is now.
            moves: of the refs that it shows.
            is_final: whether another checkpoint was adopted: what waited for that may go on.

        Returns:
            The moves; None where all refs have to be compared.
        """
        last = self._compared(log)
        if last is None or not last.serial or (is_final and (moves or last.again or last.unknown)):
            return None
        names = [name for name, _, _ in moves]
        if not last.again.isdisjoint(names) or not last.unknown.isdisjoint(names):
            return None
        values = {name: new for name, _, new in moves if new is not None}
        if select_shown(values, self._carried.info.patterns).keys() != set(names):
            return None
        if not branches_in_use(self._carried.layout.git_dir).isdisjoint(names):
            return None
        return moves if all(self._is_plain(log, *move) for move in moves) else None

    def note(self, log: VerifiedLog, moves: Moves) -> None:
        """Remember what was moved.

        Need not survive a power cut, which may take back what git moved as well: after a start
        all refs are compared.
        """
        last = self._compared(log)
        if last is None or not moves:
            return
        path = self._carried.layout.published_since(log.repository)
        known = read_since(path, self._carried.object_format)
        if known is None or known.serial != last.serial:
            known = Since(last.serial)
        pushes = dict.fromkeys([*known.pushes, *(push.id for push in log.unfinal)])
        refs = {**known.refs, **{name: new for name, _, new in moves if new is not None}}
        write_atomically(path, Since(last.serial, tuple(pushes), refs).text(), sync=False)

    def _is_plain(self, log: VerifiedLog, ref: RefName, old: Oid | None, new: Oid | None) -> bool:
        """Tell whether a ref is made or moves forward, and nothing is open about it."""
        if new is None or is_reserved(ref) or ref.startswith(CONFLICTS):
            return False
        if log.ledger.view().listing.entry(ref).conflicts:
            return False
        if old is None:
            return True
        try:
            return not ref.startswith(TAGS) and self._contains(new, old)
        except UnknownObjectError:
            return False

    def _compared(self, log: VerifiedLog) -> LastPublished | None:
        """Return what was found at the last comparison, read again when that was another."""
        path = self._carried.layout.published_refs(log.repository)
        state = file_state(path)
        if state is None or state != self._state:
            self._last = read_compared(path, self._carried.object_format)
            self._state = state
        return self._last
