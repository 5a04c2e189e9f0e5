"""The golden reels: which ones there are, and how one is built and written down.

Repository and push ids are made up and fixed, so that manifest ids can be compared. Every recipe
gives ``:P`` in one piece; those with several states also give the reels between them, and
those with commits to cut also give reels in many segments.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import to_builtins

from gittorrent.git import scratch
from gittorrent.ids import OBJECT_FORMATS, Oid, PushId, RepositoryId
from gittorrent.reel.build import build_reel
from gittorrent.reel.index_manifest import index_manifest
from gittorrent.reel.manifest import Manifest
from gittorrent.reel.segments import SMALLEST_TARGET
from gittorrent.repository.index_settings import IndexSettings
from gittorrent.repository.native_indexing import index_own_pack
from gittorrent.shapes import Shape, ShapeKind, tip_of
from support import gitcmd
from support.repositories import Made

EXPECTED = Path(__file__).parent / "expected.json"
REPOSITORY = RepositoryId("golden2" * 7 + "abc")
SMALL_TARGET = 1 << 12
"""With it, small repositories come in up to 16 segments."""

CUT = ("linear", "merges", "times", "big", "pushes", "pushes-sha256")
"""Recipes whose reels are also built in many segments."""


@dataclass(frozen=True)
class Case:
    """One reel: of which recipe, between which states, cut at which target, in which shape."""

    recipe: str
    start: int | None
    end: int
    smallest_target: int = SMALLEST_TARGET
    kind: ShapeKind = ShapeKind.WHOLE

    @property
    def name(self) -> str:
        start = "" if self.start is None else str(self.start)
        cut = "" if self.smallest_target == SMALLEST_TARGET else "/cut"
        shape = "" if self.kind is ShapeKind.WHOLE else f" {self.kind.value}"
        return f"{self.recipe} {start}:{self.end}{cut}{shape}"


def cases(recipe: str, states: int) -> Iterator[Case]:
    """Yield the reels of a recipe with so many states."""
    spans: list[tuple[int | None, int]] = [(None, states - 1)]
    spans += [(n - 1, n) for n in range(1, states)]
    if states > 2:
        spans.append((0, states - 1))
    for start, end in spans:
        yield Case(recipe, start, end)
        yield Case(recipe, start, end, kind=ShapeKind.HISTORY)
        if recipe in CUT:
            yield Case(recipe, start, end, SMALL_TARGET)
    yield Case(recipe, None, states - 1, kind=ShapeKind.TIP)


def build(case: Case, made: Made, objects: Path | None = None, processes: int = 1) -> Any:
    """Build the reel of ``case`` and return what `expected` holds of it."""
    start = [] if case.start is None else made.states[case.start]
    object_format = OBJECT_FORMATS[made.object_format]
    shape = _shape(case, made)
    if shape is None:
        return None
    with tempfile.TemporaryDirectory(prefix="golden-") as work:
        pack = build_reel(
            objects or made.objects,
            object_format,
            [Oid(oid) for oid in start],
            [Oid(oid) for oid in made.states[case.end]],
            Path(work),
            shape=shape,
            processes=processes,
            smallest_target=case.smallest_target,
        )
    if pack is None:
        return None
    pushes = [PushId(f"{n + 1:0{object_format.hex_size}x}") for n in (case.start or 0, case.end)]
    manifest = pack.manifest(
        REPOSITORY, object_format, None if case.start is None else pushes[0], pushes[1]
    )
    return _written(manifest)


def index_cases(recipe: str, states: int) -> Iterator[Case]:
    """Yield the reels of a recipe whose packs' indexes have manifests."""
    for case in cases(recipe, states):
        if case.start is None and case.kind is ShapeKind.WHOLE:
            yield case


def build_index(case: Case, made: Made) -> Any:
    """Build the reel of ``case``, index its pack, and return what `expected` holds of the index."""
    object_format = OBJECT_FORMATS[made.object_format]
    after = [Oid(oid) for oid in made.states[case.end]]
    end = PushId(f"{case.end + 1:0{object_format.hex_size}x}")
    with tempfile.TemporaryDirectory(prefix="golden-") as folder:
        work = Path(folder, "reel")
        work.mkdir()
        pack = build_reel(
            made.objects, object_format, [], after, work, smallest_target=case.smallest_target
        )
        if pack is None:
            return None
        manifest = pack.manifest(REPOSITORY, object_format, None, end)
        with scratch.receiving(Path(folder, "indexing"), object_format) as staging:
            indexed = index_own_pack(staging, pack.path, manifest, IndexSettings())
            file = indexed.with_suffix(".idx")
            with file.open("rb") as index:
                found = index_manifest(manifest, index, file.stat().st_size)
    return {
        "manifest": found.id,
        "size": found.pack_size,
        "checksum": found.pack_checksum,
        "parts": list(found.parts),
    }


def _shape(case: Case, made: Made) -> Shape | None:
    """Return the shape of a case; None for a tip where refs lead to no commit.

    The tip is the commit with the greatest id that they lead to.
    """
    if case.kind is not ShapeKind.TIP:
        return Shape(case.kind)
    asked = "".join(f"{oid}^{{commit}}\n" for oid in made.states[case.end]).encode()
    out = gitcmd.text(made.git_dir, "cat-file", "--batch-check", stdin=asked)
    commits = [line.split(" ")[0] for line in out.splitlines() if " commit " in line]
    return tip_of(Oid(max(commits))) if commits else None


def _written(manifest: Manifest) -> dict[str, Any]:
    """Say in JSON what must not change; many parts are given by one digest of their lines."""
    return {
        "manifest": manifest.id,
        "target": manifest.target,
        "objects": manifest.objects,
        "pack_size": manifest.pack_size,
        "pack_checksum": manifest.pack_checksum,
        "segments": json.loads(json.dumps(to_builtins(manifest.segments))),
        "parts": list(manifest.parts),
    }


def plan_of(reel: Any) -> Any:
    """Return the part of `_written` that does not depend on git's zlib."""
    if reel is None:
        return None
    segments = [{k: v for k, v in s.items() if k != "offset"} for s in reel["segments"]]
    return {"target": reel["target"], "objects": reel["objects"], "segments": segments}


def deflate_probe(directory: Path) -> str:
    """Tell how the git in use compresses: a digest of a loose object with a fixed content."""
    git_dir = gitcmd.init(directory)
    content = b"".join(hashlib.sha256(b"%d" % (n % 40)).digest()[: n % 30] for n in range(4000))
    oid = gitcmd.text(git_dir, "hash-object", "-w", "--stdin", stdin=content)
    return hashlib.sha256((git_dir / "objects" / oid[:2] / oid[2:]).read_bytes()).hexdigest()


def expected() -> dict[str, Any]:
    """Read the committed expectations."""
    value: dict[str, Any] = json.loads(EXPECTED.read_text())
    return value
