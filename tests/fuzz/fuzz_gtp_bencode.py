"""Fuzz target: what bencoding is read has one encoding; metainfo and tracker answers are refused
or understood."""

from __future__ import annotations

from gittorrent.gtp import bencode
from gittorrent.gtp.errors import GtpError
from gittorrent.gtp.metainfo import parse_metainfo
from gittorrent.gtp.tracker_messages import parse_answer, parse_request

_PEER = b"d7:address9:192.0.2.17:peer id20:aaaaaaaaaaaaaaaaaaaa4:porti9417ee"
SEEDS = [
    b"d10:referenceslee",
    b"d10:references" + b"l4:bodye" + b"4:repod6:pubkey3:keyee",
    b"d7:expiresi600e5:peersl" + _PEER + b"e10:referencesl1:xee",
    b"d14:failure reason4:noneee",
    b"d1:ai-1e1:bl3:abci0eee",
    b"d7:profile9:perl-20084:repod11:description1:d6:pubkey1:ke8:trackersl5:http:ee",
    b"repo_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=%00aaaaaaaaaaaaaaaaaaa&port=1&event=started",
]


def one_input(data: bytes) -> None:
    try:
        value = bencode.decode(data)
    except GtpError:
        pass
    else:
        if bencode.encode(value) != data:
            raise AssertionError("two encodings of one value were read")
    for parse in (parse_metainfo, parse_answer):
        try:
            parse(data)
        except GtpError:
            continue
    try:
        request = parse_request(data.decode("latin-1"))
    except GtpError:
        return
    if parse_request(request.query()) != request:
        raise AssertionError("a tracker request does not survive")


if __name__ == "__main__":
    from harness import run

    run(one_input)
