"""Reads the parent of a signed text, before anything else in it is verified.

Pure. The parent is part of the text, so it is signed; it is needed to compute the push id, which is
done before verification (docs/protocol/trust.md, "Log entries").
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gittorrent.ids import PushId
from gittorrent.push.object import PushKind, PushObjectError
from gittorrent.push.reftag import references_parent
from gittorrent.trust.policy import Policy

if TYPE_CHECKING:
    from gittorrent.ids import ObjectFormat
    from gittorrent.push.object import PushObject


_NONCE = re.compile(rb"^nonce [^\n]*/([^/\n]*)$", re.MULTILINE)


def _end_of_header(text: bytes) -> int:
    end = text.find(b"\n\n")
    return len(text) if end < 0 else end


def parent_of(push: PushObject, object_format: ObjectFormat) -> PushId | None:
    """Return the log head that ``push`` builds on, None for a first policy.

    Raises:
        TrustError: the text breaks its grammar.
    """
    if push.kind is PushKind.POLICY:
        return Policy.parse(push.text).parent
    if push.kind is PushKind.REFERENCES:
        return references_parent(push.text, object_format)
    for nonce in _NONCE.finditer(push.text, 0, _end_of_header(push.text)):
        if object_format.is_oid(nonce[1].decode("ascii", errors="replace")):
            return PushId(nonce[1].decode("ascii"))
    raise PushObjectError("push certificate has no nonce that names a log head")
