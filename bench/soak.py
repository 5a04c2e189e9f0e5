"""A soak: mirrors of many repositories, pushed to while nodes end, networks part and clocks jump.

An origin and mirrors run in network namespaces, each a node that follows all repositories. People
push with stock git at mirrors drawn by lot, some at once and against each other; they rewind,
delete and merge; the owner publishes. Meanwhile nodes are ended, killed, left away for a while and
started again, the network is divided and joined, and clocks are moved by minutes, days and months.
Then clocks are right again, all run, and must come to the same: everything final, nothing lost,
nothing left over, no more memory and descriptors than before. The clock of the origin, whose node
is the keeper, leaps 40 days ahead now and then: nothing that it signs may be dated ahead.

Some mirrors are never ended and have right clocks: what they use after ten minutes and at the end
says how nodes grow. Ends with 1 when something does not hold, and says what. The seed is printed,
and gives the same steps again; how they fall into each other is the machine's.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import netns
from frame import RESULTS, BenchError, machine, refresh, say, table
from soak_end import broken, complaints, dated_ahead, left_over, lost, wait_until_current
from soak_people import BRANCHES, LARGE, TOPICS, People
from soak_sites import BIN, COMPILER, Sites
from soak_watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from soak_sites import Repository, Site

CURRENT_SECONDS = 1200.0
"""Time that all get to be current in the end: calls to those who were away back off to 300 s."""

COPY_SECONDS = 2.0
"""More of it for each copy of a repository: it has to come first, and is looked at with git."""

EARLY_SECONDS = 600.0
"""After so long a node has warmed up; what it uses then is compared with that in the end."""

FSCKS = 20
"""Repositories that ``git fsck`` looks at in the end."""

JUMPS = (-40 * 86400, -86400, -3600, -120, -5, 5, 120, 3600, 86400, 40 * 86400)
"""Seconds by which a clock may be off."""

MAX_FILES_GROWTH = 30
"""Descriptors that a node may have in the end beyond the most it had before: what it needs is
opened when it is needed first."""

LAST_SAMPLES = 12
"""Those that are of the end: the last minute."""

STEPS = {
    "push": 50,
    "race": 10,
    "rewind": 6,
    "delete": 4,
    "merge": 8,
    "publish": 4,
    "kill": 5,
    "restart": 5,
    "leave": 4,
    "come back": 6,
    "divide": 3,
    "join": 6,
    "clock": 5,
    "leap": 2,
}
"""How often each step is taken, relative to the others; one that cannot be taken counts as well."""


@dataclass
class Outcome:
    """What a soak found.

    Args:
        steps: how often each was taken.
        current: seconds after the last step until everything was current everywhere.
        wrong: what does not hold, a line each.
        people: who pushed.
        watch: what the nodes used.
        seconds: that steps were taken for.
        began: when they began, in seconds since the watch did.
        steady: names of mirrors that were never ended.
        left: how many processes and temporary files were left, complaints and lost pushes there
            were, by what they are.
    """

    steps: Counter[str]
    current: float
    wrong: list[str]
    people: People
    watch: Watch
    seconds: float
    began: float
    steady: list[str]
    left: dict[str, int]


@dataclass
class Soak:
    """One soak.

    Args:
        sites: the machines, not running yet.
        repositories: how many there are.
        seconds: for which steps are drawn and taken.
        seed: of all that is drawn.
        rounds: each of every step once, among pushes, before any is drawn.
        steady: mirrors that are never ended and whose clocks are right.
    """

    sites: Sites
    repositories: int
    seconds: float
    seed: int
    rounds: int = 0
    steady: int = 0
    tell: Callable[[str], None] = say
    steps: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    left: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.sites.sites)
        self._disturbed = self.sites.sites[: max(1, count - self.steady)]
        self._patience = CURRENT_SECONDS + COPY_SECONDS * count * self.repositories
        self._draw = random.Random(self.seed)
        self._is_ahead = False
        self._people = People(self.sites, random.Random(self.seed + 1))
        self._watch = Watch(self.sites)

    def run(self) -> Outcome:
        """Do all of it.

        Raises:
            BenchError: a program failed that must not.
        """
        self._begin()
        began = time.monotonic()
        with self._watch.looking():
            self._disturb()
            took = time.monotonic() - began
            current = self._settle()
        self._check()
        steady = [site.name for site in self.sites.sites[len(self._disturbed) :]]
        since = began - self._watch.began
        return Outcome(
            self.steps, current, self.wrong, self._people, self._watch, took, since, steady,
            self.left,
        )  # fmt: skip

    # -- phases

    def _begin(self) -> None:
        self.tell(f"publishing {self.repositories} repositories")
        self.sites.publish(self.repositories, self._people.begin())
        self.tell(f"starting {len(self.sites.sites)} nodes")
        for site in self.sites.sites:
            self.sites.serve(site)
        present = _Present(self.sites, self._patience, self.tell).wait()
        took, wrong = wait_until_current(present, self._patience)
        if wrong:
            raise BenchError(f"not all is carried after {took:.0f} s: {wrong[0]}")
        self.tell(f"all is carried after {took:.0f} s")

    def _disturb(self) -> None:
        end = time.monotonic() + self.seconds
        told = time.monotonic()
        names, weights = list(STEPS), list(STEPS.values())
        first = [name for _ in range(self.rounds) for name in self._draw.sample(names, len(names))]
        to_come = iter([each for name in first for each in (name, "push")])
        while (given := next(to_come, None)) is not None or time.monotonic() < end:
            name = given or self._draw.choices(names, weights)[0]
            if self._step(name):
                self.steps[name] += 1
            if time.monotonic() - told > 60:
                told = time.monotonic()
                peak = self._watch.peak() >> 20
                self.tell(
                    f"{sum(self.steps.values())} steps, {self._people.taken} pushes, {peak} MiB"
                )

    def _settle(self) -> float:
        self.sites.join()
        for site in self.sites.sites:
            self.sites.set_clock(site, 0)
            if site.process is None:
                self.sites.serve(site)
        self.tell("waiting until all are current")
        took, wrong = wait_until_current(self.sites, self._patience)
        self.wrong += wrong
        self.tell(f"{'not all' if wrong else 'all'} are current after {took:.0f} s")
        return took

    def _check(self) -> None:
        self.wrong += self._people.faults
        self._count("pushes lost", lost(self.sites, self._people.acknowledged))
        self._count("checkpoints dated ahead", dated_ahead(self.sites))
        self._count("broken repositories", broken(self.sites, self._draw, FSCKS))
        for site in self.sites.sites:
            self.wrong += self._used_too_much(site)
        for site in self.sites.sites:
            self.sites.stop(site)
        running = [f"{pid} still runs" for pid in netns.pids_in(self.sites.network.nodes)]
        self._count("processes left", running)
        self._count("files left", left_over(self.sites))
        self._count("errors logged", complaints(self.sites))

    def _count(self, what: str, found: list[str]) -> None:
        self.left[what] = len(found)
        self.wrong += found

    def _used_too_much(self, site: Site) -> Iterator[str]:
        samples = self._watch.samples[site.name, site.starts]
        now = self._watch.look(site)
        if now is None:
            yield f"the node of {site.name} is gone"
            return
        if now.zombies:
            yield f"the node of {site.name} has {now.zombies} zombies"
        most = max((one.files for one in samples[:-LAST_SAMPLES]), default=now.files)
        if now.files > most + MAX_FILES_GROWTH:
            yield f"the node of {site.name} has {now.files} descriptors open, {most} at most before"

    # -- steps

    def _step(self, name: str) -> bool:
        """Take a step; return whether it could be taken now."""
        steps: dict[str, Callable[[], bool]] = {
            "kill": lambda: self._end(self.sites.kill, again=True),
            "restart": lambda: self._end(self.sites.stop, again=True),
            "leave": self._leave,
            "come back": self._come_back,
            "divide": self._divide,
            "join": self._join,
            "clock": self._clock,
            "leap": self._leap,
            "publish": self._publish,
        }
        return steps.get(name, lambda: self._push(name))()

    def _push(self, name: str) -> bool:
        repository = self._draw.choice(self.sites.repositories)
        pair = list(self._people.names)
        self._draw.shuffle(pair)
        places = [self._draw.choice(self.sites.up) for _ in pair]
        branch, topic = self._draw.choice(BRANCHES), self._draw.choice(TOPICS)
        people, site = self._people, places[0]
        if name == "push":
            # Each at another repository, all at once.
            others = [self._draw.choice(self.sites.repositories) for _ in pair]
            with ThreadPoolExecutor(len(pair)) as pool:
                list(pool.map(people.advance, pair, places, others, [branch] * len(pair)))
        elif name == "race":
            people.race(list(zip(pair[:2], places[:2], strict=True)), repository, branch)
        elif name == "rewind":
            people.rewind(pair[0], site, repository, topic)
        elif name == "delete":
            people.delete(pair[0], site, repository, topic)
        else:
            people.merge(pair[0], site, repository)
        return True

    def _end(self, how: Callable[[Site], None], *, again: bool) -> bool:
        site = self._draw.choice([site for site in self._disturbed if site.process is not None])
        how(site)
        if again:
            self.sites.serve(site)
        return True

    def _leave(self) -> bool:
        up = [site for site in self._disturbed if site.process is not None]
        if len(up) <= 1 + len(self._disturbed) // 2:
            return False
        return self._end(self._draw.choice((self.sites.kill, self.sites.stop)), again=False)

    def _come_back(self) -> bool:
        gone = [site for site in self.sites.sites if site.process is None]
        if gone:
            self.sites.serve(self._draw.choice(gone))
        return bool(gone)

    def _divide(self) -> bool:
        if self.sites.is_apart:
            return False
        count = self._draw.randrange(1, len(self.sites.sites))
        self.sites.divide(self._draw.sample(self.sites.sites, count))
        return True

    def _join(self) -> bool:
        was_apart = self.sites.is_apart
        self.sites.join()
        return was_apart

    def _clock(self) -> bool:
        if self.sites.clock_library is None:
            return False
        self.sites.set_clock(self._draw.choice(self._disturbed), self._draw.choice(JUMPS))
        return True

    def _leap(self) -> bool:
        """Put the clock of the origin far ahead, where the keeper is, or right again."""
        if self.sites.clock_library is None:
            return False
        self._is_ahead = not self._is_ahead
        self.sites.set_clock(self.sites.origin, JUMPS[-1] if self._is_ahead else 0)
        return True

    def _publish(self) -> bool:
        """Commit in a repository of the origin, as its owner does, and publish it."""
        at, repository = self.sites.origin, self._draw.choice(self.sites.repositories)
        git = ("git", "-C", self.sites.path(at, repository))
        content = self._draw.randbytes(self._draw.randrange(LARGE))
        blob = self.sites.ok(at, *git, "hash-object", "-w", "--stdin", given=content)
        tree = self.sites.ok(at, *git, "mktree", given=f"100644 blob {blob}\towned\n".encode())
        branch = "refs/heads/owned"
        status, old = self.sites.run(at, *git, "rev-parse", "--verify", "-q", branch)
        parents = ["-p", old.strip()] if status == 0 else []
        commit = self.sites.ok(at, *git, "commit-tree", *parents, "-m", "owned", tree)
        self.sites.ok(at, *git, "update-ref", branch, commit)
        self.sites.ok(at, BIN / "gittorrent", "publish", git[2], "-q")
        return True


@dataclass
class _Present:
    """Waits until all sites have all repositories at all."""

    sites: Sites
    patience: float
    tell: Callable[[str], None]

    def wait(self) -> Sites:
        began = told = time.monotonic()
        pending = [(site, each) for site in self.sites.sites for each in self.sites.repositories]
        while pending := [pair for pair in pending if not self._is_here(*pair)]:
            now = time.monotonic()
            if now - began > self.patience:
                missing = self.sites.path(*pending[0])
                raise BenchError(f"{missing} did not come in {self.patience:.0f} s")
            if now - told > 60:
                told = now
                self.tell(f"{len(pending)} copies are still to come")
            time.sleep(0.5)
        return self.sites

    def _is_here(self, site: Site, each: Repository) -> bool:
        path = self.sites.path(site, each)
        return (path / "gittorrent" / "logs" / each.id / "log").exists()


@contextlib.contextmanager
def prepared(mirrors: int, root: Path) -> Iterator[Sites]:
    """Give an origin and mirrors for the block; whatever runs in them is killed after it."""
    with netns.built(mirrors + 1) as network:
        made = Sites.of(network, root)
        try:
            yield made
        finally:
            made.join()


def _report(outcome: Outcome, given: argparse.Namespace) -> str:
    """Return a section of the results."""
    watch = outcome.watch
    growths = sorted(watch.growths().values())
    last = [samples[-1] for samples in watch.samples.values() if samples]
    rows = [
        ["steps", ", ".join(f"{count} {name}" for name, count in outcome.steps.most_common())],
        ["pushes taken, rejected", f"{outcome.people.taken}, {outcome.people.rejected}"],
        ["all current and final after the last step", f"{outcome.current:.0f} s"],
        ["memory of a node: most, median of last", f"{watch.peak() >> 20} MiB, "
         f"{int(statistics.median(one.memory for one in last)) >> 20} MiB"],
        ["descriptors of a node: most, median of last",
         f"{max(one.files for found in watch.samples.values() for one in found)}, "
         f"{statistics.median(one.files for one in last):.0f}"],
        *([what, str(count)] for what, count in outcome.left.items()),
        ["wrong", str(len(outcome.wrong))],
    ]  # fmt: skip
    if growths:
        middle, worst = statistics.median(growths) / (1 << 20), growths[-1] / (1 << 20)
        shown = f"median {middle:.1f}, most {worst:.1f} ({len(growths)} nodes)"
        rows.insert(4, ["growth of nodes in the second half of their lives, MiB an hour", shown])
    date = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    head = (
        f"## soak: {given.mirrors} mirrors, {given.repositories} repositories\n\n"
        f"{date}; {outcome.seconds / 60:.0f} minutes, seed {given.seed};"
        f" load {os.getloadavg()[0]:.1f} at the end.\n{machine()}.\n\n"
    )
    return f"{head}{table(['', 'measured'], rows)}\n{_steady(outcome)}"


def _steady(outcome: Outcome) -> str:
    """Return what the mirrors used that were never ended, early and in the end."""
    warm = min(EARLY_SECONDS, outcome.seconds / 2)
    early, late = outcome.began + warm, outcome.began + outcome.seconds
    if not outcome.steady:
        return ""
    head = [
        "mirror that ran all the time",
        f"MiB after {warm / 60:.0f} min",
        *("MiB half way", "MiB in the end", "MiB an hour", "descriptors", "threads", "children"),
    ]
    rows, grown = [], []
    for name in outcome.steady:
        samples = outcome.watch.samples[name, 1]
        if len(samples) < 2:
            continue
        first, middle, last = (
            min(samples, key=lambda one: abs(one.seconds - at))
            for at in (early, (early + late) / 2, late)
        )
        grown.append(3600 * (last.memory - first.memory) / (last.seconds - first.seconds))
        pairs = [(first.files, last.files), (first.threads, last.threads),
                 (first.children, last.children)]  # fmt: skip
        rows.append([
            name, *(f"{one.memory / (1 << 20):.1f}" for one in (first, middle, last)),
            f"{grown[-1] / (1 << 20):.1f}", *(f"{before} to {after}" for before, after in pairs),
        ])  # fmt: skip
    return (
        f"\n{table(head, rows)}\n\nGrowth of these: median"
        f" {statistics.median(grown) / (1 << 20):.1f} MiB an hour.\n"
    )


def _arguments() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mirrors", type=int, default=20, metavar="N")
    parser.add_argument("--repositories", type=int, default=20, metavar="N")
    parser.add_argument("--minutes", type=float, default=30.0, help="for which steps are taken")
    parser.add_argument("--steady", type=int, default=5, metavar="N", help="mirrors never ended")
    parser.add_argument("--seed", type=int, default=None, help="of an earlier run, to repeat it")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE")
    parser.add_argument("--work", type=Path, metavar="DIR", help="directory for all files")
    parser.add_argument("--keep", action="store_true", help="leave the files there")
    given = parser.parse_args()
    if given.seed is None:
        given.seed = random.SystemRandom().randrange(1 << 32)
    return given


def main() -> int:
    """Run a soak as the command line says."""
    given = _arguments()
    say(f"seed {given.seed}")
    if shutil.which(COMPILER) is None:
        say(f"{COMPILER} is not installed (Debian, Ubuntu: apt install gcc): no clock jumps")
    root = Path(tempfile.mkdtemp(prefix="gittorrent-soak-", dir=given.work)).resolve()
    try:
        with prepared(given.mirrors, root) as sites:
            seconds, steady = 60 * given.minutes, min(given.steady, given.mirrors)
            soak = Soak(sites, given.repositories, seconds, given.seed, steady=steady)
            outcome = soak.run()
    except BenchError as error:
        sys.exit(f"{sys.argv[0]}: {error}")
    finally:
        if given.keep:
            say(f"files are in {root}")
        else:
            shutil.rmtree(root, ignore_errors=True)
    text = _report(outcome, given)
    print(text)
    for line in outcome.wrong:
        print(f"WRONG: {line}")
    refresh(given.results, f"soak: {given.mirrors}x{given.repositories}", text)
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
