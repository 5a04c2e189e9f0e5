"""The port to where an export goes: a directory, or a bucket.

Names are relative, of forms that `gittorrent.export.inventory` knows. A file is there whole or not
at all, whoever is killed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from gittorrent.errors import GitTorrentError, LocalError
from gittorrent.transfer.static_files import (
    BUNDLE_TYPE,
    IMMUTABLE,
    MANIFEST_TYPE,
    PACK_TYPE,
    PUSH_TYPE,
    REVALIDATE,
    TEXT_TYPE,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager


class BusyPlaceError(GitTorrentError):
    """Another process exports to a place."""


class LockLostError(LocalError):
    """Another process took the place over while this one was thought to be dead."""


class Hold(Protocol):
    """The exclusive right to write to a place."""

    def check(self) -> None:
        """Make sure that it still holds; raises LockLostError."""


class Place(Protocol):
    """Where an export goes."""

    @property
    def name(self) -> str:
        """What it is called in messages."""

    def held(self) -> AbstractContextManager[Hold]:
        """Keep others from writing to it.

        Raises:
            BusyPlaceError: somebody else does.
        """

    def present(self) -> Mapping[str, int]:
        """Return what is there under names that an export may have, with sizes in bytes."""

    def read(self, name: str, most: int) -> bytes | None:
        """Return a file of at most ``most`` bytes; None if there is none.

        Raises:
            LocalError: it is longer.
        """

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield a file's bytes; of one that is not there, none."""

    def write_small(self, files: Mapping[str, bytes]) -> None:
        """Write short files, side by side."""

    def write(self, name: str, size: int, chunks: Iterator[bytes]) -> None:
        """Write a file of ``size`` bytes; what ``chunks`` raises leaves what was there."""

    def remove(self, names: Sequence[str]) -> None:
        """Remove files."""


class Kind(Struct, frozen=True):
    """What a web server should say of a file: its type, and for how long it may be kept."""

    content_type: str
    cache: str


def kind_of(name: str) -> Kind:
    """Return what a web server should say of a file of an export."""
    if name.startswith("pushes/") and name not in ("pushes/index", "pushes/short"):
        return Kind(PUSH_TYPE, IMMUTABLE)
    if name.endswith(".manifest"):
        return Kind(MANIFEST_TYPE, IMMUTABLE)
    if name.endswith(".pack"):
        return Kind(PACK_TYPE, IMMUTABLE)
    if name.endswith(".bundle"):
        return Kind(BUNDLE_TYPE, REVALIDATE)
    return Kind(TEXT_TYPE, REVALIDATE)
