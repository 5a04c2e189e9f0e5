"""Fuzz target: mirror lists, notices and answers are refused or survive writing and reading."""

from __future__ import annotations

from gittorrent.wire import mirrorlist, notify
from gittorrent.wire.fields import MessageError, RemoteRefusal

_REPO = b"repo " + b"a2" * 26 + b"\n"
SEEDS = [
    _REPO + b"auth refs/* openpgp:" + b"ab" * 20 + b"\nlatest " + b"01" * 20 + b"\n",
    _REPO + b"try git://mirror.example.org/linux.git 86400 current\n",
    _REPO + b"latest " + b"01" * 32 + b"\ntry https://cdn.example.net/l 3600 partial more\n",
    _REPO + b"pushes 2 " + b"01" * 32 + b"\n",
    b"future word\n" + _REPO,
    b"ERR no such repository\x1b[31m\n",
    b"at git://203.0.113.35/linux.git\nlatest " + b"01" * 20 + b"\nttl 3600\n",
    b"ok 1800\n",
]


def one_input(data: bytes) -> None:
    for parse in (mirrorlist.parse_text, notify.parse_text):
        try:
            parsed = parse(data)
        except RemoteRefusal as refusal:
            if not (refusal.reason.isprintable() and len(refusal.reason) <= 200):
                raise AssertionError("unsafe reason was let through") from refusal
        except MessageError:
            continue
        else:
            if parse(parsed.encode_text()) != parsed:
                raise AssertionError("text does not survive writing and reading")
    try:
        seconds = notify.parse_answer(data)
    except (MessageError, RemoteRefusal):
        return
    if notify.parse_answer(notify.encode_answer(seconds)) != seconds:
        raise AssertionError("answer does not survive writing and reading")


if __name__ == "__main__":
    from harness import run

    run(one_input)
