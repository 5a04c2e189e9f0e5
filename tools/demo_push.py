"""A scene of ``make demo``: a contributor pushes at a mirror with stock git, a stranger in vain."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from demo_stage import DemoError, Mirror, Published, Stage, wait_until

Check = Callable[[bool, str], None]
"""Judges one claim."""

BRANCH = "refs/heads/contributed"
"""What is pushed."""


def push_at_a_mirror(
    on: Stage, origin: Mirror, depot: Mirror, others: list[Mirror], repository: Published,
    clone: Path, check: Check,
) -> None:  # fmt: skip
    """Let a contributor in, push at a mirror, and see that it shows everywhere.

    Args:
        on: the stage.
        origin: the node of the owner.
        depot: the mirror that is pushed to, by HTTP.
        others: further mirrors that run.
        repository: what is pushed to; its owner's key is the origin's.
        clone: of the repository, to push from.
        check: judges the claims.
    """
    if shutil.which("ssh-keygen") is None:
        check(True, "left out: stock git signs with ssh-keygen, which is not installed here")
        return
    keys = {name: make_key(on, name) for name in ("contributor", "stranger")}
    add = ("gittorrent", "policy", "add", f"{keys['contributor']}.pub", "refs/heads/*")
    on.run("gittorrent", "keeper", "here", str(repository.path))
    on.run(*add, "--repository", str(repository.path))
    commit = commit_on(on, clone)
    url = f"{depot.base}/{repository.name}.git"

    refused = push(on, clone, keys["stranger"], url)
    said = refused.stderr.decode()
    check(
        refused.returncode != 0 and "may not push" in said,
        f"the push of a stranger is refused at '{depot.name}', in words",
    )
    wait_until(lambda: is_known(on, depot, repository), f"{depot.name} has the new policy")
    began = time.monotonic()
    done = push(on, clone, keys["contributor"], url)
    check(
        done.returncode == 0,
        f"git push of the contributor is taken at '{depot.name}', with plain git",
    )
    if done.returncode:
        raise DemoError(f"git push failed:\n{done.stderr.decode()}")
    for node in (origin, *others):
        wait_until(partial(is_shown, on, node, repository, commit), f"{node.name} shows the push")
    check(True, f"after {time.monotonic() - began:.1f} s all nodes show it")
    wait_until(lambda: is_final(on, origin, repository), "the keeper has taken it")
    check(True, "the origin's node keeps the order: the push is final")


def make_key(on: Stage, name: str) -> Path:
    """Make an SSH key without a passphrase; returns the private half's path."""
    path = on.root / name
    on.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path))
    return path


def commit_on(on: Stage, clone: Path) -> str:
    """Make a commit on top of what a clone has, without touching its branches."""
    git = ("git", "-C", str(clone))
    words = ("commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", "The first push of a contributor")
    commit = on.run(*git, *words, home="client")
    on.run(*git, "update-ref", BRANCH, commit, home="client")
    return commit


def push(on: Stage, clone: Path, key: Path, url: str) -> subprocess.CompletedProcess[bytes]:
    """Push the branch with stock git, signed with a key."""
    settings = ("-c", "gpg.format=ssh", "-c", f"user.signingKey={key}")
    words = ("push", "--quiet", "--signed", url, BRANCH)
    return on.attempt("git", *settings, "-C", str(clone), *words, home="client")


def is_shown(on: Stage, node: Mirror, repository: Published, commit: str) -> bool:
    """Tell whether a node shows stock git the branch at a commit."""
    url = f"{node.base}/{repository.name}.git"
    found = on.run("git", "ls-remote", url, BRANCH, home="client")
    return found.partition("\t")[0] == commit


def is_known(on: Stage, node: Mirror, repository: Published) -> bool:
    """Tell whether a node has the third version of the policy: the keeper's, and the people's."""
    told = json.loads(on.run("gittorrent", "log", repository.name, "--json", home=node.name))
    return len([entry for entry in told if entry["kind"] == "policy"]) > 2


def is_final(on: Stage, node: Mirror, repository: Published) -> bool:
    """Tell whether the keeper has put every push in order that a node knows."""
    told = json.loads(on.run("gittorrent", "log", str(repository.path), "--json", home=node.name))
    return all(entry["final"] is True for entry in told if entry["kind"] == "certificate")
