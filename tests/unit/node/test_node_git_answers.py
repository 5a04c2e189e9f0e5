"""What git answers once is read by many; who waits, who leaves, and what is kept."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gittorrent.disk_space import ShortDisk, Space, Unbounded
from gittorrent.errors import LocalError, NoRoomError
from gittorrent.node.answer_bytes import IN_MEMORY, AnswerBytes, AnswerReader, LeftBehindError
from gittorrent.node.caller_watch import LEAST_BYTES, Patience
from gittorrent.node.git_answers import MAX_ANSWERS, MAX_FILES, MAX_SHARE, GitAnswers
from gittorrent.node.git_turns import BusyError, GitTurns

ONE, TWO = "198.51.100.1", "198.51.100.2"
LONG = b"x" * (IN_MEMORY + 1)

NEVER = Patience(look=600, quiet=600, stalled=600)
HASTY = Patience(look=0, quiet=0, stalled=600)
"""At the first look whoever has not taken all is too slow, if others wait."""


class Full(Unbounded):
    """A disk that takes so many bytes, and no more."""

    def __init__(self, most: int) -> None:
        self._left = most

    def require(self, *places: Path, size: int = 0) -> None:
        del places
        self._left -= size
        if self._left < 0:
            raise NoRoomError("no space left")

    def short(self) -> list[ShortDisk]:
        return []


class Git:
    """Says what it is told to, piece by piece; waits before one of them."""

    def __init__(
        self,
        *pieces: bytes,
        is_right: bool = True,
        error: Exception | None = None,
        waits_before: int | None = None,
    ) -> None:
        self._pieces = pieces
        self._waits_before = waits_before
        self._is_right = is_right
        self._error = error
        self.begun = 0
        self.ended = 0
        self.go_on = asyncio.Event()

    async def __call__(self, answer: AnswerBytes) -> bool:
        self.begun += 1
        try:
            for number, piece in enumerate(self._pieces):
                if number == self._waits_before:
                    await self.go_on.wait()
                await answer.append(piece)
            if self._error is not None:
                raise self._error
        finally:
            self.ended += 1
        return self._is_right


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def until_all_is_there(reader: AnswerReader) -> None:
    while reader.length is None:
        await asyncio.sleep(0)


async def everything(reader: AnswerReader, most: int = 1 << 20) -> bytes:
    data = b""
    while not reader.is_done:
        await reader.wait(60)
        piece = reader.peek(most)
        reader.took(len(piece))
        data += piece
    return data


async def read(
    answers: GitAnswers, git: Git, key: bytes = b"k", address: str = ONE, most: int = 1 << 20
) -> bytes:
    async with answers.reading(key, address, git) as reader:
        return await everything(reader, most)


def run(
    work: Callable[[GitAnswers], Awaitable[None]],
    folder: Path,
    most: int = 1 << 20,
    space: Space | None = None,
    turns: int = 4,
    patience: Patience = NEVER,
) -> None:
    async def main() -> None:
        given = GitTurns(turns, wait_seconds=600)
        answers = GitAnswers(given, folder, most, space, patience=patience)
        await work(answers)
        await settle()
        assert given.taken == 0
        await answers.stop()
        assert answers.figures.bytes == 0
        assert answers.figures.kept == 0
        assert list(folder.iterdir()) == []

    asyncio.run(main())


@pytest.mark.parametrize("pieces", [(b"ab", b"c"), (LONG, b"c"), (b"a", LONG, LONG), ()])
def test_git_is_asked_once(tmp_path: Path, pieces: tuple[bytes, ...]) -> None:
    async def work(answers: GitAnswers) -> None:
        git = Git(*pieces)
        found = await asyncio.gather(*(read(answers, git) for _ in range(5)))
        found.append(await read(answers, git, most=1000))
        assert set(found) == {b"".join(pieces)}
        assert git.begun == 1
        assert (answers.figures.hits, answers.figures.misses) == (5, 1)
        assert answers.figures.bytes == len(b"".join(pieces))

    run(work, tmp_path)


def test_other_keys_are_other_answers(tmp_path: Path) -> None:
    async def work(answers: GitAnswers) -> None:
        assert await read(answers, Git(b"a"), b"1") == b"a"
        assert await read(answers, Git(b"b"), b"2") == b"b"

    run(work, tmp_path)


def test_a_file_has_no_name(tmp_path: Path) -> None:
    async def work(answers: GitAnswers) -> None:
        git = Git(LONG, LONG)
        async with answers.reading(b"k", ONE, git) as reader:
            await everything(reader)
            assert reader.file is not None
            assert list(tmp_path.iterdir()) == []

    run(work, tmp_path)


def test_first_bytes_are_there_before_the_last(tmp_path: Path) -> None:
    async def work(answers: GitAnswers) -> None:
        git = Git(b"a", b"b", waits_before=1)
        async with answers.reading(b"k", ONE, git) as reader:
            await reader.wait(60)
            assert (reader.peek(10), reader.length, reader.is_done) == (b"a", None, False)
            git.go_on.set()
            assert await everything(reader) == b"ab"
            assert reader.length == 2

    run(work, tmp_path)


def test_whoever_has_a_turn_first_begins(tmp_path: Path) -> None:
    async def work(answers: GitAnswers) -> None:
        turns = answers._turns
        git = Git(b"a")
        # The address of the first one has all of its turns taken.
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(8):
                await stack.enter_async_context(turns.turn(ONE))
            first = asyncio.ensure_future(read(answers, git, address=ONE))
            await settle()
            assert git.begun == 0
            assert await read(answers, git, address=TWO) == b"a"
            assert await first == b"a"
            assert git.begun == 1
            assert turns.waiting == 0

    run(work, tmp_path, turns=24)


def test_who_waits_in_vain_is_told_and_others_go_on(tmp_path: Path) -> None:
    async def main() -> None:
        turns = GitTurns(1, wait_seconds=0)
        answers = GitAnswers(turns, tmp_path)
        git = Git(b"a")
        async with turns.turn(TWO):
            with pytest.raises(BusyError):
                await read(answers, git)
            assert answers.figures.kept == 0
        assert await read(answers, git) == b"a"
        await answers.stop()

    asyncio.run(main())


def test_git_ends_when_the_last_one_leaves(tmp_path: Path) -> None:
    async def work(answers: GitAnswers) -> None:
        git = Git(LONG, b"b", waits_before=0)
        readers = [asyncio.ensure_future(read(answers, git)) for _ in range(2)]
        await settle()
        readers[0].cancel()  # the one with whose turn git works
        await settle()
        assert (git.begun, git.ended) == (1, 0)
        readers[1].cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        assert (git.begun, git.ended) == (1, 1)
        assert answers.figures.kept == 0
        git.go_on.set()
        assert await read(answers, git) == LONG + b"b"
        assert git.begun == 2

    run(work, tmp_path)


def test_an_answer_that_is_done_stays_when_its_reader_leaves(tmp_path: Path) -> None:
    async def work(answers: GitAnswers) -> None:
        git = Git(LONG)
        async with answers.reading(b"k", ONE, git) as reader:
            await until_all_is_there(reader)
        assert await read(answers, git) == LONG
        assert git.begun == 1

    run(work, tmp_path)


def test_failures_go_to_those_who_wait_and_are_not_kept(tmp_path: Path) -> None:
    async def work(answers: GitAnswers) -> None:
        git = Git(b"a", error=LocalError("no git here"))
        found = await asyncio.gather(
            *(read(answers, git) for _ in range(3)), return_exceptions=True
        )
        assert [str(error) for error in found] == ["no git here"] * 3
        assert git.begun == 1
        assert answers.figures.kept == 0

    run(work, tmp_path)


def test_refusals_are_given_to_those_who_wait_and_not_kept(tmp_path: Path) -> None:
    async def work(answers: GitAnswers) -> None:
        git = Git(b"ERR", is_right=False)
        assert set(await asyncio.gather(read(answers, git), read(answers, git))) == {b"ERR"}
        assert (git.begun, answers.figures.kept) == (1, 0)
        assert await read(answers, git) == b"ERR"
        assert git.begun == 2

    run(work, tmp_path)


@pytest.mark.parametrize("before", [0, 1, 3])
@pytest.mark.parametrize("why", ["room", "disk"])
def test_what_does_not_fit_passes_through(tmp_path: Path, before: int, why: str) -> None:
    pieces = [bytes([n]) * len(LONG) for n in range(6)]
    fits = before * len(LONG) + 10

    async def work(answers: GitAnswers) -> None:
        git = Git(*pieces)
        found = await asyncio.gather(*(read(answers, git, most=most) for most in (1000, 1 << 20)))
        assert found == [b"".join(pieces)] * 2
        assert git.begun == 1
        assert answers.figures.kept == 0
        assert answers.figures.bytes == 0

    room = fits * MAX_SHARE if why == "room" else 1 << 30
    run(work, tmp_path, room, Full(fits) if why == "disk" else None)


def test_who_comes_when_it_passes_through_gets_another_one(tmp_path: Path) -> None:
    async def work(answers: GitAnswers) -> None:
        git = Git(LONG, LONG, LONG)
        async with answers.reading(b"k", ONE, git) as slow:
            await slow.wait(60)
            await settle()
            assert await read(answers, git) == LONG * 3
            assert await everything(slow) == LONG * 3
        assert git.begun == 2

    run(work, tmp_path, MAX_SHARE * len(LONG))


def test_what_was_not_used_for_longest_goes(tmp_path: Path) -> None:
    async def work(answers: GitAnswers) -> None:
        gits = {key: Git(LONG) for key in (b"1", b"2", b"3")}
        for key in (b"1", b"2", b"1", b"3"):  # there is room for two
            assert await read(answers, gits[key], key) == LONG
        assert answers.figures.kept == 2
        await read(answers, gits[b"1"], b"1")
        assert gits[b"1"].begun == 1
        await read(answers, gits[b"2"], b"2")
        assert gits[b"2"].begun == 2

    run(work, tmp_path, 2 * len(LONG) + 10)


def test_so_many_answers_and_no_more(tmp_path: Path) -> None:
    async def work(answers: GitAnswers) -> None:
        for n in range(MAX_ANSWERS + 10):
            await read(answers, Git(b"a"), b"%d" % n)
        assert answers.figures.kept == MAX_ANSWERS

    run(work, tmp_path)


def test_what_is_read_stays_until_it_is_read(tmp_path: Path) -> None:
    async def work(answers: GitAnswers) -> None:
        async with answers.reading(b"1", ONE, Git(LONG)) as reader:
            await until_all_is_there(reader)
            answers.change(10)
            answers.tidy(is_short=True)
            assert answers.figures.bytes == len(LONG)
            assert await everything(reader) == LONG
        answers.tidy(is_short=True)
        assert answers.figures.bytes == 0

    run(work, tmp_path)


def test_a_short_disk_takes_what_nobody_reads(tmp_path: Path) -> None:
    async def work(answers: GitAnswers) -> None:
        await read(answers, Git(LONG))
        answers.tidy(is_short=False)
        assert answers.figures.kept == 1
        answers.tidy(is_short=True)
        assert answers.figures.kept == 0

    run(work, tmp_path)


def test_a_disk_that_fails_is_no_failure(tmp_path: Path) -> None:
    class Broken(Unbounded):
        def require(self, *places: Path, size: int = 0) -> None:
            raise OSError(errno.EIO, "Input/output error")

    async def work(answers: GitAnswers) -> None:
        assert await read(answers, Git(LONG, LONG)) == LONG * 2

    run(work, tmp_path, space=Broken())


def test_stopping_ends_git_and_tells_readers(tmp_path: Path) -> None:
    async def main() -> None:
        answers = GitAnswers(GitTurns(), tmp_path)
        git = Git(b"a", waits_before=0)
        reader = asyncio.ensure_future(read(answers, git))
        await settle()
        await answers.stop()
        assert git.ended == 1
        with pytest.raises(ConnectionAbortedError):
            await reader
        assert not answers.is_on

    asyncio.run(main())


def test_who_asks_much_does_not_displace_what_many_ask(tmp_path: Path) -> None:
    async def work(answers: GitAnswers) -> None:
        asked_often = Git(b"often")
        for _ in range(2):
            await read(answers, asked_often, b"often")
        for n in range(MAX_ANSWERS + 10):
            await read(answers, Git(b"a"), b"%d" % n)
        assert await read(answers, asked_often, b"often") == b"often"
        assert asked_often.begun == 1

    run(work, tmp_path)


def test_so_many_files_and_no_more(tmp_path: Path) -> None:
    async def work(answers: GitAnswers) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for n in range(MAX_FILES):
                key = b"%d" % n
                reader = await stack.enter_async_context(answers.reading(key, ONE, Git(LONG)))
                await until_all_is_there(reader)
            kept = answers.figures.kept
            assert await read(answers, Git(LONG, LONG)) == LONG * 2  # through memory
            assert answers.figures.kept == kept
        assert await read(answers, Git(LONG, LONG)) == LONG * 2
        assert answers.figures.kept == kept

    run(work, tmp_path, 1 << 30)


def test_who_is_slow_does_not_hold_up_who_reads_the_same(tmp_path: Path) -> None:
    git = Git(b"ab", b"cd", waits_before=0)

    async def work(answers: GitAnswers) -> None:
        async with answers.reading(b"k", ONE, git) as slow:
            other = asyncio.create_task(read(answers, git))
            await settle()
            git.go_on.set()
            with slow.giving():
                assert await other == b"abcd"
            slow.took(2)
            with pytest.raises(LeftBehindError):
                slow.is_done  # noqa: B018
        assert git.ended == git.begun == 1

    run(work, tmp_path, most=1, patience=HASTY)


def test_who_is_slow_does_not_hold_a_turn_that_others_wait_for(tmp_path: Path) -> None:
    git, other = Git(b"ab", b"cd"), Git(b"x")

    async def work(answers: GitAnswers) -> None:
        async with answers.reading(b"k", ONE, git) as slow:
            with slow.giving():
                await settle()
                assert git.ended == 0  # nobody waits, so there is time
                assert await read(answers, other, b"o", TWO) == b"x"
            with pytest.raises(LeftBehindError):
                slow.is_done  # noqa: B018
        assert git.ended == 1

    run(work, tmp_path, most=1, turns=1, patience=HASTY)


def test_who_is_slow_though_nobody_waits_is_left_in_the_end(tmp_path: Path) -> None:
    git = Git(b"ab", b"cd")

    async def work(answers: GitAnswers) -> None:
        async with answers.reading(b"k", ONE, git) as slow:
            with slow.giving():
                while not git.ended:
                    await asyncio.sleep(0)
            with pytest.raises(LeftBehindError):
                slow.is_done  # noqa: B018

    run(work, tmp_path, most=1, patience=Patience(look=0, quiet=0, stalled=0))


def test_a_node_that_sends_slowly_leaves_nobody_behind(tmp_path: Path) -> None:
    """The time in which the node's own limit holds a reader up is not the reader's."""
    piece = b"x" * LEAST_BYTES
    git = Git(piece, piece)

    async def work(answers: GitAnswers) -> None:
        async with answers.reading(b"k", ONE, git) as reader:
            await settle()
            assert await read(answers, Git(b"x"), b"o", TWO) == b"x"
            assert reader.slow_for(1e9) == 0
            assert await everything(reader) == piece + piece

    run(work, tmp_path, most=1, patience=Patience(look=0, quiet=1, stalled=600))
