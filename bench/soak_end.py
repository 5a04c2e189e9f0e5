"""What must hold when a soak is over: all sites current and alike, nothing lost, nothing left over.

Tracks nothing. Every check returns what is wrong, a line each; an empty list means that it holds.
Rules: it is looked at what lies on disk, where stock git would find it. Must not know what was done
to the nodes, besides when they were killed.
"""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from soak_people import Acknowledged
    from soak_sites import Repository, Site, Sites

LOOK_SECONDS = 0.5

AHEAD_SECONDS = 600
"""What mirrors allow."""

LEFT_IN_HOME = ("partial/*", "cache/*", "tmp/*", "run/*.json")
SCRATCH = ("gittorrent/incoming", "gittorrent/building", "gittorrent/uploads")
"""Directories of a repository in which nothing is that nobody is at work on."""

UNFINISHED = re.compile(r"\..*\.new\Z|\.?tmp_|incoming-|tmp_objdir-")
"""How files and directories begin that are about to get their names, of ours and of git's."""


def refs(sites: Sites, site: Site, repository: Repository) -> dict[str, str]:
    """Return branches, tags and open conflicts, as git has them at a site."""
    listed = sites.ok(
        site, "git", f"--git-dir={sites.path(site, repository)}", "for-each-ref",
        "--format=%(refname) %(objectname)", "refs/heads", "refs/tags", "refs/conflicts",
    )  # fmt: skip
    return dict(line.split(" ") for line in listed.splitlines())


def unfinal(sites: Sites, site: Site, repository: Repository) -> set[str]:
    """Return pushes in a site's log that no checkpoint has taken."""
    place = sites.path(site, repository) / "gittorrent" / "logs" / repository.id / "log"
    lines = [line.split(" ") for line in place.read_text().splitlines()[1:]]
    taken = {push for line in lines if line[1] == "checkpoint" for push in line[6:]}
    return {line[0] for line in lines if line[1] == "certificate"} - taken


def wait_until_current(sites: Sites, limit: float) -> tuple[float, list[str]]:
    """Wait until all show the same and all of it is final.

    Args:
        sites: all of them run, and reach each other.
        limit: seconds.

    Returns:
        Seconds that it took, and what is not current yet.
    """
    began = time.monotonic()
    pending = list(sites.repositories)
    while True:
        wrong = {each.name: _behind(sites, each) for each in pending}
        pending = [each for each in pending if wrong[each.name]]
        if not pending:
            # Something may have come to those that were looked at first.
            pending = [each for each in sites.repositories if _behind(sites, each)]
        took = time.monotonic() - began
        if not pending or took > limit:
            return took, [line for each in pending for line in _behind(sites, each)]
        time.sleep(LOOK_SECONDS)


def _behind(sites: Sites, repository: Repository) -> list[str]:
    """Return where a repository is not what it is at the origin, or not final."""
    wrong = []
    shown = refs(sites, sites.origin, repository)
    for site in sites.sites:
        if waiting := unfinal(sites, site, repository):
            wrong.append(f"{repository.name} at {site.name}: {len(waiting)} pushes are not final")
        elif refs(sites, site, repository) != shown:
            wrong.append(f"{repository.name} at {site.name}: other refs than at the origin")
    return wrong


def dated_ahead(sites: Sites) -> list[str]:
    """Return checkpoints that sites have adopted and that are dated ahead of the present."""
    found = []
    for site in sites.sites:
        for each in sites.repositories:
            place = sites.path(site, each) / "gittorrent" / "logs" / each.id / "log"
            lines = [line.split(" ") for line in place.read_text().splitlines()[1:]]
            times = [int(line[3]) for line in lines if line[1] == "checkpoint"]
            if max(times) > time.time() + AHEAD_SECONDS:
                found.append(f"{each.name} at {site.name} has a checkpoint dated {max(times)}")
    return found


def lost(sites: Sites, acknowledged: list[Acknowledged]) -> list[str]:
    """Return commits that were acknowledged and are in no branch or conflict at the origin."""
    at = sites.origin
    found = []
    for each in acknowledged:
        shown = sites.ok(
            at, "git", f"--git-dir={sites.path(at, each.repository)}", "for-each-ref", "--count=1",
            f"--contains={each.commit}", "refs/heads", "refs/conflicts",
        )  # fmt: skip
        if not shown:
            found.append(f"{each.commit} of {each.repository.name} was acknowledged and is lost")
    return found


def broken(sites: Sites, draw: random.Random, count: int) -> list[str]:
    """Return what ``git fsck`` says of some repositories at some sites."""
    pairs = [(site, each) for site in sites.sites for each in sites.repositories]
    found = []
    for site, each in draw.sample(pairs, min(count, len(pairs))):
        words = ("git", f"--git-dir={sites.path(site, each)}", "fsck", "--full", "--no-dangling")
        status, said = sites.run(site, *words)
        if status != 0:
            found.append(f"git fsck of {each.name} at {site.name}: {said.strip()}")
    return found


def left_over(sites: Sites) -> list[str]:
    """Return temporary files of nodes that were all ended, younger than the last one killed there.

    What a node leaves that is killed goes when the next one is at work there, or when it is old.
    """
    found = []
    for site in sites.sites:
        left = [path for pattern in LEFT_IN_HOME for path in _in_home(site, pattern)]
        for each in sites.repositories:
            left += _left_in_repository(sites.path(site, each))
        for path in left:
            if path.stat().st_mtime > site.killed:
                found.append(f"{path.relative_to(sites.root)} is left")
    return found


def _left_in_repository(git_dir: Path) -> list[Path]:
    found = []
    for base, folders, files in os.walk(git_dir):
        place = Path(base)
        inside = place.relative_to(git_dir)
        is_ours = inside.parts[:1] == ("gittorrent",)  # our lock files stay
        for name in (*folders, *files):
            is_lock = name.endswith(".lock") and not is_ours
            if str(inside) in SCRATCH or is_lock or UNFINISHED.match(name):
                found.append(place / name)
    return found


def _in_home(site: Site, pattern: str) -> list[Path]:
    root = site.home if pattern.startswith("tmp") else site.home / "node"
    return list(root.glob(pattern))


def complaints(sites: Sites) -> list[str]:
    """Return lines of the nodes' logs that nobody expects: errors, tracebacks, what is not JSON."""
    found = []
    for site in sites.sites:
        for line in site.log.read_text(errors="replace").splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                event = None
            if not isinstance(event, dict):
                found.append(f"{site.name}: {line}")
            elif event.get("level") == "error" or "Traceback" in line:
                found.append(f"{site.name}: {event.get('event')}: {line[:2000]}")
    return found
