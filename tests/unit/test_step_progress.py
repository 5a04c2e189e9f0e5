"""Phases that are counted, as a terminal shows them."""

from __future__ import annotations

import io

from gittorrent.cli.output import StepProgress


class Terminal(io.StringIO):
    """Takes down what is written to a terminal."""

    def isatty(self) -> bool:
        """It is one."""
        return True

    def lines(self) -> list[str]:
        """Return what is to be seen in the end."""
        return [line.rpartition("\r")[2] for line in self.getvalue().split("\n")]


def test_a_phase_that_others_follow_is_complete() -> None:
    terminal = Terminal()
    progress = StepProgress(stream=terminal)
    progress("planning", 0, 9000)
    progress("planning", 8192, 9000)
    progress("encoding", 3, 7)
    progress.close()
    assert terminal.lines() == ["Planning: 100% (9000/9000), done.", "Encoding:  42% (3/7)", ""]


def test_what_comes_after_a_phase_has_a_line_of_its_own() -> None:
    terminal = Terminal()
    progress = StepProgress(stream=terminal)
    progress("joining", 0, 5)
    progress("joining", 5, 5)
    progress("joining", 5, 5)
    terminal.write("Enter passphrase: \n")
    progress("indexing", 0, 5)
    progress.close()
    progress.close()
    assert terminal.lines() == [
        "Joining: 100% (5/5), done.",
        "Enter passphrase: ",
        "Indexing:   0% (0/5)",
        "",
    ]


def test_nothing_is_shown_elsewhere_or_where_all_is_to_be_quiet() -> None:
    pipe, terminal = io.StringIO(), Terminal()
    for progress in (StepProgress(stream=pipe), StepProgress(quiet=True, stream=terminal)):
        progress("joining", 0, 5)
        progress("indexing", 1, 5)
        progress.close()
    assert pipe.getvalue() == terminal.getvalue() == ""
