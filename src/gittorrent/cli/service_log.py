"""How ``mirror`` and ``seed`` speak where nobody watches: as a log on standard error.

A command that follows something runs for months. What it says has a time, a level and a name, and
with ``--log-format json`` each line is an object, the last one too: why the command ended.

Source: docs/guide-mirror-operators.md, The log.
"""

from __future__ import annotations

import contextlib
import enum
import sys
from typing import TYPE_CHECKING

import click

from gittorrent import event_log
from gittorrent.errors import GitTorrentError
from gittorrent.event_log import EventLog
from gittorrent.ids import ManifestId
from gittorrent.interruptions import PROCESS
from gittorrent.terminal import NoteFilter, TerminalReporter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gittorrent.store.processes import DownloadFigures

log_format_option = click.option(
    "--log-format",
    type=click.Choice(event_log.FORMATS),
    metavar="FORMAT",
    help="Write a log to standard error, as text or as json: an object a line.",
)

_log = EventLog(__name__)


class Printed(enum.Enum):
    """What goes to standard output."""

    NOTHING = enum.auto()
    TEXT = enum.auto()
    JSON = enum.auto()


def what_is_printed(log_format: str | None, *, as_json: bool, quiet: bool) -> Printed:
    """Return what goes to standard output; where a log was asked for, it has what is for people."""
    if as_json:
        return Printed.JSON
    return Printed.NOTHING if quiet or log_format is not None else Printed.TEXT


class LogReporter:
    """Writes what happens to the log; progress is not written.

    Args:
        verbose: whether to write details that call for nothing.
    """

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose
        self._filter = NoteFilter()
        self._reel = ""
        self._downloads: dict[str, None] = {}
        self._is_complete = False
        self._faults: set[str] = set()

    @property
    def downloads(self) -> list[ManifestId]:
        """The packs that were downloaded in this round, or are being."""
        return [ManifestId(name) for name in self._downloads]

    def begin_round(self) -> None:
        """Do the same work once more: a note of the last round that still holds is not repeated."""
        self._filter.begin_round()
        self._downloads.clear()

    def note(self, text: str) -> None:
        """Write something that whoever runs this has to know."""
        if self._filter.is_new(text):
            _log.info("note", "{reason}", reason=text)

    def failed_check(self, url: str, error: GitTorrentError, again: float) -> None:
        """Write why there is no news from a source, unless the last round failed alike.

        Args:
            url: of the source.
            error: what went wrong.
            again: seconds until the next attempt.
        """
        if self._filter.is_new(str(error)):
            text = "no news from {url}: {reason}; trying again every {seconds} seconds"
            _log.warning("check-failed", text, url=url, reason=str(error), seconds=int(again))

    def detail(self, text: str) -> None:
        """Write something if all is wanted, or else keep it for `explain`."""
        if self._verbose:
            _log.info("detail", "{reason}", reason=text)
        else:
            self._filter.keep(text)

    def explain(self) -> None:
        """Write the last details that were kept: what failed may have failed for their reasons."""
        for text in self._filter.take_unsaid():
            _log.info("detail", "{reason}", reason=text)

    def downloading(self, name: str, figures: DownloadFigures) -> None:
        """Write which mirrors are out of a download, and when it is complete."""
        if name != self._reel:
            self._reel, self._faults, self._is_complete = name, set(), False
            self._downloads[name] = None
        for mirror in figures.mirrors:
            if mirror.fault and mirror.name not in self._faults:
                self._faults.add(mirror.name)
                _log.warning(
                    "mirror-out", "{url} is out: {reason}", url=mirror.name, reason=mirror.fault
                )
        if figures.parts == figures.total and not self._is_complete:
            self._is_complete = True
            _log.info(
                "downloaded",
                "reel {reel} is here: {received} of {bytes} bytes were downloaded now",
                reel=name,
                bytes=figures.size,
                received=figures.received,
            )

    def phase(self, text: str) -> None:
        """Leave progress out."""

    def git_says(self, said: bytes) -> None:
        """Leave progress out."""

    def close(self) -> None:
        """Hold nothing that is being shown."""


def make_reporter(
    log_format: str | None, *, follows: bool, quiet: bool, verbose: bool, progress: bool = False
) -> TerminalReporter | LogReporter:
    """Return what tells of the work of a command: people at a terminal, or a log.

    Args:
        log_format: as the user named it; None for a log only where the command follows something
            and no terminal shows its standard error.
        follows: whether the command runs until it is ended.
        quiet: whether only failures are told.
        verbose: whether details are told as well.
        progress: whether to show progress to people.
    """
    if log_format is None and (not follows or sys.stderr.isatty()):
        return TerminalReporter(progress=progress, quiet=quiet, verbose=verbose)
    event_log.configure(log_format or "text", "error" if quiet else "info", apart=True)
    return LogReporter(verbose=verbose)


@contextlib.contextmanager
def failures_in_log(reporter: TerminalReporter | LogReporter) -> Iterator[None]:
    """Say in the log why a command ends, where there is one; other errors pass as they are."""
    is_log = isinstance(reporter, LogReporter)
    try:
        yield
    except GitTorrentError as error:
        reporter.explain()
        if not is_log:
            raise
        text = "{reason} (hint: {hint})" if error.hint else "{reason}"
        reason, hint, status = str(error), error.hint, error.exit_code
        _log.error("gave-up", text, reason=reason, hint=hint, status=status)
        raise SystemExit(error.exit_code) from error
    except KeyboardInterrupt:
        if not is_log:
            raise
        # What click does with it would put an empty line into the log.
        _log.info("stopped", "stopped")
        raise SystemExit(PROCESS.status) from None
