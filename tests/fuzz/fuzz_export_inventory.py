"""Fuzz target: what lies where an export goes: an inventory, and who holds the place."""

from __future__ import annotations

from gittorrent.export.inventory import (
    Inventory,
    InventoryError,
    is_exported_name,
    parse_inventory,
)
from gittorrent.export.lease import Note, parse_note
from gittorrent.ids import RepositoryId

_NAMES = {f"reels/{'1' * 64}.pack": 7, f"pushes/{'2' * 40}": 0, "mirror-list": 0}

SEEDS: list[bytes] = [
    Inventory(RepositoryId("a" * 52), _NAMES).text(),
    Inventory(RepositoryId("b" * 52), {}).text(),
    Note("host", "boot", 17, 1_700_000_000).text(),
    b"",
]


def one_input(data: bytes) -> None:
    """Read ``data`` as both; raises only when a reader itself is wrong."""
    note = parse_note(data)
    if note is not None and parse_note(note.text()) != note:
        raise RuntimeError("a note is not what was written of it")
    try:
        found = parse_inventory(data)
    except InventoryError:
        return
    for name in found.files:
        if not is_exported_name(name) or name.startswith("/") or ".." in name:
            raise RuntimeError(f"an inventory names {name!r}")
    if parse_inventory(found.text()) != found:
        raise RuntimeError("an inventory is not what was written of it")


if __name__ == "__main__":
    from harness import run

    run(one_input)
