"""How ``gittorrent status`` says in words how mirrors keep up."""

from __future__ import annotations

from msgspec.structs import replace

from gittorrent.cli.repository_status import CheckStatus, describe_check

NEVER = CheckStatus(
    checked=None, succeeded=None, source="", failed=None, error="", failures=0, behind=0
)
WELL = replace(NEVER, checked=100, succeeded=100, source="git://a/x.git")


def test_words_for_a_mirror_that_keeps_up() -> None:
    assert describe_check(WELL, 112.0) == "up to date 0:12 ago with git://a/x.git"
    assert describe_check(replace(WELL, failed=90, error="gone"), 100.0).startswith("up to date")


def test_words_for_a_mirror_that_does_not() -> None:
    failing = replace(WELL, checked=160, failed=160, error="a is gone", failures=2, behind=3)
    assert describe_check(failing, 170.0) == (
        "not updated 0:10 ago (2 times in a row): a is gone;"
        " last updated 1:10 ago from git://a/x.git; 3 checkpoints behind"
    )
    first = replace(NEVER, checked=160, failed=160, error="a is gone", failures=1, behind=1)
    assert describe_check(first, 160.0) == (
        "not updated 0:00 ago: a is gone; it never was before; 1 checkpoint behind"
    )
    assert "no look for news is recorded" in describe_check(NEVER, 1.0)
