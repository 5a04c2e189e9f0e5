"""Splicing against one reel of everything: reels a newcomer takes, and bytes encoded again.

The last commits of the main branch are published one after the other, by the command, onto a
publication of all that was before. Compared are the chain of reels that a newcomer takes then, the
same without splicing, one reel of everything, and the pack of ``git repack -adf``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from frame import (
    Arguments,
    BenchError,
    Comparison,
    Contestant,
    Figure,
    Report,
    parse_arguments,
    ratio,
    run_benchmark,
    say,
)
from measure import run
from scene import Scene, pack_bytes, remove, staged

from gittorrent.reel.build import build_reel
from gittorrent.reel.splicing import LEFT_ALONE, lasting_chain
from gittorrent.repository.carried import open_carried

if TYPE_CHECKING:
    from gittorrent.reel.path import ReelOffer
    from gittorrent.repository.carried import Carried

PUBLICATIONS = 200
QUICK_PUBLICATIONS = 40

CHAIN_LIMIT = 1.10
"""Bytes of the chain, of those of one reel: what newcomers pay so that it is not made anew."""


@dataclass(slots=True)
class Course:
    """What was seen while publishing.

    Args:
        walls: seconds of each publication.
        taken: reels that a newcomer takes after each.
        added: bytes of the reel of each publication itself.
        encoded: bytes of all reels that were made after the first one.
        unspliced: bytes of a chain without splicing.
        chain: bytes of the chain at the end.
    """

    walls: list[float] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    added: int = 0
    encoded: int = 0
    unspliced: int = 0
    chain: int = 0


def measure(arguments: Arguments) -> Report:
    """Publish commits one by one, then make one reel and one pack of the same."""
    count = QUICK_PUBLICATIONS if arguments.quick else PUBLICATIONS
    with staged(arguments.work) as scene:
        say("copying the repository")
        copy = scene.copy_bare(arguments.repository)
        tips = _last_commits(scene, copy, count + 1)
        branch = _keep_one_branch(scene, copy)
        course, carried = _publish_all(scene, copy, branch, tips)
        say("one reel of everything")
        whole = _one_reel(scene, carried)
        say("git repack -adf")
        packed = _repacked(scene, copy)
    spliced = Contestant(
        "spliced",
        (
            Figure("pack bytes", (float(course.chain),), 0),
            Figure("reels taken", tuple(map(float, course.taken)), 0),
            Figure("publish: wall s", tuple(course.walls)),
        ),
    )
    plain = Contestant(
        "without splicing",
        (
            Figure("pack bytes", (float(course.unspliced),), 0),
            Figure("reels taken", tuple(map(float, range(2, count + 2))), 0),
        ),
    )
    one = Contestant(
        "one reel", (Figure("pack bytes", (float(whole),), 0), Figure("reels taken", (1.0,), 0))
    )
    pack = Contestant("git repack -adf", (Figure("pack bytes", (float(packed),), 0),))
    logarithm = math.log2(count)
    method = (
        f"{count} publications of a commit each. Bytes of their own reels: {course.added:,};",
        f"of all reels that were made, spliced ones included: {course.encoded:,}.",
    )
    comparisons = (
        Comparison("reels taken, most", max(course.taken), LEFT_ALONE + logarithm, ""),
        Comparison("bytes encoded / bytes new", course.encoded / course.added, 1 + logarithm),
        ratio("spliced / one reel", "pack bytes", spliced, one, CHAIN_LIMIT),
        ratio("without splicing / one reel", "pack bytes", plain, one),
        ratio("spliced / git repack -adf", "pack bytes", spliced, pack),
    )
    return Report("splice", method, (spliced, plain, one, pack), comparisons)


def _last_commits(scene: Scene, copy: Path, count: int) -> list[str]:
    """Return the last commits of the main line, oldest first."""
    words = ("rev-list", "--first-parent", f"--max-count={count}", "HEAD")
    found = scene.git("-C", copy, *words).splitlines()[::-1]
    if len(found) < count:
        raise BenchError(f"the main branch has {len(found)} commits and {count} are needed")
    return found


def _keep_one_branch(scene: Scene, copy: Path) -> str:
    """Delete all refs but the branch of HEAD, whose name is returned."""
    branch = scene.git("-C", copy, "symbolic-ref", "HEAD")
    for ref in scene.git("-C", copy, "for-each-ref", "--format=%(refname)").splitlines():
        if ref != branch:
            scene.git("-C", copy, "update-ref", "-d", ref)
    return branch


def _publish_all(scene: Scene, copy: Path, branch: str, tips: list[str]) -> tuple[Course, Carried]:
    target, home, course = scene.linked_copy(copy), scene.room(), Course()
    for number, tip in enumerate(tips):
        scene.git("-C", target, "update-ref", branch, tip)
        used = scene.publish(target, home)[1]
        carried = open_carried(target)
        if number:
            course.walls.append(used.wall)
            course.taken.append(len(_chain(carried)))
        if number % 20 == 0:
            say(f"{number} of {len(tips) - 1} publications: {len(_chain(carried))} reels")
    reels = carried.reels.all()
    ids = carried.log().ids
    following = set(pairwise(ids))
    steps = [r for r in reels if r.manifest.start is not None]
    course.encoded = sum(reel.manifest.pack_size for reel in steps)
    own = [r for r in steps if (r.manifest.start, r.manifest.end) in following]
    course.added = sum(reel.manifest.pack_size for reel in own)
    first = [r.manifest.pack_size for r in reels if r.manifest.start is None]
    course.unspliced = course.added + first[0]
    if len(first) > 1 or len(own) != len(tips) - 1:
        raise BenchError("everything was spliced into one reel: take a larger repository")
    course.chain = sum(offer.pack_size for offer in _chain(carried))
    return course, carried


def _chain(carried: Carried) -> list[ReelOffer]:
    return lasting_chain(carried.reels.offers(carried.info.repository_id), carried.log().ids)


def _one_reel(scene: Scene, carried: Carried) -> int:
    work = scene.room()
    work.mkdir()
    refs = carried.log().final_refs.values()
    pack = build_reel(carried.layout.objects, carried.object_format, (), refs, work)
    assert pack is not None
    remove(work)
    return pack.size


def _repacked(scene: Scene, copy: Path) -> int:
    """Return the bytes of one pack of what the branch reaches."""
    target = scene.room()
    scene.git("clone", "-q", "--bare", "--no-local", f"file://{copy}", target)
    run(["git", "-C", target, "repack", "-adfq"], scene.environ)
    return pack_bytes(target)


if __name__ == "__main__":
    assert __doc__ is not None
    run_benchmark(parse_arguments(__doc__.splitlines()[0], runs=1, quick_runs=1), measure)
