"""What one git process may use."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

from gittorrent.ids import OBJECT_FORMATS
from gittorrent.node.git_limits import (
    BASE_MEMORY,
    OBJECT_MEMORY,
    GitLimits,
    count_packed,
    limits_for,
)
from support import gitcmd, nodes

SHOW = "import resource as r; print(r.getrlimit(r.RLIMIT_DATA), r.getrlimit(r.RLIMIT_CPU))"


def limits_seen(limits: GitLimits, *before: str) -> str:
    words = [*before, *limits.words, sys.executable, "-c", SHOW]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def test_limits_grow_with_the_repository() -> None:
    assert limits_for(0).memory == BASE_MEMORY
    assert limits_for(1_000_000).memory == BASE_MEMORY + 1_000_000 * OBJECT_MEMORY
    assert limits_for(1_000_000).cpu > limits_for(0).cpu
    assert limits_for(0, 1 << 30).memory == 1 << 30


def test_limits_bind_what_is_started() -> None:
    memory = 1 << 30
    assert limits_seen(GitLimits(memory, 100)) == f"({memory}, {memory}) (100, 100)"


def test_lower_limits_stay() -> None:
    lower = ("/bin/sh", "-c", 'ulimit -d 524288; exec "$@"', "sh")
    assert limits_seen(GitLimits(1 << 30, 100), *lower) == f"({1 << 29}, {1 << 29}) (100, 100)"


def test_what_asks_for_too_much_gets_nothing() -> None:
    words = [*GitLimits(64 << 20, 100).words, sys.executable, "-c", "bytearray(1 << 28)"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "MemoryError" in done.stderr


def test_this_process_keeps_its_limits() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    limits_seen(GitLimits(1 << 30, 100))
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_objects_are_counted_by_their_indexes(tmp_path: Path) -> None:
    for name, object_format in OBJECT_FORMATS.items():
        made = nodes.make_repository(tmp_path / name, object_format=name)
        gitcmd.git(made, "repack", "-adq")
        packed = gitcmd.text(made, "count-objects", "-v")
        (count,) = [int(row[9:]) for row in packed.splitlines() if row.startswith("in-pack: ")]
        found = count_packed(made / "objects" / "pack", object_format)
        assert count <= found <= count + 60  # the table at an index's head counts as some objects
