"""The last scene of ``make demo``: the origin is gone, and everybody goes on without it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

from demo_stage import Mirror, Published, Stage

Check = Callable[[bool, str], None]
"""Judges one claim."""


def publish_more(on: Stage, repository: Published) -> tuple[str, str]:
    """Publish one more commit on the repository's branch; returns the branch and the commit."""
    git = ("git", f"--git-dir={repository.path}")
    branch = on.run(*git, "symbolic-ref", "HEAD")
    tip = on.run(*git, "rev-parse", branch)
    words = (*git, "commit-tree", f"{tip}^{{tree}}", "-p", tip, "-m", "The last word of the origin")
    commit = on.run(*words)
    on.run(*git, "update-ref", branch, commit, tip)
    on.run("gittorrent", "publish", str(repository.path), "--wait", "--quiet")
    return branch.removeprefix("refs/heads/"), commit


def lose_the_origin(
    on: Stage,
    origin: Mirror,
    news: Mirror,
    behind: Mirror,
    repository: Published,
    url: str,
    clone: Path,
    check: Check,
) -> None:
    """Let one mirror have a commit more than the others, stop the origin, and see who gets it.

    Args:
        on: the stage.
        origin: the node that is stopped.
        news: the mirror that has the newest commit.
        behind: a mirror that has not.
        repository: what is cloned.
        url: of the repository at the origin, with its id.
        clone: made from the origin before.
        check: judges the claims.
    """
    mirror = ("gittorrent", "mirror", url, "--once", "--quiet")
    for node in (news, behind):
        on.run(*mirror, home=node.name)  # nothing new, but who else carries it
    branch, commit = publish_more(on, repository)
    on.run(*mirror, home=news.name)
    on.stop(origin)

    def judge(done: CompletedProcess[bytes], tip: CompletedProcess[bytes], claim: str) -> None:
        found = tip.stdout.decode().strip()
        holds = done.returncode == 0 and found == commit
        said = done.stderr.decode("utf-8", "replace").strip()
        check(holds, claim if holds else f"{claim}; {found} is there; it said: {said}")

    fetched = on.attempt("git", "-C", str(clone), "fetch", "--quiet", home="client")
    tip = on.attempt("git", "-C", str(clone), "rev-parse", f"origin/{branch}")
    judge(fetched, tip, f"git fetch brings the commit that only '{news.name}' has")
    for name, place in (("the same URL", url), ("its id alone", f"gittorrent://{id_in(url)}")):
        target = clone.parent / f"by-{name.replace(' ', '-')}"
        done = on.attempt("git", "clone", "--quiet", place, str(target), home="client")
        head = on.attempt("git", "-C", str(target), "rev-parse", "HEAD")
        judge(done, head, f"git clone by {name} gives a new clone")
    followed = on.attempt(*mirror, home=behind.name)
    kept = on.root / "nodes" / behind.name / "repositories" / repository.path.name
    head = on.attempt("git", f"--git-dir={kept}", "rev-parse", f"refs/heads/{branch}")
    judge(followed, head, f"the mirror '{behind.name}' follows another mirror")


def id_in(url: str) -> str:
    """Return the repository id of a pinned URL."""
    return url.partition("://")[2].partition("@")[0]
