"""Origins that others push around: through mirrors, while people go on pushing by ordinary ssh."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gittorrent.ids import Oid, RefName
from gittorrent.push.certificate import Line
from gittorrent.push.log import NotAllowedError, VerifiedLog
from gittorrent.push.object import PushKind
from gittorrent.push.origin_refs import Trouble
from gittorrent.push.publication import HeadChange
from gittorrent.repository.carried import PUBLISHED
from gittorrent.repository.last_published import RememberedPast
from gittorrent.repository.origin_refs import follow_in_origin
from gittorrent.repository.publish import Published
from gittorrent.repository.publishable import list_selected
from gittorrent.repository.reel_tips import changed_since
from gittorrent.repository.ref_listing import RefListing
from gittorrent.repository.unpublished import unpublished_refs
from gittorrent.trust.policy import Grant, Quorum
from gittorrent.trust.refpattern import RefPattern
from support import gitcmd
from support.nodes import push_on
from support.publishing import builder, carried, grow, let_push, publish, push_elsewhere
from support.repositories import Builder
from support.signing import TestSigner

OWNER, ALICE, BOB, CAROL = map(TestSigner, (1, 2, 3, 4))
MAIN, DEV, TRUNK = (RefName(b"refs/heads/" + name) for name in (b"main", b"dev", b"trunk"))
KEPT = b"refs/gittorrent/elsewhere/heads/"


@pytest.fixture
def b(tmp_path: Path) -> Builder:
    """An origin with two branches; Alice may do everything to it, as its owner may."""
    made = builder(tmp_path / "project.git")
    grow(made, 2)
    grow(made, 1, "dev", "d")
    publish(made.git_dir, name="project")
    let_push(made.git_dir, ALICE, pattern="refs/*", grant=Grant.FORCE)
    return made


def value(b: Builder, name: str) -> Oid:
    return Oid(gitcmd.text(b.git_dir, "rev-parse", name))


def commit(b: Builder, *parents: str) -> Oid:
    """Make a commit that no ref has."""
    tree = value(b, f"{parents[0]}^{{tree}}")
    words = [word for parent in parents for word in ("-p", parent)]
    words += ["-m", f"on {parents} {len(gitcmd.text(b.git_dir, 'count-objects'))}"]
    return Oid(gitcmd.text(b.git_dir, "commit-tree", tree, *words))


def there(b: Builder, ref: RefName, new: Oid | None, keeper: TestSigner | None = OWNER) -> None:
    """Let Alice push to a mirror."""
    old = carried(b.git_dir).log().refs.get(ref)
    push_elsewhere(b.git_dir, [Line(old, new, ref)], ALICE, keeper=keeper)


def shown(b: Builder) -> dict[bytes, Oid]:
    refs = carried(b.git_dir).log().refs
    return {bytes(ref): oid for ref, oid in refs.items()}


def own(b: Builder) -> dict[bytes, str]:
    return {bytes(ref): oid for ref, oid in gitcmd.refs(b.git_dir).items()}


def troubles(done: Published) -> dict[bytes, Trouble]:
    return {bytes(each.ref): each.trouble for each in done.parted}


def test_what_others_pushed_is_taken_over_and_not_reverted(b: Builder) -> None:
    ahead = commit(b, "main")
    there(b, MAIN, ahead)
    there(b, TRUNK, value(b, "dev"))
    there(b, DEV, None)
    grow(b, 1, "own", "w")
    done = publish(b.git_dir)
    assert [(c.name, c.change) for c in done.taken] == [
        (DEV, "deleted"), (MAIN, "moved"), (TRUNK, "created"),
    ]  # fmt: skip
    assert [(c.name, c.change) for c in done.changes] == [(b"refs/heads/own", "created")]
    assert shown(b)[MAIN] == value(b, "main") == ahead
    assert DEV not in own(b)
    assert {r: o for r, o in own(b).items() if r.startswith(b"refs/heads/")} == shown(b)


def test_both_sides_moved_and_a_merge_ends_it(b: Builder) -> None:
    theirs, ours = commit(b, "main"), commit(b, "main", "dev")
    there(b, MAIN, theirs)
    b.set_ref("refs/heads/main", ours)
    done = publish(b.git_dir)
    assert troubles(done) == {MAIN: Trouble.BOTH_MOVED}
    assert (shown(b)[MAIN], value(b, "main")) == (theirs, ours)
    assert own(b)[KEPT + b"main"] == theirs
    assert troubles(publish(b.git_dir)) == {MAIN: Trouble.BOTH_MOVED}
    b.set_ref("refs/heads/main", commit(b, ours, theirs))
    done = publish(b.git_dir)
    assert (done.parted, done.changed) == ((), 1)
    assert shown(b)[MAIN] == value(b, "main")
    assert KEPT + b"main" not in own(b)


def test_a_branch_that_is_checked_out_stays_until_it_is_merged_there(
    b: Builder, tmp_path: Path
) -> None:
    """As with git's own pushes: files in a work tree follow no ref that others move."""
    place, before = tmp_path / "place", value(b, "main")
    gitcmd.git(b.git_dir, "worktree", "add", "-q", str(place), "main")
    ahead = commit(b, "main")
    there(b, MAIN, ahead)
    there(b, DEV, commit(b, "dev"))
    follow_in_origin(carried(b.git_dir), carried(b.git_dir).log())
    for _ in range(2):
        done = publish(b.git_dir)
        assert (troubles(done), done.changed) == ({MAIN: Trouble.CHECKED_OUT}, 0)
        assert (shown(b)[MAIN], value(b, "main")) == (ahead, before)
        assert value(b, "dev") == shown(b)[DEV]
        assert own(b)[KEPT + b"main"] == ahead
    gitcmd.git(place, "merge", "-q", "--ff-only", (KEPT + b"main").decode())
    assert publish(b.git_dir).parted == ()
    assert KEPT + b"main" not in own(b)


def test_what_is_done_in_a_work_tree_on_top_of_what_it_had_has_to_be_merged(
    b: Builder, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    gitcmd.git(b.git_dir, "worktree", "add", "-q", str(place), "main")
    there(b, MAIN, commit(b, "main"))
    gitcmd.git(place, "commit", "-q", "--allow-empty", "-m", "here")
    assert troubles(publish(b.git_dir)) == {MAIN: Trouble.BOTH_MOVED}
    gitcmd.git(place, "merge", "-q", "-m", "both", (KEPT + b"main").decode())
    done = publish(b.git_dir)
    assert (done.parted, done.changed) == ((), 1)


def test_a_branch_that_is_checked_out_and_deleted_elsewhere(b: Builder, tmp_path: Path) -> None:
    place = tmp_path / "place"
    gitcmd.git(b.git_dir, "worktree", "add", "-q", str(place), "dev")
    there(b, DEV, None)
    assert troubles(publish(b.git_dir)) == {DEV: Trouble.CHECKED_OUT}
    gitcmd.git(place, "checkout", "-q", "--detach")
    assert publish(b.git_dir).parted == ()
    assert DEV not in own(b)


def test_one_that_contains_the_other_counts(b: Builder) -> None:
    theirs = commit(b, "main")
    there(b, MAIN, theirs)
    b.set_ref("refs/heads/main", commit(b, theirs))
    there(b, DEV, commit(b, commit(b, "dev")))
    b.set_ref("refs/heads/dev", value(b, f"{shown(b)[DEV]}~1"))
    done = publish(b.git_dir)
    assert ([c.name for c in done.changes], [c.name for c in done.taken]) == ([MAIN], [DEV])
    assert shown(b) == {MAIN: value(b, "main"), DEV: value(b, "dev")}


def test_deleted_on_one_side_and_moved_on_the_other(b: Builder) -> None:
    theirs, ours = commit(b, "dev"), commit(b, "main")
    there(b, DEV, theirs)
    b.delete_ref("refs/heads/dev")
    done = publish(b.git_dir)
    assert troubles(done) == {DEV: Trouble.DELETED_HERE}
    b.set_ref("refs/heads/dev", own(b)[KEPT + b"dev"])
    assert publish(b.git_dir).parted == ()
    there(b, DEV, None)
    b.set_ref("refs/heads/dev", ours)
    assert troubles(publish(b.git_dir)) == {DEV: Trouble.DELETED_ELSEWHERE}
    b.delete_ref("refs/heads/dev")
    assert publish(b.git_dir).parted == ()


def test_what_is_not_final_is_not_undone(b: Builder) -> None:
    """Bob publishes, Alice rewinds what he published, and no keeper has seen either."""
    let_push(b.git_dir, BOB, pattern="refs/heads/*", grant=Grant.PLAIN)
    before, ours = value(b, "main"), commit(b, "main")
    b.set_ref("refs/heads/main", ours)
    done = publish(b.git_dir, signer=BOB)
    assert done.awaited == str(OWNER.key)
    assert done.reels == ()
    assert shown(b)[MAIN] == ours
    assert carried(b.git_dir).log().final_refs[MAIN] == before
    there(b, MAIN, before, keeper=None)
    done = publish(b.git_dir, signer=BOB)
    assert troubles(done) == {MAIN: Trouble.NOT_FINAL}
    assert value(b, "main") == ours
    # The keeper takes both, so what was published became final, and so did the rewind.
    push_elsewhere(b.git_dir, [Line(None, ours, TRUNK)], ALICE, keeper=OWNER)
    assert [c.change for c in publish(b.git_dir, signer=BOB).taken] == ["rewound", "created"]
    assert value(b, "main") == before


def follow(b: Builder) -> None:
    """Let the origin's refs follow its log, as its node does."""
    this = carried(b.git_dir)
    with this.writing():
        follow_in_origin(this, this.log())


@pytest.mark.parametrize("late", [False, True])
def test_what_the_keeper_put_in_conflict_is_followed(b: Builder, late: bool) -> None:
    """A push is shown, and then one comes that counts before it.

    An origin that heard of the checkpoint, and kept the value all the same, comes right as well.
    """
    let_push(b.git_dir, BOB, pattern="refs/heads/*", grant=Grant.PLAIN)
    before, dev = value(b, "main"), value(b, "dev")
    ours, theirs = commit(b, "main"), commit(b, "main", "dev")
    origin = carried(b.git_dir)
    nonce = origin.log().ledger.nonce()  # of pushes whose makers do not know of the others
    # Whose push counts first follows from the policy and the keys.
    for who, new in ((ALICE, ours), (BOB, theirs)):
        push_on(origin, who, {DEV: new}, {DEV: dev}, nonce)
    early, slow = (ALICE, BOB) if shown(b)[DEV] == ours else (BOB, ALICE)
    push_on(origin, slow, {MAIN: ours}, {MAIN: before}, nonce)
    follow(b)
    assert value(b, "main") == shown(b)[MAIN] == ours
    push_on(origin, early, {MAIN: theirs}, {MAIN: before}, nonce)
    assert shown(b)[MAIN] == theirs
    follow(b)
    assert value(b, "main") == ours
    push_elsewhere(b.git_dir, [Line(None, before, TRUNK)], ALICE, keeper=OWNER)
    if late:
        forget_pushes(b)
    follow(b)
    assert value(b, "main") == shown(b)[MAIN] == theirs
    assert ours in {oid for ref, oid in own(b).items() if ref.startswith(b"refs/conflicts/")}
    assert KEPT + b"main" not in own(b)
    assert publish(b.git_dir).parted == ()


def forget_pushes(b: Builder) -> None:
    """Let what is remembered be of the newest checkpoint, as after a comparison then."""
    log = carried(b.git_dir).log()
    path = carried(b.git_dir).layout.published_refs(log.repository)
    text = re.sub(rb"(?m)^push .*\n", b"", path.read_bytes())
    path.write_bytes(re.sub(rb"(?m)^checkpoint .*$", f"checkpoint {log.head}".encode(), text))


def test_the_keepers_key_makes_final_what_others_pushed(b: Builder) -> None:
    theirs = commit(b, "main")
    there(b, MAIN, theirs, keeper=None)
    log = carried(b.git_dir).log()
    assert log.final_refs[MAIN] != theirs
    done = publish(b.git_dir)
    assert (done.changed, len(done.taken), len(done.reels), done.awaited) == (0, 1, 1, "")
    assert carried(b.git_dir).log().final_refs[MAIN] == theirs


def test_a_keeper_that_may_push_nothing_makes_pushes_final(b: Builder) -> None:
    let_push(b.git_dir, BOB, pattern="refs/none/*", grant=Grant.PLAIN, keeper=CAROL.key)
    grow(b, 1)
    assert publish(b.git_dir).awaited == str(CAROL.key)
    done = publish(b.git_dir, signer=CAROL)
    assert (done.changed, len(done.reels), done.awaited) == (0, 1, "")
    assert carried(b.git_dir).log().final_refs[MAIN] == value(b, "main")
    grow(b, 1)
    with pytest.raises(NotAllowedError, match=r"no policy gives .* a say"):
        publish(b.git_dir, signer=CAROL)


def test_head_goes_both_ways(b: Builder) -> None:
    change = HeadChange(DEV, value(b, "dev"), MAIN)
    push_elsewhere(b.git_dir, [], ALICE, head=change, keeper=OWNER)
    assert publish(b.git_dir).head is None
    assert gitcmd.text(b.git_dir, "symbolic-ref", "HEAD") == "refs/heads/dev"
    gitcmd.git(b.git_dir, "symbolic-ref", "HEAD", "refs/heads/main")
    assert publish(b.git_dir).head == MAIN
    assert carried(b.git_dir).log().default_branch == MAIN


def test_a_key_without_force_leaves_head_alone(b: Builder) -> None:
    let_push(b.git_dir, BOB, pattern="refs/heads/*", grant=Grant.CREATE)
    gitcmd.git(b.git_dir, "symbolic-ref", "HEAD", "refs/heads/dev")
    grow(b, 1, "topic", "t")
    said: list[str] = []
    done = publish(b.git_dir, signer=BOB, note=said.append)
    assert ([c.name for c in done.changes], done.head) == ([b"refs/heads/topic"], None)
    assert any("may not make that the default branch" in text for text in said)
    assert publish(b.git_dir).head == DEV


def test_what_a_key_may_not_do_is_refused_before_anything_counts(b: Builder) -> None:
    let_push(b.git_dir, BOB, pattern="refs/heads/*", grant=Grant.PLAIN)
    entries = carried(b.git_dir).log().entries
    b.set_ref("refs/heads/main", value(b, "main~1"))
    with pytest.raises(NotAllowedError, match=r"cannot publish refs/heads/main: not a fast-forw"):
        publish(b.git_dir, signer=BOB)
    assert carried(b.git_dir).log().entries == entries
    assert publish(b.git_dir).changed == 1


def test_what_several_keys_must_agree_on_waits(b: Builder) -> None:
    keys = tuple(sorted((OWNER.key, ALICE.key)))
    quorum = Quorum(RefPattern(b"refs/heads/main"), 2, keys)
    let_push(b.git_dir, BOB, pattern="refs/x/*", grant=Grant.PLAIN, quorums=(quorum,))
    ours = commit(b, "main")
    b.set_ref("refs/heads/main", ours)
    assert troubles(publish(b.git_dir)) == {MAIN: Trouble.WAITING}
    entries = carried(b.git_dir).log().entries
    assert troubles(publish(b.git_dir)) == {MAIN: Trouble.WAITING}
    assert carried(b.git_dir).log().entries == entries
    there(b, MAIN, ours)
    assert publish(b.git_dir).parted == ()
    assert shown(b)[MAIN] == ours


def test_names_that_cannot_exist_together(b: Builder) -> None:
    inner = RefName(b"refs/heads/topic/a")
    there(b, inner, value(b, "dev"))
    b.set_ref("refs/heads/topic", value(b, "main"))
    done = publish(b.git_dir)
    assert troubles(done) == {
        b"refs/heads/topic": Trouble.DIRECTORY,
        inner: Trouble.DIRECTORY,
    }
    b.delete_ref("refs/heads/topic")
    assert publish(b.git_dir).parted == ()
    assert own(b)[inner] == value(b, "dev")


def test_an_open_conflict_is_kept_where_it_can_be_merged(b: Builder) -> None:
    old, theirs = value(b, "main"), commit(b, "main")
    there(b, MAIN, theirs)
    push_elsewhere(b.git_dir, [Line(old, commit(b, "main~1"), MAIN)], ALICE, keeper=None)
    conflicts = [ref for ref in shown(b) if ref.startswith(b"refs/conflicts/")]
    publish(b.git_dir)
    assert len(conflicts) == 1
    assert own(b)[conflicts[0]] == shown(b)[conflicts[0]]
    b.set_ref("refs/heads/main", commit(b, "main", own(b)[conflicts[0]]))
    publish(b.git_dir)
    assert not [ref for ref in {*own(b), *shown(b)} if ref.startswith(b"refs/conflicts/")]


def left_open(b: Builder) -> RefName:
    """Let a push of Alice's stay open as a conflict, which the origin has as a ref."""
    old = value(b, "main")
    there(b, MAIN, commit(b, "main"))
    push_elsewhere(b.git_dir, [Line(old, commit(b, "main~1"), MAIN)], ALICE, keeper=OWNER)
    publish(b.git_dir)
    (conflict,) = [ref for ref in own(b) if ref.startswith(b"refs/conflicts/")]
    return RefName(conflict)


@pytest.mark.parametrize("followed", [False, True])
def test_deleting_the_ref_of_a_conflict_dismisses_it(b: Builder, followed: bool) -> None:
    """Also if the log went on before it was published, and all refs are looked at or few."""
    conflict = left_open(b)
    b.delete_ref(conflict.decode())
    if followed:
        there(b, DEV, commit(b, "dev"))
        this = carried(b.git_dir)
        with this.writing():
            follow_in_origin(this, this.log())
        assert conflict not in own(b)
        assert conflict in shown(b)
    done = publish(b.git_dir)
    assert [(c.name, c.change) for c in done.changes] == [(conflict, "deleted")]
    assert conflict not in {*own(b), *shown(b)}
    assert publish(b.git_dir).changes == ()


def test_a_conflict_that_was_never_here_is_not_dismissed(b: Builder) -> None:
    """What is missing here since nothing is remembered, or it is new, was deleted by nobody."""
    conflict = left_open(b)
    b.delete_ref(conflict.decode())
    carried(b.git_dir).layout.published_refs(carried(b.git_dir).log().repository).unlink()
    assert publish(b.git_dir).changes == ()
    assert own(b)[conflict] == shown(b)[conflict]


def test_who_may_not_dismiss_a_conflict_is_told(b: Builder) -> None:
    let_push(b.git_dir, BOB, pattern="refs/heads/*", grant=Grant.PLAIN)
    conflict, notes = left_open(b), list[str]()
    b.delete_ref(conflict.decode())
    grow(b, 1, "topic", "t")
    done = publish(b.git_dir, signer=BOB, note=notes.append)
    assert [c.name for c in done.changes] == [b"refs/heads/topic"]
    assert any(f"{conflict.decode()} was deleted here and stays open" in note for note in notes)
    assert own(b)[conflict] == shown(b)[conflict]


def test_refs_that_an_origin_does_not_publish_are_not_its_business(b: Builder) -> None:
    notes, mine = RefName(b"refs/notes/x"), value(b, "main")
    b.set_ref("refs/notes/x", mine)
    there(b, notes, value(b, "dev"))
    done = publish(b.git_dir)
    assert (done.taken, done.changes, done.parted) == ((), (), ())
    assert unpublished_refs(carried(b.git_dir)) == []
    assert own(b)[notes] == mine
    assert own(b)[b"refs/gittorrent/elsewhere/notes/x"] == shown(b)[notes] == value(b, "dev")


def test_following_publishes_nothing(b: Builder) -> None:
    """As after a push that came in through this node."""
    theirs, ours = commit(b, "main"), commit(b, "dev")
    there(b, MAIN, theirs, keeper=None)
    b.set_ref("refs/heads/dev", ours)
    this = carried(b.git_dir)
    before = this.log().entries
    with this.writing():
        follow_in_origin(this, this.log())
    assert this.log().entries == before
    assert (value(b, "main"), value(b, "dev")) == (theirs, ours)
    b.set_ref("refs/heads/main", value(b, "main~1"))
    done = publish(b.git_dir)
    assert {c.name: c.change for c in done.changes} == {DEV: "moved", MAIN: "rewound"}


def test_where_nothing_is_remembered_nothing_is_undone(b: Builder) -> None:
    there(b, MAIN, commit(b, "main"))
    there(b, DEV, None)
    there(b, TRUNK, value(b, "dev"))
    this = carried(b.git_dir)
    this.layout.published_refs(this.info.repository_id).unlink()
    done = publish(b.git_dir)
    assert [c.name for c in done.taken] == [MAIN, TRUNK]
    assert troubles(done) == {DEV: Trouble.DELETED_ELSEWHERE}
    assert done.changes == ()
    assert troubles(publish(b.git_dir)) == {DEV: Trouble.DELETED_ELSEWHERE}


def test_a_log_that_lacks_old_pushes_does_not_tell_what_they_changed(b: Builder) -> None:
    """As in a repository that was adopted from a clone: taken pushes were never sent to it."""
    this = carried(b.git_dir)
    path = this.layout.published_refs(this.info.repository_id)
    grow(b, 1)
    publish(b.git_dir)
    before, first = path.read_bytes(), this.log().ids[-1]
    grow(b, 1)
    publish(b.git_dir)
    path.write_bytes(before)
    short = VerifiedLog(this.object_format, this.log_store.evidence())
    for entry in this.log().entries:
        push = this.log_store.push(entry)
        if push.kind is not PushKind.CERTIFICATE:
            short.admit(push, entry)
    short.settle(short=True)
    listing = RefListing(list_selected(this, PUBLISHED))
    assert first in short.ids
    assert RememberedPast(this, short).candidates(listing) is None
    assert changed_since(short, first) is None
    assert RememberedPast(this, this.log()).candidates(listing) == {MAIN}
    assert changed_since(this.log_store.replay(), first) is not None
