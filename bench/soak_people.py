"""Those who push in a soak: several signers with stock git, at whichever mirror is next to them.

Tracks what was acknowledged. Somebody fetches a branch from a mirror, commits, and pushes there;
may be told that somebody else was first; rewinds and deletes branches below ``refs/heads/topic``,
and those alone; and merges what is in conflict.

Rules: one person does one thing at a time; several may push at once. Whatever a mirror answers
that is neither taken nor "rejected" is a fault. Must not know how mirrors are disturbed meanwhile.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from soak_sites import Repository, Site, Sites

KINDS = ("ed25519", "ecdsa", "rsa")
"""Of the people's keys."""

BRANCHES = ("refs/heads/main", "refs/heads/next", "refs/heads/maint")
"""Nobody rewinds or deletes these: what is acknowledged there is never lost."""

TOPICS = ("refs/heads/topic/one", "refs/heads/topic/two")

LARGE = 1 << 18
"""Bytes of the largest file that is pushed."""


@dataclass(frozen=True)
class Acknowledged:
    """A commit that a mirror said it had taken, into a branch that never loses any."""

    repository: Repository
    commit: str


@dataclass
class People:
    """All who push, and what became of it."""

    sites: Sites
    draw: random.Random
    names: tuple[str, ...] = KINDS
    acknowledged: list[Acknowledged] = field(default_factory=list)
    taken: int = 0
    rejected: int = 0
    faults: list[str] = field(default_factory=list)
    number: int = 0

    def begin(self) -> list[Path]:
        """Make keys and object stores; return the public keys' files."""
        found = []
        for kind in self.names:
            self.sites.ok(
                self.sites.origin, "ssh-keygen", "-q", "-t", kind, "-N", "", "-C", kind, "-f",
                self._place(kind, "key"),
            )  # fmt: skip
            self.sites.ok(
                self.sites.origin, "git", "init", "-q", "--bare", self._place(kind, "git")
            )
            found.append(self._place(kind, "key.pub"))
        return found

    def advance(self, person: str, site: Site, repository: Repository, branch: str) -> bool:
        """Fetch a branch from a site, commit, and push it there; tell whether it was taken."""
        base = self._fetched(person, site, repository, branch)
        commit = self._commit(person, site, [base])
        return self._push(person, site, repository, f"{commit}:{branch}")

    def race(self, pair: list[tuple[str, Site]], repository: Repository, branch: str) -> None:
        """Have several push different commits on one value of a branch, each at its own site."""
        bases = [self._fetched(person, site, repository, branch) for person, site in pair]
        for (person, site), base in zip(pair, bases, strict=True):
            commit = self._commit(person, site, [base])
            self._push(person, site, repository, f"{commit}:{branch}")

    def rewind(self, person: str, site: Site, repository: Repository, topic: str) -> None:
        """Replace what a topic branch is, whatever that was."""
        base = self._fetched(person, site, repository, BRANCHES[0])
        commit = self._commit(person, site, [base])
        self._push(person, site, repository, f"+{commit}:{topic}")

    def delete(self, person: str, site: Site, repository: Repository, topic: str) -> None:
        """Delete a topic branch where a site shows it."""
        if topic in self._shown(person, site, repository):
            self._push(person, site, repository, f":{topic}")

    def merge(self, person: str, site: Site, repository: Repository) -> None:
        """End a conflict that a site shows, if there is one, by a merge."""
        shown = self._shown(person, site, repository)
        ref = next((ref for ref in shown if ref.startswith("refs/conflicts/")), None)
        branch = next((b for b in (*BRANCHES, *TOPICS) if ref is not None and b[5:] in ref), None)
        if ref is None or branch is None or branch not in shown:
            return
        bases = [self._fetched(person, site, repository, each) for each in (branch, ref)]
        commit = self._commit(person, site, bases)
        self._push(person, site, repository, f"{commit}:{branch}")

    # -- with git

    def _fetched(self, person: str, site: Site, repository: Repository, ref: str) -> str:
        """Fetch what a site shows of a branch, or else of main; return the commit."""
        shown = self._shown(person, site, repository)
        ref = ref if ref in shown else BRANCHES[0]
        self._git(person, site, "fetch", "-q", "--no-tags", site.url(repository.name), ref)
        return self._git(person, site, "rev-parse", "FETCH_HEAD").strip()

    def _shown(self, person: str, site: Site, repository: Repository) -> dict[str, str]:
        listed = self._git(person, site, "ls-remote", site.url(repository.name))
        lines = [line.split("\t") for line in listed.splitlines()]
        return {ref: value for value, ref in lines}

    def _commit(self, person: str, site: Site, parents: list[str]) -> str:
        self.number += 1
        number = self.number
        size = 1 << self.draw.randrange(4, LARGE.bit_length())
        content = random.Random(number).randbytes(size)
        blob = self._git(person, site, "hash-object", "-w", "--stdin", given=content)
        entry = f"100644 blob {blob}\tfile{number % 50}\n".encode()
        tree = self._git(person, site, "mktree", given=entry)
        words = [word for parent in dict.fromkeys(parents) for word in ("-p", parent)]
        return self._git(person, site, "commit-tree", *words, "-m", f"{person} {number}", tree)

    def _push(self, person: str, site: Site, repository: Repository, spec: str) -> bool:
        url = site.url(repository.name, self.draw.choice(("http", "git")))
        settings = ("gpg.format=ssh", f"user.signingKey={self._place(person, 'key.pub')}")
        words = [word for setting in settings for word in ("-c", setting)]
        words += ["push", "--signed", url, spec]
        status, said = self.sites.run(site, "git", "-C", self._place(person, "git"), *words)
        commit, _, ref = spec.lstrip("+").partition(":")
        if status == 0:
            self.taken += 1
            if ref in BRANCHES:
                self.acknowledged.append(Acknowledged(repository, commit))
        elif "rejected]" in said:
            self.rejected += 1
        else:
            self.faults.append(f"a push of {spec} at {site.name}: {said}")
        return status == 0

    def _git(self, person: str, site: Site, *words: str | Path, given: bytes = b"") -> str:
        return self.sites.ok(site, "git", "-C", self._place(person, "git"), *words, given=given)

    def _place(self, person: str, what: str) -> Path:
        folder = self.sites.root / "people"
        folder.mkdir(exist_ok=True)
        return folder / f"{person}.{what}"
