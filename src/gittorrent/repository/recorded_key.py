"""The key that a repository or the node's database records, by where it was when that was written.

Keys that this program made lie in the node's home, which people move: to another disk, to another
machine, or because their own name changed. What is recorded is a path of before then, and the key
lies in the home that is. Rules: only where nothing is at the recorded place; whose key it is the
caller compares with the policy, as always. Must not know what is signed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gittorrent.signing.keys import resolve_signer
from gittorrent.store.home import home_if_any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gittorrent.signing.keys import Signer


def recorded_signer(spec: str | None, config: Mapping[str, str]) -> Signer:
    """Find a key that was recorded; the arguments and errors are those of `resolve_signer`."""
    return resolve_signer(spec and present_place(spec), config)


def present_place(spec: str) -> str:
    """Return what a recorded key is called now; of one that is no file, or nowhere, the same."""
    path, home = Path(spec), home_if_any()
    if home is None:
        return spec
    if path.is_absolute() and path.parent.name == home.keys.name and not path.exists():
        moved = home.keys / path.name
        if moved.exists():
            return str(moved)
    return spec
