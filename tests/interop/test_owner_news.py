"""Who signs asks mirrors first: what others pushed there while no node of the owner's ran."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from gittorrent.ids import Oid, PushId, RefName
from gittorrent.repository.carried import Carried
from gittorrent.repository.signed_entries import Author, EntrySigner
from gittorrent.signing.keys import Signer
from gittorrent.store.database import Database, RememberedMirror
from gittorrent.store.home import Home
from gittorrent.store.processes import NodeProcess
from gittorrent.store.snapshot import read_snapshots
from support import gitcmd, liars, nodes
from support.live_mirrors import MAIN
from support.nodes import AUTHOR
from support.programs import Person, somebody, wait_until

LATER = Author(AUTHOR.person, clock=lambda: AUTHOR.now + 60.0)


@dataclass
class Owner:
    """Somebody whose node does not run, and a mirror elsewhere that took a push meanwhile."""

    person: Person
    key: Signer
    origin: Carried
    mirror: Carried
    stack: ExitStack
    folder: Path

    @property
    def home(self) -> Home:
        return nodes.make_home(self.person.node)

    def know(self, *urls: str) -> None:
        """Let the owner's home know of mirrors."""
        with contextlib.closing(Database(self.home.database)) as database:
            known = [RememberedMirror(url, None) for url in urls]
            database.remember_mirrors(self.origin.info.repository_id, known, int(time.time()))

    def serve(self) -> nodes.Served:
        """Serve the mirror, from another home."""
        home = nodes.make_home(self.folder / "elsewhere")
        serving = nodes.serving(self.mirror, home=home, options=nodes.LOOPBACK)
        return self.stack.enter_context(serving)

    def push_at_mirror(self, data: bytes, ref: RefName = MAIN) -> Oid:
        git_dir = self.mirror.layout.git_dir
        new = Oid(nodes.add_commit(git_dir, "refs/private/new", "new", data))
        nodes.push_on(self.mirror, self.key, {ref: new})
        return new

    def sign_at_mirror(self) -> PushId:
        """Let the keeper's key sign there, as the keeper did before the backup was taken back."""
        with self.mirror.writing():
            log = self.mirror.log()
            made = EntrySigner(self.mirror, log, self.key, LATER).checkpoint()
            self.mirror.commit(log)
        return made


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    key = nodes.signer(tmp_path)
    git_dir = nodes.make_repository(tmp_path / "project.git")
    origin = nodes.publish(git_dir, key, "project")
    mirror = nodes.copy_as_mirror(origin, tmp_path / "mirror.git", "")
    git = mirror.layout.git_dir
    gitcmd.git(git, "update-ref", "refs/private/new", "refs/heads/main")
    with ExitStack() as stack:
        yield Owner(somebody(tmp_path / "owner"), key, origin, mirror, stack, tmp_path)


def test_a_push_taken_at_a_mirror_is_taken_over_by_the_next_publication(owner: Owner) -> None:
    new = owner.push_at_mirror(b"pushed elsewhere\n")
    url = f"{owner.serve().git}/project.git"
    owner.know(url)
    git_dir = owner.origin.layout.git_dir
    other = nodes.add_commit(git_dir, "refs/heads/topic", "own", b"own\n")
    done = owner.person.gittorrent("publish", git_dir).ok()
    assert f"took in 1 push that {url} had" in done.err
    assert gitcmd.refs(git_dir)[MAIN] == new
    final = owner.origin.log().final_refs
    assert (final[MAIN], final[RefName(b"refs/heads/topic")]) == (new, other)
    again = owner.person.gittorrent("publish", git_dir).ok()
    assert "took in" not in again.err


def test_a_checkpoint_that_an_old_backup_lacks_comes_from_a_mirror(owner: Owner) -> None:
    """Otherwise the keeper would sign another one in its place, and all would stop."""
    new = owner.push_at_mirror(b"before the disk died\n")
    signed = owner.sign_at_mirror()
    owner.know(f"{owner.serve().git}/project.git")
    git_dir = owner.origin.layout.git_dir
    other = nodes.add_commit(git_dir, "refs/heads/topic", "own", b"own\n")
    done = owner.person.gittorrent("publish", git_dir).ok()
    assert "and 1 checkpoint that" in done.err
    log = owner.origin.log()
    assert not log.ledger.twins
    assert log.ids[-2] == signed
    assert log.final_refs[MAIN] == new
    assert log.final_refs[RefName(b"refs/heads/topic")] == other


def test_nobody_is_asked_offline(owner: Owner) -> None:
    new = owner.push_at_mirror(b"pushed elsewhere\n")
    owner.know(f"{owner.serve().git}/project.git")
    git_dir = owner.origin.layout.git_dir
    owner.person.gittorrent("publish", git_dir, "--offline").ok()
    assert gitcmd.refs(git_dir)[MAIN] != new


@pytest.mark.parametrize("manner", ["gone", "silent", "stalls", "another"])
def test_mirrors_that_are_of_no_use_keep_nobody_from_publishing(
    owner: Owner, manner: str, tmp_path: Path
) -> None:
    """Nor from hearing what an honest one has."""
    new = owner.push_at_mirror(b"pushed elsewhere\n")
    served = owner.serve()
    with ExitStack() as stack:
        if manner == "gone":
            useless = "git://127.0.0.1:1/project.git"
        elif manner == "silent":
            front = stack.enter_context(liars.front(served.git_address, liars.silent))
            useless = f"git://{front.at}/project.git"
        elif manner == "stalls":
            front = stack.enter_context(liars.front(served.git_address, liars.silent))
            front.mute = "fetch log"
            useless = f"git://{front.at}/project.git"
        else:
            other = nodes.publish(
                nodes.make_repository(tmp_path / "other.git"), owner.key, "project"
            )
            home = nodes.make_home(tmp_path / "others")
            useless = f"{stack.enter_context(nodes.serving(other, home=home)).git}/project.git"
        owner.know(useless)
        git_dir = owner.origin.layout.git_dir
        tip = nodes.add_commit(git_dir, "refs/heads/topic", "own", b"own\n")
        owner.person.gittorrent("publish", git_dir).ok()
        assert owner.origin.log().final_refs[RefName(b"refs/heads/topic")] == tip
        owner.know(useless, f"{served.git}/project.git")
        owner.person.gittorrent("publish", git_dir).ok()
        assert owner.origin.log().final_refs[MAIN] == new


def test_a_mirror_that_lacks_the_objects_keeps_the_keeper_from_signing_a_twin(
    owner: Owner,
) -> None:
    """What it shows proves that there is a newer checkpoint, whoever has what that is about."""
    owner.push_at_mirror(b"before the disk died\n")
    signed = owner.sign_at_mirror()
    lost = gitcmd.text(owner.mirror.layout.git_dir, "rev-parse", "main:new")
    (owner.mirror.layout.objects / lost[:2] / lost[2:]).unlink()
    owner.know(f"{owner.serve().git}/project.git")
    git_dir = owner.origin.layout.git_dir
    before = owner.origin.log().head
    done = owner.person.gittorrent("publish", git_dir)
    done.failed(2, f"lacks checkpoint {signed}", "could not be had", "--allow-behind")
    owner.person.gittorrent("keeper", "here", git_dir).failed(2, signed, "--offline")
    assert owner.origin.log().head == before


def test_a_change_of_the_policy_is_made_on_what_mirrors_have(owner: Owner, tmp_path: Path) -> None:
    new = owner.push_at_mirror(b"pushed elsewhere\n")
    signed = owner.sign_at_mirror()
    owner.know(f"{owner.serve().git}/project.git")
    (tmp_path / "alice").mkdir()
    nodes.signer(tmp_path / "alice")
    git_dir = owner.origin.layout.git_dir
    words = ["policy", "add", str(tmp_path / "alice" / "key.pub"), "refs/heads/*"]
    done = owner.person.gittorrent(*words, "-r", git_dir, "--key", owner.key.spec).ok()
    assert "and 1 checkpoint that" in done.err
    log = owner.origin.log()
    assert log.policy.policy.checkpoint == signed
    assert gitcmd.refs(git_dir)[MAIN] == new


def test_a_node_that_hears_of_news_is_believed(owner: Owner) -> None:
    """It has what mirrors have, so that nobody is waited for."""
    git_dir = owner.origin.layout.git_dir
    with liars.front(owner.serve().git_address, liars.silent) as front:
        owner.know(f"git://{front.at}/project.git")
        owner.person.gittorrent("publish", git_dir).ok()
        assert front.asked.count("mirror-list") == 1
        with nodes.serving(owner.origin, home=owner.home):
            wait_until(partial(is_current, owner), "the node says that it is up to date")
            owner.person.gittorrent("publish", git_dir).ok()
        assert {"mirror-sync", "mirror-mux"} & set(front.asked)
        assert front.asked.count("mirror-list") == 1


def is_current(owner: Owner) -> bool:
    found = read_snapshots(owner.home.run)
    shown = (each.current for each in found if isinstance(each, NodeProcess))
    return any(owner.origin.info.repository_id in each for each in shown)


def test_where_no_mirror_is_known_nothing_is_loaded_that_asks(owner: Owner) -> None:
    git_dir = owner.origin.layout.git_dir
    person = Person(owner.person.root, variables={"PYTHONPROFILEIMPORTTIME": "1"})
    done = person.gittorrent("publish", git_dir).ok()
    assert "gittorrent.cli.news" in done.err
    assert "gittorrent.transfer.git_mirror" not in done.err
