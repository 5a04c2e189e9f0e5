"""The policy's grammar, its consistency, and what it allows."""

from __future__ import annotations

import base64
import hashlib

import pytest
from msgspec.structs import replace
from sshsig_maker import Maker, ed25519_key

from gittorrent.ids import PushId, RefName, is_repository_id
from gittorrent.trust.errors import OldFormatError, PolicyError
from gittorrent.trust.keys import KeyRef
from gittorrent.trust.labels import MAX_LABEL, Label, label_from
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
from gittorrent.trust.refpattern import RefPattern, is_ref_name

A, B, C = sorted(Maker(ed25519_key(seed)).name for seed in (1, 2, 3))
PGP = KeyRef.parse("openpgp:" + "1" * 40)
HEAD = PushId("ab" * 20)
GENESIS = bytes(range(16))

FIRST = f"""\
gittorrent policy 2
name linux
version 1
genesis 000102030405060708090a0b0c0d0e0f
threshold 2
root {PGP}
root {A}
key {PGP} sha256:{"2" * 64}
head refs/heads/main
keeper {C}
auth refs/heads/* {A}
auth refs/tags/* {PGP} create
auth refs/heads/wip/* {B} force
auth refs/heads/contrib/* web-of-trust depth 2 needs 1
quorum refs/heads/release 2 {PGP} {A} {B}
mirror git://origin.example.org/linux.git
mirror https://a.example.org/linux.git
fresh-within 3600
private
reader {B}
label {PGP} Zoë <zoe@example.org>
label {A} alice@laptop
""".encode()

LATER = FIRST.replace(
    b"version 1\ngenesis 000102030405060708090a0b0c0d0e0f\n",
    b"version 3\nprevious sha256:" + b"3" * 64 + b"\ncheckpoint " + HEAD.encode() + b"\n",
)


@pytest.mark.parametrize("text", [FIRST, LATER])
def test_text_reads_and_writes_back(text: bytes) -> None:
    policy = Policy.parse(text)
    assert policy.text() == text
    assert policy.digest == "sha256:" + hashlib.sha256(text).hexdigest()


def test_every_line_is_read() -> None:
    policy = Policy.parse(LATER)
    assert (policy.name, policy.version, policy.threshold) == ("linux", 3, 2)
    assert policy.roots == (PGP, A)
    assert policy.keys == (PinnedKey(PGP, "sha256:" + "2" * 64),)
    assert (policy.genesis, policy.previous, policy.checkpoint) == (
        None, "sha256:" + "3" * 64, HEAD,
    )  # fmt: skip
    assert policy.head == b"refs/heads/main"
    assert policy.rules[1] == Rule(RefPattern(b"refs/tags/*"), PGP, Grant.CREATE)
    assert policy.rules[3].who == WebOfTrust(2, 1)
    assert policy.quorums == (Quorum(RefPattern(b"refs/heads/release"), 2, (PGP, A, B)),)
    assert policy.mirrors[0] == "git://origin.example.org/linux.git"
    assert (policy.keeper, policy.fresh_within) == (C, 3600)
    assert (policy.private, policy.readers) == (True, (B,))
    assert policy.labels == (Label(PGP, "Zoë <zoe@example.org>"), Label(A, "alice@laptop"))
    assert policy.may_sign_reels(C)
    assert not policy.may_sign_reels(A)


def changed(text: bytes, old: str, new: str) -> bytes:
    assert old.encode() in text
    return text.replace(old.encode(), new.encode(), 1)


BROKEN_FIRST = {
    "nothing": b"",
    "no line end": FIRST[:-1],
    "empty line at the end": FIRST + b"\n",
    "text after": FIRST + b"hello\n",
    "unknown line": changed(FIRST, "mirror ", "colour blue\nmirror "),
    "unknown format": changed(FIRST, "policy 2", "policy 3"),
    "CRLF": FIRST.replace(b"\n", b"\r\n"),
    "NUL": changed(FIRST, "linux", "li\0ux"),
    "two spaces": changed(FIRST, "root ", "root  "),
    "tab": changed(FIRST, "root ", "root\t"),
    "trailing space": changed(FIRST, "name linux", "name linux "),
    "comment": changed(FIRST, "version 1", "version 1 # first"),
    "labels out of order": changed(FIRST, f"label {PGP} Zo", f"label {B} bob\nlabel {PGP} Zo"),
    "two labels": changed(FIRST, f"label {A} ", f"label {A} al\nlabel {A} "),
    "label before freshness": changed(FIRST, "fresh-within", f"label {A} al\nfresh-within"),
    "label without text": changed(FIRST, " alice@laptop", ""),
    "label that is empty": changed(FIRST, "alice@laptop", ""),
    "label that ends with a space": changed(FIRST, "alice@laptop", "alice "),
    "label that begins with a space": changed(FIRST, "alice@laptop", " alice"),
    "label with an escape": changed(FIRST, "alice@laptop", "\x1b[2Jalice"),
    "label with a tab": changed(FIRST, "alice@laptop", "a\tb"),
    "label with DEL": changed(FIRST, "alice@laptop", "a\x7fb"),
    "label that is no UTF-8": FIRST.replace(b"alice@laptop", b"al\xffice"),
    "label with a surrogate": FIRST.replace(b"alice@laptop", b"\xed\xa0\x80"),
    "label that is too long": changed(FIRST, "alice@laptop", "é" * 50 + "a"),
    "label of no key": changed(FIRST, f"label {A}", "label alice"),
    "no name": changed(FIRST, "name linux\n", ""),
    "name in another place": changed(FIRST, "name linux\nversion 1\n", "version 1\nname linux\n"),
    "two names": changed(FIRST, "name linux\n", "name linux\nname linux\n"),
    "leading zero": changed(FIRST, "threshold 2", "threshold 02"),
    "plus sign": changed(FIRST, "threshold 2", "threshold +2"),
    "huge number": changed(FIRST, "threshold 2", "threshold " + "9" * 5000),
    "version 0": changed(FIRST, "version 1", "version 0"),
    "version 2 with genesis": changed(FIRST, "version 1", "version 2"),
    "no genesis": changed(FIRST, "genesis 000102030405060708090a0b0c0d0e0f\n", ""),
    "short genesis": changed(FIRST, "genesis 0001", "genesis "),
    "upper case genesis": changed(FIRST, "0a0b", "0A0B"),
    "half of the roots": changed(FIRST, "threshold 2", "threshold 1"),
    "more than the roots": changed(FIRST, "threshold 2", "threshold 3"),
    "no roots": changed(FIRST, f"root {PGP}\nroot {A}\n", ""),
    "unsorted roots": changed(FIRST, f"root {PGP}\nroot {A}\n", f"root {A}\nroot {PGP}\n"),
    "a root twice": changed(FIRST, f"root {A}\n", f"root {A}\nroot {A}\n"),
    "unpinned OpenPGP key": changed(FIRST, f"key {PGP} sha256:{'2' * 64}\n", ""),
    "pinned SSH key": changed(FIRST, f"key {PGP}", f"key {A}"),
    "short digest": changed(FIRST, "2" * 64, "2" * 63),
    "another digest": changed(FIRST, "sha256:", "sha512:"),
    "short key": changed(FIRST, "1" * 40, "1" * 16),
    "no head": changed(FIRST, "head refs/heads/main\n", ""),
    "head is a tag": changed(FIRST, "head refs/heads/main", "head refs/tags/main"),
    "head is a pattern": changed(FIRST, "head refs/heads/main", "head refs/heads/*"),
    "unknown grant": changed(FIRST, " force", " rewind"),
    "plain spelled out": changed(FIRST, " force", " "),
    "auth without key": changed(FIRST, f"auth refs/heads/* {A}", "auth refs/heads/*"),
    "auth twice": changed(FIRST, "auth refs/tags", f"auth refs/heads/* {A} force\nauth refs/tags"),
    "forced web of trust": changed(FIRST, "needs 1", "needs 1 force"),
    "depth 0": changed(FIRST, "depth 2", "depth 0"),
    "depth 99": changed(FIRST, "depth 2", "depth 99"),
    "needs 0": changed(FIRST, "needs 1", "needs 0"),
    "web of trust, other words": changed(FIRST, "depth 2 needs 1", "needs 1 depth 2"),
    "quorum of more": changed(FIRST, "release 2", "release 4"),
    "quorum of none": changed(FIRST, "release 2", "release 0"),
    "quorum without keys": changed(FIRST, f"release 2 {PGP} {A} {B}", "release 2"),
    "unsorted quorum": changed(FIRST, f"2 {PGP} {A} {B}", f"2 {A} {PGP} {B}"),
    "one key twice in a quorum": changed(FIRST, f"2 {PGP} {A} {B}", f"2 {PGP} {A} {A}"),
    "no keeper": changed(FIRST, f"keeper {C}\n", ""),
    "two keepers": changed(FIRST, f"keeper {C}\n", f"keeper {C}\nkeeper {B}\n"),
    "unpinned keeper": changed(FIRST, f"keeper {C}", "keeper openpgp:" + "7" * 40),
    "fresh for no time": changed(FIRST, "fresh-within 3600", "fresh-within 0"),
    "fresh for too long": changed(FIRST, "fresh-within 3600", "fresh-within 31536001"),
    "fresh twice": changed(FIRST, "fresh-within 3600\n", "fresh-within 3600\n" * 2),
    "private twice": changed(FIRST, "private\n", "private\nprivate\n"),
    "private with a word": changed(FIRST, "private\n", "private yes\n"),
    "private before freshness": changed(FIRST, "fresh-within", "private\nfresh-within"),
    "reader of what is public": changed(FIRST, "private\n", ""),
    "reader before private": changed(FIRST, f"private\nreader {B}", f"reader {B}\nprivate"),
    "reader twice": changed(FIRST, f"reader {B}\n", f"reader {B}\n" * 2),
    "readers out of order": changed(FIRST, f"reader {B}", f"reader {B}\nreader {A}"),
    "reader by an OpenPGP key": changed(FIRST, f"reader {B}", f"reader {PGP}"),
    "reader without a key": changed(FIRST, f"reader {B}", "reader"),
    "reader after a label": changed(FIRST, f"label {A} alice@laptop\n",
                                    f"label {A} alice@laptop\nreader {C}\n"),
    "reel line": changed(FIRST, "mirror git", f"reel {B}\nmirror git"),
    "void line": FIRST + b"void " + b"a" * 40 + b"\n",
    "mirror twice": changed(FIRST, "https://a.example", "git://origin.example"),
    "ext URL": changed(FIRST, "git://origin.example.org/linux.git", "ext::sh -c id"),
    "ext URL, one word": changed(FIRST, "git://origin.example.org/linux.git", "ext::id"),
    "file URL": changed(FIRST, "git://origin.example.org", "file://"),
    "option as host": changed(FIRST, "git://origin", "ssh://-oProxyCommand=id"),
    "non-ASCII name": changed(FIRST, "name linux", "name linüx"),
    "too long": FIRST + b"x" * (1 << 20),
    "too many lines": FIRST + b"\n" * 10_001,
}  # fmt: skip


@pytest.mark.parametrize("text", BROKEN_FIRST.values(), ids=BROKEN_FIRST.keys())
def test_broken_texts_are_refused(text: bytes) -> None:
    with pytest.raises(PolicyError):
        Policy.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        changed(LATER, f"checkpoint {HEAD}\n", ""),
        changed(LATER, f"checkpoint {HEAD}\n", "checkpoint HEAD\n"),
        changed(LATER, "previous sha256:" + "3" * 64 + "\n", ""),
        changed(LATER, "previous sha256:", "previous "),
        changed(LATER, "version 3\n", "version 3\ngenesis 000102030405060708090a0b0c0d0e0f\n"),
        changed(LATER, f"checkpoint {HEAD}\n", f"parent {HEAD}\n"),
    ],
)
def test_broken_later_versions_are_refused(text: bytes) -> None:
    with pytest.raises(PolicyError):
        Policy.parse(text)


def test_messages_name_the_line() -> None:
    with pytest.raises(PolicyError, match=r"line 6: .*key"):
        Policy.parse(changed(FIRST, "1" * 40, "1" * 39))
    with pytest.raises(PolicyError, match="line 16: unknown or misplaced line: 'colour blue'"):
        Policy.parse(changed(FIRST, "mirror ", "colour blue\nmirror "))
    with pytest.raises(PolicyError, match="policy: threshold"):
        Policy.parse(changed(FIRST, "threshold 2", "threshold 1"))


@pytest.mark.parametrize(
    "name", ["", ".a", "-a", "a/b", "a..b", "a.git", "A.GIT", "a.lock", "a b", "a\n", "x" * 101]
)
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(PolicyError):
        Policy.first(name, GENESIS, A)


@pytest.mark.parametrize("name", ["a", "linux", "a.b-c_d", "9", "x" * 100, "a.gitx"])
def test_good_names_are_taken(name: str) -> None:
    assert Policy.parse(Policy.first(name, GENESIS, A).text()).name == name


PATTERNS_REFUSED = [
    b"refs/gittorrent/*", b"refs/gittorrent/log", b"refs/gittorrent", b"refs/GitTorrent/log",
    b"refs/conflicts/*", b"refs/replace/*", b"refs/replace/abc", b"HEAD", b"*", b"refs*",
    b"heads/main", b"refs/", b"", b"refs/heads/*/x", b"refs/heads/**", b"refs/heads/a b",
    b"refs/heads/..", b"refs/heads/../x", b"refs/heads/a..*", b"refs/heads/.a", b"refs/heads/a.",
    b"refs/heads/a.lock", b"refs//heads", b"refs/heads/", b"refs/heads/a\x7f", b"refs/heads/a\0",
    b"refs/heads/@{", b"refs/heads/a?", b"refs/heads/[a]", b"refs/heads/a\\", b"refs/heads/a~1",
    b"refs/heads/a^", b"refs/heads/a:b", b"refs/heads/" + b"a" * 2000,
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS_REFUSED)
def test_bad_and_reserved_patterns_are_refused(pattern: bytes) -> None:
    with pytest.raises(PolicyError):
        RefPattern(pattern)


def test_patterns_match_names_and_beginnings() -> None:
    assert RefPattern(b"refs/heads/main").matches(b"refs/heads/main")
    assert not RefPattern(b"refs/heads/main").matches(b"refs/heads/main2")
    assert RefPattern(b"refs/heads/*").matches(b"refs/heads/a/b")
    assert not RefPattern(b"refs/heads/*").matches(b"refs/headsx")
    assert RefPattern(b"refs/heads/v1.*").matches(b"refs/heads/v1.2")
    assert RefPattern(b"refs/heads/\xff\xc3*").matches(b"refs/heads/\xff\xc3\x28")
    assert str(RefPattern(b"refs/heads/\xff")) == "refs/heads/\\xff"
    assert is_ref_name(b"refs/heads/@")


def policy_with(*rules: Rule, quorums: tuple[Quorum, ...] = ()) -> Policy:
    return replace(Policy.first("r", GENESIS, C, rules=rules), quorums=quorums)


def rule(pattern: bytes, key: KeyRef = A, grant: Grant = Grant.PLAIN) -> Rule:
    return Rule(RefPattern(pattern), key, grant)


MAIN = b"refs/heads/main"


@pytest.mark.parametrize(
    ("grant", "allowed"),
    [
        (Grant.PLAIN, {Change.CREATE, Change.FORWARD}),
        (Grant.CREATE, {Change.CREATE}),
        (Grant.FORCE, set(Change)),
    ],
)
def test_how_much_each_grant_gives(grant: Grant, allowed: set[Change]) -> None:
    policy = policy_with(rule(b"refs/heads/*", A, grant))
    assert {change for change in Change if policy.allows(MAIN, A, change)} == allowed
    assert not any(policy.allows(MAIN, B, change) for change in Change)
    assert not any(policy.allows(b"refs/tags/v1", A, change) for change in Change)
    assert not any(policy.allows(MAIN, C, change) for change in Change), "a root has no refs"


def test_lines_add_up() -> None:
    policy = policy_with(rule(b"refs/*", A, Grant.CREATE), rule(b"refs/heads/*"))
    assert policy.allows(MAIN, A, Change.FORWARD)
    assert policy.allows(b"refs/tags/v1", A, Change.CREATE)
    assert not policy.allows(b"refs/tags/v1", A, Change.FORWARD)


@pytest.mark.parametrize(
    "ref",
    [
        b"HEAD", b"refs/gittorrent/log", b"refs/gittorrent", b"refs/conflicts/x", b"refs/replace/y",
        b"refs/GITTORRENT/log", b"refs/Replace/y", b"FETCH_HEAD", b"refs", b"refs/", b"",
        b"refs/heads/../gittorrent/log", b"refs/heads/a\nb", b"refs/heads/x.lock",
    ],
)  # fmt: skip
def test_nobody_gets_reserved_or_malformed_names(ref: bytes) -> None:
    policy = policy_with(rule(b"refs/*", A, Grant.FORCE), rule(b"refs/g*", A, Grant.FORCE))
    assert not any(policy.allows(ref, A, change) for change in Change)


def test_a_quorum_line_excludes_every_auth_line() -> None:
    quorum = Quorum(RefPattern(b"refs/heads/rel*"), 2, (A, B))
    policy = policy_with(rule(b"refs/heads/*", A, Grant.FORCE), quorums=(quorum,))
    assert not any(policy.allows(b"refs/heads/release", A, change) for change in Change)
    assert policy.allows(MAIN, A, Change.DELETE)
    assert policy.quorum_for(b"refs/heads/release") == quorum
    assert policy.quorum_for(MAIN) is None


def test_a_web_of_trust_line_allows_nobody_by_itself() -> None:
    policy = policy_with(Rule(RefPattern(b"refs/heads/*"), WebOfTrust(1, 1)))
    assert not policy.allows(MAIN, A, Change.CREATE)
    with pytest.raises(PolicyError):
        Rule(RefPattern(b"refs/heads/*"), WebOfTrust(1, 1), Grant.FORCE)


def test_only_the_keeper_signs_checkpoints_and_reels() -> None:
    policy = Policy.first("r", GENESIS, A, keeper=B)
    assert [policy.may_sign_reels(key) for key in (A, B)] == [False, True]
    assert Policy.first("r", GENESIS, [B, A]).keeper == B, "the first root named"
    later = policy.next_version(HEAD, keeper=A)
    assert Policy.parse(later.text()) == later


def test_the_format_before_is_refused_with_what_to_do() -> None:
    with pytest.raises(OldFormatError) as caught:
        Policy.parse(FIRST.replace(b"policy 2", b"policy 1"))
    assert "publish it anew" in (caught.value.hint or "")


def test_a_first_policy_gives_its_roots_everything() -> None:
    policy = Policy.first("r", GENESIS, [C, A, B], RefName(b"refs/heads/trunk"))
    assert policy.roots == (A, B, C)
    assert policy.threshold == 2
    assert policy.allows(b"refs/notes/x", B, Change.DELETE)
    assert Policy.parse(policy.text()) == policy
    with pytest.raises(PolicyError, match="key line"):
        Policy.first("r", GENESIS, PGP)
    with pytest.raises(PolicyError, match="genesis"):
        Policy.first("r", GENESIS[:-1], A)
    with pytest.raises(PolicyError, match="at least one root"):
        Policy.first("r", GENESIS, [])


def test_the_id_is_the_hash_of_the_first_text() -> None:
    name = repository_id(FIRST)
    assert is_repository_id(name)
    assert base64.b32decode(name.upper() + "====") == hashlib.sha256(FIRST).digest()
    rival = Policy.first("linux", bytes(16), A).text()
    assert repository_id(rival) != name
    with pytest.raises(PolicyError, match="version 1"):
        repository_id(LATER)
    with pytest.raises(PolicyError):
        repository_id(b"anything")


def test_the_next_version_names_this_one() -> None:
    first = Policy.first("r", GENESIS, A)
    second = first.next_version(HEAD, roots=(B,))
    assert Policy.parse(second.text()) == second
    assert (second.version, second.previous, second.checkpoint) == (2, first.digest, HEAD)
    with pytest.raises(PolicyError):
        first.next_version(PushId("short"))
    with pytest.raises(PolicyError):
        replace(first, previous=first.digest)


@pytest.mark.parametrize(
    "text", ["x", "é" * 50, "a  b", "\u202eevil", "\u0085", "ssh:SHA256:x", "#"]
)
def test_labels_that_may_stand_in_a_policy_depend_on_bytes_alone(text: str) -> None:
    policy = Policy.first("r", GENESIS, A)
    named = replace(policy, labels=(Label(A, text),))
    assert Policy.parse(named.text()) == named


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("alice@laptop", "alice@laptop"),
        ("  two\twords\r\n", "two words"),
        ("\x1b[2Jbob\x7f", "[2Jbob"),
        ("\u2028", ""),
        ("", ""),
        ("\udcff", ""),
        ("é" * 60, "é" * 50),
        ("a" * 99 + " b", "a" * 99),
        ("a" * 99 + "é", "a" * 99),
    ],
)
def test_a_label_is_made_of_whatever_a_file_says(said: str, label: str) -> None:
    assert label_from(said) == label
    assert len(label_from(said).encode()) <= MAX_LABEL
    if label:
        Label(A, label)
