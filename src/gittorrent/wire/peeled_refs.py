"""What annotated tags name, remembered so that servers need not say it in each list of refs.

Pure. With ``peel`` a server adds to each tag the object that it names, which is a third of a list
where most refs are tags. That never changes: the tag has its id of it. So a list can be asked for
without, and completed by what an earlier one said. Branches and HEAD are no tags. Rules: what is
completed reads as the server would have written it; where a ref names something that is not known,
nothing is made up. Source: gitprotocol-v2(5), ls-refs; git-update-ref(1) for what branches are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gittorrent.wire import pktline
from gittorrent.wire.limits import MAX_PKT_PAYLOAD
from gittorrent.wire.pktline import HEADER_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable

_REF = re.compile(
    rb"(?P<oid>[0-9a-f]{40}) (?P<name>[^ \n\0]+)(?P<more>(?: [!-~]+)*?)"
    rb"(?: peeled:(?P<peeled>[0-9a-f]{40}))?\n\Z"
)
_BRANCH = re.compile(rb"HEAD\Z|refs/heads/")


MAX_KNOWN = 20_000
"""Objects of one repository of which it is remembered what they are; a longer list takes more."""


class PeeledRefs:
    """What objects that refs of one repository name are: tags of something, or none."""

    def __init__(self) -> None:
        self._known: dict[bytes, bytes | None] = {}

    def __bool__(self) -> bool:
        """Tell whether anything is known."""
        return bool(self._known)

    def learn(self, packets: Iterable[bytes]) -> None:
        """Remember what an answer with peeled tags says, and as much as there is room for."""
        new = {}
        for packet in packets:
            found = _REF.match(packet[HEADER_SIZE:])
            if found is not None and not _BRANCH.match(found["name"]):
                new[found["oid"]] = found["peeled"]
        known = self._known | new
        self._known = known if len(known) <= MAX_KNOWN else new

    def unknown(self, packets: Iterable[bytes]) -> list[bytes]:
        """Return names of the refs in an answer of which it is not known what they name."""
        found = (_REF.match(packet[HEADER_SIZE:]) for packet in packets)
        return [
            each["name"]
            for each in found
            if each and not _BRANCH.match(each["name"]) and each["oid"] not in self._known
        ]

    def complete(self, packets: Iterable[bytes]) -> bytes | None:
        """Return an answer without peeled tags as it is with them; None if that is not known."""
        made = bytearray()
        for packet in packets:
            line = packet[HEADER_SIZE:]
            found = _REF.match(line)
            if found is None or _BRANCH.match(found["name"]):
                made += packet
                continue
            if found["oid"] not in self._known:
                return None
            peeled = self._known[found["oid"]]
            more = b"" if peeled is None else b" peeled:" + peeled
            if len(line) + len(more) > MAX_PKT_PAYLOAD:
                return None
            made += pktline.encode(line[:-1] + more + b"\n")
        return bytes(made)
