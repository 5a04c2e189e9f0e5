"""Who is vouched for by whom, as gpg lists it after it worked out a web of trust.

Pure; reads what ``gpg --with-colons --check-sigs`` prints. gpg judges each certification and each
key at a given time, with the roots at ultimate ownertrust and everybody else at full, and says how
valid each key is. Its exit code says nothing of that.

Rules: a key counts if gpg lists it as fully valid and, besides, one of its user ids was certified
by as many different keys as the policy asks for, each a root or counted itself in fewer steps. To
gpg one ultimately trusted key is enough whatever number is asked for; here a root counts once.

Source: doc/DETAILS in GnuPG (colon listings); docs/protocol/trust.md, Web of trust.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.trust.openpgp import key_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.trust.policy import WebOfTrust

_VALID = frozenset("fu")
"""Validity letters: fully, ultimately."""

_ULTIMATE = "u"
_GOOD = "!"
_CERTIFICATIONS = frozenset(("10x", "11x", "12x", "13x"))
"""Signature classes of exportable certifications. Source: RFC 9580 section 5.2.1."""


class ListedUser:
    """A user id in a listing: its validity, and who certified it and took that back when."""

    def __init__(self, validity: str) -> None:
        self.validity = validity
        self.certified: dict[str, int] = {}
        self.revoked: dict[str, int] = {}

    def certifiers(self) -> set[str]:
        """Return the ids of the keys whose certification stands."""
        return {
            issuer
            for issuer, made in self.certified.items()
            if issuer not in self.revoked or self.revoked[issuer] < made
        }


class ListedKey:
    """A key in a listing: its fingerprint, its validity, its user ids."""

    def __init__(self, validity: str) -> None:
        self.validity = validity
        self.fingerprint = ""
        self.users: list[ListedUser] = []

    @property
    def is_valid(self) -> bool:
        """Whether gpg takes it for its owner's."""
        return self.validity in _VALID


def read_listing(listing: str, time: int) -> list[ListedKey]:
    """Read what gpg printed.

    Args:
        listing: its colon listing with signatures.
        time: at which it judged, in seconds.
    """
    keys: list[ListedKey] = []
    user: ListedUser | None = None
    for line in listing.splitlines():
        fields = line.split(":")
        kind = fields[0]
        if kind == "pub" and len(fields) > 1:
            keys.append(ListedKey(fields[1]))
            user = None
        elif kind in ("sub", "uat"):
            user = None
        elif kind == "fpr" and len(fields) > 9 and keys and not keys[-1].fingerprint:
            keys[-1].fingerprint = fields[9].lower()
        elif kind == "uid" and len(fields) > 1 and keys:
            user = ListedUser(fields[1])
            keys[-1].users.append(user)
        elif kind in ("sig", "rev") and len(fields) > 10 and user is not None:
            _read_signature(fields, user, time)
    return keys


def _read_signature(fields: list[str], user: ListedUser, time: int) -> None:
    issuer, created, expires = fields[4].lower(), fields[5], fields[6]
    if fields[1] != _GOOD or not created.isdigit() or int(created) > time:
        return
    if fields[0] == "rev":
        user.revoked[issuer] = max(int(created), user.revoked.get(issuer, 0))
    elif fields[10] in _CERTIFICATIONS and not (expires.isdigit() and int(expires) <= time):
        user.certified[issuer] = max(int(created), user.certified.get(issuer, 0))


def is_vouched_for(key: str, keys: Iterable[ListedKey], rule: WebOfTrust) -> bool:
    """Tell whether a key is vouched for as a policy's line asks.

    Args:
        key: its fingerprint.
        keys: what gpg listed, its validity worked out for ``rule``.
        rule: steps, and certifications in each.
    """
    valid = [listed for listed in keys if listed.is_valid and listed.fingerprint]
    counted = {each.fingerprint for each in valid if each.validity == _ULTIMATE}
    for _ in range(rule.depth):
        known = {key_id(fingerprint) for fingerprint in counted}
        counted |= {each.fingerprint for each in valid if _has_enough(each, known, rule.needs)}
    return key in counted


def _has_enough(key: ListedKey, known: set[str], needs: int) -> bool:
    """Tell whether a user id of ``key`` was certified by enough of the keys that count."""
    own = key_id(key.fingerprint)
    return any(
        user.validity in _VALID and len((user.certifiers() & known) - {own}) >= needs
        for user in key.users
    )
