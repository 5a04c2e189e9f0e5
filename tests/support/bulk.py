"""Repositories to move: a small one with all kinds of refs, and one whose pack has many parts."""

from __future__ import annotations

from pathlib import Path

from support import gitcmd
from support.repositories import Builder, noise, prose

COMMITS = 45
"""Commits of the large repository: with trees and blobs more objects than are kept loose."""

BLOB = 256 << 10
"""Bytes each of its commits adds, which do not compress: some eleven parts in all."""


def make_small(git_dir: Path, object_format: str = "sha1") -> Path:
    """Make a repository of branches, tags of all kinds, a submodule and a directory or two."""
    made = Builder(gitcmd.init(git_dir, object_format), object_format)
    tip: list[int] = []
    for number in range(60):
        path = b"src/d%d/f%d.c" % (number % 3, number % 7)
        tip = [made.commit("refs/heads/main", tip, {path: prose(f"small {number}", 30)})]
        if number == 20:
            made.tag("v1", tip[0])
            made.reset("refs/heads/old", tip[0])
        if number == 30:
            made.reset("refs/tags/light", tip[0])
    made.commit("refs/heads/topic/one", tip, {b"topic": b"one\n"})
    module = b'[submodule "lib"]\n\tpath = lib\n\turl = https://submodule.example.invalid/lib.git\n'
    last = made.commit("refs/heads/main", tip, {b".gitmodules": module})
    made.submodule("refs/heads/main", last, b"lib", "1" * (64 if object_format == "sha256" else 40))
    made.flush()
    (git_dir / "marks").unlink()
    return git_dir


def make_large(git_dir: Path, object_format: str = "sha1") -> Path:
    """Make a repository of some eleven megabytes that do not compress."""
    made = Builder(gitcmd.init(git_dir, object_format), object_format)
    tip: list[int] = []
    for number in range(COMMITS):
        files: dict[bytes, bytes | int | None] = {
            b"noise/%d" % number: noise(f"{object_format} {number}", BLOB),
            b"text": prose(f"text {number // 5}", 50 + number),
        }
        tip = [made.commit("refs/heads/main", tip, files)]
    made.tag("v1", tip[0])
    made.flush()
    (git_dir / "marks").unlink()
    return git_dir


def published(refs: dict[bytes, str]) -> dict[bytes, str]:
    """Return the branches and tags among refs."""
    return {n: o for n, o in refs.items() if n.startswith((b"refs/heads/", b"refs/tags/"))}
