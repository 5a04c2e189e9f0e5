"""Entries of a log and the objects that came with them, stored by one run of git.

Live pushes are small and many. Where each kind of object took git a start of its own, that would
be most of what passing one on costs. What comes is unpacked into a scratch repository, by a git
that is watched, since a few bytes can stand for any number.

Must not know what entries say, nor who sent them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import GitTorrentError
from gittorrent.git.guarded import Bounds, Guarded
from gittorrent.git.hashing import tree_content
from gittorrent.git.runner import GitError
from gittorrent.git.small_pack import NewObject, joined_pack, pack_objects_in
from gittorrent.ids import PushId
from gittorrent.push.commit import entry_commit, entry_files, entry_parents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gittorrent.git.fsckrules import FsckRules
    from gittorrent.git.runner import Git
    from gittorrent.ids import ObjectFormat
    from gittorrent.push.object import PushObject

MAX_UNPACKED = 64 << 20
"""Bytes that what came may take unpacked, compressed again: many times what small packs have, and
four times the largest pack."""

SECONDS = 60.0
"""Time in which git has to get on with it."""


class Identified(Struct, frozen=True):
    """A push object, its push id, the entries it is on, and the objects that record it."""

    id: PushId
    push: PushObject
    parents: tuple[PushId, ...]
    objects: tuple[NewObject, ...]


def identified(push: PushObject, object_format: ObjectFormat) -> Identified:
    """Return a push object with what records it in the log.

    Raises:
        TrustError: its text does not say what it builds on.
    """
    files = entry_files(push).listed()
    blobs = [NewObject("blob", content) for _, content in files]
    listed = [(name, blob.id(object_format)) for (name, _), blob in zip(files, blobs, strict=True)]
    tree = NewObject("tree", tree_content(listed))
    parents = entry_parents(push, object_format)
    made = NewObject("commit", entry_commit(push, tree.id(object_format), parents))
    return Identified(PushId(made.id(object_format)), push, parents, (*blobs, tree, made))


class UnpackError(GitTorrentError):
    """What came cannot be unpacked: it is broken, or lacks what its deltas are on."""


def unpack(
    git: Git,
    packs: Sequence[bytes],
    entries: Sequence[Identified],
    object_format: ObjectFormat,
    rules: FsckRules | None,
) -> None:
    """Store what came in a scratch repository, loose; it is synced when it is moved elsewhere.

    Args:
        git: the scratch repository; what it borrows may be what deltas are on.
        packs: small ones.
        entries: to be recorded.
        object_format: of the repository.
        rules: what objects must keep to; None for no rules.

    Raises:
        UnpackError: the packs are broken, lack something, or break the rules.
        SmallPackError: they are none.
        GitError: this machine let git down.
    """
    for pack in packs:
        pack_objects_in(pack, object_format)
    joined = joined_pack(packs, [o for entry in entries for o in entry.objects], object_format)
    words = ["unpack-objects", "-q", *([] if rules is None else [rules.strict])]
    guarded = Guarded(git.directory, Bounds(MAX_UNPACKED, SECONDS), lambda _said: None)
    outcome = guarded.run(git.command(*words), joined, git.environ())
    if outcome.status or outcome.broken is not None:
        error = GitError(words, outcome.status, outcome.said.encode(), str(git.directory))
        if outcome.broken is None and error.is_own_trouble:
            raise error
        why = outcome.said.strip() or (outcome.broken.value if outcome.broken else "git failed")
        raise UnpackError(f"cannot be unpacked: {why.splitlines()[-1]}")
