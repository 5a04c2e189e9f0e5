"""The node's log: events with fields, written as text for people or as JSON for programs.

An event has a name, a sentence with places for its fields, and the fields. Text shows the sentence.
JSON is one object a line with ``time``, ``level``, ``event``, ``message`` and the fields. Records
of other loggers pass through the same formatters, with the logger's name as event.

Rules: the events are listed in docs/guide-mirror-operators.md, and operators build on their names
and fields; what strangers sent is quoted, so that it never begins a line of its own.
"""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")

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
            shown = {name: _plain(value) for name, value in fields.items()}
            extra = {_EVENT: event, _FIELDS: shown}
            sentence = text.format(**shown)
            self._logger.log(level, "%s", sentence, extra=extra, exc_info=trace, stacklevel=3)


def fields_of(record: logging.LogRecord) -> tuple[str, dict[str, object]]:
    """Return the name and the fields of a record's event."""
    event = getattr(record, _EVENT, record.name)
    fields = getattr(record, _FIELDS, {})
    return str(event), dict(fields)


def configure(style: str, level: str, stream: TextIO | None = None) -> None:
    """Write all logs of this process in one way.

    Args:
        style: one of `FORMATS`.
        level: one of `LEVELS`; what matters less is left out.
        stream: standard error by default.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class TextFormatter(logging.Formatter):
    """Writes ``TIME LEVEL sentence``; further lines, of a traceback, are indented."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as text."""
        return super().format(record).replace("\n", "\n  ")


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
        return json.dumps(value, ensure_ascii=False)


def _plain(value: object) -> object:
    """Return a value that JSON has and that cannot break a line of text."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, bytes):
        return repr(value)[2:-1]
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value))
