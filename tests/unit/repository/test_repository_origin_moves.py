"""An origin's refs follow single pushes to its depot without all being compared; safely."""

from __future__ import annotations

from pathlib import Path

import pytest

from gittorrent.ids import Oid, RefName
from gittorrent.push.certificate import Line
from gittorrent.repository.last_published import read_last_published
from gittorrent.repository.layout import Layout
from gittorrent.trust.policy import Grant
from support import depots, gitcmd
from support.depot_client import ALICE, MAIN, Client
from support.publishing import carried, let_push, publish

TOPIC, OTHER = RefName(b"refs/heads/topic"), RefName(b"refs/heads/other")
CHANGE = RefName(b"refs/changes/1")


@pytest.fixture
def client(tmp_path: Path) -> Client:
    """A depot that has compared its refs with its log, as after the first push."""
    made = Client(tmp_path)
    push(made, Line(None, made.main, OTHER))
    return made


def push(client: Client, *lines: Line) -> None:
    news = [line.new for line in lines if line.new is not None]
    pack = client.pack(*news, f"^{client.main}")
    report = client.send(client.certificate(*lines), pack)
    assert not any(ref.refusal for ref in report.refs)


def own(client: Client, ref: bytes = MAIN) -> str | None:
    return gitcmd.refs(client.git_dir).get(ref)


def files(client: Client) -> tuple[Path, Path]:
    layout = Layout(client.git_dir)
    repository = carried(client.git_dir).info.repository_id
    return layout.published_refs(repository), layout.published_since(repository)


def test_refs_follow_and_nothing_else_is_looked_at(client: Client) -> None:
    compared, since = files(client)
    before = compared.stat().st_mtime_ns
    old, new = client.main, client.commit()
    push(client, Line(old, new, MAIN), Line(None, old, TOPIC))
    assert (own(client), own(client, TOPIC)) == (new, old)
    assert compared.stat().st_mtime_ns == before
    assert since.exists()
    push(client, Line(old, new, TOPIC))
    assert own(client, TOPIC) == new
    assert compared.stat().st_mtime_ns == before


def test_what_was_moved_is_remembered(client: Client) -> None:
    """The owner takes a push back by ssh: that is a change made here, not one made elsewhere."""
    old, new = client.main, client.commit()
    push(client, Line(old, new, MAIN))
    depots.keep(client.git_dir)
    gitcmd.git(client.git_dir, "update-ref", MAIN.decode(), old)
    done = publish(client.git_dir)
    assert [(change.name, change.change) for change in done.changes] == [(MAIN, "rewound")]
    assert (client.main, own(client)) == (old, old)


def test_what_was_made_is_remembered(client: Client) -> None:
    push(client, Line(None, client.main, TOPIC))
    depots.keep(client.git_dir)
    gitcmd.git(client.git_dir, "update-ref", "-d", TOPIC.decode())
    publish(client.git_dir)
    assert TOPIC not in carried(client.git_dir).log().refs
    assert own(client, TOPIC) is None


def test_what_somebody_pushed_by_ssh_meanwhile_stays(client: Client) -> None:
    old, theirs = client.main, client.commit("theirs")
    gitcmd.git(client.git_dir, "fetch", "-q", str(client.work), theirs)
    gitcmd.git(client.git_dir, "update-ref", MAIN.decode(), theirs)
    new = client.commit("ours")
    push(client, Line(old, new, MAIN))
    assert (client.main, own(client)) == (new, theirs)
    assert own(client, b"refs/gittorrent/elsewhere/heads/main") == new
    again = client.commit("again")
    push(client, Line(new, again, MAIN))  # what has parted is compared again each time
    assert own(client) == theirs
    assert own(client, b"refs/gittorrent/elsewhere/heads/main") == again


def test_a_branch_that_somebody_works_on_follows_no_push(client: Client, tmp_path: Path) -> None:
    """What is in the work tree would count as a change that takes the push back."""
    place = tmp_path / "place"
    gitcmd.git(client.git_dir, "worktree", "add", "-q", str(place), "main")
    old, new = client.main, client.commit()
    push(client, Line(old, new, MAIN), Line(None, old, TOPIC))
    assert (client.main, own(client), own(client, TOPIC)) == (new, old, old)
    assert gitcmd.text(place, "status", "--porcelain") == ""
    gitcmd.git(place, "merge", "-q", "refs/gittorrent/elsewhere/heads/main")
    newer = client.commit("newer")
    push(client, Line(new, newer, MAIN))
    assert own(client) == new
    gitcmd.git(place, "checkout", "-q", "--detach")
    again = client.commit("again")
    push(client, Line(newer, again, MAIN))
    assert own(client) == again


def test_what_is_not_forward_is_compared(client: Client) -> None:
    """A branch is deleted here only when its value was final."""
    let_push(client.git_dir, ALICE, pattern="refs/*", grant=Grant.FORCE)
    push(client, Line(None, client.main, TOPIC))
    push(client, Line(client.main, None, TOPIC))
    assert own(client, TOPIC) == client.main
    assert TOPIC not in carried(client.git_dir).log().refs


def test_refs_that_the_origin_does_not_publish(client: Client) -> None:
    """They are kept where git's housekeeping finds them."""
    let_push(client.git_dir, ALICE, pattern="refs/changes/*", grant=Grant.CREATE)
    push(client, Line(None, client.main, CHANGE))
    assert own(client, CHANGE) is None
    assert own(client, b"refs/gittorrent/elsewhere/changes/1") == client.main


def test_what_belongs_to_another_comparison_is_passed_over(client: Client) -> None:
    old, new = client.main, client.commit()
    push(client, Line(old, new, MAIN))
    compared, since = files(client)
    this = carried(client.git_dir)
    repository = this.info.repository_id

    def known() -> Oid | None:
        last = read_last_published(this.layout, repository, this.object_format)
        assert last is not None
        return last.refs.get(MAIN)

    assert known() == new
    text = since.read_bytes()
    for other in (
        text.replace(b"serial ", b"serial 0"),
        b"",
        b"serial x\nref 12 refs/heads/main\n",
    ):
        since.write_bytes(other)
        assert known() is None
    since.write_bytes(text)
    assert known() == new
    compared.unlink()
    assert read_last_published(this.layout, repository, this.object_format) is None


@pytest.mark.parametrize("end", ["amended", "deleted", "directory"])
def test_a_branch_that_was_amended_follows_once_it_is_final(client: Client, end: str) -> None:
    """No checkpoint ever had what the ref was here; but one took the push that set it to that."""
    let_push(client.git_dir, ALICE, pattern="refs/*", grant=Grant.FORCE)
    one, two, three = (client.commit(message) for message in ("one", "two", "three"))
    inner = RefName(TOPIC + b"/inner")
    for old, new in ((None, one), (one, two), (two, three)):
        push(client, Line(old, new, TOPIC))
    expected = {TOPIC: three}
    if end != "amended":
        push(client, Line(three, None, TOPIC))
        expected = {}
    if end == "directory":
        push(client, Line(None, one, inner))
        expected = {inner: one}
    assert own(client, TOPIC) == one, "nobody has confirmed yet that it is another"
    done = publish(client.git_dir)
    assert done.parted == ()
    found = {ref: own(client, ref) for ref in (TOPIC, inner) if own(client, ref)}
    assert found == expected
    assert {change.name for change in done.taken} == {TOPIC, *expected}
    done = publish(client.git_dir)
    assert (done.taken, done.changes, done.parted) == ((), (), ())
