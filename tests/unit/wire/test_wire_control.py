"""What a node tells the commands of its machine."""

from __future__ import annotations

import pytest

from gittorrent.wire.control import MAX_LINE, MAX_SAID, Failed, No, parse_answer

SAID = "error: an object breaks a rule; " * 20


@pytest.mark.parametrize("answer", [Failed(5, SAID), No(SAID)], ids=["failed", "no"])
def test_what_git_said_is_told_whole(answer: Failed | No) -> None:
    told = parse_answer(answer.encode())
    assert isinstance(told, Failed | No)
    assert told.reason == SAID.strip()


def test_what_is_told_fits_a_line() -> None:
    line = Failed(255, "\U0010ffff" * MAX_LINE).encode()
    assert len(line) <= MAX_LINE
    told = parse_answer(line)
    assert isinstance(told, Failed)
    assert len(told.reason) <= MAX_SAID
