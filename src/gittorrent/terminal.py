"""What the command line and the remote helper share: progress, notes, and how a helper ended.

Progress is in git's own style, on standard error: one line that is rewritten, then ended. It is
shown only when it is asked for; notes worth a line of their own are shown unless all is to be
quiet. Nothing here ever writes to standard output, which belongs to the helper's protocol or to
the program that reads a command's result.

What is shown contains the words of strangers. Both programs call `screen_streams` before anything
else, so whatever is printed goes through `gittorrent.printable` once more.
"""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, TextIO

from gittorrent.ids import ManifestId
from gittorrent.printable import Screening, paragraph, printable, screened
from gittorrent.sizes import show_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gittorrent.errors import GitTorrentError
    from gittorrent.store.processes import DownloadFigures, MirrorFigures

STATUS_VARIABLE = "GITTORRENT_STATUS_FILE"
"""Names an empty file to which a helper writes its exit code, since git does not pass it on."""

MAX_UNSAID = 12
"""Details kept in case something fails: the last words of some mirrors."""

_INTERVAL = 0.2

_MEANT = 0.5
"""Seconds that a download takes at least for its mean rate to say something."""

_PIECE = re.compile("\r?[^\r]+|\r")
"""What may be written at once, see `ScreenedStream`."""


class ScreenedStream(io.TextIOWrapper):
    """A text stream that lets nothing through which a terminal would obey.

    Of a line that is written again the carriage return comes first in what is written at once.
    """

    def write(self, text: str) -> int:
        """Write text, with escapes for what is not to be seen."""
        with self._named():
            super().write(screened(text))
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        with self._named():
            super().flush()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Say in an error which stream could not be written to: no other file has its name."""
        try:
            yield
        except OSError as error:
            error.filename = self.name
            raise


def screen_streams() -> None:
    """Screen all that this process prints from now on, tracebacks included."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or isinstance(stream, ScreenedStream):
            continue
        # With ASCII click would open the descriptor anew, past this stream.
        ascii_only = stream.encoding.lower() in ("ascii", "us-ascii", "ansi_x3.4-1968")
        screened_stream = ScreenedStream(
            stream.buffer,
            encoding="utf-8" if ascii_only else stream.encoding,
            errors="backslashreplace",
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        setattr(sys, name, screened_stream)


def complain(error: GitTorrentError) -> None:
    """Say on standard error why something failed, and what to do."""
    sys.stderr.write(f"gittorrent: {paragraph(str(error))}\n")
    if error.hint:
        sys.stderr.write(f"hint: {paragraph(error.hint)}\n")
    sys.stderr.flush()


class NoteFilter:
    """Knows which notes were said in the last round, and which details were left unsaid."""

    def __init__(self) -> None:
        self._unsaid: deque[str] = deque(maxlen=MAX_UNSAID)
        self._said: set[str] | None = None
        self._said_before: set[str] = set()

    def begin_round(self) -> None:
        """Do the same work once more: a note of the last round that still holds is not repeated."""
        self._said_before, self._said = self._said or set(), set()

    def is_new(self, text: str) -> bool:
        """Tell whether the last round did not have a note; from now on this one has it."""
        if self._said is not None:
            self._said.add(text)
        return text not in self._said_before

    def keep(self, detail: str) -> None:
        """Keep a detail that is not said, in case something fails."""
        self._unsaid.append(detail)

    def take_unsaid(self) -> list[str]:
        """Return the last details that were kept: what failed may have failed for their reasons."""
        taken = list(self._unsaid)
        self._unsaid.clear()
        return taken


class TerminalReporter:
    """Writes notes and progress.

    Args:
        progress: whether to show progress.
        quiet: whether to leave notes out.
        verbose: whether to show details as well.
        stream: where to write.
        clock: tells the time in seconds, from wherever.
    """

    def __init__(
        self,
        *,
        progress: bool = False,
        quiet: bool = False,
        verbose: bool = False,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.progress = progress
        self.quiet = quiet
        self.verbose = verbose
        self._filter = NoteFilter()
        self._stream = stream or sys.stderr
        self._line_length = 0
        self._shown_at = 0.0
        self._clock = clock
        self._name = ""
        self._downloads: dict[str, None] = {}
        self._begun_at = 0.0
        self._faults: set[str] = set()
        self._screening = Screening()

    @property
    def downloads(self) -> list[ManifestId]:
        """The packs that were downloaded in this round, or are being."""
        return [ManifestId(name) for name in self._downloads]

    def note(self, text: str) -> None:
        """Say something worth a line."""
        if self._filter.is_new(text) and not self.quiet:
            self._end_line()
            self._write(f"gittorrent: {paragraph(text)}\n")

    def begin_round(self) -> None:
        """Do the same work once more: a note of the last round that still holds is not repeated."""
        self._filter.begin_round()
        self._downloads.clear()

    def detail(self, text: str) -> None:
        """Say something if all is wanted, or else keep it for `explain`."""
        if self.verbose:
            self.note(text)
        else:
            self._filter.keep(text)

    def explain(self) -> None:
        """Say the last details that were kept: what failed may have failed for their reasons."""
        for text in self._filter.take_unsaid():
            self.note(text)

    def downloading(self, name: str, figures: DownloadFigures) -> None:
        """Show how far the download of a reel is."""
        if name != self._name:
            self._end_line()
            self._name, self._faults = name, set()
            self._downloads[name] = None
            self._begun_at = self._clock()
        for mirror in figures.mirrors:
            if mirror.fault and mirror.name not in self._faults:
                self._faults.add(mirror.name)
                self.note(f"{mirror.name} is out: {mirror.fault}")
        complete = figures.parts == figures.total
        now = self._clock()
        if self.progress and (complete or now - self._shown_at >= _INTERVAL):
            self._shown_at = now
            self._rewrite(_download_line(figures, now - self._begun_at))
        if complete:
            self._end_line()
            self._summary(figures)

    def phase(self, text: str) -> None:
        """Show what is done now."""
        if self.progress:
            self._end_line()
            self._rewrite(f"{text.capitalize()} ...")

    def git_says(self, said: bytes) -> None:
        """Show what a git says that fetches, as it comes."""
        if not self.quiet:
            for piece in _PIECE.findall(self._screening.feed(said)):
                self._write(piece)

    def close(self) -> None:
        """End the line that is being rewritten."""
        self._end_line()

    def _summary(self, figures: DownloadFigures) -> None:
        shares = [m for m in figures.mirrors if m.parts]
        if self.progress and shares and not self.quiet:
            parts = ", ".join(f"{m.parts} from {m.name}" for m in shares)
            self._write(f"Parts: {printable(parts)}\n")

    def _rewrite(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        text = printable(text)[: max(width, 20)]
        padding = " " * max(0, self._line_length - len(text))
        self._write(f"\r{text}{padding}")
        self._line_length = len(text)

    def _end_line(self) -> None:
        if self._line_length:
            self._write("\n")
            self._line_length = 0

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self.progress, self.quiet = False, True  # nobody reads it any more


def _download_line(figures: DownloadFigures, seconds: float) -> str:
    """Return the line of a download that began so long ago: in the end with its mean rate."""
    share = 100 * figures.parts // max(1, figures.total)
    line = f"Receiving parts: {share:3d}% ({figures.parts}/{figures.total}), "
    line += show_bytes(figures.received)
    if figures.parts == figures.total:
        mean = f" | {show_bytes(figures.received / seconds)}/s" if seconds >= _MEANT else ""
        return f"{line}{mean}, done."
    rate = sum(mirror.rate for mirror in figures.mirrors)
    line += f" | {show_bytes(rate)}/s"
    if rate > 0:
        left = (figures.total - figures.parts) / max(1, figures.total) * figures.size / rate
        line += f" | {show_duration(left)} left"
    return line + _rates(figures.mirrors)


def _rates(mirrors: tuple[MirrorFigures, ...]) -> str:
    active = [m for m in mirrors if not m.fault and m.rate > 0]
    if not active:
        return ""
    shown = ", ".join(
        f"{m.name if m.called_us else m.url.split('/')[2]} {show_bytes(m.rate)}/s"
        for m in sorted(active, key=lambda m: -m.rate)
    )
    return f" | {shown}"


MOST_IN_HOURS = 2 * 86_400
"""Seconds from which a length of time is in days: nobody sees at a glance what 2159 hours are."""


def show_duration(seconds: float) -> str:
    """Return a time such as ``0:07`` or ``1:02:03``, from two days on as ``3 days``."""
    whole = int(seconds + 0.5)
    if whole >= MOST_IN_HOURS:
        return f"{whole // 86_400} days"
    if whole >= 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
    return f"{whole // 60}:{whole % 60:02d}"
