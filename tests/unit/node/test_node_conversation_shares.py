"""Which conversations on shared connections give way to others."""

from __future__ import annotations

from gittorrent.node.conversation_shares import (
    IDLE_BYTES,
    LEAST_BYTES,
    MEAN_BYTES,
    YOUR_SHARE,
    ConversationShare,
    ConversationShares,
)

HOSTILE = "192.0.2.1"
HONEST = "198.51.100.7"


class Ended:
    """What was ended, and the reasons."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def enter(self, shares: ConversationShares, address: str, name: str) -> ConversationShare:
        """Begin a conversation that is to be let in."""

        def end(reason: str) -> None:
            assert reason == YOUR_SHARE
            self.names.append(name)

        found = shares.enter(address, end)
        assert found is not None
        return found


def refused(_reason: str) -> None:
    raise AssertionError("what was not let in is not ended")


def test_the_largest_of_the_address_that_holds_most_gives_way() -> None:
    shares, ended = ConversationShares(), Ended()
    honest = [ended.enter(shares, HONEST, "honest") for _ in range(200)]
    for each in honest:
        each.hold(100 << 10)
    for number in range(8):
        ended.enter(shares, HOSTILE, str(number)).hold(shares.most_bytes // 4 + number)
        assert shares.held <= shares.most_bytes
    assert "honest" not in ended.names
    assert ended.names == ["3", "4", "5", "6", "7"]
    assert len(shares) == 203


def test_an_address_with_many_small_ones_gives_way_to_one_with_few() -> None:
    """Otherwise it would be enough to hold little in each of very many."""
    shares, ended = ConversationShares(), Ended()
    each = shares.most_bytes // 1024 - IDLE_BYTES
    for number in range(1024):
        ended.enter(shares, HOSTILE, f"hostile {number}").hold(each)
    large = ended.enter(shares, HONEST, "honest")
    large.hold(8 << 20)
    assert "honest" not in ended.names
    assert shares.held <= shares.most_bytes


def test_a_newcomer_of_the_address_that_has_most_is_refused() -> None:
    shares, ended = ConversationShares(3, 3), Ended()
    for name in "abc":
        ended.enter(shares, HOSTILE, name)
    assert shares.enter(HOSTILE, refused) is None
    assert not ended.names


def test_those_of_one_address_do_not_keep_another_one_out() -> None:
    shares, ended = ConversationShares(4, 4), Ended()
    for name in "abcd":
        ended.enter(shares, HOSTILE, name)
    ended.enter(shares, HONEST, "honest")
    ended.enter(shares, HONEST, "honest")
    assert ended.names == ["d", "c"]
    assert shares.enter(HONEST, refused) is None  # it would have more than the other one
    assert len(shares) == 4


def test_eight_addresses_that_hold_all_they_can_leave_room_for_200_repositories() -> None:
    shares, ended = ConversationShares(), Ended()
    for number in range(8 * 1024):
        share = shares.enter(f"203.0.113.{number % 8}", lambda _reason: None)
        if share is not None:
            share.hold(240 << 10)
        assert shares.held <= shares.most_bytes
    honest = [ended.enter(shares, HONEST, "honest") for _ in range(200)]
    for each in honest:
        each.hold(20 << 10)
    assert "honest" not in ended.names
    assert shares.held <= shares.most_bytes


def test_one_address_holds_no_more_than_its_number() -> None:
    shares, ended = ConversationShares(10, 2), Ended()
    first = ended.enter(shares, "2001:db8::1", "a")
    ended.enter(shares, "2001:db8::2", "b")
    assert shares.enter("2001:db8::3", refused) is None
    shares.leave(first)
    shares.leave(first)
    ended.enter(shares, "2001:db8::3", "c")
    for _ in range(8):
        ended.enter(shares, "127.0.0.1", "loopback")
    assert not ended.names


def test_who_gave_way_counts_no_more() -> None:
    shares, ended = ConversationShares(1, 1), Ended()
    large = ended.enter(shares, HOSTILE, "large")
    large.hold(LEAST_BYTES)
    assert ended.names == ["large"]
    large.hold(LEAST_BYTES)
    shares.leave(large)
    assert (shares.held, len(shares)) == (0, 0)


def test_more_conversations_may_hold_more() -> None:
    shares = ConversationShares(8192, 1024)
    assert shares.most_bytes == 8192 * MEAN_BYTES
    shares.change(100_000, 1024)
    assert shares.most_bytes == 100_000 * MEAN_BYTES
