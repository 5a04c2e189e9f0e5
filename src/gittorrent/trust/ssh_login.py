"""Which key somebody logged in with over ssh, as sshd says it.

sshd verified the signature, over a text that only this connection has; so nobody can pass another's
proof on. It writes a line for each way in which the user was authenticated into a file, if
``ExposeAuthInfo`` is set (sshd_config(5)): ``publickey``, the type of the key, and the key.

Rules: what cannot be read, and SSH certificates, prove nothing. Must not know files.
Source: docs/protocol/trust.md, Private repositories.
"""

from __future__ import annotations

import contextlib

from gittorrent.trust.errors import BadKey
from gittorrent.trust.keys import KeyRef
from gittorrent.trust.sshkey import parse_key_line

MAX_FILE = 64 << 10
"""Bytes that are read of the file: some keys of the longest kind."""

_METHOD = "publickey"


def keys_of_login(said: bytes) -> frozenset[KeyRef]:
    """Return the keys that sshd says somebody has.

    Args:
        said: content of the file that ``SSH_USER_AUTH`` names.
    """
    found = set()
    for line in said.decode("ascii", "replace").splitlines():
        method, _, key = line.partition(" ")
        if method == _METHOD:
            with contextlib.suppress(BadKey):
                found.add(parse_key_line(key).key)
    return frozenset(found)


def parse_login_key(text: str) -> KeyRef:
    """Read the name of a key as people write it into ``authorized_keys``, or sshd for its ``%f``.

    Raises:
        BadKey: it is none.
    """
    return KeyRef.parse(f"ssh:{text}" if text.startswith("SHA256:") else text)
