"""Laws of the policy text, key names and armor, over generated values."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gittorrent.errors import TrustError
from gittorrent.ids import PushId, RefName
from gittorrent.trust.armor import Armor, unwrap, wrap
from gittorrent.trust.errors import BadSignature, PolicyError
from gittorrent.trust.keys import KeyKind, KeyRef
from gittorrent.trust.labels import Label, label_from
from gittorrent.trust.policy import (
    Change,
    Grant,
    PinnedKey,
    Policy,
    Quorum,
    Rule,
    WebOfTrust,
    repository_id,
)
from gittorrent.trust.policy_words import differences
from gittorrent.trust.refpattern import RefPattern, is_ref_name, is_reserved
from gittorrent.trust.signature import split_signed


def _hex(size: int) -> st.SearchStrategy[str]:
    """Return what makes so many bytes in hexadecimal: one choice, not one for each digit."""
    return st.binary(min_size=size, max_size=size).map(bytes.hex)


def _ssh(digest: bytes) -> KeyRef:
    return KeyRef(KeyKind.SSH, "SHA256:" + base64.b64encode(digest).decode().rstrip("="))


_REFUSED = bytes(n for n in range(256) if not is_ref_name(b"refs/x%cx" % n))
ALLOWED = bytes.maketrans(_REFUSED, bytes(ord("a") + n % 26 for n in range(len(_REFUSED))))
"""Puts letters in place of what no name of a ref may have in it; else most examples are refused."""

openpgp_keys = st.one_of(_hex(20), _hex(32)).map(lambda text: KeyRef(KeyKind.OPENPGP, text))
keys = st.one_of(st.binary(min_size=32, max_size=32).map(_ssh), openpgp_keys)
push_ids = _hex(20).map(PushId)
components = (
    st.binary(min_size=1, max_size=8)
    .map(lambda part: part.translate(ALLOWED))
    .filter(lambda part: is_ref_name(b"refs/" + part))
)
refs = st.lists(components, min_size=1, max_size=3).map(lambda parts: b"refs/" + b"/".join(parts))
granted = refs.filter(lambda ref: is_ref_name(ref) and not is_reserved(ref))
patterns = st.one_of(granted, granted.map(lambda ref: ref + b"*")).map(RefPattern)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Any consistent policy."""
    known = sorted(draw(st.sets(keys, min_size=1, max_size=6)))
    some = st.sampled_from(known)
    roots = tuple(sorted(draw(st.sets(some, min_size=1, max_size=len(known)))))
    members = st.sets(some, min_size=1, max_size=len(known)).map(lambda found: tuple(sorted(found)))
    ssh = [key for key in known if key.kind is KeyKind.SSH]
    readers = st.lists(st.sampled_from(ssh), unique=True) if ssh else st.just([])
    who = st.one_of(some, st.builds(WebOfTrust, st.integers(1, 5), st.integers(1, 100)))
    lines = draw(st.lists(st.tuples(patterns, who), max_size=5, unique=True))
    rules = tuple(
        Rule(pattern, by, draw(st.sampled_from(Grant)) if isinstance(by, KeyRef) else Grant.PLAIN)
        for pattern, by in lines
    )
    quorum_patterns = draw(st.lists(patterns, max_size=2, unique=True))
    private = draw(st.booleans())
    pinned = [key for key in known if key.kind is KeyKind.OPENPGP]
    first = Policy(
        name=draw(st.from_regex(r"[a-z0-9][a-zA-Z0-9_-]{0,20}", fullmatch=True)),
        version=1,
        genesis=draw(st.binary(min_size=16, max_size=16)),
        threshold=draw(st.integers(len(roots) // 2 + 1, len(roots))),
        roots=roots,
        keys=tuple(PinnedKey(key, "sha256:" + "0" * 64) for key in pinned),
        head=RefName(b"refs/heads/" + draw(components)),
        rules=rules,
        quorums=tuple(
            Quorum(pattern, draw(st.integers(1, len(group))), group)
            for pattern in quorum_patterns
            for group in [draw(members)]
        ),
        keeper=draw(some),
        fresh_within=draw(st.none() | st.integers(1, 365 * 86400)),
        private=private,
        readers=tuple(sorted(draw(readers))) if private else (),
        labels=tuple(
            Label(key, text) for key in known if (text := label_from(draw(st.text(max_size=40))))
        ),
    )
    digests = st.integers(0, 9).map(lambda n: "sha256:" + f"{n}" * 64)
    rivals = tuple(sorted(draw(st.sets(digests, max_size=3))))
    later = replace(first).next_version(draw(push_ids), instead_of=rivals)
    return draw(st.sampled_from([first, later]))


@given(policies())
def test_writing_then_reading_gives_the_same_policy(policy: Policy) -> None:
    text = policy.text()
    again = Policy.parse(text)
    assert again == policy
    assert again.text() == text


@given(policies(), st.data())
def test_a_changed_text_is_refused_or_is_another_policy(
    policy: Policy, data: st.DataObject
) -> None:
    text = policy.text()
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.binary(max_size=2)) + text[at + 1 :]
    try:
        other = Policy.parse(changed)
    except PolicyError:
        return
    assert other.text() == changed
    assert (other == policy) == (changed == text)
    if other.version == policy.version == 1 and changed != text:
        assert repository_id(changed) != repository_id(text)


@given(policies(), st.one_of(refs, st.binary(max_size=30)), keys)
def test_only_what_a_line_grants_is_allowed(policy: Policy, ref: bytes, stranger: KeyRef) -> None:
    named = {rule.who for rule in policy.rules if isinstance(rule.who, KeyRef)}
    for key in {stranger, *policy.roots, policy.keeper, *named}:
        for change in Change:
            if not policy.allows(ref, key, change):
                continue
            assert key in named
            assert is_ref_name(ref)
            assert not is_reserved(ref)
            assert policy.quorum_for(ref) is None
            if change in (Change.REWIND, Change.DELETE):
                assert policy.allows(ref, key, Change.FORWARD)
            assert policy.allows(ref, key, Change.CREATE)


@given(keys)
def test_key_names_read_back(key: KeyRef) -> None:
    assert KeyRef.parse(str(key)) == key


@given(st.text(max_size=80))
def test_a_text_is_a_key_name_in_one_spelling_only(text: str) -> None:
    try:
        key = KeyRef.parse(text)
    except TrustError:
        return
    assert str(key) == text


@given(st.binary(min_size=1, max_size=300), st.sampled_from(Armor), st.integers(1, 80))
def test_armor_unwraps_to_what_was_wrapped(raw: bytes, kind: Armor, width: int) -> None:
    assert unwrap(wrap(raw, kind, width), kind, BadSignature) == raw


@given(st.binary(max_size=200), st.sampled_from([Armor.SSH_SIGNATURE, Armor.PGP_SIGNATURE]))
def test_split_loses_nothing(payload: bytes, kind: Armor) -> None:
    text = payload + b"\n" + wrap(b"anything", kind)
    if b"-----BEGIN" in payload:
        return
    found, signature = split_signed(text)
    assert found == payload + b"\n"
    assert found + signature.data == text


SAID = (
    "name", "keys", "head", "keeper", "rules", "quorums", "mirrors", "fresh_within", "labels",
    "private", "readers",
    "instead_of", "threshold", "roots",
)  # fmt: skip
"""What a version may change. The others say which one it is, and where a new keeper goes on."""


@given(policies(), policies(), st.sampled_from(SAID))
def test_a_draft_changes_nothing_that_is_not_said(one: Policy, other: Policy, field: str) -> None:
    """Roots sign what they are shown: a line that differs is always among the differences."""
    one = replace(one, instead_of=())  # such lines are about the one version that has them
    try:
        after = replace(one, **{field: getattr(other, field)})
    except PolicyError:
        return
    assert one == after or differences(one, after)


@given(policies(), push_ids)
def test_where_a_new_keeper_goes_on_is_said(one: Policy, checkpoint: PushId) -> None:
    key = next((known for known in one.roots if known.kind is KeyKind.SSH), None)
    if key is None or key == one.keeper:
        return
    after = one.next_version(checkpoint, keeper=key)
    assert any(checkpoint in change.words for change in differences(one, after))
