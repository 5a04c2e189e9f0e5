"""Writes docs/modules.md: every module of the program, with the first paragraph of its docstring.

Run as a program it rewrites the page; `test_module_list` checks that nobody has to.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "modules.md"

_SOURCES = Path(__file__).parents[2] / "src" / "gittorrent"

_BEGINNING = """\
# Modules

Every module and what it is for, as its docstring begins. [ARCHITECTURE.md](../ARCHITECTURE.md) says
how they belong together, and where to begin. `python tests/unit/module_list.py` makes this page.
"""


def page() -> str:
    """Return the page as it should be."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield _BEGINNING
    packages = sorted(path.parent for path in _SOURCES.rglob("__init__.py"))
    for package in packages:
        modules = sorted(path for path in package.glob("*.py") if not path.stem.startswith("__"))
        name = ".".join(package.relative_to(_SOURCES.parent).parts)
        yield f"## {name}\n\n{_about(package / '__init__.py')}\n"
        if modules:
            yield "| module | |\n|---|---|"
            yield from (f"| `{path.stem}` | {_about(path)} |" for path in modules)
            yield ""


def _about(path: Path) -> str:
    """Return the first paragraph of a module's docstring, as Markdown for a cell of a table."""
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"), str(path)))
    assert said, f"{path} has no docstring"
    first = " ".join(said.split("\n\n")[0].split())
    return re.sub(r"`+", "`", first).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
