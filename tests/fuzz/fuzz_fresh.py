"""Fuzz target: the reader of statements of freshness. Refused, or written again the same."""

from __future__ import annotations

from gittorrent.ids import SHA1, SHA256, PushId, RepositoryId
from gittorrent.push.fresh import Fresh, FreshnessError, parse_fresh

SEEDS: list[bytes] = [
    Fresh(RepositoryId("a2" * 26), PushId("1" * 40), 1_700_000_000).text(),
    Fresh(RepositoryId("b7" * 26), PushId("a" * 64), 0).text(),
    b"gittorrent fresh 1\n",
]


def one_input(data: bytes) -> None:
    """Read ``data`` as a statement; raises only when the reader itself is wrong."""
    for object_format in (SHA1, SHA256):
        try:
            fresh = parse_fresh(data, object_format)
        except FreshnessError:
            continue
        if fresh.text() != data:
            raise RuntimeError("accepted a text that is not in canonical form")


if __name__ == "__main__":
    from harness import run

    run(one_input)
