"""What can be wrong with a signature, a certificate or a policy.

For all of ``gittorrent.trust`` and whoever calls it; pure. All hang under ``TrustError``: the
bytes were readable, but they do not give anybody the right they claim.
"""

from __future__ import annotations

from gittorrent.errors import TrustError


class BadSignature(TrustError):
    """The signature is malformed, or does not hold over this message."""


class WeakSignature(TrustError):
    """The signature is of a kind that is no longer, or never was, good enough to trust."""


class UnknownKey(TrustError):
    """The signature names a key of which no certificate is known here."""


class ExpiredKey(TrustError):
    """The key had expired before the signature was made."""


class RevokedKey(TrustError):
    """The owner of the key has revoked it."""


class BadKey(TrustError):
    """A key, certificate or key reference is malformed or of a kind that is not accepted."""


class PolicyError(TrustError):
    """The text of a policy breaks the grammar or contradicts itself."""


class PolicyUnproven(TrustError):
    """A policy does not carry the signatures or certificates that would make it binding."""


class OldFormatError(PolicyError):
    """A policy or push object of a time before checkpoints."""

    def __init__(self) -> None:
        super().__init__(
            "the repository was published by an older version of GitTorrent, whose logs this one"
            " does not read",
            hint="its owner must publish it anew with this version; mirrors and clones must be"
            " made anew after that",
        )
