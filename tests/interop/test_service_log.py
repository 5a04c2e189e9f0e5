"""The log of commands that follow something: ``gittorrent mirror`` and ``gittorrent seed``."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from typing import Any

import pytest

from gittorrent.repository.carried import Carried
from support.programs import Person, Running, serve, wait_until

STAMPED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|WARNING|ERROR) ")


def events_of(running: Running) -> list[dict[str, Any]]:
    """Return the events of a log in JSON, of which the last line may be on its way yet."""
    return [json.loads(line) for line in running.err.splitlines(keepends=True) if line[-1] == "\n"]


def names_of(running: Running) -> list[str]:
    return [event["event"] for event in events_of(running)]


def test_a_mirror_that_follows_writes_a_log_for_programs(
    project: Carried, people: Callable[[str], Person]
) -> None:
    owner, mirror = people("owner"), people("mirror")
    with serve(owner, project.layout.git_dir) as origin:
        url = origin.url()
        words = ["mirror", url, "--interval", "1", "--log-format", "json"]
        running = mirror.start("gittorrent", *words)
        try:
            wait_until(lambda: "updated" in names_of(running), "the mirror is made")
            origin.running.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "check-failed" in names_of(running), "the source is missed")
            running.process.send_signal(signal.SIGTERM)
            assert running.wait() == 0
        finally:
            running.stop()
    assert running.out == ""
    found = events_of(running)
    assert all({"time", "level", "event", "message"} <= event.keys() for event in found)
    (made,) = [event for event in found if event["event"] == "updated"]
    assert made["repository"] == "project"
    assert made["repository_id"] == project.info.repository_id
    assert made["push"] == project.log_store.ids()[-1]
    (missed,) = [event for event in found if event["event"] == "check-failed"]
    assert missed["level"] == "warning"
    assert "refused" in missed["reason"]


def test_a_mirror_that_nobody_watches_writes_times(
    project: Carried, people: Callable[[str], Person]
) -> None:
    owner, mirror = people("owner"), people("mirror")
    with serve(owner, project.layout.git_dir) as origin:
        running = mirror.start("gittorrent", "mirror", origin.url())
        try:
            wait_until(lambda: " updated: checkpoint " in running.err, "the mirror is made")
            running.process.send_signal(signal.SIGTERM)
            assert running.wait() == 0
        finally:
            running.stop()
    assert all(STAMPED.match(line) for line in running.err.splitlines())
    assert "project updated: checkpoint" in running.out


def test_a_seed_writes_a_log(project: Carried, people: Callable[[str], Person]) -> None:
    owner, person = people("owner"), people("person")
    with serve(owner, project.layout.git_dir) as origin:
        person.git("clone", "-q", origin.url(), "c").ok()
        words = ["seed", "c", origin.url(), "--port", "0", "--log-format", "json"]
        running = person.start("gittorrent", *words)
        try:
            wait_until(lambda: "seeding" in names_of(running), "it seeds")
            running.process.send_signal(signal.SIGTERM)
            assert running.wait() == 0
        finally:
            running.stop()
    assert running.out == ""
    (begun,) = [event for event in events_of(running) if event["event"] == "seeding"]
    assert begun["port"] > 0
    assert begun["held"] + begun["built"] > 0


@pytest.mark.parametrize("command", ["mirror", "seed"])
def test_the_last_line_says_why_it_ends(
    project: Carried, people: Callable[[str], Person], command: str
) -> None:
    person = people("person")
    person.git("clone", "-q", "--bare", project.layout.git_dir, "c").ok()
    url = "gittorrent://127.0.0.1:1/project.git"
    words = [command, *(["c"] if command == "seed" else []), url, "--log-format", "json"]
    done = person.gittorrent(*words)
    assert done.status == 3
    last = json.loads(done.err.splitlines()[-1])
    assert (last["event"], last["level"], last["status"]) == ("gave-up", "error", 3)
    assert "refused" in last["reason"]
