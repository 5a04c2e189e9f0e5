"""Fuzz target: peer messages of both dialects are refused or survive writing and reading."""

from __future__ import annotations

from collections.abc import Callable

from gittorrent.gtp.errors import ForbiddenMessageError, GtpError
from gittorrent.gtp.framing import FrameReader, encode_frame
from gittorrent.gtp.machine import PeerMachine, Received, Side
from gittorrent.gtp.profile import PERL_2008, RFC, Profile

_PAIR = b"s" * 20 + b"e" * 20
_HELLO = b"\7GTP/0.1" + bytes(8) + b"h" * 20 + b"p" * 20


def _rfc(kind: int, payload: bytes) -> bytes:
    return (1 + len(payload)).to_bytes(4, "big") + bytes([kind]) + payload


def _perl(kind: int, payload: bytes) -> bytes:
    return (4 + len(payload)).to_bytes(4, "big") + bytes([0, 0, 0, kind]) + payload


_BLOCK = _PAIR + b"\0\0\0\1\0\1\0\0"
SEEDS = [
    _rfc(0, b"") + _rfc(1, b"") + _rfc(2, b"") + _rfc(3, b"") + bytes(4),
    _rfc(4, b"p" * 20 + b"\0\0\x24\xc9\0\0\0\x09192.0.2.1"),
    _rfc(5, b"r" * 20 + b"\0\0\0\4body") + _rfc(5, b""),
    _rfc(6, _PAIR + bytes(7) + b"\7") + _rfc(6, b""),
    _rfc(7, _PAIR + b"\0\0\x10\0") + _rfc(7, _PAIR + b"\0\0\x10\0\xff\1"),
    _rfc(8, _BLOCK) + _rfc(8, _BLOCK + b"\0\0\0\0" + b"o" * 20 + b"\1\0\0\0\7"),
    _rfc(9, b"\0\0\0\1" + b"o" * 20 + b"\0\0\0\1" + b"c" * 20),
    _rfc(10, _BLOCK) + _rfc(10, _BLOCK + b"\0\0\0\0PACK") + _rfc(10, bytes(52) + b"PACK"),
    _rfc(11, _BLOCK) + _rfc(99, b"what?"),
    _perl(4, b"p" * 20 + b"\x24\xc9\0\0\0\x09192.0.2.1") + _perl(5, b"") + _perl(6, b""),
    _perl(6, _PAIR + b"\0\0\0\7") + _perl(7, _PAIR) + _perl(7, _PAIR + b"\0\0\0\2\3"),
    _perl(10, _PAIR + b"\0\0\0\1") + _perl(10, _PAIR + b"\0\0\0\1\0\0\0\4PACK"),
]


def _always(profile: Profile) -> Callable[[bytes], Profile]:
    return lambda _hash: profile


def one_input(data: bytes) -> None:
    for profile in (RFC, PERL_2008):
        try:
            for message in FrameReader(profile.codec).feed(data):
                again = list(FrameReader(profile.codec).feed(encode_frame(profile.codec, message)))
                if again != [message]:
                    raise AssertionError(f"{message} does not survive in {profile.name}")
        except GtpError:
            pass
        machine = PeerMachine(
            side=Side.LISTENING,
            peer_id=b"q" * 20,
            identify=_always(profile),
            admit=lambda _hash, _peer: True,
            now=0.0,
        )
        try:
            for event in machine.receive(0.0, _HELLO + data):
                if isinstance(event, Received):
                    machine.send(0.0, event.message)
        except (GtpError, ForbiddenMessageError):
            continue


if __name__ == "__main__":
    from harness import run

    run(one_input)
