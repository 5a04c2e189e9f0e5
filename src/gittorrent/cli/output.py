"""What subcommands share in speaking: JSON, tables, and progress that stays out of pipes."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, TextIO

import click
from msgspec import Struct, to_builtins

from gittorrent.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gittorrent.repository.ref_changes import RefChange
    from gittorrent.repository.unpublished import Unpublished

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
verbose_option = click.option(
    "-v", "--verbose", is_flag=True, help="Say what becomes of each mirror, too."
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")


def print_json(value: Any) -> None:
    """Print a value as indented JSON: exact, and in ASCII, so that no terminal obeys any of it."""
    click.echo(json.dumps(to_builtins(value), indent=2))


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns as wide as they need to be."""
    table = [list(head), *[[printable(cell) for cell in row] for row in rows]]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    for row in table:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


def count(number: int, noun: str) -> str:
    """Return a number with its noun, such as ``1 ref`` or ``2 refs``."""
    plural = f"{noun}{'es' if noun.endswith('sh') else 's'}"
    if noun.endswith("ry"):
        plural = f"{noun[:-1]}ies"
    return f"{number} {noun if number == 1 else plural}"


class UnpublishedRef(Struct, frozen=True):
    """A ref that is not published, as --json shows it."""

    ref: str
    change: str


def list_unpublished(refs: Iterable[Unpublished]) -> list[UnpublishedRef]:
    """Return refs that are not published, as --json shows them."""
    return [UnpublishedRef(ref.shown, ref.change) for ref in refs]


def list_changes(changes: Iterable[RefChange]) -> list[dict[str, str | None]]:
    """Return what became of refs, as --json shows it."""
    return [
        {"ref": each.shown, "change": each.change, "old": each.old, "new": each.new}
        for each in changes
    ]


class StepProgress:
    """Shows phases that count something, each on one line that is rewritten; only on terminals.

    A phase that others follow is complete. Its line is ended at once when all is counted, since
    whoever asks for a passphrase next writes to the same terminal.

    Args:
        quiet: whether to show nothing.
        stream: where to write; standard error by default.
    """

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._shown = not quiet and self._stream.isatty()
        self._phase = ""
        self._last = -1
        self._total = 0
        self._is_open = False

    def __call__(self, phase: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` are done in ``phase``."""
        if not self._shown:
            return
        share = 100 * done // total if total else 0
        if phase == self._phase and share == self._last:
            return
        if self._is_open and phase != self._phase:
            self._write(self._total)
        self._phase, self._last, self._total = phase, share, total
        self._write(done)

    def close(self) -> None:
        """End the line."""
        if self._is_open:
            self._stream.write("\n")
            self._stream.flush()
        self._phase, self._is_open = "", False

    def _write(self, done: int) -> None:
        total = self._total
        share = 100 * done // total if total else 0
        self._is_open = share < 100
        end = "" if self._is_open else ", done.\n"
        self._stream.write(f"\r{self._phase.capitalize()}: {share:3d}% ({done}/{total}){end}")
        self._stream.flush()


def with_progress(quiet: bool, work: Callable[[StepProgress], Any]) -> Any:
    """Run ``work`` with a progress display that ends with it."""
    progress = StepProgress(quiet=quiet)
    try:
        return work(progress)
    finally:
        progress.close()
