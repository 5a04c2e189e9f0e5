"""The reference objects a node believes in, newest first.

Pure. Whether one is believed depends on the key of the metainfo; where the dialect has no
signatures, on the metainfo listing it, or on the user's word that anything goes.
Source: docs/protocol/gtp01.md, Reference objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.gtp.errors import BadReferenceError, UnsignedReferenceError
from gittorrent.gtp.limits import MAX_REFERENCES
from gittorrent.gtp.reference import parse_reference, reference_id, verify_reference

if TYPE_CHECKING:
    from gittorrent.gtp.metainfo import Metainfo
    from gittorrent.gtp.reference import Reference
    from gittorrent.ids import Oid


class ReferenceBook:
    """Believed reference objects of one repository.

    Args:
        metainfo: whose key or list decides.
        allow_unverified: whether to believe what nobody signed.

    Raises:
        BadReferenceError: the metainfo itself lists one that is not to be believed.
    """

    def __init__(self, metainfo: Metainfo, *, allow_unverified: bool = False) -> None:
        self._metainfo = metainfo
        self._allow_unverified = allow_unverified
        self._known: dict[bytes, Reference] = {}
        self._listed = {reference_id(body) for body in metainfo.references}
        for body in metainfo.references:
            self.add(reference_id(body), body)

    def __contains__(self, reference: bytes) -> bool:
        return reference in self._known

    def __len__(self) -> int:
        return len(self._known)

    def get(self, reference: bytes) -> Reference | None:
        """Return a reference object by its binary id."""
        return self._known.get(reference)

    def add(self, claimed: bytes, body: bytes) -> bool:
        """Take a reference object from a peer, a tracker or a file.

        Args:
            claimed: the id it came under.
            body: its content.

        Returns:
            Whether it is new here.

        Raises:
            UnsignedReferenceError: it is nobody's word, where references are unsigned.
            BadReferenceError: another id, no such object, or falsely signed.
        """
        if claimed in self._known:
            return False
        if reference_id(body) != claimed:
            raise BadReferenceError(f"reference object {claimed.hex()} has another id")
        if len(self._known) >= MAX_REFERENCES:
            return False
        reference = parse_reference(body, self._metainfo.profile.separator)
        self._believe(reference)
        self._known[claimed] = reference
        return True

    def newest_first(self) -> list[Reference]:
        """Return all, those that nothing supersedes first."""
        ordered: list[Reference] = []
        for reference in self._known.values():
            at = 0
            while at < len(ordered) and not reference.supersedes(ordered[at]):
                at += 1
            ordered.insert(at, reference)
        return ordered

    def require_signatures(self) -> None:
        """Believe from now on only what is signed or listed; what is known stays."""
        self._allow_unverified = False

    def may_lack(self, reference: Reference) -> frozenset[Oid]:
        """Return what a reference names and a node may lack that gives or has it.

        The peer of 2008 sends what commits hold: no annotated tag, and no blob or tree that only a
        ref names. Branches name commits.
        """
        if not self._metainfo.profile.blocks_are_commits:
            return frozenset()
        named = reference.refs.items()
        branches = {oid for name, oid in named if name.startswith(b"refs/heads/")}
        return reference.tips - branches - {reference.head}

    def _believe(self, reference: Reference) -> None:
        if self._metainfo.pubkey and not self._metainfo.profile.blocks_are_commits:
            verify_reference(reference, self._metainfo.pubkey)
        elif reference.id not in self._listed and not self._allow_unverified:
            raise UnsignedReferenceError(
                f"reference object {reference.id.hex()} is signed by nobody",
                hint="ask for a metainfo file that lists it, or allow unverified references",
            )
