"""Reads a Dockerfile and a compose file, as far as ours go."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "container"
DOCKERFILE, COMPOSE = FOLDER / "Dockerfile", FOLDER / "compose.yaml"

Value = str | list[Any] | dict[str, Any] | None


def instructions(text: str) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile with what follows each, on one line."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found = (line.partition(" ") for line in whole.splitlines() if line.strip())
    return [(word, rest.strip()) for word, _, rest in found]


def last(text: str, instruction: str) -> str:
    """Return what the last instruction of a kind says."""
    return [rest for word, rest in instructions(text) if word == instruction][-1]


def parse_yaml(text: str) -> dict[str, Any]:
    """Read a document of mappings, lists in brackets, and words: what our compose file is made of.

    Raises:
        ValueError: it has something else.
    """
    lines = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            lines.append((number, len(line) - len(line.lstrip()), line.strip()))
    found, rest = _mapping(lines, 0)
    if rest:
        raise ValueError(f"line {rest[0][0]}: is not understood")
    return found


def _mapping(
    lines: list[tuple[int, int, str]], indent: int
) -> tuple[dict[str, Any], list[tuple[int, int, str]]]:
    found: dict[str, Any] = {}
    while lines and lines[0][1] == indent:
        number, _, line = lines.pop(0)
        shape = re.fullmatch(r"([A-Za-z_][A-Za-z0-9_-]*):(?: (.+))?", line)
        if shape is None or shape[1] in found:
            raise ValueError(f"line {number}: {line!r} is not understood")
        if shape[2] is not None:
            found[shape[1]] = _scalar(shape[2])
        elif lines and lines[0][1] > indent:
            found[shape[1]], lines = _mapping(lines, lines[0][1])
        else:
            found[shape[1]] = None
    return found, lines


def _scalar(text: str) -> Any:
    if text[0] in '["':
        return json.loads(text)
    return {"true": True, "false": False}.get(text, text)
