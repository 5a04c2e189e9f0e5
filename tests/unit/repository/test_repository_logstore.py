"""The log on disk: what opening reads, what replaying checks, what damage looks like."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from gittorrent.errors import TrustError
from gittorrent.git.runner import Git
from gittorrent.ids import OBJECT_FORMATS, SHA1, PushId, RefName, RepositoryId
from gittorrent.push.log import VerifiedLog
from gittorrent.push.object import PushObject
from gittorrent.repository.layout import Layout
from gittorrent.repository.logstore import (
    LogStore,
    LogStoreError,
    identify,
    listed_pushes,
)
from support import gitcmd
from support.logs import MAIN, Writer, oid
from support.signing import TestSigner

TRUNK = RefName(b"refs/heads/trunk")


def stored(writer: Writer, directory: Path) -> LogStore:
    """Keep a written log on disk."""
    git_dir = gitcmd.init(directory, writer.object_format.name)
    store = LogStore(Layout(git_dir), writer.object_format, writer.repository)
    for push_id, push in writer.pushes:
        store.store_push(push_id, push)
    store.commit(writer.log())
    return store


class Counting(LogStore):
    """Counts the push objects that are read."""

    reads = 0

    def push(self, push: PushId) -> PushObject:
        self.reads += 1
        return super().push(push)


def asked(store: LogStore, writer: Writer, log: VerifiedLog) -> tuple[bytes | None, int]:
    """Return the default branch and how many push objects were read for it."""
    counting = Counting(store._layout, writer.object_format, writer.repository)
    return counting.default_branch(log), counting.reads


def renamed_and_pushed(writer: Writer, pushes: int) -> Writer:
    """Rename the default branch, then push so many times."""
    writer.append(writer.references({MAIN: oid(1)}))
    for number in range(pushes):
        writer.append(writer.references({TRUNK: oid(number + 1), b"refs/heads/a": oid(9)}))
    return writer


def test_a_renamed_default_branch_is_found_once_for_each_push(tmp_path: Path) -> None:
    writer = renamed_and_pushed(Writer(), 50)
    store = stored(writer, tmp_path / "r.git")
    assert asked(store, writer, store.open()) == (TRUNK, 0)
    # The next push reads itself and what the refs were before it, and not the others.
    writer.append(writer.references({b"refs/heads/dev": oid(50)}))
    store.store_push(*writer.pushes[-1])
    log = writer.log()
    assert asked(store, writer, log) == (b"refs/heads/dev", 3)
    store.commit(log)
    assert asked(store, writer, store.open()) == (b"refs/heads/dev", 0)


@pytest.mark.parametrize("damage", [b"", b"refs/heads/main\n", b"\xff\n\xff\n\xff\n", None])
def test_a_default_branch_that_was_not_kept_is_found_anew(
    tmp_path: Path, damage: bytes | None
) -> None:
    """The file may be cut short or absent, as in logs that an older version kept."""
    writer = renamed_and_pushed(Writer(), 5)
    store = stored(writer, tmp_path / "r.git")
    kept = Layout(tmp_path / "r.git").default_branch(writer.repository)
    if damage is None:
        kept.unlink()
    else:
        kept.write_bytes(damage)
    found, reads = asked(store, writer, store.open())
    assert (found, reads > 5) == (TRUNK, True)


def test_a_kept_default_branch_is_of_this_policy_and_this_log(tmp_path: Path) -> None:
    writer = renamed_and_pushed(Writer(), 5)
    store = stored(writer, tmp_path / "r.git")
    kept = Layout(tmp_path / "r.git").default_branch(writer.repository)
    policy, push, branch, _ = kept.read_bytes().split(b"\n")
    assert (policy, branch) == (MAIN, TRUNK)
    # Of a push that is not in the log, as after a publication that a crash cut short.
    kept.write_bytes(b"\n".join((policy, b"1" * len(push), b"refs/heads/a", b"")))
    assert asked(store, writer, store.open())[0] == TRUNK
    kept.write_bytes(b"\n".join((b"refs/heads/other", push, b"refs/heads/a", b"")))
    assert asked(store, writer, store.open())[0] == TRUNK


def test_no_default_branch_is_kept_while_the_policys_exists(tmp_path: Path) -> None:
    writer = lengthen(Writer(), 3)
    stored(writer, tmp_path / "r.git")
    assert not Layout(tmp_path / "r.git").default_branch(writer.repository).exists()


def kept_in(layout: Layout) -> list[str]:
    return sorted(path.parent.name for path in layout.logs.glob("*/log"))


def lengthen(writer: Writer, entries: int) -> Writer:
    for number in range(entries):
        refs = {
            MAIN: oid(number + 1, writer.object_format),
            b"refs/heads/b%d" % (number % 7): oid(1),
        }
        if writer.object_format is not SHA1:
            refs = {MAIN: oid(number + 1, writer.object_format)}
        writer.append(writer.references(refs))
    return writer


def test_long_logs_open_with_few_reads(tmp_path: Path) -> None:
    """Opening reads the policies and the newest references, whatever the log's length."""
    writer = lengthen(Writer(), 100)
    policy = writer.next_policy(name="renamed")
    writer.append(policy)
    lengthen(writer, 100)
    store = stored(writer, tmp_path / "long.git")
    with ReadCounter(tmp_path / "long.git" / "gittorrent" / "pushes") as reads:
        opened = store.open()
    assert len(opened) == 202
    assert reads.count == 3
    log = writer.log()
    assert opened.ids == log.ids
    assert opened.refs == log.refs
    assert opened.policy.policy == log.policy.policy
    replayed = store.replay(Git(tmp_path / "long.git"))
    assert (replayed.ids, replayed.refs) == (log.ids, log.refs)
    with ReadCounter(tmp_path / "long.git" / "gittorrent" / "pushes") as reads:
        store.commit(opened)
    assert reads.count == 0, "what the log lists already is not read to list it again"


@pytest.mark.parametrize("name", ["sha1", "sha256"])
def test_git_hashes_entries_as_the_protocol_says(name: str, tmp_path: Path) -> None:
    writer = lengthen(Writer(object_format=OBJECT_FORMATS[name]), 3)
    git = Git(gitcmd.init(tmp_path / "x.git", name))
    pushes = [push for _, push in writer.pushes]
    ids = [push_id for push_id, _ in writer.pushes]
    assert identify(git, pushes, writer.object_format, write=False) == ids
    assert gitcmd.text(git.directory, "count-objects").startswith("0 objects")
    assert identify(git, pushes, writer.object_format, write=True) == ids
    gitcmd.git(git.directory, "update-ref", "refs/gittorrent/log", ids[-1])
    listed = gitcmd.text(git.directory, "rev-list", "--first-parent", "refs/gittorrent/log")
    assert listed.split() == ids[::-1]
    gitcmd.git(git.directory, "fsck", "--full", "--strict")
    assert identify(git, [], writer.object_format, write=True) == []


def test_refs_at_every_entry(tmp_path: Path) -> None:
    writer = lengthen(Writer(), 4)
    store = stored(writer, tmp_path / "x.git")
    log = VerifiedLog(SHA1)
    for push_id, push in writer.pushes:
        entry = log.admit(push, push_id)
        assert store.refs_at(push_id) == entry.refs
    with pytest.raises(LogStoreError, match="is not in the log"):
        store.refs_at(PushId("ab" * 20))


def test_an_empty_store(tmp_path: Path) -> None:
    store = LogStore(Layout(tmp_path), SHA1, RepositoryId("a" * 52))
    assert store.ids() == []
    assert store.open().head is None
    assert store.push_file(PushId("ab" * 20)) is None


def test_replaying_finds_a_misplaced_entry(tmp_path: Path) -> None:
    writer = lengthen(Writer(), 3)
    store = stored(writer, tmp_path / "x.git")
    older, newer = writer.pushes[1], writer.pushes[2]
    store.store_push(newer[0], older[1])
    with pytest.raises(TrustError, match="its id is"):
        store.replay(Git(tmp_path / "x.git"))


def test_replaying_finds_another_signature(tmp_path: Path) -> None:
    writer = lengthen(Writer(), 3)
    store = stored(writer, tmp_path / "x.git")
    push_id, push = writer.pushes[1]
    stolen = replace(push, signatures=(TestSigner(9).sign(push.text),))
    store.store_push(push_id, stolen)
    with pytest.raises(TrustError, match="names signer"):
        store.replay(Git(tmp_path / "x.git"))
    assert store.open().ids == writer.log().ids, "opening takes recorded entries as they are"


@pytest.mark.parametrize("line", ["x references", "ab references", "", "\u0661 policy"])
def test_a_damaged_list(line: str, tmp_path: Path) -> None:
    writer = lengthen(Writer(), 1)
    store = stored(writer, tmp_path / "x.git")
    path = store.path
    path.write_text(path.read_text() + f"{line}\n")
    with pytest.raises(LogStoreError, match="is damaged"):
        store.ids()
    with pytest.raises(LogStoreError, match="is damaged"):
        store.open()


def one_log_of_old(writer: Writer, directory: Path) -> LogStore:
    """Keep a log where version 0.1 kept the only one."""
    store = stored(writer, directory)
    layout = Layout(directory)
    store.path.rename(layout.only_log)
    store.path.with_name("descents").write_bytes(b"")
    store.path.with_name("descents").rename(layout.only_descents)
    return store


def test_the_one_log_of_old_finds_its_place(tmp_path: Path) -> None:
    writer = lengthen(Writer(), 3)
    store = one_log_of_old(writer, tmp_path / "x.git")
    layout = Layout(tmp_path / "x.git")
    other = LogStore(layout, SHA1, RepositoryId("b" * 52))
    assert listed_pushes(layout) == set(writer.log().ids), "litter to nobody before it moves"
    assert other.ids() == [], "it is nobody else's"
    assert store.open().ids == writer.log().ids
    assert not layout.only_log.exists()
    assert not layout.only_descents.exists()
    assert kept_in(layout) == [writer.repository]
    assert listed_pushes(layout) == set(writer.log().ids)


def test_moving_the_one_log_goes_on_after_a_crash(tmp_path: Path) -> None:
    """The open questions moved and the list did not: the next look moves the list, too."""
    writer = lengthen(Writer(), 3)
    store = one_log_of_old(writer, tmp_path / "x.git")
    layout = Layout(tmp_path / "x.git")
    store.path.parent.mkdir(exist_ok=True)
    layout.only_descents.rename(store.path.with_name("descents"))
    assert store.ids() == writer.log().ids


def test_moving_the_one_log_while_another_process_does(tmp_path: Path) -> None:
    writer = lengthen(Writer(), 3)
    moved = one_log_of_old(writer, tmp_path / "x.git")

    class Overtaken(Layout, frozen=True):
        @property
        def only_log(self) -> Path:
            assert moved.ids() == writer.log().ids
            return super().only_log

    store = LogStore(Overtaken(tmp_path / "x.git"), SHA1, writer.repository)
    assert store.ids() == writer.log().ids


def test_the_one_log_without_its_first_entry(tmp_path: Path) -> None:
    writer = lengthen(Writer(), 1)
    store = one_log_of_old(writer, tmp_path / "x.git")
    Layout(tmp_path / "x.git").push(writer.pushes[0][0]).unlink()
    with pytest.raises(LogStoreError, match="which is missing"):
        store.ids()


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
        assert store.open().ids == writer.log().ids
    layout = Layout(tmp_path / "x.git")
    assert kept_in(layout) == sorted(w.repository for w in (first, second))
    assert listed_pushes(layout) == {*first.log().ids, *second.log().ids}


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
