"""What neither a log nor its policies tell: how objects descend, who certified whom.

Pure; a port that git and gpg answer (`Facts`), and the answers of who has neither (`NoObjects`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gittorrent.push.rule import UnknownObjectError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gittorrent.ids import Oid
    from gittorrent.trust.keys import KeyRef
    from gittorrent.trust.policy import WebOfTrust


class Facts(Protocol):
    """Answers that are the same for everybody who can give them."""

    def contains(self, outer: Oid, inner: Oid) -> bool:
        """Tell whether ``inner`` is ``outer``, or both are commits and it is an ancestor.

        Raises:
            UnknownObjectError: that cannot be said, for want of an object
                (`gittorrent.push.rule`). An object that is here and no commit is not unknown.
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
