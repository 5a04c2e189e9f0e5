"""`gittorrent mirrors URL`: who has what, how old it is, who contradicts whom, and the proof."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gittorrent.git.runner import Git
from gittorrent.ids import SHA1, Oid, RefName
from gittorrent.push.certificate import Line
from gittorrent.push.fresh import Fresh
from gittorrent.push.object import parse_push_object
from gittorrent.repository.freshness import keep_fresh
from gittorrent.repository.logstore import identify
from gittorrent.trust.signature import verify
from gittorrent.wire.messages import FreshLine
from support import gitcmd, nodes
from support.copying import copy_tree
from support.nodes import Served
from support.programs import Person
from support.publishing import builder, carried, grow, publish, push_elsewhere
from support.signing import TestSigner

OWNER = TestSigner()
MAIN = RefName(b"refs/heads/main")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = tmp_path / "one" / "project.git"
    path.parent.mkdir()
    grow(builder(path), 2)
    publish(path, name="project")
    return path


def copy_of(project: Path, name: str) -> Path:
    path = project.parents[1] / name / "project.git"
    copy_tree(project, path)
    return path


def push(project: Path, text: str, keeper: TestSigner | None = OWNER) -> None:
    """Push a commit to one copy of the repository, and let the keeper sign there."""
    now = carried(project).log().refs[MAIN]
    words = ["commit-tree", f"{now}^{{tree}}", "-p", now, "-m", text]
    new = Oid(gitcmd.text(project, *words))
    push_elsewhere(project, [Line(now, new, MAIN)], OWNER, keeper=keeper)


def asked(person: Person, url: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(person.gittorrent("mirrors", url, "--json").ok().out)
    return found


def url_of(served: Served) -> str:
    return f"{served.git}/project.git"


def test_who_is_behind_and_who_does_not_answer(
    project: Path, tmp_path: Path, person: Person
) -> None:
    late = copy_of(project, "late")
    push(project, "newer")
    push(project, "not final", keeper=None)
    home, other = (nodes.make_home(tmp_path / name) for name in ("n1", "n2"))
    with nodes.serving(carried(late), home=other) as second:
        gone = "git://127.0.0.1:1/project.git"
        nodes.list_mirrors(home, carried(project), url_of(second), gone)
        with nodes.serving(carried(project), home=home) as first:
            nodes.list_mirrors(home, carried(project), url_of(first))
            found = asked(person, f"gittorrent://{first.git.removeprefix('git://')}/project.git")
            rows = {row["url"]: row for row in found["asked"]}
            assert (found["number"], found["equivocations"]) == (3, [])
            mine, theirs, silent = (rows[url] for url in (url_of(first), url_of(second), gone))
            assert (mine["number"], mine["not_final"], mine["trouble"]) == (3, 1, "")
            assert (theirs["number"], theirs["not_final"]) == (2, 0)
            assert (silent["answers"], silent["number"]) == (False, None)
            assert "refused" in silent["trouble"]
            assert {each["url"] for each in found["mirrors"]} == set(rows)
            done = person.gittorrent("mirrors", url_of(first)).ok()
            assert "checkpoint  number 3, " in done.out
            assert "number 2" in done.out
            assert done.out.count("no answer") == 1
            assert done.out.count(url_of(first)) == 1, "it lists itself, and is shown once"
            assert f"warning: {gone}" in done.err


def test_a_keeper_that_signed_twice_is_shown_with_the_proof(
    project: Path, tmp_path: Path, person: Person
) -> None:
    rival = copy_of(project, "rival")
    push(project, "one")
    push(rival, "other")
    push(rival, "more")
    home, other = (nodes.make_home(tmp_path / name) for name in ("n1", "n2"))
    with nodes.serving(carried(rival), home=other) as second:
        nodes.list_mirrors(home, carried(project), url_of(second))
        with nodes.serving(carried(project), home=home) as first:
            found = asked(person, url_of(first))
            (proof,) = found["equivocations"]
            assert (proof["what"], proof["number"]) == ("checkpoint", 3)
            by_mirror = {tuple(each["mirrors"]): each for each in proof["entries"]}
            assert set(by_mirror) == {(url_of(first),), (url_of(second),)}
            for entry in proof["entries"]:
                signed = parse_push_object(base64.b64decode(entry["push_object"]))
                assert verify(signed.signatures[0], signed.text).key == OWNER.key
                (known,) = identify(Git(project), [signed], SHA1, write=False)
                assert known == entry["push_id"]
            done = person.gittorrent("mirrors", url_of(first)).ok()
            assert "the keeper signed 2 checkpoint entries number 3:" in done.out
            for entry in proof["entries"]:
                assert entry["push_id"] in done.out
            assert "the roots must name another keeper" in done.err


def test_a_mirror_of_another_repository_is_named(
    project: Path, tmp_path: Path, person: Person, people: Callable[[str], Person]
) -> None:
    stranger = tmp_path / "stranger" / "project.git"
    stranger.parent.mkdir()
    grow(builder(stranger), 1)
    publish(stranger, name="project", signer=TestSigner(7))
    home, other = (nodes.make_home(tmp_path / name) for name in ("n1", "n2"))
    with nodes.serving(carried(stranger), home=other) as second:
        nodes.list_mirrors(home, carried(project), url_of(second))
        with nodes.serving(carried(project), home=home) as first:
            rows = {row["url"]: row for row in asked(person, url_of(first))["asked"]}
            assert "another repository" in rows[url_of(second)]["trouble"]
            assert rows[url_of(second)]["number"] is None


def test_how_old_the_newest_word_of_the_keeper_is_at_each_mirror(
    project: Path, tmp_path: Path, person: Person
) -> None:
    late, forged = copy_of(project, "late"), copy_of(project, "forged")
    now = int(time.time())
    log = carried(project).log()
    assert log.head is not None

    def say(path: Path, moment: int, signer: TestSigner) -> None:
        assert log.head is not None
        text = Fresh(log.repository, log.head, moment).text()
        line = FreshLine(log.head, moment, signer.sign(text).data)
        keep_fresh(carried(path).layout, log.repository, line)

    say(project, now - 5, OWNER)
    say(late, now - 90_000, OWNER)
    say(forged, now, TestSigner(9))
    home, other, third = (nodes.make_home(tmp_path / name) for name in ("n1", "n2", "n3"))
    with (
        nodes.serving(carried(late), home=other) as second,
        nodes.serving(carried(forged), home=third) as liar,
    ):
        nodes.list_mirrors(home, carried(project), url_of(second), url_of(liar))
        with nodes.serving(carried(project), home=home) as first:
            rows = {row["url"]: row for row in asked(person, url_of(first))["asked"]}
            mine, theirs, made_up = (rows[url_of(each)] for each in (first, second, liar))
            assert (mine["fresh"], theirs["fresh"]) == (now - 5, now - 90_000)
            assert made_up["fresh"] == made_up["time"]
            assert "freshness does not count" in made_up["trouble"]
            done = person.gittorrent("mirrors", url_of(first)).ok()
            (old,) = [line for line in done.out.splitlines() if url_of(second) in line]
            assert " ago, old" in old
            (new,) = [line for line in done.out.splitlines() if url_of(first) in line]
            assert "old" not in new
            assert f"warning: {url_of(liar)}: its statement of freshness" in done.err
