"""What users configure about fetching, as git configuration: ``gittorrent.*``.

==============================  ====================================================================
``gittorrent.allowUnverified``  clone from a plain git server, where nothing can be verified
``gittorrent.maxSize``          pack bytes to take for one repository; with K, M or G
==============================  ====================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gittorrent.transfer.acquire import MAX_REPOSITORY_BYTES
from gittorrent.transfer.limiter import parse_rate

if TYPE_CHECKING:
    from collections.abc import Mapping

_TRUE = frozenset({"true", "yes", "on", "1"})


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings, read."""

    allow_unverified: bool
    max_bytes: int


def read_settings(config: Mapping[str, str]) -> Settings:
    """Read the settings out of git's configuration (keys in lower case).

    Raises:
        RateError: a size is malformed.
    """
    size = config.get("gittorrent.maxsize")
    return Settings(
        allow_unverified=config.get("gittorrent.allowunverified", "").lower() in _TRUE,
        max_bytes=MAX_REPOSITORY_BYTES if size is None else parse_rate(size),
    )
