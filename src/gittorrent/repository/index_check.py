"""Does the full check behind signed indexes, and raises the alarm when one of them lied.

A clone that took an index as it was signed is used before anybody has looked into the pack. So when
the check fails nothing quieter will do than that git itself refuses the repository
(`gittorrent.git.refused`), and that the key that signed is believed no more on this machine.
Source: docs/protocol/reels.md, "Signed indexes".
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from gittorrent.durable import locked, make_directory
from gittorrent.errors import TrustError
from gittorrent.git.integrity import drop_derived, first_fault
from gittorrent.git.refused import (
    admit_again,
    format_of_refused,
    own_refusal,
    refuse_repository,
)
from gittorrent.repository.indexstore import IndexStore
from gittorrent.repository.reelstore import ReelStore
from gittorrent.repository.unchecked import Unchecked

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.repository.layout import Layout
    from gittorrent.repository.unchecked import Owed, Verdict


class FalseIndexError(TrustError):
    """A signed index is not the index of its pack, or the pack is not what its reel needs."""


class IndexCheck:
    """The checks that one repository owes.

    Args:
        layout: of the repository.
        distrust: told of each key that signed what does not hold, and why.
    """

    def __init__(self, layout: Layout, distrust: Callable[[Owed, str], None]) -> None:
        self._layout = layout
        self._unchecked = Unchecked(layout)
        self._distrust = distrust

    @property
    def is_owed(self) -> bool:
        """Whether any check is."""
        return bool(self._unchecked.owed())

    def run(self, *, wait: bool) -> int:
        """Do all checks that are owed; returns how many were done.

        Args:
            wait: whether to wait for another process that is at it; else nothing is done.

        Raises:
            FalseIndexError: one failed; the repository is refused from now on.
            LocalError: this machine could not do it; all stays as it was.
        """
        if self._unchecked.is_empty:
            return 0
        make_directory(self._layout.own)
        with contextlib.suppress(BlockingIOError), locked(self._layout.unchecked_lock, wait=wait):
            return self._run()
        return 0

    def _run(self) -> int:
        owed, failed = self._unchecked.owed(), ""
        for each in owed:
            verdict = self._unchecked.check(each)
            if verdict.fault:
                failed = f"reel {each.manifest}: {verdict.fault}"
                self._withdraw(each)
                self._distrust(each, failed)
                # Also where it was mended: whoever has used it meanwhile has to know.
                refuse_repository(self._layout.git_dir, self._words(each, verdict))
            if verdict.is_mended or not verdict.fault:
                self._unchecked.paid(each)
        self._unchecked.sweep()
        if failed:
            error = own_refusal(self._layout.git_dir)
            raise FalseIndexError(str(error), hint="" if error is None else error.hint)
        return len(owed)

    def _withdraw(self, owed: Owed) -> None:
        """Give the manifest of an index to nobody any more; a true index has its size."""
        indexes = IndexStore(self._layout, ReelStore(self._layout))
        index = indexes.of(owed.manifest)
        if index is not None:
            indexes.drop(index.id)

    def admit(self) -> bool:
        """Let git use a repository again that was refused, if nothing is owed; tells whether it is.

        For a user who has read why. What git wrote by the false index before the alarm, such as a
        pack of its own (git-repack(1)), has objects under ids that are not theirs.

        Raises:
            FalseIndexError: there is such an object; the repository stays refused.
        """
        why = own_refusal(self._layout.git_dir)
        if why is None or self.is_owed:
            return False
        objects = self._layout.git_dir / "objects"
        drop_derived(objects)  # also what a git wrote that had begun before the alarm
        fault = first_fault(objects, format_of_refused(self._layout.git_dir))
        if fault:
            raise FalseIndexError(
                f"{self._layout.git_dir} stays refused: git has written by the false index since"
                f" ({fault})",
                hint="remove it and clone again",
            )
        admit_again(self._layout.git_dir)
        return True

    def _words(self, owed: Owed, verdict: Verdict) -> str:
        where = self._layout.git_dir
        first = (
            f"a pack came with an index that {owed.key} signed, by gittorrent.index=signed, and"
            f" the check behind it failed: {verdict.fault}"
        )
        seen = (
            "What was read, checked out or built from it so far may be other content than the ids"
            f" say. {owed.key} is believed no more on this machine."
        )
        way_out = (
            f"The pack is whole, and its true index in place: 'gittorrent verify {where}' lets git"
            " use it again if git wrote nothing false meanwhile; then check out all files anew."
            if verdict.is_mended
            else "Remove it and clone again."
        )
        return f"{first}\n{seen}\n{way_out}\n(reel {owed.manifest} of {owed.repository})\n"
