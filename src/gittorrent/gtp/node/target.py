"""Where a download goes: a new repository whose refs appear when all is proved.

Tracks the scratch space, the stored blocks and what was indexed. Everything of a download lives in
``gittorrent/gtp/<repo hash>`` in the git directory; reference objects stay there to be served.
Blocking; callers run it in threads, one call at a time.
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
from typing import TYPE_CHECKING

from gittorrent.durable import write_atomically
from gittorrent.errors import GitTorrentError, UnreachableError, UsageError
from gittorrent.git import environment, history, scratch
from gittorrent.git import refs as git_refs
from gittorrent.git.repository import create_bare, find_repository, initialize
from gittorrent.git.runner import Git, GitError, executable
from gittorrent.gtp.errors import BadReferenceError
from gittorrent.gtp.node.assembling import Assembler
from gittorrent.gtp.node.blockstore import BlockStore
from gittorrent.gtp.reference import reference_id
from gittorrent.ids import SHA1, Oid, RefName
from gittorrent.repository.index_settings import index_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gittorrent.gtp.believed import ReferenceBook
    from gittorrent.gtp.effects import (
        Assemble,
        Compact,
        Compare,
        Discard,
        Splice,
        StoreBlock,
        StoreObjects,
    )
    from gittorrent.gtp.messages import ReelName
    from gittorrent.gtp.metainfo import Metainfo
    from gittorrent.gtp.reference import Reference

_log = logging.getLogger(__name__)

REMOTE = "origin"


def own_folder(git_dir: Path, repo_hash: bytes) -> Path:
    """Return where a git directory keeps what belongs to one swarm."""
    return git_dir / "gittorrent" / "gtp" / repo_hash.hex()


def save_reference(git_dir: Path, repo_hash: bytes, body: bytes) -> None:
    """Remember a believed reference object."""
    name = reference_id(body).hex()
    path = own_folder(git_dir, repo_hash) / "references" / name
    if not path.exists():
        write_atomically(path, body)


def load_references(git_dir: Path, repo_hash: bytes, book: ReferenceBook) -> int:
    """Put the reference objects remembered in a repository into ``book``.

    Returns:
        how many are not believed.
    """
    refused = 0
    folder = own_folder(git_dir, repo_hash) / "references"
    for path in sorted(folder.glob("?" * 40)) if folder.is_dir() else []:
        try:
            book.add(bytes.fromhex(path.name), path.read_bytes())
        except (BadReferenceError, ValueError) as error:
            _log.warning("%s is not believed: %s", path, error)
            refused += 1
    return refused


class Target:
    """A repository being filled.

    Args:
        git: the repository.
        metainfo: of the swarm.
        book: believed references.
        mirror: whether refs are taken as they are; otherwise branches become ``origin``'s.
    """

    def __init__(self, git: Git, metainfo: Metainfo, book: ReferenceBook, *, mirror: bool) -> None:
        self.git = git
        self._metainfo = metainfo
        self._book = book
        self._mirror = mirror
        self._own = own_folder(git.directory, metainfo.repo_hash)
        self.store = BlockStore(self._own / "blocks")
        self._taken: set[ReelName] = set()
        self._stack = contextlib.ExitStack()
        # What an interrupted download left is of no use; its blocks are in the store.
        staging = scratch.receiving(self._own / "staging", SHA1, (git.directory / "objects",))
        self._assembler = Assembler(
            self._stack.enter_context(staging), self.store, self._own / "staging"
        )

    def close(self) -> None:
        """Remove the scratch space."""
        self._stack.close()

    def keep(self, effect: StoreBlock) -> None:
        """Store a block; raises `MessageError` when it is no pack."""
        self.store.put(effect.block, effect.offset, effect.pack)
        self._taken.discard(effect.block.reel)

    def keep_objects(self, effect: StoreObjects) -> None:
        """Index objects asked for by id; raises when they are not what was asked."""
        self._assembler.take_objects(effect.pack, effect.job.oids)

    def compare(self, effect: Compare) -> list[Oid]:
        """Return which of a block's objects are not here."""
        return self._assembler.missing([Oid(entry.oid.hex()) for entry in effect.entries])

    def splice(self, effect: Splice) -> None:
        """Make what there is of other reels usable."""
        for reel in effect.reels:
            self._assembler.splice(reel)

    def compact(self, effect: Compact) -> int:
        """Keep each object of a reel's stored blocks once; returns the bytes they have then."""
        self._taken.discard(effect.reel)
        return self._assembler.compact(effect.reel)

    def discard(self, effect: Discard) -> None:
        """Forget what was received of reels, stored or indexed."""
        for reel in effect.reels:
            self.store.remove_reel(reel)
        self._taken.clear()
        self._assembler.empty()

    def assemble(self, effect: Assemble, have: frozenset[bytes]) -> list[Oid]:
        """Index, prove and install; returns what is missing, nothing when it is installed.

        Raises:
            GitError: packs are broken, or bases are missing.
            RulesBrokenError: an object breaks fsck's rules; the blocks stay.
            UnreachableError: nobody sends anything that refs name.
        """
        for fetch in effect.path:
            if fetch.reel not in self._taken:
                self._assembler.take_reel(fetch.reel, fetch.block_size)
                self._taken.add(fetch.reel)
        wanted = self._reference(effect.wanted)
        tips = wanted.tips - effect.without
        if effect.without and not tips:
            raise UnreachableError(
                f"nobody sends what reference object {wanted.id.hex()} names",
                hint="peers of 2008 send no annotated tags; it needs a branch",
            )
        known = self._known(have)
        missing = self._assembler.lacking(tips, known)
        if missing:
            return missing
        rules = index_settings(self.git.directory).rules
        self._assembler.install(self.git, rules, tips, known)
        for fetch in effect.path:
            self.store.remove_reel(fetch.reel)
        self._taken.clear()
        save_reference(self.git.directory, self._metainfo.repo_hash, wanted.body)
        self._update_refs(wanted, effect.without)
        return []

    def complete(self) -> Reference | None:
        """Return the newest believed reference that is complete here, with its refs set."""
        for reference in self._book.newest_first():
            absent = frozenset(self._assembler.missing(sorted(reference.tips)))
            here = reference.tips - absent
            if not here or not absent <= self._book.may_lack(reference):
                continue
            # Refs are set after the proof. That tips are here is none: moving packs in may have
            # been interrupted.
            has_names = any(True for _ in self._names(reference))
            if has_names and not self._changes(reference, absent):
                return reference
            if not self._assembler.lacking(here, ()):
                self._update_refs(reference, absent)
                return reference
        return None

    def left_out(self, reference: Reference) -> list[RefName]:
        """Return the refs of a reference that are not here, since nobody sent what they name."""
        names = sorted(reference.refs)
        found = history.describe(self.git, [reference.refs[name] for name in names])
        return [name for name, info in zip(names, found, strict=True) if info is None]

    def _known(self, have: frozenset[bytes]) -> set[Oid]:
        """Return what references that are complete here name, but for what was left out."""
        tips = {tip for place in have for tip in self._reference(place).tips}
        return tips.difference(self._assembler.missing(sorted(tips)))

    def _reference(self, place: bytes) -> Reference:
        found = self._book.get(place)
        if found is None:
            raise GitTorrentError(f"reference object {place.hex()} is not known")
        return found

    def _update_refs(self, wanted: Reference, without: frozenset[Oid]) -> None:
        """Make refs what the reference says; the only moment at which they change."""
        git_refs.apply_changes(self.git, self._changes(wanted, without), SHA1)
        branch = head_branch(wanted)
        if self._mirror and branch is not None:
            git_refs.set_head(self.git, branch)

    def _changes(
        self, wanted: Reference, without: frozenset[Oid]
    ) -> list[tuple[RefName, Oid | None, Oid | None]]:
        """Return what differs between the refs here and those of a reference."""
        new = {name: oid for name, oid in self._names(wanted) if oid not in without}
        if self._mirror:
            old = git_refs.read_refs(self.git, *sorted({_kind(name) for name in new}))
        else:
            old = git_refs.read_refs(self.git, f"refs/remotes/{REMOTE}")
            old.update(
                {n: o for n, o in git_refs.read_refs(self.git, "refs/tags").items() if n in new}
            )
        names = sorted(new.keys() | old.keys())
        return [(n, old.get(n), new.get(n)) for n in names if old.get(n) != new.get(n)]

    def _names(self, wanted: Reference) -> Iterator[tuple[RefName, Oid]]:
        for name, oid in wanted.refs.items():
            if self._mirror or name.startswith(b"refs/tags/"):
                yield name, oid
            elif name.startswith(b"refs/heads/"):
                rest = name.removeprefix(b"refs/heads/")
                yield RefName(b"refs/remotes/" + REMOTE.encode() + b"/" + rest), oid


def _kind(name: bytes) -> str:
    return b"/".join(name.split(b"/")[:2]).decode("utf-8", "surrogateescape")


def head_branch(reference: Reference) -> RefName | None:
    """Return the branch that HEAD most likely names: the usual ones first."""
    usual = (b"refs/heads/main", b"refs/heads/master")
    branches = sorted(n for n in reference.refs if n.startswith(b"refs/heads/"))
    ordered = [RefName(n) for n in [*(n for n in usual if n in branches), *branches]]
    head = reference.head or reference.commit
    at_head = [name for name in ordered if reference.refs[name] == head]
    if not at_head and reference.head is None:
        at_head = ordered  # the peer of 2008 tags its newest commit, which may be no branch's
    return at_head[0] if at_head else None


def prepare_directory(path: Path, *, bare: bool) -> Git:
    """Make the repository to clone into, or find the one an interrupted clone left.

    Args:
        path: must not exist, be empty, or hold an unfinished clone.
        bare: whether it has no work tree.

    Raises:
        UsageError: something else is there.
    """
    git_dir = path if bare else path / ".git"
    if (git_dir / "gittorrent" / "gtp").is_dir():
        return Git(find_repository(path).git_dir)
    if path.exists() and any(path.iterdir()):
        raise UsageError(f"{path} is not empty", hint="name a directory that does not exist yet")
    if bare:
        return create_bare(path.absolute(), SHA1)
    path.mkdir(parents=True, exist_ok=True)
    initialize(path, SHA1)
    return Git(find_repository(path).git_dir)


def check_out(git: Git, path: Path, reference: Reference) -> RefName | None:
    """Make the branch that HEAD names in a new clone and check it out; returns the branch."""
    branch = head_branch(reference)
    if branch is None:
        return None
    short = branch.decode("utf-8", "surrogateescape").removeprefix("refs/heads/")
    if git_refs.read_ref(git, branch.decode("utf-8", "surrogateescape")) is None:
        git_refs.set_head(git, branch)
        words = ["checkout", "--quiet", "--force", "-B", short, "--no-track"]
        done = subprocess.run(
            [executable(), "-C", str(path), *words, f"refs/remotes/{REMOTE}/{short}", "--"],
            env=environment.isolated(),
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            raise GitError(words, done.returncode, done.stderr, str(path))
    return branch
