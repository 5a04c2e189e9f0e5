"""What commands about pushes print with --json is what docs/commands.md says."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gittorrent.ids import Oid, RefName
from gittorrent.push.certificate import Line
from gittorrent.signing.keys import make_ssh_key, resolve_signer
from support import bulk, gitcmd
from support.programs import somebody
from support.publishing import push_elsewhere

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not here")

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"

REFERS = {
    "policy remove": ("policy add",),
    "policy sign": ("policy add",),
    "keeper here": ("policy add",),
    "keeper show": ("status",),
    "policy diff": ("policy show",),
    "policy log": ("policy show",),
}
"""Sections that name another one for fields."""


def words_of(command: str) -> set[str]:
    """Return what stands in code in a command's section, and in those that it refers to."""
    text = PAGE.read_text(encoding="utf-8")
    found: set[str] = set()
    for name in (command, *REFERS.get(command, ())):
        section = text.split(f"\n## `gittorrent {name}`\n")[1].split("\n## ")[0]
        found.update(re.findall(r"`([a-z_]+)`", section))
    return found


def fields(value: Any) -> Iterator[str]:
    """Yield the names of all fields in what a command printed."""
    if isinstance(value, dict):
        for name, inside in value.items():
            yield name
            yield from fields(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from fields(inside)


def commit(project: Path, text: str) -> Oid:
    words = ["commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", text]
    return Oid(gitcmd.text(project, *words))


def test_every_field_is_documented(tmp_path: Path) -> None:
    owner = somebody(tmp_path / "person")
    project = bulk.make_small(tmp_path / "project.git")
    keys = {name: tmp_path / name for name in ("owner", "alice", "bob")}
    for name, path in keys.items():
        make_ssh_key(path, f"{name}@example.org")
    alice, bob = (Path(f"{keys[name]}.pub") for name in ("alice", "bob"))
    here = ("-r", project)

    def said(command: str, *words: str | Path) -> set[str]:
        done = owner.gittorrent(*command.split(), *words, "--json").ok()
        return set(fields(json.loads(done.out)))

    found = {
        "publish": said("publish", project, "--key", keys["owner"], "--wait"),
        "policy add": said("policy add", alice, "refs/heads/*", *here),
    }
    said("policy add", alice, bob, "refs/heads/release", "--quorum", "2", *here)
    said("policy add", "--mirror", "git://mirror.example.org/project.git", *here)
    tip = Oid(gitcmd.text(project, "rev-parse", "HEAD"))
    branch = RefName(gitcmd.text(project, "symbolic-ref", "HEAD").encode())
    ours, theirs = commit(project, "ours"), commit(project, "theirs")
    signers = [resolve_signer(str(keys[name]), {}) for name in ("owner", "alice")]
    push_elsewhere(project, [Line(tip, ours, branch)], signers[0], keeper=signers[0])
    push_elsewhere(project, [Line(tip, theirs, branch)], signers[1])
    push_elsewhere(project, [Line(None, tip, RefName(b"refs/heads/release"))], signers[1])
    found["conflicts"] = said("conflicts", project)
    found["log"] = said("log", project)
    found["keeper show"] = said("keeper show", project)
    found["status"] = said("status")
    found["mirrors"] = said("mirrors", project)
    found["verify"] = said("verify", project)
    words = ("refs/heads/release", "--quorum", "--no-sign", *here)
    found["policy remove"] = said("policy remove", *words)
    found["policy show"] = said("policy show", project)
    found["policy diff"] = said("policy diff", *here)
    found["policy sign"] = said("policy sign", *here)
    found["policy log"] = said("policy log", project)
    found["keeper here"] = said("keeper here", project)
    missing = {
        command: sorted(names - words_of(command))
        for command, names in found.items()
        if names - words_of(command)
    }
    assert not missing
    assert {"conflicts", "waiting", "steps", "others"} <= found["conflicts"]
    assert {"draft", "rules", "labels", "quorums"} <= found["policy show"]
