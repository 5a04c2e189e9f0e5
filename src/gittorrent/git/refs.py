"""Refs of a repository: reading, updating in one go, HEAD.

Names are bytes and were checked before they come here; values are full ids.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from gittorrent.durable import write_atomically
from gittorrent.errors import LocalError
from gittorrent.git import history
from gittorrent.git.broken_files import broken_files, has_tables
from gittorrent.git.runner import GitError
from gittorrent.git.stale_locks import at_work, remove_stale_locks
from gittorrent.ids import Oid, RefName, format_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gittorrent.git.runner import Git
    from gittorrent.ids import ObjectFormat, Refs

_LIST = ("for-each-ref", "--format=%(objectname) %(refname)")

_BRANCHES = b"refs/heads/"

_BROKEN = b"warning: ignoring broken ref "
"""What git says (in the C locale) of a ref that is there and holds no object id."""


class BrokenRefError(LocalError):
    """A ref is there and cannot be read, as after a power cut."""


def read_refs(git: Git, *prefixes: str) -> Refs:
    """Return the refs below ``prefixes`` (or matching such patterns) and what they point at.

    Git leaves out those that it cannot read; see `list_sound_refs`.
    """
    return parse_refs(git.run(*_LIST, *prefixes))


def list_sound_refs(git: Git, *prefixes: str) -> bytes:
    """Return the same as git lists them, a line each: value, space, name; sorted by name.

    A ref that cannot be read must not pass for one that was deleted.

    Raises:
        BrokenRefError: one of them cannot be read.
    """
    done = git.attempt(*_LIST, *prefixes)
    if done.returncode:
        raise GitError(_LIST, done.returncode, done.stderr, str(git.directory))
    packed = git.directory / "packed-refs"
    is_empty = packed.exists() and not packed.stat().st_size
    if is_empty or has_tables(git.directory):  # which git may take for no refs
        for file in broken_files(git.directory):
            raise BrokenRefError(f"cannot read refs of {git.directory}: {file}", hint=file.hint)
    broken = _broken(done.stderr)
    if broken:
        names = b", ".join(broken)
        raise BrokenRefError(
            f"cannot read refs of {git.directory}: {names.decode(errors='backslashreplace')}",
            hint="'git reflog' or another copy may tell what they were: remove their files, which"
            " git does not replace, and set them with 'git update-ref'",
        )
    return done.stdout


def drop_broken_refs(git: Git, *prefixes: str) -> None:
    """Delete the refs that hold no object id: git does not sync refs, so a power cut leaves such.

    Git neither deletes them nor puts anything in their place, so their files are removed, each
    under git's own lock. What they were the caller has to know.

    Raises:
        LocalError: somebody else has the lock of one.
    """
    done = git.attempt(*_LIST, *prefixes)
    if done.returncode:
        raise GitError(_LIST, done.returncode, done.stderr, str(git.directory))
    for name in _broken(done.stderr):
        file = git.directory / os.fsdecode(name)
        with locking(git, file):
            if read_loose_ref(git, os.fsdecode(name)) is None:
                file.unlink(missing_ok=True)


@contextlib.contextmanager
def locking(git: Git, file: Path) -> Iterator[None]:
    """Keep git from a broken file of refs while the block removes it.

    Args:
        git: the repository, whose own lock is held.
        file: of a ref, or of all.

    Raises:
        LocalError: somebody else has git's lock of it.
    """
    lock = file.with_name(f"{file.name}.lock")
    if lock.exists():
        remove_stale_locks(git.directory)
    with at_work(git.directory, "update-ref"):
        try:
            os.close(os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        except FileExistsError as error:
            raise LocalError(
                f"cannot remove {file}, which is broken: {lock} is there",
                hint="remove that file if no git is at work here, and try again",
            ) from error
        try:
            yield
        finally:
            lock.unlink()


def _broken(said: bytes) -> list[bytes]:
    """Return the refs that git could not read, by what it said."""
    return [x.removeprefix(_BROKEN) for x in said.splitlines() if x.startswith(_BROKEN)]


def parse_refs(out: bytes) -> Refs:
    """Take apart what `list_sound_refs` returned."""
    refs: Refs = {}
    for line in out.splitlines():
        oid, _, name = line.partition(b" ")
        refs[RefName(name)] = Oid(oid.decode("ascii"))
    return refs


def list_refs(git: Git, *prefixes: str) -> bytes:
    """Return the refs below ``prefixes`` by name, a line each: value, tab, name."""
    return git.run("for-each-ref", "--format=%(objectname)%09%(refname)", *prefixes)


def read_ref(git: Git, name: str) -> Oid | None:
    """Return what one ref points at, None when there is no such ref."""
    done = git.attempt("rev-parse", "--verify", "--quiet", "--end-of-options", name)
    return Oid(done.stdout.decode("ascii").strip()) if done.returncode == 0 else None


def read_loose_ref(git: Git, name: str) -> Oid | None:
    """Return what a ref points at that has a file of its own, without starting git.

    None tells nothing: it may be packed, symbolic, or kept in another way.
    """
    try:
        text = (git.directory / name).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return Oid(text) if format_of(text) is not None else None


def head_target(git: Git) -> RefName | None:
    """Return the branch that HEAD names, None when it is detached."""
    done = git.attempt("symbolic-ref", "--quiet", "HEAD")
    return RefName(done.stdout.rstrip(b"\n")) if done.returncode == 0 else None


def set_head(git: Git, branch: RefName) -> None:
    """Make HEAD name ``branch``."""
    git.run("symbolic-ref", "HEAD", branch.decode("utf-8", "surrogateescape"))


def apply_changes(
    git: Git,
    changes: Sequence[tuple[RefName, Oid | None, Oid | None]],
    object_format: ObjectFormat,
) -> None:
    """Make refs what they should be, deletions first so that ``a`` can give way to ``a/b``.

    Branches that would become something else than a commit, which git does not hold, stay what they
    are: whoever signed such a thing must not keep all other refs from moving.

    Args:
        git: the repository.
        changes: (name, old value, new value); None stands for "no such ref".
        object_format: of the repository.

    Raises:
        GitError: a ref changed meanwhile, or its object is missing.
    """
    gone = [(name, old) for name, old, new in changes if new is None and old is not None]
    if gone:
        _transaction(git, [b"delete " + n + b"\0" + o.encode("ascii") for n, o in gone])
    updates = [(name, old or object_format.zero, new) for name, old, new in changes if new]
    if not updates:
        return
    try:
        _update(git, updates)
    except GitError as error:
        left_out = set() if error.is_own_trouble else _no_commits(git, updates)
        if not left_out:
            raise
        _update(git, [update for update in updates if update[0] not in left_out])


def _no_commits(git: Git, updates: Sequence[tuple[RefName, Oid, Oid]]) -> set[RefName]:
    """Return which branches would become something that is here and no commit.

    Args:
        git: the repository.
        updates: (name, old value, new value).
    """
    asked = [(name, new) for name, _, new in updates if name.startswith(_BRANCHES)]
    kinds = history.describe(git, [new for _, new in asked])
    found = zip(asked, kinds, strict=True)
    return {name for (name, _), kind in found if kind is not None and kind.kind != "commit"}


def write_first_refs(git: Git, refs: Refs) -> bool:
    """Give a repository that has no refs all of them at once, packed.

    Git would write a file for each and pack them afterwards. The caller holds the repository's
    lock, and has proved that the objects are there. Branches that are no commits are left out, as
    by `apply_changes`.

    Returns:
        Whether that was done; false where refs are there, or git keeps them in another way.
    """
    packed = git.directory / "packed-refs"
    if packed.exists() or (git.directory / "reftable").exists() or read_refs(git):
        return False
    write_atomically(packed, packed_refs(git, refs))
    return True


def packed_refs(git: Git, refs: Refs) -> bytes:
    """Return the content of ``packed-refs``, with what tags point at (git-pack-refs(1)).

    Branches that are something else than a commit are left out: git would not write them.
    """
    values = sorted(set(refs.values()))
    found = zip(values, history.describe(git, values), strict=True)
    kinds = {oid: None if info is None else info.kind for oid, info in found}
    tags = [oid for oid in values if kinds[oid] == "tag"]
    peeled = dict(zip(tags, history.peel(git, tags), strict=True))
    lines = [b"# pack-refs with: peeled fully-peeled sorted \n"]
    for name in sorted(refs):
        oid = refs[name]
        if name.startswith(_BRANCHES) and kinds[oid] not in (None, "commit"):
            continue
        lines.append(oid.encode("ascii") + b" " + name + b"\n")
        target = peeled.get(oid)
        if target is not None:
            lines.append(b"^" + target.encode("ascii") + b"\n")
    return b"".join(lines)


def _update(git: Git, updates: Sequence[tuple[RefName, Oid, Oid]]) -> None:
    words = [
        b"update " + name + b"\0" + new.encode("ascii") + b"\0" + old.encode("ascii")
        for name, old, new in updates
    ]
    if words:
        _transaction(git, words)


def _transaction(git: Git, commands: list[bytes]) -> None:
    body = b"".join(command + b"\0" for command in [b"start", *commands, b"prepare", b"commit"])
    git.run("update-ref", "--no-deref", "-z", "--stdin", stdin=body)
