"""Writes ``expected.json`` anew: ``python tests/golden/regenerate.py``.

Only for a change of the recipes or a new version of the encoder: that the file changes otherwise
means that mirrors in the field would no longer agree with each other.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.path.insert(0, str(Path(__file__).resolve().parent))

import golden_cases as cases

from support.repositories import RECIPES, make


def main() -> None:
    """Build every reel and write down what came out."""
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, Any] = {"deflate": cases.deflate_probe(Path(folder, "probe"))}
        reels: dict[str, Any] = {}
        indexes: dict[str, Any] = {}
        for recipe in RECIPES:
            made = make(recipe, Path(folder, recipe))
            for case in cases.cases(recipe, len(made.states)):
                reels[case.name] = cases.build(case, made)
            for case in cases.index_cases(recipe, len(made.states)):
                indexes[case.name] = cases.build_index(case, made)
        found["reels"] = reels
        found["indexes"] = indexes
        found["states"] = {
            recipe: make(recipe, Path(folder, "again", recipe)).states
            for recipe in RECIPES
            if recipe != "many-refs"
        }
    cases.EXPECTED.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{len(reels)} reels written to {cases.EXPECTED}")


if __name__ == "__main__":
    main()
