"""Fuzz target: the readers of checkpoints and listings. Refused, or written again the same."""

from __future__ import annotations

from gittorrent.errors import TrustError
from gittorrent.ids import SHA1, SHA256, ObjectFormat
from gittorrent.push.checkpoint import parse_changes, parse_checkpoint, parse_listing
from gittorrent.push.listing import listing_of

_KEY = "ssh:SHA256:" + "A" * 42 + "E"
_ONE = f"""\
object {SHA1.empty_tree}
type tree
tag gittorrent-checkpoint
tagger K Eeper <keep@example.org> 1600000000 +0000

gittorrent checkpoint 1
repository {"a2" * 26}
sequence 4
previous {"7" * 40}
policy 2 sha256:{"c" * 64}
adopt {"6" * 40}
push {"8" * 40} refs/heads/main conflict
push {"9" * 40} * applied
certificate {"9" * 40} sha256:{"5" * 64}
head refs/heads/main 2.1
state {"d" * 64}
whole
ref {"1" * 40} 2.5 refs/heads/a/b
conflict {"2" * 40} {"8" * 40} {_KEY} refs/heads/a/b
gone 3.1 refs/heads/gone
ref {"4" * 40} 0.0 refs/heads/main
waiting {"4" * 40} {"0" * 40} {"8" * 40} 3.2 {_KEY} refs/heads/main
"""
_OTHER = _ONE.replace(SHA1.empty_tree, SHA256.empty_tree)
for _digit in "012346789":
    _OTHER = _OTHER.replace(_digit * 40, _digit * 64)

_CHANGES = _ONE.replace("whole", "changes") + "drop refs/heads/old\n"
SEEDS: list[bytes] = [
    _ONE.encode(), _OTHER.encode(), _CHANGES.encode(), _ONE.encode().split(b"whole")[0], b"",
]  # fmt: skip


def one_input(data: bytes) -> None:
    """Read ``data`` as a checkpoint; raises only when the reader itself is wrong."""
    for object_format in (SHA1, SHA256):
        try:
            checkpoint = parse_checkpoint(data, object_format)
        except TrustError:
            continue
        if checkpoint.text() != data:
            raise RuntimeError("accepted a text that is not in canonical form")
        if (checkpoint.number == 1) != (checkpoint.previous is None):
            raise RuntimeError("accepted a checkpoint without a place in the chain")
        if not checkpoint.whole:
            _read_changes(checkpoint.listing, object_format)
            continue
        try:
            entries = parse_listing(checkpoint.listing, object_format)
        except TrustError:
            continue
        listing = listing_of(checkpoint.head, checkpoint.head_mark, entries)
        if listing.whole_text() != checkpoint.listing:
            raise RuntimeError("accepted a listing that is not in canonical form")


def _read_changes(text: bytes, object_format: ObjectFormat) -> None:
    try:
        entries = parse_changes(text, object_format)
    except TrustError:
        return
    if b"".join(entry.changed_text() for entry in entries) != text:
        raise RuntimeError("accepted changes that are not in canonical form")


if __name__ == "__main__":
    from harness import run

    run(one_input)
