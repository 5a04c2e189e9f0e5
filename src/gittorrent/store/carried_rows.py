"""What the node carries, as its database has it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_to_bytes

from msgspec import Struct

from gittorrent.ids import RepositoryId

if TYPE_CHECKING:
    from collections.abc import Iterable


class CarriedRow(Struct, frozen=True):
    """A repository this node carries.

    Args:
        name: it is served at ``/<name>.git``.
        repository_id: its id.
        path: its git directory.
        role: ``origin`` where its owner publishes, ``mirror`` where it follows others.
        source: for mirrors, the URL they were made from.
    """

    name: str
    repository_id: RepositoryId
    path: str
    role: str
    source: str = ""

    @property
    def is_mirror(self) -> bool:
        """Whether it follows others."""
        return self.role == "mirror"


CARRIED = "SELECT name, repository_id, path, role, source FROM repositories ORDER BY name"
"""What `carried_rows` reads the answer to."""


def carried_rows(rows: Iterable[tuple[Any, ...]]) -> list[CarriedRow]:
    """Return the carried repositories that rows of the database stand for."""
    return [CarriedRow(n, RepositoryId(i), path_of(p), r, s) for n, i, p, r, s in rows]


_FILE = "file:"


def stored_path(path: str) -> str:
    """Return an absolute path as text in UTF-8, which it need not be: as a URL then (RFC 8089)."""
    data = os.fsencode(path)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return _FILE + quote(data)


def path_of(stored: str) -> str:
    """Return the path that `stored_path` made this of."""
    if not stored.startswith(_FILE):
        return stored
    return os.fsdecode(unquote_to_bytes(stored.removeprefix(_FILE)))
