"""Fuzz target: the reader of files with keys. A file is refused, or holds keys and nothing else."""

from __future__ import annotations

import base64

from gittorrent.errors import TrustError
from gittorrent.trust.armor import Armor, wrap
from gittorrent.trust.key_files import MAX_KEYS, read_keys

_BLOB = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20" + bytes(32)
_LINE = b"ssh-ed25519 " + base64.b64encode(_BLOB)

SEEDS: list[bytes] = [
    _LINE + b" alice@laptop\n",
    b'from="*.example.org",command="x \\" y" ' + _LINE + b"\n",
    b"# keys\n\nssh-dss AAAA\n" + _LINE,
    b"Hello,\n" + wrap(b"\x98\x33\x04", Armor.PGP_CERTIFICATE) + b"Alice\n",
    b"\x98\x33\x04" + bytes(51),
    b"-----BEGIN OPENSSH PRIVATE KEY-----\n",
    b"",
]


def one_input(data: bytes) -> None:
    """Read ``data`` as keys; raises only when the reader itself is wrong."""
    try:
        found = read_keys(data, "the file")
    except TrustError:
        return
    if not 1 <= len({each.key for each in found.keys}) == len(found.keys) <= MAX_KEYS:
        raise RuntimeError("no key, too many, or one twice")


if __name__ == "__main__":
    from harness import run

    run(one_input)
