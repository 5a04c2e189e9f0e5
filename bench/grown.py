"""Repositories of any size for measuring: a history that grows as a project's does.

A fast-import stream of commits that each change some lines in a few files, add one now and then,
and merge a side branch now and then. Files lie in directories, more of them as the history grows,
so that trees and files repeat as they do in real projects. Neither files nor directories grow in
the long run: a longer history has more objects, not larger ones. Everything follows from the size.
"""

from __future__ import annotations

import random
from typing import IO

_FILE_LINES = 120
_DIRECTORY = 12
_CHANGES = 3
_NEW_EVERY = 8
_MERGE_EVERY = 10
_WORDS = [
    f"{stem}{end}"
    for stem in ("read", "write", "pack", "index", "part")
    for end in ("", "er", "_size", "_offset", "_count", "s")
]


class Project:
    """Writes the history of a project.

    Args:
        out: takes the stream.
    """

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._draw = random.Random(2005)
        self._files: list[tuple[bytes, list[bytes]]] = []
        self._mark = 0

    def write(self, commits: int) -> None:
        """Write so many commits."""
        main = side = 0
        for number in range(commits):
            changed = dict(self._change() for _ in range(_CHANGES))
            if number % _NEW_EVERY == 0:
                changed.update([self._add()])
            marks = {path: self._blob(b"".join(lines)) for path, lines in changed.items()}
            merged = side if number % _MERGE_EVERY == _MERGE_EVERY - 1 else 0
            made = self._commit(number, main, merged, marks)
            if number % _MERGE_EVERY == _MERGE_EVERY // 2:
                side = made
            else:
                main = made
        self._out.write(b"done\n")

    def _line(self) -> bytes:
        words = self._draw.choices(_WORDS, k=self._draw.randrange(2, 9))
        return f"    {' '.join(words)} = {self._draw.randrange(1 << 20)};\n".encode()

    def _add(self) -> tuple[bytes, list[bytes]]:
        number = len(self._files)
        path = b"src/%sfile%d.c" % (_directory(number // _DIRECTORY), number)
        lines = [self._line() for _ in range(self._draw.randrange(20, 2 * _FILE_LINES))]
        self._files.append((path, lines))
        return path, lines

    def _change(self) -> tuple[bytes, list[bytes]]:
        if not self._files:
            return self._add()
        # Some files are changed far more often than others.
        path, lines = self._files[int(len(self._files) * self._draw.random() ** 2)]
        at = self._draw.randrange(len(lines))
        # As many lines go as come, on the whole.
        lines[at : at + self._draw.randrange(1, 3)] = [self._line()] * self._draw.randrange(1, 3)
        return path, lines

    def _blob(self, data: bytes) -> int:
        self._mark += 1
        self._out.write(b"blob\nmark :%d\ndata %d\n%s\n" % (self._mark, len(data), data))
        return self._mark

    def _commit(self, number: int, parent: int, merged: int, files: dict[bytes, int]) -> int:
        self._mark += 1
        text = b"".join(self._line() for _ in range(self._draw.randrange(1, 8)))
        head = b"commit refs/heads/main\nmark :%d\ncommitter A <a@b> %d +0000\ndata %d\n%s\n" % (
            (self._mark, 1_000_000_000 + 600 * number, len(text), text)
        )
        if parent:
            head += b"from :%d\n" % parent
        if merged:
            head += b"merge :%d\n" % merged
        changes = b"".join(b"M 100644 :%d %s\n" % (mark, path) for path, mark in files.items())
        self._out.write(head + changes + b"\n")
        return self._mark


def _directory(number: int) -> bytes:
    """Return where a directory lies, as ``3/0/7/``: none holds more than so many others."""
    digits = []
    while number:
        number, digit = divmod(number, _DIRECTORY)
        digits.append(b"%d/" % digit)
    return b"".join(reversed(digits))
