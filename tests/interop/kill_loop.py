"""Kills everything at random, for as long as wanted: ``kill_loop.py --rounds 200 --seed N``.

Each round is one kill. Scenarios (``--only``) take turns with a few kills each; a failure names the
seed and the kill after which it happened, and leaves everything in ``--keep``'s directory.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from gittorrent.node.options import Options

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support import bulk, gitcmd, nodes
from support.copying import copy_tree
from support.kill_scenarios import SCENARIOS, Stage

KILLS = 6
"""Kills in a row before a scenario must end well."""


def main() -> int:
    """Kill for so many rounds; returns 1 if anything was found."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--rounds", type=int, default=100)
    words.add_argument("--seed", type=int, default=None)
    words.add_argument("--repository", type=Path, help="to publish; a generated one by default")
    words.add_argument("--only", choices=sorted(SCENARIOS), action="append")
    words.add_argument("--rate", type=int, default=8 << 20, help="bytes a second of the node")
    words.add_argument("--keep", type=Path, help="where to leave what failed")
    given = words.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="kill-loop-") as folder:
        return _loop(given, seed, Path(folder))


def _loop(given: argparse.Namespace, seed: int, root: Path) -> int:
    source = _source(given.repository, root / "source.git")
    (root / "key").mkdir()
    signer = nodes.signer(root / "key")
    copy_tree(source, root / "origin.git")
    origin = nodes.publish(root / "origin.git", signer, "project")
    names = given.only or sorted(SCENARIOS)
    options = Options(git=(("127.0.0.1", 0),), up_limit=given.rate, announce=False)
    kills: Counter[str] = Counter()
    failures = turn = 0
    with nodes.serving(origin, home=nodes.make_home(root / "home"), options=options) as served:
        while kills.total() < given.rounds:
            name = names[turn % len(names)]
            draw = random.Random(f"{seed} {turn}")
            place = root / f"{turn}-{name}"
            place.mkdir()
            stage = Stage(source, origin, root / "key" / "key", served, draw, place, KILLS)
            failed = _play(name, stage, kills, f"seed {seed} turn {turn}")
            failures += failed
            if failed and given.keep:
                copy_tree(place, given.keep / place.name, symlinks=True)
            shutil.rmtree(place, ignore_errors=True)
            turn += 1
    print(f"seed {seed}: {kills.total()} kills in {turn} turns, {failures} failures: {dict(kills)}")
    return 1 if failures else 0


def _play(name: str, stage: Stage, kills: Counter[str], where: str) -> int:
    """Play one scenario to its end; returns 1 if it failed."""
    began = time.monotonic()
    said: list[str] = []
    try:
        for place in SCENARIOS[name](stage):
            kills[name] += 1
            said.append(place)
    except Exception:
        print(f"FAILED {name}, {where}; killed: {'; '.join(said)}")
        traceback.print_exc()
        sys.stderr.flush()
        return 1
    print(f"{name}: {len(said)} kills, {time.monotonic() - began:.1f} s", flush=True)
    return 0


def _source(repository: Path | None, target: Path) -> Path:
    """Return a bare repository whose branch ``main`` is the one to publish."""
    if repository is None:
        return bulk.make_large(target)
    gitcmd.git(Path.cwd(), "clone", "-q", "--bare", str(repository), str(target))
    branch = gitcmd.text(target, "symbolic-ref", "HEAD")
    if branch != "refs/heads/main":
        gitcmd.git(target, "update-ref", "refs/heads/main", branch)
        gitcmd.git(target, "symbolic-ref", "HEAD", "refs/heads/main")
    gitcmd.git(target, "pack-refs", "--all")
    return target


if __name__ == "__main__":
    sys.exit(main())
