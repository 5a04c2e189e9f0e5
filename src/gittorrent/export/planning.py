"""What an export has to send, and what of former exports may go.

Pure. A file that never changes is known by its name, and where its size is known without reading
it, by that too. What the newest heads do not lead to any more stays for a while, since somebody may
be in the middle of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gittorrent.export.inventory import Inventory


class ForeignFilesError(UsageError):
    """A place has files that no export wrote, under names that one would write."""


class Plan(Struct, frozen=True):
    """What is to be done at a place.

    Args:
        send: names of files to write that never change, in order.
        remove: names of files that were superseded for long enough.
        before: the inventory's files while they are written.
        after: the same when all is done.
    """

    send: tuple[str, ...]
    remove: tuple[str, ...]
    before: Mapping[str, int]
    after: Mapping[str, int]

    @property
    def superseded(self) -> int:
        """Return how many files stay for those who are in the middle of them."""
        return sum(1 for since in self.after.values() if since)


def plan_export(
    wanted: Mapping[str, int | None],
    heads: Collection[str],
    present: Mapping[str, int],
    known: Inventory,
    now: int,
    keep: int,
    *,
    again: bool = False,
) -> Plan:
    """Compare what should be at a place with what is there.

    Args:
        wanted: names of files that never change, with their sizes where these are known.
        heads: names of the files that do.
        present: all files at the place that bear names of an export, with their sizes.
        known: what exports wrote there, or began to write.
        now: seconds since 1970.
        keep: seconds for which what is superseded stays.
        again: whether to send what seems to be there as well.

    Raises:
        ForeignFilesError: somebody else's files are in the way.
    """
    names = [*wanted, *heads]
    if foreign := sorted(name for name in names if name in present and name not in known.files):
        raise ForeignFilesError(
            f"{foreign[0]} is there already, and no export wrote it"
            + (f" (nor {len(foreign) - 1} more)" if len(foreign) > 1 else ""),
            hint="export to an empty place, or remove these files yourself",
        )
    send = tuple(
        name
        for name, size in wanted.items()
        if again or name not in present or (size is not None and present[name] != size)
    )
    current = set(names)
    left = {n: since for n, since in known.files.items() if n not in current and n in present}
    # Of heads there is no older state that anybody reads: one that is not written any more goes.
    remove = tuple(sorted(n for n, since in left.items() if since and now - since >= keep))
    after = dict.fromkeys(names, 0) | {n: since or now for n, since in left.items()}
    for name in remove:
        del after[name]
    return Plan(send, remove, {**known.files, **dict.fromkeys(names, 0)}, after)
