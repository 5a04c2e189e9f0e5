"""On which line each key and value of a TOML document stands, which `tomllib` does not tell.

Pure. Takes documents that `tomllib` has accepted, so it checks nothing: it only skips over what
does not matter. Keys are paths, with numbers for the elements of arrays:
``("carry", "repository", 0, "url")``.
Source: https://toml.io/en/v1.0.0
"""

from __future__ import annotations

import re
import tomllib

KeyPath = tuple[str | int, ...]
"""Where a value is in a document."""

_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\n]*")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)


def lines_of(text: str) -> dict[KeyPath, int]:
    """Return the lines, counted from 1, on which keys, table headers and array elements begin.

    Args:
        text: a document that `tomllib.loads` accepts.
    """
    return _Scanner(text).scan()


class _Scanner:
    """Goes through one document, and notes where it meets what."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._counted = 0
        self._lines: dict[KeyPath, int] = {}
        self._lengths: dict[KeyPath, int] = {}  # of arrays of tables

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while True:
            self._skip(_BLANK)
            if self._at >= len(self._text):
                return self._lines
            if self._text.startswith("[", self._at):
                table = self._header()
            else:
                self._pair(table)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        assert found is not None
        self._at = found.end()
        return found[0]

    def _note(self, path: KeyPath, at: int) -> None:
        self._line += self._text.count("\n", self._counted, at)
        self._counted = at
        self._lines.setdefault(path, self._line)

    def _header(self) -> KeyPath:
        """Take ``[a.b]`` or ``[[a.b]]``; returns the table that follows."""
        begin = self._at
        is_array = self._text.startswith("[[", self._at)
        self._at += 2 if is_array else 1
        keys = self._keys()
        self._at += 2 if is_array else 1
        above = self._inside(keys[:-1])
        path = (*above, keys[-1])
        self._note(path, begin)
        if is_array:
            number = self._lengths.get(path, 0)
            self._lengths[path] = number + 1
            path = (*path, number)
            self._note(path, begin)
            return path
        return self._inside(keys)

    def _inside(self, keys: tuple[str, ...]) -> KeyPath:
        """Return the path that dotted keys stand for: of an array of tables the last one."""
        path: KeyPath = ()
        for key in keys:
            path = (*path, key)
            if path in self._lengths:
                path = (*path, self._lengths[path] - 1)
        return path

    def _keys(self) -> tuple[str, ...]:
        """Take a dotted key, and the space around it."""
        keys: list[str] = []
        while True:
            self._skip(_SPACE)
            if self._text[self._at] in "\"'":
                keys.append(tomllib.loads(f"k = {self._skip(_STRING)}")["k"])
            else:
                keys.append(self._skip(_BARE))
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return tuple(keys)
            self._at += 1

    def _pair(self, table: KeyPath) -> None:
        """Take ``key = value``."""
        begin = self._at
        path = table
        for key in self._keys():
            path = (*path, key)
            self._note(path, begin)
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        char = self._text[self._at]
        if char in "\"'":
            self._skip(_STRING)
        elif char == "[":
            self._array(path)
        elif char == "{":
            self._inline_table(path)
        else:
            self._skip(_SCALAR)

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        number = 0
        while True:
            self._skip(_BLANK)
            if self._text[self._at] == "]":
                self._at += 1
                return
            if self._text[self._at] == ",":
                self._at += 1
                continue
            self._note((*path, number), self._at)
            self._value((*path, number))
            number += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        while True:
            self._skip(_BLANK)
            if self._text[self._at] == "}":
                self._at += 1
                return
            if self._text[self._at] == ",":
                self._at += 1
                continue
            self._pair(path)
