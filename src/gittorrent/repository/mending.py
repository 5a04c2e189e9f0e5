"""Makes anew what git needs to take a mirror for a repository, where a power cut broke it.

A mirror's refs and HEAD follow from its log (`gittorrent.repository.carried`), and its settings are
this program's: so files of them that are broken are put aside, in ``gittorrent/broken``, and the
refs written anew by whoever holds the repository's lock. Where the refs are somebody's own nothing
of this is done. Must not know what the refs are to be.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from gittorrent.durable import locked, write_atomically
from gittorrent.event_log import EventLog
from gittorrent.git.broken_files import (
    broken_files,
    broken_loose_refs,
    has_tables,
    is_doubtful,
    judge_settings,
)
from gittorrent.git.refs import locking
from gittorrent.git.refused import alarm_file
from gittorrent.git.runner import Git
from gittorrent.ids import SHA1, SHA256

if TYPE_CHECKING:
    from gittorrent.ids import ObjectFormat
    from gittorrent.repository.layout import Layout

_UNBORN = b"ref: refs/heads/main\n"
"""A HEAD by which git knows the repository, until the log's is written."""

_LONG_ID = re.compile(rb"^[0-9a-f]{64} ", re.MULTILINE)

_log = EventLog(__name__)


def mend_settings(layout: Layout) -> None:
    """Write a mirror's configuration anew if git cannot read it, or it is empty or gone.

    What people had set there is in the file that is put aside, as far as anything is.
    """
    path = layout.git_dir / "config"
    # Where there is an alarm, the settings say to refuse the repository.
    if _is_readable(path) or alarm_file(layout.git_dir).exists():
        return
    with locked(layout.lock):
        if not _is_readable(path):
            _write_settings(layout, path)


def _is_readable(path: Path) -> bool:
    if not path.exists() or judge_settings(path):
        return False
    if is_doubtful(path):
        return not Git(Path("/")).attempt("config", "--file", str(path), "--list").returncode
    return True


def _write_settings(layout: Layout, path: Path) -> None:
    object_format = _format_by_log(layout)
    is_plain = object_format is SHA1 and not has_tables(layout.git_dir)
    lines = [
        "[core]",
        f"\trepositoryformatversion = {0 if is_plain else 1}",
        "\tfilemode = true",
        "\tbare = true",
    ]
    if not is_plain:
        lines.append("[extensions]")
        lines += [f"\tobjectformat = {object_format.name}"] if object_format is not SHA1 else []
        lines += ["\trefstorage = reftable"] if has_tables(layout.git_dir) else []
    _keep(layout, path)
    write_atomically(path, "".join(f"{line}\n" for line in lines).encode("ascii"))


def mend_ref_files(layout: Layout, *, packed: bool, single: bool) -> bool:
    """Put aside what is broken of the files that a mirror's refs are in.

    The repository's lock is held.

    Args:
        layout: of the mirror.
        packed: whether to look into the file of all refs.
        single: whether to look at the files of single refs.

    Returns:
        Whether there was something, so that refs and HEAD are to be written anew.
    """
    git_dir = layout.git_dir
    broken = [each.path for each in broken_files(git_dir, packed=packed)]
    broken = [path for path in broken if path.name != "config"]  # of which git says whether it is
    if single and not has_tables(git_dir):
        broken += broken_loose_refs(git_dir)
    for path in broken:
        _make_anew(layout, path)
    return bool(broken)


def _make_anew(layout: Layout, path: Path) -> None:
    if path == layout.git_dir / "refs":
        for folder in (path, path / "heads", path / "tags"):
            folder.mkdir(exist_ok=True)
        _say(path)
        return
    with locking(Git(layout.git_dir), path):
        _keep(layout, path)
        if path == layout.git_dir / "HEAD":
            write_atomically(path, _UNBORN)
        elif path.name == "tables.list":
            write_atomically(path, b"")
        else:
            path.unlink()


def _format_by_log(layout: Layout) -> ObjectFormat:
    """Return the object format that the ids of a mirror's log are of."""
    logs = layout.logs.glob("*/log")
    return SHA256 if any(_LONG_ID.search(path.read_bytes()) for path in logs) else SHA1


def _keep(layout: Layout, path: Path) -> None:
    """Copy a file to where the last broken ones are; git needs the place of some at any time."""
    layout.broken.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        shutil.copyfile(path, layout.broken / path.name)
    _say(path)


def _say(path: Path) -> None:
    _log.warning(
        "mended",
        "{path} was broken, as after a power cut, and is written anew; what it was is in"
        " gittorrent/broken there",
        path=path,
    )
