"""Fuzz target: the ends of a pack's index. What is accepted leads git nowhere beyond them."""

from __future__ import annotations

import struct

from gittorrent.reel.pack_index import BEGINNING, FAN_OUT, PackIndexError, check_ends

_OBJECTS = 30
_PACK, _INDEX = "ab" * 20, "cd" * 20
_TAIL = bytes.fromhex(_PACK + _INDEX)
_COUNTS = [min(number, _OBJECTS) for number in range(256)]

SEEDS: list[bytes] = [
    BEGINNING + FAN_OUT.pack(*_COUNTS) + _TAIL,
    BEGINNING + FAN_OUT.pack(*([_OBJECTS] * 256)) + _TAIL,
    BEGINNING + FAN_OUT.pack(*reversed(_COUNTS)) + _TAIL,
    b"",
]


def one_input(data: bytes) -> None:
    """Read ``data`` as head and tail of an index; raises only when the check is wrong."""
    head, tail = data[: -len(_TAIL)], data[-len(_TAIL) :]
    try:
        check_ends(head, tail, _OBJECTS, _PACK, _INDEX)
    except PackIndexError:
        return
    counts = struct.unpack(">256I", head[8:])
    if list(counts) != sorted(counts) or counts[-1] != _OBJECTS or tail != _TAIL:
        raise RuntimeError("accepted an index that leads beyond its end")


if __name__ == "__main__":
    from harness import run

    run(one_input)
