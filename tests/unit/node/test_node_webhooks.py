"""Webhooks that came before."""

from __future__ import annotations

from gittorrent.node.webhooks import MAX_SEEN, MAX_SEEN_NAMES, SeenWebhooks


def test_what_came_before_is_known_for_its_repository() -> None:
    seen = SeenWebhooks()
    assert [seen.add("a", b"1"), seen.add("a", b"2"), seen.add("b", b"1")] == [False] * 3
    assert seen.add("a", b"1")
    assert seen.add("b", b"1")


def test_what_came_lately_has_places_that_others_cannot_take() -> None:
    seen = SeenWebhooks()
    seen.add("a", b"1")
    for number in range(3 * MAX_SEEN):
        seen.add("b", b"%d" % number)
        seen.add("a", b"2")
    assert seen.add("a", b"1")
    assert not seen.add("b", b"0")
    for number in range(MAX_SEEN_NAMES):
        seen.add(f"c{number}", b"1")
    assert not seen.add("a", b"1")
