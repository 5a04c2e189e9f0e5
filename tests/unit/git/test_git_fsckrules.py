"""What is said of objects that break fsck's rules."""

from __future__ import annotations

import pytest

from gittorrent.git.fsckrules import RulesBrokenError

OID = "ab" * 20
BY_GIT = f"""\
remote: fatal: {"cd" * 20} is fine
Receiving objects: 50%\rerror: object {OID}: hasDotgit: contains '.git'
fatal: fsck error in packed object
fatal: fetch-pack: invalid index-pack output
"""


@pytest.mark.parametrize("said", [BY_GIT, f"tree {OID}: hasDotgit: contains '.git'"])
def test_the_rule_and_its_exception_are_named(said: str) -> None:
    error = RulesBrokenError(said)
    assert str(error) == f"object {OID} breaks fsck's rules: hasDotgit: contains '.git'"
    assert error.hint == (
        "what was downloaded is kept; 'git config --global fetch.fsck.hasDotgit ignore' makes an"
        " exception, fetch.fsck.skipList one for an object"
    )


def test_whose_they_are_and_where_exceptions_are_made() -> None:
    error = RulesBrokenError(BY_GIT, source="git://a.example", first="", at="on the mirror")
    assert str(error).endswith(" contains '.git', from git://a.example")
    assert error.hint.startswith("'git config --global fetch.fsck.hasDotgit ignore' on the mirror")


def test_some_rules_have_no_exceptions() -> None:
    error = RulesBrokenError(f"error: object {OID}: nulInHeader: broken\nfatal: fsck failed")
    assert "config" not in error.hint
    assert "fetch.fsck.skipList makes" in error.hint


def test_words_that_are_not_known_are_shown() -> None:
    """Without what the server says, and without progress."""
    error = RulesBrokenError("remote: x\nReceiving: 3%\nerror: something\nfatal: fsck failed\n")
    assert str(error) == "an object breaks fsck's rules: error: something; fatal: fsck failed"
    assert "fetch.fsck.<rule>" in error.hint
    assert "says little" in str(RulesBrokenError("says little"))
