"""What a repository content source finds on disk."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.ids import ManifestId, Oid, PushId, RefName
from gittorrent.repository.carried import CLONE, Carried
from gittorrent.signing.keys import Signer
from gittorrent.transfer.answering import Answer
from gittorrent.transfer.deflated_logs import KeptLogs
from gittorrent.transfer.repository_content import CATCHING_UP_SECONDS, RepositoryContent
from gittorrent.wire import pktline
from gittorrent.wire.limits import MAX_TAG_BYTES, MAX_TAG_DEPTH
from gittorrent.wire.messages import (
    ALL,
    FetchLog,
    HaveCheckpoint,
    Message,
    MissingLog,
    ReceivePush,
)
from gittorrent.wire.mirrorlist import NONE_UNTAKEN, Untaken
from gittorrent.wire.reelname import ReelName
from support import gitcmd, nodes

UNKNOWN = PushId("0" * 40)


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return nodes.signer(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def grown(tmp_path: Path, key: Signer) -> Carried:
    """A repository published three times: policy and three pushes, three reels."""
    repository = nodes.make_repository(tmp_path / "r.git")
    carried = nodes.publish(repository, key, "grown")
    for number in range(2):
        nodes.add_commit(repository, "refs/heads/main", f"file{number}", b"x\n")
        nodes.publish(repository, key, None)
    return carried


def test_the_log_is_given_as_it_is_asked_for(grown: Carried) -> None:
    content, entries = RepositoryContent(grown), grown.log_store.entries()
    ids = grown.log_store.ids()
    assert (len(entries), len(ids)) == (8, 4), "a policy, three pushes, four checkpoints"
    assert content.head() == HaveCheckpoint(ids[-1], 4)
    assert content.log_entries(FetchLog(ids[-1])) == entries
    assert content.log_entries(FetchLog(ids[0])) == entries, "no less than there is"
    assert content.log_entries(FetchLog(ids[-1], ids[1])) == entries[4:]
    assert content.log_entries(FetchLog(ids[-1], UNKNOWN)) == entries
    assert content.log_entries(FetchLog(ids[-1], ids[-1])) == []
    assert content.log_entries(FetchLog(UNKNOWN)) is None
    assert content.log_entries(FetchLog(ids[-1], short=True)) == [entries[0], *ids]
    assert content.log_entries(FetchLog(ids[-1], ids[1], short=True)) == ids[2:]
    lines = [line.split() for line in content.log_index(short=True).decode().splitlines()]
    assert lines == [[entries[0], "policy"], *([push, "checkpoint"] for push in ids)]
    kinds = [line.split(b" ")[1] for line in content.log_index(short=False).splitlines()]
    assert [b"policy", b"checkpoint", *[b"certificate", b"checkpoint"] * 3] == kinds


def inflated(pieces: Iterable[bytes] | None) -> bytes:
    assert pieces is not None
    return zlib.decompress(b"".join(pieces))


def as_said(content: RepositoryContent, question: FetchLog) -> bytes:
    """Return what the answer to a question is where nothing is deflated."""
    said = b""
    for push in content.log_entries(question) or ():
        data = content.push(push)
        assert data is not None
        said += pktline.encode(ReceivePush(push, len(data)).encode()) + data
    return said


def test_a_deflated_log_is_the_same(grown: Carried) -> None:
    content, ids = RepositoryContent(grown), grown.log_store.ids()
    for base in (None, ids[1], ids[-1]):
        for short in (True, False):
            question = FetchLog(ids[-1], base, short, deflated=True)
            assert inflated(content.deflated_log(question)) == as_said(content, question)
    assert content.deflated_log(FetchLog(UNKNOWN, deflated=True)) is None


def test_a_deflated_log_is_kept_for_others_until_something_changes(
    grown: Carried, key: Signer
) -> None:
    kept = KeptLogs()
    content, ids = RepositoryContent(grown, kept_logs=kept), grown.log_store.ids()
    question = FetchLog(ids[-1], short=True, deflated=True)
    first = inflated(content.deflated_log(question))
    read: list[PushId] = []
    content.push = lambda push: read.append(push)  # type: ignore[method-assign]
    assert inflated(content.deflated_log(question)) == first
    assert not read
    del content.push
    nodes.add_commit(grown.layout.git_dir, "refs/heads/main", "later", b"x\n")
    nodes.publish(grown.layout.git_dir, key, None)
    assert len(inflated(content.deflated_log(question))) > len(first)


def test_an_entry_that_is_gone_ends_the_log_as_missing(grown: Carried) -> None:
    content, ids = RepositoryContent(grown), grown.log_store.ids()
    for push in ids[1:]:
        grown.layout.push(push).unlink()
    answer = Answer(FetchLog(ids[-1], deflated=True), content)

    async def steps() -> list[Message]:
        found = []
        while (step := await answer.next_step()) is not None:
            found.append(step.message)
        return found

    assert asyncio.run(steps()) == [MissingLog(ids[-1])]


def test_kept_logs_are_bounded() -> None:
    kept, made = KeptLogs(100), list[str]()

    def ask(key: str, *sizes: int) -> list[bytes]:
        def make() -> Iterator[bytes]:
            made.append(key)
            yield from (bytes(size) for size in sizes)

        return list(kept.given(key, make))

    for key in "aab":
        assert ask(key, 20, 20) == [bytes(20)] * 2
    assert made == ["a", "b"]
    ask("a")
    ask("c", 40)
    assert made == ["a", "b", "c"]
    ask("a")
    ask("b", 40)
    assert made == ["a", "b", "c", "b"], "b was asked for longest ago"
    ask("large", 60, 60)
    ask("large", 60, 60)
    assert made[-2:] == ["large"] * 2


def test_readers_that_stop_half_way_hold_no_more_than_is_kept() -> None:
    kept = KeptLogs(100)
    begun = [iter(kept.given(n, lambda: iter([bytes(40), bytes(40)]))) for n in range(9)]
    for pieces in begun:
        next(pieces)
    assert kept.gathered <= 100
    del begun, pieces
    assert kept.gathered == 0


def test_pushes_that_nobody_took_are_told_of_if_they_are_shown(grown: Carried, key: Signer) -> None:
    content, git_dir = RepositoryContent(grown), grown.layout.git_dir
    assert content.untaken() == NONE_UNTAKEN
    before = content.state()
    new = Oid(nodes.add_commit(git_dir, "refs/heads/elsewhere", "file", b"y\n"))
    here, there = (
        nodes.push_on(grown, key, {RefName(b"refs/heads/main"): value})
        for value in (new, Oid("12" * 20))
    )
    assert content.untaken() == Untaken.of([here])
    assert content.state() != before
    head = content.latest()
    assert head is not None
    assert content.log_entries(FetchLog(head, head)) == [here]
    assert content.has_push(there)


def test_who_lacks_a_checkpoint_of_just_now_is_up_to_date(grown: Carried) -> None:
    content, ids = RepositoryContent(grown), grown.log_store.ids()
    signed = nodes.AUTHOR.now
    late = signed + CATCHING_UP_SECONDS
    assert [content.is_current(push, signed) for push in ids[-2:]] == [True, True]
    assert [content.is_current(push, late) for push in ids[-2:]] == [False, True]
    assert not content.is_current(UNKNOWN, signed)


def test_a_clone_answers_clones_only(grown: Carried) -> None:
    content, head = RepositoryContent(grown), grown.log_store.head()
    assert head is not None
    grown.set_info(replace(grown.info, role=CLONE))
    assert content.log_entries(FetchLog(head)) is None
    assert content.log_entries(FetchLog(head, short=True)) is not None


def test_no_more_tags_of_tags_are_given_than_are_followed(grown: Carried, key: Signer) -> None:
    git_dir, oids, to = grown.layout.git_dir, [], "main"
    for number in range(MAX_TAG_DEPTH + 1):
        gitcmd.git(git_dir, "tag", "-m", "deep", f"t{number}", to)
        to = f"t{number}"
        oids.append(PushId(gitcmd.text(git_dir, "rev-parse", to)))
    gitcmd.git(git_dir, "tag", "-d", *(f"t{number}" for number in range(MAX_TAG_DEPTH)))
    nodes.publish(git_dir, key, None)
    given = [RepositoryContent(grown).push(oid) is not None for oid in oids]
    assert given == [False] + [True] * MAX_TAG_DEPTH


def test_a_tag_that_names_nothing_hides_no_other(grown: Carried, key: Signer) -> None:
    git_dir = grown.layout.git_dir
    form = ("-t", "tag", "-w", "--stdin", "--literally")
    content = f"object {gitcmd.text(git_dir, 'rev-parse', 'main')}\ntype commit\ntag old\n\nx\n"
    old = gitcmd.text(git_dir, "hash-object", *form, stdin=content.encode())
    gitcmd.git(git_dir, "update-ref", "refs/tags/old", old)
    gitcmd.git(git_dir, "tag", "-m", "new", "new", "main")
    new = gitcmd.text(git_dir, "rev-parse", "new")
    nodes.publish(git_dir, key, None)
    given = RepositoryContent(grown)
    assert given.push(PushId(old)) == content.encode()
    assert given.push(PushId(new)) is not None


def test_tags_are_given_as_far_as_they_are_published(grown: Carried, key: Signer) -> None:
    git_dir, content = grown.layout.git_dir, RepositoryContent(grown)
    gitcmd.git(git_dir, "tag", "-m", "one", "inner", "main")
    gitcmd.git(git_dir, "tag", "-m", "two", "outer", "inner")
    gitcmd.git(git_dir, "tag", "-F", "-", "large", "main", stdin=b"x" * MAX_TAG_BYTES)
    names = ("inner", "outer", "large", "main")
    oids = [PushId(gitcmd.text(git_dir, "rev-parse", name)) for name in names]
    gitcmd.git(git_dir, "tag", "-d", "inner")
    assert [content.push(oid) for oid in oids] == [None] * 4
    nodes.publish(git_dir, key, None)
    given = [gitcmd.git(git_dir, "cat-file", "tag", oid) for oid in oids[:2]]
    assert [content.push(oid) for oid in oids] == [*given, None, None]
    gitcmd.git(git_dir, "tag", "-d", "outer")
    nodes.publish(git_dir, key, None)
    assert [content.push(oid) for oid in oids] == [None] * 4


def test_offers_lie_between_the_ends_asked_for(grown: Carried) -> None:
    content, ids = RepositoryContent(grown), grown.log_store.ids()

    def ends(start: PushId | None, end: PushId) -> list[tuple[PushId | None, PushId]]:
        offers = content.offers(ReelName(start, end))
        assert all(offer.parts is ALL for offer in offers)
        return [(offer.reel.start, offer.reel.end) for offer in offers]

    steps = [(ids[2], ids[3]), (ids[1], ids[2]), (None, ids[1])]
    assert ends(None, ids[3]) == steps
    assert ends(None, ids[2]) == steps[1:]
    assert ends(ids[1], ids[3]) == steps[:2]
    assert ends(UNKNOWN, ids[3]) == []
    assert ends(None, UNKNOWN) == []


def test_a_reel_without_its_pack_is_not_offered(grown: Carried) -> None:
    content, ids = RepositoryContent(grown), grown.log_store.ids()
    last = next(reel for reel in content.reels() if reel.manifest.end == ids[-1])
    last.pack.unlink()
    assert len(content.all_offers()) == 2
    assert content.manifest(last.id) is None
    assert content.pack(last.id) is None


def test_a_damaged_manifest_hides_only_itself(grown: Carried) -> None:
    first = grown.reels.all()[0]
    grown.layout.manifest(first.id).write_bytes(b"damaged\n")
    content = RepositoryContent(Carried(grown.layout.git_dir, grown.object_format))
    assert len(content.all_offers()) == 2
    assert content.manifest(first.id) is None


def test_only_pushes_of_the_log_are_given(grown: Carried) -> None:
    content = RepositoryContent(grown)
    stray = PushId("1" * 40)
    grown.layout.push(stray).write_bytes(b"not admitted")
    assert content.push(stray) is None
    assert content.push(PushId("../../config")) is None
    assert content.manifest(ManifestId("../../config")) is None


def test_reels_of_a_push_that_does_not_count_are_not_given(grown: Carried) -> None:
    """Publishing puts the reel in place before the log: a crash between them leaves it there."""
    last = next(r for r in grown.reels.all() if r.manifest.end == grown.log_store.ids()[-1])
    lines = grown.log_store.path.read_bytes().splitlines(keepends=True)
    grown.log_store.path.write_bytes(b"".join(lines[:-1]))
    content = RepositoryContent(grown)
    assert len(content.all_offers()) == 2
    assert content.manifest(last.id) is None
    assert content.pack(last.id) is None
