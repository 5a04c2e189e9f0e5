"""Who calls, as far as that was proved, and what they may read.

Private repositories are for those who prove who they are: by an SSH key, which sshd has verified,
or by a token. Whoever proves nothing is a stranger, and for strangers private repositories do not
exist: what they are told, and what is done to find that out, is the same as for a path that nobody
ever used. Must not know how anything is proved.
Source: docs/protocol/trust.md, Private repositories.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from gittorrent.ids import RepositoryId
    from gittorrent.store.tokens import TokenRow
    from gittorrent.trust.keys import KeyRef


class Access(Struct, frozen=True):
    """What a caller proved.

    Args:
        keys: the SSH keys it has.
        token: the one it has, which was good when it was looked at.
        is_operator: whether it is a program of the user whose node this is.
    """

    keys: frozenset[KeyRef] = frozenset()
    token: TokenRow | None = None
    is_operator: bool = False

    def may_read(self, repository: RepositoryId, readers: frozenset[KeyRef] | None) -> bool:
        """Tell whether the caller may read a repository.

        Args:
            repository: its id.
            readers: the keys that may; None where everybody may.
        """
        if readers is None or self.is_operator or not self.keys.isdisjoint(readers):
            return True
        return self.token is not None and self.token.repository in ("", repository)

    @property
    def is_stranger(self) -> bool:
        """Tell whether nothing was proved."""
        return self == STRANGER


STRANGER = Access()
"""Somebody who proved nothing."""

OPERATOR = Access(is_operator=True)
"""A program of this user on this machine."""
