"""Running nodes that tell each other of pushes, and a keeper among them that signs checkpoints."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from gittorrent.ids import SHA1, Oid, PushId, RefName
from gittorrent.reel.timing import ReelTimes
from gittorrent.repository.carried import Carried
from gittorrent.repository.freshness import read_fresh
from gittorrent.repository.signed_entries import EntrySigner
from gittorrent.store.database import Database
from gittorrent.store.home import Home
from gittorrent.wire.messages import FetchPush, HavePush
from support import gitcmd, nodes
from support.attackers import Wire
from support.copying import copy_tree
from support.live_mirrors import MAIN, Mirrors
from support.nodes import AUTHOR
from support.ports import free_port
from support.programs import Person, somebody, wait_until
from support.publishing import note_entries
from support.repositories import noise

OTHER = PushId("ab" * 20)
TAG = RefName(b"refs/tags/v9")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_a_push_at_a_mirror_of_a_mirror_reaches_all_and_is_final(
    tmp_path: Path, stack: ExitStack
) -> None:
    mirrors = Mirrors.of(tmp_path, stack)
    mirrors.add()
    last = mirrors.add()
    new = mirrors.push(last, b"pushed\n")
    mirrors.wait_for(new)
    mirrors.wait_for_final(new)


def test_without_a_keeper_it_is_shown_and_not_final(tmp_path: Path, stack: ExitStack) -> None:
    mirrors = Mirrors.of(tmp_path, stack, keeps=False)
    last = mirrors.add()
    head = last.log().head
    new = mirrors.push(last, b"pushed\n")
    mirrors.wait_for(new)
    assert all(carried.log().head == head for carried in mirrors.carried)
    assert all(carried.log().unfinal for carried in mirrors.carried)


def test_a_push_too_large_for_a_conversation(tmp_path: Path, stack: ExitStack) -> None:
    mirrors = Mirrors.of(tmp_path, stack)
    mirrors.add()
    new = mirrors.push(mirrors.carried[0], noise("large", 2 << 20))
    mirrors.wait_for(new)
    mirrors.wait_for_final(new)


def test_who_was_away_for_several_checkpoints(tmp_path: Path, stack: ExitStack) -> None:
    mirrors = Mirrors.of(tmp_path, stack, keeps=False)
    origin = mirrors.carried[0]
    for number in range(3):
        new = mirrors.push(origin, b"%d\n" % number)
        with origin.writing():
            log = origin.log()
            EntrySigner(origin, log, mirrors.key, AUTHOR).checkpoint()
            origin.commit(log)
    mirrors.add()
    mirrors.wait_for(new)
    mirrors.wait_for_final(new)


@pytest.mark.parametrize("ref", [MAIN, TAG])
def test_a_push_whose_objects_a_mirror_kept_back_comes_from_who_calls(
    tmp_path: Path, stack: ExitStack, ref: RefName
) -> None:
    """All that the mirror knew gave it the push without its objects, and is gone."""
    mirrors = Mirrors.of(tmp_path, stack, keeps=False, count=1)
    origin, behind = mirrors.carried[0], mirrors.copies[0]
    new = mirrors.push(origin, b"pushed\n", ref)
    _note_news(origin, behind)
    mirrors.add(f"git://127.0.0.1:{free_port()}")
    assert gitcmd.refs(behind.layout.git_dir).get(ref) != new
    _sign(mirrors, origin)
    honest = nodes.copy_as_mirror(origin, tmp_path / "honest.git", "")
    honest.set_info(replace(honest.info, source=f"{mirrors.served[-1].git}/project.git"))
    mirrors.serve(honest)
    mirrors.wait_for_final(new, ref)
    wait_until(lambda: gitcmd.refs(behind.layout.git_dir).get(ref) == new, "git shows it")
    gitcmd.git(behind.layout.git_dir, "fsck", "--no-dangling")


def test_what_a_mirror_lacks_is_said_until_somebody_gives_it(
    tmp_path: Path, stack: ExitStack
) -> None:
    """It talks to a mirror that has the checkpoint and not the objects, and then to another."""
    mirrors = Mirrors.of(tmp_path, stack, keeps=False)
    origin, without = mirrors.carried[0], mirrors.copies[1]
    new = mirrors.push(origin, b"pushed\n")
    (push,) = origin.log().unfinal
    _sign(mirrors, origin)
    _note_news(origin, without)
    nowhere = f"git://127.0.0.1:{free_port()}"
    mirrors.add(nowhere)
    mirrors.add(mirrors.served[1].git)
    home = {"GITTORRENT_HOME": str(tmp_path / "home1")}
    person = somebody(tmp_path / "person", variables=home)

    def lacking() -> list[dict[str, Any]]:
        (node,) = json.loads(person.gittorrent("status", "--json").ok().out)["processes"]
        found: list[dict[str, Any]] = node["lacking"]
        return found

    begun = time.time()
    wait_until(lambda: [each["again"] for each in lacking()] not in ([], [None]), "it says so")
    (said,) = lacking()
    assert said["refs"] == [{"ref": "refs/heads/main", "oid": new, "push": push.id}]
    assert push.id in said["entries"]
    assert f"{nowhere}/project.git" in said["asked"]
    assert any("(called us)" in each or "127.0.0.1" in each for each in said["asked"])
    assert begun - 600 < said["since"] <= said["tried"] < said["again"]
    words = person.gittorrent("status").ok().out
    assert f"project lacks {new} for refs/heads/main since " in words
    assert "; asked in vain: " in words
    honest = nodes.copy_as_mirror(origin, tmp_path / "honest.git", "")
    honest.set_info(replace(honest.info, source=f"{mirrors.served[1].git}/project.git"))
    mirrors.serve(honest)
    mirrors.wait_for_final(new)
    wait_until(lambda: lacking() == [], "nothing is missing any more")


def _note_news(source: Carried, target: Carried) -> None:
    """Let a log be what another one is, without the objects."""
    here = target.log().entries
    new = [entry for entry in source.log().entries if entry not in here]
    note_entries(target, {entry: source.log_store.push_file(entry) or b"" for entry in new})


def _sign(mirrors: Mirrors, carried: Carried) -> None:
    """Let the keeper sign."""
    with carried.writing():
        log = carried.log()
        EntrySigner(carried, log, mirrors.key, AUTHOR).checkpoint()
        carried.commit(log)


def test_a_new_branch_and_one_that_is_deleted(tmp_path: Path, stack: ExitStack) -> None:
    mirrors = Mirrors.of(tmp_path, stack)
    last = mirrors.add()
    branch = RefName(b"refs/heads/branch")
    new = mirrors.push(last, b"pushed\n", branch)
    mirrors.wait_for(new, branch)
    mirrors.wait_for_final(new, branch)
    nodes.push_on(last, mirrors.key, {branch: None})
    for carried in mirrors.carried:
        wait_until(
            partial(lambda at: branch not in gitcmd.refs(at.layout.git_dir), carried),
            "the branch is gone",
        )


def test_who_calls_right_after_a_start_is_heard(tmp_path: Path, stack: ExitStack) -> None:
    """As mirrors do whose node of the origin was started again."""
    mirrors = Mirrors.of(tmp_path, stack)
    host, _, port = mirrors.served[0].git.removeprefix("git://").rpartition(":")
    with Wire.call((host, int(port)), "project.git") as wire:
        wire.say(HavePush(OTHER))
        assert FetchPush(OTHER) in wire.messages()


def test_who_talked_of_a_repository_that_was_opened_anew_calls_again(
    tmp_path: Path, stack: ExitStack
) -> None:
    """It would talk to what nobody looks at any more, for as long as the conversation lasts."""
    mirrors = Mirrors.of(tmp_path, stack)
    origin, mirror = mirrors.carried[0], mirrors.add()
    mirrors.wait_for_final(mirrors.push(mirror, b"one\n"))
    with Wire.call(mirrors.served[0].git_address, "project.git") as wire:
        wire.say(HavePush(OTHER))
        origin.set_info(replace(origin.info, former_names=("before",)))
        nodes.call(mirrors.served[0].git_address, nodes.request("mirror-list", b"/project.git"))
        assert wire.is_over()
    mirrors.wait_for_final(mirrors.push(mirror, b"two\n"))


def test_mirrors_call_each_other_and_do_without_the_origin(
    tmp_path: Path, stack: ExitStack
) -> None:
    """Each knows the origin alone, which tells it of the others."""
    with ExitStack() as first:
        mirrors = Mirrors.of(tmp_path, first, count=4)
        mirrors.stack = stack  # what is served from now on outlives the origin
        origin, url = mirrors.carried[0], mirrors.served[0].git
        for _ in range(4):
            mirrors.add(url)
            urls = [f"{served.git}/project.git" for served in mirrors.served[1:]]
            nodes.list_mirrors(Home(tmp_path / "home0"), origin, *urls)
        last = mirrors.carried[-1]
        mirrors.wait_for(mirrors.push(last, b"one\n"))
    del mirrors.carried[0]
    mirrors.wait_for(mirrors.push(last, b"two\n"))


def test_statements_of_freshness_are_passed_on(tmp_path: Path, stack: ExitStack) -> None:
    mirrors = Mirrors.of(tmp_path, stack)
    mirrors.add()
    mirrors.add()
    repository = mirrors.carried[0].info.repository_id
    for carried in mirrors.carried:
        wait_until(
            partial(lambda at: read_fresh(at.layout, repository) is not None, carried),
            "the keeper's word is there",
        )


def test_a_keeper_that_was_killed_signs_what_it_had_recorded(
    tmp_path: Path, stack: ExitStack
) -> None:
    """Its draft may have been signed and seen, so nothing else may stand in that place."""
    mirrors = Mirrors.of(tmp_path, stack, keeps=False)
    origin = mirrors.carried[0]
    new = mirrors.push(origin, b"pushed\n")
    draft = origin.log().ledger.proposal(tagger=b"K <k@example.org>", time=AUTHOR.now)
    origin.layout.draft(origin.info.repository_id).write_bytes(draft.text())
    origin.remember_keeper(mirrors.key.spec)
    stack.enter_context(nodes.serving(origin, home=nodes.make_home(tmp_path / "again")))
    head = mirrors.wait_for_final(new)
    assert origin.log().checkpoint(head).checkpoint == draft


def test_reels_of_what_was_published_are_built_by_mirrors(tmp_path: Path, stack: ExitStack) -> None:
    """A mirror that was told of a checkpoint has its objects; it hears of the reel, too."""
    mirrors = Mirrors.of(tmp_path, stack, keeps=False)
    mirrors.add()
    origin = mirrors.carried[0]
    nodes.add_commit(origin.layout.git_dir, MAIN.decode(), "more", b"more\n")
    nodes.publish(origin.layout.git_dir, mirrors.key, None)
    head = origin.log().head
    for carried in mirrors.carried:
        wait_until(partial(_has_reel_to, carried, head), f"a reel in {carried.layout.git_dir}")


def test_a_mirror_that_looks_now_and_then_builds_what_it_lacks(
    tmp_path: Path, stack: ExitStack, person: Person
) -> None:
    mirrors = Mirrors.of(tmp_path, stack, keeps=False)
    url = f"gittorrent://{mirrors.served[0].git.removeprefix('git://')}/project.git"
    person.gittorrent("mirror", "--once", url).ok()
    mirror = Carried(Home(person.node).repositories / "project.git", SHA1)
    (reel,) = mirror.reels.all()
    mirror.reels.drop(reel)
    person.gittorrent("mirror", "--once", url).ok()
    assert mirror.log().head in Carried(mirror.layout.git_dir, SHA1).reel_ends()


def test_a_new_keeper_is_known_to_all_by_its_first_checkpoint(
    tmp_path: Path, stack: ExitStack
) -> None:
    """Nobody tells of policies: what a stranger signed is asked for with all before it."""
    mirrors = Mirrors.of(tmp_path, stack)
    middle, last = mirrors.add(), mirrors.add()
    mirrors.wait_for_final(mirrors.push(middle, b"one\n"))
    (tmp_path / "new").mkdir()
    keeper = nodes.signer(tmp_path / "new")
    with last.writing():
        log = last.log()
        assert log.head is not None
        policy = log.policy.policy.next_version(log.head, keeper=keeper.key)
        EntrySigner(last, log, mirrors.key, AUTHOR).policy(policy)
        EntrySigner(last, log, keeper, AUTHOR).checkpoint()
        last.commit(log)
    last.remember_keeper(keeper.spec)
    for carried in mirrors.carried:
        wait_until(
            partial(lambda at: at.log().policy.policy.keeper == keeper.key, carried),
            f"the new keeper is known in {carried.layout.git_dir}",
        )
    mirrors.wait_for_final(mirrors.push(middle, b"two\n"))


def test_a_node_that_has_the_key_before_the_policy_names_it_begins_to_keep(
    tmp_path: Path, stack: ExitStack
) -> None:
    """Other roots sign the policy meanwhile, and the key that was found is of no use until then."""
    mirrors = Mirrors.of(tmp_path, stack)
    (tmp_path / "new").mkdir()
    keeper = nodes.signer(tmp_path / "new")
    mirrors.copies[0].remember_keeper(keeper.spec)
    origin, last = mirrors.carried[0], mirrors.add()
    mirrors.wait_for_final(mirrors.push(origin, b"one\n"))  # so it has looked for its key
    with last.writing():
        log = last.log()
        assert log.head is not None
        policy = log.policy.policy.next_version(log.head, keeper=keeper.key)
        EntrySigner(last, log, mirrors.key, AUTHOR).policy(policy)
        last.commit(log)
    head = mirrors.wait_for_final(mirrors.push(last, b"two\n"))
    assert last.log().checkpoint(head).signer == keeper.key


def test_a_new_policy_is_known_to_all_by_the_checkpoint_that_names_it(
    tmp_path: Path, stack: ExitStack
) -> None:
    mirrors = Mirrors.of(tmp_path, stack)
    origin, *_ = (mirrors.carried[0], mirrors.add(), mirrors.add())
    mirrors.wait_for_final(mirrors.push(origin, b"one\n"))
    with origin.writing():
        log = origin.log()
        assert log.head is not None
        policy = log.policy.policy.next_version(log.head, fresh_within=600)
        EntrySigner(origin, log, mirrors.key, AUTHOR).policy(policy)
        EntrySigner(origin, log, mirrors.key, AUTHOR).checkpoint()
        origin.commit(log)
    for carried in mirrors.carried:
        wait_until(
            partial(lambda at: at.log().policy.policy.fresh_within == 600, carried),
            f"the new policy is known in {carried.layout.git_dir}",
        )


def test_a_mirror_that_hears_of_news_live_is_up_to_date(tmp_path: Path, stack: ExitStack) -> None:
    mirrors = Mirrors.of(tmp_path, stack)
    mirror = mirrors.add()
    repository = mirror.info.repository_id
    database = stack.enter_context(contextlib.closing(Database(Home(tmp_path / "home1").database)))
    database.check_failed(repository, "the source was away", 1)
    wait_until(lambda: database.check(repository).failures == 0, "it is noted as up to date")
    check = database.check(repository)
    assert check.succeeded > 1
    assert check.source.startswith(mirrors.served[0].git)
    origin = stack.enter_context(contextlib.closing(Database(Home(tmp_path / "home0").database)))
    assert origin.check(repository).succeeded == 0, "an origin follows nobody"


def test_a_keeper_that_waits_for_mirrors_says_so(tmp_path: Path, stack: ExitStack) -> None:
    key = nodes.signer(tmp_path)
    git_dir = nodes.make_repository(tmp_path / "project.git")
    origin = nodes.publish(git_dir, key, "project")
    origin.remember_keeper(key.spec)
    home = nodes.make_home(tmp_path / "home")
    nodes.list_mirrors(home, origin, "git://127.0.0.1:1/project.git")
    person = somebody(tmp_path / "person", variables={"GITTORRENT_HOME": str(home.root)})

    def said() -> dict[str, Any] | None:
        shown = json.loads(person.gittorrent("keeper", "show", git_dir, "--json").ok().out)
        node: dict[str, Any] | None = shown["node"]
        return node

    assert said() is None
    assert "none that runs here signs" in person.gittorrent("keeper", "show", git_dir).ok().out
    with nodes.serving(origin, home=home):
        wait_until(lambda: (said() or {}).get("waits", False), "it says that it waits")
        figures = said()
        assert figures is not None
        assert (figures["known"], figures["answered"]) == (1, 0)
        assert 0 < figures["seconds_left"] <= 600
        words = "signs nothing yet: 0 of 1 mirrors have said what they have; without"
        assert words in person.gittorrent("keeper", "show", git_dir).ok().out
        assert f"keeper of project: {words}" in person.gittorrent("status").ok().out


def test_a_keeper_that_waits_for_nobody_says_that_it_signs(
    tmp_path: Path, stack: ExitStack
) -> None:
    mirrors = Mirrors.of(tmp_path, stack)
    home = Home(tmp_path / "home0")
    person = somebody(tmp_path / "person", variables={"GITTORRENT_HOME": str(home.root)})

    def shows() -> bool:
        return "keeper of project: signs checkpoints" in person.gittorrent("status").ok().out

    wait_until(shows, "it says that it keeps")
    mirrors.wait_for_final(mirrors.push(mirrors.carried[0], b"one\n"))


def test_a_keeper_that_signed_live_is_not_published_from_an_old_copy(
    tmp_path: Path, stack: ExitStack
) -> None:
    """A backup from before what a node signed looks whole, and `publish` would sign a twin."""
    home = nodes.make_home(tmp_path / "home")
    key = nodes.signer(tmp_path)
    git_dir = nodes.make_repository(tmp_path / "project.git")
    origin = nodes.publish(git_dir, key, "project")
    copy_tree(git_dir, tmp_path / "backup.git")
    origin.remember_keeper(key.spec)
    before = origin.log().head
    database = stack.enter_context(contextlib.closing(Database(home.database)))
    with nodes.serving(origin, home=home):
        tip = Oid(gitcmd.text(git_dir, "rev-parse", "main"))
        nodes.push_on(origin, key, {RefName(b"refs/heads/more"): tip})
        wait_until(lambda: not origin.log().unfinal, "it is final")
        head = origin.log().head
        wait_until(
            lambda: (database.seen_head(origin.info.repository_id) or ("",))[0] == head,
            "the node notes what it signed",
        )
    assert head != before
    shutil.rmtree(git_dir)
    copy_tree(tmp_path / "backup.git", git_dir)
    person = somebody(tmp_path / "person", variables={"GITTORRENT_HOME": str(home.root)})
    nodes.add_commit(git_dir, "refs/heads/main", "late", b"late\n")
    person.gittorrent("publish", git_dir).failed(2, f"lacks checkpoint {head}", "adopt")


def test_what_a_keeper_signed_becomes_a_reel_that_mirrors_build(
    tmp_path: Path, stack: ExitStack
) -> None:
    mirrors = Mirrors.of(tmp_path, stack, reel_times=ReelTimes(many=3, quiet=0.1))
    mirrors.add()
    last = mirrors.add()
    before = {reel.id for reel in last.reels.all()}
    for number in range(3):
        new = mirrors.push(last, b"pushed %d\n" % number)
        mirrors.wait_for_final(new)
    head = last.log().head
    for carried in mirrors.carried:
        wait_until(partial(_has_reel_to, carried, head), f"a reel in {carried.layout.git_dir}")
    (made,) = {reel.id for reel in last.reels.all()} - before
    packs = {
        reel.pack.read_bytes()
        for carried in mirrors.carried
        if (reel := carried.reels.get(made)) is not None
    }
    assert len(packs) == 1
    clone = tmp_path / "clone.git"
    host = mirrors.served[-1].git.partition("://")[2]
    url = f"gittorrent://{host}/project.git"
    Person(tmp_path / "newcomer").git("clone", "--bare", url, str(clone)).ok()
    assert gitcmd.refs(clone)[MAIN] == new


def _has_reel_to(carried: Carried, head: PushId | None) -> bool:
    fresh = Carried(carried.layout.git_dir, carried.object_format)
    return any(reel.is_available and reel.manifest.end == head for reel in fresh.reels.all())
