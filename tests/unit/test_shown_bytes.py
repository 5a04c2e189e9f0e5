"""Errors quote names and lines as text: nobody typed b'...'."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gittorrent.errors import GitTorrentError
from gittorrent.gtp.bencode import decode
from gittorrent.gtp.reference import parse_reference
from gittorrent.ids import SHA1
from gittorrent.push.certificate import parse_certificate
from gittorrent.push.checkpoint import parse_checkpoint
from gittorrent.push.object import parse_push_object
from gittorrent.push.upstream_refs import parse_listing
from gittorrent.trust.policy_text import parse_policy
from gittorrent.trust.refpattern import RefPattern
from gittorrent.trust.signature import detect
from gittorrent.wire.pktline import parse_length

REFUSED: dict[str, Callable[[], object]] = {
    "pattern": lambda: RefPattern(b"heads/*"),
    "reserved pattern": lambda: RefPattern(b"refs/gittorrent/*"),
    "pattern that is no UTF-8": lambda: RefPattern(b"refs/heads/\xff ~"),
    "listing": lambda: parse_listing(b"nonsense\n"),
    "policy": lambda: parse_policy(b"gittorrent policy 3\ncolour blue\n"),
    "certificate": lambda: parse_certificate(b"nonsense\n", SHA1),
    "checkpoint": lambda: parse_checkpoint(b"nonsense\n", SHA1),
    "push object": lambda: parse_push_object(b"nonsense\n"),
    "signature": lambda: detect(b"nonsense"),
    "bencode": lambda: decode(b"x"),
    "reference": lambda: parse_reference(b"nonsense\n", b"\n"),
    "pkt-line": lambda: parse_length(b"xyz!"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_errors_quote_text(what: str) -> None:
    with pytest.raises(GitTorrentError) as caught:
        REFUSED[what]()
    said = f"{caught.value} {caught.value.hint}"
    assert "b'" not in said
    assert 'b"' not in said
