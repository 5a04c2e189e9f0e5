"""Packs: indexing what arrives, moving finished packs into a repository, housekeeping."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import struct
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING

from gittorrent.durable import make_directory, share_like_directory, sweep, sync_directory
from gittorrent.errors import LocalError
from gittorrent.git import loose
from gittorrent.git.fsckrules import RulesBrokenError, says_rules_are_broken
from gittorrent.git.runner import Git, GitError
from gittorrent.ids import OBJECT_FORMATS
from gittorrent.ownership import set_mode
from gittorrent.trust.refpattern import RESERVED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gittorrent.git.fsckrules import FsckRules
    from gittorrent.ids import ObjectFormat, Oid

_SUFFIXES = ("promisor", "rev", "pack", "idx")
"""In the order to move them: git looks for an index, so the pack has to be there first."""


_LARGE_OFFSET = 1 << 31
"""Bit of an offset in an index that says that the offset itself stands further below."""

UNFINISHED = (".tmp-*", "tmp_*")
"""Packs that a repack was writing when it was killed; git removes them only when it prunes."""


class IndexingProcess:
    """A running ``git index-pack --stdin`` in a scratch repository.

    Args:
        scratch: receives the pack; its alternates provide bases when the pack is thin.
        thin: whether bases may be missing from the pack.
        check_connected: whether git is to check that the pack refers to nothing outside itself.
        rules: what objects must keep to, None for no rules.
    """

    def __init__(
        self, scratch: Git, *, thin: bool, check_connected: bool, rules: FsckRules | None = None
    ) -> None:
        words = ["index-pack", "--stdin", "--rev-index"]
        if thin:
            words.append("--fix-thin")
        if check_connected:
            words.append("--check-self-contained-and-connected")
        if rules is not None:
            words.append(rules.strict)
        self._words = words
        self._scratch = scratch
        self._process = scratch.start(*words)
        self._check_connected = check_connected
        self._guard = threading.Lock()
        self._finishing = False
        self._abandoned = False

    @property
    def stdin(self) -> IO[bytes]:
        """Where the pack's bytes go."""
        assert self._process.stdin is not None
        return self._process.stdin

    def finish(self) -> tuple[Path, bool]:
        """Wait for the index and return the pack's path and whether it proved self-contained.

        Raises:
            RulesBrokenError: an object breaks the rules.
            GitError: the pack is broken, or it was stopped.
        """
        with self._guard:
            if self._abandoned:
                raise GitError(
                    self._words, -signal.SIGKILL, b"stopped", str(self._scratch.directory)
                )
            self._finishing = True
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        out = self._process.stdout.read()
        said = self._process.stderr.read()
        status = self._process.wait()
        self._process.stdout.close()
        self._process.stderr.close()
        words = out.decode("ascii", errors="replace").split()
        if status not in (0, 1) or len(words) != 2 or (status == 1 and not self._check_connected):
            raise _failure(GitError(self._words, status, said, str(self._scratch.directory)))
        pack = self._scratch.directory / "objects" / "pack" / f"pack-{words[1]}.pack"
        return pack, self._check_connected and status == 0

    def abandon(self) -> None:
        """Stop it and wait until it is gone; after `finish` there is nothing to stop.

        Another thread may be about to call `finish`, or be in it.
        """
        with self._guard:
            if self._process.returncode is not None or self._abandoned:
                return
            self._abandoned, is_finishing = True, self._finishing
        self._process.kill()
        if is_finishing:
            self._process.wait()  # whoever is in finish() reads the pipes to their end
        else:
            self._process.communicate()


def index_file(scratch: Git, pack: Path, *, thin: bool, rules: FsckRules | None = None) -> Path:
    """Index a pack file in a scratch repository and return the path of the indexed pack.

    Args:
        scratch: where to work; a thin pack is completed there from its alternates.
        pack: the pack, which stays where it is unless it had to be completed.
        thin: whether bases may be missing from it; otherwise it is one of our own making.
        rules: what objects of a thin one must keep to, None for no rules.

    Raises:
        RulesBrokenError: an object breaks the rules.
        GitError: the pack is broken.
    """
    if not thin:
        scratch.run("index-pack", "--rev-index", str(pack))
        return pack
    process = IndexingProcess(scratch, thin=True, check_connected=False, rules=rules)
    try:
        with pack.open("rb") as source:
            while chunk := source.read(1 << 20):
                process.stdin.write(chunk)
    except BrokenPipeError:
        pass  # git's own words in finish() say why it stopped reading
    return process.finish()[0]


def hold_to_rules(git: Git, pack: Path, rules: FsckRules, *, source: str = "") -> None:
    """Check the objects of an indexed pack, all of whose links must be here.

    Args:
        git: the repository that has the pack, or borrows from where it leads.
        pack: the pack file.
        rules: what its objects must keep to.
        source: who sent it, if nothing of it is kept where it breaks them.

    Raises:
        RulesBrokenError: an object breaks the rules.
        GitError: the pack is broken, or objects are missing.
    """
    try:
        git.run("index-pack", rules.strict, "--verify", str(pack))
    except GitError as error:
        failure = _failure(error)
        if source and isinstance(failure, RulesBrokenError):
            failure = RulesBrokenError(error.stderr, source=source, first="")
        raise failure from error


def unpack_file(git: Git, pack: Path, *, rules: FsckRules | None = None) -> None:
    """Store a pack's objects loose in ``git``'s repository.

    Args:
        git: the repository.
        pack: the pack file.
        rules: what objects must keep to, None for no rules.

    Raises:
        RulesBrokenError: an object breaks the rules.
        GitError: the pack is broken.
    """
    # Git does not sync loose objects by itself, yet what follows takes them for safely stored.
    durable = git.with_config("core.fsync=committed", "core.fsyncMethod=batch")
    with pack.open("rb") as source:
        options = [] if rules is None else [rules.strict]
        try:
            durable.run("unpack-objects", "-q", *options, stdin=source)
        except GitError as error:
            raise _failure(error) from error


def _failure(error: GitError) -> GitError | RulesBrokenError:
    """Tell broken rules from a broken pack."""
    return RulesBrokenError(error.stderr) if says_rules_are_broken(error.stderr) else error


def adopt_pack(pack: Path, target: Path, *, keep: str = "") -> None:
    """Move an indexed pack into a repository under a new name.

    Args:
        pack: path of the ``.pack``, with its ``.idx`` and perhaps ``.rev`` beside it.
        target: path the ``.pack`` shall have, on the same file system.
        keep: reason to put into a ``.keep`` file; without one the pack may be repacked.
    """
    make_directory(target.parent)
    if keep:
        target.with_suffix(".keep").write_text(f"{keep}\n", encoding="utf-8")
        share_like_directory(target.with_suffix(".keep"))
    present = [suffix for suffix in _SUFFIXES if pack.with_suffix(f".{suffix}").exists()]
    # Nobody writes to it any more, and it is as readable as the directory that it is in.
    mode = target.parent.stat().st_mode & 0o444
    for suffix in present:
        set_mode(pack.with_suffix(f".{suffix}"), mode)
        descriptor = os.open(pack.with_suffix(f".{suffix}"), os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    for suffix in present:
        pack.with_suffix(f".{suffix}").rename(target.with_suffix(f".{suffix}"))
    sync_directory(target.parent)


def listed(git: Git, pack: Path) -> list[str]:
    """Return the ids of a pack's objects, by its index."""
    object_format = git.run("rev-parse", "--show-object-format").decode("ascii").strip()
    with pack.with_suffix(".idx").open("rb") as index:
        out = git.run("show-index", f"--object-format={object_format}", stdin=index)
    return [line.split(" ")[1] for line in out.decode("ascii").splitlines()]


def first_objects(pack: Path, count: int, object_format: ObjectFormat) -> set[str]:
    """Return the ids of the objects that stand first in an indexed pack.

    Where git completed a thin pack, what it added stands last.

    Args:
        pack: the pack file, with its index beside it.
        count: how many.
        object_format: of the repository.

    Raises:
        LocalError: the index cannot be read.
    """
    return {name for _, name in placed(pack, object_format)[:count]}


def placed(pack: Path, object_format: ObjectFormat) -> list[tuple[int, str]]:
    """Return where each object of an indexed pack begins, and its id, in that order.

    Args:
        pack: the pack file; its index, of version 2, lies beside it (gitformat-pack(5)).
        object_format: of the repository.

    Raises:
        LocalError: the index cannot be read.
    """
    data = pack.with_suffix(".idx").read_bytes()
    fan_out = 8 + 256 * 4
    total = int.from_bytes(data[fan_out - 4 : fan_out], "big")
    size = object_format.raw_size
    offsets = fan_out + total * (size + 4)
    large = offsets + total * 4
    if data[:8] != b"\xfftOc\0\0\0\2" or len(data) < large:
        raise LocalError(f"{pack.with_suffix('.idx')} is no pack index of version 2")
    found = []
    for number, (offset,) in enumerate(struct.iter_unpack(">I", data[offsets:large])):
        if offset & _LARGE_OFFSET:
            at = large + (offset ^ _LARGE_OFFSET) * 8
            offset = int.from_bytes(data[at : at + 8], "big")
        at = fan_out + number * size
        found.append((offset, data[at : at + size].hex()))
    return sorted(found)


def count_objects(pack: Path) -> int:
    """Return the number of objects in a pack, by its header (gitformat-pack(5))."""
    with pack.open("rb") as file:
        return int.from_bytes(file.read(12)[8:], "big")


def pack_objects(git: Git, oids: Iterable[str]) -> Path:
    """Make one pack of some objects, in the repository that has them; returns its path."""
    folder = git.directory / "objects" / "pack"
    asked = "".join(f"{oid}\n" for oid in oids).encode("ascii")
    words = ["pack-objects", "-q", "--delta-base-offset", str(folder / "pack")]
    checksum = git.run(*words, stdin=asked).decode("ascii").strip()
    return folder / f"pack-{checksum}.pack"


def pack_loose(git: Git) -> None:
    """Make one pack of the loose objects of a repository, if it has any; not of what it borrows."""
    if found := loose.names(git.directory / "objects"):
        pack_objects(git, found)
        git.run("prune-packed", "--quiet")


def remove_pack(pack: Path) -> None:
    """Remove a pack and what lies beside it; the index first, since git finds packs by that."""
    for suffix in ("idx", *_SUFFIXES, "keep"):
        pack.with_suffix(f".{suffix}").unlink(missing_ok=True)


def checksums_named(index: Path) -> list[str]:
    """Return the pack's checksum that an index names, once for each length that ids may have.

    One of them is right; the other is bytes from the middle of something, which name nothing.
    """
    found = []
    with index.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        for object_format in OBJECT_FORMATS.values():
            length = object_format.raw_size
            if size >= 2 * length:
                file.seek(size - 2 * length)
                found.append(file.read(length).hex())
    return found


def link_pack_file(source: Path, target: Path) -> None:
    """Make one file appear under another name too; a copy, where disks do not allow that.

    Raises:
        LocalError: there is no room for a copy.
    """
    try:
        target.hardlink_to(source)
    except OSError:
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            target.unlink(missing_ok=True)
            raise LocalError(
                f"cannot copy {source} to {target}: {error.strerror}",
                hint="make room and try again; verified parts are kept",
            ) from error


def tidy(git: Git, preferred: Path | None) -> None:
    """Drop packs that kept ones make redundant and refresh the bitmap; loses nothing.

    Args:
        git: a bare repository.
        preferred: the pack bitmaps should take objects from.
    """
    folder = git.directory / "objects" / "pack"
    sweep(folder, *UNFINISHED)
    git.run("repack", "--cruft", "-d", "-l", "-q")
    if not any(folder.glob("pack-*.idx")):
        return  # nothing to index, which git takes for an error
    words = ["multi-pack-index", "write", "--bitmap", "--no-progress"]
    if preferred is not None:
        words.append(f"--preferred-pack={preferred.name}")
    git.run(*words)


def count_loose(git: Git) -> tuple[int, int]:
    """Return the number of loose objects and of packs without ``.keep``."""
    figures = {}
    for line in git.run("count-objects", "-v").decode().splitlines():
        name, _, value = line.partition(": ")
        figures[name] = int(value) if value.isdigit() else 0
    kept = sum(1 for _ in (git.directory / "objects" / "pack").glob("pack-*.keep"))
    return figures["count"], figures["packs"] - kept


def copy_objects(
    git: Git, tips: Iterable[Oid], objects: Path, *, without: Iterable[Oid] = ()
) -> Path | None:
    """Copy everything that ``tips`` reach, as one pack.

    Args:
        git: where it is, complete.
        tips: of any type.
        objects: the object directory to put it into.
        without: what these reach is left out.

    Returns:
        the pack; None where there is nothing to copy.
    """
    asked = "".join(f"{oid}\n" for oid in tips) + "".join(f"^{oid}\n" for oid in without)
    words = ["pack-objects", "--quiet", "--revs", "--non-empty", "--delta-base-offset"]
    base = objects / "pack" / "pack"
    checksum = git.run(*words, str(base), stdin=asked.encode("ascii")).decode("ascii").strip()
    return base.with_name(f"pack-{checksum}.pack") if checksum else None


def copy_refs_from(
    git: Git, source: Path, patterns: Sequence[str], without: Iterable[bytes] = ()
) -> None:
    """Give ``git``'s repository the refs of a local one that ``patterns`` match; removes none.

    Reserved names are left out.

    Args:
        git: a bare repository.
        source: git directory to copy from.
        patterns: such as ``refs/heads/*``, or the name of a ref, which has to be there.
        without: names of refs that are left as they are.
    """
    specs = [f"+{pattern}:{pattern}".encode("utf-8", "surrogateescape") for pattern in patterns]
    specs += [*(b"^" + name + b"/*" for name in RESERVED), *(b"^" + name for name in without)]
    git.run(
        "fetch",
        "--quiet",
        "--no-auto-maintenance",
        "--update-head-ok",
        "--no-write-fetch-head",
        "--no-tags",
        "--stdin",
        str(source),
        stdin=b"".join(spec + b"\n" for spec in specs),
    )
