"""Fuzz target: OpenPGP signatures and certificates, armored and binary.

Input is tried as a signature under a known certificate and as a certificate over a known
signature.
"""

from __future__ import annotations

import base64

from gittorrent.trust import openpgp
from gittorrent.trust.armor import Armor, wrap
from gittorrent.trust.errors import (
    BadKey,
    BadSignature,
    ExpiredKey,
    RevokedKey,
    UnknownKey,
    WeakSignature,
)

_MESSAGE = b"fuzz\n"
_CERTIFICATE = base64.b64decode(
    "mDMEXgvhABYJKwYBBAHaRw8BAQdAdK+CkujzIpL3Jj+PK4xbznc30cXFVMiM4Ifxn66vgHu0F0Z1enogPGZ1"
    "enpAZXhhbXBsZS5vcmc+iJAEExYIADgWIQT1JzLWPQM21GIbdyf4MCWZl1bofgUCXgvhAAIbAwULCQgHAgYV"
    "CgkICwIEFgIDAQIeAQIXgAAKCRD4MCWZl1bofum6AQD5dmwWAXtBrY7gO9b3bLWmdsDtT1/kJuP40guBxX8u"
    "wQEAkfBJc0NsgGMrzZPQfXwzFEJElDMNzrGZPAPhh6/2TQ8="
)
_SIGNATURE = base64.b64decode(
    "iIcEABYIAC8WIQT1JzLWPQM21GIbdyf4MCWZl1bofgUCXgvhPBEcZnV6ekBleGFtcGxlLm9yZwAKCRD4MCWZ"
    "l1bofhm5AP44GIxFv3peEnRcue18r0yGuTg9APbF37G3GXeKZXOyGQEAv/v7y96TXZNKY44bMPi60Gp2ZTAY"
    "62NYDdp6atRfTgk="
)

SEEDS: list[bytes] = [
    _SIGNATURE,
    _CERTIFICATE,
    wrap(_SIGNATURE, Armor.PGP_SIGNATURE),
    wrap(_CERTIFICATE, Armor.PGP_CERTIFICATE),
]

_REFUSED = (BadKey, BadSignature, ExpiredKey, RevokedKey, UnknownKey, WeakSignature)
_NAME = openpgp.certificate_fingerprint(_CERTIFICATE)


def one_input(data: bytes) -> None:
    """Verify with ``data`` in both places; raises only when a forgery gets through."""
    try:
        made = openpgp.verify(data, _MESSAGE, _CERTIFICATE)
    except _REFUSED:
        pass
    else:
        if made.key != _NAME:
            raise RuntimeError("verified as somebody else than the certificate's owner")
        _must_be_refused(data)
    try:
        key = openpgp.certificate_fingerprint(data)
        keys = openpgp.certificate_keys(data)
    except _REFUSED:
        return
    if key.fingerprint not in keys:
        raise RuntimeError("a certificate without its own primary key")
    try:
        made = openpgp.verify(_SIGNATURE, _MESSAGE, data)
    except _REFUSED:
        return
    if made.key != key or made.signing_key not in keys:
        raise RuntimeError("a certificate vouched for a key that is not in it")


def _must_be_refused(signature: bytes) -> None:
    try:
        openpgp.verify(signature, _MESSAGE + b"forged", _CERTIFICATE)
    except _REFUSED:
        return
    raise RuntimeError("one signature over two messages")


if __name__ == "__main__":
    from harness import run

    run(one_input)
