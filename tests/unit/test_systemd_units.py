"""The systemd units that are shipped name commands there are, and systemd accepts them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gittorrent.cli.main import COMMANDS

FOLDER = Path(__file__).parents[2] / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))


def test_there_is_one_unit_for_the_node() -> None:
    assert [unit.name for unit in UNITS] == ["gittorrent-serve.service"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_run_commands_and_are_wanted(unit: Path) -> None:
    text = unit.read_text(encoding="utf-8")
    found = re.search(r"^ExecStart=\S+/gittorrent (\w+)", text, re.MULTILINE)
    assert found is not None
    assert found[1] in COMMANDS
    again = re.search(r"^ExecReload=\S+/gittorrent (\w+)", text, re.MULTILINE)
    assert again is not None
    assert again[1] in COMMANDS
    assert "[Install]\nWantedBy=multi-user.target\n" in text
    assert "SuccessExitStatus" not in text  # SIGTERM ends these commands with 0
    assert "\nType=notify\n" in text  # as 'serve' says when it is ready, and that it goes on
    assert "\nWatchdogSec=" in text
    for rights in ("AmbientCapabilities", "CapabilityBoundingSet"):  # node.toml may say 443
        assert f"\n{rights}=CAP_NET_BIND_SERVICE\n" in text


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_accepts_them(unit: Path, tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not here")
    # The program of the units is not installed where tests run.
    text = unit.read_text(encoding="utf-8")
    text = text.replace("/opt/gittorrent/bin/gittorrent", "/bin/true")
    copy = tmp_path / unit.name
    copy.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [program, "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if unit.stem[:10] in line]
    assert done.returncode == 0, done.stderr
    assert said == []
