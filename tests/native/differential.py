"""Differential fuzzing: mutated packs, judged by ``git index-pack`` and by the native indexer.

Run by itself for as long as you like; every finding prints the seed that replays it and leaves the
pack::

    python tests/native/differential.py --seconds 3600 [--seed N] [--keep DIR]

Mutations work on three levels: bytes of the pack (with its trailer made right again), inflated
payloads (so that zlib does not hide what is behind it), and objects put together from parts that
each break one rule.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import packing
from judging import (
    Verdict,
    all_objects,
    by_git,
    by_git_thin,
    by_native,
    by_native_thin,
    empty_repository,
    git,
)
from msgspec import Struct
from msgspec.structs import replace
from packing import Entry, Pack

Rng = random.Random
T = TypeVar("T")

NAMES = [
    *(b"a", b"b", b"a.b", b"a.b.c", b"a-b", b"a0", b"foo", b"foo.c", b"foo.", b"zz", b"f" * 4097),
    *(b".", b"..", b".git", b".GIT", b".git ", b".git.", b"git~1", b"GIT~1", b"git~2", b".gitx"),
    *(
        b".g\xe2\x80\x8cit",
        b"\xef\xbb\xbf.git",
        b".git\xff",
        b".git\\x",
        b"x\\.git",
        b"x\\git~1",
        b".git:x",
    ),
    *(
        b".gitmodules",
        b".GITMODULES ",
        b"gitmod~1",
        b"gi7eba~1",
        b"gi7eb~10",
        b"~1234567",
        b"gi7eba~0",
    ),
    *(b"x\\.gitmodules", b".gitattributes", b"gitatt~1", b"gi7d29~9", b".gitignore", b".mailmap"),
    *(b"a/b", b"", b"\x80", b"\xe2\x80\x8c", b"g", b"G", b"~", b"maba30~1"),
]
MODES = [
    "100644",
    "100755",
    "40000",
    "120000",
    "160000",
    "100664",
    "040000",
    "0",
    "",
    "10064x",
    "777777",
    "4",
]
PEOPLE = [
    *(
        "A <a@b> 1 +0000",
        "A <> 0 +0000",
        " <a> 1 +0000",
        "<a> 1 +0000",
        "A> <a> 1 +0000",
        "A 1 +0000",
    ),
    *("A<a> 1 +0000", "A <a<b> 1 +0000", "A <a>1 +0000", "A <a>  1 +0000", "A <a> \t1 +0000"),
    *(
        "A <a> x +0000",
        "A <a> 01 +0000",
        "A <a> 0",
        "A <a> 1 0000",
        "A <a> 1 +000",
        "A <a> 1 +00000",
    ),
    *("A <a> 9223372036854775807 +0000", "A <a> 9223372036854775808 +0000", "A <a> 1+0000", "A <a"),
    *("A <a> 18446744073709551616 +0000", "A <a> 1 +0000 ", "A <a> -1 +0000", ""),
]
# Without a byte order mark: git's fsck does not see through it where its checkout does, so there
# the native indexer is the stricter one on purpose.
MODULES = [
    *(
        '[submodule "a"]\npath = a\nurl = %s\n',
        '[submodule "%s"]\npath = a\n',
        '[submodule "a"]\nPath = %s\n',
    ),
    *(
        '[submodule "a"]\nupdate = %s\n',
        '[Submodule "a"]url=%s',
        "[submodule.a]\nurl=%s\n",
        "[submodule]\nurl=%s",
    ),
    *(
        'x=%s\n[submodule "a"]\nurl="%s"\n',
        '[submodule "a"]\nurl = %s ; c\n',
        '[submodule "a"]\r\nurl = %s\r\n',
    ),
]
VALUES = [
    *(
        "a",
        "-a",
        "!a",
        "..",
        "../x",
        "a/../b",
        "a\\\\..",
        "..\\\\a",
        "",
        '\\"',
        "\\q",
        "a\\\nb",
        "a  b ",
        '"',
        "#x",
    ),
    *(
        "https://h/x",
        "https://h/%0ax",
        "http::https://h",
        "http::x",
        "git://h/%0a",
        "./%0a",
        "../:x",
        ".././/x",
    ),
    *(
        "https:///x",
        "https://h:0/",
        "https://h:99999",
        "https://h/../x",
        "https://u@h/a/./b/../c?d#e",
        "ftp://h",
    ),
    *(
        "https://h:080",
        "https://[::1]:8/",
        "https://h/%zz",
        "https://u@@h/",
        "https://h y/",
        "ext::sh",
        "ssh://-x/",
    ),
    *(
        "https://:1/",
        "https://h:/x",
        "https://h/a/..",
        "https://h/..",
        "https://h?x/..",
        "HTTPS://H",
        "https://u:p@h",
    ),
]


class Case(Struct, frozen=True):
    """A pack to judge, and how to feed it."""

    data: bytes
    object_format: str
    segments: list[tuple[int, int]] | None
    what: str
    thin: bool = False


class Seeds:
    """Real packs to start from, made once."""

    def __init__(self, workspace: Path) -> None:
        """Make small repositories in both formats and pack them in several ways."""
        self.packs: list[tuple[str, bytes]] = []
        self.repositories = {}
        self.thin: list[tuple[str, bytes]] = []
        self.receivers: dict[str, Path] = {}
        self.received: dict[str, dict[str, tuple[str, bytes]]] = {}
        for object_format in ("sha1", "sha256"):
            path = empty_repository(workspace / f"judge-{object_format}.git", object_format)
            self.repositories[object_format] = path
            source = make_source(workspace / f"source-{object_format}.git", object_format)
            for options in (
                (),
                ("--delta-base-offset",),
                ("--delta-base-offset", "--depth=3", "--window=50"),
            ):
                pack = git("pack-objects", "-q", "--all", "--stdout", *options, repository=source)
                self.packs.append((object_format, pack))
            self._make_thin(workspace, object_format, source)

    def _make_thin(self, workspace: Path, object_format: str, source: Path) -> None:
        """Pack what is new since an older state, for a repository that has that."""
        receiver = empty_repository(workspace / f"receiver-{object_format}.git", object_format)
        git("update-ref", "refs/heads/old", "main~12", repository=source)
        git("fetch", "-q", str(source), "refs/heads/old:refs/heads/old", repository=receiver)
        self.receivers[object_format] = receiver
        self.received[object_format] = all_objects(receiver)
        for options in ((), ("--delta-base-offset",)):
            pack = git(
                *("pack-objects", "-q", "--thin", "--stdout", "--revs", *options),
                repository=source,
                stdin=b"refs/heads/main\n^main~12\n",
            )
            self.thin.append((object_format, pack))


def make_source(path: Path, object_format: str) -> Path:
    """Make a small repository with a history."""
    empty_repository(path, object_format)
    git("fast-import", "--quiet", repository=path, stdin=_history())
    return path


def _history() -> bytes:
    """A fast-import stream of a history whose files and trees make long delta chains."""
    rng = Rng(7)
    out, lines, mark = [], [f"line {number}" for number in range(60)], 0
    for number in range(25):
        lines[rng.randrange(60)] = f"changed {number}"
        mark += 1
        out.append(f"blob\nmark :{mark}\ndata <<E\n" + "\n".join(lines) + "\nE\n")
        blob = mark
        mark += 1
        out.append(
            f"commit refs/heads/main\nmark :{mark}\ncommitter A <a@b> {number + 1} +0000\n"
            f"data <<E\nm{number}\nE\n"
            f"M 100644 :{blob} file{rng.randrange(30)}\nM 100755 :{blob} d/e/f{rng.randrange(9)}\n"
            f"M 120000 :{blob} link\n\n"
        )
    out.append(f"tag v1\nfrom :{mark}\ntagger A <a@b> 99 +0000\ndata <<E\nt\nE\n")
    return "".join(out).encode()


def _flip(rng: Rng, data: bytes) -> bytes:
    """Change a few bytes anyhow."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(6)
        if kind == 0 or at == len(out):
            out.insert(at, rng.randrange(256))
        elif kind == 1:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0x2F, 0x20, 0x0A))
        elif kind == 3:
            del out[at : at + rng.choice((1, 1, 2, 20))]
        elif kind == 4:
            end = min(len(out), at + rng.randrange(1, 30))
            out[at:at] = out[at:end]
        else:
            out[at] = rng.randrange(256)
        if not out:
            return b"\0"
    return bytes(out)


def mutate_bytes(rng: Rng, seeds: Seeds) -> Case:
    """Damage the bytes of a pack; mostly make its trailer right again."""
    thin = rng.random() < 0.3
    object_format, data = rng.choice(seeds.thin if thin else seeds.packs)
    size = 20 if object_format == "sha1" else 32
    body = _flip(rng, data[:-size]) + data[-size:]
    if rng.random() < 0.9:
        body = packing.resealed(body, object_format)
    return Case(body, object_format, None, "bytes", thin)


def mutate_payload(rng: Rng, seeds: Seeds) -> Case:
    """Damage what entries inflate to, what they are based on, or their number and order."""
    thin = rng.random() < 0.4
    object_format, data = rng.choice(seeds.thin if thin else seeds.packs)
    entries = packing.parse(data, object_format).entries
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(entries))
        entry = entries[at]
        kind = rng.randrange(8)
        if kind < 3:
            entries[at] = replace(entry, payload=_flip(rng, entry.payload or b"x"))
        elif kind == 3:
            entries[at] = replace(
                entry, stated_size=max(0, len(entry.payload) + rng.choice((-1, 1, 1 << 20)))
            )
        elif kind == 4 and entry.base is not None and at:
            entries[at] = Entry(packing.OFS_DELTA, entry.payload, rng.randrange(at))
        elif kind == 5:
            entries.append(
                rng.choice(
                    entries[:1] if at == 0 else [e for e in entries if not isinstance(e.base, int)]
                )
            )
        elif kind == 6 and at == len(entries) - 1:
            entries.pop()
        elif entry.base is None:
            entries[at] = replace(
                entry, number=rng.choice((1, 2, 3, 4, 3, 3)), level=rng.choice((0, 1, 9))
            )
    pack = packing.write(entries, object_format)
    cuts = [rng.randrange(len(entries)) for _ in range(rng.randrange(4))]
    return Case(pack.data, object_format, pack.segments(cuts), "payload", thin)


def _objects(rng: Rng, object_format: str) -> list[tuple[str, bytes]]:
    """A commit, its trees and blobs, each made of parts of which a few are bad."""
    bad = rng.choice((0.0, 0.02, 0.2))

    def pick(options: Sequence[T], good: int) -> T:
        return rng.choice(options) if rng.random() < bad else rng.choice(options[:good])

    template = rng.choice(MODULES)
    text = template.replace("%s", rng.choice(VALUES)).encode()
    blobs = [b"x" * rng.randrange(9), text, b"y" * rng.choice((2047, 2048)) + b"\n", b"z"]
    objects = [("blob", blob) for blob in dict.fromkeys(blobs)]
    ids = [packing.object_id(kind, data, object_format) for kind, data in objects]
    trees: list[bytes] = []
    for _ in range(rng.randrange(1, 4)):
        rows = []
        for _ in range(rng.randrange(6)):
            name = rng.choice(NAMES) if rng.random() < 0.4 else rng.choice(NAMES[:10])
            mode = str(pick(MODES, 2))
            oid = rng.choice(ids)
            if trees and rng.random() < 0.3:
                mode, oid = "40000", packing.object_id("tree", rng.choice(trees), object_format)
            if rng.random() < bad:
                oid = rng.choice((bytes(len(oid)), rng.randbytes(len(oid))))
            rows.append((mode, name, oid))
        if rng.random() > bad:
            rows = list({name: (mode, name, oid) for mode, name, oid in rows}.values())
            rows.sort(key=lambda row: row[1] + (b"/" if row[0] in ("40000", "040000") else b""))
        trees.append(packing.tree(*rows))
    objects += [("tree", data) for data in dict.fromkeys(trees)]
    top = packing.object_id("tree", rng.choice(trees), object_format)
    author, committer = str(pick(PEOPLE, 3)), str(pick(PEOPLE, 3))
    lines = [f"tree {top.hex()}", f"author {author}", f"committer {committer}", "", "message"]
    for _ in range(rng.randrange(3) if rng.random() < bad else 0):
        lines.insert(
            rng.randrange(len(lines) + 1),
            rng.choice(("", "x y", "encoding \0", f"parent {top.hex()}", *lines)),
        )
    made = "\n".join(lines).encode()
    if rng.random() < bad:
        made = _flip(rng, made)
    objects.append(("commit", made))
    commit_id = packing.object_id("commit", made, object_format)
    tag_lines = [
        f"object {rng.choice((commit_id, top)).hex()}",
        f"type {pick(['commit', 'tree', 'blob', 'tag', 'x', ''], 1)}",
        f"tag {pick(['v1', 'bad..name', '', 'v 1'], 1)}",
        f"tagger {pick(PEOPLE, 3)}",
    ]
    if rng.random() < bad:
        tag_lines.pop(rng.randrange(4))
    if rng.random() < bad:
        tag_lines.append("more x")
    objects.append(("tag", "\n".join([*tag_lines, "", "t"]).encode()))
    return objects


def compose(rng: Rng, seeds: Seeds) -> Case:
    """Put a pack together from objects of which some break a rule."""
    object_format = rng.choice(("sha1", "sha256"))
    objects = _objects(rng, object_format)
    rng.shuffle(objects)
    entries: list[Entry] = []
    whole: dict[str, list[tuple[int, bytes]]] = {}
    for kind, data in objects:
        bases = whole.setdefault(kind, [])
        if bases and rng.random() < 0.6:
            at, base = rng.choice(bases)
            target = at if rng.random() < 0.5 else packing.object_id(kind, base, object_format)
            number = packing.OFS_DELTA if isinstance(target, int) else packing.REF_DELTA
            entries.append(Entry(number, packing.delta(base, data), target))
        else:
            entries.append(packing.whole(kind, data))
        bases.append((len(entries) - 1, data))
    if all(not isinstance(entry.base, int) for entry in entries):
        rng.shuffle(entries)
    pack: Pack = packing.write(entries, object_format)
    cuts = [rng.randrange(len(entries)) for _ in range(rng.randrange(3))]
    return Case(pack.data, object_format, pack.segments(cuts), "objects")


MAKERS: tuple[Callable[[Rng, Seeds], Case], ...] = (mutate_bytes, mutate_payload, compose, compose)


class Disagreement(AssertionError):
    """The judges differ."""


def one(seed: int, seeds: Seeds, workspace: Path) -> tuple[Case, Verdict]:
    """Judge the case of ``seed`` both ways; the case and the common verdict."""
    rng = Rng(seed)
    case = rng.choice(MAKERS)(rng, seeds)
    pack = workspace / "case.pack"
    pack.write_bytes(case.data)
    if case.thin:
        want, got = _thin(rng, case, pack, seeds, workspace)
        _require_same(seed, case, want, got)
        return case, want
    want = by_git(pack, seeds.repositories[case.object_format])
    got = by_native(
        pack,
        workspace,
        case.object_format,
        step=rng.choice((0, 0, 1, 7, 100)),
        segments=case.segments or [],
        threads=rng.choice((1, 2, 3)),
        memory_limit=rng.choice((0, 256 << 20)),
        detect_collisions=rng.random() < 0.5,
    )
    _require_same(seed, case, want, got)
    return case, want


def _thin(
    rng: Rng, case: Case, pack: Path, seeds: Seeds, workspace: Path
) -> tuple[Verdict, Verdict]:
    """Have both complete a pack from what the same repository has."""
    return by_git_thin(pack, seeds.receivers[case.object_format]), by_native_thin(
        pack,
        workspace,
        seeds.received[case.object_format],
        case.object_format,
        segments=case.segments or [],
        threads=rng.choice((1, 2)),
        memory_limit=rng.choice((0, 256 << 20)),
    )


def _require_same(seed: int, case: Case, want: Verdict, got: Verdict) -> None:
    if (want.idx, want.rev, want.pack) != (got.idx, got.rev, got.pack):
        raise Disagreement(
            f"seed {seed} ({case.what}): git {'accepts' if want.good else 'refuses'}, "
            f"native {'accepts' if got.good else 'refuses'}\n"
            f"git: {want.reason}\nnative: {got.reason}"
        )


def main() -> int:
    """Fuzz until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, help="the first seed; seeds count up from it")
    parser.add_argument("--one", action="store_true", help="judge the case of --seed and stop")
    parser.add_argument("--keep", type=Path, default=Path(), help="where packs that disagree go")
    options = parser.parse_args()
    options.keep.mkdir(parents=True, exist_ok=True)
    seed = random.SystemRandom().randrange(1 << 40) if options.seed is None else options.seed
    begin, tried, good, found = time.monotonic(), 0, 0, 0
    # Stopped early, it still tells how far it got.
    with tempfile.TemporaryDirectory() as scratch, contextlib.suppress(KeyboardInterrupt):
        workspace = Path(scratch)
        seeds = Seeds(workspace)
        print(f"first seed {seed}", flush=True)
        while time.monotonic() - begin < options.seconds or (options.one and not tried):
            try:
                good += one(seed, seeds, workspace)[1].good
            except Exception as error:  # whatever it is, it is a finding
                found += 1
                print(f"{type(error).__name__}: {error}", flush=True)
                shutil.copy(workspace / "case.pack", options.keep / f"seed-{seed}.pack")
            tried, seed = tried + 1, seed + 1
            if options.one:
                break
    print(f"{tried} packs, {good} good, {found} findings, {time.monotonic() - begin:.0f} s")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
