"""Every module can be imported by itself, says what it is for, and exports what it names."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from importlib import metadata

import pytest

import gittorrent

MODULES = sorted(
    found.name
    for found in pkgutil.walk_packages(gittorrent.__path__, "gittorrent.")
    if not found.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_module_introduces_itself_and_exports_what_it_names(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__, "the docstring says what the module is for"
    names = getattr(module, "__all__", [])
    assert [n for n in names if not hasattr(module, n)] == []


def test_version_is_that_of_the_package() -> None:
    assert gittorrent.__version__ == metadata.version("gittorrent")


@pytest.mark.parametrize("program", ["gittorrent", "git-torrent", "git-remote-gittorrent"])
def test_programs_are_installed(program: str) -> None:
    (found,) = metadata.entry_points(group="console_scripts", name=program)
    assert callable(found.load())


HEAVY = ("aiohttp", "asyncio", "cryptography", "pysequoia", "sqlite3")


def test_the_command_line_starts_light() -> None:
    """``gittorrent --help`` imports no subcommand, so completion and errors come at once."""
    code = "import sys, gittorrent.cli.main; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert set(HEAVY).isdisjoint(done.stdout.split())
