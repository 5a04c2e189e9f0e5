"""Tokens by which readers prove who they are, and how a request says one.

A token is ``gtt_`` and 32 random bytes in base64url. It is the password of HTTP's Basic
authentication (RFC 7617), as git's own clients send it, and the name beside it means nothing; or it
is a bearer token (RFC 6750), as people write it in ``http.extraHeader``. Only its SHA-256 is kept:
nobody finds 256 random bits by trying, so no slow hash is needed.

Rules: one spelling of a token, one header with one; what is anything else is no token.
Source: docs/protocol/mirrorsync.md, Private repositories.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from gittorrent.errors import ProtocolError

TOKEN_SIZE = 32
"""Random bytes of a token."""

MAX_HEADER = 512
"""Characters of an Authorization header that is looked at: a token and a long name."""

CHALLENGE = 'Basic realm="gittorrent", charset="UTF-8"'
"""What a node answers in ``WWW-Authenticate``, so that git asks its user."""

_TOKEN = re.compile(r"gtt_[A-Za-z0-9_-]{43}\Z")


def make_token(entropy: bytes) -> str:
    """Return a token.

    Args:
        entropy: 32 random bytes.

    Raises:
        ProtocolError: there are more or fewer.
    """
    if len(entropy) != TOKEN_SIZE:
        raise ProtocolError(f"a token is made of {TOKEN_SIZE} bytes")
    return "gtt_" + base64.urlsafe_b64encode(entropy).decode("ascii").rstrip("=")


def is_token(text: str) -> bool:
    """Tell whether a text is a token in its only spelling."""
    if _TOKEN.match(text) is None:
        return False
    return make_token(base64.urlsafe_b64decode(f"{text[4:]}=")) == text


def digest_of(token: str) -> str:
    """Return what is kept of a token, in hexadecimal."""
    return hashlib.sha256(token.encode("ascii")).hexdigest()


def encode_basic(name: str, password: str) -> str:
    """Return the Authorization header for a name and a password."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode("ascii")


def token_in(header: str | None) -> str | None:
    """Return the token in an Authorization header; None if there is none."""
    if header is None or len(header) > MAX_HEADER:
        return None
    scheme, _, rest = header.partition(" ")
    if scheme.lower() == "bearer":
        token = rest.strip(" ")
        return token if is_token(token) else None
    if scheme.lower() != "basic":
        return None
    try:
        said = base64.b64decode(rest.strip(" ").encode("ascii"), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeError):
        return None
    password = said.partition(":")[2]
    return password if is_token(password) else None
