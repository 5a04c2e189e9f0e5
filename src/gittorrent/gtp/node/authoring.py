"""Making reference objects and metainfo files from a repository.

Only branches and tags are listed, or what the main protocol publishes of it; the OpenPGP
key is the user's, used through gpg.
Source: docs/protocol/gtp01.md, "Metainfo" and "Reference objects".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent import __version__
from gittorrent.errors import TrustError, UsageError
from gittorrent.git import refs as git_refs
from gittorrent.git.repository import find_repository, require_complete
from gittorrent.git.runner import Git
from gittorrent.gtp.believed import ReferenceBook
from gittorrent.gtp.metainfo import Metainfo, MetainfoSpec, parse_metainfo, write_metainfo
from gittorrent.gtp.node.target import load_references, save_reference
from gittorrent.gtp.profile import RFC, Profile
from gittorrent.gtp.reference import Tagger, parse_reference, write_reference
from gittorrent.ids import SHA1, Oid
from gittorrent.push.refnames import check_no_directory_conflict, check_ref_name
from gittorrent.repository.carried import PUBLISHED, Carried
from gittorrent.trust.keys import KeyKind

if TYPE_CHECKING:
    from pathlib import Path

    from gittorrent.ids import Refs
    from gittorrent.signing.keys import Signer


class ReferenceAuthor(Struct, frozen=True):
    """Whose name and key go into reference objects, and the time in seconds.

    ``signer`` is None in the dialect of 2008, whose reference objects are unsigned.
    """

    person: bytes
    time: int
    signer: Signer | None


def published_refs(path: Path) -> tuple[Git, Refs, Oid | None]:
    """Return git for a repository, the refs to list and what HEAD points at.

    Raises:
        UsageError: the repository or its refs cannot be published.
    """
    found = find_repository(path)
    if found.object_format is not SHA1:
        raise UsageError(f"{path} uses {found.object_format.name}; GTP/0.1 knows SHA-1 only")
    git = Git(found.git_dir)
    require_complete(git)
    carried = Carried(found.git_dir, found.object_format)
    prefixes = [pattern.removesuffix("/*") for pattern in PUBLISHED]
    refs = carried.published_refs() if carried.is_carried else git_refs.read_refs(git, *prefixes)
    try:
        for name in refs:
            check_ref_name(name)
        check_no_directory_conflict(refs)
    except TrustError as error:
        raise UsageError(f"cannot publish {path}: {error}", hint="rename that ref") from error
    head = git_refs.read_ref(git, "HEAD")
    return git, refs, head if head in refs.values() else None


def make_reference(
    path: Path, author: ReferenceAuthor, previous: Oid | None, profile: Profile = RFC
) -> bytes:
    """Return a reference object for the refs of a repository as they are now.

    Args:
        path: the repository.
        author: who signs.
        previous: id of the reference object it supersedes.
        profile: whose form it has.
    """
    _, refs, head = published_refs(path)
    tagger = Tagger(author.person, author.time)
    text = write_reference(refs, head, previous, tagger, profile.separator)
    if author.signer is None:
        return text
    if author.signer.key.kind is not KeyKind.OPENPGP:
        raise UsageError(
            f"{author.signer.key} is no OpenPGP key; GTP/0.1 knows no others",
            hint="name a key that gpg has, by its fingerprint, with --key",
        )
    return text + author.signer.sign(text).data


def make_metainfo(
    path: Path,
    author: ReferenceAuthor,
    profile: Profile,
    *,
    trackers: tuple[str, ...] = (),
    description: str = "",
    comment: str = "",
) -> bytes:
    """Return a metainfo file for a repository, which lists a reference object of it as it is."""
    certificate = b"" if author.signer is None else author.signer.certificate or b""
    body = make_reference(path, author, None, profile)
    spec = MetainfoSpec(
        pubkey=certificate,
        references=(body,),
        trackers=trackers,
        description=description,
        comment=comment,
        created_by=f"gittorrent {__version__}",
        creation_date=author.time,
        profile=profile,
    )
    data = write_metainfo(spec)
    ReferenceBook(parse_metainfo(data))
    return data


def remember_references(path: Path, metainfo: Metainfo, *bodies: bytes) -> None:
    """Keep reference objects in the repository that they list, to be given by it."""
    for body in bodies:
        save_reference(find_repository(path).git_dir, metainfo.repo_hash, body)


def changed_reference(path: Path, metainfo: Metainfo, author: ReferenceAuthor) -> bytes | None:
    """Return a reference object for refs that changed, None when nothing did.

    It is not remembered yet: `remember_references`.
    """
    git, refs, head = published_refs(path)
    book = ReferenceBook(metainfo, allow_unverified=metainfo.profile.blocks_are_commits)
    load_references(git.directory, metainfo.repo_hash, book)
    newest = book.newest_first()
    if newest and newest[0].refs == refs and newest[0].head in (None, head):
        return None
    profile = metainfo.profile
    previous = Oid(newest[0].id.hex()) if newest and not profile.blocks_are_commits else None
    body = make_reference(path, author, previous, profile)
    book.add(parse_reference(body, profile.separator).id, body)
    return body
