"""Pushes again and again, dying one step later: ``crashing_depot.py WORK STRIDE ROLE FILES``.

For every step a copy of one published repository is pushed to by a process that dies right before
that step, as by SIGKILL. What is left is looked at, then the same is pushed in peace. Prints a JSON
line for each, the first with no crash at all. Steps are what changes the disk: files written,
renames, removals, directories, and programs started.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gittorrent.git.refs import read_refs
from gittorrent.push.certificate import Line
from gittorrent.push.depot.admission import PushRefusedError
from gittorrent.push.depot.request import PushRequest
from gittorrent.repository.carried import MIRROR, ORIGIN, open_carried
from gittorrent.repository.depot import RepositoryDepot
from gittorrent.repository.origin_refs import follow_in_origin
from support.copying import copy_tree
from support.depot_client import ALICE, MAIN, Client, send
from support.gitcmd import git
from support.nodes import copy_as_mirror

STEPS = {
    "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.chmod", "subprocess.Popen",
}  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def main() -> None:
    """Crash at every step in turn, until a run ends by itself."""
    work, stride, role = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    client = Client(work)
    base = client.git_dir
    if role == MIRROR:
        base = work / "base" / "project.git"
        base.parent.mkdir()
        copy_as_mirror(open_carried(client.git_dir), base, "git://origin.example.org/project.git")
    old, new = client.main, client.commit(files=int(sys.argv[4]))
    certificate = client.certificate(Line(old, new, MAIN))
    request = PushRequest(frozenset(), (), certificate + ALICE.sign(certificate).data)
    pack = client.pack(new, f"^{old}")
    step = 0
    while True:
        copy = work / f"step{step}" / "project.git"
        copy_tree(base, copy, symlinks=True)
        died, acknowledged = _push(copy, request, pack, step)
        seen = _examine(copy, request, pack, new)
        print(json.dumps({"step": step, "died": died, "acknowledged": acknowledged, **seen}))
        shutil.rmtree(copy.parent)
        if step and not died:
            return
        step += 1 if step == 0 else stride


def _push(copy: Path, request: PushRequest, pack: bytes, step: int) -> tuple[bool, bool]:
    """Push in a process that dies at a step; tells whether it died, and whether it said yes."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _die_at(step)
        report = send(RepositoryDepot(open_carried(copy)), request, pack)
        os.write(writing, b"no" if report.refs[0].refusal else b"yes")
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) == 9, said == b"yes"


def _examine(copy: Path, request: PushRequest, pack: bytes, new: str) -> dict[str, object]:
    """Look at what is left, push in peace, and look again."""
    carried = open_carried(copy)
    was_there = carried.log().refs[MAIN] == new
    git(copy, "fsck", "--connectivity-only")
    try:
        report = send(RepositoryDepot(carried), request, pack)
        again = report.refs[0].refusal or "accepted"
    except PushRefusedError as error:
        again = str(error).partition(":")[0]
    with carried.writing():
        if carried.info.role == ORIGIN:
            follow_in_origin(carried, carried.log())  # as the next push or publication does
        refs = read_refs(carried.git, "refs/heads", "refs/tags")
    git(copy, "fsck", "--strict")
    log = carried.log()
    layout = carried.layout
    return {
        "was there": was_there,
        "again": again,
        "is there": log.refs[MAIN] == new,
        "refs follow": refs == log.refs,
        "replayed": carried.log_store.replay().refs == log.refs,
        "litter": [path.name for path in (*layout.uploads.glob("*"), *layout.incoming.glob("*"))],
    }


def _die_at(step: int) -> None:
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event in STEPS or (event == "open" and _writes(arguments)):
            seen += 1
            if seen == step:
                os._exit(9)

    if step:
        sys.addaudithook(hook)


def _writes(arguments: tuple[object, ...]) -> bool:
    flags = arguments[2]
    return isinstance(flags, int) and bool(flags & _WRITING)


if __name__ == "__main__":
    main()
