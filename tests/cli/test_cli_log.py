"""`log` and `conflicts`: who pushed what, what became of it, and how to merge what is open."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gittorrent.cli.policy_place import person_in
from gittorrent.ids import Oid, RefName
from gittorrent.push.certificate import Line
from gittorrent.repository.carried import ORIGIN
from gittorrent.repository.signed_entries import EntrySigner
from gittorrent.store.carried_rows import CarriedRow
from gittorrent.store.database import Database
from gittorrent.trust.policy import Grant, Quorum
from gittorrent.trust.refpattern import RefPattern
from support import gitcmd
from support.programs import Person, somebody
from support.publishing import author, builder, carried, grow, let_push, publish, push_elsewhere
from support.signing import TestSigner

OWNER, BOB = TestSigner(), TestSigner(2)
MAIN = RefName(b"refs/heads/main")
RELEASE = RefName(b"refs/heads/release")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A published repository to which Bob may push branches; releases take him and the owner."""
    path = tmp_path / "project.git"
    grow(builder(path), 2)
    publish(path, name="project")
    quorum = Quorum(RefPattern(RELEASE), 2, tuple(sorted((OWNER.key, BOB.key))))
    let_push(path, BOB, pattern="refs/heads/*", grant=Grant.PLAIN, quorums=(quorum,))
    return path


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return somebody(tmp_path / "person")


def value(project: Path, name: str = "main") -> Oid:
    return Oid(gitcmd.text(project, "rev-parse", name))


def commit(project: Path, text: str, parent: str = "main") -> Oid:
    words = ["commit-tree", f"{parent}^{{tree}}", "-p", parent, "-m", text]
    return Oid(gitcmd.text(project, *words))


def read(person: Person, command: str, project: Path) -> Any:
    return json.loads(person.gittorrent(command, project, "--json").ok().out)


def pushes(person: Person, project: Path) -> list[dict[str, Any]]:
    entries = read(person, "log", project)
    return [entry for entry in entries if entry["kind"] == "certificate"]


def test_pushes_are_provisional_until_the_keeper_signs(person: Person, project: Path) -> None:
    before, new = value(project), commit(project, "by Bob")
    push_elsewhere(project, [Line(before, new, MAIN)], BOB)
    newest, oldest = pushes(person, project)
    assert (newest["final"], newest["checkpoint"], newest["signer"]) == (False, None, str(BOB.key))
    assert newest["changes"] == [
        {
            "ref": "refs/heads/main",
            "change": "moved",
            "old": before,
            "new": new,
            "verdict": "applied",
            "reason": None,
        }
    ]
    assert oldest["final"] is True
    shown = person.gittorrent("log", project).ok().out
    assert "1 push is not final: the keeper last signed" in shown
    assert "  provisional\n" in shown
    assert f"certificate by {BOB.key} (P Usher <push@example.org>" in shown
    publish(project)
    assert [entry["final"] for entry in pushes(person, project)] == [True, True]
    kinds = [entry["kind"] for entry in read(person, "log", project)]
    assert kinds == [
        "checkpoint", "certificate", "checkpoint", "policy", "checkpoint", "certificate",
        "checkpoint", "policy",
    ]  # fmt: skip


def test_conflicts_say_whose_they_are_and_how_to_merge(person: Person, project: Path) -> None:
    before = value(project)
    ours, theirs = commit(project, "ours"), commit(project, "theirs")
    push_elsewhere(project, [Line(before, ours, MAIN)], OWNER, keeper=OWNER)
    assert "no conflicts" in person.gittorrent("conflicts", project).ok().out
    (late,) = push_elsewhere(project, [Line(before, theirs, MAIN)], BOB)
    found = read(person, "conflicts", project)
    name = f"refs/conflicts/{late}/heads/main"
    (conflict,) = found["conflicts"]
    assert (conflict["name"], conflict["value"], conflict["current"]) == (name, theirs, ours)
    assert (conflict["key"], conflict["final"]) == (str(BOB.key), False)
    assert conflict["steps"] == [
        "git switch main",
        "git pull",
        f"git pull REMOTE {name}",
        "git push",
    ]
    shown = person.gittorrent("conflicts", project).ok().out
    assert f"{theirs}, pushed by {BOB.key} (P Usher" in shown
    assert "the keeper has not put that in order yet" in shown
    newest = pushes(person, project)[0]["changes"][0]
    assert (newest["verdict"], newest["reason"]) == (
        "conflict",
        "the ref has moved: fetch, merge, and push again",
    )
    assert "conflict: the ref has moved" in person.gittorrent("log", project).ok().out
    push_elsewhere(project, [], OWNER, keeper=OWNER)
    assert read(person, "conflicts", project)["conflicts"][0]["final"] is True
    assert pushes(person, project)[0]["changes"][0]["reason"] == newest["reason"]
    merged = ["commit-tree", f"{ours}^{{tree}}", "-p", ours, "-p", theirs, "-m", "merged"]
    merge = Oid(gitcmd.text(project, *merged))
    push_elsewhere(project, [Line(ours, merge, MAIN)], OWNER, keeper=OWNER)
    assert read(person, "conflicts", project)["conflicts"] == []


def test_lines_that_wait_for_others_to_agree(person: Person, project: Path) -> None:
    new = value(project)
    push_elsewhere(project, [Line(None, new, RELEASE)], BOB)
    (waiting,) = read(person, "conflicts", project)["waiting"]
    assert (waiting["ref"], waiting["have"], waiting["needs"]) == ("refs/heads/release", 1, 2)
    assert waiting["others"] == [str(OWNER.key)]
    shown = person.gittorrent("conflicts", project).ok().out
    assert "refs/heads/release waits: -" in shown
    assert "1 of 2 agree" in shown
    push_elsewhere(project, [Line(None, new, RELEASE)], OWNER)
    assert read(person, "conflicts", project)["waiting"] == []
    assert carried(project).log().refs[RELEASE] == new


def test_a_push_from_a_time_without_dates(person: Person, project: Path) -> None:
    new = commit(project, "late")
    push_elsewhere(project, [Line(value(project), new, MAIN)], BOB, now=999_999_999_999)
    assert pushes(person, project)[0]["date"] == "9999-12-31T23:59:59+00:00"
    assert "9999-12-31" in person.gittorrent("log", project).ok().out


def test_rewound_and_deleted_refs_are_marked(person: Person, project: Path) -> None:
    new = commit(project, "side", parent="main~1")
    push_elsewhere(project, [Line(value(project), new, MAIN)], OWNER, keeper=OWNER)
    assert "refs/heads/main (rewound)" in person.gittorrent("log", project).ok().out


def test_a_pusher_whom_git_names_by_a_key_has_no_stray_blank(person: Person, project: Path) -> None:
    line, named = Line(value(project), commit(project, "more"), MAIN), BOB.key.fingerprint
    push_elsewhere(project, [line], BOB, pusher=f"{named} ".encode())
    assert pushes(person, project)[0]["pusher"] == named
    assert f"  certificate by {BOB.key}, 20" in person.gittorrent("log", project).ok().out


def test_git_names_a_key_where_a_person_could_stand() -> None:
    assert person_in("P Usher <push@example.org>") == "P Usher <push@example.org>"
    assert person_in(f"{OWNER.key.fingerprint} ") == ""


def test_what_a_later_policy_forbids_waits_for_no_keeper(person: Person, project: Path) -> None:
    """A mirror took it before it knew; the keeper, who knew, never hears of it."""
    place = carried(project)
    push_elsewhere(project, [Line(None, value(project), RefName(b"refs/heads/new"))], BOB)
    with place.writing():
        log = place.log()
        assert log.head is not None
        former = log.policy.policy
        rules = tuple(rule for rule in former.rules if rule.who != BOB.key)
        entries = EntrySigner(place, log, OWNER, author(1_700_000_000))
        entries.policy(former.next_version(log.head, rules=rules), ())
        place.commit(log)
    newest = pushes(person, project)[0]
    assert newest["changes"][0]["verdict"] == "refused"
    assert newest["state"] == "refused: no checkpoint has to take it"
    assert "not final" not in person.gittorrent("log", project).ok().out
    shown = json.loads(person.gittorrent("keeper", "show", project, "--json").ok().out)
    assert shown["waiting"] == 0
    database = Database(person.node / "node.sqlite")
    try:
        name, repository = place.info.name, place.info.repository_id
        database.carry(CarriedRow(name, repository, str(place.layout.git_dir), ORIGIN))
    finally:
        database.close()
    (row,) = json.loads(person.gittorrent("status", "--json").ok().out)["repositories"]
    assert (row["pushes"], row["not_final"]) == (2, 0)
