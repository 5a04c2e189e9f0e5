"""Taking in what other mirrors send: pushes with their packs, checkpoints, and lies."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.ids import Oid, PushId, RefName
from gittorrent.push.admission import MAX_WAITING_CHECKPOINTS, PUSH_PATIENCE
from gittorrent.push.certificate import Line
from gittorrent.push.rule import Reason
from gittorrent.push.spreading import Item
from gittorrent.repository.arrived_objects import Arrived
from gittorrent.repository.carried import MIRROR, open_carried
from gittorrent.repository.kept_log import KeptLog
from gittorrent.repository.signed_entries import EntrySigner
from gittorrent.repository.taking_in import DATE_SECONDS, TakenIn, TakingIn
from gittorrent.repository.uploads import SMALL_BYTES
from gittorrent.transfer.repository_content import RepositoryContent
from gittorrent.trust.policy import Grant
from support import nodes
from support.copying import copy_tree
from support.gitcmd import git, text
from support.publishing import (
    author,
    builder,
    grow,
    let_push,
    note_entries,
    publish,
    push_elsewhere,
)
from support.repositories import noise
from support.signing import TestSigner

MAIN = RefName(b"refs/heads/main")
ALICE, STRANGER, KEEPER = TestSigner(2), TestSigner(3), TestSigner()
NOW = 1_700_000_000


FORK = RefName(b"refs/heads/fork")


class Pair:
    """A repository that pushes came into, and a mirror of it that hears of them."""

    def __init__(self, directory: Path) -> None:
        self.there = directory / "there.git"
        grow(builder(self.there), 3)
        publish(self.there, name="project")
        let_push(self.there, ALICE, pattern="refs/*", grant=Grant.FORCE)
        self.mirror = directory / "mirror.git"
        copy_tree(self.there, self.mirror)
        carried = open_carried(self.mirror)
        carried.set_info(replace(carried.info, role=MIRROR, source="git://127.0.0.1/project"))
        self.seconds = 0.0
        self.now = float(NOW)
        self.commits = 0
        self.open()

    def open(self) -> None:
        """Begin anew to take in, as a node that starts."""
        kept = KeptLog(open_carried(self.mirror))
        self.taking = TakingIn(kept, lambda: self.now, lambda: self.seconds)

    def note(self, *entries: Arrived) -> None:
        """Put entries into the mirror's log, and none of their objects."""
        note_entries(open_carried(self.mirror), {each.id: each.data for each in entries})

    def value(self, ref: RefName = MAIN) -> Oid | None:
        """What a ref is at the mirror, for git and in its log, which agree."""
        carried = open_carried(self.mirror)
        found = carried.log().refs.get(ref)
        lines = text(self.mirror, "for-each-ref", "--format=%(objectname)", ref.decode())
        assert lines == (found or "")
        return found

    def commit(self, *parents: Oid) -> Oid:
        """Make a commit that the mirror does not have."""
        tree = text(self.there, "rev-parse", f"{MAIN.decode()}^{{tree}}")
        words = [word for parent in parents for word in ("-p", parent)]
        self.commits += 1
        message = f"commit {self.commits}"
        return Oid(text(self.there, "commit-tree", tree, *words, "-m", message))

    def large_commit(self, parent: Oid) -> Oid:
        """Make a commit of a file that is too large to be unpacked, which the mirror lacks."""
        content = noise("large", SMALL_BYTES + 1)
        blob = git(self.there, "hash-object", "-w", "--stdin", stdin=content).decode().strip()
        entry = f"100644 blob {blob}\tfile\n".encode()
        tree = git(self.there, "mktree", stdin=entry).decode().strip()
        return Oid(text(self.there, "commit-tree", tree, "-p", parent, "-m", "large"))

    def push(
        self, old: Oid | None, new: Oid, ref: RefName = MAIN, signer: TestSigner = ALICE
    ) -> Arrived:
        """Push there; return what the mirror is sent."""
        (push,) = push_elsewhere(self.there, [Line(old, new, ref)], signer)
        words = f"{new}\n" + (f"^{old}\n" if old else f"^{self.value()}\n")
        pack = git(
            self.there, "pack-objects", "--stdout", "--revs", "--thin", "-q", stdin=words.encode()
        )
        return Arrived(push, self.data(push), pack)

    def keep(self, time: int = NOW) -> Arrived:
        """Let the keeper sign there."""
        carried = open_carried(self.there)
        with carried.writing():
            log = carried.log()
            checkpoint = EntrySigner(carried, log, KEEPER, author(time)).checkpoint()
            carried.commit(log)
        return Arrived(checkpoint, self.data(checkpoint))

    def data(self, push: PushId) -> bytes:
        found = open_carried(self.there).log_store.push_file(push)
        assert found is not None
        return found


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def test_an_ordinary_push_is_taken_in_with_three_runs_of_git(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Starting git is most of what it costs to pass a small push on."""
    first = pair.commit(pair.value() or Oid(""))
    pair.taking.take([pair.push(pair.value(), first)])  # what is read once is read now
    second = pair.commit(first)
    arrived = pair.push(first, second)
    listed, program = tmp_path / "runs", tmp_path / "git"
    program.write_text(f'#!/bin/sh\necho "$*" >> {listed}\nexec {shutil.which("git")} "$@"\n')
    program.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setenv("GITTORRENT_GIT", str(program))
        done = pair.taking.take([arrived])
    assert done.new == [Item(arrived.id)]
    runs = [
        next(w for w in line.split() if w[0] != "-") for line in listed.read_text().splitlines()
    ]
    assert runs == ["unpack-objects", "rev-list", "update-ref"]
    assert pair.value() == second


def test_a_push_with_its_pack(pair: Pair) -> None:
    old = pair.value()
    assert old is not None
    new = pair.commit(old)
    push = pair.push(old, new)
    assert pair.taking.take([push]) == TakenIn(new=[Item(push.id)])
    assert pair.value() == new
    assert pair.taking.take([push]) == TakenIn()


def test_a_checkpoint_that_takes_it(pair: Pair) -> None:
    old = pair.value()
    assert old is not None
    new = pair.commit(old)
    push, checkpoint = pair.push(old, new), pair.keep()
    number = open_carried(pair.there).log().number
    done = pair.taking.take([push, checkpoint])
    assert done == TakenIn(new=[Item(push.id), Item(checkpoint.id, number)])
    log = open_carried(pair.mirror).log()
    assert (log.head, log.final_refs[MAIN]) == (checkpoint.id, new)
    assert text(pair.mirror, "rev-parse", "refs/gittorrent/log") == checkpoint.id


def test_a_checkpoint_that_comes_first_says_what_it_lacks(pair: Pair) -> None:
    old = pair.value()
    assert old is not None
    push, checkpoint = pair.push(old, pair.commit(old)), pair.keep()
    done = pair.taking.take([checkpoint])
    assert done.lacking == {push.id}
    assert pair.value() == old
    pair.taking.take([push])
    assert open_carried(pair.mirror).log().head == checkpoint.id


def test_objects_that_are_missing(pair: Pair) -> None:
    old = pair.value()
    assert old is not None
    new = pair.commit(pair.commit(old))
    whole = pair.push(old, new)
    for pack in (None, b"PACK", whole.pack[:-30] if whole.pack else None, _pack_of(pair, new)):
        broken = Arrived(whole.id, whole.data, pack)
        assert pair.taking.take([broken]) == TakenIn(incomplete=[broken])
        assert pair.value() == old
    assert pair.taking.take([whole]) == TakenIn(new=[Item(whole.id)])
    assert not list(open_carried(pair.mirror).layout.uploads.glob("*"))


@pytest.mark.parametrize("ref", [MAIN, FORK, RefName(b"refs/tags/v1"), RefName(b"refs/notes/x")])
def test_a_checkpoint_waits_for_the_objects_of_what_it_takes(pair: Pair, ref: RefName) -> None:
    """A push came into the log with the log of a mirror, which did not give its objects."""
    before, head = pair.value(ref), open_carried(pair.mirror).log().head
    new = pair.commit(pair.value() or Oid(""))
    push = pair.push(before, new, ref)
    pair.note(push)
    assert pair.taking.without_objects(open_carried(pair.mirror).log()) <= {push.id}
    other = pair.push(None, pair.commit(pair.commit()), RefName(b"refs/heads/other"))
    checkpoint = pair.keep()
    done = pair.taking.take([other, checkpoint])
    assert done.new == [Item(other.id)], "nothing else is held up"
    assert [each.id for each in done.incomplete] == [push.id, checkpoint.id]
    assert done.lacking == {push.id}
    log = open_carried(pair.mirror).log()
    assert log.head == head
    assert pair.taking.without_objects(log) == {push.id}
    assert pair.taking.take([push]).new == [Item(push.id)]
    assert pair.value(ref) == new
    assert [each.id for each in pair.taking.take([checkpoint]).new] == [checkpoint.id]
    assert open_carried(pair.mirror).log().head == checkpoint.id


def test_objects_that_were_lost_come_again(pair: Pair) -> None:
    old = pair.value()
    assert old is not None
    new = pair.commit(old)
    push = pair.push(old, new)
    pair.taking.take([push])
    (pair.mirror / "objects" / new[:2] / new[2:]).unlink()
    pair.open()
    checkpoint = pair.keep()
    assert checkpoint in pair.taking.take([checkpoint]).incomplete
    done = pair.taking.take([push, checkpoint])
    assert [each.id for each in done.new] == [push.id, checkpoint.id]
    assert pair.value() == new
    git(pair.mirror, "fsck", "--no-dangling")


@pytest.mark.parametrize("ref", [MAIN, RefName(b"refs/tags/v1")])
def test_a_mirror_that_adopted_more_than_it_has_is_not_stuck(pair: Pair, ref: RefName) -> None:
    """Earlier versions did, and so may a crash: what brings objects writes here, too."""
    before = pair.value(ref)
    push = pair.push(before, pair.commit(pair.value() or Oid("")), ref)
    pair.note(push, pair.keep())
    assert text(pair.mirror, "for-each-ref", "--format=%(objectname)", ref.decode()) == (
        before or ""
    )
    pair.open()
    git(pair.mirror, "unpack-objects", "-q", stdin=push.pack or b"")
    with open_carried(pair.mirror).writing():
        assert pair.value(ref) not in (None, before)


def test_one_without_its_objects_keeps_no_other_up(pair: Pair) -> None:
    old = pair.value()
    assert old is not None
    first = pair.push(old, pair.commit(old))
    other = pair.push(None, pair.commit(old), RefName(b"refs/heads/other"))
    broken = Arrived(first.id, first.data, None)
    done = pair.taking.take([broken, other])
    assert done == TakenIn(new=[Item(other.id)], incomplete=[broken])


def test_pushes_that_contradict_each_other_come_together(pair: Pair) -> None:
    """What is shown of them is asked of objects that are no longer where they were unpacked."""
    old = pair.value()
    assert old is not None
    left, right = pair.commit(old), pair.commit(old)
    elsewhere = pair.there.with_name("elsewhere.git")
    copy_tree(pair.there, elsewhere)
    first = pair.push(old, left)
    pair.there = elsewhere
    second = pair.push(old, right)
    done = pair.taking.take([first, second])
    assert [item.id for item in done.new] == [first.id, second.id]
    refs = open_carried(pair.mirror).log().refs
    assert {left, right} <= set(refs.values())


def test_a_push_waits_for_the_one_it_builds_on(pair: Pair) -> None:
    old = pair.value()
    assert old is not None
    middle = pair.commit(old)
    first = pair.push(old, middle)
    second = pair.push(middle, pair.commit(middle))
    assert pair.taking.take([second]) == TakenIn(kept=[second.id])
    assert pair.taking.next_deadline() == PUSH_PATIENCE
    done = pair.taking.take([first])
    assert done == TakenIn(new=[Item(first.id), Item(second.id)])
    assert pair.taking.next_deadline() is None


def test_a_large_pack_is_kept_as_it_came(pair: Pair) -> None:
    """Others are unpacked, of the same batch and such as build on it."""
    old = pair.value()
    assert old is not None
    large = pair.large_commit(old)
    after = pair.commit(large)
    arrived = [pair.push(old, large), pair.push(None, pair.commit(old), FORK)]
    arrived += [pair.push(large, after)]
    before = set(pair.mirror.glob("objects/pack/*.pack"))
    done = pair.taking.take(arrived)
    assert [item.id for item in done.new] == [each.id for each in arrived]
    assert pair.value() == after
    kept = set(pair.mirror.glob("objects/pack/*.pack")) - before
    assert max(pack.stat().st_size for pack in kept) > SMALL_BYTES
    assert all(path.stat().st_size < SMALL_BYTES for path in pair.mirror.glob("objects/??/*"))
    git(pair.mirror, "fsck", "--full")


def test_a_large_pack_that_lacks_something_is_not_taken(pair: Pair) -> None:
    old = pair.value()
    assert old is not None
    middle = pair.commit(old)
    arrived = pair.push(old, pair.large_commit(middle))
    lacking = git(
        pair.there, "pack-objects", "--stdout", "--revs", "--thin", "-q",
        stdin=f"{open_carried(pair.there).log().refs[MAIN]}\n^{middle}\n".encode(),
    )  # fmt: skip
    done = pair.taking.take([Arrived(arrived.id, arrived.data, lacking)])
    assert [each.id for each in done.incomplete] == [arrived.id]
    assert pair.value() == old


def test_a_clock_that_was_behind_is_set(pair: Pair) -> None:
    """Nobody sends anything then, but what waited for its date is due."""
    pair.now -= 40 * 86400
    checkpoint = pair.keep()
    assert pair.taking.take([checkpoint]) == TakenIn(kept=[checkpoint.id])
    assert pair.taking.next_deadline() == DATE_SECONDS
    assert pair.taking.due() == TakenIn()
    assert pair.taking.waiting == {checkpoint.id}
    pair.now, pair.seconds = float(NOW), DATE_SECONDS
    assert [item.id for item in pair.taking.due().new] == [checkpoint.id]
    assert pair.taking.next_deadline() is None
    assert pair.taking.waiting == frozenset()


def test_what_gave_way_while_it_waited_can_come_again(pair: Pair) -> None:
    """A keeper goes on for long while a mirror's clock is behind."""
    pair.now -= 40 * 86400
    signed = [pair.keep(NOW + number) for number in range(MAX_WAITING_CHECKPOINTS + 1)]
    for checkpoint in signed:
        pair.taking.take([checkpoint])
    assert pair.taking.waiting == {each.id for each in signed[1:]}
    pair.now = NOW + MAX_WAITING_CHECKPOINTS
    done = pair.taking.due()
    assert signed[0].id in done.lacking
    again = pair.taking.take([signed[0]])
    assert next(item.id for item in again.new) == signed[0].id


def test_an_hour_at_most(pair: Pair) -> None:
    old = pair.value()
    assert old is not None
    middle = pair.commit(old)
    pair.push(old, middle)
    new = pair.commit(middle)
    words = f"{new}\n^{old}\n".encode()
    second = pair.push(middle, new)
    whole = git(pair.there, "pack-objects", "--stdout", "--revs", "--thin", "-q", stdin=words)
    pair.taking.take([Arrived(second.id, second.data, whole)])
    pair.seconds = PUSH_PATIENCE
    assert pair.taking.due() == TakenIn(new=[Item(second.id)])
    assert pair.value() == old
    log = open_carried(pair.mirror).log()
    assert [name for name in log.refs if name.startswith(b"refs/conflicts/")]


def test_branches_become_commits_and_nothing_else(pair: Pair) -> None:
    old = pair.value()
    assert old is not None
    blob = Oid(text(pair.there, "hash-object", "-w", "--stdin", stdin=b"no commit\n"))
    there = open_carried(pair.there)
    push = nodes.push_on(there, ALICE, {RefName(b"refs/heads/blob"): blob})
    bad = Arrived(push, pair.data(push), _pack_of(pair, blob))
    good = pair.push(old, pair.commit(old))
    done = pair.taking.take([bad, good])
    assert done == TakenIn(new=[Item(bad.id), Item(good.id)])
    log = open_carried(pair.mirror).log()
    assert RefName(b"refs/heads/blob") not in log.refs
    refused = [j.outcome.reason for j in log.ledger.view().judged if j.unit.push.id == bad.id]
    assert refused == [Reason.NO_COMMIT]


def test_hidden_objects_are_not_shown_by_naming_them(pair: Pair) -> None:
    """Whoever may push and knows the id of what lies here and is not shown gets none of it."""
    old = pair.value()
    assert old is not None
    hidden = pair.commit(old)
    git(pair.mirror, "fetch", "-q", str(pair.there), f"{hidden}:refs/gittorrent/elsewhere/heads/x")
    content = RepositoryContent(open_carried(pair.mirror))
    named = pair.push(old, hidden)
    for pack in (None, _pack_of(pair, old)):
        done = pair.taking.take([Arrived(named.id, named.data, pack)])
        assert [each.id for each in done.incomplete] == [named.id]
        assert not done.new
        assert pair.value() == old
        assert content.push_pack(named.id) is None
    assert pair.taking.take([named]).new == [Item(named.id)], "who has it may push it"


def test_what_does_not_hold(pair: Pair) -> None:
    old = pair.value()
    assert old is not None
    true = pair.push(old, pair.commit(old))
    junk = Arrived(true.id, b"nothing", true.pack)
    other = Arrived(PushId("f" * 40), true.data, true.pack)
    forged = Arrived(true.id, true.data.replace(b"A", b"B"), true.pack)
    for lie in (junk, other, forged):
        done = pair.taking.take([lie])
        assert list(done.faults) == [lie.id]
        assert pair.value() == old
    assert pair.taking.take([true]).new == [Item(true.id)]


def test_a_checkpoint_dated_ahead_waits(pair: Pair) -> None:
    old = pair.value()
    assert old is not None
    push, checkpoint = pair.push(old, pair.commit(old)), pair.keep(NOW + 3600)
    done = pair.taking.take([push, checkpoint])
    assert done == TakenIn(new=[Item(push.id)], kept=[checkpoint.id])
    assert pair.taking.due() == TakenIn()


def test_pushes_that_a_checkpoint_dated_ahead_takes_are_lacked(pair: Pair) -> None:
    """Who has adopted it tells of them no more, and here they are shown until its time."""
    old = pair.value()
    assert old is not None
    push, checkpoint = pair.push(old, pair.commit(old)), pair.keep(NOW + 3600)
    done = pair.taking.take([checkpoint])
    assert (done.kept, done.lacking) == ([checkpoint.id], frozenset({push.id}))
    assert pair.taking.take([push]) == TakenIn(new=[Item(push.id)])


def _pack_of(pair: Pair, oid: Oid) -> bytes:
    """Return a pack with one object."""
    return git(pair.there, "pack-objects", "--stdout", "-q", stdin=f"{oid}\n".encode())
