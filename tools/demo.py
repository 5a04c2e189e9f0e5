"""The demonstration behind ``make demo``: a clone that outlives mirrors, and a lost origin.

Publishes this project's own history with a key made for the purpose, starts an origin and four
mirrors on loopback, each with its own home and rate limit, and clones with stock ``git clone``
while one mirror is killed and another sends wrong bytes. A contributor pushes at a mirror; at last
the origin itself goes away, and clone, fetch and mirror go on. Says what came from whom, checks
every claim it makes, and ends with 1 if one does not hold.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from demo_lost_host import lose_the_origin
from demo_push import push_at_a_mirror
from demo_stage import (
    BULK_BYTES,
    BULK_COMMITS,
    PATIENCE,
    DemoError,
    Mirror,
    Published,
    Stage,
    copy_own_history,
    generate_bulk,
    stage,
    wait_until,
)

ENOUGH = 8 << 20
"""Bytes of packed history from which the way of the parts can be watched."""

KILL_AT = 45
"""Percentage of the clone at which the doomed mirror is killed."""

_DONE = re.compile(r"Receiving parts: +(\d+)%")
_OUT = re.compile(r"gittorrent: (\S+) is out: (.*)")
_SHARE = re.compile(r"(\d+) from (\S+?)(?:,|$)")


@dataclass(slots=True)
class Seen:
    """What a clone told on its standard error."""

    parts: dict[str, int] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)


def say(text: str = "") -> None:
    """Print a line at once."""
    print(text, flush=True)


def publish(on: Stage, path: Path) -> Published:
    """Publish a bare repository with the demonstration's key."""
    name = path.name.removesuffix(".git")
    words = ("gittorrent", "publish", str(path), "--name", name, "--new-key", "--wait", "--json")
    told = json.loads(on.run(*words))
    reels = json.loads(on.run("gittorrent", "reel", "show", str(path), "--json"))
    size = sum(reel["pack_size"] for reel in reels)
    parts = sum(len(reel["parts"]) for reel in reels)
    say(f"    {name}: {size / (1 << 20):.2f} MiB of reels in {parts} parts, signed")
    say(f"      id {told['repository_id']}")
    return Published(name, path, told["url"], size)


# --- The mirrors -------------------------------------------------------------------------------


def carry(on: Stage, origin: Mirror, mirrors: list[Mirror], wanted: list[Published]) -> None:
    """Let all mirrors fetch all repositories, side by side."""
    work: list[tuple[str, subprocess.Popen[bytes]]] = []
    for mirror in mirrors:
        for repository in wanted:
            url = at(repository, origin)
            words = ["gittorrent", "mirror", url, "--once", "--quiet"]
            process = subprocess.Popen(words, cwd=on.root, env=on.environment(mirror.name))
            work.append((f"{mirror.name} carrying {repository.name}", process))
    for what, process in work:
        if process.wait(PATIENCE) != 0:
            raise DemoError(f"{what} ended with {process.returncode}")


def at(repository: Published, node: Mirror) -> str:
    """Return the pinned URL of a repository at a node."""
    return repository.url.replace("@localhost/", f"@{node.base.partition('://')[2]}/")


def wait_for_list(on: Stage, url: str, count: int) -> None:
    """Wait until the origin lists as many mirrors, each called back before it was believed."""

    def is_complete() -> bool:
        told = json.loads(on.run("gittorrent", "mirrors", url, "--json"))
        return len({m["url"].rpartition("/")[0] for m in told["mirrors"]}) > count

    wait_until(is_complete, f"the origin lists {count} mirrors at {url}")


def damage(on: Stage, liar: Mirror) -> int:
    """Change one byte in every part the liar holds; returns how many."""
    changed = 0
    for path in sorted((on.root / "nodes" / liar.name / "repositories").iterdir()):
        told = on.run("gittorrent", "reel", "show", str(path), "--json", home=liar.name)
        for reel in json.loads(told):
            pack = Path(reel["pack"])
            pack.chmod(0o644)
            with pack.open("r+b") as file:
                # The head of the file may differ from what is sent; the middle of a part does not.
                for start in range(0, reel["pack_size"], reel["part_size"]):
                    end = min(start + reel["part_size"], reel["pack_size"])
                    file.seek((start + end) // 2)
                    byte = file.read(1)
                    file.seek(-1, os.SEEK_CUR)
                    file.write(bytes([byte[0] ^ 1]))
                    changed += 1
    return changed


# --- The clones --------------------------------------------------------------------------------


def clone(on: Stage, url: str, target: Path, doomed: Mirror | None) -> Seen:
    """Clone with stock git; kills the doomed mirror on the way."""
    words = ["git", "clone", "--progress", url, str(target)]
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=on.root,
        env=on.environment("client"),
    )
    seen = Seen()
    text = []
    assert process.stderr is not None
    for line in lines_of(process.stderr.fileno()):
        text.append(line)
        done = _DONE.match(line)
        if done and doomed is not None and int(done[1]) >= KILL_AT:
            assert doomed.process is not None
            doomed.process.send_signal(signal.SIGKILL)
            doomed.process.wait(PATIENCE)
            say(f"    at {done[1]}% the mirror '{doomed.name}' is killed (SIGKILL)")
            doomed = None
        if out := _OUT.match(line):
            seen.faults[out[1]] = out[2]
        if line.startswith("Parts: "):
            for count, url_ in _SHARE.findall(line):
                seen.parts[url_] = seen.parts.get(url_, 0) + int(count)
    process.stderr.close()
    if process.wait(PATIENCE) != 0:
        raise DemoError("git clone failed:\n" + "\n".join(text[-20:]))
    return seen


def lines_of(descriptor: int) -> Iterator[str]:
    """Give the lines of a pipe as they come; progress lines end in carriage returns."""
    rest = b""
    while data := os.read(descriptor, 65536):
        *whole, rest = re.split(rb"[\r\n]+", rest + data)
        yield from (line.decode(errors="replace").rstrip() for line in whole if line)
    if rest:
        yield rest.decode(errors="replace").rstrip()


def total(counts: Mapping[str, int], node: Mirror) -> int:
    """Add up what came from a node, over all its URLs."""
    return sum(count for url, count in counts.items() if url.startswith(f"{node.base}/"))


def fault_of(seen: Seen, node: Mirror) -> str:
    """Return what the clone said of a node it gave up, or nothing."""
    return next((w for url, w in seen.faults.items() if url.startswith(f"{node.base}/")), "")


def print_table(nodes: list[Mirror], seen: Seen) -> None:
    """Print what came from whom."""
    whole = sum(seen.parts.values()) or 1
    rows = [("MIRROR", "PROTOCOL", "LIMIT", "PARTS", "SHARE", "WHAT THE CLONE SAID")]
    for node in nodes:
        count = total(seen.parts, node)
        fault = fault_of(seen, node) or "-"
        share = f"{100 * count / whole:.0f}%"
        rows.append((node.name, node.scheme, f"{node.limit}/s", str(count), share, fault))
    widths = [max(len(row[i]) for row in rows) for i in range(6)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        say("    " + "  ".join(cells).rstrip())


# --- The claims --------------------------------------------------------------------------------


class Claims:
    """Says of each claim whether it holds, and counts those that do not."""

    def __init__(self) -> None:
        self.failed = 0

    def check(self, holds: bool, claim: str) -> None:
        """Judge one claim."""
        say(f"    {'ok    ' if holds else 'FAILED'}  {claim}")
        self.failed += not holds


def same_refs(on: Stage, origin: Path, cloned: Path) -> bool:
    """Tell whether a clone has exactly the origin's branches and tags."""
    show = ("for-each-ref", "--format=%(objectname) %(refname)")
    there = on.run("git", "-C", str(origin), *show, "refs/heads", "refs/tags").splitlines()
    here = on.run("git", "-C", str(cloned), *show, "refs/remotes/origin", "refs/tags").splitlines()
    wanted = {line.replace(" refs/heads/", " refs/remotes/origin/") for line in there}
    return bool(wanted) and wanted == {
        w for w in here if not w.endswith("refs/remotes/origin/HEAD")
    }


def judge(
    on: Stage,
    nodes: list[Mirror],
    cloned: dict[str, Published],
    seen: Seen,
    clones: Path,
    claims: Claims,
) -> None:
    """Check everything that was claimed of the clone."""
    for name, repository in cloned.items():
        target = clones / name
        claims.check(
            same_refs(on, repository.path, target),
            f"the clone of {name} has the branches and tags of the origin",
        )
        fsck = on.attempt("git", "-C", str(target), "fsck", "--strict", "--no-progress")
        claims.check(fsck.returncode == 0, f"git fsck --strict finds no fault in {name}")
    origin, *mirrors = nodes
    for mirror in mirrors:
        lies = mirror.part == "lies"
        codes = set()
        for name in cloned:
            path = str(on.root / "nodes" / mirror.name / "repositories" / f"{name}.git")
            codes.add(on.attempt("gittorrent", "verify", path, home=mirror.name).returncode)
        found = "finds the damage in" if lies else "finds no fault in"
        claims.check(codes == ({1} if lies else {0}), f"gittorrent verify {found} '{mirror.name}'")
    for node in nodes:
        if node.part == "lies":
            claims.check(total(seen.parts, node) == 0, f"no part of '{node.name}' was accepted")
            claims.check(bool(fault_of(seen, node)), f"'{node.name}' was caught and named")
        elif node is not origin:
            claims.check(total(seen.parts, node) > 0, f"parts came from '{node.name}'")
        if node.part == "dies":
            claims.check(bool(fault_of(seen, node)), f"the end of '{node.name}' was noticed")
    left = [p for p in (on.root / "nodes" / "client" / "partial").glob("*") if p.is_dir()]
    claims.check(not left, "the client keeps no unfinished download")
    claims.check(
        total(seen.parts, origin) < sum(seen.parts.values()) / 2, "the origin sent less than half"
    )


# --- The whole ---------------------------------------------------------------------------------


def play(on: Stage) -> int:
    """Run the demonstration; returns the number of claims that do not hold."""
    origin = Mirror("origin", "512K")
    mirrors = [
        Mirror("fast", "2M"),
        Mirror("steady", "1M", scheme="http"),
        Mirror("doomed", "1.5M", part="dies"),
        Mirror("liar", "1M", part="lies"),
    ]
    nodes = [origin, *mirrors]
    say("[1/7] publishing, with a key made for this")
    own, what = copy_own_history(on)
    say(f"    gittorrent is {what}")
    wanted = [publish(on, own)]
    if wanted[0].size < ENOUGH:
        say("    That is too little to watch parts travel, so a generated repository of")
        say(f"    {BULK_COMMITS * BULK_BYTES >> 20} MiB of random data comes along:")
        wanted.append(publish(on, generate_bulk(on)))

    say("[2/7] four mirrors carry both, each verifying all it gets")
    on.serve(origin, limited=False)
    carry(on, origin, mirrors, wanted)
    on.stop(origin)
    on.serve(origin, port=int(origin.base.rpartition(":")[2]))
    say(f"    the origin sends {origin.limit}/s from now on, like a busy host")
    count = damage(on, mirrors[3])
    say(f"    one byte in each of the {count} parts of '{mirrors[3].name}' is changed on its disk")
    for mirror in mirrors:
        on.serve(mirror)
    for repository in wanted:
        wait_for_list(on, at(repository, origin), len(mirrors))
    say("    all four have announced themselves to the origin")

    say("[3/7] cloning with stock git")
    clones = on.root / "clones"
    clones.mkdir()
    subject = wanted[-1]
    for repository in wanted:
        url = at(repository, origin)
        say(f"    git clone {url}")
        began = time.monotonic()
        last = repository is subject
        seen = clone(on, url, clones / repository.name, mirrors[2] if last else None)
        say(f"    {repository.name} is cloned after {time.monotonic() - began:.1f} s")

    say(f"[4/7] where the parts of {subject.name} came from")
    print_table(nodes, seen)

    say("[5/7] checking")
    claims = Claims()
    judge(on, nodes, {r.name: r for r in wanted}, seen, clones, claims)

    first, url = wanted[0], at(wanted[0], origin)
    place = clones / first.name
    say("[6/7] a contributor pushes at a mirror, with stock git; so does a stranger")
    push_at_a_mirror(on, origin, mirrors[1], mirrors[:1], first, place, claims.check)

    say("[7/7] the origin is gone")
    lose_the_origin(on, origin, mirrors[0], mirrors[1], first, url, place, claims.check)
    return claims.failed


def main() -> int:
    """Run the demonstration and say how it went."""
    began = time.monotonic()
    say("GitTorrent demo: an origin and four mirrors on this machine; one will die, one lies.")
    try:
        with stage() as on:
            failed = play(on)
    except DemoError as error:
        say(f"FAILED: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    except subprocess.TimeoutExpired as error:
        say(f"FAILED: {error}")
        return 1
    verdict = "everything is as claimed" if not failed else f"{failed} claims do not hold"
    say(f"{verdict}; {time.monotonic() - began:.0f} s, processes ended, temporary files removed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
