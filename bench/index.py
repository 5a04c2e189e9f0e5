"""The compiled indexer against ``git index-pack``: time, processor time and memory.

Both index the reel pack of the whole history, with the same checks: collision detection,
connectivity within the pack, and fsck's rules where the history keeps to them. The indexes are
compared byte for byte.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from frame import (
    Arguments,
    BenchError,
    Contestant,
    Figure,
    Report,
    parse_arguments,
    ratio,
    run_benchmark,
    say,
)
from measure import MIB, Usage, run
from scene import Scene, program, remove, staged

WALL_LIMIT = 0.35
"""Of git index-pack's wall time."""

CPU_LIMIT = 0.4
"""Of git index-pack's processor time."""


@dataclass(slots=True)
class Contest:
    """The runs of both so far.

    Args:
        scene: they are made in.
        reels: file with the repository's reels as JSON.
        pack: the reel pack.
        strict: whether fsck's rules are applied.
        ours: what the compiled indexer used.
        gits: what git used.
    """

    scene: Scene
    reels: Path
    pack: Path
    strict: bool = True
    ours: list[Usage] = field(default_factory=list)
    gits: list[Usage] = field(default_factory=list)

    def compiled(self) -> Path:
        """Run the compiled indexer; return its index."""
        room = self.scene.room()
        room.mkdir()
        once = Path(__file__).with_name("index_once.py")
        mode = "strict" if self.strict else "plain"
        words: list[str | Path] = [sys.executable, once, self.reels, room, mode]
        self.ours.append(run(words, self.scene.environ))
        return room / "reel.idx"

    def git(self) -> Path:
        """Run git index-pack; return its index."""
        room = self.scene.room()
        self.scene.git("init", "-q", "--bare", room)
        copy = room / "reel.pack"
        copy.hardlink_to(self.pack)
        words: list[str | Path] = ["git", "-C", room, "index-pack", "--rev-index"]
        words += ["--check-self-contained-and-connected", *(["--strict"] if self.strict else [])]
        self.gits.append(run([*words, copy], self.scene.environ))
        return room / "reel.idx"


def measure(arguments: Arguments) -> Report:
    """Index by turns."""
    with staged(arguments.work) as scene:
        say("publishing the repository")
        home = scene.room()
        published, _ = scene.publish(scene.copy_bare(arguments.repository), home, "--wait")
        words = [*program(), "reel", "show", published.path, "--json"]
        shown = run(words, scene.with_home(home)).output
        reels = home / "reels.json"
        reels.write_bytes(shown)
        pack = next((published.path / "objects" / "pack").glob("pack-*.keep")).with_suffix(".pack")
        contest = Contest(scene, reels, pack)
        contest.strict = _keeps_rules(contest)
        for number in range(arguments.runs):
            say(f"run {number + 1} of {arguments.runs}")
            turns = [contest.compiled, contest.git]
            if number % 2:
                turns.reverse()
            ours, gits = (turn() for turn in turns)
            if ours.read_bytes() != gits.read_bytes():
                raise BenchError("the two indexes differ")
            remove(ours.parent, gits.parent)
    compiled, rival = (
        _contestant("gittorrent-native", contest.ours),
        _contestant("git index-pack", contest.gits),
    )
    rules = "with" if contest.strict else "without (the history breaks some)"
    method = (f"Collision detection and connectivity in both; {rules} fsck's rules. Same index.",)
    comparisons = (
        ratio("native / git", "wall s", compiled, rival, WALL_LIMIT),
        ratio("native / git", "CPU s", compiled, rival, CPU_LIMIT),
    )
    return Report("index", method, (compiled, rival), comparisons)


def _keeps_rules(contest: Contest) -> bool:
    """Tell whether git takes the pack with --strict; not counted as a run."""
    try:
        remove(contest.git().parent)
    except BenchError:
        return False
    finally:
        contest.gits.clear()
    return True


def _contestant(name: str, used: list[Usage]) -> Contestant:
    return Contestant(
        name,
        (
            Figure("wall s", tuple(one.wall for one in used)),
            Figure("CPU s", tuple(one.cpu for one in used)),
            Figure("peak MiB", tuple(one.peak / MIB for one in used), 0),
        ),
    )


if __name__ == "__main__":
    run_benchmark(parse_arguments((__doc__ or "").splitlines()[0], runs=5, quick_runs=2), measure)
