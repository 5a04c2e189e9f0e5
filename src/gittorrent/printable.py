"""Makes text fit to be shown: what a terminal would obey, or nobody would see, becomes visible.

Most of what is printed or logged was written by somebody else: names of refs, reasons of mirrors,
what a server says while git fetches. A terminal obeys escape sequences; some characters reverse the
order of others, or show as nothing. All of them are written as escapes here, and what is longer
than anything honest is cut. Pure; for every layer.

The escapes are those of Python and C: ``\\n``, ``\\t``, ``\\r``; ``\\x1b`` for other ASCII control
characters; ``\\u009b``, ``\\u202e`` or ``\\U000e0041`` for the rest; and ``\\x9b`` for a byte that
is no UTF-8. A backslash stays one: this is for reading, not for reading back.

What is escaped: control characters (C0, DEL, C1), format characters (those for direction and of no
width among them), separators but the space, surrogates, code points without a character, and the
others that Unicode calls ignorable or that show as a blank.

Who uses what: `printable` for a string within a line, so that it cannot begin a line of its own;
`paragraph` for a message of several lines; `screened` where a stream is written to, so that nothing
that was forgotten before gets out; `Screening` for the output of a program that is passed on.
"""

from __future__ import annotations

import codecs
import datetime
import re

MAX_SHOWN = 4096
"""Characters shown of one string: more than the longest ref name or URL that may be honest."""

_LAST_DATE = 253_402_300_799
"""The last second of the year 9999: Python has no later dates, and certificates may name some."""

_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}

_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U000e0000-\U000e0fff]"
)
"""Ignorable characters (DerivedCoreProperties.txt) that count as letters or marks, and a blank."""

_SUSPECT = re.compile("[^ -~]")
_SUSPECT_IN_LINES = re.compile("[^ -~\n\t]")
_SUSPECT_IN_PROGRESS = re.compile("[^ -~\n\t\r]")


def decoded(data: bytes) -> str:
    """Return bytes of no known encoding as text: UTF-8, and escapes for what is none."""
    return data.decode("utf-8", "backslashreplace")


def printable(text: str, limit: int = MAX_SHOWN) -> str:
    """Return text as one line in which everything can be seen.

    Args:
        text: of anybody.
        limit: characters to show; if there are more, how many is said instead.
    """
    shown = _SUSPECT.sub(_escaped, text[:limit])
    return shown if len(text) <= limit else f"{shown}... ({len(text) - limit} more)"


def paragraph(text: str) -> str:
    """Return text as lines of which all but the first are indented, so that none passes for ours.

    Args:
        text: a message of this program with what others said in it.
    """
    return "\n  ".join(printable(line.replace("\t", " ")) for line in text.split("\n"))


def screened(text: str) -> str:
    """Return text with everything escaped that is not to be seen, but for the ends of lines.

    Tabs stay, and one carriage return at the beginning: that is how a line is written again.
    """
    if text.startswith("\r"):
        return "\r" + _SUSPECT_IN_LINES.sub(_escaped, text[1:])
    return _SUSPECT_IN_LINES.sub(_escaped, text)


class Screening:
    """Passes the output of a program on, piece by piece, with the progress that it shows.

    Args:
        limit: characters to pass on of one line; the rest is left out.
    """

    def __init__(self, limit: int = MAX_SHOWN) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._limit = limit
        self._column = 0

    def feed(self, data: bytes, *, final: bool = False) -> str:
        """Return what to show for the next bytes.

        Args:
            data: cut anywhere.
            final: whether there are no more.
        """
        text = self._decoder.decode(data, final)
        lines = re.split("([\r\n])", text)
        return "".join(self._piece(piece) for piece in lines)

    def _piece(self, text: str) -> str:
        if text in ("\r", "\n"):
            self._column = 0
            return text
        room = max(0, self._limit - self._column)
        self._column += len(text)
        cut = "..." if room and len(text) > room else ""
        return _SUSPECT_IN_PROGRESS.sub(_escaped, text[:room]) + cut


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    if character.isprintable() and not _UNSEEN.match(character):
        return character
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"  # a byte that came through as "surrogateescape" has it
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def date_of(seconds: int) -> datetime.datetime:
    """Return a time that somebody wrote as a date in UTC, of one beyond `_LAST_DATE` that.

    Args:
        seconds: since 1970.
    """
    return datetime.datetime.fromtimestamp(min(seconds, _LAST_DATE), datetime.UTC)
