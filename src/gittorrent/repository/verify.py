"""Checks everything a carried repository holds, from signatures to digests to objects.

Nothing recorded is taken on trust: the log is replayed from its first policy, as far as the objects
are here that its verdicts depend on; every manifest's signature and every part's digest are
checked, git checks objects with collision-detecting hashes, and what the refs need is walked.
"""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.durable import locked
from gittorrent.errors import GitTorrentError
from gittorrent.git import history
from gittorrent.git.broken_files import broken_files
from gittorrent.git.refs import head_target, read_ref, read_refs
from gittorrent.push.log import changes_between
from gittorrent.push.reel_signers import reel_signer
from gittorrent.repository.carried import MIRROR, ORIGIN
from gittorrent.repository.damaged_reels import AROUND, note_damaged
from gittorrent.repository.index_maker import made_again, require_same
from gittorrent.repository.layout import LOG_REF
from gittorrent.repository.reel_repair import is_right_around
from gittorrent.repository.unpublished import unpublished_refs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gittorrent.git.broken_files import BrokenFile
    from gittorrent.push.log import VerifiedLog
    from gittorrent.repository.carried import Carried
    from gittorrent.repository.reelstore import StoredReel
    from gittorrent.repository.unpublished import Unpublished

MAX_SHOWN = 3
"""Findings of one kind that are shown; of the others there may be one for each ref or object."""

_IDS = re.compile(r"[0-9a-f]{40,64}|refs/\S+|(?<=/)[0-9a-f]{2}/[0-9a-f]{38,62}")
"""What tells lines of fsck apart that say the same."""

_CONTENT = re.compile(r"error in (?:blob|tree|commit|tag) [0-9a-f]{40,64}: ")
"""How fsck speaks of objects whose content git would not make today; they are whole."""


class Finding(Struct, frozen=True):
    """Something that does not hold.

    Args:
        subject: what was checked, such as ``log`` or ``reel <id>``.
        problem: what is wrong with it.
    """

    subject: str
    problem: str


class Verification(Struct, frozen=True):
    """What verifying came to.

    Args:
        entries: log entries checked.
        followed: checkpoints among them that were believed by their signature, since objects that
            their verdicts depend on are not here; which is no fault.
        reels: reels checked.
        parts: parts whose digests were checked.
        refs: refs checked.
        findings: what does not hold; empty when all is well.
        unpublished: refs of the owner's that are not what was published, which is no fault.
    """

    entries: int
    followed: int
    reels: int
    parts: int
    refs: int
    findings: tuple[Finding, ...]
    unpublished: tuple[Unpublished, ...] = ()


class Verifier:
    """Verifies one carried repository.

    Args:
        carried: the repository.
        progress: told (phase, done, total).
    """

    def __init__(
        self,
        carried: Carried,
        progress: Callable[[str, int, int], None] = lambda _phase, _done, _total: None,
    ) -> None:
        self._carried = carried
        self._progress = progress
        self._findings: list[Finding] = []
        self._parts = 0
        self._broken: list[BrokenFile] = []

    def run(self) -> Verification:
        """Check everything; never stops at the first finding."""
        carried = self._carried
        self._broken = broken_files(carried.layout.git_dir)
        log = self._check_log()
        indexes = carried.indexes.all()
        reels = [*self._reels(), *carried.shapes.all(), *indexes]
        if log is not None:
            for number, reel in enumerate(reels):
                self._progress("reels", number, len(reels))
                self._check_reel(log, reel)
            self._check_indexes(indexes)
            self._progress("objects", 0, 1)
        for broken in self._broken:
            self._find("refs" if broken.is_of_refs else "settings", broken)
        if not self._broken:  # with which git tells nothing
            if log is not None:
                self._check_refs(log)
            self._check_objects()
        self._progress("objects", 1, 1)
        return Verification(
            entries=0 if log is None else len(log.entries),
            followed=0 if log is None else len(log.followed),
            reels=len(reels),
            parts=self._parts,
            refs=0 if log is None else len(log.refs),
            findings=tuple(self._findings),
            unpublished=() if log is None or self._broken else tuple(unpublished_refs(carried)),
        )

    def _find(self, subject: str, problem: object) -> None:
        self._findings.append(Finding(subject, str(problem)))

    def _find_all(self, subject: str, found: Sequence[str], problem: str = "") -> None:
        """Note findings of one kind as one: a lost pack leaves nothing right that needs it."""
        if not found:
            return
        first = ", ".join(found[:MAX_SHOWN])
        more = f" and {len(found) - MAX_SHOWN} more" if len(found) > MAX_SHOWN else ""
        self._find(subject, f"{first}{more}: {problem}" if problem else f"{first}{more}")

    def _check_log(self) -> VerifiedLog | None:
        carried = self._carried
        self._progress("log", 0, 1)
        try:
            log = carried.log_store.replay()
            if log.head is None:
                self._find("log", "it is empty")
                return None
            self._check_head(log)
            if log.repository != carried.info.repository_id:
                self._find("log", f"it belongs to repository {log.repository}")
        except GitTorrentError as error:
            self._find("log", error)
            return None
        found = read_ref(carried.git, LOG_REF)
        if carried.info.role in (ORIGIN, MIRROR) and found is not None and str(found) != log.head:
            self._find(LOG_REF, f"it is at {found}, the log's head is {log.head}")
        return log

    def _check_head(self, log: VerifiedLog) -> None:
        """Compare what the log comes to with what was recorded, and name what stops it."""
        recorded = self._carried.log_store.head()
        if recorded != log.head:
            self._find("log", f"it comes to {log.head}, and its recorded head is {recorded}")
        for checkpoint, why in log.ledger.refuted.items():
            self._find(f"checkpoint {checkpoint}", why)
        if log.ledger.stopped:
            self._find("log", log.ledger.stopped)

    def _reels(self) -> list[StoredReel]:
        try:
            return self._carried.reels.all()
        except GitTorrentError as error:
            self._find("reels", error)
            return []

    def _check_reel(self, log: VerifiedLog, reel: StoredReel) -> None:
        subject = f"reel {reel.id}"
        manifest = reel.manifest
        if manifest.repository != log.repository or manifest.end not in log:
            self._find(subject, "it belongs to another log")
            return
        try:
            reel_signer(log, manifest.end, manifest.text(), reel.signature)
        except GitTorrentError as error:
            self._find(subject, error)
        if not reel.is_available:
            self._find(subject, f"its pack {reel.pack} is missing")
            return
        self._check_parts(subject, reel)

    def _check_indexes(self, indexes: Sequence[StoredReel]) -> None:
        """Make each index that is served once more: its parts only tell that it is what was signed.

        What is signed and is not the pack's index is the signer's lie, or its damaged disk.
        """
        if not indexes:
            return
        with locked(self._carried.layout.building_lock):
            for index in indexes:
                of = index.manifest.shape.manifest
                reel = None if of is None else self._carried.reels.get(of)
                if reel is None:
                    continue
                try:
                    with made_again(self._carried, reel) as again:
                        require_same(reel, again)
                except GitTorrentError as error:
                    self._find(f"index {index.id}", error)

    def _check_parts(self, subject: str, reel: StoredReel) -> None:
        total = len(reel.manifest.parts)
        damaged = list(reel.damaged_parts())
        for index in damaged:
            self._find(subject, f"part {index + 1} of {total} is damaged")
        self._parts += total
        if not damaged and not is_right_around(reel):
            damaged = [AROUND]
            self._find(
                subject, f"what lies around the parts of {reel.pack}, or its index, is damaged"
            )
        if damaged:
            # So a node gives it to nobody, and puts it right. Who may only read is told anyway.
            with contextlib.suppress(OSError):
                now = int(time.time())
                note_damaged(self._carried.layout, reel.id, damaged[0], reel.pack, now)

    def _check_refs(self, log: VerifiedLog) -> None:
        carried = self._carried
        tips = sorted(set(log.refs.values()))
        if not history.is_connected(carried.git, tips):
            self._find("refs", "objects that the log's refs need are missing")
        if carried.info.role == MIRROR:
            found = read_refs(carried.git)
            own = {n: oid for n, oid in found.items() if not n.startswith(b"refs/gittorrent/")}
            changed = changes_between(own, log.refs)
            names = [name.decode(errors="backslashreplace") for name, _old, _new in changed]
            self._find_all("refs", names, "not what the log says")
            head = log.default_branch or log.policy.policy.head
            if head_target(carried.git) != head:
                shown = head.decode(errors="backslashreplace")
                self._find("refs", f"HEAD does not name {shown}, as the log says")
                names.append("HEAD")
            if names:
                with contextlib.suppress(OSError):  # as above
                    carried.doubt_refs()

    def _check_objects(self) -> None:
        carried = self._carried
        done = carried.git.attempt(
            "fsck", "--full", "--no-dangling", "--no-progress", "--no-reflogs"
        )
        # fsck's status is a set of flags; 1 alone means faulty content, which some old
        # histories have, and which is theirs to keep.
        said = done.stderr.decode(errors="backslashreplace").splitlines()
        said += done.stdout.decode(errors="backslashreplace").splitlines()
        faults: dict[str, list[str]] = {}
        for line in said:
            is_fault = line.startswith(("error: ", "fatal: ", "missing ", "broken link"))
            is_of_head = carried.info.role == MIRROR and "HEAD" in line  # which was looked at
            if is_fault and not is_of_head and not _is_about_content(line):
                faults.setdefault(_kind_of(line), []).append(line)
        for lines in faults.values():
            self._find_all("objects", lines)


def _kind_of(line: str) -> str:
    """Return what a line of fsck says, without what it says it of."""
    return _IDS.sub("...", line)


def _is_about_content(line: str) -> bool:
    """Tell whether fsck complains about what a well-stored object says."""
    return _CONTENT.match(line) is not None
