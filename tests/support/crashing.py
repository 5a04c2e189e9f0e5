"""Publishes again and again, each time dying later: ``crashing.py BASE WORK FIRST STRIDE``.

For step FIRST and each STRIDE-th one after it a copy of BASE is published by a process that dies
right before that step, as by a power cut to the process, and is then published in peace. Prints one
JSON line with the step and the outcome for each, the first with no crash at all. Steps are what
changes the disk: renames, removals and the git commands that write.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.copying import copy_tree
from support.publishing import carried, outcome, publish

WRITING = {"update-ref", "hash-object", "config", "pack-refs", "index-pack", "unpack-objects"}


def main() -> None:
    """Crash at one step after another, until a run ends by itself."""
    base, work = Path(sys.argv[1]), Path(sys.argv[2])
    first, stride = int(sys.argv[3]), int(sys.argv[4])
    step = 0
    while True:
        copy = work / f"step{step}.git"
        copy_tree(base, copy)
        pid = os.fork()
        if pid == 0:
            _die_at(step)
            publish(copy, name="crashed")
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        died = os.waitstatus_to_exitcode(status) == 9
        # As the command does: only a repository that is not carried is given a name.
        name = None if carried(copy).is_carried else "crashed"
        published = publish(copy, name=name, now=1_700_000_100)
        print(json.dumps({"step": step, "died": died, "new": published.is_new, **outcome(copy)}))
        if step and not died:
            return
        shutil.rmtree(copy)
        step += first if step == 0 else stride


def _die_at(step: int) -> None:
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if _is_step(event, arguments):
            seen += 1
            if seen == step:
                os._exit(9)

    if step:
        sys.addaudithook(hook)


def _is_step(event: str, arguments: tuple[object, ...]) -> bool:
    if event == "subprocess.Popen":
        return bool(WRITING & {str(word) for word in arguments[1]})  # type: ignore[attr-defined]
    return event in ("os.rename", "os.remove")


if __name__ == "__main__":
    main()
