"""Fuzz target: Authorization headers. What comes out of one is a token in its only spelling."""

from __future__ import annotations

from gittorrent.wire.tokens import digest_of, encode_basic, is_token, make_token, token_in

_TOKEN = make_token(bytes(range(32)))

SEEDS: list[bytes] = [
    encode_basic("alice", _TOKEN).encode(),
    encode_basic("", _TOKEN).encode(),
    encode_basic("alice:x", _TOKEN).encode(),
    b"Basic ",
    b"Basic OnB3",
    b"Bearer " + _TOKEN.encode(),
    _TOKEN.encode(),
    b"",
]


def one_input(data: bytes) -> None:
    """Read ``data`` as a header; raises only when the reader itself is wrong."""
    token = token_in(data.decode("utf-8", "surrogateescape"))
    if token is None:
        return
    if not is_token(token) or len(digest_of(token)) != 64:
        raise RuntimeError("took something for a token that is none")
    if token_in(encode_basic("x", token)) != token:
        raise RuntimeError("a token is not found in a header that says it")


if __name__ == "__main__":
    from harness import run

    run(one_input)
