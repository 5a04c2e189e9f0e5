"""Processes in the background: none is left as a zombie of who started it."""

from __future__ import annotations

import os
from pathlib import Path

from gittorrent import background
from support.programs import wait_until


def children() -> set[str]:
    """Return the ids of this process's children, zombies included."""
    found = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return {child for each in found for child in each.read_text().split()}


def test_who_goes_on_running_keeps_no_zombie() -> None:
    before = children()
    background.start(["--version"])
    assert not children() <= before
    wait_until(lambda: children() <= before, "nothing is left of it")
