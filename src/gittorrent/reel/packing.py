"""Encodes one segment: runs pack-objects and, where asked to, the native helper behind it.

There are two ways to the bytes of the definition (docs/protocol/reels.md, "Deflate"). Git runs on
stock zlib, and what it writes is taken as it is. Or git compresses nothing, which makes it the
same on every zlib, and `gittorrent-native` deflates what comes out of the pipe with a stock zlib
of its own. Which of them to go is for `gittorrent.reel.selftest` to say.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING

from gittorrent import native
from gittorrent.errors import GitTorrentError, LocalError
from gittorrent.git.runner import GitError
from gittorrent.git.version import git_version
from gittorrent.reel.encoder import pack_objects_command

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gittorrent.git.runner import Git
    from gittorrent.ids import ObjectFormat

_GIT_PROGRESS = re.compile(rb"(Compressing|Writing) objects:\s+\d+% \((\d+)/(\d+)\)")


class ReelError(GitTorrentError):
    """Git did not produce what the definition says; nothing was kept."""


def pack_as_git_does(git: Git, source: Path, target: Path, report: Callable[[float], None]) -> None:
    """Encode a segment with git's own deflate.

    Args:
        git: a scratch repository that borrows the objects.
        source: input for pack-objects.
        target: file for the pack.
        report: told the share (0 to 1) that is done.

    Raises:
        GitError: git failed.
    """
    words = pack_objects_command(git_version())
    with (
        source.open("rb") as stdin,
        target.open("wb") as stdout,
        git.start(*words, "--progress", stdin=stdin, stdout=stdout) as process,
    ):
        assert process.stderr is not None
        said = _follow(process.stderr, report)
    _require_success(git, process.returncode, said)


def pack_and_deflate(
    git: Git,
    source: Path,
    target: Path,
    object_format: ObjectFormat,
    threads: int,
    report: Callable[[float], None],
) -> None:
    """Encode a segment with the native helper's deflate.

    Args:
        git: a scratch repository that borrows the objects.
        source: input for pack-objects.
        target: file for the pack.
        object_format: of the repository.
        threads: that deflate.
        report: told the share (0 to 1) that is done.

    Raises:
        GitError: git failed.
        LocalError: the pack could not be written.
        ReelError: git wrote something else than a pack.
    """
    words = pack_objects_command(git_version(), deflated=False)
    with (
        source.open("rb") as stdin,
        ThreadPoolExecutor(1) as pool,
        git.start(*words, "--progress", stdin=stdin) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        deflating = pool.submit(_deflate, process.stdout, target, object_format, threads)
        said = _follow(process.stderr, report)
        trouble = deflating.exception()
    if isinstance(trouble, OSError):
        raise LocalError(f"encoding a reel into {target} failed: {trouble}") from trouble
    if isinstance(trouble, native.load().CorruptPack):
        # A pack that breaks off is git's failure, if git says it failed.
        _require_success(git, process.returncode, said)
        raise ReelError(f"git pack-objects wrote a broken pack: {trouble}") from trouble
    if trouble is not None:
        raise trouble
    _require_success(git, process.returncode, said)


def _deflate(packed: IO[bytes], target: Path, object_format: ObjectFormat, threads: int) -> None:
    """Deflate what git writes; closes the pipe in the end, so that git does not write on."""
    with packed:
        native.load().deflate_pack(
            packed.fileno(), target, object_format=object_format.name, threads=threads
        )


def _follow(progress: IO[bytes], report: Callable[[float], None]) -> bytes:
    """Report git's progress until it ends; returns the last of what it said."""
    said = b""
    with progress:
        while chunk := progress.read1(4096):  # type: ignore[attr-defined]
            said = (said + chunk)[-4096:]
            if shown := _GIT_PROGRESS.findall(said):
                phase, done, total = shown[-1]
                share = int(done) / max(1, int(total))
                report(0.8 * share if phase == b"Compressing" else 0.8 + 0.2 * share)
    return said


def _require_success(git: Git, status: int, said: bytes) -> None:
    if status != 0:
        raise GitError(["pack-objects"], status, said, str(git.objects))
