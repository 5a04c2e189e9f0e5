"""What a policy says, and how two versions differ, in words for people.

Pure. Keys are shown by their names, which are exact, with whatever label the caller knows for
them. Rules: every difference between two texts shows as at least one change, so that whoever signs
a draft has seen all of it (a test holds it against the texts); what weakens the policy is said by
`warnings`.

Source: docs/protocol/trust.md, Policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from gittorrent.trust.keys import KeyRef
from gittorrent.trust.policy import Grant, Policy, Quorum, Rule, WebOfTrust

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_T = TypeVar("_T")

GOOD_ROOTS = 3
"""Roots from which on one can be lost, with a threshold of two, and one alone decides nothing."""

RIGHTS = {
    Grant.PLAIN: "may create {refs} and move them forward",
    Grant.CREATE: "may create {refs}",
    Grant.FORCE: "may do everything to {refs}, rewinding and deleting included",
}
"""What each grant lets a key do."""

Labels = Mapping[KeyRef, str]
"""What to call keys, besides their names."""


_PRIVATE = "private: only the keys named here, and whom a mirror gave a token, may read"
_PUBLIC = "public: everybody may read, what was private until now included"


class PolicyChange(Struct, frozen=True):
    """One difference between two versions.

    Args:
        action: ``added``, ``removed`` or ``changed``.
        what: the kind of line, as the policy's text calls it.
        words: what it comes to.
    """

    action: str
    what: str
    words: str

    def __str__(self) -> str:
        return f"{self.action}: {self.words}"


def describe(policy: Policy, labels: Labels | None = None) -> list[str]:
    """Return what a policy says, a line for each of its lines but the pinned certificates."""
    shown = _Shown(labels)
    lines = [
        f"{policy.name}, version {policy.version} of its policy",
        f"HEAD was {_ref(policy.head)} at first",
        f"{policy.threshold} of {len(policy.roots)} roots sign the next version:",
        *(f"  {shown(key)}" for key in policy.roots),
        f"keeper, which signs checkpoints: {shown(policy.keeper)}",
    ]
    lines += [shown.rule(rule) for rule in policy.rules]
    lines += [shown.quorum(line) for line in policy.quorums]
    lines += [f"mirror {url}" for url in policy.mirrors]
    if policy.fresh_within is not None:
        lines.append(_fresh(policy.fresh_within))
    if policy.private:
        lines.append(_PRIVATE)
    lines += [f"{shown(key)} may read" for key in policy.readers]
    return lines


def differences(before: Policy, after: Policy, labels: Labels | None = None) -> list[PolicyChange]:
    """Return what a version changes, in the order of the policy's lines.

    The numbers of the versions and the checkpoints that they were made on are no differences.
    """
    shown = _Shown(labels)
    found: list[PolicyChange] = []
    found += [
        PolicyChange("added", "instead-of", f"takes the place of policy {digest}, a rival")
        for digest in after.instead_of
    ]
    if before.name != after.name:
        found.append(_changed("name", f"the name, from {before.name} to {after.name}"))
    old, new = (f"{policy.threshold} of {len(policy.roots)}" for policy in (before, after))
    if old != new:
        found.append(_changed("threshold", f"roots that sign the next version, {old} to {new}"))
    found += _sets("root", before.roots, after.roots, lambda key: f"root {shown(key)}")
    found += _certificates(before, after, shown)
    if before.head != after.head:
        found.append(_changed("head", f"HEAD at first, {_ref(before.head)} to {_ref(after.head)}"))
    if before.keeper != after.keeper:
        old, new = (shown(policy.keeper) for policy in (before, after))
        where = f"which goes on from checkpoint {after.checkpoint}"
        found.append(_changed("keeper", f"the keeper, from {old} to {new}, {where}"))
    found += _ordered("auth", before.rules, after.rules, shown.rule)
    found += _ordered("quorum", before.quorums, after.quorums, shown.quorum)
    found += _ordered("mirror", before.mirrors, after.mirrors, lambda url: f"mirror {url}")
    if before.fresh_within != after.fresh_within:
        found.append(_changed("fresh-within", _fresh(after.fresh_within)))
    if before.private != after.private:
        found.append(_changed("private", _PRIVATE if after.private else _PUBLIC))
    found += _sets("reader", before.readers, after.readers, lambda key: f"reader {shown(key)}")
    return found + _labels(before, after)


def warnings(policy: Policy) -> list[str]:
    """Return what its owners should know of a policy's weak places."""
    count = len(policy.roots)
    good = (
        f"{GOOD_ROOTS} roots on different machines, of which 2 sign, survive that ('gittorrent"
        " policy add KEY --root')"
    )
    found: list[str] = []
    if count == 1:
        found.append(f"one root decides everything, and may be lost or stolen: {good}")
    elif policy.threshold == count:
        found.append(
            f"all {count} roots must sign the next version: if one is lost nobody can change the"
            f" policy any more; {good}"
        )
    found += [
        f"{_ref(rule.pattern.text)} is under a quorum line, which auth lines do not count for"
        for rule in policy.rules
        if any(rule.pattern == line.pattern for line in policy.quorums)
    ]
    return found


class _Shown:
    """Puts keys and lines into words."""

    def __init__(self, labels: Labels | None) -> None:
        self._labels = labels or {}

    def __call__(self, key: KeyRef) -> str:
        label = self._labels.get(key)
        return f"{key} ({label})" if label else str(key)

    def rule(self, rule: Rule) -> str:
        refs = _ref(rule.pattern.text)
        if isinstance(rule.who, WebOfTrust):
            steps = "1 step" if rule.who.depth == 1 else f"{rule.who.depth} steps"
            return (
                f"whoever the roots' OpenPGP keys vouch for in {steps}, by {rule.who.needs}"
                f" {'certification' if rule.who.needs == 1 else 'certifications'} each,"
                f" {RIGHTS[Grant.PLAIN].format(refs=refs)}"
            )
        return f"{self(rule.who)} {RIGHTS[rule.grant].format(refs=refs)}"

    def quorum(self, line: Quorum) -> str:
        keys = ", ".join(self(key) for key in line.keys)
        return (
            f"{_ref(line.pattern.text)} changes when {line.needs} of {len(line.keys)} push the"
            f" same: {keys}"
        )


def _changed(what: str, words: str) -> PolicyChange:
    return PolicyChange("changed", what, words)


def _sets(
    what: str, before: Iterable[_T], after: Iterable[_T], words: Callable[[_T], str]
) -> list[PolicyChange]:
    old, new = list(before), list(after)
    found = [PolicyChange("removed", what, words(item)) for item in old if item not in new]
    return found + [PolicyChange("added", what, words(item)) for item in new if item not in old]


def _ordered(
    what: str, before: Iterable[_T], after: Iterable[_T], words: Callable[[_T], str]
) -> list[PolicyChange]:
    old, new = list(before), list(after)
    found = _sets(what, old, new, words)
    if [item for item in old if item in new] != [item for item in new if item in old]:
        found.append(_changed(what, f"the order of the {what} lines"))
    return found


def _certificates(before: Policy, after: Policy, shown: _Shown) -> list[PolicyChange]:
    old, new = ({pin.key: pin.digest for pin in policy.keys} for policy in (before, after))
    found = [
        _changed("key", f"the certificate that counts for {shown(key)}, now {new[key]}")
        for key in sorted(old.keys() & new.keys())
        if old[key] != new[key]
    ]
    return found + _sets("key", sorted(old), sorted(new), lambda k: f"certificate of {shown(k)}")


def _labels(before: Policy, after: Policy) -> list[PolicyChange]:
    old, new = ({each.key: each.text for each in policy.labels} for policy in (before, after))
    found = [
        _changed("label", f"{key} is called {new[key]}, and was {old[key]}")
        for key in sorted(old.keys() & new.keys())
        if old[key] != new[key]
    ]
    return found + _sets(
        "label", sorted(old), sorted(new), lambda key: f"{key} is called {(old | new)[key]}"
    )


def _fresh(seconds: int | None) -> str:
    if seconds is None:
        return "the newest statement of freshness is old after a day"
    return f"the newest statement of freshness is old after {seconds} seconds"


def _ref(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
