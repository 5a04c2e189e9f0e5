"""Sizes as users read them."""

from __future__ import annotations

import pytest

from gittorrent.sizes import show_bytes


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 bytes"),
        (191.7, "191 bytes"),
        (1 << 10, "1.00 KiB"),
        (9_376_062, "8.94 MiB"),
        (3 << 30, "3.00 GiB"),
    ],
)
def test_sizes_are_shown_as_git_does(size: float, shown: str) -> None:
    assert show_bytes(size) == shown
