"""Which branch HEAD names when the one that the policy names is gone."""

from __future__ import annotations

import pytest

from gittorrent.ids import Oid, RefName, Refs
from gittorrent.push.default_branch import default_after
from support.logs import MAIN, oid


def state(**branches: int) -> Refs:
    return {RefName(f"refs/heads/{name}".encode()): oid(value) for name, value in branches.items()}


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([state(main=1, other=1), state(other=1, trunk=1)], "trunk"),
        ([state(main=1, other=3), state(other=3, zulu=2)], "zulu"),
        ([state(main=1, other=1), state(other=1)], "other"),
        ([state(main=1, alpha=2, zulu=1), state(alpha=2, zulu=1)], "zulu"),
        ([state(main=1), state(trunk=1), state(trunk=2, alpha=1)], "trunk"),
        ([state(main=1), state(trunk=1), state(dev=1, alpha=2)], "dev"),
        ([state(main=1), state(trunk=1), state(trunk=1, main=2)], "main"),
        ([state(main=1), state(alpha=2, master=3)], "master"),
        ([state(main=1), state(beta=2, alpha=3)], "alpha"),
        ([state(), state(dev=1)], "dev"),
    ],
)
def test_successors(states: list[Refs], expected: str) -> None:
    assert default_after(MAIN, states) == f"refs/heads/{expected}".encode()


def test_no_branch_is_no_head() -> None:
    tags: Refs = {RefName(b"refs/tags/v1"): Oid(oid(1))}
    assert default_after(MAIN, [state(main=1), tags]) is None
    assert default_after(MAIN, []) is None
