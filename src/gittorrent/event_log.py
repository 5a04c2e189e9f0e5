"""The node's log: events with fields, written as text for people or as JSON for programs.

An event has a name, a sentence with places for its fields, and the fields. Text shows the sentence.
JSON is one object a line with ``time``, ``level``, ``event``, ``message`` and the fields. Records
of other loggers pass through the same formatters, with the logger's name as event.

Rules: the events are listed in docs/guide-mirror-operators.md, and operators build on their names
and fields; what strangers sent is escaped (`gittorrent.printable`), so that it never begins a line
of its own. In JSON fields are exact, and escaped as JSON does it, in ASCII.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import sys
import threading
import time
from typing import TYPE_CHECKING

from gittorrent.printable import decoded, paragraph, printable

if TYPE_CHECKING:
    from typing import TextIO

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")

MAX_LINES = 10_000
"""Lines of the log that wait for a slow reader: a few MiB."""

CLOSE_SECONDS = 1.0
"""Time for the last lines at the end."""

_FIELDS = "gittorrent_fields"
_EVENT = "gittorrent_event"


class EventLog:
    """Writes events under a module's name.

    Args:
        name: of the module.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, text: str, **fields: object) -> None:
        """Note what helps to find a fault."""
        self._write(logging.DEBUG, event, text, fields)

    def info(self, event: str, text: str, **fields: object) -> None:
        """Note what goes as it should."""
        self._write(logging.INFO, event, text, fields)

    def warning(self, event: str, text: str, **fields: object) -> None:
        """Note what an operator may want to look at."""
        self._write(logging.WARNING, event, text, fields)

    def error(self, event: str, text: str, **fields: object) -> None:
        """Note what an operator has to look at."""
        self._write(logging.ERROR, event, text, fields)

    def exception(self, event: str, text: str, **fields: object) -> None:
        """Note a mistake of this program, with where it happened."""
        self._write(logging.ERROR, event, text, fields, trace=True)

    def _write(
        self, level: int, event: str, text: str, fields: dict[str, object], *, trace: bool = False
    ) -> None:
        if self._logger.isEnabledFor(level):
            exact = {name: _plain(value) for name, value in fields.items()}
            extra = {_EVENT: event, _FIELDS: exact}
            sentence = text.format(**{name: _shown(value) for name, value in exact.items()})
            self._logger.log(level, "%s", sentence, extra=extra, exc_info=trace, stacklevel=3)


def fields_of(record: logging.LogRecord) -> tuple[str, dict[str, object]]:
    """Return the name and the fields of a record's event."""
    event = getattr(record, _EVENT, record.name)
    fields = getattr(record, _FIELDS, {})
    return str(event), dict(fields)


def configure(style: str, level: str, stream: TextIO | None = None, *, apart: bool = False) -> None:
    """Write all logs of this process in one way.

    Args:
        style: one of `FORMATS`.
        level: one of `LEVELS`; what matters less is left out.
        stream: standard error by default.
        apart: write in a thread, so that nobody who logs waits for whoever reads.
    """
    handler = WrittenApart(stream or sys.stderr) if apart else logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class WrittenApart(logging.Handler):
    """Writes to a stream in a thread of its own; what nobody reads is left out at last.

    Standard error may be a pipe whose reader has stopped: a node must not stop with it.

    Args:
        stream: to write to.
        most: lines that wait; after that lines are counted, and their number is written later.
    """

    def __init__(self, stream: TextIO, most: int = MAX_LINES) -> None:
        super().__init__()
        self._stream = stream
        self._most = most
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._left_out = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Have a record written soon."""
        if self._lines.qsize() >= self._most:
            self._left_out += 1
            return
        if self._left_out:
            left_out, self._left_out = self._left_out, 0
            text = "%d lines were left out: nobody read them"
            note = logging.LogRecord(
                __name__, logging.WARNING, __file__, 0, text, (left_out,), None
            )
            note.__dict__.update({_EVENT: "log-left-out", _FIELDS: {"lines": left_out}})
            self._lines.put(self.format(note))
        self._lines.put(self.format(record))

    def close(self) -> None:
        """Write what is left, as far as it is read within a second."""
        self._lines.put(None)
        self._thread.join(CLOSE_SECONDS)
        super().close()

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            # Whoever read the log may be gone; nobody is left to be told.
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(line + "\n")
                self._stream.flush()


class TextFormatter(logging.Formatter):
    """Writes ``TIME LEVEL sentence``; further lines, of a traceback, are indented."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as text."""
        return paragraph(super().format(record))


class JsonFormatter(logging.Formatter):
    """Writes one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as JSON."""
        event, fields = fields_of(record)
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        value: dict[str, object] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": event,
            "message": record.getMessage(),
            **fields,
        }
        if record.exc_info:
            value["traceback"] = self.formatException(record.exc_info)
        return json.dumps(value)


def _plain(value: object) -> object:
    """Return a value that JSON has."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, bytes):
        return decoded(value)
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return str(value)


def _shown(value: object) -> object:
    """Return a value of `_plain` as it may stand in a line of text."""
    if isinstance(value, list):
        return [_shown(each) for each in value]
    return printable(value) if isinstance(value, str) else value
