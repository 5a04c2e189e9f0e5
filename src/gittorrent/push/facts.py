"""What neither a log nor its policies tell: how objects descend, who certified whom.

Pure; a port that git and gpg answer (`Facts`), the answers of who has neither (`NoObjects`), and a
memory of answers (`KeptFacts`).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

from gittorrent.push.rule import UnknownObjectError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gittorrent.ids import Oid
    from gittorrent.trust.keys import KeyRef
    from gittorrent.trust.policy import WebOfTrust

MAX_ANSWERS = 100_000
"""Answers about objects that are kept: 10 MB of them."""


class Facts(Protocol):
    """Answers that are the same for everybody who can give them."""

    def contains(self, outer: Oid, inner: Oid) -> bool:
        """Tell whether ``inner`` is ``outer``, or both are commits and it is an ancestor.

        Raises:
            UnknownObjectError: that cannot be said, for want of an object
                (`gittorrent.push.rule`). An object that is here and no commit is not unknown.
        """

    def is_commit(self, value: Oid) -> bool:
        """Tell whether an object is a commit.

        Raises:
            UnknownObjectError: it is not here.
        """

    def certified(
        self,
        key: KeyRef,
        rule: WebOfTrust,
        roots: Sequence[KeyRef],
        certificates: Mapping[KeyRef, bytes],
        time: int,
    ) -> bool:
        """Tell whether ``roots`` vouched for ``key`` at ``time`` as ``rule`` asks.

        Args:
            key: an OpenPGP key.
            rule: depth and how many are needed.
            roots: the root keys of the policy in force.
            certificates: those that this policy pins, and those that came with the push.
            time: in seconds.
        """


class NoObjects:
    """`Facts` of who has no objects yet: refs are listed before anything is fetched."""

    def contains(self, outer: Oid, inner: Oid) -> bool:
        """Tell that an object contains itself; nothing else can be said."""
        if outer == inner:
            return True
        raise UnknownObjectError(f"neither {outer} nor {inner} is here")

    def is_commit(self, value: Oid) -> bool:
        """Say nothing of an object that is not here."""
        raise UnknownObjectError(f"{value} is not here")

    def certified(
        self,
        key: KeyRef,
        rule: WebOfTrust,
        roots: Sequence[KeyRef],
        certificates: Mapping[KeyRef, bytes],
        time: int,
    ) -> bool:
        """Say no more than of an object that is not here."""
        raise UnknownObjectError(f"whether {key} is vouched for is not looked into here")


class KeptFacts:
    """Answers of others, kept: what an object is and has in its past never changes.

    So they go on being known when the objects are gone from which they were found out. That
    something is not here is no answer, and asked again.

    Args:
        look: returns who answers by what is here now.
    """

    def __init__(self, look: Callable[[], Facts]) -> None:
        self._look = look
        self._facts = look()
        self._contained: dict[tuple[Oid, Oid], bool] = {}
        self._commits: dict[Oid, bool] = {}

    @contextlib.contextmanager
    def looking_in(self, facts: Facts) -> Iterator[None]:
        """Ask others as long as the block runs; afterwards look again at what is here."""
        self._facts = facts
        try:
            yield
        finally:
            self._facts = self._look()

    def contains(self, outer: Oid, inner: Oid) -> bool:
        """Tell whether ``inner`` is ``outer``, or both are commits and it is an ancestor.

        Raises:
            UnknownObjectError: it cannot be told, since objects are not here.
            GitError: this machine let git down.
        """
        pair = (outer, inner)
        if pair not in self._contained:
            self._make_room()
            self._contained[pair] = found = self._facts.contains(outer, inner)
            if found and outer != inner:
                self._commits.update({outer: True, inner: True})
        return self._contained[pair]

    def is_commit(self, value: Oid) -> bool:
        """Tell whether an object is a commit.

        Raises:
            UnknownObjectError: it is not here.
            GitError: this machine let git down.
        """
        if value not in self._commits:
            self._make_room()
            self._commits[value] = self._facts.is_commit(value)
        return self._commits[value]

    def certified(
        self,
        key: KeyRef,
        rule: WebOfTrust,
        roots: Sequence[KeyRef],
        certificates: Mapping[KeyRef, bytes],
        time: int,
    ) -> bool:
        """Tell whether ``roots`` vouched for ``key`` at ``time`` as ``rule`` asks."""
        return self._facts.certified(key, rule, roots, certificates, time)

    def _make_room(self) -> None:
        if len(self._contained) + len(self._commits) >= MAX_ANSWERS:
            self._contained.clear()
            self._commits.clear()
