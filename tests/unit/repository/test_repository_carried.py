"""How refs, HEAD and the log's commits follow a log, whatever cut short the last who wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.git.runner import Git
from gittorrent.ids import SHA1, Oid, RefName
from gittorrent.push.certificate import Line
from gittorrent.push.log import VerifiedLog
from gittorrent.repository.carried import (
    CLONE,
    MIRROR,
    ORIGIN,
    Carried,
    NotCarriedError,
    RepositoryInfo,
)
from gittorrent.repository.evidence import GitEvidence
from support import gitcmd
from support.logs import MAIN, Writer, certificate
from support.publishing import builder, grow

SIDE = RefName(b"refs/heads/side")


class Site:
    """A carried repository whose log is written by hand, about objects that are there."""

    def __init__(self, directory: Path, role: str = MIRROR) -> None:
        b = builder(directory)
        grow(b, 3)
        grow(b, 2, branch="alone", name="alone")
        self.git_dir = b.git_dir
        self.main = [self.value(f"main~{n}") for n in (2, 1, 0)]
        self.alone = [self.value(f"alone~{n}") for n in (1, 0)]
        for name in gitcmd.refs(b.git_dir):
            gitcmd.git(b.git_dir, "update-ref", "-d", name.decode())
        self.writer = Writer(facts=GitEvidence(Git(b.git_dir)))
        self.carried = Carried(b.git_dir, SHA1, self.writer.repository)
        self.carried.set_info(RepositoryInfo(self.writer.repository, "tests", role))

    def value(self, name: str) -> Oid:
        return Oid(gitcmd.text(self.git_dir, "rev-parse", name))

    @property
    def refs(self) -> dict[bytes, str]:
        found = gitcmd.refs(self.git_dir)
        found.pop(b"refs/gittorrent/log", None)
        return found

    @property
    def log_ref(self) -> str | None:
        return gitcmd.refs(self.git_dir).get(b"refs/gittorrent/log")

    def store(self) -> VerifiedLog:
        """Store what was written; return the log as it is to become."""
        store = self.carried.log_store
        log = store.open()
        for push_id, push in self.writer.pushes:
            store.store_push(push_id, push)
            log.admit(push, push_id)
        log.settle()
        store.judge_again(log)
        return log

    def follow(self) -> None:
        log = self.store()
        with self.carried.writing():
            self.carried.store_entries(log)
            self.carried.commit(log)

    def conflict(self) -> str:
        """Push two values in the place of one; return the ref that shows the second."""
        signer, old = self.writer.signer, self.writer.state.refs[MAIN]
        made = []
        for value in (self.main[2], self.alone[1]):
            nonce = self.writer.state.ledger.nonce()
            push = certificate(signer, nonce, [Line(old, value, MAIN)])
            made.append(self.writer.append(push))
        return f"refs/conflicts/{made[1]}/heads/main"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path / "r.git")
    made.writer.publish({MAIN: made.main[0], SIDE: made.alone[0]})
    made.follow()
    return made


def test_refs_follow_provisional_pushes_and_the_log_ref_does_not(site: Site) -> None:
    final = site.writer.head
    assert (site.refs, site.log_ref) == ({MAIN: site.main[0], SIDE: site.alone[0]}, final)
    site.writer.push({MAIN: site.main[1], SIDE: None})
    site.follow()
    assert (site.refs, site.log_ref) == ({MAIN: site.main[1]}, final)
    site.writer.keep()
    site.follow()
    assert (site.refs, site.log_ref) == ({MAIN: site.main[1]}, site.writer.head)
    gitcmd.git(site.git_dir, "fsck", "--full", "--strict")


def test_a_conflict_is_a_ref_until_it_is_merged_or_dismissed(site: Site) -> None:
    shown = site.conflict()
    site.follow()
    assert site.refs[shown.encode()] == site.alone[1]
    assert site.refs[MAIN] == site.main[2]
    site.writer.push({shown.encode(): None})
    site.writer.keep()
    site.follow()
    assert shown.encode() not in site.refs


def test_head_follows(site: Site) -> None:
    site.writer.push({MAIN: None}, options=[b"head=refs/heads/side"])
    site.follow()
    assert gitcmd.text(site.git_dir, "symbolic-ref", "HEAD") == "refs/heads/side"
    assert site.refs == {SIDE: site.alone[0]}


def test_what_was_cut_short_after_the_log_was_written_is_done_by_the_next(site: Site) -> None:
    """Even where no checkpoint is newer than the log ref says."""
    site.writer.push({MAIN: site.main[1]})
    site.carried.log_store.commit(site.store())
    assert site.refs[MAIN] == site.main[0]
    with site.carried.writing():
        pass
    assert site.refs[MAIN] == site.main[1]
    before = site.carried.layout.followed(site.writer.repository).stat().st_mtime_ns
    with site.carried.writing():
        pass
    after = site.carried.layout.followed(site.writer.repository).stat().st_mtime_ns
    assert before == after, "what was done is not done again"


def test_commits_that_a_power_cut_took_are_made_again(site: Site) -> None:
    head = site.writer.head
    (site.git_dir / "objects" / head[:2] / head[2:]).unlink()
    # By another process: one that lives saw no power cut, and knows what it did.
    with Carried(site.git_dir, SHA1).writing():
        pass
    gitcmd.git(site.git_dir, "fsck", "--full", "--strict")
    assert gitcmd.text(site.git_dir, "cat-file", "-t", head) == "commit"


@pytest.mark.parametrize("left", ["nothing", "the value before"])
@pytest.mark.parametrize(
    "names", [[MAIN], [b"refs/gittorrent/log"], [MAIN, b"refs/gittorrent/log"]]
)
def test_refs_that_a_power_cut_took_are_what_the_log_says(
    site: Site, names: list[bytes], left: str
) -> None:
    """Git syncs no refs, so they may be empty, or what they were before."""
    site.follow()
    before, before_own = gitcmd.refs(site.git_dir), site.refs
    site.writer.push({MAIN: site.main[1]})
    site.writer.keep()
    site.follow()
    for name in names:
        file = site.git_dir / name.decode()
        file.write_text("" if left == "nothing" else f"{before[name]}\n")
    note = site.carried.layout.followed(site.writer.repository)
    digest, boot = note.read_bytes().split()
    note.write_bytes(digest + b"\n" + boot[::-1] + b"\n")
    with Carried(site.git_dir, SHA1).writing():
        pass
    assert site.refs == {**before_own, MAIN: site.main[1]}
    assert site.log_ref == site.writer.head
    gitcmd.git(site.git_dir, "fsck", "--full", "--strict")


def test_commits_of_pushes_that_git_pruned_are_there_when_a_checkpoint_takes_them(
    site: Site,
) -> None:
    """Nothing leads to the commit of a push before a checkpoint has taken it."""
    site.writer.push({MAIN: site.main[1]})
    site.follow()
    gitcmd.git(site.git_dir, "prune", "--expire=now", *site.main, *site.alone)
    site.writer.keep()
    site.follow()
    assert site.log_ref == site.writer.head
    gitcmd.git(site.git_dir, "fsck", "--full", "--strict")


def test_a_log_whose_beginning_is_not_here_gets_no_ref(tmp_path: Path) -> None:
    """A commit without its past would be damage in the eyes of git."""
    site = Site(tmp_path / "r.git")
    site.writer.publish({MAIN: site.main[0]})
    log = site.store()
    first = [push for push, made in site.writer.pushes][1]
    with site.carried.writing():
        kept = [push for push in log.entries if push != first]
        site.carried._write_commits(kept)
        site.carried.commit(log)
    assert site.log_ref is None
    assert site.refs == {MAIN: site.main[0]}
    gitcmd.git(site.git_dir, "gc", "-q")
    with site.carried.writing():
        pass


@pytest.mark.parametrize("role", [ORIGIN, CLONE])
def test_refs_that_are_somebodys_are_left_alone(role: str, tmp_path: Path) -> None:
    site = Site(tmp_path / "r.git", role)
    site.writer.publish({MAIN: site.main[0]})
    if role == ORIGIN:
        site.follow()
    else:
        site.carried.log_store.commit(site.store())
        with site.carried.writing():
            pass
    assert site.refs == {}
    assert site.log_ref == (site.writer.head if role == ORIGIN else None)


def test_a_renamed_repository_keeps_what_it_followed(site: Site) -> None:
    site.carried.set_info(replace(site.carried.info, name="other"))
    with site.carried.writing():
        pass
    assert site.log_ref == site.writer.head


@pytest.mark.parametrize(("is_clone", "way_out"), [(True, "'git fetch'"), (False, "publish")])
def test_what_is_not_carried_has_a_way_out_that_fits(
    tmp_path: Path, is_clone: bool, way_out: str
) -> None:
    """Publishing a clone would make another repository of it."""
    site = Site(tmp_path / "x.git")
    site.carried.layout.info.unlink()
    if is_clone:
        log = site.carried.layout.log(site.writer.repository)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
    with pytest.raises(NotCarriedError) as raised:
        _ = site.carried.info
    assert way_out in raised.value.hint
