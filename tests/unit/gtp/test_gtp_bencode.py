"""Bencoding: one value, one encoding, and bounds on all that a stranger may send."""

from __future__ import annotations

import pytest

from gittorrent.gtp import bencode
from gittorrent.gtp.errors import BencodeError
from gittorrent.gtp.limits import MAX_DEPTH, MAX_DIGITS, MAX_ITEMS

DEEPEST = b"l" * MAX_DEPTH + b"le" + b"e" * MAX_DEPTH
LONGEST = 10**MAX_DIGITS - 1


def deep(depth: int) -> list[bencode.Encodable]:
    value: list[bencode.Encodable] = []
    for _ in range(depth):
        value = [value]
    return value


def test_what_is_allowed_goes_both_ways() -> None:
    value = {b"a": [1, -2, 0, b"", b"x"], b"b": {b"": deep(3)}, b"c": LONGEST, b"d": -LONGEST}
    assert bencode.decode(bencode.encode(value)) == value
    assert bencode.encode(deep(MAX_DEPTH)) == DEEPEST
    assert bencode.decode(DEEPEST) == deep(MAX_DEPTH)
    assert bencode.decode(b"l" + b"i0e" * (MAX_ITEMS - 1) + b"e") == [0] * (MAX_ITEMS - 1)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"l" * (MAX_DEPTH + 2) + b"e" * (MAX_DEPTH + 2), "deep"),
        (b"l" + b"i0e" * MAX_ITEMS + b"e", "values"),
        (b"i%de" % (LONGEST + 1), "no canonical number"),
        (b"i-%de" % (LONGEST + 1), "no canonical number"),
        (b"i-0e", "no canonical number"),
        (b"i00e", "no canonical number"),
        (b"i01e", "no canonical number"),
        (b"ie", "no canonical number"),
        (b"i-e", "no canonical number"),
        (b"i+1e", "no canonical number"),
        (b"i1", "no canonical number"),
        (b"01:x", "no canonical number"),
        (b"2:x", "cut off"),
        (b"-1:x", "begins no value"),
        (b"", "begins no value"),
        (b"li1e", "begins no value"),
        (b"di1ei2ee", "a key must be a string"),
        (b"d1:bi1e1:ai2ee", "ascending"),
        (b"d1:ai1e1:ai2ee", "ascending"),
        (b"i1ei2e", "follows the value"),
    ],
)
def test_what_is_not_canonical_or_too_much_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(BencodeError, match=why):
        bencode.decode(data)


def test_no_more_bytes_are_read_than_allowed() -> None:
    assert bencode.decode(b"3:abc", limit=5) == b"abc"
    with pytest.raises(BencodeError, match="at most 4 are read"):
        bencode.decode(b"3:abc", limit=4)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (True, "truth values"),
        ([False], "truth values"),
        (LONGEST + 1, "digits"),
        (-LONGEST - 1, "digits"),
        (deep(MAX_DEPTH + 1), "deep"),
        (["text"], "str has no bencoding"),
        ([None], "NoneType has no bencoding"),
    ],
)
def test_nothing_is_written_that_would_not_be_read(value: bencode.Encodable, why: str) -> None:
    with pytest.raises(BencodeError, match=why):
        bencode.encode(value)
