"""The note that keeps two exporters from one bucket."""

from __future__ import annotations

import pytest

from gittorrent.export.lease import LEASE_SECONDS, Note, parse_note

NOTE = Note("host", "boot", 17, 1000)


def test_a_note_is_read_as_it_was_written() -> None:
    assert parse_note(NOTE.text()) == NOTE


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"{}", b"null", b"\xff", b"[" * 4000, b" " * 5000,
        NOTE.text().replace(b"17", b'"17"'), NOTE.text().replace(b"17", b"true"),
        NOTE.text().replace(b"17", b"-1"), NOTE.text().replace(b"1000", b"1e999"),
        NOTE.text().replace(b"host\"", b"h" * 300 + b'"'),
    ],
)  # fmt: skip
def test_what_is_no_note_holds_nothing(data: bytes) -> None:
    found = parse_note(data)
    assert found is None or found.host


def test_a_note_holds_until_its_time_is_over() -> None:
    assert not NOTE.is_over(999, "other", lambda _: False)
    assert NOTE.is_over(1000, "other", lambda _: True)


def test_a_note_from_far_in_the_future_does_not_hold_for_ever() -> None:
    assert NOTE.is_over(1000 - 2 * LEASE_SECONDS - 1, "other", lambda _: True)


def test_the_note_of_a_dead_process_of_this_machine_holds_nothing() -> None:
    assert NOTE.is_over(999, "boot", lambda pid: pid != 17)
    assert not NOTE.is_over(999, "boot", lambda pid: pid == 17)
    assert not NOTE.is_over(999, "boot/2", lambda _: False), "of another container there"
    nameless = Note("host", "", 17, 1000)
    assert not nameless.is_over(999, "", lambda _: False), "nothing tells which machine it was"
