"""What is released is complete and runs alone; each version has one source."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from dist import check_metadata, check_wheel
from dist_install import DistError, direct_needs, needed_by
from packaging.requirements import Requirement

CHECKOUT = Path(__file__).parents[2]


def toml(name: str) -> dict[str, Any]:
    """Read a TOML file of the checkout."""
    return tomllib.loads((CHECKOUT / name).read_text(encoding="utf-8"))


def wheel(place: Path, *names: str, metadata_text: str = "") -> Path:
    """Make a wheel with the named files, all empty, and the given metadata."""
    path = place / "gittorrent-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as zipped:
        for name in names:
            zipped.writestr(name, b"")
        zipped.writestr("gittorrent-1.0.dist-info/METADATA", metadata_text)
    return path


@pytest.mark.slow
def test_sdist_and_wheel_are_right_and_the_wheel_runs_alone(tmp_path: Path) -> None:
    words = [sys.executable, str(CHECKOUT / "tools" / "dist.py"), "--no-native"]
    words += ["--out", str(tmp_path / "dist")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    version = metadata.version("gittorrent")
    built = {path.name for path in (tmp_path / "dist").iterdir()}
    assert built == {f"gittorrent-{version}-py3-none-any.whl", f"gittorrent-{version}.tar.gz"}


def test_the_version_of_the_native_package_stands_in_cargo_toml_alone() -> None:
    project = toml("native/pyproject.toml")["project"]
    assert "version" in project["dynamic"]
    assert "version" not in project
    version = toml("native/Cargo.toml")["workspace"]["package"]["version"]
    for crate in ("native/Cargo.toml", "native/core/Cargo.toml", "native/deflate/Cargo.toml"):
        assert toml(crate)["package"]["version"] == {"workspace": True}
    locked = {p["name"]: p["version"] for p in toml("native/Cargo.lock")["package"]}
    own = ("gittorrent-native", "pack-index", "pack-deflate")
    assert {name: locked[name] for name in own} == dict.fromkeys(own, version)


def test_the_extra_takes_the_native_package_of_this_tree() -> None:
    (line,) = toml("pyproject.toml")["project"]["optional-dependencies"]["native"]
    version = toml("native/Cargo.toml")["workspace"]["package"]["version"]
    assert Requirement(line).specifier.contains(version)


def test_the_installed_native_package_says_its_version() -> None:
    native = pytest.importorskip("gittorrent_native")
    assert native.__version__ == metadata.version("gittorrent-native")


def test_a_wheel_that_lacks_a_file_is_refused(tmp_path: Path) -> None:
    checkout = {"src/gittorrent/a.py", "src/gittorrent/store/1.sql", "docs/x.md"}
    with pytest.raises(DistError, match=r"lacks gittorrent/store/1\.sql"):
        check_wheel(wheel(tmp_path, "gittorrent/a.py"), checkout, set())


def test_a_wheel_with_more_than_the_package_is_refused(tmp_path: Path) -> None:
    made = wheel(tmp_path, "gittorrent/a.py", "tests/b.py")
    with pytest.raises(DistError, match=r"has tests/b\.py"):
        check_wheel(made, {"src/gittorrent/a.py", "tests/b.py"}, set())


def test_files_outside_the_package_are_those_that_are_declared(tmp_path: Path) -> None:
    declared = {"share/fish/a.fish"}
    made = wheel(tmp_path, "gittorrent-1.0.data/data/share/fish/a.fish")
    check_wheel(made, set(), declared)
    with pytest.raises(DistError, match=r"lacks share/zsh/_a"):
        check_wheel(made, set(), declared | {"share/zsh/_a"})
    with pytest.raises(DistError, match=r"has share/fish/a\.fish"):
        check_wheel(made, set(), set())


GOOD = """Metadata-Version: 2.4
Name: gittorrent
Version: 1.0
License-Expression: GPL-2.0-or-later
Description-Content-Type: text/markdown

What it is.
"""


def test_good_metadata_is_accepted(tmp_path: Path) -> None:
    check_metadata([wheel(tmp_path, metadata_text=GOOD)], "1.0")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD.replace("Version: 1.0", "Version: 1.1"), "says version 1.1, the source says 1.0"),
        (GOOD.replace("What it is.", ""), "has no description"),
        (GOOD.replace("License-Expression: GPL-2.0-or-later\n", ""), "names no licence"),
        (GOOD.replace("2.4", "1.2"), "the metadata of .* is wrong"),
        (GOOD.replace("Name: gittorrent", "Name: git torrent!"), "the metadata of .* is wrong"),
    ],
    ids=["version", "description", "licence", "metadata-version", "name"],
)
def test_wrong_metadata_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DistError, match=words):
        check_metadata([wheel(tmp_path, metadata_text=text)], "1.0")


def test_needs_are_followed_and_those_of_extras_are_not() -> None:
    lines = ["aiohttp>=3", 'mypy; extra == "dev"', 'tomli; python_version < "3.11"']
    assert direct_needs(lines) == {"aiohttp"}
    found = needed_by(direct_needs(lines))
    assert {"aiohttp", "yarl", "multidict"} <= found.keys()
    assert "pytest" not in found
