"""A view: a git repository with what is published of a carried one, and nothing else.

Git's own clients are served from here: refs and HEAD are what the log shows, whatever the
carried repository has by now, and the objects are those that were published. The carried repository
is only read; its configuration, its other refs and its hooks mean nothing here.

Where the objects come from:

- A mirror received nothing but what was published: its object directory is used as it is.
- The repository of an owner, or somebody's clone, has more. There the reels are used: they hold
  what was published and no more. The packs of large ones appear by symbolic links, small ones are
  unpacked. Where reels are missing, what the refs need is packed here anew. `is_whole` tells
  whether everything was there to be found.

Tracks on disk what it was made for, so that it is made again only after a change. Rules: objects
come before the refs that need them; refs are replaced at once, by a rename; one process changes a
view at a time, any number may be serving from it. Must not know callers.
Source: docs/decisions/0025-stock-clients-see-what-was-published.md; gitrepository-layout(5).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from bisect import bisect_left
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.durable import locked, write_atomically
from gittorrent.git import history, packs, scratch
from gittorrent.git.broken_files import broken_files
from gittorrent.git.refs import packed_refs
from gittorrent.git.runner import Git, GitError
from gittorrent.git.stale_locks import set_mark
from gittorrent.ids import RefName
from gittorrent.push.rule import Verdict
from gittorrent.reel.splicing import lasting_chain
from gittorrent.repository.carried import MIRROR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from gittorrent.ids import Oid, Refs
    from gittorrent.push.log import VerifiedLog
    from gittorrent.repository.carried import Carried
    from gittorrent.repository.reelstore import StoredReel

HIDDEN = b"refs/gittorrent/provisional/"
"""Refs that are not shown, and whose objects are given to whoever asks for them by id."""

REPLACED = b"refs/gittorrent/replaced/"
"""Such refs, for values that pushes replaced which no checkpoint has taken, as of amended commits:
whoever verifies the log needs them to see that the later push follows the earlier one."""

MAX_REPLACED = 1024
"""As many of these values at most, the latest ones."""

MAX_SINGLE = 16
"""Of these are looked at one by one, where not all of them have their past here."""

VERSION = 4
"""Changes when views of before have to be made anew."""

LOOSE_LIMIT = 1000
"""Objects of small reels beyond which they are packed: as many files cost each look-up a little."""

BITMAP_OBJECTS = 10_000
"""Objects from which on a bitmap is worth making: fewer are counted in 50 ms."""

_PACK_SUFFIXES = ("pack", "rev", "idx")
"""In the order to link them: git looks for an index, so the pack has to be there first."""


class ShownRefs(Struct, frozen=True):
    """What a view shows to those who ask for refs.

    Args:
        tips: ids that shown refs have, in binary, one after the other and sorted.
        id_size: bytes of each.
        tags: digest of the tags with their values.
    """

    tips: bytes
    id_size: int
    tags: str

    @classmethod
    def read(cls, packed: bytes) -> ShownRefs:
        """Take that from the text of ``packed-refs``."""
        lines = [line for line in packed.splitlines() if line[:1] not in (b"#", b"^")]
        shown = [line for line in lines if b" refs/gittorrent/" not in line]
        tags = hashlib.sha256(b"\n".join(line for line in shown if b" refs/tags/" in line))
        ids = sorted({bytes.fromhex(line.partition(b" ")[0].decode("ascii")) for line in shown})
        return cls(b"".join(ids), len(ids[0]) if ids else 0, tags.hexdigest())

    def has(self, wants: Iterable[str]) -> bool:
        """Tell whether shown refs have all of these ids."""
        return all(map(self._has, map(bytes.fromhex, wants)))

    def _has(self, wanted: bytes) -> bool:
        size = self.id_size
        count = len(self.tips) // size if size == len(wanted) else 0
        at = bisect_left(range(count), wanted, key=lambda n: self.tips[n * size : (n + 1) * size])
        return at < count and self.tips[at * size : (at + 1) * size] == wanted


class PublishedView:
    """What is published of one carried repository.

    Args:
        carried: the repository.
        directory: the view's own git directory; made when it is first refreshed.
        final_only: whether to show only what the newest checkpoint has taken. What is not final has
            hidden refs then: clones that verify the log ask for its objects by their ids.
    """

    def __init__(self, carried: Carried, directory: Path, *, final_only: bool = False) -> None:
        self._carried = carried
        self._final_only = final_only
        self.directory = directory
        self.is_whole = False
        self.state = ""
        self.git = Git(directory)
        self._replaced: list[Oid] = []
        self._is_looked_at = False

    @property
    def object_folder(self) -> Path:
        """The object directory that is served."""
        return self.git.objects or self.directory / "objects"

    @property
    def wants_packing(self) -> bool:
        """Tell whether packing and a bitmap would pay."""
        if self.git.objects is not None:
            return False  # the mirror's own housekeeping sees to it
        folder = self.directory / "objects" / "pack"
        indexes = list(folder.glob("*.idx"))
        size = sum(index.stat().st_size for index in indexes)
        bitmap = folder / "multi-pack-index"
        made = bitmap.stat().st_mtime_ns if bitmap.exists() else 0
        newer = any(index.lstat().st_mtime_ns > made for index in indexes)
        if newer and size // self._row > BITMAP_OBJECTS:
            return True
        return packs.count_loose(self.git)[0] > LOOSE_LIMIT

    @property
    def packing(self) -> tuple[str, ...]:
        """The git command that packs loose objects and makes a bitmap for all packs."""
        return ("repack", "-d", "-q", "--write-midx", "--write-bitmap-index")

    @property
    def _row(self) -> int:
        return self._carried.object_format.raw_size + 8

    def shown(self) -> ShownRefs:
        """Return what the view shows, as of now.

        Raises:
            OSError: the view is gone.
        """
        return ShownRefs.read((self.directory / "packed-refs").read_bytes())

    def refresh(self) -> None:
        """Make the view what the log shows.

        Raises:
            GitTorrentError: the log is damaged.
            OSError: the repository is gone, or there is no room for the view.
        """
        with locked(self.directory.with_suffix(".lock")):
            role = self._carried.info.role  # first: of what is gone it says so
            log = self._carried.log()
            reels = self._reels(log)
            state = self._state(log, reels)
            if role == MIRROR:
                self.git = Git(self.directory, objects=self._carried.layout.objects.absolute())
            done = self._recorded()
            is_others = done.get("repository", log.repository) != log.repository
            if is_others or broken_files(self.directory, packed=not self._is_looked_at):
                # Of another repository that was at the same place, or a power cut broke it.
                shutil.rmtree(self.directory)
                done = {}
            self._is_looked_at = True
            if done.get("state") != state:
                self._prepare()
                self._replaced = self._replaced_values(log)
                is_whole = self._take_objects(log, reels)
                self._show(log)
                # Last, since it says that all of this was done.
                done = {"is_whole": is_whole, "state": state, "repository": log.repository}
                write_atomically(self._stamp, json.dumps(done).encode("ascii"))
            self.is_whole = bool(done["is_whole"])
            self.state = hashlib.sha256(json.dumps([log.repository, state]).encode()).hexdigest()

    @property
    def _stamp(self) -> Path:
        return self.directory / "made-for.json"

    def _state(self, log: VerifiedLog, reels: Sequence[StoredReel]) -> list[object]:
        """Return everything that the view follows from."""
        info = self._carried.info
        ends = [reel.id for reel in reels]
        unjudged = {push.id for push in log.unjudged}
        shown = sorted({push.id for push in log.unfinal} - unjudged)
        policy = log.policy.policy.digest
        made_of = ends if info.role != MIRROR else []
        return [VERSION, info.role, self._final_only, log.head, policy, shown, made_of]

    def _recorded(self) -> dict[str, object]:
        try:
            found = json.loads(self._stamp.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _prepare(self) -> None:
        if not (self.directory / "HEAD").exists():
            scratch.make(self.directory, self._carried.object_format)
        set_mark(self.directory, is_ours=True)

    def _reels(self, log: VerifiedLog) -> list[StoredReel]:
        """Return the reels that a newcomer takes, in order; those that others cover go soon."""
        store = self._carried.reels
        chain = lasting_chain(store.offers(log.repository), log.ids)
        found = (store.get(offer.manifest) for offer in chain)
        return [reel for reel in found if reel is not None]

    def _take_objects(self, log: VerifiedLog, reels: Sequence[StoredReel]) -> bool:
        """Take in the objects of reels; tells whether they are all that the refs need."""
        if self._carried.info.role == MIRROR or log.head is None:
            return True
        store = self._carried.reels
        self._link([reel.pack for reel in reels if not store.is_small(reel.manifest)])
        small = [reel for reel in reels if store.is_small(reel.manifest)]
        if _works(lambda: self._unpack(small)):
            if _works(lambda: self._has_all(log, reels)):
                return True
            # Pushes that no reel has yet, as long as no checkpoint has taken them.
            if reels and _works(lambda: self._copy_newer(log, reels)):
                return True
        return _works(lambda: self._copy(log))

    def _has_all(self, log: VerifiedLog, reels: Sequence[StoredReel]) -> bool:
        """Tell whether the reels were all that the refs need.

        A manifest says what its reel is to lead to, which its objects need not: what the refs name
        is looked for. The rest of their past is taken on trust, being as old as the reels.
        """
        needed = self._needed(log)
        if not reels:
            return not needed
        if None in history.describe(self.git, sorted(needed)):
            return False
        known = set(log.refs_at(reels[-1].manifest.end).values())
        tips = sorted(needed - known)
        return not tips or history.is_connected(self.git, tips, sorted(known))

    def _copy_newer(self, log: VerifiedLog, reels: Sequence[StoredReel]) -> bool:
        """Take what the reels lack from the repository itself.

        Raises:
            GitError: it is not there, or the reels lack more than what is newer.
        """
        known = set(log.refs_at(reels[-1].manifest.end).values())
        folder = self.directory / "copying"
        shutil.rmtree(folder, ignore_errors=True)  # a crash left it
        (folder / "pack").mkdir(parents=True)
        tips = sorted(self._needed(log) - known)
        pack = packs.copy_objects(self._carried.git, tips, folder, without=sorted(known))
        if pack is not None and packs.count_objects(pack) > LOOSE_LIMIT:
            packs.adopt_pack(pack, self.directory / "objects" / "pack" / pack.name)
        elif pack is not None:
            packs.unpack_file(self.git, pack)
        shutil.rmtree(folder)
        return self._has_all(log, reels)

    def _copy(self, log: VerifiedLog) -> bool:
        """Pack what the refs need from the repository itself: dear, and only where reels lack.

        Raises:
            GitError: it is not there either.
        """
        tips = "".join(f"{oid}\n" for oid in sorted(self._needed(log)))
        folder = self.directory / "objects" / "pack"
        words = ("pack-objects", "--revs", "--quiet", "--delta-base-offset", str(folder / "pack"))
        made = self._carried.git.run(*words, stdin=tips.encode("ascii")).decode("ascii").strip()
        # It has all that is needed: what was made here before would gather.
        (self.directory / "unpacked").unlink(missing_ok=True)
        (folder / "multi-pack-index").unlink(missing_ok=True)
        for old in sorted(folder.glob("pack-*")):
            if old.stem != f"pack-{made}" and not old.is_symlink():
                old.unlink()
        return True

    def _link(self, wanted: Iterable[Path]) -> None:
        """Let the packs wanted appear here, and no others that lie elsewhere."""
        folder = self.directory / "objects" / "pack"
        sources = {pack.stem: pack.absolute() for pack in wanted}
        for link in sorted(folder.iterdir()):  # indexes before packs
            source = sources.get(link.stem)
            if link.is_symlink() and link.readlink() != (
                source and source.with_suffix(link.suffix)
            ):
                # An index of all packs that names a missing one would be in git's way.
                (folder / "multi-pack-index").unlink(missing_ok=True)
                link.unlink()
        for pack in sources.values():
            for suffix in _PACK_SUFFIXES:
                source, link = pack.with_suffix(f".{suffix}"), folder / f"{pack.stem}.{suffix}"
                if source.exists() and not link.is_symlink():
                    link.symlink_to(source)

    def _unpack(self, reels: Sequence[StoredReel]) -> bool:
        """Take in the objects of small reels.

        Raises:
            GitError: their bases are missing.
        """
        noted = self.directory / "unpacked"
        with suppress(FileNotFoundError):
            done = set(noted.read_text(encoding="ascii").split())
            reels = [reel for reel in reels if reel.id not in done]
        for reel in reels:
            packs.unpack_file(Git(self.directory), reel.pack)
            with noted.open("a", encoding="ascii") as file:
                file.write(f"{reel.id}\n")
        return True

    def _show(self, log: VerifiedLog) -> None:
        """Make refs and HEAD what the log says, each at once."""
        refs = self._refs(log)
        hidden = log.refs.items() - refs.items()
        refs = {
            **refs,
            **{RefName(HIDDEN + ref.removeprefix(b"refs/")): oid for ref, oid in hidden},
            **{RefName(REPLACED + oid.encode("ascii")): oid for oid in self._replaced},
        }
        write_atomically(self.directory / "packed-refs", packed_refs(self.git, refs))
        if log.head is not None:
            write_atomically(self.directory / "HEAD", b"ref: " + self._branch(log) + b"\n")

    def _refs(self, log: VerifiedLog) -> Refs:
        """Return the refs that are served."""
        return log.final_refs if self._final_only else log.refs

    def _needed(self, log: VerifiedLog) -> set[Oid]:
        """Return the values of refs that objects are needed for, shown or not."""
        return {*self._shown(log), *self._replaced}

    def _shown(self, log: VerifiedLog) -> set[Oid]:
        return {*self._refs(log).values(), *log.refs.values()}

    def _replaced_values(self, log: VerifiedLog) -> list[Oid]:
        """Return what pushes set refs to that no checkpoint has taken, and later ones replaced.

        Without what the refs lead to anyway, and what is not here any more.
        """
        if not log.unfinal:
            return []
        judged = [i for i in log.ledger.view().judged if i.outcome.verdict is Verdict.APPLIED]
        lines = [line for item in judged for line in item.unit.lines]
        shown = self._shown(log)
        values = dict.fromkeys(line.new for line in lines if line.new not in shown)
        asked = [value for value in values if value is not None][-MAX_REPLACED:]
        git = self._carried.git
        found = [info for info in history.describe(git, asked) if info is not None]
        here = [info.oid for info in found]
        # Their past is that of the same branches, or of the default one; so not all refs are asked.
        near = sorted(self._values_of({self._branch(log), *(line.ref for line in lines)}, log))
        if here and not history.is_connected(git, here, near):
            here = [oid for oid in here[-MAX_SINGLE:] if history.is_connected(git, [oid], near)]
        if not here:
            return []
        apart = {commit.oid for commit in history.commits_between(git, near, here)}
        apart.update(info.oid for info in found if info.kind != "commit")
        return sorted(oid for oid in here if oid in apart)

    @staticmethod
    def _values_of(refs: Iterable[RefName], log: VerifiedLog) -> set[Oid]:
        """Return what refs are, as shown and as final."""
        listings = (log.ledger.view().listing, log.ledger.adopted.listing)
        found = (listing.value(ref) for listing in listings for ref in refs)
        return {oid for oid in found if oid is not None}

    def _branch(self, log: VerifiedLog) -> RefName:
        """Return the branch that HEAD names."""
        branch = log.final_default_branch if self._final_only else log.default_branch
        return branch or log.policy.policy.head


def _works(attempt: Callable[[], bool]) -> bool:
    """Tell whether an attempt succeeded; it fails where objects are missing.

    Raises:
        GitError: this machine let git down.
    """
    try:
        return attempt()
    except GitError as error:
        if error.is_own_trouble:
            raise
        return False
