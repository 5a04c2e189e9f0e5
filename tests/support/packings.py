"""The same objects, kept differently: loose, in many packs, with bitmaps, with lies beside them.

Each function changes a copy of a repository in place and loses no object, reachable or not.
"""

from __future__ import annotations

import os
from pathlib import Path

from support import gitcmd


def all_objects(git_dir: Path) -> list[str]:
    out = gitcmd.text(git_dir, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)")
    return sorted(out.split())


def repacked(git_dir: Path) -> None:
    gitcmd.git(git_dir, "repack", "-adfkq", "--window=50", "--depth=200")


def loose(git_dir: Path) -> None:
    away = git_dir / "away"
    away.mkdir()
    for pack in (git_dir / "objects" / "pack").glob("pack-*.pack"):
        for part in (git_dir / "objects" / "pack").glob(f"{pack.stem}.*"):
            part.rename(away / part.name)
        gitcmd.git(git_dir, "unpack-objects", "-q", stdin=(away / pack.name).read_bytes())


def many_packs(git_dir: Path) -> None:
    oids = all_objects(git_dir)
    for number in range(7):
        chosen = "".join(f"{oid}\n" for oid in oids[number::7]).encode()
        if chosen:
            base = str(git_dir / "objects" / "pack" / "pack")
            gitcmd.git(git_dir, "pack-objects", "-q", base, stdin=chosen)
    gitcmd.git(git_dir, "prune-packed")


def bitmap(git_dir: Path) -> None:
    gitcmd.git(git_dir, "repack", "-adkbq")


def multi_pack_bitmap(git_dir: Path) -> None:
    repacked(git_dir)
    many_packs(git_dir)
    gitcmd.git(git_dir, "multi-pack-index", "write", "--bitmap", "--no-progress")


def commit_graph(git_dir: Path) -> None:
    gitcmd.git(git_dir, "commit-graph", "write", "--reachable", "--no-progress")


def without_refs(git_dir: Path) -> None:
    for name in gitcmd.refs(git_dir):
        gitcmd.git(git_dir, "update-ref", "-d", os.fsdecode(name))


def more_refs(git_dir: Path) -> None:
    """Add a tag and a head for every commit, and annotated tags: they steer pack-objects."""
    types = gitcmd.text(
        git_dir, "cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype)"
    )
    commits = [line.split()[0] for line in types.splitlines() if line.endswith(" commit")]
    lines = [f"create refs/tags/extra-{n} {oid}\n" for n, oid in enumerate(commits)]
    lines += [f"create refs/heads/extra-{n} {oid}\n" for n, oid in enumerate(commits)]
    gitcmd.git(git_dir, "update-ref", "--stdin", stdin="".join(lines).encode())
    for number, oid in enumerate(commits[:5]):
        gitcmd.git(git_dir, "tag", "-m", "extra", f"annotated-{number}", oid)


def grafted_and_replaced(git_dir: Path) -> None:
    """Cut every merge and every second commit off its parents, in both ways git knows."""
    lines = gitcmd.text(git_dir, "rev-list", "--all", "--parents").splitlines()
    (git_dir / "info").mkdir(exist_ok=True)
    cut = [line.split()[0] for line in lines[::2]]
    (git_dir / "info" / "grafts").write_text("".join(f"{oid}\n" for oid in cut))
    for words in (line.split() for line in lines[1::2]):
        if len(words) > 1:
            content = gitcmd.git(git_dir, "cat-file", "commit", words[0])
            head, _, message = content.partition(b"\n\n")
            kept = [line for line in head.split(b"\n") if not line.startswith(b"parent ")]
            orphan = gitcmd.text(
                git_dir, "hash-object", "-t", "commit", "-w", "--stdin",
                stdin=b"\n".join(kept) + b"\n\n" + message,
            )  # fmt: skip
            gitcmd.git(git_dir, "update-ref", f"refs/replace/{words[0]}", orphan)


def shallow_file(git_dir: Path) -> None:
    """Say that the history ends at the tips, as a shallow clone does."""
    tips = gitcmd.text(git_dir, "rev-parse", "--branches").split()
    (git_dir / "shallow").write_text("".join(f"{oid}\n" for oid in sorted(set(tips))))


PACKINGS = {
    f.__name__: f
    for f in (
        repacked, loose, many_packs, bitmap, multi_pack_bitmap, commit_graph, without_refs,
        more_refs, grafted_and_replaced, shallow_file,
    )
}  # fmt: skip

HOSTILE_CONFIG = """\
[core]
\tcompression = 1
\tlooseCompression = 9
\tbigFileThreshold = 1k
\tattributesFile = {attributes}
\tcommitGraph = true
\tdeltaBaseCacheLimit = 1k
\tpackedGitLimit = 4k
[pack]
\tcompression = 2
\twindow = 3
\tdepth = 2
\tthreads = 4
\twindowMemory = 1k
\tdeltaCacheSize = 1
\tdeltaCacheLimit = 1
\tisland = refs/heads/(.*)
\tislandCore = heads
\tuseSparse = false
\tuseBitmaps = true
\tusePathWalk = true
\tallowPackReuse = true
\tpackSizeLimit = 1m
\tindexVersion = 1
\tpreferBitmapTips = refs/tags/
[repack]
\tuseDeltaIslands = true
\tuseDeltaBaseOffset = false
\twriteBitmaps = true
[gc]
\tauto = 1
\tpruneExpire = now
[feature]
\tmanyFiles = true
\texperimental = true
[i18n]
\tlogOutputEncoding = UTF-16
[log]
\tmailmap = true
\tshowSignature = true
[transfer]
\thideRefs = refs/
[alias]
\trev-list = !false
"""


def hostile_home(directory: Path) -> Path:
    """Make a home directory whose git configuration changes everything it can; return it."""
    directory.mkdir(parents=True)
    attributes = directory / "attributes"
    attributes.write_text("* -delta\n")
    config = HOSTILE_CONFIG.format(attributes=attributes)
    (directory / ".gitconfig").write_text(config)
    (directory / ".config" / "git").mkdir(parents=True)
    (directory / ".config" / "git" / "config").write_text(config)
    (directory / ".config" / "git" / "attributes").write_text("* -delta\n")
    (directory / ".gitattributes").write_text("* -delta\n")
    return directory


def hostile_repository(git_dir: Path, home: Path) -> None:
    """Give a repository the same configuration and attributes."""
    with (git_dir / "config").open("a") as file:
        file.write((home / ".gitconfig").read_text())
    (git_dir / "info").mkdir(exist_ok=True)
    (git_dir / "info" / "attributes").write_text("* -delta\n")


def hostile_variables(home: Path) -> dict[str, str]:
    """Return environment variables that steer git, the home directory included."""
    return {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"),
        "GIT_CONFIG_SYSTEM": str(home / ".gitconfig"),
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "pack.compression",
        "GIT_CONFIG_VALUE_0": "0",
        "GIT_CONFIG_KEY_1": "core.bigFileThreshold",
        "GIT_CONFIG_VALUE_1": "1",
        "GIT_CONFIG_PARAMETERS": "'pack.window'='1'",
        "GIT_DIR": str(home / "nowhere"),
        "GIT_WORK_TREE": str(home),
        "GIT_INDEX_FILE": str(home / "no-index"),
        "GIT_COMMON_DIR": str(home / "nowhere"),
        "GIT_OBJECT_DIRECTORY": str(home / "no-objects"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(home / "no-alternates"),
        "GIT_NAMESPACE": "elsewhere",
        "GIT_REPLACE_REF_BASE": "refs/heads/",
        "GIT_GRAFT_FILE": str(home / ".gitconfig"),
        "GIT_SHALLOW_FILE": str(home / ".gitconfig"),
        "GIT_ATTR_SOURCE": "HEAD",
        "GIT_DEFAULT_HASH": "sha256",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_CEILING_DIRECTORIES": "/",
        "GIT_QUARANTINE_PATH": str(home),
        "GIT_INTERNAL_SUPER_PREFIX": "x/",
        "GIT_TEST_COMMIT_GRAPH": "1",
        "GIT_TEST_FULL_IN_PACK_ARRAY": "1",
        "GIT_TEST_NAME_HASH_VERSION": "2",
        "GIT_TEST_PACK_SPARSE": "0",
    }
