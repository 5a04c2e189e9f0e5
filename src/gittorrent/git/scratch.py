"""Empty repositories in which reels are planned and encoded.

Whatever a repository carries besides objects can change what git prints or packs: its refs (the
write order follows ``refs/tags``), its configuration, attributes, grafts, shallow file and
commit-graph. So the work happens in a repository that has none of these and borrows only the
objects (docs/protocol/reels.md, "Where planning and encoding run").
"""

from __future__ import annotations

import contextlib
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gittorrent.durable import make_directory, share_like_directory, temporary_directory
from gittorrent.git.alternates import borrow
from gittorrent.git.runner import Git

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gittorrent.ids import ObjectFormat

_CONFIG = """\
[core]
\trepositoryformatversion = 1
\tbare = true
\tcommitGraph = false
\tmultiPackIndex = true
[extensions]
\tobjectFormat = {format}
"""

_SHARED = """\
[core]
\tsharedRepository = 0{mode:03o}
"""


def make(directory: Path, object_format: ObjectFormat) -> None:
    """Write an empty bare repository: unborn HEAD, no refs, the fixed configuration.

    In a shared directory (see `gittorrent.durable`) git makes objects that are shared likewise.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for folder in ("objects", "objects/pack", "objects/info", "refs"):
        (directory / folder).mkdir(exist_ok=True)
        share_like_directory(directory / folder)
    (directory / "HEAD").write_text("ref: refs/heads/unborn\n")
    config = _CONFIG.format(format=object_format.name)
    mode = directory.stat().st_mode
    if mode & stat.S_ISGID:
        config += _SHARED.format(mode=mode & 0o666)
    (directory / "config").write_text(config)


@contextlib.contextmanager
def blank(object_format: ObjectFormat) -> Iterator[Git]:
    """Yield an isolated git in an empty scratch repository."""
    with temporary_directory("scratch") as directory:
        make(directory, object_format)
        yield Git(directory)


@contextlib.contextmanager
def borrowing(objects: Path, object_format: ObjectFormat) -> Iterator[Git]:
    """Yield an isolated git in a scratch repository that reads objects from ``objects``.

    Args:
        objects: object directory of the repository to read.
        object_format: its object format.
    """
    with temporary_directory("scratch") as directory:
        make(directory, object_format)
        yield Git(directory, objects=objects.resolve())


@contextlib.contextmanager
def receiving(
    parent: Path, object_format: ObjectFormat, alternates: tuple[Path, ...] = ()
) -> Iterator[Git]:
    """Yield an isolated git in a scratch repository for objects that are not believed yet.

    Args:
        parent: directory to make it in; the same file system as where objects end up, so that
            finished packs can be renamed into place.
        object_format: format of the objects.
        alternates: object directories whose objects deltas may build on.
    """
    make_directory(parent)
    directory = Path(tempfile.mkdtemp(prefix="incoming-", dir=parent))
    try:
        share_like_directory(directory)
        make(directory, object_format)
        if alternates:
            borrow(directory / "objects", alternates)
        yield Git(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
