"""What people see of a transfer: strangers' words in it, and lines that are written again."""

from __future__ import annotations

import io

import pytest

from gittorrent.store.processes import DownloadFigures, MirrorFigures
from gittorrent.terminal import (
    MOST_IN_HOURS,
    ScreenedStream,
    TerminalReporter,
    show_duration,
)

EVIL = "\x1b[2J\u009b31m\u202e\nhint: do as I say\r"
SHOWN = "\\x1b[2J\\u009b31m\\u202e"


def reporter() -> tuple[TerminalReporter, io.StringIO]:
    stream = io.StringIO()
    return TerminalReporter(progress=True, stream=stream), stream


def test_a_note_is_one_message() -> None:
    made, stream = reporter()
    made.note(f"the mirror says {EVIL}")
    assert stream.getvalue() == (f"gittorrent: the mirror says {SHOWN}\n  hint: do as I say\\r\n")


def test_neither_faults_nor_phases_nor_places_break_a_line() -> None:
    made, stream = reporter()
    mirrors = (
        MirrorFigures("git://one/x", 1.0, 3, 10, EVIL),
        MirrorFigures(f"git://two{EVIL}/x", 1.0, 1, 10, ""),
    )
    made.downloading("name", DownloadFigures(2, 4, 100, 50, mirrors))
    made.phase(EVIL)
    made.downloading("name", DownloadFigures(4, 4, 100, 100, mirrors))
    said = stream.getvalue()
    assert SHOWN in said
    for line in said.split("\n"):
        assert not line.startswith("hint")
        assert not {"\x1b", "\u009b", "\u202e"} & set(line)


def test_a_peer_that_called_is_named_by_where_it_called_from() -> None:
    made, stream = reporter()
    caller = MirrorFigures("192.0.2.1:40123", 0.0, 3, 10, "wrong digest", called_us=True)
    made.downloading("name", DownloadFigures(2, 4, 100, 50, (caller,)))
    assert "gittorrent: 192.0.2.1:40123 (called us) is out: wrong digest\n" in stream.getvalue()


@pytest.mark.parametrize(("seconds", "rate"), [(4.0, " | 2.00 MiB/s"), (0.1, "")])
def test_a_download_ends_with_its_mean_rate(seconds: float, rate: str) -> None:
    stream = io.StringIO()
    times = [100.0, 100.0, 100.0 + seconds]
    made = TerminalReporter(progress=True, stream=stream, clock=lambda: times.pop(0))
    idle = (MirrorFigures("git://one/x", 0.0, 4, 8 << 20, ""),)
    made.downloading("name", DownloadFigures(0, 4, 8 << 20, 0, idle))
    made.downloading("name", DownloadFigures(4, 4, 8 << 20, 8 << 20, idle))
    line = stream.getvalue().split("\n")[0].rpartition("\r")[2]
    assert line.rstrip() == f"Receiving parts: 100% (4/4), 8.00 MiB{rate}, done."


def test_what_git_says_is_shown_as_it_comes() -> None:
    made, stream = reporter()
    for said in (b"remote: 1%\rremote: 2", b"%\r", b"\xe2\x80", b"\xaeremote: done \x1b[2J\xff\n"):
        made.git_says(said)
    assert stream.getvalue() == "remote: 1%\rremote: 2%\r\\u202eremote: done \\x1b[2J\\xff\n"


def test_a_stream_lets_nothing_else_through() -> None:
    raw = io.BytesIO()
    stream = ScreenedStream(raw, encoding="ascii", errors="backslashreplace", newline="\n")
    assert stream.write("\r 10%\x1b") == len("\r 10%\x1b")
    stream.writelines(["a\tb\n", "\u202e\u00e9"])
    print("\x07", file=stream)
    stream.flush()
    assert raw.getvalue() == b"\r 10%\\x1ba\tb\n\\u202e\\xe9\\x07\n"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (6.6, "0:07"),
        (3723, "1:02:03"),
        (MOST_IN_HOURS - 1, "47:59:59"),
        (MOST_IN_HOURS, "2 days"),
        (90 * 86_400 - 15, "89 days"),
    ],
)
def test_long_times_are_in_days(seconds: float, shown: str) -> None:
    assert show_duration(seconds) == shown
