"""The words of ``gittorrent clone``: our options, git clone's with their values, URL and directory.

Git's options may stand anywhere, as they may for git, so it has to be known which of them take the
next word as their value. Git tells the long ones itself, whatever its version; the short ones have
been the same for years. Abbreviations and bundles of short options are read as git reads them.

Pure. Source: gitcli(7), Enhanced option parser; git-clone(1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

SHORT_WITH_VALUE = frozenset("bcjou")
"""Short options of git clone's that take a value: branch, config, jobs, origin, upload-pack."""


class SortedWords(Struct):
    """What stands on the command line.

    Args:
        own: our options, with their values.
        git: options of git clone's, with their values.
        places: the URL and the directory.
    """

    own: list[str] = field(default_factory=list)
    git: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)


def sort_words(
    words: Sequence[str],
    own_valued: Collection[str],
    own_switches: Collection[str],
    git_long: Callable[[], Sequence[str]],
) -> SortedWords:
    """Part our options from git's, and both from URL and directory.

    Args:
        words: the command line.
        own_valued: options of ours that take a value.
        own_switches: options of ours that take none.
        git_long: returns git clone's long options, those that take a value with ``=`` at the end.
    """
    found = SortedWords()
    rest = iter(words)
    for word in rest:
        if word == "--":
            found.places += rest
        elif not word.startswith("-") or word == "-":
            found.places.append(word)
        elif word.partition("=")[0] in own_valued or word in own_switches:
            found.own.append(word)
            if word in own_valued:
                found.own += _next(rest)
        else:
            found.git.append(word)
            if takes_next(word, git_long):
                found.git += _next(rest)
    return found


def takes_next(word: str, git_long: Callable[[], Sequence[str]]) -> bool:
    """Tell whether an option of git clone's takes the next word as its value."""
    if not word.startswith("--"):
        # In a bundle the first that takes a value takes what is left of the word, if anything is.
        at = next((n for n, letter in enumerate(word) if letter in SHORT_WITH_VALUE), None)
        return at is not None and at == len(word) - 1
    if "=" in word:
        return False
    known = git_long()
    if f"{word}=" in known:
        return True
    # An ambiguous abbreviation is refused by git, whatever we take it for.
    meant = [each for each in known if each.startswith(word)]
    return word not in known and bool(meant) and all(each.endswith("=") for each in meant)


def _next(rest: Iterator[str]) -> list[str]:
    value = next(rest, None)
    return [] if value is None else [value]
