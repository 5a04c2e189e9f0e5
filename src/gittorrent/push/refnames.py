"""Which ref names may be published.

Pure. The rules for ref names of `gittorrent.trust.refpattern`, plus what a name could do on the
machines it travels to: components too long for a file name, names where one is a directory of
another.
A hostile name never reaches a git command line or a file system
(docs/protocol/trust.md, "Ref names").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.errors import TrustError
from gittorrent.trust.refpattern import is_reserved, ref_name_fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_COMPONENT = 250
"""Bytes; a component and ``.lock`` must fit the usual limit for file names."""


_SHOWN = 100
"""Bytes of a name that an error shows."""


class RefNameError(TrustError):
    """A ref has a name that must not be published or accepted."""


def check_ref_name(name: bytes) -> None:
    """Raise `RefNameError` unless ``name`` may be published as a ref.

    Args:
        name: full name, such as ``b"refs/heads/main"``.
    """
    reason = _fault(name)
    if reason:
        raise RefNameError(f"ref name {shown_name(name)!r} {reason}")


def check_no_directory_conflict(names: Iterable[bytes]) -> None:
    """Raise `RefNameError` when one name is a directory of another, such as ``a`` and ``a/b``."""
    for name, outer in _below_others(names):
        raise RefNameError(f"refs {_text(outer)!r} and {_text(name)!r} cannot exist together")


def unpublishable_names(names: Iterable[bytes]) -> dict[bytes, str]:
    """Return the names that must not be published, with the reason, as what follows the name.

    Of two that cannot exist together it is the one below the other.
    """
    present = set(names)
    faults = {name: fault for name in sorted(present) if (fault := _fault(name))}
    for name, outer in _below_others(present - faults.keys()):
        faults[name] = f"cannot exist together with {shown_name(outer)!r}"
    return faults


def shown_name(name: bytes) -> str:
    """Return a name as text, or the beginning of a long one, which says which one it is."""
    return _text(name if len(name) <= _SHOWN else name[: _SHOWN - 3] + b"...")


def _below_others(names: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield each name that has another one as a directory, and that one."""
    present = set(names)
    for name in sorted(present):
        position = name.find(b"/", len(b"refs/"))
        while position >= 0:
            if name[:position] in present:
                yield name, name[:position]
                break
            position = name.find(b"/", position + 1)


def _text(name: bytes) -> str:
    return name.decode(errors="backslashreplace")


def _fault(name: bytes) -> str:
    if fault := ref_name_fault(name):
        return fault
    if name.count(b"/") < 2:
        return "is not of the form refs/<kind>/<name>"
    if any(len(component) > MAX_COMPONENT for component in name.split(b"/")):
        return f"has a component longer than {MAX_COMPONENT} bytes"
    if is_reserved(name):
        return "is in a name space reserved for this program or for git"
    return ""
