"""What a process needs before it does anything: its standard streams, and UTF-8.

Daemons and job runners start programs with some of the first three file descriptors closed. The
next file or socket that is opened then gets one of these numbers, and what is meant for the
terminal goes into it, or into a program that inherits it; and Python has no ``sys.stderr`` to write
to. Git opens them at its start, too.

Git's output and the node's database name paths in UTF-8, with surrogates for bytes that are none
(PEP 383). Python takes such a name for a path only where it has the same idea of names of files,
which in some locales it has not.

A part of the program that cannot be loaded is told of here, too: what would tell of it otherwise
may be that very part.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # even `typing` takes a moment
    from collections.abc import Callable
    from typing import NoReturn

_NAMES = ("stdin", "stdout", "stderr")

DAMAGED = 7
"""Exit status where this program cannot be loaded, as of all that is wrong with this machine."""

_IMPORTING = "<frozen importlib"
"""What Python calls the files of what imports."""


def begin(run: Callable[[], NoReturn]) -> NoReturn:
    """Prepare the process and run a program, or say what of it cannot be loaded."""
    prepare()
    try:
        run()
    except Exception as error:
        if not say_what_is_damaged(error):
            raise
    sys.exit(DAMAGED)


def prepare() -> None:
    """Open the standard streams that are closed, and see to it that paths are in UTF-8.

    To be called before anything else is opened or read. May begin the program anew.
    """
    for number, name in enumerate(_NAMES):
        try:
            os.fstat(number)
        except OSError:
            # Those below are open, so this is the lowest number that is free.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            stream = os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 (this program)


def say_what_is_damaged(error: BaseException) -> bool:
    """Say on standard error that a part of this program cannot be loaded, if that is what failed.

    A file of it may be cut short or full of zeros, as after a power cut, or be missing.

    Returns:
        Whether that is what failed.
    """
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    is_reading = last is not None and last.tb_frame.f_code.co_filename.startswith(_IMPORTING)
    if not is_reading and not isinstance(error, ImportError | SyntaxError):
        return False
    seen = last.tb_frame.f_locals if last is not None and is_reading else {}
    file = seen.get("bytecode_path") or getattr(error, "filename", None)
    where = f" ({file})" if file else ""
    hint = f"remove {file}, or install it again" if is_reading and file else "install it again"
    sys.stderr.write(f"gittorrent: a part of this program cannot be loaded{where}: {error}\n")
    sys.stderr.write(f"hint: {hint}\n")
    sys.stderr.flush()
    return True
