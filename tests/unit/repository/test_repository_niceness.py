"""What is started to yield has a low priority, and so have its threads and processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from gittorrent.repository.niceness import NICENESS, start_yielding


def own() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_threads_and_processes_inherit_it() -> None:
    before = own()
    found: list[int] = []

    def start() -> subprocess.Popen[bytes]:
        thread = threading.Thread(target=lambda: found.append(own()))
        thread.start()
        thread.join()
        words = [sys.executable, "-c", "import os; print(os.nice(0))"]
        return subprocess.Popen(words, stdout=subprocess.PIPE)

    process = start_yielding(start)
    said, _ = process.communicate()
    assert found == [max(before, NICENESS)]
    assert int(said) == max(before, NICENESS)
    assert own() == before, "who asked keeps its own priority"


def test_what_fails_to_start_says_why() -> None:
    def start() -> None:
        raise FileNotFoundError("no such program")

    with pytest.raises(FileNotFoundError, match="no such program"):
        start_yielding(start)
