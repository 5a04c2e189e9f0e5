"""What all benchmarks share: the command line, how figures are kept, and where they are written.

A benchmark gathers figures of contestants (we and our rivals, measured by turns in one run) and
compares medians; comparisons may have a limit, which is met or missed. The report goes to the
terminal, to a section of ``RESULTS.md`` of its own, and as JSON to a file if one is named.

Rules: every figure keeps all its values, so that a median can be checked; a missed limit is
shown and is no failure of the program. Must not know what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NoReturn

from gittorrent import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RESULTS = Path(__file__).resolve().parent / "RESULTS.md"

TITLE = "# Benchmark results\n\nWritten by the programs here; README.md says what they do.\n"

BUSY_LOAD = 0.7
"""Load average beyond which a machine is not idle enough for its figures to be trusted."""


class BenchError(Exception):
    """A benchmark cannot be carried out; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """What the user asked for.

    Args:
        repository: to measure with.
        runs: measured runs of each contestant.
        quick: whether fewer and smaller runs will do.
        json: file for the report as JSON, or None.
        results: Markdown file whose section is replaced.
        work: directory for temporary copies, None for the system's.
    """

    repository: Path
    runs: int
    quick: bool
    json: Path | None
    results: Path
    work: Path | None

    @property
    def label(self) -> str:
        """The repository's name, without the path it lies at."""
        path = self.repository.absolute()  # a link's own name is the better one
        folder = path.parent if path.name == ".git" else path
        return folder.name.removesuffix(".git") or "repository"


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing measured of one contestant.

    Args:
        metric: what, with its unit: "wall s".
        values: of all runs, in the order they were made; not empty.
        digits: after the point, when shown.
    """

    metric: str
    values: tuple[float, ...]
    digits: int = 2

    @property
    def median(self) -> float:
        """The middle value."""
        return median(self.values)

    def shown(self) -> str:
        """Return the median, and the range where runs differ visibly."""
        low, high = (f"{value:,.{self.digits}f}" for value in (min(self.values), max(self.values)))
        middle = f"{self.median:,.{self.digits}f}"
        return middle if low == high else f"{middle} ({low}–{high})"


@dataclass(frozen=True, slots=True)
class Contestant:
    """Somebody who was measured, and the figures."""

    name: str
    figures: tuple[Figure, ...]

    def median(self, metric: str) -> float:
        """Return the median of one metric."""
        return next(figure.median for figure in self.figures if figure.metric == metric)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A ratio or a figure that there may be a limit for.

    Args:
        what: is compared with what.
        value: as measured; None for a ratio to nothing.
        limit: not to be exceeded, None where none was set.
        unit: behind both numbers: "x" for ratios, " s".
    """

    what: str
    value: float | None
    limit: float | None = None
    unit: str = "x"

    @property
    def verdict(self) -> str:
        """Tell whether the limit is met."""
        if self.limit is None or self.value is None:
            return ""
        return "met" if self.value <= self.limit else "MISSED"


@dataclass(frozen=True, slots=True)
class Report:
    """What a benchmark found.

    Args:
        benchmark: its name.
        method: how it was measured, a sentence a line.
        contestants: with their figures.
        comparisons: drawn from the medians.
    """

    benchmark: str
    method: tuple[str, ...]
    contestants: tuple[Contestant, ...]
    comparisons: tuple[Comparison, ...]


def ratio(
    what: str, metric: str, ours: Contestant, rival: Contestant, limit: float | None = None
) -> Comparison:
    """Compare the medians of one metric.

    Args:
        what: is shown; the metric's name is added.
        metric: one both contestants have.
        ours: the numerator.
        rival: the denominator.
        limit: that the ratio is not to exceed.
    """
    below = rival.median(metric)
    value = ours.median(metric) / below if below else None
    return Comparison(f"{what}: {metric}", value, limit)


def parse_arguments(purpose: str, runs: int, quick_runs: int) -> Arguments:
    """Read the command line that all benchmarks have.

    Args:
        purpose: of the benchmark, for --help.
        runs: measured runs of each contestant if the user does not say.
        quick_runs: the same with --quick.
    """
    parser = argparse.ArgumentParser(description=purpose)
    parser.add_argument("repository", type=Path, help="a repository with all its history")
    parser.add_argument("--quick", action="store_true", help="fewer runs, to see that it works")
    parser.add_argument("--runs", type=int, metavar="N", help="measured runs of each contestant")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON too")
    parser.add_argument(
        "--results", type=Path, metavar="FILE", default=RESULTS, help="Markdown file to refresh"
    )
    parser.add_argument("--work", type=Path, metavar="DIR", help="directory for temporary copies")
    given = parser.parse_args()
    if given.runs is not None and given.runs < 1:
        parser.error("--runs needs a number of 1 or more")
    if not given.repository.is_dir():
        parser.error(f"{given.repository} is no repository")
    count = given.runs or (quick_runs if given.quick else runs)
    return Arguments(given.repository, count, given.quick, given.json, given.results, given.work)


def run_benchmark(arguments: Arguments, measure: Callable[[Arguments], Report]) -> NoReturn:
    """Measure, publish the report and end the program; missed limits are no failure."""
    # Servers that run must not outlive the benchmark.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    load = os.getloadavg()[0]
    if load > BUSY_LOAD:
        say(f"this machine is busy (load {load:.1f}); figures will be worse than they could be")
    try:
        report = measure(arguments)
    except BenchError as error:
        sys.exit(f"{sys.argv[0]}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    text = render(report, arguments, load)
    print(text)
    refresh(arguments.results, _key(report, arguments), text)
    if arguments.json is not None:
        write_json(arguments.json, report, arguments, load)
    sys.exit(0)


def say(text: str) -> None:
    """Tell the user what is being done, on standard error."""
    print(f"# {text}", file=sys.stderr, flush=True)


def machine() -> str:
    """Describe the machine and the programs in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    git = subprocess.run(["git", "version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return (
        f"{_processor()}, {os.cpu_count()} CPUs, {memory:.0f} GiB, Linux {platform.release()},"
        f" git {git.split()[2]}, Python {platform.python_version()}, gittorrent {__version__}"
    )


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table that is aligned for terminals too; numbers go to the right."""
    lines = [list(head), *[list(row) for row in rows]]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(head))]

    def line_of(cells: Sequence[str]) -> str:
        padded = [cells[0].ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return f"| {' | '.join(padded)} |"

    rule = "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])])
    return "\n".join([line_of(lines[0]), f"|{rule}|", *map(line_of, lines[1:])])


def render(report: Report, arguments: Arguments, load: float) -> str:
    """Return the report as Markdown."""
    date = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    parts = [
        f"## {_key(report, arguments)}",
        f"{date}; {arguments.runs} runs; load before {load:.2f}.\n{machine()}.",
        "\n".join(report.method),
        _figures_table(report.contestants),
    ]
    if report.comparisons:
        parts.append(_comparison_table(report.comparisons))
    return "\n\n".join(parts) + "\n"


def _figures_table(contestants: Sequence[Contestant]) -> str:
    metrics = list(dict.fromkeys(f.metric for c in contestants for f in c.figures))
    rows = []
    for contestant in contestants:
        cells = {figure.metric: figure.shown() for figure in contestant.figures}
        rows.append([contestant.name, *(cells.get(metric, "") for metric in metrics)])
    return table(["", *metrics], rows)


def _comparison_table(comparisons: Sequence[Comparison]) -> str:
    rows = []
    for one in comparisons:
        limit = "" if one.limit is None else f"≤ {one.limit:g}{one.unit}"
        value = "none" if one.value is None else f"{one.value:.3f}{one.unit}"
        rows.append([one.what, value, limit, one.verdict])
    return table(["compared", "measured", "target", "verdict"], rows)


def refresh(path: Path, key: str, text: str) -> None:
    """Replace one section of a results file, or add it at the end.

    Args:
        path: of the file, made if it is not there.
        key: names the section.
        text: its new content.
    """
    begin, end = f"<!-- begin {key} -->", f"<!-- end {key} -->"
    section = f"{begin}\n{text}{end}\n"
    old = path.read_text(encoding="utf-8") if path.exists() else TITLE
    before, found, rest = old.partition(f"{begin}\n")
    if found:
        after = rest.partition(f"{end}\n")[2]
        new = f"{before}{section}{after}"
    else:
        new = f"{old.rstrip()}\n\n{section}"
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(new, encoding="utf-8")
    draft.replace(path)


def write_json(path: Path, report: Report, arguments: Arguments, load: float) -> None:
    """Write the report with every single value."""
    value = {
        "repository": arguments.label,
        "date": int(time.time()),
        "machine": machine(),
        "load_before": load,
        "quick": arguments.quick,
        "runs": arguments.runs,
        **asdict(report),
    }
    for shown, comparison in zip(value["comparisons"], report.comparisons, strict=True):
        shown["met"] = {"met": True, "MISSED": False}.get(comparison.verdict)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _key(report: Report, arguments: Arguments) -> str:
    quick = ", quick" if arguments.quick else ""
    return f"{report.benchmark}: {arguments.label}{quick}"
