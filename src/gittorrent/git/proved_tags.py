"""What annotated tags say that others sent, as far as they prove to be those asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.durable import temporary_directory
from gittorrent.git import history, scratch
from gittorrent.git.hashing import hash_objects
from gittorrent.git.runner import Git
from gittorrent.ids import format_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gittorrent.ids import Oid


def proved_tags(sent: Mapping[Oid, bytes]) -> dict[Oid, tuple[Oid, str]]:
    """Return what tags name and of which kind that is, of those whose content has their id; blocks.

    Args:
        sent: content by the id that it was sent for.
    """
    contents, found = list(sent.values()), {}
    object_format = format_of(next(iter(sent), ""))
    if object_format is None:
        return {}
    # Git may work in no repository yet, or in one of another format.
    with temporary_directory("tags") as folder:
        scratch.make(folder, object_format)
        # One tag without a tagger, as git's own repository has it, must not hide the others.
        oids = hash_objects(Git(folder), "tag", contents, write=False, any_form=True)
    for asked, oid, content in zip(sent, oids, contents, strict=True):
        named = history.read_tag(content) if asked == oid else None
        if named is not None:
            found[asked] = named
    return found
