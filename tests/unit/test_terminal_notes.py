"""What users are told, and what only those who ask for it."""

from __future__ import annotations

import io

from gittorrent.terminal import MAX_UNSAID, TerminalReporter


def said(reporter: TerminalReporter, stream: io.StringIO) -> list[str]:
    reporter.close()
    return stream.getvalue().splitlines()


def test_details_are_for_whoever_wants_all() -> None:
    stream = io.StringIO()
    reporter = TerminalReporter(stream=stream)
    reporter.note("a")
    reporter.detail("b")
    reporter.verbose = True
    reporter.detail("c")
    reporter.quiet = True
    reporter.note("d")
    reporter.detail("e")
    assert said(reporter, stream) == ["gittorrent: a", "gittorrent: c"]


def test_what_holds_round_after_round_is_said_once() -> None:
    stream = io.StringIO()
    reporter = TerminalReporter(stream=stream)
    for notes in (["a is gone"], ["a is gone", "b is gone"], ["b is gone"], [], ["b is gone"]):
        reporter.begin_round()
        for note in notes:
            reporter.note(note)
    shown = ["gittorrent: a is gone", "gittorrent: b is gone", "gittorrent: b is gone"]
    assert said(reporter, stream) == shown


def test_what_was_not_said_explains_a_failure_once() -> None:
    stream = io.StringIO()
    reporter = TerminalReporter(stream=stream)
    for number in range(MAX_UNSAID + 3):
        reporter.detail(str(number))
    reporter.explain()
    reporter.explain()
    last = [f"gittorrent: {number}" for number in range(3, MAX_UNSAID + 3)]
    assert said(reporter, stream) == last
    quiet = io.StringIO()
    reporter = TerminalReporter(quiet=True, stream=quiet)
    reporter.detail("x")
    reporter.explain()
    assert said(reporter, quiet) == []
