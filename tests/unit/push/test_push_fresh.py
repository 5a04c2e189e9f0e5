"""Statements of freshness: read strictly, and old when the policy says so."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gittorrent.ids import SHA1, SHA256, PushId, RepositoryId
from gittorrent.push.fresh import FRESH_WITHIN, MAX_AHEAD, Fresh, FreshnessError, parse_fresh
from support.logs import oid
from support.pushlog import first_policy

FRESH = Fresh(RepositoryId("a2" * 26), PushId(oid(3)), 1_700_000_000)


def test_it_comes_back() -> None:
    assert parse_fresh(FRESH.text(), SHA1) == FRESH


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"fresh 1", b"fresh 2"),
        (b"time 1", b"time 01"),
        (b"time 1", b"time -1"),
        (b"a2a2", b"a1a1"),
        (b"checkpoint 0", b"checkpoint "),
        (b"\n", b"\r\n"),
        (b"00000\n", b"00000"),
        (b"00000\n", b"00000\n\n"),
    ],
)
def test_anything_else_is_refused(old: bytes, new: bytes) -> None:
    text = FRESH.text().replace(old, new)
    assert text != FRESH.text()
    with pytest.raises(FreshnessError):
        parse_fresh(text, SHA1)


def test_of_the_other_object_format() -> None:
    with pytest.raises(FreshnessError):
        parse_fresh(FRESH.text(), SHA256)


def test_when_it_is_old() -> None:
    usual = first_policy().policy
    strict = replace(usual, fresh_within=60)
    for policy, within in ((usual, FRESH_WITHIN), (strict, 60)):
        assert not FRESH.is_old(policy, FRESH.time + within)
        assert FRESH.is_old(policy, FRESH.time + within + 1)
        assert not FRESH.is_old(policy, FRESH.time - MAX_AHEAD)
        assert FRESH.is_old(policy, FRESH.time - MAX_AHEAD - 1)
