"""Whether the compiled helper is there, and whether it is new enough."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_ASK = "from gittorrent import native; print(native.is_available(), native.can_deflate())"


@pytest.mark.parametrize(
    ("module", "switch", "answer"),
    [
        ("def deflate_pack(): ...", "1", "True True"),
        ("class Indexer: ...", "1", "True False"),
        ("def deflate_pack(): ...", "0", "False False"),
    ],
    ids=["0.2", "0.1", "switched off"],
)
def test_an_older_helper_does_not_deflate(
    module: str, switch: str, answer: str, tmp_path: Path
) -> None:
    (tmp_path / "gittorrent_native.py").write_text(module + "\n")
    environ = {**os.environ, "PYTHONPATH": str(tmp_path), "GITTORRENT_NATIVE": switch}
    done = subprocess.run(
        [sys.executable, "-c", _ASK], env=environ, stdout=subprocess.PIPE, text=True, check=True
    )
    assert done.stdout.strip() == answer
