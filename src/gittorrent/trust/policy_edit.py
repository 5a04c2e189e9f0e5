"""Changing a draft of a policy: people, patterns, rights, roots, keeper, mirrors.

Pure. Each function takes a draft and returns another one; `Policy` itself refuses what contradicts
itself. What one wish implies is done with it, and shows in the differences
(`gittorrent.trust.policy_words`): an OpenPGP key that gets a right is pinned, one that loses its
last right is not any more, nor has it a label, and the threshold stays above half of the roots.

Rules: nothing is done by halves: a key is not taken away where others depend on it (the keeper,
the last root, a quorum that could not be reached any more), and the error says what to do first.

Source: docs/protocol/trust.md, Policy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from gittorrent.trust.errors import PolicyError
from gittorrent.trust.keys import KeyKind, KeyRef
from gittorrent.trust.labels import Label
from gittorrent.trust.openpgp import certificate_digest
from gittorrent.trust.policy import (
    Grant,
    PinnedKey,
    Policy,
    Quorum,
    Rule,
    WebOfTrust,
    keys_in,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gittorrent.trust.key_files import FoundKey
    from gittorrent.trust.policy_draft import PolicyDraft
    from gittorrent.trust.refpattern import RefPattern

_SAY_WHERE = "say to which refs it may push, as in: gittorrent policy add KEY 'refs/heads/*'"


def add_people(
    draft: PolicyDraft, keys: Iterable[FoundKey], patterns: Sequence[RefPattern], grant: Grant
) -> PolicyDraft:
    """Let keys push to refs.

    Args:
        draft: what to change.
        keys: whose.
        patterns: of the refs; a key that has a right there already has this one instead.
        grant: how much.
    """
    keys = list(keys)
    rules = list(draft.policy.rules)
    for found in keys:
        for pattern in patterns:
            _set_rule(rules, Rule(pattern, found.key, grant))
    return _with(draft, keys, rules=tuple(rules))


def add_web_of_trust(
    draft: PolicyDraft, patterns: Sequence[RefPattern], web: WebOfTrust
) -> PolicyDraft:
    """Let everybody push to refs whom the roots' OpenPGP keys vouch for.

    Raises:
        PolicyError: no root has an OpenPGP key, so that nobody could be vouched for.
    """
    if not any(root.kind is KeyKind.OPENPGP for root in draft.policy.roots):
        raise PolicyError(
            "no root of this policy is an OpenPGP key, and SSH keys certify nobody",
            hint="add an OpenPGP root first: gittorrent policy add KEY.asc --root",
        )
    rules = list(draft.policy.rules)
    for pattern in patterns:
        others = [r for r in rules if r.pattern != pattern or not isinstance(r.who, WebOfTrust)]
        rules = [*others, Rule(pattern, web)]
    return _with(draft, rules=tuple(rules))


def renew_certificates(draft: PolicyDraft, keys: Iterable[FoundKey]) -> PolicyDraft:
    """Pin newer certificates of keys that the policy names, as after a new date of expiry.

    Raises:
        PolicyError: it does not name one of them.
    """
    keys = list(keys)
    named = named_keys(draft.policy)
    for found in keys:
        if found.key not in named:
            raise PolicyError(f"the policy does not name {found.key}", hint=_SAY_WHERE)
        if found.key.kind is KeyKind.SSH:
            raise PolicyError(f"{found.key} has its rights already, and an SSH key has no"
                              " certificate to renew")  # fmt: skip
    return _with(draft, keys)


def pin_certificates(draft: PolicyDraft, keys: Iterable[FoundKey]) -> PolicyDraft:
    """Pin certificates of keys that need no rights.

    They are those that lead to others in a web of trust, or newer copies with revocations, which
    count in place of whatever comes with a push.

    Raises:
        PolicyError: one is an SSH key.
    """
    keys = list(keys)
    for found in keys:
        if found.certificate is None:
            raise PolicyError(f"{found.key} has no certificate: only OpenPGP keys have")
    return _with(draft, keys)


def unpin_certificates(draft: PolicyDraft, keys: Iterable[KeyRef]) -> PolicyDraft:
    """Pin certificates of keys without rights no more; raises ``PolicyError`` if one has rights."""
    gone = frozenset(keys)
    for key in sorted(gone & named_keys(draft.policy)):
        raise PolicyError(f"{key} has rights, so its certificate stays pinned")
    kept = tuple(pin for pin in draft.policy.keys if pin.key not in gone)
    labels = tuple(each for each in draft.policy.labels if each.key not in gone)
    return draft.changed(replace(draft.policy, keys=kept, labels=labels))


def add_roots(draft: PolicyDraft, keys: Iterable[FoundKey]) -> PolicyDraft:
    """Let keys sign policies; the threshold rises as far as it must."""
    keys = list(keys)
    roots = {*draft.policy.roots, *(found.key for found in keys)}
    return _with(draft, keys, **_roots(roots, draft.policy.threshold))


def set_threshold(draft: PolicyDraft, threshold: int) -> PolicyDraft:
    """Say how many roots sign a policy; raises ``PolicyError`` unless over half of them."""
    return _with(draft, threshold=threshold)


def set_keeper(draft: PolicyDraft, keeper: FoundKey) -> PolicyDraft:
    """Name the key that signs checkpoints and manifests."""
    return _with(draft, [keeper], keeper=keeper.key)


def set_quorum(
    draft: PolicyDraft, pattern: RefPattern, needs: int, keys: Iterable[FoundKey]
) -> PolicyDraft:
    """Let refs change only when ``needs`` of ``keys`` have pushed the same.

    The line takes the place of one for the same pattern, or comes last.
    """
    keys = list(keys)
    made = Quorum(pattern, needs, tuple(sorted({found.key for found in keys})))
    quorums = [made if line.pattern == pattern else line for line in draft.policy.quorums]
    if made not in quorums:
        quorums.append(made)
    return _with(draft, keys, quorums=tuple(quorums))


def set_labels(draft: PolicyDraft, labels: Mapping[KeyRef, str]) -> PolicyDraft:
    """Say what keys are called; an empty text takes the label away.

    Raises:
        PolicyError: a text cannot be a label, or the policy does not name a key.
    """
    policy = draft.policy
    known = named_keys(policy) | {pin.key for pin in policy.keys}
    for key in sorted(labels.keys() - known):
        raise PolicyError(f"the policy does not name {key}", hint=_SAY_WHERE)
    texts = {each.key: each.text for each in policy.labels} | dict(labels)
    made = tuple(Label(key, text) for key, text in sorted(texts.items()) if text)
    return _with(draft, labels=made)


def add_mirrors(draft: PolicyDraft, urls: Iterable[str]) -> PolicyDraft:
    """Name mirrors that clones may try, after those that are named."""
    mirrors = dict.fromkeys([*draft.policy.mirrors, *urls])
    return _with(draft, mirrors=tuple(mirrors))


def set_fresh_within(draft: PolicyDraft, seconds: int | None) -> PolicyDraft:
    """Say at which age the newest statement of freshness is old; None for a day."""
    return _with(draft, fresh_within=seconds)


def set_private(draft: PolicyDraft, *, private: bool) -> PolicyDraft:
    """Let only those read whom the policy names, or everybody, who need not be named then."""
    return _with(draft, private=private, readers=draft.policy.readers if private else ())


def add_readers(draft: PolicyDraft, keys: Iterable[FoundKey]) -> PolicyDraft:
    """Let SSH keys read a private repository.

    Raises:
        PolicyError: it is public, or one is no SSH key.
    """
    readers = {*draft.policy.readers, *(found.key for found in keys)}
    return _with(draft, readers=tuple(sorted(readers)))


def remove_readers(draft: PolicyDraft, keys: Iterable[KeyRef]) -> PolicyDraft:
    """Take the right to read from keys that have it by a ``reader`` line, and no other right."""
    gone = frozenset(keys)
    for key in sorted(gone - {*draft.policy.readers}):
        raise PolicyError(f"no reader line names {key}")
    return _with(draft, readers=tuple(k for k in draft.policy.readers if k not in gone))


def remove_keys(
    draft: PolicyDraft, keys: Iterable[KeyRef], patterns: Sequence[RefPattern] = ()
) -> PolicyDraft:
    """Take rights away from keys.

    Args:
        draft: what to change.
        keys: whose; each must be named.
        patterns: of the ``auth`` lines that go; none for everything that the keys have.

    Raises:
        PolicyError: the policy does not name a key, or something depends on it.
    """
    gone = frozenset(keys)
    policy = draft.policy
    pinned = frozenset(pin.key for pin in policy.keys) - named_keys(policy)
    for key in sorted(gone - named_keys(policy) - pinned):
        raise PolicyError(
            f"the policy does not name {key}", hint="'gittorrent policy show' lists its keys"
        )
    if not patterns:
        return _without_keys(unpin_certificates(draft, gone & pinned), gone - pinned)
    rules = policy.rules
    for pattern in patterns:
        left = tuple(r for r in rules if r.pattern != pattern or r.who not in gone)
        if left == rules:
            raise PolicyError(f"no auth line for {pattern} names {' or '.join(map(str, gone))}")
        rules = left
    return _with(draft, rules=rules)


def remove_roots(draft: PolicyDraft, keys: Iterable[KeyRef]) -> PolicyDraft:
    """Take the right to sign policies from keys, and leave them their others."""
    gone = frozenset(keys)
    for key in sorted(gone - {*draft.policy.roots}):
        raise PolicyError(f"{key} is not a root")
    return _with(draft, **_roots({*draft.policy.roots} - gone, draft.policy.threshold))


def remove_web_of_trust(draft: PolicyDraft, patterns: Sequence[RefPattern]) -> PolicyDraft:
    """Take away the web-of-trust lines of patterns; of all if none is given."""
    kept = tuple(
        rule
        for rule in draft.policy.rules
        if not isinstance(rule.who, WebOfTrust) or (patterns and rule.pattern not in patterns)
    )
    if len(draft.policy.rules) - len(kept) < max(1, len(patterns)):
        raise PolicyError("the policy has no such web-of-trust line")
    return _with(draft, rules=kept)


def remove_quorums(draft: PolicyDraft, patterns: Sequence[RefPattern]) -> PolicyDraft:
    """Take away the quorum lines of patterns: their refs are under ``auth`` lines again."""
    lines = draft.policy.quorums
    for pattern in patterns:
        if all(line.pattern != pattern for line in lines):
            raise PolicyError(f"no quorum line is for {pattern}")
    kept = tuple(line for line in lines if line.pattern not in patterns)
    return _with(draft, quorums=kept)


def remove_mirrors(draft: PolicyDraft, urls: Iterable[str]) -> PolicyDraft:
    """Name mirrors no more."""
    gone = set(urls)
    for url in sorted(gone - {*draft.policy.mirrors}):
        raise PolicyError(f"the policy does not name the mirror {url[:200]!r}")
    return _with(draft, mirrors=tuple(m for m in draft.policy.mirrors if m not in gone))


def named_keys(policy: Policy) -> frozenset[KeyRef]:
    """Return every key that a policy gives a right, be it only that of reading."""
    return policy.keys_with_rights.union(policy.readers)


def _set_rule(rules: list[Rule], rule: Rule) -> None:
    """Put a rule in the place of that for the same pattern and key, or last."""
    for number, other in enumerate(rules):
        if (other.pattern, other.who) == (rule.pattern, rule.who):
            rules[number] = rule
            return
    rules.append(rule)


def _roots(roots: Iterable[KeyRef], threshold: int) -> dict[str, Any]:
    """Return the fields for these roots, with the threshold as near to the former as may be."""
    count = len(set(roots))
    if count == 0:
        raise PolicyError(
            "nobody could change the policy any more without a root",
            hint="add another root first: gittorrent policy add KEY --root",
        )
    return {
        "roots": tuple(sorted(set(roots))),
        "threshold": min(max(threshold, count // 2 + 1), count),
    }


def _without_keys(draft: PolicyDraft, gone: frozenset[KeyRef]) -> PolicyDraft:
    policy = draft.policy
    if policy.keeper in gone:
        raise PolicyError(
            f"{policy.keeper} is the keeper, which signs checkpoints",
            hint="name another first: 'gittorrent keeper here' on its machine, or"
            " 'gittorrent policy add KEY --keeper'",
        )
    for line in policy.quorums:
        left = len({*line.keys} - gone)
        if left < line.needs:
            raise PolicyError(
                f"the quorum for {line.pattern} needs {line.needs} keys and would have {left}",
                hint=f"restate it first: gittorrent policy add KEY... {line.pattern} --quorum N",
            )
    return _with(
        draft,
        rules=tuple(rule for rule in policy.rules if rule.who not in gone),
        quorums=tuple(
            replace(line, keys=tuple(key for key in line.keys if key not in gone))
            for line in policy.quorums
        ),
        readers=tuple(key for key in policy.readers if key not in gone),
        **_roots({*policy.roots} - gone, policy.threshold),
    )


def _with(draft: PolicyDraft, found: Iterable[FoundKey] = (), **changes: Any) -> PolicyDraft:
    """Return the draft with other fields, and with the ``key`` lines that follow from them."""
    policy = draft.policy
    pins = {entry.key: entry for entry in policy.keys}
    certificates: list[bytes] = []
    for each in found:
        if each.certificate is not None:
            pins[each.key] = PinnedKey(each.key, certificate_digest(each.certificate))
            certificates.append(each.certificate)
    before = named_keys(policy)
    fields = ("roots", "keeper", "rules", "quorums")
    named = keys_in(*(changes.get(name, getattr(policy, name)) for name in fields))
    named = named.union(changes.get("readers", policy.readers))
    # A key line without rights may stand for somebody who vouches for others: it stays.
    kept = tuple(pin for key, pin in sorted(pins.items()) if key in named or key not in before)
    known = named | {pin.key for pin in kept}
    labels = tuple(each for each in changes.pop("labels", policy.labels) if each.key in known)
    return draft.changed(replace(policy, keys=kept, labels=labels, **changes), certificates)
