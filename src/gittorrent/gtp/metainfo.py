"""Metainfo files (``name.gittorrent``): what a repository is called and whose key counts.

Pure. The repo hash, which names the swarm, is the SHA-1 of the ``repo`` value, so trackers and
references can change without leaving it; in the dialect of 2008 it is the SHA-1 of the whole file.
Rules: unknown keys are kept, since they are hashed; `parse_metainfo` checks forms, not signatures.
Source: docs/protocol/gtp01.md, Metainfo.
"""

from __future__ import annotations

import hashlib

from msgspec import Struct

from gittorrent.gtp import bencode
from gittorrent.gtp.errors import BencodeError, MetainfoError
from gittorrent.gtp.limits import MAX_REFERENCES, MAX_TEXT, MAX_TRACKERS
from gittorrent.gtp.profile import PERL_2008, PROFILES, RFC, Profile
from gittorrent.trust.openpgp import MAX_CERTIFICATE

MIME_TYPE = "application/x-gittorrent"


class Metainfo(Struct, frozen=True):
    """A metainfo file that was read.

    Args:
        raw: the whole file.
        profile: dialect its swarm speaks.
        repo_hash: name of its swarm, 20 bytes.
        pubkey: OpenPGP key that signs references; empty only in the dialect of 2008.
        description: what the repository is.
        alternatives: repo hashes of other swarms with related repositories.
        trackers: URLs.
        references: bodies of reference objects, any order.
        comment: for people.
        created_by: program that made it.
        creation_date: seconds; 0 when unknown.
    """

    raw: bytes
    profile: Profile
    repo_hash: bytes
    pubkey: bytes = b""
    description: str = ""
    alternatives: tuple[bytes, ...] = ()
    trackers: tuple[str, ...] = ()
    references: tuple[bytes, ...] = ()
    comment: str = ""
    created_by: str = ""
    creation_date: int = 0


class MetainfoSpec(Struct, frozen=True):
    """What to write into a new metainfo file; see `Metainfo`."""

    pubkey: bytes
    references: tuple[bytes, ...]
    trackers: tuple[str, ...] = ()
    description: str = ""
    comment: str = ""
    created_by: str = ""
    creation_date: int = 0
    profile: Profile = RFC


def write_metainfo(spec: MetainfoSpec) -> bytes:
    """Return the file for a specification."""
    top: dict[bytes, bencode.Encodable] = {b"references": spec.references}
    repo: dict[bytes, bencode.Encodable] = {b"pubkey": spec.pubkey}
    if spec.description:
        repo[b"description"] = spec.description.encode()
    if spec.pubkey:
        top[b"repo"] = repo
    if spec.trackers:
        top[b"trackers"] = [url.encode() for url in spec.trackers]
    if spec.comment:
        top[b"comment"] = spec.comment.encode()
    if spec.created_by:
        top[b"created by"] = spec.created_by.encode()
    if spec.creation_date:
        top[b"creation date"] = spec.creation_date
    if spec.profile is not RFC and spec.pubkey:
        top[b"profile"] = spec.profile.name.encode()
    return bencode.encode(top)


def parse_metainfo(data: bytes, profile: Profile | None = None) -> Metainfo:
    """Read a metainfo file.

    Args:
        data: the file.
        profile: dialect its swarm speaks, whatever the file says; it decides the repo hash.

    Raises:
        MetainfoError: it is none; says what is wrong with it.
    """
    try:
        top = bencode.decode(data)
        if not isinstance(top, dict):
            raise MetainfoError("metainfo is no dictionary")
        return _read(data, top, profile)
    except BencodeError as error:
        raise MetainfoError(
            f"metainfo: {error}", hint="a .gittorrent file was expected; it may be damaged"
        ) from error


def _read(data: bytes, top: dict[bytes, bencode.Value], wanted: Profile | None) -> Metainfo:
    repo = top.get(b"repo")
    profile = wanted or _profile(top, has_repo=repo is not None)
    if repo is None:
        repo = {}
    if not isinstance(repo, dict):
        raise MetainfoError("metainfo: repo is no dictionary")
    pubkey = repo.get(b"pubkey", b"")
    if not isinstance(pubkey, bytes) or len(pubkey) > MAX_CERTIFICATE:
        raise MetainfoError(f"metainfo: pubkey is no string of at most {MAX_CERTIFICATE} bytes")
    if not pubkey and profile is RFC:
        raise MetainfoError("metainfo: repo has no pubkey", hint="signatures need an OpenPGP key")
    hashed = data if profile is PERL_2008 else bencode.encode(repo)
    date = top.get(b"creation date", 0)
    return Metainfo(
        raw=data,
        profile=profile,
        repo_hash=hashlib.sha1(hashed, usedforsecurity=False).digest(),
        pubkey=pubkey,
        description=bencode.remark_of(repo.get(b"description", b""), "description", MAX_TEXT),
        alternatives=_alternatives(repo),
        trackers=tuple(
            bencode.text_of(url, "tracker", MAX_TEXT)
            for url in _list(top, b"trackers", MAX_TRACKERS)
        ),
        references=_references(top),
        comment=bencode.remark_of(top.get(b"comment", b""), "comment", MAX_TEXT),
        created_by=bencode.remark_of(top.get(b"created by", b""), "created by", MAX_TEXT),
        creation_date=date if isinstance(date, int) and date > 0 else 0,
    )


def _profile(top: dict[bytes, bencode.Value], *, has_repo: bool) -> Profile:
    """Choose the dialect: what the file says, else by whether it has a ``repo`` at all."""
    if b"profile" not in top:
        return RFC if has_repo else PERL_2008
    name = bencode.text_of(top[b"profile"], "profile", 64)
    if name not in PROFILES:
        raise MetainfoError(f"metainfo: unknown profile {name!r}", hint="update this program")
    return PROFILES[name]


def _list(top: dict[bytes, bencode.Value], key: bytes, limit: int) -> list[bencode.Value]:
    found = top.get(key, [])
    if not isinstance(found, list) or len(found) > limit:
        raise MetainfoError(f"metainfo: {key.decode()} is no list of at most {limit}")
    return found


def _references(top: dict[bytes, bencode.Value]) -> tuple[bytes, ...]:
    bodies = []
    for body in _list(top, b"references", MAX_REFERENCES):
        if not isinstance(body, bytes):
            raise MetainfoError("metainfo: a reference object is no string")
        bodies.append(body)
    return tuple(bodies)


def _alternatives(repo: dict[bytes, bencode.Value]) -> tuple[bytes, ...]:
    hashes = []
    for item in _list(repo, b"alternatives", MAX_REFERENCES):
        if not isinstance(item, bytes) or len(item) != 20:
            raise MetainfoError("metainfo: an alternative is no repo hash of 20 bytes")
        hashes.append(item)
    return tuple(hashes)
