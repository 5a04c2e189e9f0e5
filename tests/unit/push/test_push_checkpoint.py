"""Checkpoints and listings: what is written is read; anything else is refused with a reason."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gittorrent.errors import TrustError
from gittorrent.ids import SHA1, SHA256, PushId, RefName, RepositoryId
from gittorrent.push.chain import CheckpointError, begin
from gittorrent.push.checkpoint import (
    MAX_TEXT,
    CheckpointTextError,
    Copy,
    Taken,
    parse_changes,
    parse_checkpoint,
    parse_listing,
)
from gittorrent.push.commit import entry_parents, log_commit
from gittorrent.push.listing import BEGINNING, Age, empty_listing, listing_of
from gittorrent.push.object import PushKind, PushObject
from gittorrent.push.rule import Verdict
from gittorrent.push.signed import SignerError, check_signer, read_checkpoint
from support.logs import oid
from support.pushlog import MAIN, World, branch, key, next_policy
from support.signing import TestSigner

ID = RepositoryId("a2" * 26)
KEY = key("alice")
ENTRIES = f"""\
ref {oid(1)} 2.5 refs/heads/a/b
conflict {oid(2)} {oid(8)} {KEY} refs/heads/a/b
conflict {oid(3)} {oid(9)} {KEY} refs/heads/a/b
gone 3.1 refs/heads/gone
ref {oid(4)} 0.0 refs/heads/main
waiting {oid(4)} {SHA1.zero} {oid(8)} 3.2 {KEY} refs/heads/main
waiting {SHA1.zero} {oid(4)} {oid(8)} 3.2 {KEY} refs/heads/not-yet
"""
TEXT = f"""\
object {SHA1.empty_tree}
type tree
tag gittorrent-checkpoint
tagger K <k@example.org> 1700000000 +0000

gittorrent checkpoint 1
repository {ID}
sequence 4
previous {oid(7)}
policy 2 sha256:{"5" * 64}
adopt {oid(6)}
push {oid(8)} refs/heads/main waiting
push {oid(9)} * applied
certificate {oid(9)} sha256:{"4" * 64}
head refs/heads/main 2.1
state {"3" * 64}
whole
{ENTRIES}""".encode()


def test_every_line_is_read() -> None:
    read = parse_checkpoint(TEXT, SHA1)
    assert read.text() == TEXT
    assert (read.number, read.previous, read.version) == (4, PushId(oid(7)), 2)
    assert read.adopted == (PushId(oid(6)),)
    assert read.taken == (
        Taken(PushId(oid(8)), MAIN, Verdict.WAITING),
        Taken(PushId(oid(9)), None, Verdict.APPLIED),
    )
    assert read.copies == (Copy(PushId(oid(9)), "sha256:" + "4" * 64),)
    assert (read.head, read.head_mark, read.whole) == (MAIN, Age(2, 1), True)
    assert read.pushes == (PushId(oid(8)), PushId(oid(9)))
    assert read.listing == ENTRIES.encode()


def test_a_listing_is_read_and_written() -> None:
    entries = parse_listing(ENTRIES.encode(), SHA1)
    known = {entry.ref: entry for entry in entries}
    assert [c.value for c in known[branch("a/b")].conflicts] == [oid(2), oid(3)]
    assert known[branch("gone")].mark == Age(3, 1)
    assert known[MAIN].waiting[0].new is None
    listing = listing_of(MAIN, BEGINNING, entries)
    assert listing.whole_text() == ENTRIES.encode()
    assert listing.open_of(KEY) == 4
    made = empty_listing(MAIN)
    for entry in reversed(entries):
        made = made.with_entry(entry)
    assert made.digest == listing.digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (SHA1.empty_tree, oid(1)),
        ("type tree", "type commit"),
        ("tag gittorrent-checkpoint", "tag gittorrent-refs"),
        ("tagger K <", "tagger K<"),
        (" 1700000000", " 01700000000"),
        ("checkpoint 1\n", "checkpoint 2\n"),
        (ID, ID[1:]),
        ("sequence 4", "sequence 04"),
        ("sequence 4", "sequence 1"),
        ("sequence 4", "sequence 0"),
        ("sequence 4", "sequence 9999999999"),
        (f"previous {oid(7)}\n", ""),
        (f"previous {oid(7)}", f"previous {SHA1.zero}"),
        ("policy 2 sha256:", "policy 2 sha255:"),
        ("policy 2", "policy 0"),
        ("waiting\n", "wating\n"),
        (f"push {oid(9)} *", f"push {oid(9)}"),
        (f"push {oid(9)} *", f"push {oid(8)} refs/heads/main"),
        (f"certificate {oid(9)}", f"certificate {oid(7)}"),
        (f"certificate {oid(9)} sha256:4", f"certificate {oid(9)} sha1:4"),
        (f"certificate {oid(9)}", f"certificate {oid(9)} sha256:{'4' * 64}\ncertificate {oid(9)}"),
        ("head refs/heads/main 2.1", "head refs/tags/main 2.1"),
        ("head refs/heads/main 2.1", "head refs/heads/main 2.0"),
        ("head refs/heads/main 2.1", "head refs/heads/main 2"),
        ("head refs/heads/main 2.1", "head refs/heads/main 2.65536"),
        ("state 3", "state x"),
        ("whole\n", "everything\n"),
    ],
)
def test_anything_else_is_refused(old: str, new: str) -> None:
    text = TEXT.replace(old.encode(), new.encode(), 1)
    assert text != TEXT
    with pytest.raises(TrustError):
        parse_checkpoint(text, SHA1)


def test_one_unit_is_not_taken_in_twice() -> None:
    taken = f"push {oid(9)} * applied\ncertificate {oid(9)} sha256:{'4' * 64}\n".encode()
    twice = TEXT.replace(taken, f"push {oid(8)} refs/heads/main applied\n".encode())
    assert twice != TEXT
    with pytest.raises(CheckpointTextError, match="twice"):
        parse_checkpoint(twice, SHA1)


def test_nothing_makes_it_longer_than_the_limit() -> None:
    """A tagger may have a name of any length."""
    with pytest.raises(CheckpointTextError, match="longer than"):
        parse_checkpoint(TEXT.replace(b"tagger K", b"tagger " + b"K" * MAX_TEXT), SHA1)


@pytest.mark.parametrize("cut", range(0, len(TEXT) - len(ENTRIES), 17))
def test_cut_off(cut: int) -> None:
    with pytest.raises(TrustError):
        parse_checkpoint(TEXT[:cut], SHA1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ref " + oid(4), "ref " + SHA1.zero),
        ("ref " + oid(4) + " 0.0", "ref " + oid(4) + " 0.1"),
        ("gone 3.1", "gone 0.0"),
        ("refs/heads/gone", "refs/heads/zzz"),
        ("refs/heads/main", "refs/heads/a"),
        (f"conflict {oid(2)}", f"conflict {oid(2)} x"),
        (str(KEY), "ssh:SHA256:x"),
        (f"waiting {oid(4)} {SHA1.zero}", f"waiting {SHA1.zero} {SHA1.zero}"),
        (f"gone 3.1 refs/heads/gone\nref {oid(4)}", f"ref {oid(4)}"),
        ("not-yet\n", "not-yet"),
        ("refs/heads/not-yet", "refs/gittorrent/not"),
    ],
)
def test_another_listing_is_refused(old: str, new: str) -> None:
    text = ENTRIES.encode().replace(old.encode(), new.encode())
    if old.startswith("gone 3.1 refs"):
        assert parse_listing(text, SHA1)
        return
    with pytest.raises(TrustError):
        parse_listing(text, SHA1)


def test_of_the_other_object_format() -> None:
    with pytest.raises(TrustError):
        parse_checkpoint(TEXT, SHA256)


def test_signed_checkpoint() -> None:
    signer = TestSigner()
    push = PushObject(PushKind.CHECKPOINT, TEXT, (signer.sign(TEXT),), signer.key)
    assert check_signer(push, PushId(oid(1)), [{}]) == signer.key
    made = read_checkpoint(push, PushId(oid(1)), signer.key, repository=ID, object_format=SHA1)
    assert made.checkpoint.number == 4
    with pytest.raises(SignerError, match="signed by"):
        check_signer(replace(push, signer=TestSigner(2).key), PushId(oid(1)), [{}])
    with pytest.raises(SignerError, match="is of repository"):
        read_checkpoint(
            push, PushId(oid(1)), signer.key,
            repository=RepositoryId("b2" * 26), object_format=SHA1,
        )  # fmt: skip


CHANGES = f"""\
drop refs/heads/a
gone 3.1 refs/heads/gone
ref {oid(4)} 0.0 refs/heads/main
"""


def test_changes_are_read() -> None:
    dropped, gone, main = parse_changes(CHANGES.encode(), SHA1)
    assert dropped.says_nothing
    assert (gone.mark, main.value) == (Age(3, 1), oid(4))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("drop refs/heads/a", "drop refs/heads/z"),
        ("drop refs/heads/a", "drop"),
        ("drop refs/heads/a", "drop refs/gittorrent/log"),
        ("drop refs/heads/a", "drop refs/heads/main"),
        ("drop refs/heads/a", "dropped refs/heads/a"),
        ("main\n", "main"),
        ("drop refs/heads/a\n", "drop refs/heads/a\ndrop refs/heads/a\n"),
    ],
)
def test_other_changes_are_refused(old: str, new: str) -> None:
    text = CHANGES.replace(old, new)
    assert text != CHANGES
    with pytest.raises(TrustError):
        parse_changes(text.encode(), SHA1)


def test_a_log_begins_with_nothing() -> None:
    made = World()
    first = made.first.checkpoint
    for changes in ({"number": 2}, {"head": branch("x")}, {"listing": b"x"}, {"state": "0" * 64},
                    {"adopted": ()}):  # fmt: skip
        with pytest.raises(CheckpointError, match="not the beginning"):
            begin(made.first.id, replace(first, **changes), key("keeper"), made.policy)
    with pytest.raises(CheckpointError, match="the keeper is"):
        begin(made.first.id, first, key("alice"), made.policy)


def test_now_and_then_the_whole_listing() -> None:
    """The changes since the last whole listing never outgrow it, and few listings are whole."""
    made = World()
    keeper = made.mirror()
    names = [RefName(b"refs/heads/%d" % n) for n in range(200)]
    keeper.take(keeper.signed("owner", {name: made.graph.commit() for name in names}))
    wholes = []
    for _ in range(450):
        keeper.push("owner", made.graph.commit(keeper.value(names[0]) or oid(1)), names[0])
        wholes.append(keeper.keep().checkpoint.whole)
        point = keeper.ledger.adopted
        assert point.unlisted <= point.listing.size == len(point.listing.whole_text())
    assert 1 <= wholes.count(True) <= 5


def parents(kind: PushKind, text: bytes) -> tuple[PushId, ...]:
    return entry_parents(PushObject(kind, text, ()), SHA1)


def test_what_the_commits_of_a_log_build_on() -> None:
    """A checkpoint's commit keeps all alive that it takes in; each push is there once."""
    made = World()
    keeper = made.mirror()
    push = keeper.signed("owner", {MAIN: made.graph.commit(), branch("b"): made.graph.commit()})
    keeper.take(push)
    at = keeper.ledger.adopted
    version = next_policy(made.policy, at.id, threshold=1)
    keeper.policy(version)
    second = keeper.keep().checkpoint
    assert len(second.taken) == 2
    assert parents(PushKind.CHECKPOINT, second.text()) == (at.id, version.id, push.id)
    assert parents(PushKind.CHECKPOINT, at.checkpoint.text()) == (made.policy.id,)
    assert parents(PushKind.CERTIFICATE, push.certificate.text()) == (at.id,)
    commit = log_commit("checkpoint", SHA1.empty_tree, (at.id, push.id), 7)
    assert (
        commit
        == (
            f"tree {SHA1.empty_tree}\nparent {at.id}\nparent {push.id}\n"
            "author GitTorrent <log@gittorrent.invalid> 7 +0000\n"
            "committer GitTorrent <log@gittorrent.invalid> 7 +0000\n\ngittorrent checkpoint\n"
        ).encode()
    )
