"""Names of runners' nodes on the local network: nobody without the secret makes one up."""

from __future__ import annotations

import pytest

from gittorrent.wire.ci_fleet import MAX_SKEW, NotAMemberError
from gittorrent.wire.ci_labels import VALID_SECONDS, RunnerLabel, read_label, write_label

SECRET, OTHER = b"s" * 32, b"t" * 32
NOW = 1_900_000_000
PLACE = RunnerLabel("10.0.0.7", 8417, NOW)


@pytest.mark.parametrize("host", ["10.0.0.7", "fd00::7", "2001:db8::1"])
def test_who_knows_the_secret_reads_where_a_node_is(host: str) -> None:
    label = RunnerLabel(host, 65535, NOW)
    text = write_label(SECRET, label)
    assert read_label(SECRET, text, NOW) == label
    assert len(text.encode()) <= 63, "a label of DNS has no more"
    assert text.isalnum()


def test_names_of_others_are_not_read() -> None:
    text = write_label(SECRET, PLACE)
    moved = write_label(SECRET, RunnerLabel("10.0.0.8", 8417, NOW))
    for wrong in (
        write_label(OTHER, PLACE),
        moved[:35] + text[35:],  # another one's address with this one's code
        text.upper(),
        text[:-1],
        text + "a",
        "1" * len(text),
        "",
        "é" * 61,
    ):
        with pytest.raises(NotAMemberError):
            read_label(SECRET, wrong, NOW)


@pytest.mark.parametrize("late", [VALID_SECONDS + MAX_SKEW + 1, -MAX_SKEW - 1])
def test_a_name_that_was_recorded_runs_out(late: int) -> None:
    with pytest.raises(NotAMemberError, match="another time"):
        read_label(SECRET, write_label(SECRET, PLACE), NOW + late)


def test_a_name_has_one_spelling() -> None:
    """The last letter has bits to spare: they are zero."""
    text = write_label(SECRET, PLACE)
    read = 0
    for letter in "abcdefghijklmnopqrstuvwxyz234567":
        try:
            read_label(SECRET, text[:-1] + letter, NOW)
        except NotAMemberError:
            continue
        read += 1
    assert read == 1
