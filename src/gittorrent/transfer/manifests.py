"""Verifies manifests that mirrors send for what they offered."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from gittorrent.errors import TrustError
from gittorrent.push.reel_signers import ReelSignerError, reel_signer
from gittorrent.reel.manifest import parse_manifest
from gittorrent.repository.receive import SignedManifest
from gittorrent.trust.errors import BadSignature
from gittorrent.trust.signature import split_signed

if TYPE_CHECKING:
    from gittorrent.push.log import VerifiedLog
    from gittorrent.reel.path import ReelOffer


class FalseOfferError(TrustError):
    """What was sent is not what was offered or asked for: the mirror that sent it lied."""


def verify_manifest(data: bytes, log: VerifiedLog, offer: ReelOffer) -> SignedManifest:
    """Read a manifest and check who signed it and what it is for.

    The signature comes before the parts: those of a stranger are not worth taking apart.

    Raises:
        FalseOfferError: it is not the manifest of that reel.
        TrustError: nobody entitled signed it.
    """
    try:
        text, signature = split_signed(data)
    except BadSignature as error:
        raise FalseOfferError(f"manifest {offer.manifest} is none: {error}") from error
    found = hashlib.sha256(text).hexdigest()
    if found != offer.manifest:
        raise FalseOfferError(f"manifest {offer.manifest} has the id {found}")
    try:
        key = reel_signer(log, offer.end, text, signature)
    except ReelSignerError as error:
        raise TrustError(f"manifest {found}: {error}") from error
    manifest = parse_manifest(text)
    wanted = (log.repository, offer.start, offer.end, log.object_format, offer.shape)
    found_is = (manifest.repository, manifest.start, manifest.end, manifest.object_format)
    if (*found_is, manifest.shape) != wanted:
        raise FalseOfferError(f"manifest {found} is for another reel")
    if manifest.pack_size != offer.pack_size:
        raise FalseOfferError(f"reel {found} is offered with another size than it has")
    return SignedManifest(manifest, signature, key)
