"""What one git process may use: memory and processor time, by what the repository needs.

A caller decides what git does for it, so git must not be able to take the machine along. What an
honest clone needs grows with the number of objects; so do the limits, from a base that leaves room
for large files. They bind each process (upload-pack, and the pack-objects that it starts) and
are set before git runs, by a shell that then becomes git: limits set from here once it runs would
come too late for what it had started by then.

Memory is what git asks for, RLIMIT_DATA, which counts private writable memory since Linux 4.7: its
packs are mapped to be read, cost nothing that the system could not take back, and are not in it.

Rules: a limit that the system had set lower before stays. Must not know callers.
Source: setrlimit(2); docs/decisions/0024-what-git-does-for-callers.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from pathlib import Path

    from gittorrent.ids import ObjectFormat

BASE_MEMORY = 512 << 20
"""Bytes that git may ask for however small the repository is."""

LEAST_MEMORY = 64 << 20
"""Bytes below which git was seen to fail, with two threads and 40,000 objects; with 48 MiB it did
not."""

OBJECT_MEMORY = 512
"""Bytes more for each object: pack-objects was seen to take 290 when it counts everything."""

BASE_CPU_SECONDS = 60
"""Processor seconds however small the repository is."""

OBJECTS_PER_SECOND = 10_000
"""Objects for which there is one second more: a clone of 850,000 took 5."""

_INDEX_OVERHEAD = 8
"""Bytes that a pack's index has for each object beside its id: checksum and offset."""

_SCRIPT = 'ulimit -d "$1" 2>&-; ulimit -t "$2" 2>&-; shift 2; exec "$@"'


class GitLimits(Struct, frozen=True):
    """What one git process may use.

    Args:
        memory: bytes.
        cpu: seconds.
    """

    memory: int
    cpu: int

    @property
    def words(self) -> tuple[str, ...]:
        """Return the words to put before a command line so that the limits bind it."""
        return ("/bin/sh", "-c", _SCRIPT, "git-limits", str(self.memory >> 10), str(self.cpu))


def limits_for(objects: int, base_memory: int = BASE_MEMORY) -> GitLimits:
    """Return the limits for serving a repository.

    Args:
        objects: how many it has, roughly.
        base_memory: bytes however many it has.
    """
    memory = base_memory + objects * OBJECT_MEMORY
    return GitLimits(memory, BASE_CPU_SECONDS + objects // OBJECTS_PER_SECOND)


def count_packed(folder: Path, object_format: ObjectFormat) -> int:
    """Return how many objects the packs of a folder have, by the sizes of their indexes."""
    row = object_format.raw_size + _INDEX_OVERHEAD
    return sum(path.stat().st_size // row for path in folder.glob("*.idx"))
