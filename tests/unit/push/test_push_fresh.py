"""Statements of freshness: old when the policy says so."""

from __future__ import annotations

from msgspec.structs import replace

from gittorrent.ids import PushId, RepositoryId
from gittorrent.push.fresh import FRESH_WITHIN, MAX_AHEAD, Fresh
from support.logs import oid
from support.pushlog import first_policy

FRESH = Fresh(RepositoryId("a2" * 26), PushId(oid(3)), 1_700_000_000)


def test_when_it_is_old() -> None:
    usual = first_policy().policy
    strict = replace(usual, fresh_within=60)
    for policy, within in ((usual, FRESH_WITHIN), (strict, 60)):
        assert not FRESH.is_old(policy, FRESH.time + within)
        assert FRESH.is_old(policy, FRESH.time + within + 1)
        assert not FRESH.is_old(policy, FRESH.time - MAX_AHEAD)
        assert FRESH.is_old(policy, FRESH.time - MAX_AHEAD - 1)
