"""Webs of trust, judged by gpg in a home of its own.

Tracks answers that it gave. Each judgement is made in a new directory that holds the certificates
concerned and nothing of the user's: no options, no agent, no network. gpg is given the time to
judge at, and what it lists is read (`gittorrent.trust.vouching`); its exit code is not an answer.

Rules: certificates are strangers' bytes: bounded before gpg sees them, and so is its time. What
cannot be found out, for want of gpg, is unknown, which is neither yes nor no. Between two dates
that the certificates mention, of creation or expiry, the answer is the same, and is kept.

Source: gpg(1); docs/protocol/trust.md, Web of trust;
docs/decisions/0038-gpg-judges-and-certifications-are-counted.md.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from typing import TYPE_CHECKING

from gittorrent.durable import temporary_directory
from gittorrent.errors import LocalError
from gittorrent.push.rule import UnknownObjectError
from gittorrent.signing.gpg import GPG
from gittorrent.signing.programs import complaint, run
from gittorrent.trust.keys import KeyKind
from gittorrent.trust.openpgp import certificate_dates
from gittorrent.trust.vouching import is_vouched_for, read_listing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gittorrent.trust.keys import KeyRef
    from gittorrent.trust.policy import WebOfTrust

MAX_CERTIFICATES = 512
"""Certificates that one judgement takes in: those of a policy, and those that lead to the key."""

MAX_SECONDS = 60
"""For gpg to work a web of trust out in; it takes a tenth of a second for a dozen keys."""

MAX_ANSWERS = 10_000
"""Answers that are kept; one is about 200 bytes."""

_ULTIMATE, _FULL = 6, 5
_OPTIONS = [
    "--no-options", "--batch", "--no-tty", "--quiet", "--no-autostart", "--disable-dirmngr",
    "--no-auto-key-locate", "--no-auto-check-trustdb", "--weak-digest", "SHA1",
]  # fmt: skip
"""Nothing of the user's, nobody asked, and what we refuse in signatures counts here no more."""


class GpgVouching:
    """Tells who is vouched for (`gittorrent.push.facts.Facts`).

    Args:
        program: gpg.
    """

    def __init__(self, program: str = GPG) -> None:
        self._program = program
        self._answers: dict[tuple[str, WebOfTrust, int], bool] = {}

    def certified(
        self,
        key: KeyRef,
        rule: WebOfTrust,
        roots: Sequence[KeyRef],
        certificates: Mapping[KeyRef, bytes],
        time: int,
    ) -> bool:
        """Tell whether ``roots`` vouched for ``key`` at ``time`` as ``rule`` asks.

        Args:
            key: whom to judge.
            rule: steps from the roots, and certifications in each.
            roots: the keys that count of themselves; others than OpenPGP ones certify nobody.
            certificates: all that may lead from one to the other, the key's own included.
            time: at which to judge, in seconds.

        Raises:
            UnknownObjectError: gpg is missing or failed.
        """
        anchors = sorted(root for root in roots if root in certificates)
        if key.kind is KeyKind.SSH or key not in certificates or not anchors:
            return False
        if len(certificates) > MAX_CERTIFICATES:
            return False
        dates = sorted({date for each in certificates.values() for date in certificate_dates(each)})
        question = (_digest(key, anchors, certificates), rule, bisect_right(dates, time))
        if question not in self._answers:
            if len(self._answers) >= MAX_ANSWERS:
                self._answers.clear()
            self._answers[question] = self._judge(key, rule, anchors, certificates, time)
        return self._answers[question]

    def _judge(
        self,
        key: KeyRef,
        rule: WebOfTrust,
        anchors: Sequence[KeyRef],
        certificates: Mapping[KeyRef, bytes],
        time: int,
    ) -> bool:
        with temporary_directory("web-of-trust") as home:
            # What a certificate says of later days must not keep it out: the listing tells.
            self._gpg(home, ["--ignore-time-conflict", "--import"], b"".join(certificates.values()))
            trust = "".join(
                f"{each.fingerprint.upper()}:{_ULTIMATE if each in anchors else _FULL}:\n"
                for each in sorted(certificates)
            )
            self._gpg(home, ["--import-ownertrust"], trust.encode("ascii"))
            model = [
                "--trust-model", "pgp", "--completes-needed", str(rule.needs),
                "--max-cert-depth", str(rule.depth), "--faked-system-time", f"{time}!",
            ]  # fmt: skip
            self._gpg(home, [*model, "--check-trustdb"])
            listing = self._gpg(home, [*model, "--with-colons", "--check-sigs"])
        keys = read_listing(listing.decode("utf-8", "replace"), time)
        return is_vouched_for(key.fingerprint, keys, rule)

    def _gpg(self, home: Path, words: list[str], given: bytes = b"") -> bytes:
        command = [self._program, "--homedir", str(home), *_OPTIONS, *words]
        try:
            done = run(command, given=given, seconds=MAX_SECONDS)
        except LocalError as error:
            raise UnknownObjectError(
                f"who vouches for whom cannot be found out here: {error}"
            ) from error
        if done.returncode not in (0, 2):
            # 2 tells of certificates that gpg could not use, which the listing lacks.
            raise UnknownObjectError(f"gpg could not judge a web of trust: {complaint(done)}")
        return done.stdout


def _digest(key: KeyRef, anchors: Sequence[KeyRef], certificates: Mapping[KeyRef, bytes]) -> str:
    """Name a question by all that it depends on but the rule and the time."""
    found = hashlib.sha256(f"{key} {' '.join(map(str, anchors))}\n".encode("ascii"))
    for name in sorted(certificates):
        found.update(hashlib.sha256(certificates[name]).digest())
    return found.hexdigest()
