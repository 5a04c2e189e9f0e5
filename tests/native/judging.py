"""Both judges of a pack: ``git index-pack`` and the native indexer, and what each said.

For tests. The two must come to the same verdict and, where it is favourable, write the same bytes.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gittorrent_native as native

_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_NO_REPLACE_OBJECTS": "1",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge said: the index files if the pack is good, else why not.

    ``pack`` is the completed pack where a thin one was judged.
    """

    idx: bytes | None
    rev: bytes | None
    reason: str = ""
    pack: bytes | None = None

    @property
    def good(self) -> bool:
        """Tell whether the pack was accepted."""
        return self.idx is not None


def git(*arguments: str, repository: Path, stdin: bytes = b"", check: bool = True) -> bytes:
    """Run git in ``repository`` with nothing of this machine's configuration."""
    done = subprocess.run(
        ["git", "-C", str(repository), *arguments],
        input=stdin,
        capture_output=True,
        env=_ENVIRONMENT,
        check=False,
    )
    if check and done.returncode:
        raise RuntimeError(f"git {arguments}: {done.stderr.decode(errors='replace')}")
    return done.stdout


def empty_repository(path: Path, object_format: str = "sha1") -> Path:
    """Make an empty bare repository."""
    path.mkdir(parents=True)
    git("init", "-q", "--bare", f"--object-format={object_format}", repository=path)
    return path


def by_git(pack: Path, repository: Path) -> Verdict:
    """Have ``git index-pack`` judge, as strictly as it can.

    The index goes beside the pack: git looks there for blobs it checks at the end.
    """
    done = subprocess.run(
        [
            *("git", "-C", str(repository), "index-pack", "--strict"),
            *("--check-self-contained-and-connected", "--threads=1", str(pack)),
        ],
        capture_output=True,
        env=_ENVIRONMENT,
        check=False,
    )
    idx, rev = pack.with_suffix(".idx"), pack.with_suffix(".rev")
    if done.returncode:
        verdict = Verdict(None, None, done.stderr.decode(errors="replace"))
    else:
        verdict = Verdict(idx.read_bytes(), rev.read_bytes())
    for path in (idx, rev):
        path.unlink(missing_ok=True)
    return verdict


def by_git_thin(pack: Path, repository: Path) -> Verdict:
    """Have ``git index-pack --fix-thin`` judge and complete a pack; what it made is removed."""
    done = subprocess.run(
        [
            *("git", "-C", str(repository), "index-pack", "--strict", "--fix-thin"),
            *("--threads=1", "--rev-index", "--stdin"),
        ],
        input=pack.read_bytes(),
        capture_output=True,
        env=_ENVIRONMENT,
        check=False,
    )
    folder = repository / "objects" / "pack"
    if done.returncode:
        verdict = Verdict(None, None, done.stderr.decode(errors="replace"))
    else:
        made = folder / f"pack-{done.stdout.decode().split()[1]}.pack"
        idx, rev = made.with_suffix(".idx").read_bytes(), made.with_suffix(".rev").read_bytes()
        verdict = Verdict(idx, rev, pack=made.read_bytes())
        for path in folder.glob(f"{made.stem}.*"):
            path.unlink()
    for path in folder.glob("tmp_*"):
        path.unlink()
    return verdict


def open_native(pack: Path, object_format: str, **options: Any) -> native.Indexer:
    """Open a pack whose size and count are those of the file."""
    data = pack.read_bytes()
    return native.Indexer(
        pack,
        size=len(data),
        objects=int.from_bytes(data[8:12], "big"),
        object_format=object_format,
        **options,
    )


def by_native(
    pack: Path, workspace: Path, object_format: str = "sha1", step: int = 0, **options: Any
) -> Verdict:
    """Have the native indexer judge; ``step`` is how many bytes arrive at a time, 0 for all."""
    idx, rev = workspace / "native.idx", workspace / "native.rev"
    size = pack.stat().st_size
    try:
        indexer = open_native(pack, object_format, **options)
    except ValueError as error:  # the header's own claims are impossible
        return Verdict(None, None, str(error))
    try:
        for prefix in range(step, size, step) if step else ():
            indexer.advance(prefix)
        indexer.advance(size)
        summary = indexer.finish(idx, rev)
    except native.CorruptPack as error:
        return Verdict(None, None, str(error))
    if summary.missing or summary.unchecked:
        verdict = Verdict(None, None, f"missing {summary.missing} {summary.unchecked}")
    else:
        verdict = Verdict(idx.read_bytes(), rev.read_bytes())
    for path in (idx, rev):
        path.unlink(missing_ok=True)
    return verdict


def by_native_thin(
    pack: Path,
    workspace: Path,
    objects: Mapping[str, tuple[str, bytes]],
    object_format: str = "sha1",
    **options: Any,
) -> Verdict:
    """Have the native indexer judge a thin pack for a repository that has ``objects``."""
    completed = workspace / "completed.pack"
    idx, rev = completed.with_suffix(".idx"), completed.with_suffix(".rev")
    try:
        indexer = open_native(pack, object_format, **options)
        indexer.advance(pack.stat().st_size)
        summary = indexer.finish(
            idx, rev, completed_path=completed, read_object=lambda oid: objects.get(oid)
        )
    except (ValueError, native.CorruptPack) as error:
        return Verdict(None, None, str(error))
    lacking = [o for o, kind in summary.missing if o not in objects or objects[o][0] != kind]
    if lacking or summary.unchecked:
        verdict = Verdict(None, None, f"missing {lacking} {summary.unchecked}")
    else:
        made = completed if summary.appended else pack
        verdict = Verdict(idx.read_bytes(), rev.read_bytes(), pack=made.read_bytes())
    for path in (completed, idx, rev):
        path.unlink(missing_ok=True)
    return verdict


def all_objects(repository: Path) -> dict[str, tuple[str, bytes]]:
    """Return every object of a small repository."""
    out = git("cat-file", "--batch", "--batch-all-objects", repository=repository)
    found = {}
    at = 0
    while at < len(out):
        end = out.index(b"\n", at)
        oid, kind, size = out[at:end].decode().split()
        found[oid] = kind, out[end + 1 : end + 1 + int(size)]
        at = end + 2 + int(size)
    return found
