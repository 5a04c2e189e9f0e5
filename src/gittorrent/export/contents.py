"""What a carried repository exports: files that never change, and the few that name the newest.

An export is of one state: the newest checkpoint that reels lead to from nothing, since a server of
files makes no packs for those who lack something. Pushes that no checkpoint up to it took are left
out, as their objects could not be had; policies beyond it are not, for they may take a right away.
Source: docs/protocol/mirrorsync.md, Static mirrors.
"""

from __future__ import annotations

import hashlib
from functools import partial
from itertools import chain as joined
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import LocalError, UsageError
from gittorrent.push.log_range import entries_after, policies_beyond
from gittorrent.push.object import PushKind
from gittorrent.reel.bundle import bundles_of, list_text
from gittorrent.repository.auth_lines import auth_lines
from gittorrent.repository.carried import MIRROR, ORIGIN
from gittorrent.repository.freshness import read_fresh
from gittorrent.transfer.static_files import BUNDLES, index_of_pushes, index_of_reels
from gittorrent.wire.limits import MAX_VALID_SECONDS
from gittorrent.wire.mirrorlist import MirrorEntry, MirrorList, MirrorState, Untaken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gittorrent.ids import Oid, PushId, RepositoryId
    from gittorrent.push.records import Record
    from gittorrent.reel.bundle import Bundle
    from gittorrent.repository.reelstore import StoredReel
    from gittorrent.transfer.repository_content import RepositoryContent

SMALL_FILE = 1 << 20
"""Bytes up to which a file is held in memory to be written beside others."""


class NothingToExportError(UsageError):
    """A repository has nothing that files could give to newcomers."""


class ChangedMeanwhileError(LocalError):
    """A repository was changed while it was exported, and what is wanted is gone."""


class File(Struct, frozen=True):
    """A file that never changes.

    Args:
        size: in bytes; None if it is short, and known only once it is read.
        chunks: yields its bytes, verified as they are read.
    """

    size: int | None
    chunks: Callable[[], Iterator[bytes]]


class Contents(Struct, frozen=True):
    """What is exported of a repository.

    Args:
        repository: its id.
        checkpoint: the newest one that reels lead to.
        number: its place in the chain of checkpoints.
        waiting: checkpoints after it, which no reel leads to yet.
        numbers: place of each checkpoint that this repository has adopted.
        files: those that never change, by name.
        heads: those that do, by name.
    """

    repository: RepositoryId
    checkpoint: PushId
    number: int
    waiting: int
    numbers: Mapping[PushId, int]
    files: Mapping[str, File]
    heads: Mapping[str, bytes]


def exported_records(records: Sequence[Record], end: PushId) -> list[Record]:
    """Return the entries of a log to export: what a checkpoint comes to, and all policies.

    Args:
        records: of all entries, each after those that it names.
        end: a checkpoint of the chain that was adopted.
    """
    place = next(at for at, record in enumerate(records) if record.id == end)
    before = records[: place + 1]
    taken = {push for record in before if record.is_in_chain for push in record.pushes}
    return [
        record
        for at, record in enumerate(records)
        if record.kind is PushKind.POLICY
        or (at <= place and (record.kind is PushKind.CHECKPOINT or record.id in taken))
    ]


def read_contents(
    content: RepositoryContent, urls: Sequence[str] = (), *, bundles: bool = False
) -> Contents:
    """Return what a repository exports.

    Args:
        content: of the repository.
        urls: those under which the export is served, the best one first.
        bundles: whether to export reels as git's bundles, too.

    Raises:
        NothingToExportError: there is no state that reels lead to, or the log is no whole one.
    """
    info = content.carried.info
    if info.role not in (MIRROR, ORIGIN):
        raise NothingToExportError(
            f"{content.carried.layout.git_dir} is a clone, which has not all of its log",
            hint="export a mirror of it, which 'gittorrent mirror' makes",
        )
    way = content.chain()
    end = way[-1].manifest.end if way else _end_of_nothing(content)
    records = content.records()
    numbers = {record.id: record.number for record in records if record.is_in_chain}
    shown = exported_records(records, end)
    offers = [
        offer for offer in content.all_offers() if numbers.get(offer.reel.end, 0) <= numbers[end]
    ]
    reels = [reel for offer in offers if (reel := content.reel(offer.manifest)) is not None]
    made = bundles_of((r.id, numbers[r.manifest.end], r.manifest) for r in way) if bundles else []
    entries = entries_after(shown, None, short=False)
    short = entries_after(shown, None, short=True)
    base = f"{urls[0].rstrip('/')}/{BUNDLES}" if urls else BUNDLES
    heads = {
        "pushes/short": index_of_pushes(short),
        "pushes/index": index_of_pushes(entries),
        "reels/index": index_of_reels(offers),
        "bundle-list": list_text(made, base, bundle_name),
        "mirror-list": _mirror_list(content, shown, end, urls).encode_text(),
    }
    files = dict(joined(_pushes(content, [*entries, *short]), _reels(reels), _bundles(made, way)))
    waiting = max(numbers.values()) - numbers[end]
    return Contents(info.repository_id, end, numbers[end], waiting, numbers, files, heads)


def _end_of_nothing(content: RepositoryContent) -> PushId:
    """Return the newest checkpoint of a repository without refs, to which no reel need lead.

    Raises:
        NothingToExportError: it has some.
    """
    log, name = content.carried.log(), content.carried.info.name
    if log.head is None or log.refs_at(log.head):
        raise NothingToExportError(
            f"no reel of {name} leads to a checkpoint from the beginning",
            hint="the origin makes one when it publishes, and mirrors take it from there",
        )
    return log.head


def bundle_name(bundle: Bundle) -> str:
    """Return what a bundle's file is called: its header is another one after a splice."""
    return hashlib.sha256(bundle.manifest.encode("ascii") + bundle.header).hexdigest()


def _mirror_list(
    content: RepositoryContent, shown: Sequence[Record], end: PushId, urls: Sequence[str]
) -> MirrorList:
    info, layout = content.carried.info, content.carried.layout
    fresh = read_fresh(layout, info.repository_id)
    if fresh is not None and fresh.checkpoint not in {record.id for record in shown}:
        fresh = None
    entries = (MirrorEntry(url, MAX_VALID_SECONDS, MirrorState.CURRENT) for url in urls)
    return MirrorList(
        info.repository_id,
        auth_lines(content.carried),
        end,
        tuple(entries),
        Untaken.of(policies_beyond(shown)),
        fresh,
    )


def _pushes(content: RepositoryContent, entries: Sequence[Record]) -> Iterator[tuple[str, File]]:
    """Yield the entries of the log, and annotated tags that refs lead to."""

    def entry(push: PushId) -> Iterator[bytes]:
        data = content.push(push)
        if data is None:
            raise LocalError(
                f"entry {push} of the log of {content.carried.info.name} cannot be read",
                hint="run 'gittorrent verify' on that repository",
            )
        yield data

    def tag(oid: Oid) -> Iterator[bytes]:
        yield content.tags()[oid]

    for record in entries:
        yield f"pushes/{record.id}", File(None, partial(entry, record.id))
    for oid in content.tags():
        yield f"pushes/{oid}", File(None, partial(tag, oid))


def _reels(reels: Sequence[StoredReel]) -> Iterator[tuple[str, File]]:
    for reel in reels:
        signed = reel.manifest_file
        pack = partial(_pack_chunks, b"", reel)
        yield f"reels/{reel.id}.pack", File(reel.manifest.pack_size, pack)
        yield f"reels/{reel.id}.manifest", File(len(signed), partial(iter, (signed,)))


def _bundles(made: Sequence[Bundle], way: Sequence[StoredReel]) -> Iterator[tuple[str, File]]:
    packs = {reel.id: reel for reel in way}
    for bundle in made:
        reel = packs[bundle.manifest]
        size = len(bundle.header) + reel.manifest.pack_size
        chunks = partial(_pack_chunks, bundle.header, reel)
        yield f"{BUNDLES}{bundle_name(bundle)}.bundle", File(size, chunks)


def _pack_chunks(header: bytes, reel: StoredReel) -> Iterator[bytes]:
    """Yield a reel's pack after a header."""
    yield header
    try:
        yield from reel.sound_parts()
    except FileNotFoundError as error:
        raise ChangedMeanwhileError(f"{reel.pack} is gone", hint="try again") from error
