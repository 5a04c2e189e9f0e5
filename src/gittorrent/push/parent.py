"""What a signed text says it builds on, before anything else about it is judged.

Pure. The parent is part of the text, so it is signed; it is needed to compute the push id, which
is done before verification (docs/protocol/trust.md, "Log entries").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.ids import PushId
from gittorrent.push.object import PushKind, PushObjectError
from gittorrent.push.reftag import references_parent
from gittorrent.trust.policy import Policy

if TYPE_CHECKING:
    from gittorrent.ids import ObjectFormat
    from gittorrent.push.object import PushObject


def parent_of(push: PushObject, object_format: ObjectFormat) -> PushId | None:
    """Return the log head that ``push`` builds on, None for a first policy.

    Raises:
        TrustError: the text breaks its grammar.
    """
    if push.kind is PushKind.POLICY:
        return Policy.parse(push.text).parent
    if push.kind is PushKind.REFERENCES:
        return references_parent(push.text, object_format)
    for line in push.text.split(b"\n\n", 1)[0].split(b"\n"):
        if line.startswith(b"nonce "):
            _, _, head = line.decode("ascii", errors="replace").rpartition("/")
            if object_format.is_oid(head):
                return PushId(head)
    raise PushObjectError("push certificate has no nonce that names a log head")
