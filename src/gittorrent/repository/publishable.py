"""Selects the refs that are published: those that patterns name, without unpublishable names.

One ref that cannot be published does not keep the others back: it is left out, and the owner is
told each time. So is one that the repository's settings hide from whoever fetches. A ref that
cannot be read stops the publication instead, since leaving it out would delete it everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import UsageError
from gittorrent.git.refs import list_sound_refs
from gittorrent.push.refnames import shown_name, unpublishable_names
from gittorrent.repository.hidden_refs import hidden_refs
from gittorrent.trust.errors import PolicyError
from gittorrent.trust.refpattern import RefPattern, is_reserved

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from gittorrent.git.runner import Git
    from gittorrent.ids import RefName, Refs
    from gittorrent.repository.carried import Carried

HIDDEN = "is hidden from whoever fetches, by transfer.hideRefs or uploadpack.hideRefs"

_SHOWN = 5
"""Refs that a warning names."""


class NothingPublishableError(UsageError):
    """The repository's refs cannot be published as they are."""


class Unpublishable(Struct, frozen=True):
    """A ref that cannot be published.

    Args:
        name: its name.
        reason: why, as what follows the name.
    """

    name: RefName
    reason: str


def list_selected(carried: Carried, patterns: tuple[str, ...]) -> bytes:
    """Return the refs that ``patterns`` select, as `gittorrent.git.refs.list_sound_refs` does.

    Raises:
        NothingPublishableError: a pattern is none.
        BrokenRefError: a ref cannot be read.
    """
    require_patterns(patterns)
    return list_sound_refs(carried.git, *(pattern.removesuffix("/*") for pattern in patterns))


def require_patterns(patterns: Iterable[str]) -> None:
    """Make sure that what is to select refs can do that.

    Raises:
        NothingPublishableError: a pattern is none.
    """
    for pattern in patterns:
        try:
            RefPattern(pattern.encode("utf-8", "surrogateescape"))
        except PolicyError as error:
            raise NothingPublishableError(
                f"cannot publish {pattern!r}: {error}", hint=error.hint
            ) from error


def publishable(
    refs: Refs, git: Git, known: Collection[RefName] = ()
) -> tuple[Refs, tuple[Unpublishable, ...]]:
    """Return those of selected refs that can be published, and those that cannot.

    Args:
        refs: the refs.
        git: their repository.
        known: names that are published already.
    """
    selected = {name: oid for name, oid in refs.items() if not is_reserved(name)}
    new = [name for name in selected if name not in known]
    faults = dict.fromkeys(hidden_refs(git, new), HIDDEN) | unpublishable_names(new)
    left_out = [Unpublishable(name, faults[name]) for name in selected if name in faults]
    return {name: oid for name, oid in selected.items() if name not in faults}, tuple(left_out)


def describe_left_out(git_dir: Path, left_out: tuple[Unpublishable, ...]) -> str:
    """Return a warning that says which refs were left out, and why."""
    number = len(left_out)
    hint = "rename or delete such refs with 'git update-ref'"
    if any(each.reason == HIDDEN for each in left_out):
        hint += ", and end the hiding of those that everybody may have"
    lines = [f"  {shown_name(each.name)} {each.reason}" for each in left_out[:_SHOWN]]
    if number > _SHOWN:
        lines.append(f"  and {number - _SHOWN} more")
    what = "1 ref that cannot" if number == 1 else f"{number} refs that cannot"
    return "\n".join(
        [
            f"warning: left out {what} be published, of {git_dir}:",
            *lines,
            f"hint: {hint}; all others are published",
        ]
    )
