"""How packs are indexed, as the user configured it with git.

===============================  ===================================================================
``fetch.fsckObjects``,           hold what is received to fsck's rules, as git does
``transfer.fsckObjects``
``gittorrent.paranoid``          index with git's own ``index-pack`` and fsck's rules, whatever is
                                 installed and whatever the two above say
``gittorrent.detectCollisions``  false: do not look for SHA-1 collision attacks in reels, every part
                                 of which a manifest names that a key of the repository signed
``gittorrent.indexMemory``       bytes the compiled indexer may use, about; with K, M or G
===============================  ===================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import UsageError
from gittorrent.git.repository import read_config
from gittorrent.sizes import parse_size

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DEFAULT_MEMORY = 128 << 20
"""Bytes the compiled indexer uses, about: with more it is hardly faster, with half of it a tenth
slower. A clone, Python and all, then stays below 300 MiB up to about a million objects."""

_TRUE = frozenset({"true", "yes", "on", "1", ""})


class IndexSettings(Struct, frozen=True):
    """The settings, read.

    Args:
        fsck: whether objects must keep to fsck's rules.
        paranoid: whether nothing but git itself is to index.
        memory: bytes the compiled indexer may use, about.
        detect: whether to look for collision attacks where a signed manifest names the pack.
        git_checks: whether git by itself holds what it fetches to fsck's rules.
    """

    fsck: bool = False
    paranoid: bool = False
    memory: int = DEFAULT_MEMORY
    detect: bool = True
    git_checks: bool = False


def index_settings(directory: Path) -> IndexSettings:
    """Return what git's configuration in ``directory`` says, the user's included.

    Raises:
        UsageError: a value is malformed.
    """
    return read_index_settings(read_config(directory))


def read_index_settings(config: Mapping[str, str]) -> IndexSettings:
    """Read the settings out of git's configuration (keys in lower case).

    Raises:
        UsageError: a value is malformed.
    """
    paranoid = _is_true(config.get("gittorrent.paranoid", "false"))
    fsck = config.get("fetch.fsckobjects", config.get("transfer.fsckobjects", "false"))
    memory = config.get("gittorrent.indexmemory")
    return IndexSettings(
        fsck=paranoid or _is_true(fsck),
        git_checks=_is_true(fsck),
        paranoid=paranoid,
        memory=DEFAULT_MEMORY if memory is None else _bytes(memory),
        detect=_is_true(config.get("gittorrent.detectcollisions", "true")),
    )


def _is_true(text: str) -> bool:
    return text.lower() in _TRUE


def _bytes(text: str) -> int:
    found = parse_size(text)
    if found is None:
        raise UsageError(
            f"gittorrent.indexMemory is {text!r}", hint="write bytes, as in 128M or 1G"
        )
    return found
