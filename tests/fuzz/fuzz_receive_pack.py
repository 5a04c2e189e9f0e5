"""Fuzz target: what a client says to a depot before its pack. Understood, or refused."""

from __future__ import annotations

from gittorrent.errors import GitTorrentError
from gittorrent.ids import SHA1, SHA256
from gittorrent.push.certificate import MAX_LINES, MAX_OPTIONS
from gittorrent.push.depot.admission import signed_part
from gittorrent.push.depot.report import RefReport, Report, encode_report
from gittorrent.push.depot.request import MAX_REQUEST, RequestReader
from gittorrent.wire import pktline

_ONE, _TWO = b"1" * 40, b"2" * 40
_CAPS = b"\0 report-status-v2 side-band-64k push-options object-format=sha1 agent=git/2.47.3"
_SIGNED = [
    b"push-cert" + _CAPS,
    b"certificate version 0.1\n",
    b"pusher P Usher <push@example.org> 1600000000 +0000\n",
    b"\n",
    _ONE + b" " + _TWO + b" refs/heads/main\n",
    b"-----BEGIN SSH SIGNATURE-----\n",
    b"abcd\n",
    b"-----END SSH SIGNATURE-----\n",
    b"push-cert-end\n",
]
_COMMANDS = [
    b"shallow " + _ONE,
    _ONE + b" " + _TWO + b" refs/heads/main" + _CAPS.replace(b" push-options", b""),
    _ONE + b" " + b"0" * 40 + b" refs/heads/a",
]

SEEDS: list[bytes] = [
    pktline.encode_lines(_SIGNED) + pktline.encode_lines([b"atomic"]),
    pktline.encode_lines(_COMMANDS),
    b"0000",
    b"",
]


def one_input(data: bytes) -> None:
    """Hear ``data`` as a push; raises only when the reader itself is wrong."""
    for object_format in (SHA1, SHA256):
        reader, at = RequestReader(object_format), 0
        try:
            while at + pktline.HEADER_SIZE <= len(data):
                size = pktline.parse_length(data[at : at + pktline.HEADER_SIZE])
                at += pktline.HEADER_SIZE
                packet = data[at : at + size] if isinstance(size, int) else size
                at += size if isinstance(size, int) else 0
                if reader.take(packet):
                    break
            request = reader.request()
            refs = tuple(RefReport(line.ref, "no") for line in request.claimed())
            encode_report(Report(refs), request.abilities, object_format)
            if len(request.commands) > MAX_LINES or len(request.options) > MAX_OPTIONS:
                raise RuntimeError("took more than it may")
            if len(request.certificate or b"") > MAX_REQUEST:
                raise RuntimeError("took a certificate of any size")
            signed_part(request)
        except GitTorrentError:
            continue


if __name__ == "__main__":
    from harness import run

    run(one_input)
