"""Fuzz target: of no input anything is shown that a terminal obeys or nobody sees."""

from __future__ import annotations

import unicodedata

from gittorrent.printable import MAX_SHOWN, Screening, decoded, paragraph, printable, screened

SEEDS = [
    b"ordinary text",
    "caf\u00e9 \u6f22\u5b57".encode(),
    b"\x1b[2J\x1b]0;title\x07",
    "\u009b31m\u202eevil\u2066\u200b\u2028\ufeff".encode(),
    b"\xff\xfe\x9b\xc2",
    b"remote: 10%\rremote: 20%\r\nhint: run this",
    "\U000e0041\ufe0f\u3164\u115f".encode(),
]


def one_input(data: bytes) -> None:
    text = decoded(data)
    _check(printable(text), "")
    _check(paragraph(text), "\n")
    _check(screened(text)[1:], "\n\t")
    screening = Screening()
    middle = len(data) // 2
    passed_on = screening.feed(data[:middle]) + screening.feed(data[middle:], final=True)
    _check(passed_on, "\n\t\r")
    if passed_on != Screening().feed(data, final=True):
        raise AssertionError("what is passed on depends on how it is cut")
    if len(printable(text)) > 11 * MAX_SHOWN:
        raise AssertionError("too long")


def _check(shown: str, but: str) -> None:
    for character in shown:
        if character not in but and character != " " and unicodedata.category(character)[0] in "CZ":
            raise AssertionError(f"U+{ord(character):04X} is let through")


if __name__ == "__main__":
    from harness import run

    run(one_input)
