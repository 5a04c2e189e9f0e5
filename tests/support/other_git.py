"""Gits whose deflate is not stock zlib's: a stand-in that works everywhere, and the real thing."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

OTHER_ZLIB = os.environ.get("GITTORRENT_TEST_ZLIB")
"""A shared library with zlib's interface that makes other bytes, such as zlib-ng's compatible
build; tests do without the real thing where the variable names none."""


def otherwise_deflating(path: Path, git: str | None = None) -> Path:
    """Write a git that does what the real one does, but whose default compression differs.

    Args:
        path: of the program.
        git: the real one; the first on the PATH by default.
    """
    return _changing(path, "*ompression=-1) word=${word%-1}9", git or _first())


def otherwise_choosing(path: Path) -> Path:
    """Write a git that chooses other deltas than the real one, as a later one may."""
    return _changing(path, "--window=10) word=--window=0", _first())


def preloading(path: Path, library: str, git: str | None = None) -> Path:
    """Write a git that runs on another zlib."""
    words = f"LD_PRELOAD={shlex.quote(library)} exec {shlex.quote(git or _first())}"
    return _program(path, f'{words} "$@"\n')


def breaking_off(path: Path, status: int, count: int = 40) -> Path:
    """Write a git whose pack-objects ends with ``status`` after ``count`` bytes."""
    real = shlex.quote(_first())
    return _program(
        path,
        f"""\
case " $* " in
*" pack-objects "*) {real} "$@" | head -c {count}; exit {status} ;;
*) exec {real} "$@" ;;
esac
""",
    )


def _changing(path: Path, case: str, git: str) -> Path:
    """Write a git that changes words of its command line by a case of the shell's."""
    return _program(
        path,
        f"""\
for word do
  shift
  case $word in {case} ;; esac
  set -- "$@" "$word"
done
exec {shlex.quote(git)} "$@"
""",
    )


def _first() -> str:
    found = shutil.which("git")
    assert found is not None
    return found


def _program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}")
    path.chmod(0o755)
    return path
