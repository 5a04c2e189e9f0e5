"""A repository this node carries: its log, its reels, and the git repository they speak of.

Opening it repairs what a crash left half-done: the list of log entries is the truth, the log ref
and (on mirrors) the refs follow it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import asdict, replace

from gittorrent.durable import SWEEP_SECONDS, boot_id, locked, write_atomically
from gittorrent.errors import LocalError, UsageError
from gittorrent.git import refs as git_refs
from gittorrent.git.broken_files import broken_files
from gittorrent.git.history import describe
from gittorrent.git.repository import find_repository, read_config, set_config
from gittorrent.git.runner import Git, GitError
from gittorrent.git.stale_locks import set_mark
from gittorrent.git.work_trees import detach
from gittorrent.ids import OBJECT_FORMATS, SHA1, Oid, PushId, RefName, RepositoryId
from gittorrent.push.log import changes_between
from gittorrent.repository.indexstore import IndexStore
from gittorrent.repository.kept_refs import KeptRefs
from gittorrent.repository.layout import LOG_REF, Layout
from gittorrent.repository.logstore import LogStore, identify, listed_pushes
from gittorrent.repository.mending import mend_ref_files
from gittorrent.repository.reelstore import ReelStore
from gittorrent.repository.shapestore import ShapeStore
from gittorrent.repository.shared import follow_shared_repository
from gittorrent.repository.stale_files import clear_staging, sweep_old_files
from gittorrent.store.copied_home import KEEPER_KEY
from gittorrent.store.home import named_home
from gittorrent.store.signing_time import SigningTime
from gittorrent.trust.errors import PolicyError
from gittorrent.trust.policy import check_name
from gittorrent.trust.refpattern import is_reserved

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gittorrent.ids import ObjectFormat, Refs
    from gittorrent.push.log import VerifiedLog
    from gittorrent.repository.evidence import GitEvidence

ORIGIN = "origin"
"""Role of a repository whose refs belong to its owner, who publishes them."""

MIRROR = "mirror"
"""Role of a repository whose refs follow the log."""

CLONE = "clone"
"""Role of a user's clone: its refs are its user's, its reels can be served to others."""

CACHE = "cache"
"""Role of what a node keeps for a while for the clones of its machine: reels, and no refs."""

PUBLISHED = ("refs/heads/*", "refs/tags/*")
"""Patterns of refs that are always published."""


SIGNING_KEY = "gittorrent.signingKey"
"""Git setting of the key that a repository is published with."""


Moves = Sequence[tuple[RefName, Oid | None, Oid | None]]
"""(name, old value, new value) of refs."""

LOG_REF_NAME = RefName(LOG_REF.encode("ascii"))


class NotCarriedError(UsageError):
    """The repository was never published or mirrored here."""


class RepositoryInfo(Struct, frozen=True):
    """What a repository is to the node.

    Args:
        repository_id: its id.
        name: it is served at ``/<name>.git``.
        role: `ORIGIN`, `MIRROR`, `CLONE` or `CACHE`.
        patterns: patterns of the refs that are published.
        source: for mirrors, the URL they were made from.
        former_names: it is served under these too, where nothing else has them for its name.
    """

    repository_id: RepositoryId
    name: str
    role: str
    patterns: tuple[str, ...] = PUBLISHED
    source: str = ""
    former_names: tuple[str, ...] = ()

    def renamed(self, name: str, *former: str) -> RepositoryInfo:
        """Return the same with another name, or only with further names that it had."""
        names = dict.fromkeys([*self.former_names, *former, self.name])
        return replace(self, name=name, former_names=tuple(n for n in names if n != name))


class Carried:
    """A carried repository, open.

    Args:
        git_dir: its git directory.
        object_format: of the repository.
        repository: whose log is meant, where that is known before it is carried, or a clone keeps
            several; what it is to the node says so by default.
    """

    def __init__(
        self, git_dir: Path, object_format: ObjectFormat, repository: RepositoryId | None = None
    ) -> None:
        self.layout = Layout(git_dir)
        self.object_format = object_format
        self.git = Git(git_dir)
        self.reels = ReelStore(self.layout)
        self.shapes = ShapeStore(self.layout)
        self.indexes = IndexStore(self.layout, self.reels)
        self._repository = repository
        self._peeked: tuple[bytes, VerifiedLog, GitEvidence] | None = None
        self._sound: tuple[int, int, int] | None = None
        self._shared_by: tuple[int, int, int] | None = None
        self._swept: float | None = None
        self._looked_at: tuple[int, int, int] | None = None
        self._store: LogStore | None = None

    @property
    def log_store(self) -> LogStore:
        """Its log on disk; one that is empty for good while nothing says whose."""
        if self._repository is None and self.is_carried:
            self._repository = self.info.repository_id
        if self._store is None or self._store.repository != self._repository:
            self._store = LogStore(self.layout, self.object_format, self._repository)
        return self._store

    @property
    def kept_refs(self) -> KeptRefs:
        """What is kept of refs that the log suddenly took away from a mirror."""
        believed = SigningTime(named_home().clock)  # a clock that leapt ahead lets nothing go
        return KeptRefs(self.git, self.layout, self.object_format, believed.now)

    @property
    def info(self) -> RepositoryInfo:
        """What it is to the node.

        Raises:
            NotCarriedError: nothing says so.
        """
        try:
            read = json.loads(self.layout.info.read_text(encoding="utf-8"))
            values = {key: read[key] for key in RepositoryInfo.__struct_fields__ if key in read}
            values["patterns"] = tuple(values["patterns"])
            values["former_names"] = tuple(values.get("former_names", ()))
            return RepositoryInfo(**values)
        except FileNotFoundError:
            raise NotCarriedError(
                f"{self.layout.git_dir} is not published or mirrored here",
                hint=self._way_to_carry(),
            ) from None
        except (ValueError, TypeError, KeyError) as error:
            raise LocalError(
                f"{self.layout.info} is damaged: {error}",
                hint="'gittorrent status' says how to go on with what a mirror has",
            ) from error

    def _way_to_carry(self) -> str:
        """Return what to do with a repository that the node does not carry."""
        if next(self.layout.logs.glob("*/log"), None) is not None:
            return (
                "it is a clone, and what 'git fetch' takes into it is verified as it comes;"
                " 'gittorrent status' shows what is published or mirrored"
            )
        return "run 'gittorrent publish' on it first, or name one from 'gittorrent status'"

    @property
    def is_carried(self) -> bool:
        """Tell whether it is recorded what it is to the node: published, mirrored, or seeded."""
        return self.layout.info.exists()

    @property
    def is_published_or_mirrored(self) -> bool:
        """Tell whether it is more to the node than a clone that seeds."""
        return self.is_carried and self.info.role in (ORIGIN, MIRROR)

    def set_info(self, info: RepositoryInfo) -> None:
        """Record what it is to the node."""
        self._repository = info.repository_id
        values = asdict(info)
        if not info.former_names:
            del values["former_names"]  # versions that do not know it refuse the whole file
        # People use an origin and a clone with git, and what they do there nobody knows.
        set_mark(self.layout.git_dir, is_ours=info.role in (MIRROR, CACHE))
        write_atomically(self.layout.info, json.dumps(values, indent=1).encode("utf-8"))

    def log(self) -> VerifiedLog:
        """Return its log."""
        return self.log_store.open()

    def peek(self) -> VerifiedLog:
        """Return its log for looking at, which is read once as long as it does not change."""
        listed = self._listed()
        if self._peeked is None or self._peeked[0] != listed:
            evidence = self.log_store.evidence()
            self._peeked = (listed, self.log_store.open(evidence), evidence)
        return self._peeked[1]

    def take_log(self) -> tuple[VerifiedLog, GitEvidence]:
        """Return its log to be changed, and what it judges pushes by; the lock is held."""
        peeked, self._peeked = self._peeked, None
        # What could not be judged a moment ago may be by now.
        if peeked is not None and peeked[0] == self._listed() and not peeked[1].unjudged:
            return peeked[1], peeked[2]
        evidence = self.log_store.evidence()
        return self.log_store.open(evidence), evidence

    def _listed(self) -> bytes:
        """Return the file that lists the log's entries: it changes whenever the log does."""
        try:
            return self.log_store.path.read_bytes()
        except (FileNotFoundError, IsADirectoryError):
            return b""

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the repository's lock; clears what a crashed writer left behind."""
        self._follow_shared()
        with locked(self.layout.lock):
            clear_staging(self.layout)
            self._sweep()
            if self.is_published_or_mirrored:
                if self.info.role == MIRROR:
                    set_mark(self.layout.git_dir, is_ours=True)
                self._repair(is_mended=self.info.role == MIRROR and self._mend())
            yield

    def _sweep(self) -> None:
        """Remove old files once in a while: what is left of a writer has to be a day old."""
        now = time.monotonic()
        if self._swept is None or now - self._swept >= SWEEP_SECONDS:
            sweep_old_files(self.layout, listed_pushes(self.layout))
            self._swept = now

    def _follow_shared(self) -> None:
        """Let the files here be as open as git's, asked anew when the configuration has changed."""
        try:
            settings = _identity(self.layout.git_dir / "config")
        except FileNotFoundError:
            settings = None
        if settings is None or settings != self._shared_by:
            follow_shared_repository(self.layout)
            self._shared_by = settings

    def _mend(self) -> bool:
        """Put aside what a power cut broke of a mirror's small files; tells whether it did.

        Files that were found right are looked at again when they change.
        """
        packed = self.layout.git_dir / "packed-refs"
        present = _identity(packed) if packed.exists() else None
        is_mended = mend_ref_files(
            self.layout,
            packed=present is not None and present != self._looked_at,
            single=not self._is_sound(self.log_store),
        )
        self._looked_at = None if is_mended else present
        if is_mended:
            self._sound = None
            self._followed.unlink(missing_ok=True)
        return is_mended

    def mend_published(self) -> None:
        """Write refs that a power cut broke as they were published, where nobody pushes to them.

        For what is published from a plain git server: it says what the refs are to be, and what it
        lost suddenly is nowhere but in refs and log.
        """
        with locked(self.layout.lock):
            if not mend_ref_files(self.layout, packed=True, single=True):
                return
            log = self.log()
            prefixes = [os.fsencode(each.removesuffix("/*")) for each in self.info.patterns]
            names = tuple(prefix + b"/" for prefix in prefixes)
            shown = {
                name: oid
                for name, oid in log.refs.items()
                if name in prefixes or name.startswith(names)
            }
            self._bring_back(shown)
            git_refs.set_head(self.git, log.default_branch or log.policy.policy.head)

    def _repair(self, *, is_mended: bool) -> None:
        """Let refs and commits follow the log, where a crash or power cut kept them from it."""
        store = self.log_store
        if self._is_sound(store):
            return
        head = store.head()
        if head is None:
            return
        has_followed = self._has_followed()
        if has_followed and self._is_of_this_boot():
            found = git_refs.read_loose_ref(self.git, LOG_REF)
            found = found or git_refs.read_ref(self.git, LOG_REF)
            if found is None and store.begins_late:
                return
            # Git does not sync loose objects, so a power cut may have taken the entries' commits.
            if str(found) == head and describe(self.git, [Oid(head)]) != [None]:
                self._sound = _identity(store.path)
                return
        # On a mirror the log says what each ref is; an origin's own are the user's to look at.
        git_refs.drop_broken_refs(self.git, *([] if self.info.role == MIRROR else [LOG_REF]))
        if not has_followed or describe(self.git, [Oid(head)]) == [None]:
            self._write_commits(store.entries())
        log = self.log()
        if is_mended:
            self._bring_back(log.refs)
        self.follow_log(log)

    def _bring_back(self, refs: Refs) -> None:
        """Write refs of a mirror that went with a broken file, as far as their objects are here.

        They are no news, and not counted as such among what comes and goes.
        """
        present = git_refs.read_refs(self.git)
        gone = [(name, oid) for name, oid in refs.items() if name not in present]
        found = zip(gone, describe(self.git, [oid for _, oid in gone]) if gone else (), strict=True)
        here = {name: oid for (name, oid), info in found if info is not None}
        if present or not git_refs.write_first_refs(self.git, here):
            made = [(name, None, oid) for name, oid in here.items()]
            git_refs.apply_changes(self.git, made, self.object_format)
            self.git.run("pack-refs", "--all")
        self.kept_refs.make_again()

    def _is_sound(self, store: LogStore) -> bool:
        """Tell whether the log is what this process left it as, with all that follows from it."""
        is_same = self._sound is not None and self._sound == _identity(store.path)
        return is_same and self._followed.exists()

    def doubt_refs(self) -> None:
        """Let whoever writes next compare all refs with the log: they are not what it says."""
        self._followed.unlink(missing_ok=True)

    def store_entries(self, log: VerifiedLog) -> None:
        """Write the commits of entries that came from elsewhere into the repository.

        Those that no commit refers to yet are written again: git may have removed them.
        """
        chain = [record for record in self.log_store.records() if record.is_in_chain]
        known = {push for record in chain for push in (record.id, *record.pushes)}
        self._write_commits(push for push in log.entries if push not in known)

    def _write_commits(self, entries: Iterable[PushId]) -> None:
        pushes = [self.log_store.push(push) for push in entries]
        identify(self.git, pushes, self.object_format, write=True)

    def commit(self, log: VerifiedLog, moves: Moves | None = None) -> None:
        """Make ``log`` this repository's log and let the refs follow.

        Args:
            log: the log.
            moves: of the refs that it shows those that are not as before, and HEAD is; None to
                compare all of them with what is here. An origin's own stay as they are.
        """
        self.log_store.commit(log)
        self.follow_log(log, moves)

    def follow_log(self, log: VerifiedLog, moves: Moves | None = None) -> bool:
        """Make the log ref, and on mirrors all refs and HEAD, what ``log`` shows.

        A mirror's refs to what is not here stay what they are, and keep nothing else up: they
        follow when the objects have come.

        Args:
            log: the log.
            moves: as for `commit`; of an origin's refs those that may be moved.

        Returns:
            Whether these were moved, and nothing else was looked at.
        """
        assert log.head is not None
        known = git_refs.read_loose_ref(self.git, LOG_REF)
        if known is not None and PushId(known) in log and self._has_moved(moves, known, log):
            self._note_followed()
            return True
        is_whole = True
        if self.info.role == MIRROR:
            is_whole = self._follow_refs(log.refs)
            git_refs.set_head(self.git, log.default_branch or log.policy.policy.head)
        known = git_refs.read_ref(self.git, LOG_REF)
        if str(known) != log.head and self._has_history(log.head, known):
            self.git.run("update-ref", LOG_REF, log.head)
        if is_whole:
            self._note_followed()
        else:
            self._sound = None
            self._followed.unlink(missing_ok=True)  # so that whoever comes next looks again
        return False

    def _follow_refs(self, refs: Refs) -> bool:
        """Make a mirror's refs these, as far as what they lead to is here.

        Returns:
            Whether all of it is.
        """
        present = git_refs.read_refs(self.git)
        own = {n: o for n, o in present.items() if not n.startswith(b"refs/gittorrent/")}
        changes = changes_between(own, refs)
        new = sorted({value for _, _, value in changes if value is not None})
        found = zip(new, describe(self.git, new) if new else (), strict=True)
        lacking = {oid for oid, info in found if info is None}
        possible = {name: oid for name, oid in refs.items() if oid not in lacking}
        if present or not git_refs.write_first_refs(self.git, possible):
            changes = [change for change in changes if change[2] not in lacking]
            self.kept_refs.before(changes, lambda: len(own))
            detach(self.layout.git_dir, changes)
            git_refs.apply_changes(self.git, changes, self.object_format)
            self.git.run("pack-refs", "--all")
            self.kept_refs.settle(refs)
        return not lacking

    def _note_followed(self) -> None:
        """Note that everything follows the log; last, so that it tells whether that was done.

        Whether the note survives a power cut does not matter: git syncs no refs, so after one it
        is looked again in any case.
        """
        note = self._log_digest() + f"{boot_id()}\n".encode("ascii")
        write_atomically(self._followed, note, sync=False)
        self._sound = _identity(self.log_store.path)

    def _has_moved(self, moves: Moves | None, known: Oid, log: VerifiedLog) -> bool:
        """Move some refs; false where they are to be compared, or are not what they should be."""
        if moves is None or log.head is None or not self._followed.exists():
            return False
        wanted = list(moves)
        if known != Oid(log.head):
            wanted.append((LOG_REF_NAME, known, Oid(log.head)))
        if self.info.role == MIRROR:
            more = sum((new is None) - (old is None) for _, old, new in wanted)
            self.kept_refs.before(wanted, lambda: len(log.refs) + more)
            detach(self.layout.git_dir, wanted)
        try:
            git_refs.apply_changes(self.git, wanted, self.object_format)
        except GitError as error:
            if error.is_own_trouble:
                raise
            return False
        return True

    def _has_history(self, head: PushId, known: Oid | None) -> bool:
        """Tell whether the commits of the whole log are here: in one that began late they are not.

        A ref to a commit without its past would be a broken repository to git.
        """
        words = ["rev-list", "--quiet", head, *([] if known is None else [f"^{known}"])]
        done = self.git.attempt(*words)
        error = GitError(words, done.returncode, done.stderr, str(self.layout.git_dir))
        if done.returncode and error.is_own_trouble:
            raise error
        return done.returncode == 0

    def _has_followed(self) -> bool:
        """Tell whether the refs are what the log came to when they were last written."""
        try:
            return self._followed.read_bytes().startswith(self._log_digest())
        except FileNotFoundError:
            return False

    def _is_of_this_boot(self) -> bool:
        """Tell whether they were written since this machine started, so that they are there."""
        _, _, boot = self._followed.read_bytes().partition(b"\n")
        return boot == f"{boot_id()}\n".encode("ascii")

    @property
    def _followed(self) -> Path:
        return self.layout.followed(self.info.repository_id)

    def _log_digest(self) -> bytes:
        return hashlib.sha256(self.log_store.path.read_bytes()).hexdigest().encode("ascii") + b"\n"

    def published_refs(self) -> Refs:
        """Return the repository's refs that the recorded patterns select."""
        prefixes = [pattern.removesuffix("/*") for pattern in self.info.patterns]
        found = git_refs.read_refs(self.git, *prefixes)
        return {name: oid for name, oid in found.items() if not is_reserved(name)}

    def published_listing(self) -> bytes:
        """Return the same refs as git lists them, without taking them apart."""
        prefixes = [pattern.removesuffix("/*") for pattern in self.info.patterns]
        return git_refs.list_refs(self.git, *prefixes)

    def prepare_settings(self, key: str | None = None) -> None:
        """Set what keeps reel packs whole; the owner's other settings are left alone.

        Args:
            key: what names the key that it is published with (`Signer.spec`), to be remembered.
        """
        values = {"repack.packKeptObjects": "false", "repack.writeBitmaps": "false"}
        set_config(self.git, values if key is None else {**values, SIGNING_KEY: key})

    @property
    def signing_key(self) -> str | None:
        """What names the key it is published with (`Signer.spec`); None where that is not known."""
        return read_config(self.layout.git_dir).get(SIGNING_KEY.lower())

    def remember_key(self, spec: str) -> None:
        """Record which key it is published with."""
        set_config(self.git, {SIGNING_KEY: spec})

    @property
    def keeper_key(self) -> str | None:
        """What names the keeper's key (`Signer.spec`) where it is here; None if nothing does."""
        return read_config(self.layout.git_dir).get(KEEPER_KEY.lower())

    def remember_keeper(self, spec: str) -> None:
        """Record which key signs checkpoints, if the policy names it its keeper."""
        set_config(self.git, {KEEPER_KEY: spec})

    def reel_ends(self) -> set[PushId]:
        """Return the pushes that available reels complete."""
        return {reel.manifest.end for reel in self.reels.all() if reel.is_available}


def open_carried(path: Path) -> Carried:
    """Open the repository at ``path`` (a git directory or a work tree).

    Raises:
        NotARepositoryError: there is none.
        NotCarriedError: it was never published or mirrored here.
    """
    found = find_repository(path)
    carried = Carried(found.git_dir, found.object_format)
    _ = carried.info
    return carried


def require_name(name: str) -> str:
    """Return ``name`` if a repository may have it.

    Raises:
        UsageError: it may not; names become directories and parts of URLs.
    """
    try:
        check_name(name)
    except PolicyError as error:
        raise UsageError(str(error), hint=f"choose one with --name: {error.hint}") from error
    return name


def object_format_of(git_dir: Path) -> ObjectFormat:
    """Return the object format of a git directory by its own configuration.

    Git need not be asked where the file says nothing of it, as most do: a node opens thousands.
    """
    config = git_dir / "config"
    if _says_nothing(config):
        return SHA1
    if any(broken.is_of_refs for broken in broken_files(git_dir, packed=False)):
        # Git takes it for no repository, and reads none of its settings.
        words = ("config", "--file", str(config), "--includes", "--default=sha1")
        said = Git(Path("/")).run(*words, "--get", "extensions.objectformat")
        return OBJECT_FORMATS[said.decode("ascii", "replace").strip()]
    name = read_config(git_dir, isolated=True).get("extensions.objectformat", "sha1")
    return OBJECT_FORMATS[name]


def _says_nothing(config: Path) -> bool:
    """Tell whether a configuration names no object format, and reads no other file."""
    try:
        text = config.read_text(encoding="utf-8").lower()
    except (OSError, ValueError):
        return False  # git finds the words
    return not any(word in text for word in ("objectformat", "include", "\\\n"))


def _identity(path: Path) -> tuple[int, int, int]:
    """Return what tells whether a file was replaced."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size
