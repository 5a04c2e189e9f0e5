"""Fuzz target: lines of the control socket are refused or survive writing and reading."""

from __future__ import annotations

from gittorrent.wire import control
from gittorrent.wire.fields import MessageError

_ID = b"a2" * 26
_URL = b"gittorrent://" + _ID + b"@mirror.example.org/linux.git"
SEEDS = [
    b"gittorrent-control 1\n",
    b"fetch " + _ID + b" " + b"01" * 20 + b" - " + _URL + b"\n",
    b"fetch " + _ID + b" " + b"01" * 32 + b" " + b"02" * 32 + b" " + _URL + b"\n",
    b"keep 3600 " + _ID + b" " + _URL + b" /home/somebody/with%20space/%FF.git\n",
    b"mirror 1048576 12 12582912 git://mirror.example.org/linux.git\n",
    b"caller 0 1 1048576 192.0.2.1:40123 wrong digest\n",
    b"mirror 0 1 1048576 git://192.0.2.1/linux.git silent for 180 seconds\n",
    b"progress " + b"0f" * 32 + b" 3 130 136314880 3145728\n",
    b"phase checking connectivity\n",
    b"note \x1b[31mred\n",
    b"alive\n",
    b"at /srv/git/linux.git\n",
    b"done 86400\n",
    b"no it is busy\n",
    b"follow - " + _URL + b"\n",
    b"follow project " + _URL + b"\n",
    b"taken 4711\n",
    b"hint check the URL\n",
    b"failed 4 it carries another repository\n",
    b"look-at project\n",
    b"reload\n",
    b"converse " + _ID + b" 192.0.2.1 ssh:SHA256:" + b"A" * 42 + b"E\n",
    b"converse " + _ID + b" -\n",
    b"place dht 192.0.2.1 9418\n",
    b"problem node.toml:3: [limits] up: no rate\n",
]


def one_input(data: bytes) -> None:
    for parse in (control.parse_request, control.parse_answer):
        try:
            parsed = parse(data)
        except MessageError:
            continue
        if parsed is None:
            continue
        written = parsed.encode()
        if written.count(b"\n") != 1 or len(written) > control.MAX_LINE:
            raise AssertionError("more than one line was written")
        if parse(written) != parsed:
            raise AssertionError("a line does not survive writing and reading")


if __name__ == "__main__":
    from harness import run

    run(one_input)
