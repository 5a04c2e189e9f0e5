"""Tells which of the small files that git keeps a repository's refs and settings in are broken.

Git syncs none of them, so that a power cut leaves some empty, cut off or full of NUL bytes; and git
then refuses the whole repository, or takes it for one without refs, and seldom says which file is
to blame. Rules: no git is run, since it would refuse; what git itself reads is not called broken;
refs that have a file each are git's to tell (`gittorrent.git.refs`), but for what it passes over in
silence. Must not know whose refs they are, nor repair anything.
Source: gitrepository-layout(5), git-pack-refs(1), gitformat-reftable(5).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator

_OID = rb"(?:[0-9a-f]{64}|[0-9a-f]{40})"
_HEAD = re.compile(rb"(?:ref:\s*refs/[^\x00-\x20]+|" + _OID + rb")\s*")
_LOOSE = re.compile(_OID + rb"\s*|ref:\s*refs/[^\x00-\x20]*[^\x00-\x20/]\s*")
_PACKED = re.compile(rb"^(?:" + _OID + rb" [^\x00\n]+|\^" + _OID + rb"|#[^\x00\n]*)\n", re.M)
_SHALLOW = re.compile(rb"(?:" + _OID + rb"\n)+")
_SETTING = re.compile(rb"\s*(?:[#;].*|\[[^\x00]*\].*|[A-Za-z][A-Za-z0-9-]*\s*(?:=.*)?)?")

_TABLE = b"REFT"
"""What a table of refs begins with."""

_ATTEMPTS = 3
"""How often a list of tables is read that changes meanwhile."""

_HINTS = {
    "HEAD": "it names the branch that is checked out: printf 'ref: refs/heads/main\\n' > {path}",
    "refs": "'mkdir -p {path}/heads {path}/tags' makes it; refs that were not packed are lost with"
    " it: 'git ls-remote URL_OF_A_MIRROR' shows what was published, and 'git update-ref' sets it",
    "packed-refs": "bring it back from a copy, or keep its sound lines; 'git ls-remote"
    " URL_OF_A_MIRROR' shows what was published, and 'git update-ref' sets it",
    "tables.list": "bring {path} and the files beside it back from a copy; 'git ls-remote"
    " URL_OF_A_MIRROR' shows what was published, and 'git update-ref' sets it",
    "config": "bring it back from a copy, or take the one that 'git init' makes elsewhere (with"
    " --bare and --object-format as here)",
    "shallow": "remove it if the repository was never shallow; or clone anew",
}


class BrokenFile(Struct, frozen=True):
    """A file of a repository that git cannot use.

    Args:
        path: of the file.
        why: what is wrong, as what follows the name.
    """

    path: Path
    why: str

    @property
    def is_of_refs(self) -> bool:
        """Whether refs or HEAD are in it."""
        return self.path.name in ("HEAD", "refs", "packed-refs", "tables.list")

    @property
    def hint(self) -> str:
        """What to do where nobody else can tell what was in it."""
        return _HINTS[self.path.name].format(path=self.path)

    def __str__(self) -> str:
        """Return what is said of it."""
        return f"{self.path} {self.why}"


def broken_files(git_dir: Path, *, packed: bool = True) -> list[BrokenFile]:
    """Return what is broken of a git directory; nothing where it is none.

    Args:
        git_dir: the directory.
        packed: whether to look at ``packed-refs``, which may be long.

    Raises:
        OSError: a file cannot be read.
    """
    if not (git_dir / "objects").is_dir():
        return []
    found = [BrokenFile(git_dir / name, why) for name, why in _judged(git_dir, packed) if why]
    if not (git_dir / "refs").is_dir():
        found.append(BrokenFile(git_dir / "refs", "is missing"))
    return found


def _judged(git_dir: Path, packed: bool) -> Iterator[tuple[str, str]]:
    """Yield names of files and what is wrong with each, nothing if it is right."""
    head = git_dir / "HEAD"
    if not head.is_symlink():  # as very old gits made it
        yield "HEAD", _why(_read(head), _HEAD) or ("" if head.exists() else "is missing")
    if packed:
        yield "packed-refs", _judge_packed(git_dir / "packed-refs")
    if has_tables(git_dir):
        yield "reftable/tables.list", _judge_tables(git_dir / "reftable")
    yield "config", judge_settings(git_dir / "config")
    yield "shallow", _why(_read(git_dir / "shallow"), _SHALLOW)


def _judge_packed(path: Path) -> str:
    data = _read(path)
    # Git takes an empty one for no refs at all, and never writes one.
    return "" if data and not _PACKED.sub(b"", data) else _why(data)


def has_tables(git_dir: Path) -> bool:
    """Tell whether a repository has its refs in tables (gitformat-reftable(5))."""
    return (git_dir / "reftable").is_dir()


def _judge_tables(folder: Path) -> str:
    """Return what is wrong with the list of tables, which git takes for no refs if it is empty."""
    path = folder / "tables.list"
    for _ in range(_ATTEMPTS):
        data = _read(path)
        if data is None:
            return "is missing"
        if not data or b"\0" in data:
            return _why(data)
        names = [os.fsdecode(name) for name in data.split()]
        bad = next((name for name in names if not _is_table(folder / name)), None)
        if bad is None:
            return ""
        if data == _read(path):  # or a git put others in their place
            return f"names {bad}, which is missing or damaged"
    return ""


def _is_table(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_TABLE)) == _TABLE
    except FileNotFoundError:
        return False


def judge_settings(path: Path) -> str:
    """Return what is surely wrong with a configuration file; git may find more (`is_doubtful`)."""
    data = _read(path)
    return _why(data) if data is not None and (not data or b"\0" in data) else ""


def is_doubtful(path: Path) -> bool:
    """Tell whether git has to be asked if it can read a configuration file."""
    lines = (_read(path) or b"").split(b"\n")
    return lines[-1] != b"" or any(_SETTING.fullmatch(line) is None for line in lines)


def broken_loose_refs(git_dir: Path) -> list[Path]:
    """Return the files of single refs that hold neither an id nor the name of another ref."""
    return [
        path
        for where, _, names in os.walk(git_dir / "refs")
        for path in (Path(where, name) for name in names)
        if not path.name.endswith(".lock") and _why(_read(path), _LOOSE)
    ]


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _why(data: bytes | None, right: re.Pattern[bytes] | None = None) -> str:
    """Say what is wrong with a file's content; nothing of one that is not there."""
    if data is None or (right is not None and right.fullmatch(data)):
        return ""
    if not data:
        return "is empty"
    return "has NUL bytes in it" if b"\0" in data else "is damaged or cut off"
