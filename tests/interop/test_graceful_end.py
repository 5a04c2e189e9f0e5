"""What a node leaves that is ended while a thread of it writes a file."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path

from gittorrent.repository.carried import Carried
from support.programs import Person, wait_until

PAUSING = Path(__file__).parents[1] / "support" / "pausing.py"


def test_a_node_that_is_ended_while_it_writes_leaves_no_temporary_file(
    project: Carried, people: Callable[[str], Person]
) -> None:
    owner = people("owner")
    owner.variables["PYTHONPATH"] = str(PAUSING.parents[1])
    sign = owner.root / "held-back"
    words = ["gittorrent", "serve", "--git", "127.0.0.1:0", "-v", str(project.layout.git_dir)]
    running = owner.start(sys.executable, PAUSING, sign, *words)
    try:
        wait_until(lambda: sign.exists() or running.process.poll() is not None, "it writes")
        left = list(owner.root.rglob("*.new"))
        assert left, running.err
        running.process.send_signal(signal.SIGTERM)
        assert running.wait() == 0, running.err
    finally:
        running.stop()
    assert "stopped" in running.err
    assert "did not come back" not in running.err
    assert not list(owner.root.rglob("*.new"))
