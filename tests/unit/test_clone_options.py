"""Which words of ``gittorrent clone`` are git's, and which take the next one as their value."""

from __future__ import annotations

import pytest

from gittorrent.cli.clone_options import sort_words

LONG = ["--depth=", "--branch=", "--bare", "--origin=", "--recurse-submodules", "--reference=",
        "--reference-if-able=", "--sparse", "--server-option=", "--shallow-since="]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "git", "places"),
    [
        ("--depth 1 URL", "--depth 1", "URL"),
        ("--depth=1 URL dir", "--depth=1", "URL dir"),
        ("--dep 1 URL", "--dep 1", "URL"),
        ("--reference /x URL", "--reference /x", "URL"),
        ("--refer /x URL", "--refer /x", "URL"),
        ("-b main URL", "-b main", "URL"),
        ("-bhot URL", "-bhot", "URL"),
        ("-qb main URL", "-qb main", "URL"),
        ("-qn URL", "-qn", "URL"),
        ("-j4 URL --bare dir", "-j4 --bare", "URL dir"),
        ("--recurse-submodules URL", "--recurse-submodules", "URL"),
        ("-c a.b=c -o up URL", "-c a.b=c -o up", "URL"),
        ("--bare -- URL -dir", "--bare", "URL -dir"),
        ("URL -b", "-b", "URL"),
    ],
)
def test_options_of_git_stand_anywhere(words: str, git: str, places: str) -> None:
    found = sort_words(words.split(), {"--up-limit"}, {"--help", "-h"}, lambda: LONG)
    assert (found.git, found.places, found.own) == (git.split(), places.split(), [])


def test_own_options_are_told_from_values_of_git() -> None:
    words = ["--up-limit", "1M", "-b", "--help", "--up-limit=2M", "URL", "-h"]
    found = sort_words(words, {"--up-limit"}, {"--help", "-h"}, lambda: LONG)
    assert found.own == ["--up-limit", "1M", "--up-limit=2M", "-h"]
    assert found.git == ["-b", "--help"]
