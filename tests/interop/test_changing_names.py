"""Learned names that lead inwards, at once or at the second look: nobody inside is connected to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.changing_names import PUBLIC

TESTS = Path(__file__).resolve().parents[1]

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root; run this as root"),
    pytest.mark.skipif(
        any(shutil.which(tool) is None for tool in ("ip", "unshare", "mount")),
        reason="ip, unshare or mount is not installed",
    ),
]


def test_no_name_leads_inwards() -> None:
    """The name server answers with a public address first, with loopback after that, with both."""
    done = subprocess.run(
        ["unshare", "--net", "--mount", sys.executable, "-m", "support.changing_names"],
        cwd=TESTS,
        stdout=subprocess.PIPE,
        check=True,
    )
    told = json.loads(done.stdout)
    for case, addresses in told.items():
        expected = [] if case.startswith("inner only") else [PUBLIC]
        assert addresses == expected, case
    assert len(told) >= 15
