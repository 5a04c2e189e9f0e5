"""Puts pushes into a repository's log, those that wait together in one step.

What becomes durable costs the disk about as much for several pushes as for one, and so does moving
refs. So whoever has the repository's lock takes along all pushes that came meanwhile: they are
judged one on top of the other, as if each had come alone, and become part of the log together.

Rules: nothing is visible before all of it was judged; the log file is replaced last, and then all
of them have happened; a refused one leaves the others as they would be without it. Must not know
sockets. Blocks; each push has a thread of its own, of which one works for all.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.git.alternates import borrowing
from gittorrent.git.runner import unwatched
from gittorrent.push.depot import admission
from gittorrent.push.depot.admission import PushRefusedError
from gittorrent.push.rule import Push
from gittorrent.repository.evidence import GitEvidence
from gittorrent.repository.uploads import install_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gittorrent.git.runner import Git
    from gittorrent.push.certificate import Certificate
    from gittorrent.push.depot.report import Report
    from gittorrent.push.log import VerifiedLog
    from gittorrent.repository.kept_log import KeptLog
    from gittorrent.repository.small_intake import Identified
    from gittorrent.repository.uploads import Upload
    from gittorrent.trust.keys import KeyRef

MAX_TOGETHER = 16
"""Pushes that become part of the log together: as many as are received at once."""


class Candidate(Struct, eq=False):
    """A push whose objects are here, and what became of it.

    Args:
        entry: the push with what records it.
        certificate: what it says.
        upload: its objects.
        report: for its pusher, once it is decided.
        error: why it failed, if it did.
    """

    entry: Identified
    certificate: Certificate
    upload: Upload
    report: Report | None = None
    error: Exception | None = None

    @property
    def is_decided(self) -> bool:
        """Whether it is known what became of it."""
        return self.report is not None or self.error is not None

    @property
    def size(self) -> int:
        """Bytes that count for its key's quota."""
        return len(self.entry.push.text) + self.upload.size


class _Judged(Struct, frozen=True):
    """A push that fits, and the report that tells its pusher."""

    candidate: Candidate
    report: Report


class _Spoiled(Exception):
    """A log was told of a push that is refused, so it is of no use any more."""


class Accepting:
    """Takes pushes into one repository.

    Args:
        kept: its log.
    """

    def __init__(self, kept: KeptLog) -> None:
        self._kept = kept
        self._guard = threading.Lock()
        self._turn = threading.Lock()
        self._waiting: list[Candidate] = []

    def take(self, candidate: Candidate) -> Report:
        """Judge a push on top of what is shown, and make it part of that unless it is refused.

        Raises:
            GitTorrentError: it is refused, or failed.
        """
        with self._guard:
            self._waiting.append(candidate)
        with self._turn:
            while not candidate.is_decided:
                with self._guard:
                    batch = self._waiting[:MAX_TOGETHER]
                    del self._waiting[: len(batch)]
                self._decide(batch)
        if candidate.error is not None:
            raise candidate.error
        assert candidate.report is not None
        return candidate.report

    def _decide(self, batch: Sequence[Candidate]) -> None:
        """Find out what becomes of each; its own caller's end would not be that of all others."""
        with unwatched():
            while open_ones := [each for each in batch if not each.is_decided]:
                try:
                    self._take_all(open_ones)
                except _Spoiled:
                    continue
                except Exception as error:
                    for each in open_ones:
                        each.error = each.error or error

    def _take_all(self, batch: Sequence[Candidate]) -> None:
        """Judge some pushes, and take those that are not refused.

        Raises:
            _Spoiled: one is, and that is noted; nothing else happened.
        """
        judged: list[_Judged] = []
        try:
            with self._kept.changing() as log:
                for each in batch:
                    if (found := self._judge(log, each, batch)) is not None:
                        judged.append(found)
                self._put_in(log, judged)
        except BaseException:
            counted = {each.candidate.entry.id for each in judged}
            self._kept.quota.keep(lambda push: push not in counted)
            raise
        for done in judged:
            done.candidate.report = done.report

    def _put_in(self, log: VerifiedLog, judged: Sequence[_Judged]) -> None:
        """Make what was judged part of the repository."""
        if not judged:
            self._kept.keep(log)
            return
        store = self._kept.carried.log_store
        pushes = {each.candidate.entry.id: each.candidate.entry.push for each in judged}
        uploads = [each.candidate.upload for each in judged]
        install_all(uploads, lambda files: store.add_pushes(files, pushes))
        # The last step: whatever failed before, the log is read again.
        self._kept.commit(log)

    def _judge(
        self, log: VerifiedLog, candidate: Candidate, batch: Sequence[Candidate]
    ) -> _Judged | None:
        """Judge a push on top of what is shown now; None if it is decided that it is refused.

        Raises:
            _Spoiled: the same, and the log has to be read again.
        """
        entry, certificate = candidate.entry, candidate.certificate
        assert entry.push.signer is not None
        try:
            self._check(log, candidate, entry.push.signer)
        except PushRefusedError as error:
            candidate.error = error
            return None
        before = log.ledger.view()
        try:
            with self._kept.facts.looking_in(GitEvidence(_beside(candidate, batch), is_whole=True)):
                log.admit(entry.push, entry.id)
                log.settle()
                after = log.ledger.view()
        except Exception as error:
            candidate.error = error
            raise _Spoiled from error
        made = Push(entry.id, entry.push.signer, certificate)
        if refused := admission.find_refusals(made, before, after):
            candidate.report = admission.report_refusals(certificate, refused)
            raise _Spoiled
        self._kept.quota.add(entry.push.signer, entry.id, candidate.size)
        return _Judged(candidate, admission.report_accepted(made, after))

    def _check(self, log: VerifiedLog, candidate: Candidate, signer: KeyRef) -> None:
        """Refuse what cannot be taken whatever the log shows.

        Raises:
            PushRefusedError: it is one of these.
        """
        if candidate.entry.id in log:
            raise PushRefusedError(f"this push was taken before: {candidate.entry.id}")
        nonce, now = candidate.certificate.nonce, log.ledger.nonce()
        admission.check_key(log.policy.policy, signer, log.policy.policy.name)
        admission.check_nonce(nonce, now, is_known=nonce.checkpoint in log)
        admission.check_quota(log.unfinal, signer)
        if over := self._kept.quota.refusal(signer, candidate.size):
            raise PushRefusedError(over)


def _beside(candidate: Candidate, batch: Sequence[Candidate]) -> Git:
    """Return the repository of a push's objects, with those of the others to be looked at."""
    git = candidate.upload.staging
    others = [each.upload.staging.directory for each in batch if each is not candidate]
    if not others:
        return git
    return borrowing(git, [directory / "objects" for directory in others])
