"""The node's log: what a line looks like, as text and as JSON."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gittorrent import event_log
from gittorrent.event_log import EventLog, WrittenApart
from support.programs import PATIENCE

SOURCE = Path(event_log.__file__).parent
GUIDE = Path(__file__).parents[2] / "docs" / "guide-mirror-operators.md"


@pytest.fixture
def root_logger() -> Iterator[None]:
    """Put back what `event_log.configure` changes."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    for handler in handlers:
        root.removeHandler(handler)
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def logged(style: str, level: str = "info") -> tuple[EventLog, io.StringIO]:
    stream = io.StringIO()
    event_log.configure(style, level, stream)
    return EventLog("gittorrent.node.test"), stream


@pytest.mark.usefixtures("root_logger")
def test_json_has_an_object_with_real_fields_on_each_line() -> None:
    log, stream = logged("json")
    log.info("ended", "{peer} took {sent} bytes", peer="192.0.2.1", sent=5, reason=None)
    log.debug("left-out", "too fine")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("failed", "it failed")
    logging.getLogger("foreign").warning("%d problems", 2)
    first, second, third = map(json.loads, stream.getvalue().splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
    assert first == {
        "level": "info",
        "event": "ended",
        "message": "192.0.2.1 took 5 bytes",
        "peer": "192.0.2.1",
        "sent": 5,
        "reason": None,
    }
    assert second["level"] == "error"
    assert "ValueError: two" in second["traceback"]
    assert third["event"] == "foreign"
    assert third["message"] == "2 problems"


@pytest.mark.usefixtures("root_logger")
@pytest.mark.parametrize("style", event_log.FORMATS)
@pytest.mark.parametrize("evil", ["/x\n2026 INFO all is well", "\x1b[31m{peer}%s", b"/\xff\n\0"])
def test_what_strangers_send_stays_on_its_line(style: str, evil: str | bytes) -> None:
    log, stream = logged(style)
    log.info("refused", "refused {peer}: {path}", peer="192.0.2.1", path=evil)
    (line,) = stream.getvalue().splitlines()
    assert "\x1b" not in line
    assert "192.0.2.1" in line


@pytest.mark.usefixtures("root_logger")
def test_quiet_is_the_default_of_levels() -> None:
    log, stream = logged("text", "warning")
    log.info("ended", "nobody asked")
    log.warning("damaged", "look: {reason}", reason="it is broken")
    (line,) = stream.getvalue().splitlines()
    assert line.endswith(" WARNING look: it is broken")


@pytest.mark.usefixtures("root_logger")
def test_nobody_who_logs_waits_for_whoever_reads() -> None:
    """Standard error is a full pipe; then somebody reads on."""
    read, write = os.pipe()
    with os.fdopen(read) as reader, os.fdopen(write, "w") as writer:
        handler = WrittenApart(writer, most=10)
        handler.setFormatter(event_log.JsonFormatter())
        logger = logging.Logger("gittorrent.node.test")
        logger.addHandler(handler)
        for number in range(3):
            logger.warning("%d %s", number, "x" * (1 << 20))  # more than a pipe holds
        for number in range(3, 100):
            logger.warning("%d", number)
        begun = iter(reader.readline, "")
        for _ in range(5):
            next(begun)
        logger.warning("later")
        writing = threading.Thread(target=handler.close)
        writing.start()
        said: list[dict[str, Any]] = []
        while not said or said[-1]["message"] != "later":
            said.append(json.loads(next(begun)))
        writing.join(PATIENCE)
    left_out = [each for each in said if each["event"] == "log-left-out"]
    # It may be said in several goes: the writer was at work before the pipe was full.
    assert sum(each["lines"] for each in left_out) >= 80
    assert left_out[0]["level"] == "warning"


def test_every_event_is_explained_to_operators() -> None:
    """Names of events are what operators build on, so the guide has each of them."""
    written = GUIDE.read_text(encoding="utf-8").partition("## The log")[2]
    explained = set(re.findall(r"`([a-z-]+)`", written))
    used = set()
    for path in SOURCE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        pattern = r"(?:_log\.(?:info|warning|error|exception)|note)\(\s*\"([a-z-]+)\""
        used |= set(re.findall(pattern, text))
    assert used <= explained
