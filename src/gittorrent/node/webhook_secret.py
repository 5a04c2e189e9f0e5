"""The secret that a forge's webhooks are proved with, and the ways in which forges use it.

Pure but for reading the secret's file. Rules: comparisons take the same time whatever is wrong; a
body is digested as it comes and never kept; one right proof is enough, since who knows the secret
may as well have sent that alone. Replays prove right: a webhook says nothing but "look now", and is
known again by its digest. Must not know HTTP.

GitHub, and others that speak like it, send ``X-Hub-Signature-256``: ``sha256=`` and the HMAC in
hex. Forgejo and Gitea send ``X-Forgejo-Signature`` and ``X-Gitea-Signature``: the HMAC in hex.
GitLab sends ``X-Gitlab-Token``: the secret itself.

The HMAC is that of SHA-256 over the body (RFC 2104).
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from gittorrent.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LEAST_SECRET = 16
"""Characters of a secret: shorter ones can be guessed by trying."""

MOST_SECRET = 4096
"""Bytes of a secret's file that are read."""

_TOKEN = "X-Gitlab-Token"  # noqa: S105 (a header)
_HMACS = {"X-Hub-Signature-256": "sha256=", "X-Forgejo-Signature": "", "X-Gitea-Signature": ""}


class SecretError(UsageError):
    """A file holds no secret that can be used."""


def read_secret(path: Path, least: int = LEAST_SECRET) -> bytes:
    """Read a secret; white space around it, such as the end of its line, does not count.

    Args:
        path: of the file.
        least: bytes that it has to have.

    Raises:
        SecretError: the file cannot be read, or holds none.
    """
    try:
        with path.open("rb") as file:
            secret = file.read(MOST_SECRET + 1).strip()
    except OSError as error:
        raise SecretError(f"cannot read the secret: {error}") from error
    if not least <= len(secret) <= MOST_SECRET:
        raise SecretError(
            f"{path} holds no secret of {least} characters or more",
            hint=f"'openssl rand -hex 32 > {path}' makes one",
        )
    return secret


class Proof:
    """Tells whether a webhook's sender knows the secret.

    Args:
        secret: it.
        headers: of the request; names in any case.
    """

    def __init__(self, secret: bytes, headers: Mapping[str, str]) -> None:
        self._secret = secret
        self._headers = headers
        self._digest = hmac.new(secret, digestmod=hashlib.sha256)

    @property
    def is_said(self) -> bool:
        """Tell whether the request says anything that could be a proof."""
        return any(self._headers.get(name) for name in (*_HMACS, _TOKEN))

    def take(self, data: bytes) -> None:
        """Take some of the body, in its order."""
        self._digest.update(data)

    def digest(self) -> bytes:
        """Return what is the same for the same body and secret alone, after the whole body."""
        return self._digest.digest()

    def holds(self) -> bool:
        """Tell it, after the whole body."""
        wanted = self._digest.hexdigest()
        found = False
        for name, prefix in _HMACS.items():
            given = self._headers.get(name, "")
            found |= hmac.compare_digest(_bytes(prefix + wanted), _bytes(given))
        token = self._headers.get(_TOKEN, "")
        # By its digest: the comparison would tell how long the secret is.
        return found | hmac.compare_digest(_hash(self._secret), _hash(_bytes(token)))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
