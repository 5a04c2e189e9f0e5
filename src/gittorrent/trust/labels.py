"""What the owners call a key, for people: a git signature shows nothing but a fingerprint.

Pure; tracks nothing. A label stands in the policy, so it is the word of the roots; it decides
nothing. Rules: whether a text may stand in a policy depends on its bytes alone, and on no table of
characters that grows, since all have to agree; what a terminal would obey is escaped by whoever
shows it, as everywhere (`gittorrent.printable`).

Source: docs/protocol/trust.md, Policy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.trust.errors import PolicyError
from gittorrent.trust.keys import KeyRef
from gittorrent.trust.openpgp import certificate_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gittorrent.trust.signed_policy import VerifiedPolicy

MAX_LABEL = 100
"""Bytes of a label: a name and an address, and little enough for a line on a terminal."""


class Label(Struct, frozen=True):
    """One ``label`` line.

    Args:
        key: the key.
        text: what it is called: 1 to 100 bytes of UTF-8 without ASCII control characters, which
            neither begin nor end with a space.
    """

    key: KeyRef
    text: str

    def __post_init__(self) -> None:
        try:
            data = self.text.encode("utf-8")
        except UnicodeEncodeError:
            data = b""
        if not 1 <= len(data) <= MAX_LABEL:
            raise PolicyError(
                f"a label has 1 to {MAX_LABEL} bytes of UTF-8: {self.text[:MAX_LABEL]!r}",
                hint="give a shorter one with --label",
            )
        if any(byte < 0x20 or byte == 0x7F for byte in data) or self.text.strip(" ") != self.text:
            raise PolicyError(
                "a label has no control characters, and no space at either end:"
                f" {self.text[:MAX_LABEL]!r}"
            )


def label_from(said: str) -> str:
    """Return a label made of what a file says of a key, such as an SSH key's comment.

    Args:
        said: any text.

    Returns:
        What of it may stand in a policy, cut to its length; empty if that is nothing.
    """
    words = "".join(" " if ord(c) < 0x20 or ord(c) == 0x7F else c for c in said).split()
    data = " ".join(words).encode("utf-8", "ignore")[:MAX_LABEL]
    return data.decode("utf-8", "ignore").strip()


def key_labels(
    policies: Iterable[VerifiedPolicy], sent: Iterable[tuple[KeyRef, Sequence[bytes]]] = ()
) -> dict[KeyRef, str]:
    """Return what keys are called: by the newest label that they had, or else their certificate.

    Args:
        policies: versions of a policy, each after the one it extends.
        sent: keys, with the certificates that came with pushes by each, its own first.
    """
    versions = list(policies)
    found = {key: certificate_label(certs[0]) for key, certs in sent if certs}
    for each in versions:
        found |= {key: certificate_label(raw) for key, raw in each.keyring.items()}
    for each in versions:
        found |= {label.key: label.text for label in each.policy.labels}
    return {key: text for key, text in found.items() if text}
