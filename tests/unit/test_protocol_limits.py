"""The tables of limits in docs/protocol say what the code allows."""

from __future__ import annotations

import pytest
from protocol_limits import PAGES, ROWS, rewritten

from gittorrent.push.object import MAX_SIZE
from gittorrent.wire.limits import MAX_PUSH_BYTES


@pytest.mark.parametrize("page", sorted(ROWS))
def test_pages_have_the_limits_of_the_code(page: str) -> None:
    assert (PAGES / page).read_text() == rewritten(page), "run python tests/unit/protocol_limits.py"


def test_every_push_object_can_travel() -> None:
    """What may be kept may be sent, so no repository can be published that nobody can follow."""
    assert MAX_SIZE <= MAX_PUSH_BYTES
