"""Whatever the sources say about the protocol pages is there: pages, sections, link targets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_CITATION = re.compile(r"docs/(protocol|decisions)/([A-Za-z0-9-]+)\.md(,? ?)")
_QUOTED = re.compile(r'"([^"]+)"(?: and "([^"]+)")*')
_PLAIN = re.compile(r"([A-Za-z][A-Za-z0-9 -]*)")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def headings(page: Path) -> list[str]:
    """Return the headings of a page, without its title."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return re.findall(r"^#{2,} (.+)$", text, re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors that renderers make of a page's headings."""
    return {re.sub(r"[^a-z0-9_ -]", "", h.lower()).replace(" ", "-") for h in headings(page)}


def citations(text: str) -> list[tuple[str, str | None]]:
    """Return (page, section) of each citation in a source text; a section may be missing."""
    flat = re.sub(r"\s+(?:#:? ?|//[!/]? ?)?", " ", text)
    found: list[tuple[str, str | None]] = []
    for citation in _CITATION.finditer(flat):
        page = f"{citation[1]}/{citation[2]}.md"
        rest = flat[citation.end() :]
        quoted, plain = _QUOTED.match(rest), _PLAIN.match(rest)
        if citation[3] != ", ":
            found.append((page, None))
        elif quoted is not None:
            found += [(page, section) for section in re.findall(r'"([^"]+)"', quoted[0])]
        else:
            found.append((page, plain[1].strip() if plain is not None else None))
    return found


def sources() -> list[Path]:
    """Return every file that may cite a page."""
    places = (("src", "*.py"), ("tests", "*.py"), ("bench", "*.py"), ("native", "*.rs"))
    return sorted(path for place, kind in places for path in (ROOT / place).rglob(kind))


def test_reader_of_citations() -> None:
    text = (
        'a (docs/protocol/reels.md, "Segments" and\n"Edges"). b docs/protocol/trust.md, SSH\n'
        "signatures; c docs/protocol/trust.md. Source: docs/protocol/mirrorsync.md, mirror-sync."
    )
    assert citations(text) == [
        ("protocol/reels.md", "Segments"),
        ("protocol/reels.md", "Edges"),
        ("protocol/trust.md", "SSH signatures"),
        ("protocol/trust.md", None),
        ("protocol/mirrorsync.md", "mirror-sync"),
    ]


def test_every_cited_section_exists() -> None:
    wrong, seen = [], 0
    for path in sources():
        if path == Path(__file__):
            continue
        for page, section in citations(path.read_text(encoding="utf-8")):
            seen += 1
            if not (DOCS / page).is_file():
                wrong.append(f"{path.relative_to(ROOT)}: no page {page}")
            elif section is not None and section not in headings(DOCS / page):
                wrong.append(f"{path.relative_to(ROOT)}: no section {section!r} in {page}")
    assert wrong == []
    assert seen > 50


PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    wrong = []
    for link in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert wrong == []


def test_decisions_are_numbered_and_listed() -> None:
    records = sorted(path.name for path in (DOCS / "decisions").glob("[0-9]*.md"))
    index = (DOCS / "decisions" / "README.md").read_text(encoding="utf-8")
    assert [name[:4] for name in records] == [f"{n:04}" for n in range(1, len(records) + 1)]
    assert [name for name in records if f"]({name})" not in index] == []
    for name in records:
        text = (DOCS / "decisions" / name).read_text(encoding="utf-8")
        for part in ("Date: ", "Status: ", "## Context", "## Decision", "## Consequences"):
            assert part in text, f"{name} lacks {part!r}"
