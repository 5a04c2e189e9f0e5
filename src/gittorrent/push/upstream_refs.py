"""What an upstream says its refs are, and which of them are followed.

Pure. An upstream is a plain git server that knows nothing of this program; what it lists is a
stranger's word. Rules: branches and tags are followed, and besides whatever patterns name, each
with ``*`` for any bytes, once or several times; a pattern that begins with ``^`` leaves refs out.
Names that git does not allow, and namespaces that nobody can be granted, are never followed.
Source: git-ls-remote(1), Output.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import TrustError, UsageError
from gittorrent.ids import Oid, RefName, format_of
from gittorrent.printable import decoded
from gittorrent.trust.refpattern import is_ref_name, is_reserved

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gittorrent.ids import ObjectFormat

ALWAYS = ("refs/heads/*", "refs/tags/*")
"""Patterns of refs that are followed whatever else is."""

MAX_PATTERNS = 64
"""Patterns of one upstream: more are a mistake."""

_SYMREF = b"ref: "
_PEELED = b"^{}"
_HEAD = b"HEAD"


class NotAListingError(TrustError):
    """An upstream's list of refs is none."""


class Advertised(Struct, frozen=True):
    """What an upstream lists.

    Args:
        refs: every ref with its value, annotated tags not peeled.
        head: the branch that its HEAD names; None where it names none, or was not asked for.
    """

    refs: Mapping[RefName, Oid]
    head: RefName | None = None

    @property
    def object_format(self) -> ObjectFormat | None:
        """The format of its ids; None where there are none.

        Raises:
            NotAListingError: there are ids of two formats.
        """
        found = {format_of(oid) for oid in self.refs.values()}
        if len(found) > 1:
            raise NotAListingError("it lists ids of two formats")
        return next(iter(found), None)


def parse_listing(data: bytes) -> Advertised:
    """Read what ``git ls-remote --symref`` wrote.

    Raises:
        NotAListingError: it is something else.
    """
    refs: dict[RefName, Oid] = {}
    head: RefName | None = None
    for line in data.splitlines():
        value, tab, name = line.partition(b"\t")
        if not tab:
            raise NotAListingError(f"it lists {decoded(line[:80])!r}, which is no ref")
        if value.startswith(_SYMREF):
            if name == _HEAD:
                head = RefName(value.removeprefix(_SYMREF))
            continue
        text = value.decode("ascii", "replace")
        if format_of(text) is None:
            raise NotAListingError(f"it lists {decoded(value[:80])!r}, which is no object id")
        if name != _HEAD and not name.endswith(_PEELED):
            refs[RefName(name)] = Oid(text)
    return Advertised(refs, head)


class Selection(Struct, frozen=True):
    """Which refs of an upstream are followed; raises `UsageError` for a bad pattern.

    Args:
        patterns: besides `ALWAYS`; those that begin with ``^`` leave refs out.
    """

    patterns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.patterns) > MAX_PATTERNS:
            raise UsageError(f"more than {MAX_PATTERNS} patterns of refs")
        for pattern in self.patterns:
            _require_pattern(pattern)

    @property
    def is_usual(self) -> bool:
        """Tell whether nothing but branches and tags can be followed."""
        return all(pattern.startswith("^") for pattern in self.patterns)

    @property
    def published(self) -> tuple[str, ...]:
        """Patterns of a publication that cover what is followed, with ``*`` at their ends only."""
        wanted = (each for each in self.patterns if not each.startswith("^"))
        found = (each if "*" not in each else each.partition("*")[0] + "*" for each in wanted)
        # A publication asks git for whole components: "refs/pull/1*" cannot be told from others.
        return tuple(dict.fromkeys(_whole(each) for each in found))

    def select(self, refs: Mapping[RefName, Oid]) -> dict[RefName, Oid]:
        """Return those of some refs that are followed."""
        wanted = _matcher([*ALWAYS, *(p for p in self.patterns if not p.startswith("^"))])
        left_out = _matcher([p[1:] for p in self.patterns if p.startswith("^")])
        return {
            name: oid
            for name, oid in refs.items()
            if wanted(name) and not left_out(name) and is_ref_name(name) and not is_reserved(name)
        }

    def digest(self, refs: Mapping[RefName, Oid]) -> str:
        """Return what differs once refs that are followed, or the patterns, do."""
        chosen = self.select(refs)
        lines = [*sorted(self.patterns), *(f"{chosen[n]} {n!r}" for n in sorted(chosen))]
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _whole(pattern: str) -> str:
    if not pattern.endswith("*") or pattern.endswith("/*"):
        return pattern
    return pattern.rpartition("/")[0] + "/*"


def _require_pattern(pattern: str) -> None:
    """Make sure that a pattern names refs that can be followed.

    Raises:
        UsageError: it does not.
    """
    text = pattern.removeprefix("^").encode("utf-8", "surrogateescape")
    sample = text.replace(b"*", b"x")
    if not is_ref_name(sample) or sample.count(b"/") < 2:
        raise UsageError(
            f"{pattern!r} is no pattern of refs",
            hint="write full names with * for anything: refs/pull/*/head, or ^refs/heads/tmp/*",
        )
    if is_reserved(sample):
        raise UsageError(
            f"{pattern!r} cannot be followed: the namespace is reserved",
            hint="refs/gittorrent/, refs/conflicts/ and refs/replace/ are reserved",
        )


class _matcher:
    """Tells whether a name matches one of some patterns."""

    def __init__(self, patterns: Iterable[str]) -> None:
        words = [
            b".*".join(re.escape(p) for p in each.encode("utf-8", "surrogateescape").split(b"*"))
            for each in patterns
        ]
        self._expression = re.compile(b"|".join(b"(?:%s)" % w for w in words), re.DOTALL)
        self._is_empty = not words

    def __call__(self, name: bytes) -> bool:
        return not self._is_empty and self._expression.fullmatch(name) is not None
