"""What keepers of one machine sign by: a file that processes share, for one run of the machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from gittorrent.store.signing_time import Clocks, SigningTime, run_of_machine, steady_seconds

NOW = 1_700_000_000.0
DAY = 86400.0


@dataclass
class Machine:
    """A machine whose clocks the test sets."""

    path: Path
    time: float = NOW
    steady: float = 50.0
    boot: str = "first"

    def process(self) -> SigningTime:
        return SigningTime(
            self.path, Clocks(lambda: self.time, lambda: self.steady, lambda: self.boot)
        )

    def passes(self, seconds: float) -> None:
        self.time += seconds
        self.steady += seconds

    def starts_anew(self, boot: str) -> None:
        self.boot, self.steady = boot, 1.0


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "clock")


def test_the_first_process_believes_the_clock_and_the_next_goes_by_that(machine: Machine) -> None:
    first = machine.process()
    assert (first.now(), first.wants_others()) == (NOW, True)
    assert first.heard([])
    assert not first.heard([])
    machine.passes(60.0)
    machine.time += 40 * DAY
    for process in (first, machine.process()):
        assert process.now() == NOW + 60.0
        assert process.ahead() == 40 * DAY
        assert process.wants_others()


def test_a_word_of_the_operator_in_another_process_is_heard(machine: Machine) -> None:
    node = machine.process()
    node.heard([])
    machine.time += 40 * DAY
    assert node.ahead()
    machine.process().confirm()
    assert (node.ahead(), node.now()) == (0.0, machine.time)


def test_a_machine_that_was_started_anew_asks_again(machine: Machine) -> None:
    machine.process().heard([])
    machine.starts_anew("second")
    machine.time += 365 * DAY
    process = machine.process()
    assert (process.now(), process.wants_others()) == (machine.time, True)
    process.heard([NOW])
    assert process.now() == NOW


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"boot": 1}', b'{"boot": "first"}'])
def test_a_file_of_another_version_counts_for_nothing(machine: Machine, content: bytes) -> None:
    machine.path.write_bytes(content)
    process = machine.process()
    assert (process.now(), process.wants_others()) == (NOW, True)
    process.heard([])
    assert not machine.process().wants_others()


def test_the_clocks_of_this_machine() -> None:
    assert run_of_machine() == run_of_machine() != ""
    assert steady_seconds() <= steady_seconds()
