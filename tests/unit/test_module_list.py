"""The list of modules is that of the sources, and ARCHITECTURE.md names no module that is gone."""

from __future__ import annotations

import re
from pathlib import Path

from module_list import PAGE, page

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src" / "gittorrent"


def test_the_page_is_that_of_the_sources() -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert written == page(), "run python tests/unit/module_list.py"


def test_the_map_names_what_is_there() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    table = text.split("## Look here")[1].split("\n\n`native/`")[0]
    rows = re.findall(r"^\| `([a-z_]+)` \|(.*)$", table, re.MULTILINE)
    packages = {each.name for each in SOURCES.iterdir() if (each / "__init__.py").exists()}
    alone = {each.stem for each in SOURCES.glob("*.py") if not each.stem.startswith("__")}
    assert {name for name, _ in rows} == packages | alone
    for package, row in rows:
        here = SOURCES / package
        for name in re.findall(r"`([a-z_]+)`", row) if here.is_dir() else ():
            assert (here / f"{name}.py").exists() or (here / name).is_dir(), f"{package}: {name}"
