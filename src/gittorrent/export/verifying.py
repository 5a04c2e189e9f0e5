"""Reads an export back, and compares it with the repository that it was made from.

What counts is what readers come to: the names that the files at the place lead to. Each is read
whole and compared with what the repository here would write. Nothing is written. Whatever lies at
the place was perhaps put there by somebody else: it is bounded, and believed in nothing.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import GitTorrentError, ProtocolError
from gittorrent.export.inventory import HEADS, is_exported_name
from gittorrent.transfer.static_files import MAX_INDEX_BYTES
from gittorrent.wire.limits import MAX_LIST_BYTES
from gittorrent.wire.messages import HaveBundle, parse_message
from gittorrent.wire.mirrorlist import parse_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gittorrent.export.contents import Contents
    from gittorrent.export.place import Place


class ExportFinding(Struct, frozen=True):
    """Something that does not hold.

    Args:
        subject: name of a file.
        problem: what is wrong with it.
    """

    subject: str
    problem: str


class Verified(Struct, frozen=True):
    """What was found at a place.

    Args:
        findings: what does not hold.
        files: that were compared.
        unknown: files that are named there and that the repository here does not have any more.
        behind: checkpoints that the place does not have yet.
    """

    findings: tuple[ExportFinding, ...]
    files: int
    unknown: int
    behind: int


def verify_export(
    place: Place, contents: Contents, progress: Callable[[str, int, int], None]
) -> Verified:
    """Compare an export with the repository that it was made from.

    Args:
        place: where it is.
        contents: of the repository.
        progress: told how many of how many files were compared.
    """
    findings: list[ExportFinding] = []
    behind = _behind(place, contents, findings)
    named = _named(place, findings)
    if not findings and not behind:
        named |= {name for name in contents.files if name.startswith("pushes/")}  # tags, too
    names, present = sorted(named), place.present()
    for number, name in enumerate(names):
        progress("files", number, len(names))
        if name not in present:
            findings.append(ExportFinding(name, "is named and not there"))
        elif name in contents.files and not _is_same(place, name, contents):
            findings.append(ExportFinding(name, "is not what the repository here has"))
    progress("files", len(names), len(names))
    files = sum(name in contents.files for name in names)
    return Verified(tuple(findings), files, len(names) - files, behind)


def _is_same(place: Place, name: str, contents: Contents) -> bool:
    """Tell whether a file is what it should be; of one that is longer no more is read."""
    wanted, size = hashlib.sha256(), 0
    for chunk in contents.files[name].chunks():
        wanted.update(chunk)
        size += len(chunk)
    there = hashlib.sha256()
    for chunk in place.chunks(name):
        there.update(chunk)
        size -= len(chunk)
        if size < 0:
            return False
    return not size and there.digest() == wanted.digest()


def _behind(place: Place, contents: Contents, findings: list[ExportFinding]) -> int:
    data = _head(place, "mirror-list", findings)
    if data is None:
        return 0
    try:
        there = parse_text(data)
    except ProtocolError as error:
        findings.append(ExportFinding("mirror-list", str(error)))
        return 0
    if there.repository_id != contents.repository:
        findings.append(ExportFinding("mirror-list", f"is that of {there.repository_id}"))
        return 0
    number = None if there.latest is None else contents.numbers.get(there.latest)
    if number is None:
        what = f"names checkpoint {there.latest}, which is not known here"
        findings.append(ExportFinding("mirror-list", what))
        return 0
    return max(0, contents.number - number)


def _named(place: Place, findings: list[ExportFinding]) -> set[str]:
    """Return the names that readers are led to."""
    found: set[str] = set()
    for head, names_of in _READERS.items():
        data = _head(place, head, findings)
        for line in [] if data is None else data.splitlines():
            try:
                found.update(names_of(line))
            except ProtocolError:
                findings.append(ExportFinding(head, f"has the line {line[:80]!r}"))
                break
    if strange := {name for name in found if not is_exported_name(name)}:
        findings.append(ExportFinding(min(strange), "is named, and no export has such a file"))
    return found - strange


def _head(place: Place, name: str, findings: list[ExportFinding]) -> bytes | None:
    try:
        data = place.read(name, MAX_LIST_BYTES if name == HEADS[-1] else MAX_INDEX_BYTES)
    except GitTorrentError as error:
        findings.append(ExportFinding(name, str(error)))
        return None
    if data is None:
        findings.append(ExportFinding(name, "is not there"))
    return data


def _pushes(line: bytes) -> Iterator[str]:
    yield f"pushes/{line.partition(b' ')[0].decode('ascii', 'replace')}"


def _reels(line: bytes) -> Iterator[str]:
    offer = parse_message(line)
    if isinstance(offer, HaveBundle):
        yield f"reels/{offer.manifest}.manifest"
        yield f"reels/{offer.manifest}.pack"


def _bundles(line: bytes) -> Iterator[str]:
    word, _, uri = line.strip().decode("ascii", "replace").partition(" = ")
    if word == "uri":
        yield f"bundles/{uri.rpartition('/')[2]}"


_READERS: dict[str, Callable[[bytes], Iterator[str]]] = {
    "pushes/short": _pushes,
    "pushes/index": _pushes,
    "reels/index": _reels,
    "bundle-list": _bundles,
}
