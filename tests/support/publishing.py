"""Repositories to publish, publishers for them, and what publishing left behind, to compare."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from gittorrent.git.repository import find_repository
from gittorrent.ids import PushId
from gittorrent.push.certificate import Line
from gittorrent.push.object import parse_push_object
from gittorrent.push.publication import HeadChange, parts_of
from gittorrent.repository.carried import Carried
from gittorrent.repository.layout import LOG_REF
from gittorrent.repository.publish import Published, Publisher
from gittorrent.repository.signed_entries import Author, EntrySigner
from gittorrent.repository.verify import Verifier
from gittorrent.signing.keys import Signer
from gittorrent.trust.policy import Grant, Rule
from gittorrent.trust.refpattern import RefPattern
from support import gitcmd
from support.objects import FILE, write_commit, write_object, write_tree
from support.repositories import Builder, prose
from support.signing import TestSigner

PERSON = b"P Usher <push@example.org>"


def builder(directory: Path, object_format: str = "sha1") -> Builder:
    """Make an empty bare repository with a builder for its history."""
    return Builder(gitcmd.init(directory, object_format), object_format)


def grow(b: Builder, commits: int, branch: str = "main", name: str = "f") -> None:
    """Add commits on top of a branch, each a new version of one file."""
    if not commits:
        return
    ref = f"refs/heads/{branch}"
    parent = gitcmd.refs(b.git_dir).get(ref.encode())
    entries: dict[str, tuple[str, str]] = {}
    for line in gitcmd.text(b.git_dir, "ls-tree", parent).splitlines() if parent else ():
        about, _, path = line.partition("\t")
        mode, _, oid = about.split(" ")
        entries[path] = (mode, oid)
    for number in range(commits):
        lines = prose(name, 30).splitlines(keepends=True)
        lines[number % 30] = f"{name} {number} {parent}\n".encode()
        entries[name] = (FILE, write_object(b.git_dir, "blob", b"".join(lines)))
        tree = write_tree(b.git_dir, entries)
        parent = write_commit(b.git_dir, tree, [parent] if parent else [], f"{name} {number}")
    assert parent is not None
    gitcmd.git(b.git_dir, "update-ref", ref, parent)


def carried(git_dir: Path) -> Carried:
    found = find_repository(git_dir)
    return Carried(found.git_dir, found.object_format)


def publish(
    git_dir: Path,
    *,
    name: str | None = None,
    patterns: tuple[str, ...] = (),
    now: int = 1_700_000_000,
    signer: Signer | None = None,
    note: Callable[[str], None] = lambda _text: None,
) -> Published:
    """Publish as the command does, with a made-up key and clock."""
    publisher = Publisher(carried(git_dir), signer or TestSigner(), author(now), note=note)
    return publisher.publish(name, patterns)


def let_push(git_dir: Path, *who: TestSigner, pattern: str, grant: Grant, **changes: Any) -> None:
    """Give keys a right in the next version of a repository's policy, and make that final."""
    this = carried(git_dir)
    with this.writing():
        log = this.log()
        assert log.head is not None
        entries = EntrySigner(this, log, TestSigner(), author(1_700_000_000))
        former = log.policy.policy
        rules = [Rule(RefPattern(pattern.encode()), signer.key, grant) for signer in who]
        policy = former.next_version(log.head, rules=(*former.rules, *rules), **changes)
        entries.policy(policy, log.policy.signed.certificates)
        if entries.is_keeper:
            entries.checkpoint()
        this.commit(log)


def note_entries(this: Carried, entries: Mapping[PushId, bytes]) -> None:
    """Put entries into a log and none of their objects, as when a mirror gives only its log.

    Args:
        this: the repository.
        entries: their file form.
    """
    pushes = {push_id: parse_push_object(data) for push_id, data in entries.items()}
    with this.writing():
        log = this.log()
        for push_id, push in pushes.items():
            log.admit(push, push_id)
        log.settle()
        this.log_store.store_pushes(pushes)
        this.store_entries(log)
        this.commit(log)


def push_elsewhere(
    git_dir: Path,
    lines: Iterable[Line],
    signer: Signer,
    *,
    head: HeadChange | None = None,
    keeper: Signer | None = None,
    now: int = 1_700_000_000,
    pusher: bytes = PERSON,
) -> list[PushId]:
    """Let another's push reach an origin's log, as from a mirror; its refs stay what they are.

    Args:
        git_dir: the origin, which has the objects.
        lines: the changes.
        signer: who pushes.
        head: what is to become of HEAD.
        keeper: who makes it final; None to leave it provisional.
        now: in seconds.
        pusher: whom the push names, as git does.
    """
    this = carried(git_dir)
    with this.writing():
        log = this.log()
        entries = EntrySigner(this, log, signer, author(now, pusher))
        for part in parts_of(lines, head):
            entries.push(part)
        made = entries.made
        if keeper is not None:
            EntrySigner(this, log, keeper, author(now)).checkpoint()
        this.commit(log)
    return made


def author(now: int, person: bytes = PERSON) -> Author:
    """Return who publishes, with a clock that stands still."""
    return Author(person, clock=lambda: float(now))


def outcome(git_dir: Path) -> dict[str, Any]:
    """Return what matters of a published repository, without ids that chance decides."""
    this = carried(git_dir)
    log = this.log()
    places = {push: number for number, push in enumerate(log.ids)}
    reels = [
        (
            -1 if reel.manifest.start is None else places[reel.manifest.start],
            places[reel.manifest.end],
            reel.manifest.pack_checksum,
            reel.is_available,
        )
        for reel in this.reels.all()
    ]
    kept = (this.layout.objects / "pack").glob("*.keep")
    return {
        "refs": {os.fsdecode(name): oid for name, oid in log.refs.items()},
        "kinds": [this.log_store.push(push).kind.value for push in log.entries],
        "reels": sorted(reels),
        "kept": sorted(path.stem for path in kept),
        "name": this.info.name,
        "patterns": list(this.info.patterns),
        "is its own": this.info.repository_id == log.repository,
        "log ref": gitcmd.text(git_dir, "rev-parse", LOG_REF) == log.head,
        "incoming": [path.name for path in this.layout.incoming.glob("*")],
        "findings": [f"{f.subject}: {f.problem}" for f in Verifier(this).run().findings],
        "replayed": this.log_store.replay().refs == log.refs,
    }
