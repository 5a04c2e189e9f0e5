"""Whether a push is let in: what can be said before its objects are here, and after.

Pure. What is refused here never reaches the log, and its pusher is told in one line what is wrong
and what to type (docs/protocol/push.md, "Depot").

Rules: the signature is judged first, so that strangers make nobody read; a fresh push that does not
fit is refused rather than left as a conflict, since nothing of it was accepted yet; one that would
push aside what others were told is accepted is refused, too.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from gittorrent.errors import TrustError
from gittorrent.printable import decoded
from gittorrent.push.depot.report import RefReport, Report
from gittorrent.push.rule import Reason, Verdict
from gittorrent.push.signed import has_a_say, has_web_of_trust
from gittorrent.trust.keys import KeyKind
from gittorrent.trust.policy import WebOfTrust
from gittorrent.trust.policy_words import RIGHTS
from gittorrent.trust.signature import split_signed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gittorrent.ids import PushId, RefName
    from gittorrent.push.certificate import Certificate, Nonce
    from gittorrent.push.depot.request import PushRequest
    from gittorrent.push.provisional import Judged, View
    from gittorrent.push.rule import Push, Unit
    from gittorrent.trust.errors import UnknownKey
    from gittorrent.trust.keys import KeyRef
    from gittorrent.trust.policy import Policy
    from gittorrent.trust.signature import Signature

MAX_UNFINAL = 256
"""Pushes of one key that no checkpoint has taken: a mirror passes no more of them on."""

CERTIFICATE_OPTION = b"openpgp-certificate"
"""Name of the push options that carry the certificate of a key, in base64, cut into pieces; those
that lead from the roots to it may follow it."""

SHOWN_RIGHTS = 3
"""Rights of a key that its owner is reminded of, in one line."""

SIGNING_HELP = (
    "Sign what you push: 'git push --signed', or once for all pushes",
    "  git config push.gpgSign if-asked",
    "With an SSH key in place of an OpenPGP key:",
    "  git config gpg.format ssh",
    "  git config user.signingKey ~/.ssh/id_ed25519.pub",
)
"""What those are told who push without a signature."""


class PushRefusedError(TrustError):
    """A push is not let in; the message and the hint are for its pusher.

    Args:
        reason: what is wrong.
        hint: what to do.
        more: further lines.
    """

    def __init__(self, reason: str, *, hint: str = "", more: Sequence[str] = ()) -> None:
        super().__init__(reason, hint=hint)
        self.more = tuple(more)


def signed_part(request: PushRequest) -> tuple[bytes, Signature]:
    """Return the certificate's text and its signature.

    Raises:
        PushRefusedError: nobody signed.
        BadSignature: there is something else than one signature.
    """
    if request.certificate is None:
        raise PushRefusedError(
            "not signed, and only signed pushes are taken", hint="git push --signed",
            more=SIGNING_HELP,
        )  # fmt: skip
    return split_signed(request.certificate)


def check_key(policy: Policy, key: KeyRef, repository: str) -> None:
    """Refuse keys that can do nothing here.

    Args:
        policy: the newest one.
        key: that signed.
        repository: the name of the repository.

    Raises:
        PushRefusedError: no line of the policy is about it.
    """
    if not has_a_say(policy, key):
        raise PushRefusedError(
            f"the key {key} may not push to {repository}",
            hint="sign with another (git config user.signingKey), or ask an owner to run"
            " 'gittorrent policy add' with your public key",
        )


def unknown_key(policy: Policy, error: UnknownKey) -> PushRefusedError:
    """Return the refusal of a push signed by an OpenPGP key whose certificate is not known here."""
    hint = "ask an owner to run 'gittorrent policy add' with your public key"
    if has_web_of_trust(policy):
        hint = (
            "if an owner's key certified yours, run 'gittorrent certificate' in your clone, so that"
            f" pushes carry the certificate; or {hint}"
        )
    return PushRefusedError(str(error), hint=hint)


def check_request(certificate: Certificate, request: PushRequest) -> None:
    """Refuse a request that says something else than what was signed.

    Raises:
        PushRefusedError: it does.
    """
    if certificate.options != request.options:
        raise PushRefusedError(
            "the push options that were sent are not those that were signed", hint="push again"
        )
    if request.atomic and not certificate.atomic:
        raise PushRefusedError(
            "git signs no --atomic, so nobody could hold the push to it",
            hint="say it in what is signed, too: git push --signed --atomic -o atomic",
        )


def check_nonce(nonce: Nonce, now: Nonce, *, is_known: bool) -> None:
    """Refuse a push that was made on what this depot cannot have shown.

    Args:
        nonce: what was signed.
        now: what is offered now.
        is_known: whether the checkpoint that was signed is known here.

    Raises:
        PushRefusedError: it names an unknown checkpoint, or a count not reached yet.
    """
    ahead = nonce.checkpoint == now.checkpoint and nonce.count > now.count
    if not is_known or ahead:
        raise PushRefusedError(
            "this mirror is behind the one that the push was made for, and is fetching",
            hint="push again in 10 s",
        )


def check_quota(unfinal: Iterable[Push], key: KeyRef) -> None:
    """Refuse a push of a key of which many wait already.

    Args:
        unfinal: the pushes that no checkpoint has taken.
        key: that signed this one.

    Raises:
        PushRefusedError: there are too many.
    """
    if sum(push.key == key for push in unfinal) >= MAX_UNFINAL:
        raise PushRefusedError(
            f"{MAX_UNFINAL} pushes of this key are not final yet, and more are not taken here",
            hint="push again when the keeper has taken some ('gittorrent log' shows them)",
        )


def find_refusals(push: Push, before: View, after: View) -> dict[RefName, str]:
    """Return which refs of a push are not to change, and why; none if it is let in.

    Args:
        push: the push that is judged.
        before: what was shown without it.
        after: what would be shown with it.
    """
    if after.before is before:  # it is on top, and changes nothing of what is below
        others: list[Judged] = []
        own = list(after.newest)
    else:
        others = [item for item in after.judged if item.unit.push.id != push.id]
        own = [item for item in after.judged if item.unit.push.id == push.id]
    if not own:
        reason = "this mirror lacks objects that decide about it; push to another one"
        return {line.ref: reason for line in push.certificate.lines}
    refused: dict[RefName, str] = {}
    for item in own:
        if item.outcome.verdict in (Verdict.REFUSED, Verdict.CONFLICT):
            reason = _words(item.outcome.reason or Reason.MOVED, item.unit, after.policy.policy)
            refused.update((line.ref, reason) for line in item.unit.lines)
    if others and not refused and _verdicts(others) != _verdicts(before.judged):
        return {line.ref: Reason.MOVED.value for line in push.certificate.lines}
    return refused


def _words(reason: Reason, unit: Unit, policy: Policy) -> str:
    """Return why a unit is refused, and what helps where others have to vouch for its key."""
    said: str = reason.value
    if reason is not Reason.NOT_ALLOWED:
        return said
    rules = [rule for rule in policy.rules if rule.who == unit.push.key]
    if rules:
        rights = [RIGHTS[rule.grant].format(refs=decoded(rule.pattern.text)) for rule in rules]
        more = f" and {len(rights) - SHOWN_RIGHTS} more" if len(rights) > SHOWN_RIGHTS else ""
        return f"{said}: it {', '.join(rights[:SHOWN_RIGHTS])}{more}"
    if unit.push.key.kind is not KeyKind.OPENPGP:
        return said
    webs = [rule for rule in policy.rules if isinstance(rule.who, WebOfTrust)]
    set_refs = [line.ref for line in unit.lines if line.new is not None]
    if not any(rule.pattern.matches(ref) for rule in webs for ref in set_refs):
        return said
    return (
        f"{said}: no owner's key vouches for it. Once it is certified, run 'gittorrent"
        " certificate' in your clone, which lets pushes carry the certificate"
    )


def _verdicts(judged: Iterable[Judged]) -> dict[tuple[PushId, RefName | None], Verdict]:
    return {(item.unit.push.id, item.unit.ref): item.outcome.verdict for item in judged}


def report_refusals(certificate: Certificate, refused: dict[RefName, str]) -> Report:
    """Return the report of a push of which some refs, and so all, are refused."""
    other = "not changed, since other refs of the same push are refused"
    return Report(
        tuple(RefReport(line.ref, refused.get(line.ref, other)) for line in certificate.lines)
    )


def report_accepted(push: Push, after: View) -> Report:
    """Return the report of a push that is in the log.

    Args:
        push: the push.
        after: what is shown now.
    """
    waiting = {
        line.ref
        for item in after.judged
        if item.unit.push.id == push.id and item.outcome.verdict is Verdict.WAITING
        for line in item.unit.lines
    }
    refs, messages = [], []
    for line in push.certificate.lines:
        value = after.listing.value(line.ref)
        refs.append(RefReport(line.ref, values=(value, value) if line.ref in waiting else None))
        if line.ref in waiting:
            name = line.ref.decode(errors="backslashreplace")
            messages.append(f"{name} waits until others have pushed the same, too")
    remark = f"accepted as push {push.id}, not final until the keeper has taken it"
    return Report(tuple(refs), tuple(messages), remarks=(remark,))


def certificate_in(options: Iterable[bytes]) -> bytes | None:
    """Return the OpenPGP certificates that signed push options carry; None if there are none.

    Git sends none with a signature, and a web of trust is judged by it.

    Raises:
        PushRefusedError: they do not carry one.
    """
    prefix = CERTIFICATE_OPTION + b"="
    parts = [option.removeprefix(prefix) for option in options if option.startswith(prefix)]
    if not parts:
        return None
    try:
        return base64.b64decode(b"".join(parts), validate=True)
    except ValueError:
        raise PushRefusedError(
            f"the push options {prefix.decode()}... are not the base64 of an OpenPGP certificate",
            hint="run 'gittorrent certificate' in your clone once more",
        ) from None
