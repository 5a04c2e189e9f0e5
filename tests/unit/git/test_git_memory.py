"""What git may ask for of memory, with all that it started."""

from __future__ import annotations

import resource
import subprocess

from gittorrent.git import family
from gittorrent.git.memory import limit_memory

LIMIT = 64 << 20


def test_what_it_started_before_is_bound_too() -> None:
    """Git starts its helper for HTTP at once."""
    words = ["sh", "-c", "sleep 3600 & echo $!; wait"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            child = int(process.stdout.readline())
            limit_memory(process.pid, LIMIT)
            for pid in (process.pid, child):
                assert resource.prlimit(pid, resource.RLIMIT_DATA)[0] == LIMIT
        finally:
            family.kill(process.pid)


def test_what_has_ended_needs_none() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    limit_memory(process.pid, LIMIT)
