"""Fuzz target: the reader of drafts. A draft is refused, or written again and read as the same."""

from __future__ import annotations

from gittorrent.errors import TrustError
from gittorrent.trust.armor import Armor, wrap
from gittorrent.trust.policy_draft import parse_draft

_KEY = "ssh:SHA256:" + "A" * 42 + "E"
_TEXT = f"""\
gittorrent policy 2
name linux
version 2
previous sha256:{"3" * 64}
checkpoint {"ab" * 20}
threshold 1
root {_KEY}
head refs/heads/main
keeper {_KEY}
auth refs/heads/* {_KEY}
""".encode()
_SIGNATURES = wrap(b"SSHSIG", Armor.SSH_SIGNATURE) + wrap(b"\xc2\x00", Armor.PGP_SIGNATURE)

SEEDS: list[bytes] = [
    _TEXT,
    _TEXT + _SIGNATURES,
    (_TEXT + _SIGNATURES).replace(b"\n", b"\r\n"),
    _TEXT + _SIGNATURES + wrap(b"\x98\x33", Armor.PGP_CERTIFICATE),
    b"",
]


def one_input(data: bytes) -> None:
    """Read ``data`` as a draft; raises only when the reader itself is wrong."""
    try:
        draft = parse_draft(data)
    except TrustError:
        return
    if parse_draft(draft.encode()) != draft:
        raise RuntimeError("a draft that was written is read as another")


if __name__ == "__main__":
    from harness import run

    run(one_input)
