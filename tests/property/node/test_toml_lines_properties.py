"""Lines of keys and values, on documents of all shapes that TOML has."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from gittorrent.node.toml_lines import lines_of

if TYPE_CHECKING:
    from gittorrent.node.toml_lines import KeyPath

KEYS = st.one_of(
    st.from_regex(r"[A-Za-z0-9_-]{1,4}", fullmatch=True),
    st.sampled_from(["a b", "a.b", "[x]", "#", '"', "'", "="]),
)
TEXTS = st.text(st.sampled_from("ab ]}[{,#='\"\\\n\t"), max_size=6)
SPACES = st.sampled_from(["", " ", "\t "])
BREAKS = st.sampled_from(["", "\n", ' # ] } "\n', "\n\n  "])


@st.composite
def written_keys(draw: st.DrawFn, key: str) -> str:
    """Give a key in one of its forms."""
    forms = [json.dumps(key)]
    if key.replace("-", "").replace("_", "").isalnum() and key.isascii():
        forms.append(key)
    if "'" not in key:
        forms.append(f"'{key}'")
    return draw(st.sampled_from(forms))


@st.composite
def strings(draw: st.DrawFn) -> str:
    """Give a string in one of its forms."""
    text = draw(TEXTS)
    forms = [json.dumps(text)]
    if "'" not in text:
        forms.append(f"'''{text}'''")
        forms += [] if "\n" in text else [f"'{text}'"]
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    forms.append(f'"""{escaped}"""')
    forms.append(f'"""{escaped}"x"""""')
    return draw(st.sampled_from(forms))


def inline_tables(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    @st.composite
    def made(draw: st.DrawFn) -> str:
        keys = draw(st.lists(KEYS, max_size=3, unique=True))
        pairs = [f"{draw(written_keys(key))} = {draw(values)}" for key in keys]
        return "{" + ", ".join(pairs) + "}"

    return made()


def arrays(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    @st.composite
    def made(draw: st.DrawFn) -> str:
        items = draw(st.lists(values, max_size=3))
        text = "".join(f"{draw(BREAKS)}{item}{draw(BREAKS)}," for item in items)
        return f"[{text}{draw(BREAKS)}]"

    return made()


SCALARS = st.one_of(
    st.integers(-9, 9).map(str),
    st.sampled_from(["true", "1.5e3", "inf", "1979-05-27 07:32:00", "0x1F"]),
    strings(),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.one_of(arrays(inner), inline_tables(inner)), max_leaves=6
)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Give a document, not always a right one: keys may stand in it twice."""
    lines: list[str] = []
    for _ in range(draw(st.integers(0, 6))):
        space = draw(SPACES)
        dots = f"{draw(SPACES)}.{draw(SPACES)}"
        keys = dots.join(draw(written_keys(draw(KEYS))) for _ in range(draw(st.integers(1, 2))))
        kind = draw(st.sampled_from(["pair", "pair", "table", "array", "comment"]))
        end = draw(st.sampled_from(["", " # [x] = 'y'"]))
        lines.append(
            {
                "pair": f"{space}{keys}{space}={space}{draw(VALUES)}{end}",
                "table": f"{space}[{space}{keys}{space}]{end}",
                "array": f"[[{keys}]]{end}",
                "comment": f"{space}# {keys}",
            }[kind]
        )
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines)


def paths_of(value: object, path: KeyPath = ()) -> set[KeyPath]:
    """Return every key and element below a value."""
    below: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        below = list(value.items())
    elif isinstance(value, list):
        below = list(enumerate(value))
    found = {(*path, key) for key, _ in below}
    return found.union(*(paths_of(each, (*path, key)) for key, each in below))


def accepted(text: str) -> dict[str, object] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


@given(documents())
def test_finds_what_tomllib_finds(text: str) -> None:
    document = accepted(text)
    if document is not None:
        lines = lines_of(text)
        # Of [a.b] with nothing before it, a is there without a line of its own.
        assert set(lines) <= paths_of(document)
        leaves = {path for path in paths_of(document) if not _is_table_at(document, path)}
        assert leaves <= set(lines)


@given(documents())
def test_lines_are_where_things_begin(text: str) -> None:
    """What stands before a line has nothing of it, if it is a document by itself."""
    document = accepted(text)
    if document is None:
        return
    cut = text.split("\n")
    for path, line in lines_of(text).items():
        assert 1 <= line <= len(cut)
        before = accepted("\n".join(cut[: line - 1]))
        if before is not None:
            assert path not in lines_of("\n".join(cut[: line - 1]))


def _is_table_at(document: dict[str, object], path: KeyPath) -> bool:
    value: object = document
    for key in path:
        value = value[key]  # type: ignore[index]
    return isinstance(value, dict)
