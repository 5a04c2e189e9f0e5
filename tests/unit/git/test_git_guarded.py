"""A git under guard: what ends it, what it leaves, and that nothing of it stays."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gittorrent.git import guarded
from gittorrent.git.guarded import Bounds, Broken, Guarded, Outcome
from gittorrent.git.memory import INDEXING_MEMORY
from gittorrent.git.runner import Git, GitError, Stopper
from support import gitcmd
from support.inflating import inflating_pack
from support.programs import GITS, PATIENCE, processes, wait_until

LONG = 600.0


def staging(tmp_path: Path) -> Path:
    (tmp_path / "staging" / "objects" / "pack").mkdir(parents=True)
    return tmp_path / "staging"


def run(
    tmp_path: Path,
    code: str,
    bounds: Bounds,
    hear: Callable[[bytes], None] = lambda _said: None,
    stdin: bytes = b"",
) -> Outcome:
    """Run a program in the place of git."""
    words = [sys.executable, "-c", code]
    return Guarded(staging(tmp_path), bounds, hear).run(words, stdin, dict(os.environ))


def test_what_it_says_is_heard_as_it_comes(tmp_path: Path) -> None:
    heard: list[bytes] = []
    code = "import sys; print('Receiving 1%', end='\\r', file=sys.stderr); sys.exit(3)"
    outcome = run(tmp_path, code, Bounds(1 << 20, LONG), heard.append)
    assert outcome == Outcome(3, "Receiving 1%\r", None)
    assert b"".join(heard) == b"Receiving 1%\r"


def test_long_input_and_long_words(tmp_path: Path) -> None:
    """More than a pipe holds, both ways; only the end of what is said is kept."""
    code = (
        "import sys; n = len(sys.stdin.buffer.read()); sys.stderr.write('x' * 200000 + f'read {n}')"
    )
    outcome = run(tmp_path, code, Bounds(1 << 20, LONG), stdin=b"w" * 3_000_000)
    assert outcome.status == 0
    assert outcome.said.endswith("xread 3000000")
    assert len(outcome.said) == guarded.MAX_SAID


def test_a_descriptor_goes_on_after_what_was_given(tmp_path: Path) -> None:
    """All that it has, whether it is a file or a pipe; and no more than is read."""
    words = [sys.executable, "-c", "import sys; sys.stderr.write(sys.stdin.read())"]
    file = tmp_path / "file"
    file.write_bytes(b" the rest" + b"." * 200_000)
    reading, writing = os.pipe()
    os.write(writing, b" of a pipe")
    os.close(writing)
    there = staging(tmp_path)
    with file.open("rb") as source, os.fdopen(reading, "rb") as pipe:
        for descriptor, end in ((source.fileno(), "rest" + "." * 200_000), (pipe.fileno(), "pipe")):
            guarded_git = Guarded(there, Bounds(1 << 20, LONG), lambda _said: None)
            outcome = guarded_git.run(words, b"begun,", dict(os.environ), then=descriptor)
            assert outcome.status == 0
            assert outcome.said.endswith(end[-guarded.MAX_SAID :])


def test_a_descriptor_that_says_nothing_does_not_keep_what_has_ended(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    words = [sys.executable, "-c", "import sys; sys.stdin.read(3)"]
    with os.fdopen(reading, "rb") as pipe, os.fdopen(writing, "wb"):
        guarded_git = Guarded(staging(tmp_path), Bounds(1 << 20, LONG), lambda _said: None)
        outcome = guarded_git.run(words, b"all", dict(os.environ), then=pipe.fileno())
    assert outcome == Outcome(0, "", None)


def test_input_that_nobody_reads(tmp_path: Path) -> None:
    outcome = run(tmp_path, "pass", Bounds(1 << 20, LONG), stdin=b"w" * 3_000_000)
    assert (outcome.status, outcome.broken) == (0, None)


def test_silence(tmp_path: Path) -> None:
    outcome = run(tmp_path, "import time; time.sleep(600)", Bounds(1 << 20, 0.5))
    assert outcome.broken is Broken.SILENT


def test_a_trickle_is_silence_and_words_are(tmp_path: Path) -> None:
    """Bytes below the least, and progress that means nothing."""
    code = """
import sys, time
with open("objects/pack/tmp_pack_x", "wb", 0) as file:
    while True:
        file.write(b"x"); print("Counting", file=sys.stderr, flush=True); time.sleep(0.05)
"""
    outcome = run(tmp_path, code, Bounds(1 << 20, 1.0, least=4096))
    assert outcome.broken is Broken.SILENT


def test_one_file_that_is_too_large(tmp_path: Path) -> None:
    """The system itself stops it, however fast it writes."""
    code = """
with open("objects/pack/tmp_pack_x", "wb", 0) as file:
    while True:
        file.write(b"x" * 65536)
"""
    outcome = run(tmp_path, code, Bounds(1 << 20, LONG))
    assert outcome.status != 0
    size = (tmp_path / "staging" / "objects" / "pack" / "tmp_pack_x").stat().st_size
    assert size <= (1 << 20) + (1 << 16)


def test_one_file_that_is_too_large_of_which_nothing_is_said(tmp_path: Path) -> None:
    """Git does not say what ended its index-pack once that has named the pack it locked."""
    code = """
import signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    with open("objects/pack/one", "wb", buffering=0) as file:
        while file.write(b"x" * 65536):
            pass
except OSError:
    sys.exit(128)
"""
    outcome = run(tmp_path, code, Bounds(1 << 20, LONG))
    assert (outcome.broken, outcome.said) == (Broken.TOO_LARGE, "")


def test_one_file_that_is_too_large_and_holds_no_objects(tmp_path: Path) -> None:
    """A mirror may send more places where history is cut off than there is room for."""
    code = """
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
with open("shallow.lock", "wb", 0) as file:
    while True:
        file.write(b"x" * 65536)
"""
    outcome = run(tmp_path, code, Bounds(1 << 20, LONG))
    assert (outcome.broken, outcome.said) == (Broken.TOO_LARGE, "")


def test_many_files_that_are_too_large(tmp_path: Path) -> None:
    code = """
import itertools, time
for number in itertools.count():
    with open(f"objects/pack/{number}", "wb") as file:
        file.write(b"x" * 65536)
    time.sleep(0.001)
"""
    outcome = run(tmp_path, code, Bounds(1 << 20, LONG))
    assert outcome.broken is Broken.TOO_LARGE


def test_memory(tmp_path: Path) -> None:
    code = f"kept = bytearray({guarded.MAX_MEMORY + (64 << 20)}); import time; time.sleep(600)"
    outcome = run(tmp_path, code.replace("bytearray(", "b'x' * ("), Bounds(1 << 20, LONG))
    assert outcome.broken is Broken.MEMORY


@pytest.mark.parametrize("git", GITS)
def test_memory_of_the_indexer(tmp_path: Path, git: str) -> None:
    """A few KiB that stand for more than there may be."""
    place = gitcmd.init(tmp_path / "room.git")
    pack = inflating_pack(INDEXING_MEMORY + (64 << 20))
    watched = Guarded(place, Bounds(1 << 20, LONG), lambda _said: None)
    outcome = watched.run([git, "index-pack", "--stdin"], pack, dict(os.environ))
    assert outcome.broken is Broken.MEMORY
    assert "ut of memory" in outcome.said


def run_indexer(tmp_path: Path, code: str, bounds: Bounds) -> Outcome:
    """Run a program that looks like git's indexer."""
    words = [sys.executable, "-c", code, "index-pack"]
    watched = Guarded(staging(tmp_path), bounds, lambda _said: None)
    return watched.run(words, b"", dict(os.environ))


def test_an_indexer_may_take_more_when_more_came(tmp_path: Path) -> None:
    code = f"""
import resource, time
open("objects/pack/tmp_pack_x", "wb").truncate(1 << 20)
while resource.getrlimit(resource.RLIMIT_DATA)[0] <= {INDEXING_MEMORY}:
    time.sleep(0.05)
"""
    outcome = run_indexer(tmp_path, code, Bounds(1 << 20, LONG))
    assert (outcome.status, outcome.broken) == (0, None)


def test_indexing_without_end(tmp_path: Path) -> None:
    """Work is a sign of life as long as there can be anything to work on."""
    bounds = Bounds(1 << 20, 1.0, least=4096, indexing=0.5)
    outcome = run_indexer(tmp_path, "while True: pass", bounds)
    assert outcome.broken is Broken.SILENT


def test_all_it_started_ends_with_it(tmp_path: Path) -> None:
    """A child that ignores the request to end is killed."""
    mark = f"mark-{os.getpid()}"
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    code = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {child!r}, {mark!r}])
time.sleep(600)
"""
    outcome = run(tmp_path, code, Bounds(1 << 20, 2.0))
    assert outcome.broken is Broken.SILENT
    wait_until(lambda: not any(mark in line for _, _, line in processes()), "the child is gone")


def test_it_is_stopped_from_another_thread(tmp_path: Path) -> None:
    stopper = Stopper()
    outcomes: list[Outcome] = []
    place = staging(tmp_path)
    code = "open('objects/begun', 'w').close(); import time; time.sleep(600)"

    def work() -> None:
        with stopper.watching():
            watched = Guarded(place, Bounds(1 << 20, LONG), lambda _said: None)
            for _ in range(2):  # the second one ends before it has begun
                words = [sys.executable, "-c", code]
                outcomes.append(watched.run(words, b"", dict(os.environ)))

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: (place / "objects" / "begun").exists(), "it runs")
    stopper.stop()
    thread.join()
    assert [outcome.broken for outcome in outcomes] == [Broken.STOPPED] * 2


def test_what_it_started_is_stopped_too(tmp_path: Path) -> None:
    """An indexer, say: it holds the pipe, and may have long to go when git has ended."""
    mark = f"stopped-{os.getpid()}"
    place = staging(tmp_path)
    child = "open('objects/begun', 'w').close(); import time; time.sleep(600)"
    code = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {child!r}, {mark!r}])
time.sleep(600)
"""
    stopper = Stopper()
    outcomes: list[Outcome] = []

    def work() -> None:
        with stopper.watching():
            watched = Guarded(place, Bounds(1 << 20, LONG), lambda _said: None)
            outcomes.append(watched.run([sys.executable, "-c", code], b"", dict(os.environ)))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    wait_until(lambda: (place / "objects" / "begun").exists(), "the child runs")
    stopper.stop()
    thread.join(PATIENCE)
    assert [outcome.broken for outcome in outcomes] == [Broken.STOPPED]
    wait_until(lambda: not any(mark in line for _, _, line in processes()), "the child is gone")


def test_git_of_a_stopped_thread_fails(tmp_path: Path) -> None:
    git = Git(gitcmd.init(tmp_path / "x.git"))
    stopper = Stopper()
    stopper.stop()
    reading, writing = os.pipe()
    # It waits for the end of its input, which does not come.
    with os.fdopen(reading, "rb") as pipe, os.fdopen(writing, "wb"):
        with stopper.watching(), pytest.raises(GitError) as caught:
            git.run("hash-object", "--stdin", stdin=pipe)
    assert caught.value.is_own_trouble, "which says nothing about what it worked on"
    assert git.attempt("version").returncode == 0, "what is not watched goes on"
