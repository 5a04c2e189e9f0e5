"""Who may sign the manifest of a reel: whoever was the keeper where it ends, or became it later.

Pure. A keeper that was replaced is gone from the policy, and its reels stay good: they end where
it was the keeper. What it signs for later checkpoints counts for nothing
(docs/protocol/reels.md, "Manifest"). So does a certificate: one that was renewed says nothing of
what was signed before that, and the one before it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.errors import TrustError
from gittorrent.trust.errors import UnknownKey
from gittorrent.trust.signature import verify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gittorrent.ids import PushId
    from gittorrent.push.log import VerifiedLog
    from gittorrent.trust.keys import KeyRef
    from gittorrent.trust.signature import Signature
    from gittorrent.trust.signed_policy import VerifiedPolicy


class ReelSignerError(TrustError):
    """A manifest is signed by a key that may not sign reels up to its checkpoint."""


def reel_signer(log: VerifiedLog, end: PushId, text: bytes, signature: Signature) -> KeyRef:
    """Return who signed a manifest.

    Args:
        log: of the repository.
        end: the checkpoint that the reel ends at.
        text: the manifest.
        signature: over it.

    Raises:
        ReelSignerError: another key than that of the keeper then, or of one since, signed.
        TrustError: the signature does not hold, or ``end`` is no checkpoint of the log.
    """
    failure: TrustError = ReelSignerError(f"there is no policy at {end}")
    tried = set()
    for version in _since(log, end):
        keeper = version.policy.keeper
        certified = (keeper, version.keyring.get(keeper))
        if certified in tried:
            continue  # whoever signed, it comes to the same, and strangers may send what is signed
        tried.add(certified)
        try:
            key = verify(signature, text, version.keyring).key
        except TrustError as error:
            if len(tried) == 1 or not isinstance(error, UnknownKey):
                failure = error
            continue
        if key == keeper:
            return key
        failure = ReelSignerError(f"it is signed by {key}, which may not sign reels up to {end}")
    raise failure


def _since(log: VerifiedLog, end: PushId) -> Iterator[VerifiedPolicy]:
    """Yield the versions that count, from the newest to the one in force at a checkpoint.

    A clone does not know which that was at a checkpoint from before its log begins.
    """
    is_older = end not in log and log.begins_late
    oldest = 1 if is_older else log.checkpoint(end).checkpoint.version
    by_digest = {each.policy.digest: each for each in log.policies}
    at: VerifiedPolicy | None = log.policy
    while at is not None and at.policy.version >= oldest:
        yield at
        at = by_digest.get(at.policy.previous or "")
