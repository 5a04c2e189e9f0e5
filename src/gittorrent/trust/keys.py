"""How keys are named in policies, manifests and log entries.

Tracks nothing; pure. A ``KeyRef`` is the fingerprint of a whole public key, never a short id, so
one name stands for one key.

Rules: one spelling per key (lower-case hexadecimal; canonical base64 without padding), so that
names can be compared as text and sorted. Must not know what a key may do: that is policy.

Protocol: docs/protocol/trust.md, Keys.
"""

from __future__ import annotations

import base64
import binascii
import re
from enum import Enum

from msgspec import Struct

from gittorrent.trust.errors import BadKey

_OPENPGP_FINGERPRINT = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")
_SSH_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}\Z")


class KeyKind(Enum):
    """The two families of keys; the value is the prefix used in texts."""

    OPENPGP = "openpgp"
    SSH = "ssh"


class KeyRef(Struct, frozen=True):
    """The name of one public key.

    ``fingerprint`` is 40 (version 4) or 64 (version 6) lower-case hexadecimal digits of the
    primary key for OpenPGP, and ``SHA256:`` with 43 base64 characters for SSH, as
    ``ssh-keygen -l`` prints it. Raises ``BadKey`` for any other spelling.
    Source: docs/protocol/trust.md, Keys.
    """

    kind: KeyKind
    fingerprint: str

    def __post_init__(self) -> None:
        if self.kind is KeyKind.OPENPGP:
            good = _OPENPGP_FINGERPRINT.match(self.fingerprint) is not None
        else:
            good = _is_ssh_fingerprint(self.fingerprint)
        if not good:
            raise BadKey(
                f"not a full {self.kind.value} key fingerprint: {self.fingerprint[:80]!r}",
                hint="write openpgp:<40 or 64 lower-case hexadecimal digits> "
                "or ssh:SHA256:<43 base64 characters>",
            )

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.fingerprint}"

    def __lt__(self, other: KeyRef) -> bool:
        return str(self) < str(other)

    @classmethod
    def parse(cls, text: str) -> KeyRef:
        """Read a key name as ``str()`` writes it; raises ``BadKey`` for anything else."""
        prefix, _, fingerprint = text.partition(":")
        for kind in KeyKind:
            if prefix == kind.value:
                return cls(kind, fingerprint)
        raise BadKey(
            f"not a key name: {text[:80]!r}",
            hint="a key name starts with openpgp: or ssh:SHA256:",
        )


def _is_ssh_fingerprint(text: str) -> bool:
    """Tell whether ``text`` is the only spelling of a SHA-256 in base64 (unused bits zero)."""
    if _SSH_FINGERPRINT.match(text) is None:
        return False
    digits = text.removeprefix("SHA256:")
    try:
        digest = base64.b64decode(digits + "=", validate=True)
    except binascii.Error:
        return False
    return base64.b64encode(digest).decode("ascii").rstrip("=") == digits
