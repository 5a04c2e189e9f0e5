"""A keeper's key in two hands, among running nodes: what it can do, what it cannot, and the cure.

Somebody has the key, a mirror as it was, and a node of their own that talks to the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.ids import Oid, PushId, RefName
from gittorrent.push.log import NotAllowedError
from gittorrent.push.object import PushKind, PushObject
from gittorrent.repository.carried import Carried
from gittorrent.repository.logstore import identify
from gittorrent.repository.signed_entries import Author, EntrySigner, add_entry
from gittorrent.signing.keys import Signer
from gittorrent.trust.errors import PolicyUnproven
from support import nodes
from support.live_mirrors import MAIN, Mirrors
from support.nodes import AUTHOR
from support.programs import somebody, wait_until

LATER = Author(AUTHOR.person, clock=lambda: AUTHOR.now + 60.0)
TOPIC = RefName(b"refs/heads/topic")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def keeper(tmp_path: Path) -> Signer:
    """The keeper's key, which is no root and may push nothing."""
    (tmp_path / "keeper").mkdir()
    return nodes.signer(tmp_path / "keeper")


@pytest.fixture
def mirrors(tmp_path: Path, stack: ExitStack, keeper: Signer) -> Mirrors:
    """An origin whose node signs with that key, and copies of it that are not served yet."""
    mirrors = Mirrors.of(tmp_path, stack, keeps=False, count=3)
    origin = mirrors.carried[0]
    for carried in (origin, *mirrors.copies):
        name_keeper(carried, mirrors.key, keeper)
    origin.remember_keeper(keeper.spec)
    return mirrors


def name_keeper(carried: Carried, root: Signer, keeper: Signer, at: PushId | None = None) -> None:
    """Let the root name a keeper, which goes on from a checkpoint: by default the newest."""
    with carried.writing():
        log = carried.log()
        at = at or log.head
        assert at is not None
        policy = log.policy.policy.next_version(at, keeper=keeper.key)
        EntrySigner(carried, log, root, AUTHOR).policy(policy)
        EntrySigner(carried, log, keeper, AUTHOR).checkpoint()
        carried.commit(log)


def sign(carried: Carried, keeper: Signer, author: Author) -> PushId:
    """Sign a checkpoint at one place, as a restored backup or a thief does."""
    with carried.writing():
        log = carried.log()
        made = EntrySigner(carried, log, keeper, author).checkpoint()
        carried.commit(log)
    return made


def until(carried: Carried, is_so: Callable[[Carried], bool], what: str) -> None:
    wait_until(partial(is_so, carried), f"{what} in {carried.layout.git_dir}")


def test_two_checkpoints_in_one_place_stop_all_and_the_roots_go_on(
    mirrors: Mirrors, keeper: Signer, tmp_path: Path
) -> None:
    """What was pushed stays shown, and nothing becomes final before another keeper is named."""
    middle = mirrors.add()
    thief = mirrors.copies.pop()
    false = sign(thief, keeper, LATER)
    first = mirrors.push(middle, b"one\n")
    good = mirrors.wait_for_final(first)
    mirrors.copies.insert(0, thief)
    mirrors.add(mirrors.served[1].git)
    for carried in mirrors.carried:
        until(carried, lambda at: bool(at.log().ledger.stopped), "nothing is adopted")
    assert [carried.log().head for carried in mirrors.carried] == [good, good, false]
    for carried in mirrors.carried[:2]:
        assert carried.log().final_refs[MAIN] == first, "what was final stays so"
    second = mirrors.push(middle, b"two\n")
    mirrors.wait_for(second)
    assert all(carried.log().final_refs.get(MAIN) != second for carried in mirrors.carried)
    url = f"{mirrors.served[1].git}/project.git"
    found = json.loads(somebody(tmp_path / "p").gittorrent("mirrors", url, "--json").ok().out)
    (proof,) = found["equivocations"]
    assert {entry["push_id"] for entry in proof["entries"]} == {good, false}
    (tmp_path / "new").mkdir()
    cure = nodes.signer(tmp_path / "new")
    name_keeper(mirrors.carried[0], mirrors.key, cure, at=good)
    mirrors.carried[0].remember_keeper(cure.spec)
    mirrors.wait_for_final(second)
    mirrors.wait_for_final(mirrors.push(middle, b"three\n"))


def test_what_a_keeper_signs_cannot_change_a_ref(
    mirrors: Mirrors, keeper: Signer, tmp_path: Path
) -> None:
    """A checkpoint that says more than its pushes come to is refuted, and passed on by none."""
    middle = mirrors.add()
    first = mirrors.push(middle, b"one\n")
    mirrors.wait_for_final(first)
    with middle.writing():
        log = middle.log()
        honest = log.ledger.proposal(tagger=AUTHOR.person, time=AUTHOR.now + 120)
        listing = log.ledger.adopted.listing
        entry = replace(listing.entry(TOPIC), value=first)
        moved = listing.with_entry(entry)
        text = replace(
            honest, state=moved.digest, whole=False, listing=moved.changes_text(listing, [TOPIC])
        ).text()
        false = PushObject(PushKind.CHECKPOINT, text, (keeper.sign(text),), signer=keeper.key)
        (false_id,) = identify(middle.git, [false], middle.object_format, write=True)
        add_entry(middle, log, false)
        middle.commit(log)
        assert "lists other refs" in log.ledger.refuted[false_id] or log.ledger.refuted[false_id]
    before = mirrors.carried[0].log().refs[TOPIC]
    mirrors.wait_for_final(mirrors.push(middle, b"two\n"))
    for carried in mirrors.carried:
        assert carried.log().refs[TOPIC] == before != first
    assert false_id not in mirrors.carried[0].log()
    third = mirrors.add()
    until(third, lambda at: at.log().head == middle.log().head, "the log is up to date")
    assert false_id not in third.log()


def test_the_keepers_key_alone_pushes_nothing_and_names_no_keeper(
    mirrors: Mirrors, keeper: Signer, tmp_path: Path
) -> None:
    origin = mirrors.carried[0]
    main = origin.log().refs[MAIN]
    with pytest.raises(NotAllowedError, match="no policy gives"):
        nodes.push_on(origin, keeper, {MAIN: Oid(main), TOPIC: Oid(main)})
    with origin.writing():
        log = origin.log()
        assert log.head is not None
        policy = log.policy.policy.next_version(log.head, roots=(keeper.key,))
        entries = EntrySigner(origin, log, keeper, AUTHOR)
        with pytest.raises(PolicyUnproven, match="signed by 0 of the 1 root keys"):
            entries.policy(policy)
    assert origin.log().refs[MAIN] == main
