"""The compiled indexer against ``git index-pack``: time, processor time and memory.

Both index the reel pack of the whole history, with the same checks: collision detection,
connectivity within the pack, and fsck's rules where the history keeps to them. The indexes are
compared byte for byte. Then both index two generated histories (`grown.py`), of which one is ten
times the other, packed by ``git repack``: time is to be linear, and memory bounded.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from frame import (
    Arguments,
    BenchError,
    Comparison,
    Contestant,
    Report,
    parse_arguments,
    ratio,
    run_benchmark,
    say,
)
from grown import Project
from measure import Usage, contestant_of, run
from scene import Scene, program, remove, staged

WALL_LIMIT = 0.35
"""Of git index-pack's wall time."""

CPU_LIMIT = 0.4
"""Of git index-pack's processor time."""

PEAK_LIMIT = 300.0
"""MiB, of a process that does nothing but index."""

LINEAR_LIMIT = 1.15
"""Time for each object in a history ten times larger, of that in the smaller one."""

COMMITS = 4000
"""Of the smaller generated history: some forty thousand objects."""


@dataclass(slots=True)
class Contest:
    """The runs of both so far.

    Args:
        scene: they are made in.
        reels: file with the repository's reels as JSON.
        pack: the reel pack.
        strict: whether fsck's rules are applied.
        ours: what the compiled indexer used.
        inside: its seconds without the start of Python.
        gits: what git used.
    """

    scene: Scene
    reels: Path
    pack: Path
    strict: bool = True
    ours: list[Usage] = field(default_factory=list)
    inside: list[float] = field(default_factory=list)
    gits: list[Usage] = field(default_factory=list)

    def compiled(self) -> Path:
        """Run the compiled indexer; return its index."""
        room = self.scene.room()
        room.mkdir()
        once = Path(__file__).with_name("index_once.py")
        mode = "strict" if self.strict else "plain"
        words: list[str | Path] = [sys.executable, once, self.reels, room, mode]
        used = run(words, self.scene.environ)
        self.ours.append(used)
        self.inside.append(float(used.output.split()[0]))
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
    """Index the repository, then the generated ones."""
    with staged(arguments.work) as scene:
        contestants, comparisons, strict = _index_repository(scene, arguments)
        if not arguments.quick:
            more = _index_grown(scene, arguments)
            contestants += more[0]
            comparisons += more[1]
    rules = "with" if strict else "without (the history breaks some)"
    method = (
        f"Collision detection and connectivity in both; {rules} fsck's rules. Same index.",
        "Memory of the compiled indexer: the default limit. Generated: histories of",
        f"{COMMITS:,} and {10 * COMMITS:,} commits; with fsck's rules.",
    )
    return Report("index", method, tuple(contestants), tuple(comparisons))


def _index_repository(
    scene: Scene, arguments: Arguments
) -> tuple[list[Contestant], list[Comparison], bool]:
    """Index by turns the reel of a whole history."""
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
        _take_turns(contest, number)
    compiled = contestant_of("gittorrent-native", contest.ours)
    rival = contestant_of("git index-pack", contest.gits)
    comparisons = [
        ratio("native / git", "wall s", compiled, rival, WALL_LIMIT),
        ratio("native / git", "CPU s", compiled, rival, CPU_LIMIT),
        _peak("native", compiled),
    ]
    return [compiled, rival], comparisons, contest.strict


def _index_grown(scene: Scene, arguments: Arguments) -> tuple[list[Contestant], list[Comparison]]:
    """Index two generated histories by turns, one ten times the other."""
    contests = [_grow(scene, COMMITS), _grow(scene, 10 * COMMITS)]
    sizes = [_mean_size(scene, contest.pack.parents[2]) for contest in contests]
    for number in range(arguments.runs):
        say(f"generated histories: run {number + 1} of {arguments.runs}")
        for contest in contests:
            _take_turns(contest, number)
    contestants, each = [], []
    for contest in contests:
        objects = json.loads(contest.reels.read_text(encoding="utf-8"))[0]["objects"]
        pair = [
            contestant_of(f"{who}, {objects:,} objects", used)
            for who, used in (("native", contest.ours), ("git", contest.gits))
        ]
        contestants += pair
        # The start of Python would hide how the time grows.
        each.append([median(contest.inside) / objects, pair[1].median("wall s") / objects])
    (native, git), (native_ten, git_ten) = each
    return contestants, [
        Comparison("ten times: bytes for each object", sizes[1] / sizes[0]),
        Comparison("ten times: native: wall for each object", native_ten / native, LINEAR_LIMIT),
        Comparison("ten times: git: wall for each object", git_ten / git),
        ratio("ten times: native / git", "wall s", contestants[2], contestants[3]),
        _peak("ten times: native", contestants[2]),
    ]


def _grow(scene: Scene, commits: int) -> Contest:
    """Generate a history and pack it; what to index."""
    say(f"generating a history of {commits:,} commits")
    home = scene.room()
    scene.git("init", "-q", "--bare", home)
    importer = subprocess.Popen(
        ["git", "-C", home, "fast-import", "--quiet", "--done"],
        stdin=subprocess.PIPE,
        env=scene.environ,
    )
    with importer:
        assert importer.stdin is not None
        Project(importer.stdin).write(commits)
    # The deltas have to be many, not the best.
    scene.git("-C", home, "repack", "-adfq", "--window=5")
    pack = next((home / "objects" / "pack").glob("pack-*.pack"))
    data = pack.read_bytes()
    reels = home / "reels.json"
    reel = {
        "pack": str(pack),
        "pack_size": len(data),
        "objects": int.from_bytes(data[8:12], "big"),
        "object_format": "sha1",
        "pack_checksum": data[-20:].hex(),
        "segments": [],
    }
    reels.write_text(json.dumps([reel]), encoding="utf-8")
    return Contest(scene, reels, pack)


def _mean_size(scene: Scene, repository: Path) -> float:
    """Return the size of an average object, not compressed, in bytes."""
    words = ["cat-file", "--batch-all-objects", "--batch-check=%(objectsize)"]
    found = scene.git("-C", repository, *words).split()
    return sum(map(int, found)) / len(found)


def _take_turns(contest: Contest, number: int) -> None:
    """Let both index once; who begins changes with the number."""
    turns = [contest.compiled, contest.git]
    if number % 2:
        turns.reverse()
    one, other = (turn() for turn in turns)
    if one.read_bytes() != other.read_bytes():
        raise BenchError("the two indexes differ")
    remove(one.parent, other.parent)


def _peak(who: str, contestant: Contestant) -> Comparison:
    highest = max(next(f.values for f in contestant.figures if f.metric == "peak MiB"))
    return Comparison(f"{who}: highest peak", highest, PEAK_LIMIT, " MiB")


def _keeps_rules(contest: Contest) -> bool:
    """Tell whether git takes the pack with --strict; not counted as a run."""
    try:
        remove(contest.git().parent)
    except BenchError:
        return False
    finally:
        contest.gits.clear()
    return True


if __name__ == "__main__":
    run_benchmark(parse_arguments((__doc__ or "").splitlines()[0], runs=5, quick_runs=2), measure)
