"""What kind of repository a directory holds, and a few facts and settings of it."""

from __future__ import annotations

import glob
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.durable import replacing, sweep
from gittorrent.errors import LocalError, UsageError
from gittorrent.git import environment
from gittorrent.git.alternates import lenders
from gittorrent.git.broken_files import broken_files
from gittorrent.git.known_settings import KNOWN, states_of
from gittorrent.git.refused import refusal
from gittorrent.git.runner import Git, GitError, executable
from gittorrent.git.work_trees import branches_in_use
from gittorrent.ids import OBJECT_FORMATS, ObjectFormat
from gittorrent.permissions import denied_in_repository

if TYPE_CHECKING:
    from collections.abc import Mapping


_PROMISES = re.compile(r"extensions\.partialclone\Z|remote\..*\.promisor\Z", re.DOTALL)
"""Settings of partial clones."""


class NotARepositoryError(UsageError):
    """There is no git repository where one was named."""


class UnsuitableRepositoryError(UsageError):
    """The repository is incomplete by design and cannot be published or served."""


class FoundRepository(Struct, frozen=True):
    """A repository found on disk.

    Args:
        git_dir: its git directory, absolute.
        is_bare: whether it has no work tree, linked ones with a branch included.
        object_format: SHA-1 or SHA-256.
        place: the directory that its user knows it by: the top of its work tree, or a bare one's
            git directory.
    """

    git_dir: Path
    is_bare: bool
    object_format: ObjectFormat
    place: Path


def find_repository(path: Path) -> FoundRepository:
    """Return the repository at ``path``: a bare one, or a work tree's top.

    Raises:
        NotARepositoryError: there is none, or git does not trust its owner.
    """
    bare, name, places = _ask(
        path,
        "--is-bare-repository",
        "--show-object-format",
        "--absolute-git-dir",
        "--git-common-dir",
    ).split("\n", 2)
    own, common, *more = places.removesuffix("\n").split("\n")
    if more:  # a line feed in a path
        own = _ask(path, "--absolute-git-dir").removesuffix("\n")
        common = places.removesuffix("\n")[len(own) + 1 :]
    git_dir = Path(own)
    common_dir = Path(path, common).resolve()
    if common_dir != git_dir.resolve():  # a linked work tree, which is never bare itself
        git_dir = common_dir
        bare = _ask(git_dir, "--is-bare-repository").removesuffix("\n")
    refused = refusal(git_dir)
    if refused is not None:  # for what it borrows: git itself refuses it for what is its own
        raise NotARepositoryError(str(refused), hint=refused.hint)
    git_dir = git_dir.resolve()
    is_bare = bare == "true" and not (_is_led_to(git_dir) or branches_in_use(git_dir))
    place = git_dir if is_bare else _top(git_dir, path)
    return FoundRepository(git_dir, is_bare, OBJECT_FORMATS[name], place)


def _is_led_to(git_dir: Path) -> bool:
    """Tell whether a file beside a repository leads to it, as where all work trees are linked."""
    beside = git_dir.parent / ".git"
    return beside.is_file() and git_directory_of(git_dir.parent) == git_dir


def _top(git_dir: Path, path: Path) -> Path:
    """Return the top of the work tree of a repository that was found by ``path``."""
    if git_dir.name == ".git" or _is_led_to(git_dir):
        return git_dir.parent
    try:
        return Path(_ask(path, "--show-toplevel").removesuffix("\n"))
    except NotARepositoryError:  # it was found by its git directory, which does not say
        return git_dir


def _ask(path: Path, *what: str) -> str:
    """Return what ``git rev-parse`` says of a repository."""
    words = [
        executable(),
        # Whoever calls this was told of the repository, so it is named and not come upon.
        "-c",
        "safe.bareRepository=all",
        "-C",
        str(path),
        "rev-parse",
        *what,
    ]
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            env=environment.trusted(),
            check=False,
        )
    except OSError as error:
        raise NotARepositoryError(f"cannot look into {path}: {error}") from error
    if done.returncode != 0:
        raise _no_repository(path, done.stderr.decode(errors="replace"))
    return done.stdout.decode("utf-8", "surrogateescape")


def _no_repository(path: Path, said: str) -> NotARepositoryError:
    """Return why git finds no repository: this user may not read it, or git does not trust it."""
    found = git_directory_of(path)
    refused = None if found is None else refusal(found)
    if refused is not None:
        return NotARepositoryError(str(refused), hint=refused.hint)
    for git_dir in (path / ".git", path):
        denied = denied_in_repository(git_dir, reading=True)
        if denied is not None:
            return NotARepositoryError(f"no git repository at {path}: {denied}", hint=denied.hint)
        for broken in broken_files(git_dir):
            return NotARepositoryError(f"cannot use {path}: {broken}", hint=broken.hint)
    first, _, more = said.strip().removeprefix("fatal: ").partition("\n")
    if first.endswith(":"):  # what git names is on the lines that follow
        first = " ".join([first, *more.split()])
    is_elsewhere = first.startswith(("not a git repository", "cannot change to"))
    hint = "name a bare repository or the top directory of a clone" if is_elsewhere else ""
    if "dubious ownership" in first:
        hint = (
            f"'git config --global --add safe.directory {path.absolute()}' if you trust its owner"
        )
    return NotARepositoryError(f"no git repository at {path}: {first}", hint=hint)


def require_complete(
    git: Git, instead: str = "make a full clone and publish that", *, checked: bool = True
) -> None:
    """Refuse shallow, partial and grafted repositories, and packs that are still to be checked.

    Args:
        git: the repository.
        instead: what to do where a partial clone will not do.
        checked: whether packs whose indexes are not checked yet will not do.

    Raises:
        UnsuitableRepositoryError: with the reason.
    """
    where = git.directory
    if (where / "shallow").exists():
        raise UnsuitableRepositoryError(
            f"{where} is shallow: part of its history is missing",
            hint="complete it with 'git fetch --unshallow' first",
        )
    if checked:
        _require_checked(where)
    # A .promisor file alone proves nothing: copies of partial clones that were completed keep it.
    if any(_PROMISES.match(key) for key, _ in list_config(git)):
        raise UnsuitableRepositoryError(
            f"{where} is a partial clone: some of its objects are missing",
            hint=instead,
        )
    if (where / "info" / "grafts").exists():
        raise UnsuitableRepositoryError(
            f"{where} has grafts, which show another history than the objects",
            hint="remove info/grafts, or make the change real with git filter-branch",
        )


def _require_checked(git_dir: Path) -> None:
    for place in (git_dir, *(lender.parent for lender in lenders(git_dir / "objects"))):
        if any((place / "gittorrent" / "unchecked").glob("*.json")):
            borrowed = "" if place == git_dir else f", whose objects {git_dir} borrows,"
            raise UnsuitableRepositoryError(
                f"{place}{borrowed} has a pack whose index was taken as it was signed, and is not"
                " checked yet",
                hint=f"'gittorrent verify {place}' checks it",
            )


def git_directory_of(path: Path) -> Path | None:
    """Return the git directory that git finds for a path, also if git refuses it; None: none.

    Git says no more of one that it refuses. A linked work tree's is that of its repository.
    """
    here = path.absolute()
    for folder in (here, *here.parents):
        named = folder / ".git"
        try:
            if named.is_file():
                said = named.read_text(encoding="utf-8", errors="surrogateescape")
                named = common_directory(folder / said.removeprefix("gitdir: ").rstrip("\n"))
            for git_dir in (named, folder):
                if (git_dir / "HEAD").is_file() and (git_dir / "objects").is_dir():
                    return git_dir
        except PermissionError:
            return None
    return None


def common_directory(git_dir: Path) -> Path:
    """Return where objects and refs are of the repository that a git directory belongs to.

    A linked work tree has a git directory of its own, which holds little (gitrepository-layout(5)).
    """
    try:
        common = (git_dir / "commondir").read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return git_dir.resolve()
    return (git_dir / common.rstrip("\n")).resolve()


def read_config(directory: Path, *, isolated: bool = False) -> dict[str, str]:
    """Return the settings git sees in ``directory``; the last value of each key counts.

    Raises:
        GitError: git cannot read its configuration.
    """
    return dict(list_config(configured(directory, isolated=isolated)))


def configured(directory: Path, *, isolated: bool = False) -> Git:
    """Return git in ``directory`` with the settings that count there: ``git -c``'s too."""
    once = {} if isolated else environment.one_off_settings()
    return Git(directory, isolated=isolated, variables=once)


def list_config(git: Git) -> list[tuple[str, str]]:
    """Return all settings git sees, in its order; a name without a value is ``true``, as in git.

    Raises:
        GitError: git cannot read its configuration.
    """
    states = states_of(git, common_directory(git.directory))
    settings = KNOWN.of(git, states)
    if settings is None:
        settings = read_settings(git)
        KNOWN.note(git, states, settings)
    return settings


def read_settings(git: Git) -> list[tuple[str, str]]:
    """Ask git for all settings, whatever is known of them; as `list_config`."""
    settings = []
    for item in git.run("config", "--null", "--list").split(b"\0"):
        key, has_value, value = item.decode("utf-8", "surrogateescape").partition("\n")
        if key:
            settings.append((key, value if has_value else "true"))
    return settings


def set_config(git: Git, settings: Mapping[str, str]) -> None:
    """Write settings into the repository's own configuration, where they differ."""
    present = read_config(git.directory, isolated=True)
    for key, value in settings.items():
        if present.get(key.lower()) != value:
            git.run("config", "--local", key, value)


def committer(git_dir: Path) -> bytes | None:
    """Return the person git takes the user for, as ``Name <email>``; None where it knows none."""
    done = subprocess.run(
        [executable(), f"--git-dir={git_dir}", "var", "GIT_COMMITTER_IDENT"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment.trusted(),
        check=False,
    )
    person, close, _ = done.stdout.rpartition(b"> ")
    return person + b">" if done.returncode == 0 and close else None


class OccupiedError(LocalError):
    """Something else is where a repository was to be made."""


def create_bare(path: Path, object_format: ObjectFormat) -> Git:
    """Make an empty bare repository and return git for it; one that is whole stays as it is.

    It is made beside its place and moved there, so that it is whole or not there if this process is
    killed: what a killed git leaves, a lock or a HEAD without its settings, stops the next one.
    Where a directory is there it is made in that, which may be all that this user may write to: it
    has to be empty but for what a killed git leaves.

    Raises:
        OccupiedError: something else is there.
        GitError: git cannot make it.
        OSError: neither can this process.
    """
    if (path / "HEAD").exists() and (path / "objects" / _LAST_MADE).is_dir():
        return Git(path)
    if path.is_dir():
        for left in _left_of_init(path):
            left.rmdir() if left.is_dir() else left.unlink()
        initialize(path, object_format, "--bare")
        return Git(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, f".{glob.escape(path.name)}.*.new")
    with replacing(path) as beside:
        beside.mkdir()
        initialize(beside, object_format, "--bare")
    return Git(path)


def _left_of_init(path: Path) -> list[Path]:
    """Return all that is in a directory, innermost first, if a killed ``git init`` left it.

    Raises:
        OccupiedError: there is something else, which is nobody's to remove.
    """
    left = []
    for each in path.rglob("*"):
        name = each.relative_to(path).as_posix()
        is_file = name in _MADE_FILES and each.is_file() and each.stat().st_size <= _MADE_SIZE
        if each.is_symlink() or not (is_file or (name in _MADE_DIRECTORIES and each.is_dir())):
            raise OccupiedError(
                f"{path} is no repository, and has something in it: {each}",
                hint="move it away, if nothing needs it",
            )
        left.append(each)
    return sorted(left, reverse=True)


def initialize(path: Path, object_format: ObjectFormat, *options: str) -> None:
    """Have git make a repository at ``path``, or complete one that is there.

    Raises:
        GitError: git cannot make it.
    """
    command = ["init", "--quiet", "--template=", f"--object-format={object_format.name}", *options]
    done = subprocess.run(
        [executable(), *command, str(path)],
        env=environment.isolated(),
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        raise GitError(command[:1], done.returncode, done.stderr, str(path))


_MADE_FILES = frozenset({"HEAD", "HEAD.lock", "config", "config.lock"})
_MADE_DIRECTORIES = frozenset(
    {"objects", "objects/pack", "refs", "refs/heads", "refs/tags", "branches", "info", "hooks"}
)
"""What ``git init`` makes before `_LAST_MADE`."""

_MADE_SIZE = 4096
"""Bytes of the largest of its files."""

_LAST_MADE = "info"
"""What ``git init`` makes last in ``objects``, when all settings are written."""
