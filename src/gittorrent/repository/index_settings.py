"""How packs are indexed, as the user configured it with git.

===============================  ===================================================================
``fetch.fsckObjects``,           hold what is received to fsck's rules, as git does
``transfer.fsckObjects``
``fetch.fsck.<rule>``,           exceptions from those rules, as for git
``fetch.fsck.skipList``
``gittorrent.paranoid``          index with git's own ``index-pack`` and fsck's rules, whatever is
                                 installed and whatever the first two above say
``gittorrent.detectCollisions``  false: do not look for SHA-1 collision attacks in reels, every part
                                 of which a manifest names that a key of the repository signed
``gittorrent.index``            ``signed``: a clone takes the index of a pack as the key signed it
                                 that signs the reels, and checks it afterwards; ``own``: never.
                                 Without effect where fsck's rules or paranoid are wanted
``gittorrent.indexMemory``       bytes the compiled indexer may use, about; with K, M or G
===============================  ===================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.errors import UsageError
from gittorrent.git.boolean import parse_boolean
from gittorrent.git.fsckrules import FsckRules, read_rules
from gittorrent.git.repository import configured, list_config
from gittorrent.sizes import parse_size

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DEFAULT_MEMORY = 128 << 20
"""Bytes the compiled indexer uses, about: with more it is hardly faster, with half of it a tenth
slower. A clone, Python and all, then stays below 300 MiB up to about a million objects."""


class IndexSettings(Struct, frozen=True):
    """The settings, read.

    Args:
        fsck: whether objects must keep to fsck's rules.
        paranoid: whether nothing but git itself is to index.
        memory: bytes the compiled indexer may use, about.
        detect: whether to look for collision attacks where a signed manifest names the pack.
        git_checks: whether git by itself holds what it fetches to fsck's rules.
        exceptions: from those rules.
        signed: whether a clone may take an index as it was signed, and check it afterwards.
    """

    fsck: bool = False
    paranoid: bool = False
    memory: int = DEFAULT_MEMORY
    detect: bool = True
    git_checks: bool = False
    exceptions: FsckRules = FsckRules()
    signed: bool = False

    @property
    def takes_signed(self) -> bool:
        """Whether that is done: not where objects are to be checked before they are used."""
        return self.signed and not self.fsck

    @property
    def rules(self) -> FsckRules | None:
        """The rules for what is received, None where there are none."""
        return self.exceptions if self.fsck else None


def index_settings(directory: Path) -> IndexSettings:
    """Return what git's configuration in ``directory`` says, the user's included.

    Raises:
        UsageError: a value is malformed.
        GitError: git cannot read its configuration.
    """
    git = configured(directory)
    config = list_config(git)
    settings = read_index_settings(dict(config))
    if not settings.fsck:
        return settings
    return replace(settings, exceptions=read_rules(git, config))


def push_rules(directory: Path) -> FsckRules:
    """Return the rules for what is pushed: all, but for exceptions as on fetches."""
    git = configured(directory)
    return read_rules(git, list_config(git))


def read_index_settings(config: Mapping[str, str]) -> IndexSettings:
    """Read the settings out of git's configuration (keys in lower case), without exceptions.

    Raises:
        UsageError: a value is malformed.
    """
    paranoid = _boolean(config, "gittorrent.paranoid", "false")
    by_default = _boolean(config, "transfer.fsckObjects", "false")
    git_checks = _boolean(config, "fetch.fsckObjects", str(by_default))
    memory = config.get("gittorrent.indexmemory")
    return IndexSettings(
        fsck=paranoid or git_checks,
        git_checks=git_checks,
        paranoid=paranoid,
        memory=DEFAULT_MEMORY if memory is None else _bytes(memory),
        detect=_boolean(config, "gittorrent.detectCollisions", "true"),
        signed=_signed(config.get("gittorrent.index", "own")),
    )


def _boolean(config: Mapping[str, str], name: str, default: str) -> bool:
    return parse_boolean(name, config.get(name.lower(), default))


def _signed(text: str) -> bool:
    if text not in ("own", "signed"):
        raise UsageError(f"gittorrent.index is {text!r}", hint="write own or signed")
    return text == "signed"


def _bytes(text: str) -> int:
    found = parse_size(text)
    if found is None:
        raise UsageError(
            f"gittorrent.indexMemory is {text!r}", hint="write bytes, as in 128M or 1G"
        )
    return found
