"""Git objects written by hand, as `git hash-object`, `mktree` and `commit-tree` would write them.

Most of what tests make is a commit of one small file. Starting git three times for each took
longer than many of the tests that wanted it.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from support.gitcmd import ENVIRONMENT

FILE = "100644"


def write_object(git_dir: Path, kind: str, content: bytes) -> str:
    """Write a loose object to a bare repository and return its id."""
    data = b"%s %d\0%s" % (kind.encode(), len(content), content)
    is_sha256 = "objectformat = sha256" in (git_dir / "config").read_text().lower()
    oid = hashlib.new("sha256" if is_sha256 else "sha1", data).hexdigest()
    folder = git_dir / "objects" / oid[:2]
    place = folder / oid[2:]
    if not place.exists():
        folder.mkdir(exist_ok=True)
        new = folder / f"tmp_obj_{os.getpid()}"
        new.write_bytes(zlib.compress(data))
        new.chmod(0o444)
        new.rename(place)
    return oid


def write_tree(git_dir: Path, entries: Mapping[str, tuple[str, str]]) -> str:
    """Write a tree and return its id.

    Args:
        git_dir: of a bare repository.
        entries: mode, as `git ls-tree` writes it, and id of each name.
    """

    def order(name: str) -> bytes:
        return os.fsencode(name) + (b"/" if entries[name][0] == "040000" else b"")

    lines = (
        b"%s %s\0%s" % (mode.lstrip("0").encode(), os.fsencode(name), bytes.fromhex(oid))
        for name, (mode, oid) in ((name, entries[name]) for name in sorted(entries, key=order))
    )
    return write_object(git_dir, "tree", b"".join(lines))


def write_commit(git_dir: Path, tree: str, parents: Sequence[str], message: str) -> str:
    """Write a commit by the people of `gitcmd.ENVIRONMENT` and return its id."""
    people = [
        f"{role.lower()} {ENVIRONMENT[f'GIT_{role}_NAME']} <{ENVIRONMENT[f'GIT_{role}_EMAIL']}>"
        f" {ENVIRONMENT[f'GIT_{role}_DATE']}"
        for role in ("AUTHOR", "COMMITTER")
    ]
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents), *people, "", message, ""]
    return write_object(git_dir, "commit", "\n".join(lines).encode())


def commit_file(git_dir: Path, name: str, data: bytes, parents: Sequence[str], message: str) -> str:
    """Write a commit of nothing but one file and return its id; no ref is moved."""
    blob = write_object(git_dir, "blob", data)
    return write_commit(git_dir, write_tree(git_dir, {name: (FILE, blob)}), parents, message)
