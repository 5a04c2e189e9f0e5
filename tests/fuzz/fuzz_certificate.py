"""Fuzz target: the reader of push certificates. Refused, or written again to the same bytes."""

from __future__ import annotations

from gittorrent.errors import TrustError
from gittorrent.ids import SHA1, SHA256
from gittorrent.push.certificate import MAX_COUNT, parse_certificate
from gittorrent.trust.refpattern import is_reserved

_ID = "a2" * 26
_ONE = f"""\
certificate version 0.1
pusher P Usher <push@example.org> 1600000000 +0000
pushee https://m.example.org/{_ID}/project.git
nonce {_ID}/{"ab" * 20}/17
push-option atomic
push-option head=refs/heads/main

{"1" * 40} {"2" * 40} refs/heads/main
{"0" * 40} {"2" * 40} refs/heads/topic/a
{"2" * 40} {"0" * 40} refs/tags/v1
{"2" * 40} {"0" * 40} refs/conflicts/{"3" * 40}/heads/main
"""
_OTHER = _ONE.replace("ab" * 20, "ab" * 32)
for _digit in "0123":
    _OTHER = _OTHER.replace(_digit * 40, _digit * 64)

SEEDS: list[bytes] = [_ONE.encode(), _OTHER.encode(), _ONE.encode().split(b"1111")[0], b""]


def one_input(data: bytes) -> None:
    """Read ``data`` as a push certificate; raises only when the reader itself is wrong."""
    for object_format in (SHA1, SHA256):
        try:
            certificate = parse_certificate(data, object_format)
        except TrustError:
            continue
        if certificate.text() != data:
            raise RuntimeError("accepted a text that is not in canonical form")
        if not 1 <= certificate.nonce.count <= MAX_COUNT or not certificate.lines:
            raise RuntimeError("accepted a count out of range, or no change at all")
        refs = [line.ref for line in certificate.lines]
        if len(set(refs)) != len(refs):
            raise RuntimeError("accepted two changes of one ref")
        for line in certificate.lines:
            if line.new is not None and is_reserved(line.ref):
                raise RuntimeError(f"accepted the ref {line.ref!r}")


if __name__ == "__main__":
    from harness import run

    run(one_input)
