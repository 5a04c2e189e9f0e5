"""Odd repositories, the same on every machine and with every git: fast-import streams by script.

Tracks nothing. Each recipe builds one repository and notes its states: what the refs pointed at
after each push. Contents come from SHAKE, so nothing depends on a Python version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from support import gitcmd

EPOCH = 1_000_000_000
"""Date of the first commit of a recipe that does not care about dates."""

_WORDS = [b"reel", b"part", b"push", b"mirror", b"seed", b"peer", b"node", b"depot", b"policy"]


def noise(seed: str, size: int) -> bytes:
    """Return ``size`` bytes that do not compress."""
    return hashlib.shake_256(seed.encode()).digest(size)


def prose(seed: str, lines: int) -> bytes:
    """Return ``lines`` lines of words; they compress and delta like source code does."""
    drawn = noise(seed, lines * 6)
    made = []
    for number in range(lines):
        chosen = drawn[number * 6 : number * 6 + 6]
        made.append(b" ".join(_WORDS[byte % len(_WORDS)] for byte in chosen) + b" %d" % chosen[0])
    return b"\n".join(made) + b"\n"


@dataclass
class Made:
    """A generated repository: where it is and what its refs pointed at after each push."""

    git_dir: Path
    object_format: str
    states: list[list[str]]

    @property
    def objects(self) -> Path:
        return self.git_dir / "objects"


@dataclass
class Builder:
    """Writes a fast-import stream and knows when the refs are as a push would find them."""

    git_dir: Path
    object_format: str
    states: list[list[str]] = field(default_factory=list)
    _stream: list[bytes] = field(default_factory=list)
    _marks: int = 0
    _clock: int = EPOCH

    def _mark(self) -> int:
        self._marks += 1
        return self._marks

    def blob(self, data: bytes) -> int:
        mark = self._mark()
        self._stream.append(b"blob\nmark :%d\ndata %d\n%s\n" % (mark, len(data), data))
        return mark

    def commit(
        self,
        ref: str,
        parents: Sequence[int] = (),
        files: dict[bytes, bytes | int | None] | None = None,
        *,
        when: int | None = None,
        person: bytes = b"A U Thor <author@example.org>",
        message: bytes = b"",
        modes: dict[bytes, bytes] | None = None,
        encoding: bytes = b"",
    ) -> int:
        """Add a commit; ``files`` maps paths to contents, marks of blobs, or None to delete."""
        changes = b""
        for path, content in (files or {}).items():
            quoted = b'"' + b"".join(_quoted(byte) for byte in path) + b'"'
            if content is None:
                changes += b"D %s\n" % quoted
                continue
            mark = self.blob(content) if isinstance(content, bytes) else content
            changes += b"M %s :%d %s\n" % ((modes or {}).get(path, b"100644"), mark, quoted)
        return self._commit(ref, parents, changes, when, person, message, encoding)

    def _commit(
        self,
        ref: str,
        parents: Sequence[int],
        changes: bytes,
        when: int | None,
        person: bytes,
        message: bytes,
        encoding: bytes,
    ) -> int:
        self._clock += 60
        date = self._clock if when is None else when
        mark = self._mark()
        message = message or b"commit %d\n" % mark
        # Without a reset, fast-import would take the branch's tip as parent of a new root.
        head = b"" if parents else b"reset %s\n" % ref.encode()
        head += b"commit %s\nmark :%d\n" % (ref.encode(), mark)
        for role in (b"author", b"committer"):
            head += b"%s %s %d +0000\n" % (role, person, date)
        if encoding:
            head += b"encoding %s\n" % encoding
        head += b"data %d\n%s\n" % (len(message), message)
        for number, parent in enumerate(parents):
            head += b"%s :%d\n" % (b"merge" if number else b"from", parent)
        self._stream.append(head + changes + b"\n")
        return mark

    def submodule(self, ref: str, parent: int, path: bytes, oid: str) -> int:
        changes = b"M 160000 %s %s\n" % (oid.encode(), path)
        return self._commit(ref, [parent], changes, None, b"A <a@b>", b"", b"")

    def tag(self, name: str, target: int, message: bytes = b"a tag\n") -> int:
        """Add an annotated tag ``refs/tags/<name>`` of a mark, whatever it stands for."""
        mark = self._mark()
        self._stream.append(
            b"tag %s\nmark :%d\nfrom :%d\ntagger T <t@example.org> %d +0000\ndata %d\n%s\n"
            % (name.encode(), mark, target, EPOCH, len(message), message)
        )
        return mark

    def reset(self, ref: str, target: int) -> None:
        self._stream.append(b"reset %s\nfrom :%d\n\n" % (ref.encode(), target))

    def flush(self) -> None:
        """Let git import what was added since the last time."""
        if not self._stream:
            return
        marks = self.git_dir / "marks"
        gitcmd.git(
            self.git_dir, "fast-import", "--quiet", "--force", "--date-format=raw-permissive",
            f"--import-marks-if-exists={marks}", f"--export-marks={marks}",
            stdin=b"".join(self._stream),
        )  # fmt: skip
        self._stream = []

    def oid(self, mark: int) -> str:
        """Return the object that a mark stands for."""
        self.flush()
        for line in (self.git_dir / "marks").read_text().splitlines():
            name, oid = line.split(" ")
            if name == f":{mark}":
                return oid
        raise KeyError(mark)

    def write(self, kind: str, content: bytes) -> str:
        """Store an object that fast-import would not make; git does not look at its form."""
        words = ["hash-object", "-t", kind, "-w", "--literally", "--stdin"]
        return gitcmd.text(self.git_dir, *words, stdin=content)

    def set_ref(self, ref: str, oid: str) -> None:
        self.flush()
        gitcmd.git(self.git_dir, "update-ref", ref, oid)

    def delete_ref(self, ref: str) -> None:
        self.flush()
        gitcmd.git(self.git_dir, "update-ref", "-d", ref)

    def push(self) -> None:
        """Note the refs as they are now."""
        self.flush()
        self.states.append(sorted(set(gitcmd.refs(self.git_dir).values())))


def _quoted(byte: int) -> bytes:
    if byte in b'"\\' or byte < 0x20:
        return b"\\%03o" % byte
    return bytes([byte])


Recipe = Callable[[Builder], None]


def make(recipe: str, directory: Path) -> Made:
    """Build the repository that ``recipe`` (a key of `RECIPES`) describes."""
    script, object_format = RECIPES[recipe]
    builder = Builder(gitcmd.init(directory, object_format), object_format)
    script(builder)
    builder.push()
    (directory / "marks").unlink(missing_ok=True)
    return Made(directory, object_format, builder.states)


def _empty(_builder: Builder) -> None:
    pass


def _one(b: Builder) -> None:
    b.commit("refs/heads/main", [], {b"README": b"hello\n"})


def _linear(b: Builder) -> None:
    """300 commits over a nested tree, with files that come back to older contents."""
    tip: list[int] = []
    for number in range(300):
        path = b"d%d/e%d/file%d.c" % (number % 3, number % 5, number % 17)
        version = number // 17 if number % 4 else number // 34
        files: dict[bytes, bytes | int | None] = {path: prose(f"{path!r} {version // 2}", 40)}
        if number % 50 == 49:
            files[b"d1/e1/file1.c"] = None
        tip = [b.commit("refs/heads/main", tip, files)]
        if number % 60 == 0:
            b.tag(f"v{number}", tip[0])
        if number == 200:
            b.push()


def _merges(b: Builder) -> None:
    """Several roots, an octopus, criss-cross merges, equal dates everywhere."""
    same = EPOCH
    roots = [
        b.commit(f"refs/heads/r{n}", [], {b"r%d" % n: prose(f"root {n}", 20)}, when=same)
        for n in range(4)
    ]
    octopus = b.commit("refs/heads/main", roots, {b"all": b"of them\n"}, when=same)
    left = b.commit("refs/heads/left", [octopus], {b"left": prose("left", 30)}, when=same)
    right = b.commit("refs/heads/right", [octopus], {b"right": prose("right", 30)}, when=same)
    b.push()
    for turn in range(6):
        crossed = b.commit("refs/heads/left", [left, right], {b"x": b"%d\n" % turn}, when=same)
        right = b.commit("refs/heads/right", [right, left], {b"y": b"%d\n" % turn}, when=same)
        left = crossed
    other = b.commit("refs/heads/other", [], {b"left": prose("left", 30)}, when=same)
    b.commit("refs/heads/main", [octopus, left, right, other], {b"z": b"end\n"}, when=same)


def _times(b: Builder) -> None:
    """Dates out of order, zero, beyond 2^31, 2^32 and 2^34, and the last that git believes."""
    tip: list[int] = []
    for number, when in enumerate([5 << 32, 0, 1 << 31, 1, (1 << 34) + 5, 1 << 32, 99, 1 << 36]):
        files: dict[bytes, bytes | int | None] = {b"f": b"%d\n" % number}
        side = b.commit(f"refs/heads/side{number}", tip, {b"s": b"%d\n" % number}, when=when)
        main = b.commit("refs/heads/main", tip, files, when=when + number % 3 - 1 if when else 0)
        tip = [main, side] if number % 2 else [side, main]
    b.push()
    b.commit("refs/heads/main", tip, {b"f": b"end\n"}, when=2)


def _negative(b: Builder) -> None:
    """Commits whose dates are before 1970 or malformed, as broken importers made them.

    Gits before and after 2.41 read some of them differently in ``rev-list --timestamp``.
    """
    root = b.oid(b.commit("refs/heads/main", [], {b"f": b"x\n"}))
    tree = gitcmd.text(b.git_dir, "rev-parse", f"{root}^{{tree}}")
    parent = root
    dates = (b"-100 +0000", b"-1 +0000", b"18446744073709551615 +0000", b"5 -0000")
    lines = [b"A <a@b> " + date for date in dates]
    lines += [b"A <a@b>> 7 +0000", b"A <a@b> x> 9 +0000", b"A <a@b> +9 +0000", b"A <a@b>"]
    lines += [b"A <a@b> " + b"9" * 40 + b" +0000", b"A <a@b> " + b"0" * 30 + b"8 +0000"]
    for number, line in enumerate(lines):
        content = f"tree {tree}\nparent {parent}\nauthor ".encode() + line
        content += b"\ncommitter " + line + b"\n\n1234567 " + line + b"\n"
        child = b.write("commit", content)
        b.set_ref(f"refs/heads/d{number}", child)
        parent = child if number == 1 else root
    header = b"\nencoding UTF-16\n\nconverted, nothing of this could be read\n"
    people = "author A <a@b> 6 +0000\ncommitter A <a@b> 6 +0000"
    content = f"tree {tree}\nparent {root}\n{people}".encode()
    b.set_ref("refs/heads/converted", b.write("commit", content + header))


def _tags(b: Builder) -> None:
    """Tags of every kind of object, chains of tags, lightweight tags on blobs and trees."""
    first = b.commit("refs/heads/main", [], {b"a/b/c": prose("abc", 50), b"top": b"top\n"})
    second = b.commit("refs/heads/main", [first], {b"a/b/c": prose("abc2", 50)})
    lonely = b.commit("refs/heads/gone", [], {b"only/here": prose("only", 60), b"top": b"top\n"})
    b.delete_ref("refs/heads/gone")
    lonely_tree = gitcmd.text(b.git_dir, "rev-parse", f"{b.oid(lonely)}^{{tree}}")
    reached_tree = gitcmd.text(b.git_dir, "rev-parse", f"{b.oid(second)}:a")
    b.push()
    blob = b.blob(b"tagged blob\n")
    b.tag("blob", blob)
    chain = b.tag("commit", second)
    for number in range(5):
        chain = b.tag(f"chain{number}", chain)
    b.flush()
    for name, kind, target in (
        ("lonely", "tree", lonely_tree),
        ("reached", "tree", reached_tree),
        ("no-tagger", "commit", b.oid(first)),
    ):
        content = f"object {target}\ntype {kind}\ntag {name}\n\nwithout a tagger\n"
        b.set_ref(f"refs/tags/{name}", b.write("tag", content.encode()))
    b.set_ref("refs/tags/light-blob", b.write("blob", b"light\n"))
    b.push()
    b.set_ref("refs/tags/light-tree", reached_tree)
    b.set_ref("refs/tags/light-top", gitcmd.text(b.git_dir, "rev-parse", f"{b.oid(first)}:top"))
    b.push()
    b.tag("blob", b.tag("commit", first, b"moved\n"), b"moved too\n")
    b.delete_ref("refs/tags/chain4")


def _names(b: Builder) -> None:
    """Names without encoding, with line feeds, quotes and dashes; links, modes, submodules."""
    person = "Jürgen Müller <jürgen@example.org>".encode("latin-1")
    files: dict[bytes, bytes | int | None] = {
        "größe/straße".encode("latin-1"): b"latin-1\n",
        b"line\nfeed\nhere": b"line feed\n",
        b'quote"back\\slash': b"quoted\n",
        b"-dash --option": b"dash\n",
        b" lead and trail ": b"spaces\n",
        b"\xff\xfe/\x01": b"bytes\n",
        "日本語/ファイル".encode(): prose("utf-8", 30),
        b"link": b"target/of/link",
        b"run.sh": b"#!/bin/sh\n",
        b"a" * 200 + b"/" + b"b" * 200: b"long\n",
    }
    modes = {b"link": b"120000", b"run.sh": b"100755"}
    first = b.commit(
        "refs/heads/main", [], files, modes=modes, person=person,
        message="größer\n".encode("latin-1"), encoding=b"ISO-8859-1",
    )  # fmt: skip
    size = 64 if b.object_format == "sha256" else 40
    second = b.submodule("refs/heads/main", first, b"sub/module", "12" * (size // 2))
    b.push()
    third = b.submodule("refs/heads/main", second, b"sub/module", "34" * (size // 2))
    b.commit("refs/heads/main", [third], {b"line\nfeed\nhere": prose("lf", 40), b"run.sh": None})
    b.flush()
    main = gitcmd.text(b.git_dir, "rev-parse", "refs/heads/main")
    b.set_ref("refs/heads/-dash", main)
    b.set_ref("refs/heads/日本", main)


def _big(b: Builder) -> None:
    """A few megabytes that do not compress, and a long text in many versions."""
    tip = [b.commit("refs/heads/main", [], {b"noise.bin": noise("big", 3 << 20)})]
    lines = prose("text", 16000).split(b"\n")
    for version in range(10):
        lines[version * 1500 : version * 1500 + 3] = [b"changed %d" % version]
        tip = [b.commit("refs/heads/main", tip, {b"long.txt": b"\n".join(lines)})]
        if version == 6:
            b.push()
    b.commit("refs/heads/main", tip, {b"noise.bin": noise("big", 1 << 20) + noise("b", 1 << 20)})


def _many_refs(b: Builder) -> None:
    """10,000 refs on few commits, and some hundred annotated tags."""
    commits: list[int] = []
    for number in range(10):
        tip = b.commit("refs/heads/main", commits[-1:], {b"n": b"%d\n" % number})
        commits.append(tip)
    for number in range(300):
        b.tag(f"t/{number}", commits[number % 10], b"tag %d\n" % number)
    b.flush()
    oids = [b.oid(mark) for mark in commits]
    lines = [f"create refs/heads/many/{n} {oids[n % 10]}\n" for n in range(9700)]
    gitcmd.git(b.git_dir, "update-ref", "--stdin", stdin="".join(lines).encode())
    gitcmd.git(b.git_dir, "pack-refs", "--all")


def _pushes(b: Builder) -> None:
    """A life: growth, a side branch, a revert to old contents, a rewind, a rename, a new root."""
    tip: list[int] = []
    for number in range(30):
        path = b"src/f%d.c" % (number % 4)
        tip = [b.commit("refs/heads/main", tip, {path: prose(f"{number}", 80)})]
    fork = tip[0]
    b.push()
    for number in range(8):
        tip = [b.commit("refs/heads/main", tip, {b"src/f0.c": prose(f"m{number}", 80)})]
    side = b.commit("refs/heads/side", [fork], {b"side.c": prose("side", 50)})
    b.tag("v1", tip[0])
    b.push()
    # Contents of the very first version come back: reachable before, yet in no boundary tree.
    back = b.commit("refs/heads/main", tip, {b"src/f0.c": prose("0", 80)})
    back = b.commit("refs/heads/main", [back, side], {b"src/f1.c": prose("1", 80)})
    b.push()
    b.reset("refs/heads/main", fork)
    b.commit("refs/heads/rewound", [fork], {b"src/f9.c": prose("3", 80)})
    b.push()
    b.delete_ref("refs/heads/side")
    b.commit("refs/heads/side/deeper", [side], {b"side.c": None})
    b.commit("refs/heads/orphan", [], {b"src/f9.c": prose("3", 80), b"new": b"root\n"})
    b.delete_ref("refs/tags/v1")


RECIPES: dict[str, tuple[Recipe, str]] = {
    "empty": (_empty, "sha1"),
    "one": (_one, "sha1"),
    "linear": (_linear, "sha1"),
    "merges": (_merges, "sha1"),
    "times": (_times, "sha1"),
    "negative": (_negative, "sha1"),
    "tags": (_tags, "sha1"),
    "names": (_names, "sha1"),
    "big": (_big, "sha1"),
    "many-refs": (_many_refs, "sha1"),
    "pushes": (_pushes, "sha1"),
    "merges-sha256": (_merges, "sha256"),
    "tags-sha256": (_tags, "sha256"),
    "names-sha256": (_names, "sha256"),
    "pushes-sha256": (_pushes, "sha256"),
}
"""Every recipe by name, with the object format it is built in."""
