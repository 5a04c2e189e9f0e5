"""What a mirror keeps of refs that its log suddenly takes away."""

from __future__ import annotations

from pathlib import Path

import pytest

from gittorrent.git import refs as git_refs
from gittorrent.git.runner import Git
from gittorrent.ids import SHA1, Oid, RefName, Refs
from gittorrent.push.purge_guard import WINDOW_SECONDS, Threshold
from gittorrent.repository.kept_refs import KEEP_SECONDS, PREFIX, KeptRefs
from gittorrent.repository.layout import Layout
from support import gitcmd, nodes

FEW = Threshold(count=2, percent=50)
START = 1_000_000


class Mirror:
    """A bare repository whose refs are changed as a log would."""

    def __init__(self, path: Path) -> None:
        gitcmd.init(path)
        for number in range(4):
            nodes.add_commit(path, f"refs/heads/b{number}", "file", b"%d" % number)
        self.path = path
        self.git = Git(path)
        self.now = float(START)
        self.layout = Layout(path)
        self.layout.own.mkdir(exist_ok=True)
        self.kept = KeptRefs(self.git, self.layout, SHA1, lambda: self.now, FEW)

    def branches(self) -> Refs:
        return git_refs.read_refs(self.git, "refs/heads/")

    def follow(self, refs: Refs, *, stop: bool = False) -> None:
        """Let the refs be others; stop before anything is deleted, as one who is killed does."""
        before = self.branches()
        names = sorted(before.keys() | refs.keys())
        changes = [
            (name, before.get(name), refs.get(name))
            for name in names
            if before.get(name) != refs.get(name)
        ]
        self.kept.before(changes, lambda: len(before))
        if stop:
            return
        git_refs.apply_changes(self.git, changes, SHA1)
        self.kept.settle(refs)

    def kept_values(self) -> dict[str, str]:
        found = git_refs.read_refs(self.git, PREFIX)
        return {name.decode().removeprefix(PREFIX): str(oid) for name, oid in found.items()}


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    return Mirror(tmp_path / "mirror.git")


def without(refs: Refs, *names: str) -> Refs:
    return {name: oid for name, oid in refs.items() if name.decode() not in names}


def test_a_few_that_are_deleted_are_not_kept(mirror: Mirror) -> None:
    before = mirror.branches()
    mirror.follow(without(before, "refs/heads/b0", "refs/heads/b1"))
    assert (mirror.kept.sets(), mirror.kept_values()) == ([], {})
    # The next ones make it a purge, in small steps.
    mirror.follow(without(before, "refs/heads/b0", "refs/heads/b1", "refs/heads/b2"))
    assert list(mirror.kept_values()) == [f"{START}/heads/b2"]


def test_steps_of_different_days_do_not_count_together(mirror: Mirror) -> None:
    before = mirror.branches()
    mirror.follow(without(before, "refs/heads/b0", "refs/heads/b1"))
    mirror.now += WINDOW_SECONDS + 1
    mirror.follow(without(before, "refs/heads/b0", "refs/heads/b1", "refs/heads/b2"))
    assert mirror.kept_values() == {}


def test_many_that_are_deleted_are_kept_and_git_keeps_their_objects(mirror: Mirror) -> None:
    before = mirror.branches()
    mirror.follow({})
    wanted = {f"{START}/{name.decode().removeprefix('refs/')}": o for name, o in before.items()}
    assert mirror.kept_values() == wanted
    (kept,) = mirror.kept.sets()
    assert (kept.since, kept.until, kept.total) == (START, START + KEEP_SECONDS, 4)
    gitcmd.git(mirror.path, "gc", "--quiet", "--prune=now")
    for oid in before.values():
        gitcmd.git(mirror.path, "cat-file", "-e", oid)
    mirror.kept.release(START)
    assert (mirror.kept.sets(), mirror.kept_values()) == ([], {})


def test_many_that_are_rewritten_are_kept(mirror: Mirror) -> None:
    """Whoever stole a key need not delete: values without the past take it away as well."""
    before = mirror.branches()
    empty = Oid(nodes.add_commit(mirror.path, "refs/other", "file", b"empty"))
    mirror.follow(dict.fromkeys(before, empty))
    assert len(mirror.kept_values()) == 4


def test_many_that_go_forward_lose_nothing(mirror: Mirror) -> None:
    after = {}
    for name, oid in mirror.branches().items():
        tree = gitcmd.text(mirror.path, "rev-parse", f"{oid}^{{tree}}")
        after[name] = Oid(gitcmd.text(mirror.path, "commit-tree", "-p", oid, "-m", "more", tree))
    mirror.follow(after)
    assert mirror.kept_values() == {}


def with_more(refs: Refs, count: int) -> Refs:
    """Return refs with as many others of no worth."""
    value = refs[RefName(b"refs/heads/b3")]
    return refs | {RefName(b"refs/heads/junk%d" % number): value for number in range(count)}


def test_refs_that_came_a_moment_before_hide_nothing(mirror: Mirror) -> None:
    before = mirror.branches()
    for count in (3, 6):  # in steps
        mirror.follow(with_more(before, count))
        mirror.now += 60
    left = with_more(without(before, *(f"refs/heads/b{number}" for number in range(3))), 6)
    mirror.follow(left)
    assert {name.partition("/")[2] for name in mirror.kept_values()} == {
        f"heads/b{number}" for number in range(3)
    }


def test_refs_that_come_as_others_go_hide_nothing(mirror: Mirror) -> None:
    before = mirror.branches()
    left = without(before, *(f"refs/heads/b{number}" for number in range(3)))
    mirror.follow(with_more(left, 9))
    assert len(mirror.kept_values()) == 3


def test_refs_that_came_days_before_count(mirror: Mirror) -> None:
    before = mirror.branches()
    mirror.follow(with_more(before, 6))
    mirror.now += WINDOW_SECONDS + 1
    left = with_more(without(before, *(f"refs/heads/b{number}" for number in range(3))), 6)
    mirror.follow(left)
    assert mirror.kept_values() == {}


def test_the_first_refs_of_all_count_at_once(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "mirror.git")
    refs = mirror.branches()
    mirror.follow({})
    mirror.kept.release(START)
    fresh = KeptRefs(mirror.git, mirror.layout, SHA1, lambda: mirror.now, FEW)
    mirror.layout.kept.unlink()
    mirror.kept = fresh
    mirror.follow(with_more(refs, 6))
    mirror.follow(with_more(without(refs, *(f"refs/heads/b{n}" for n in range(3))), 6))
    assert mirror.kept_values() == {}


def test_conflicts_and_own_refs_come_and_go(mirror: Mirror) -> None:
    oid = next(iter(mirror.branches().values()))
    names = [RefName(b"refs/conflicts/heads/main/%d" % number) for number in range(9)]
    mirror.kept.before([(name, oid, None) for name in names], lambda: 9)
    assert mirror.kept.sets() == []


def test_what_is_there_again_is_kept_no_more(mirror: Mirror) -> None:
    before = mirror.branches()
    mirror.follow({})
    some = without(before, "refs/heads/b3")
    mirror.follow({**some, RefName(b"refs/heads/b2"): before[RefName(b"refs/heads/b1")]})
    assert list(mirror.kept_values()) == [f"{START}/heads/b2", f"{START}/heads/b3"]
    mirror.follow(before)
    assert (mirror.kept.sets(), mirror.kept_values()) == ([], {})


def test_what_is_kept_goes_in_the_end_unless_it_is_kept_for_good(mirror: Mirror) -> None:
    mirror.follow({})
    mirror.now += KEEP_SECONDS - 1
    mirror.kept.settle({})
    assert len(mirror.kept_values()) == 4
    mirror.kept.keep_for_good(START)
    mirror.now += 2 * KEEP_SECONDS
    mirror.kept.settle({})
    assert len(mirror.kept_values()) == 4
    assert mirror.kept.sets()[0].until == 0


def test_what_would_be_kept_for_ever_by_nobodys_word_goes(mirror: Mirror) -> None:
    mirror.follow({})
    mirror.now += KEEP_SECONDS
    mirror.kept.settle({})
    assert (mirror.kept.sets(), mirror.kept_values()) == ([], {})


def test_who_is_killed_before_refs_are_deleted_keeps_them_once(mirror: Mirror) -> None:
    before = mirror.branches()
    mirror.follow({}, stop=True)
    assert mirror.branches() == before
    mirror.now += 60
    mirror.follow({})
    assert {name.partition("/")[0] for name in mirror.kept_values()} == {str(START)}
    assert len(mirror.kept.sets()) == 1


def test_who_is_killed_before_old_values_are_kept_keeps_them_the_next_time(mirror: Mirror) -> None:
    mirror.follow({}, stop=True)
    for name, oid in git_refs.read_refs(mirror.git, PREFIX).items():
        git_refs.apply_changes(mirror.git, [(name, oid, None)], SHA1)
    mirror.follow({})
    assert len(mirror.kept_values()) == 4


def test_values_whose_objects_are_lost_keep_no_log_from_being_followed(mirror: Mirror) -> None:
    before = mirror.branches()
    lost = before[RefName(b"refs/heads/b0")]
    (mirror.path / "objects" / lost[:2] / lost[2:]).unlink()
    mirror.follow({})
    assert sorted(mirror.kept_values()) == [f"{START}/heads/b{n}" for n in (1, 2, 3)]
