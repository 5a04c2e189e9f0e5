"""Fsck's rules for what is received, and the exceptions that the user configured.

Git takes exceptions on a fetch from ``fetch.fsck.<rule>`` and ``fetch.fsck.skipList``
(git-config(1)). They are read here once and given to whatever checks objects, so that all roads
have the same rules: git itself reads them only where it fetches. What breaks a rule is whole, and
nobody's lie: honest histories have such objects.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import TrustError, UsageError
from gittorrent.git.runner import failure_in

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.git.runner import Git

_PREFIX = "fetch.fsck."
_SKIP_LIST = "skiplist"
_USAGE = 129
"""Exit status of a git that was content with its options and missed the rest."""

_UNKNOWN = "Unhandled message id: "
# From the beginning of a line, since what a mirror says stands after "remote:".
_SAID = re.compile(r"(?:^|[\r\n])\s*fatal: fsck (?:error in pack|failed)")

_BROKEN = re.compile(
    r"(?:^|[\r\n])(?:error: |fatal: )?(?:object|commit|tree|blob|tag) ([0-9a-f]{40,64}):"
    r" ([a-zA-Z0-9]+): ([^\r\n]*)"
)
"""What git and the compiled indexer say: the object, git's name for the rule, and why."""

_NO_EXCEPTION = ("nulInHeader", "unterminatedHeader")
"""Rules that git takes no exceptions from; it has lists of objects for them all the same."""


class RulesBrokenError(TrustError):
    """An object breaks one of fsck's rules, to which git's configuration holds what is received.

    Args:
        said: what the one who found it says, the rule and the object.
        source: who sent it, such as a URL; empty if that tells nothing.
        first: what becomes of what came, or what else can be done.
        at: where an exception has to be made, if not here.
    """

    def __init__(
        self,
        said: str,
        *,
        source: str = "",
        first: str = "what was downloaded is kept",
        at: str = "",
    ) -> None:
        found = _BROKEN.search(said)
        if found is None:
            shown = "; ".join(failure_in(said).splitlines())
            what, name = f"an object breaks fsck's rules: {shown}", "<rule>"
        else:
            oid, name, why = found.groups()
            what = f"object {oid} breaks fsck's rules: {name}: {why.strip()}"
        where = f" {at}" if at else ""
        advice = f"{_PREFIX}skipList{where} makes exceptions for single objects"
        if name not in _NO_EXCEPTION:
            setting = f"'git config --global {_PREFIX}{name} ignore'"
            advice = f"{setting}{where} makes an exception, {_PREFIX}skipList one for an object"
        super().__init__(
            f"{what}, from {source}" if source else what,
            hint=f"{first}; {advice}" if first else advice,
        )


class FsckRules(Struct, frozen=True):
    """All of fsck's rules but for some exceptions.

    Args:
        exceptions: names of rules with ``error``, ``warn`` or ``ignore``, and ``skiplist`` with a
            file's absolute path; the last for a rule counts.
    """

    exceptions: tuple[tuple[str, str], ...] = ()

    @property
    def strict(self) -> str:
        """The option for ``git index-pack`` and ``git unpack-objects``."""
        words = ",".join(f"{name}={value}" for name, value in self.exceptions)
        return f"--strict={words}" if words else "--strict"

    @property
    def settings(self) -> list[str]:
        """The settings for a git that fetches."""
        made = [f"{_PREFIX}{name}={value}" for name, value in self.exceptions]
        return ["transfer.fsckObjects=true", "fetch.fsckObjects=true", *made]


def says_rules_are_broken(said: str) -> bool:
    """Tell whether git (in the C locale) says that fsck's rules were broken."""
    return _SAID.search(said) is not None


def read_rules(git: Git, config: Iterable[tuple[str, str]]) -> FsckRules:
    """Return the rules with the exceptions that git's configuration makes for fetches.

    As in a fetch by git, rules that this git does not have are left out.

    Args:
        git: to ask for paths and whether it takes the exceptions.
        config: names in lower case, and values, in their order.

    Raises:
        UsageError: git does not take them.
    """
    found = [(name[len(_PREFIX) :], value) for name, value in config if name.startswith(_PREFIX)]
    made = [pair for pair in found if pair[0] != _SKIP_LIST]
    if len(made) < len(found):
        made += [(_SKIP_LIST, path) for path in _skip_lists(git)]
    while made:
        rules = FsckRules(tuple(made))
        done = git.attempt("index-pack", rules.strict)
        if done.returncode == _USAGE:
            return rules
        said = done.stderr.decode(errors="backslashreplace").strip()
        unknown = said.partition(_UNKNOWN)[2]
        known = [pair for pair in made if pair[0] != unknown]
        if len(known) == len(made):
            raise UsageError(
                f"git does not take the settings {_PREFIX}*: {said}",
                hint=f"see them with 'git config --show-origin --get-regexp {_PREFIX}'",
            )
        made = known
    return FsckRules()


def _skip_lists(git: Git) -> list[str]:
    """Return the paths of the lists; relative ones begin where this program was started."""
    words = ("config", "--null", "--type=path", "--get-all", f"{_PREFIX}{_SKIP_LIST}")
    paths = git.run(*words).decode("utf-8", "surrogateescape").split("\0")
    return [str(Path(path).absolute()) for path in paths if path]
