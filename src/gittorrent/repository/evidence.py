"""What a repository's objects tell about pushes: which value contains which, and is a commit.

Answers come from git and are remembered, for one look at a repository: whoever got more objects
makes a new one. Nothing is believed that is not here: where an object is missing the question has
no answer, which is not the same as no (docs/protocol/trust.md, "The rule").

Whether others vouched for a key is no matter of objects; gpg finds that out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gittorrent.git.descent import Ancestry
from gittorrent.ids import Oid
from gittorrent.push.facts import NoObjects
from gittorrent.push.object import PushKind
from gittorrent.push.rule import UnknownObjectError
from gittorrent.signing.vouching import GpgVouching

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gittorrent.git.runner import Git
    from gittorrent.push.object import PushObject
    from gittorrent.trust.keys import KeyRef
    from gittorrent.trust.policy import WebOfTrust

_LINE = re.compile(rb"^([0-9a-f]{40,64}) ([0-9a-f]{40,64}) refs/(heads/)?", re.MULTILINE)
_NULL = frozenset("0")


_GPG = GpgVouching()
"""One for the whole process, since it remembers what it found out."""


class GitEvidence:
    """`gittorrent.push.facts.Facts` from a repository.

    Args:
        git: the repository.
        is_whole: whether all that its own loose objects reach was found to be here.
    """

    def __init__(self, git: Git, *, is_whole: bool = False) -> None:
        self._ancestry = Ancestry(git, is_whole=is_whole)

    def expect(self, pushes: Iterable[PushObject]) -> None:
        """Find out at once what judging many pushes will ask, which one by one takes long.

        Args:
            pushes: push objects, not verified; others than certificates are passed over.

        Raises:
            GitError: this machine let git down.
        """
        pairs: set[tuple[Oid, Oid]] = set()
        branches: set[Oid] = set()
        for push in pushes:
            if push.kind is PushKind.CERTIFICATE:
                for old, new, is_branch in _changes(push.text):
                    if old is not None:
                        pairs.add((new, old))
                    if is_branch:
                        branches.add(new)
        self._ancestry.prepare(pairs, branches)

    def known(self, outer: Oid, inner: Oid) -> bool | None:
        """Return the same as `contains`; None where it cannot be told."""
        return self._ancestry.contains(outer, inner)

    def contains(self, outer: Oid, inner: Oid) -> bool:
        """Tell whether ``inner`` is ``outer``, or both are commits and it is an ancestor.

        Raises:
            UnknownObjectError: it cannot be told, since objects are not here.
            GitError: this machine let git down.
        """
        known = self._ancestry.contains(outer, inner)
        if known is None:
            raise UnknownObjectError(f"whether {inner} is in the past of {outer} is not known here")
        return known

    def is_commit(self, value: Oid) -> bool:
        """Tell whether an object is a commit.

        Raises:
            UnknownObjectError: it is not here.
            GitError: this machine let git down.
        """
        known = self._ancestry.is_commit(value)
        if known is None:
            raise UnknownObjectError(f"what {value} is is not known here")
        return known

    def certified(
        self,
        key: KeyRef,
        rule: WebOfTrust,
        roots: Sequence[KeyRef],
        certificates: Mapping[KeyRef, bytes],
        time: int,
    ) -> bool:
        """Tell whether ``roots`` vouched for ``key`` at ``time`` as ``rule`` asks."""
        return _GPG.certified(key, rule, roots, certificates, time)


class OnlyVouching(NoObjects):
    """`gittorrent.push.facts.Facts` of who has no objects, and has gpg."""

    def certified(
        self,
        key: KeyRef,
        rule: WebOfTrust,
        roots: Sequence[KeyRef],
        certificates: Mapping[KeyRef, bytes],
        time: int,
    ) -> bool:
        """Tell whether ``roots`` vouched for ``key`` at ``time`` as ``rule`` asks."""
        return _GPG.certified(key, rule, roots, certificates, time)


def _changes(text: bytes) -> Iterable[tuple[Oid | None, Oid, bool]]:
    """Yield (old, new, whether it is a branch) of each line of a certificate that sets a ref."""
    for found in _LINE.finditer(text):
        old, new = (Oid(digits.decode("ascii")) for digits in found.group(1, 2))
        if not set(new) <= _NULL:
            yield (None if set(old) <= _NULL else old), new, found[3] is not None
