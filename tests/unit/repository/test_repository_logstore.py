"""The log on disk: what opening reads, what replaying checks, what damage looks like."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from gittorrent.errors import TrustError
from gittorrent.git.runner import Git
from gittorrent.ids import OBJECT_FORMATS, SHA1, Oid, PushId, RefName, RepositoryId
from gittorrent.push.log import VerifiedLog
from gittorrent.repository.layout import Layout
from gittorrent.repository.logstore import (
    FEW,
    FIRST_LINE,
    LogStore,
    LogStoreError,
    identify,
    listed_pushes,
)
from gittorrent.trust.policy import Grant, Rule
from gittorrent.trust.refpattern import RefPattern
from support import gitcmd
from support.logs import MAIN, Numbered, Writer, oid
from support.publishing import builder, grow
from support.signing import TestSigner

SIDE = RefName(b"refs/heads/side")


def stored(writer: Writer, directory: Path) -> LogStore:
    """Keep a written log on disk."""
    git_dir = directory
    if not (directory / "HEAD").exists():
        gitcmd.init(directory, writer.object_format.name)
    store = LogStore(Layout(git_dir), writer.object_format, writer.repository)
    for push_id, push in writer.pushes:
        store.store_push(push_id, push)
    store.commit(writer.log())
    return store


def kept_in(layout: Layout) -> list[str]:
    return sorted(path.parent.name for path in layout.logs.glob("*/log"))


def lengthen(writer: Writer, checkpoints: int) -> Writer:
    """Append so many pushes, each with the checkpoint that takes it."""
    start = writer.state.number
    for number in range(start, start + checkpoints):
        writer.push(
            {
                MAIN: oid(number, writer.object_format),
                b"refs/heads/b%d" % (number % 7): oid(number, writer.object_format),
            }
        )
        writer.keep()
    return writer


MANY = 150
"""Checkpoints without a whole listing that are worth a snapshot."""


def many_refs(writer: Writer) -> Writer:
    """Let there be refs enough that no checkpoint lists them all for a while."""
    writer.push({b"refs/tags/%d" % number: oid(number) for number in range(1, 1000)})
    writer.keep()
    return writer


def same(one: VerifiedLog, other: VerifiedLog) -> bool:
    """Tell whether two logs hold the same and come to the same."""
    looks = [
        (log.entries, log.head, log.refs, log.final_refs, log.default_branch, log.policy.policy)
        for log in (one, other)
    ]
    return looks[0] == looks[1]


class AllRelated(Numbered):
    """What a keeper says for whom everything is a fast-forward."""

    def contains(self, outer: Oid, inner: Oid) -> bool:
        return True


def test_long_logs_open_with_few_reads(tmp_path: Path) -> None:
    """Opening reads the policies and what is newer than a snapshot, whatever the log's length."""
    counts = []
    for length in (MANY, 2 * MANY):
        writer = lengthen(many_refs(Writer()), length // 2)
        writer.append(writer.next_policy(name="renamed"))
        lengthen(writer, length - length // 2)
        writer.push({MAIN: oid(5000)})
        store = stored(writer, tmp_path / f"{length}.git")
        pushes = tmp_path / f"{length}.git" / "gittorrent" / "pushes"
        with ReadCounter(pushes) as reads:
            opened = store.open(Numbered())
            assert opened.refs[MAIN] == oid(5000)
        counts.append(reads.count)
        assert same(opened, writer.log())
        assert store.ids() == opened.ids
        assert store.head() == opened.head
        assert store.entries() == opened.entries
        with ReadCounter(pushes) as reads:
            store.commit(opened)
        assert reads.count == 0, "what the log lists already is not read to list it again"
    assert counts[0] == counts[1] <= 5


def test_a_log_that_grows_is_written_as_if_anew(tmp_path: Path) -> None:
    """Also where somebody else wrote it meanwhile, or a checkpoint waits."""
    writer = lengthen(Writer(), 2)
    store = stored(writer, tmp_path / "x.git")
    log, known = store.open(Numbered()), len(writer.pushes)
    lengthen(writer, 6)
    entries = writer.pushes[known:]
    entries[4:6] = entries[5], entries[4]
    for number, (push_id, push) in enumerate(entries):
        store.store_push(push_id, push)
        log.admit(push, push_id)
        log.settle()
        if number == 7:
            LogStore(Layout(tmp_path / "x.git"), SHA1, writer.repository).commit(store.open())
        store.commit(log)
        lines = [FIRST_LINE, *(record.line() for record in log.records)]
        assert store.path.read_text() == "".join(f"{line}\n" for line in lines)
    assert store.open(Numbered()).refs == writer.log().refs


def test_a_snapshot_can_be_thrown_away(tmp_path: Path) -> None:
    writer = lengthen(many_refs(Writer()), MANY)
    store = stored(writer, tmp_path / "x.git")
    kept = Layout(tmp_path / "x.git").snapshot(writer.repository)
    whole = kept.read_bytes()
    for data in (whole[:-1], whole[:100], b"", whole.replace(b"1", b"2", 1), None):
        kept.unlink() if data is None else kept.write_bytes(data)
        assert same(store.open(), writer.log())
    # One of a checkpoint that was taken back, as by the roots with a new keeper.
    other = lengthen(many_refs(Writer()), MANY + 1)
    stored(other, tmp_path / "other.git")
    kept.write_bytes(Layout(tmp_path / "other.git").snapshot(other.repository).read_bytes())
    assert same(store.open(), writer.log())


@pytest.mark.parametrize("name", ["sha1", "sha256"])
def test_git_hashes_entries_as_the_protocol_says(name: str, tmp_path: Path) -> None:
    writer = lengthen(Writer(object_format=OBJECT_FORMATS[name]), 3)
    git = Git(gitcmd.init(tmp_path / "x.git", name))
    pushes = [push for _, push in writer.pushes]
    ids = [push_id for push_id, _ in writer.pushes]
    assert identify(git, pushes, writer.object_format, write=False) == ids
    assert gitcmd.text(git.directory, "count-objects").startswith("0 objects")
    assert identify(git, pushes, writer.object_format, write=True) == ids
    assert identify(git, pushes * FEW, writer.object_format, write=False) == ids * FEW
    gitcmd.git(git.directory, "update-ref", "refs/gittorrent/log", ids[-1])
    listed = gitcmd.text(git.directory, "rev-list", "--topo-order", "refs/gittorrent/log")
    assert sorted(listed.split()) == sorted(ids)
    gitcmd.git(git.directory, "fsck", "--full", "--strict")
    assert identify(git, [], writer.object_format, write=True) == []


def test_refs_at_every_checkpoint(tmp_path: Path) -> None:
    writer, expected = Writer(), {}
    for number in range(1, 72):
        refs = {MAIN: oid(number), **{b"refs/heads/b%d" % n: oid(9) for n in range(number % 5)}}
        expected[writer.publish(refs)] = refs
    store = stored(writer, tmp_path / "x.git")
    opened = store.open()
    assert opened.ids[1:] == list(expected)
    for checkpoint, refs in expected.items():
        assert store.refs_at(checkpoint) == refs
        assert opened.refs_at(checkpoint) == refs
    with pytest.raises(LogStoreError, match="is not in the log"):
        store.refs_at(PushId("ab" * 20))


def test_an_empty_store(tmp_path: Path) -> None:
    store = LogStore(Layout(tmp_path), SHA1, RepositoryId("a" * 52))
    assert store.ids() == []
    assert store.head() is None
    assert store.open().head is None
    assert store.push_file(PushId("ab" * 20)) is None


def test_pushes_that_none_took_are_judged_by_the_objects_here(tmp_path: Path) -> None:
    b = builder(tmp_path / "x.git")
    grow(b, 3)
    new, old = (Oid(gitcmd.text(b.git_dir, "rev-parse", f"main~{n}")) for n in (0, 2))
    writer = Writer()
    writer.publish({MAIN: old, SIDE: oid(1)})
    writer.push({MAIN: new})
    writer.push({SIDE: oid(2)})
    log = stored(writer, b.git_dir).open()
    assert log.refs == {MAIN: new, SIDE: oid(1)}
    assert [push.certificate.lines[0].ref for push in log.unjudged] == [SIDE]


def test_what_was_believed_is_replayed_when_the_objects_come(tmp_path: Path) -> None:
    b = builder(tmp_path / "x.git")
    grow(b, 3)
    new, old = (Oid(gitcmd.text(b.git_dir, "rev-parse", f"main~{n}")) for n in (0, 2))
    writer = Writer(facts=AllRelated())
    writer.publish({MAIN: old, SIDE: oid(1)})
    made = writer.state.head
    moved, gone = (
        writer.publish({MAIN: new, SIDE: oid(1)}),
        writer.publish({MAIN: new, SIDE: oid(2)}),
    )
    store = stored(writer, b.git_dir)
    log = VerifiedLog(SHA1)
    for push_id, push in writer.pushes:
        log.admit(push, push_id)
    log.settle()
    assert log.followed >= {moved, gone}
    store.judge_again(log)
    assert gone in log.followed
    assert moved not in log.followed
    replayed = store.replay()
    assert replayed.refs == log.refs
    assert replayed.followed == {made, gone}


def test_a_checkpoint_that_lies_is_found_when_the_objects_come(tmp_path: Path) -> None:
    """The keeper said of a push that it moved a branch forward, and it does not."""
    b = builder(tmp_path / "x.git")
    grow(b, 2)
    grow(b, 1, branch="alone", name="alone")
    first, alone = (Oid(gitcmd.text(b.git_dir, "rev-parse", ref)) for ref in ("main", "alone"))
    pusher, writer = TestSigner(5), Writer(facts=AllRelated())
    plain = Rule(RefPattern(b"refs/*"), pusher.key, Grant.PLAIN)
    writer.append(writer.next_policy(rules=(*writer.first_policy.rules, plain)))
    writer.publish({MAIN: first})
    writer.push({MAIN: alone}, signer=pusher)
    writer.keep()
    store = stored(writer, b.git_dir)
    log = VerifiedLog(SHA1)
    for push_id, push in writer.pushes:
        log.admit(push, push_id)
    log.settle()
    assert log.refs[MAIN] == alone
    with pytest.raises(TrustError, match="by the rule it is"):
        store.judge_again(log)


def test_replaying_finds_a_misplaced_entry(tmp_path: Path) -> None:
    writer = lengthen(Writer(), 3)
    store = stored(writer, tmp_path / "x.git")
    older, newer = writer.pushes[2], writer.pushes[4]
    store.store_push(newer[0], older[1])
    with pytest.raises(TrustError, match="its id is"):
        store.replay()


def test_replaying_finds_another_signature(tmp_path: Path) -> None:
    writer = lengthen(Writer(), 3)
    store = stored(writer, tmp_path / "x.git")
    push_id, push = writer.pushes[1]
    stolen = replace(push, signatures=(TestSigner(9).sign(push.text),))
    store.store_push(push_id, stolen)
    with pytest.raises(TrustError, match="names signer"):
        store.replay()
    assert store.open().ids == writer.log().ids, "opening takes recorded entries as they are"


@pytest.mark.parametrize("line", ["x checkpoint", "ab policy", "", "\u0661 policy"])
def test_a_damaged_list(line: str, tmp_path: Path) -> None:
    writer = lengthen(Writer(), 1)
    store = stored(writer, tmp_path / "x.git")
    path = store.path
    path.write_text(path.read_text() + f"{line}\n")
    with pytest.raises(LogStoreError, match="is damaged"):
        store.ids()
    with pytest.raises(LogStoreError, match="is damaged"):
        store.open()


@pytest.mark.parametrize("only", [True, False])
def test_a_log_of_version_0_1(only: bool, tmp_path: Path) -> None:
    layout, repository = Layout(gitcmd.init(tmp_path / "x.git")), RepositoryId("a" * 52)
    path = layout.only_log if only else layout.log(repository)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{oid(1)} policy\n{oid(2)} references\n")
    store = LogStore(layout, SHA1, repository)
    for look in (store.ids, store.head, store.open):
        with pytest.raises(LogStoreError, match="was made by gittorrent 0") as raised:
            look()
        assert "publishes the repository anew" in (raised.value.hint or "")


def test_a_log_in_the_place_of_another(tmp_path: Path) -> None:
    writer = lengthen(Writer(), 3)
    store = stored(writer, tmp_path / "x.git")
    other = LogStore(Layout(tmp_path / "x.git"), SHA1, RepositoryId("b" * 52))
    other.path.parent.mkdir()
    other.path.write_bytes(store.path.read_bytes())
    with pytest.raises(LogStoreError, match="it is the log of repository"):
        other.open()
    with pytest.raises(LogStoreError, match="cannot become"):
        other.commit(writer.log())


def test_logs_of_several_repositories(tmp_path: Path) -> None:
    first, second = lengthen(Writer(), 2), lengthen(Writer(genesis=b"another genesis!"), 3)
    stores = [stored(first, tmp_path / "x.git"), stored(second, tmp_path / "x.git")]
    for writer, store in zip((first, second), stores, strict=True):
        assert same(store.open(), writer.log())
    layout = Layout(tmp_path / "x.git")
    assert kept_in(layout) == sorted(w.repository for w in (first, second))
    assert listed_pushes(layout) == {*first.log().entries, *second.log().entries}


class ReadCounter:
    """Counts the files below a folder that are opened while it is active."""

    active: ReadCounter | None = None
    installed = False

    def __init__(self, folder: Path) -> None:
        self.count = 0
        self._folder = str(folder)

    def __enter__(self) -> ReadCounter:
        if not ReadCounter.installed:
            sys.addaudithook(ReadCounter._heard)
            ReadCounter.installed = True
        ReadCounter.active = self
        return self

    def __exit__(self, *_: object) -> None:
        ReadCounter.active = None

    @staticmethod
    def _heard(event: str, arguments: tuple[Any, ...]) -> None:
        counter = ReadCounter.active
        if counter and event == "open" and str(arguments[0]).startswith(counter._folder):
            counter.count += 1
