"""The tokens that an operator gave to readers of private repositories: their digests.

A token itself is shown once and never kept. Rules: what is presented is compared with all digests
there are, in a time that does not depend on where they differ; one that was revoked or has expired
is as good as none.

Source: docs/commands.md, gittorrent token new.
"""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import UsageError
from gittorrent.ids import RepositoryId

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.store.database import Database

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}\Z")


class TokenRow(Struct, frozen=True):
    """A token.

    Args:
        name: what the operator calls it.
        digest: its SHA-256, in hexadecimal.
        repository: the only one it is good for; empty for all that the node carries.
        made: when, in seconds since 1970.
        expires: likewise; 0 for never.
    """

    name: str
    digest: str
    repository: RepositoryId | str
    made: int
    expires: int

    def is_good(self, now: float) -> bool:
        """Tell whether it has not expired."""
        return not self.expires or now < self.expires


class TokenTable:
    """The tokens of a node.

    Args:
        database: of the node.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, row: TokenRow) -> None:
        """Keep a token.

        Raises:
            UsageError: its name cannot be one, or is taken.
        """
        if _NAME.match(row.name) is None:
            raise UsageError(
                f"not a name for a token: {row.name[:120]!r}",
                hint="up to 100 letters, digits, '.', '_', '@', '+' and '-'",
            )
        if any(each.name == row.name for each in self.all()):
            raise UsageError(
                f"there is a token {row.name}",
                hint=f"choose another name, or 'gittorrent token revoke {row.name}' first",
            )
        values = (row.name, row.digest, row.repository, row.made, row.expires)
        self._database.write([("INSERT INTO tokens VALUES (?, ?, ?, ?, ?)", values)])

    def revoke(self, names: Iterable[str]) -> list[TokenRow]:
        """Let tokens be good for nothing from now on, all of them or none; returns them.

        Raises:
            UsageError: there is none of one of the names.
        """
        known = {each.name: each for each in self.all()}
        gone: dict[str, TokenRow] = {}
        for name in names:
            if name not in known:
                raise UsageError(
                    f"there is no token {name}; none is revoked",
                    hint="'gittorrent token list' says which there are",
                )
            gone[name] = known[name]
        self._database.write([("DELETE FROM tokens WHERE name = ?", (name,)) for name in gone])
        return list(gone.values())

    def all(self) -> list[TokenRow]:
        """Return all tokens, those that have expired too, by name."""
        rows = self._database.rows(
            "SELECT name, digest, repository_id, made, expires FROM tokens ORDER BY name"
        )
        return [TokenRow(n, d, RepositoryId(i), m, e) for n, d, i, m, e in rows]

    def good(self, now: float) -> list[TokenRow]:
        """Return those that are good at a time."""
        return [row for row in self.all() if row.is_good(now)]


def find_token(rows: list[TokenRow], digest: str) -> TokenRow | None:
    """Return the token of a digest, after all were compared with it."""
    found = None
    for row in rows:
        if hmac.compare_digest(row.digest, digest):
            found = row
    return found
