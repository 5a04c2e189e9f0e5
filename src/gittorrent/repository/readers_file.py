"""Whether a repository here is private, and who may read it, by a file beside its log.

The policy says it, and that is in the log; whoever serves, looks for mirrors or shares packs has to
know it without opening that. The file is there if, and only if, the repository is private. It is
written before the log that makes the repository private counts, and removed after one that makes it
public does, so that a crash in between leaves it private. Whoever commits a log sees to it.

Source: docs/protocol/trust.md, Private repositories.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.durable import sync_directory, write_atomically
from gittorrent.trust.readers import MAX_FILE, decode_readers, encode_readers, readers_of

if TYPE_CHECKING:
    from pathlib import Path

    from gittorrent.ids import RepositoryId
    from gittorrent.push.log import VerifiedLog
    from gittorrent.repository.layout import Layout
    from gittorrent.trust.keys import KeyRef


def hide(layout: Layout, log: VerifiedLog) -> None:
    """Keep who may read, if a log that is about to count makes the repository private."""
    readers = readers_of(log.policy.policy)
    if readers is not None and readers_here(layout, log.repository) != readers:
        write_atomically(layout.readers(log.repository), encode_readers(readers))


def show(layout: Layout, log: VerifiedLog) -> None:
    """Forget who could read, if a log that counts makes the repository public."""
    if readers_of(log.policy.policy) is None and is_private_here(layout, log.repository):
        layout.readers(log.repository).unlink(missing_ok=True)
        sync_directory(layout.readers(log.repository).parent)


def close_to_others(layout: Layout, folder: Path) -> None:
    """Let no other user of this machine read a private repository.

    Args:
        layout: of its git directory, whose log is one for this repository alone.
        folder: where the node makes repositories; how those elsewhere are open is for their owners.
    """
    # The home may have been moved, and a link be left by which its repositories are known.
    if layout.git_dir.parent.resolve() == folder.resolve() and has_private(layout):
        layout.git_dir.chmod(0o700)


def has_private(layout: Layout) -> bool:
    """Tell whether a git directory has the log of any private repository."""
    return any(layout.logs.glob("*/readers"))


def is_private_here(layout: Layout, repository: RepositoryId) -> bool:
    """Tell whether a repository whose log is in this git directory is private."""
    return layout.readers(repository).exists()


def readers_here(layout: Layout, repository: RepositoryId) -> frozenset[KeyRef] | None:
    """Return the keys that may read; None where everybody may.

    A file that is damaged, or cannot be read, lets nobody.
    """
    try:
        with layout.readers(repository).open("rb") as file:
            return decode_readers(file.read(MAX_FILE + 1))
    except FileNotFoundError:
        return None
    except OSError:
        return frozenset()
