"""Whatever strangers write, what is shown can be seen and obeys nobody."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from gittorrent.printable import (
    MAX_SHOWN,
    Screening,
    decoded,
    paragraph,
    printable,
    screened,
)

LONGEST_ESCAPE = len("\\U000e0041")

NASTY = st.sampled_from(
    "\0\a\b\t\n\v\r\x1b\x7f\x85\x9b\x9d\xa0\xad\u034f\u061c\u115f\u180e\u200b\u200d\u200e\u200f"
    "\u2028\u2029\u202a\u202e\u2060\u2066\u2069\u3164\ufe0f\ufeff\uffa0\udc9b\ud800\U000e0041\U000e0100"
)
TEXT = st.lists(st.one_of(NASTY, st.characters(), st.text(max_size=5))).map("".join)


def assert_seen(text: str, but: str = "") -> None:
    for character in text:
        if character in but:
            continue
        category = unicodedata.category(character)
        assert not category.startswith(("C", "Z")) or character == " ", hex(ord(character))
        assert not 0xFE00 <= ord(character) <= 0xFE0F


@given(TEXT)
def test_a_string_becomes_one_line_that_can_be_seen(text: str) -> None:
    shown = printable(text)
    assert_seen(shown)
    assert printable(shown) == shown
    assert len(shown) <= LONGEST_ESCAPE * len(text)


@given(TEXT.map(lambda text: text * 50), st.integers(0, 40))
def test_no_string_is_shown_at_any_length(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert len(shown) <= LONGEST_ESCAPE * limit + 40
    assert shown.endswith(" more)") or len(text) <= limit


@given(st.text("abc éß漢字/-_.:@\\", max_size=100))
def test_honest_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text
    assert screened(text) == text
    assert Screening().feed(text.encode(), final=True) == text


@given(TEXT)
def test_of_several_lines_only_the_first_begins_at_the_left(text: str) -> None:
    first, *others = paragraph(text).split("\n")
    for line in [first, *others]:
        assert_seen(line)
    assert all(line.startswith("  ") for line in others)


@given(TEXT)
def test_a_stream_shows_nothing_but_lines(text: str) -> None:
    assert_seen(screened(text)[1:], but="\n\t")
    assert_seen(screened(text)[:1], but="\n\t\r")


@given(TEXT)
def test_screening_twice_changes_nothing(text: str) -> None:
    assert screened(screened(text)) == screened(text)
    assert screened(paragraph(text)) == paragraph(text)


@given(st.one_of(st.binary(), TEXT.map(lambda text: text.encode("utf-8", "replace"))), st.data())
def test_output_that_is_passed_on_is_the_same_however_it_is_cut(
    data: bytes, draw: st.DataObject
) -> None:
    whole = Screening().feed(data, final=True)
    assert_seen(whole, but="\n\t\r")
    screening, pieces = Screening(), []
    rest = data
    while rest:
        size = draw.draw(st.integers(1, len(rest)))
        pieces.append(screening.feed(rest[:size]))
        rest = rest[size:]
    pieces.append(screening.feed(b"", final=True))
    assert "".join(pieces) == whole


@given(st.binary(min_size=1))
def test_a_line_that_is_passed_on_has_an_end(data: bytes) -> None:
    screening = Screening(limit=10)
    line = data.replace(b"\n", b"").replace(b"\r", b"")
    shown = screening.feed(line * 20) + screening.feed(line) + screening.feed(b"\nnext", final=True)
    first, _, after = shown.partition("\n")
    assert len(first) <= 10 * LONGEST_ESCAPE + len("...")
    assert after == "next"


@given(st.binary())
def test_bytes_become_text_of_the_same_meaning(data: bytes) -> None:
    shown = printable(decoded(data))
    assert_seen(shown)
    if b"\\" not in data and data.isascii():
        assert shown.encode("ascii").decode("unicode_escape").encode("latin-1") == data


def test_how_escapes_look() -> None:
    assert printable("a\x1b[31m\n\t\r\x7f") == "a\\x1b[31m\\n\\t\\r\\x7f"
    assert printable("\x9b\u202e\U000e0041") == "\\u009b\\u202e\\U000e0041"
    assert printable(decoded(b"\x9b\xff")) == "\\x9b\\xff"
    assert printable("\udc9b") == "\\x9b"
    assert paragraph("one\nhint: two\tthree") == "one\n  hint: two three"
    assert screened("\r 50%\r\n") == "\r 50%\\r\n"
    assert printable("x" * (MAX_SHOWN + 3)).endswith("x... (3 more)")
    assert Screening().feed(b"remote: 10%\rremote: \x1b]0;x\x07\n") == (
        "remote: 10%\rremote: \\x1b]0;x\\x07\n"
    )
