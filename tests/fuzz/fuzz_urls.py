"""Fuzz target: a learned URL is refused, or is safe and stays the same when read again."""

from __future__ import annotations

import contextlib

from gittorrent.wire.urls import UrlError, address_class, parse_learned_url

SEEDS = [
    b"git://mirror.example.org/linux.git",
    b"https://cdn.example.net:8443/a/b%20c",
    b"http://[2001:db8::1]:80/x",
    b"git://127.1/x",
    b"git://0x7f.0.0.1/x",
    b"git://a@b/x",
    "http://bücher.example/ä".encode(),
    "http://１２７.0.0.1/".encode(),
    b"http://h/%2e%2e/x",
    b"-oProxyCommand=x://h/p",
    b"::ffff:10.0.0.1",
    b"2002:7f00:1::",
    b"fe80::1%eth0",
]


def one_input(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(UrlError):
        address_class(text)
    try:
        endpoint = parse_learned_url(text)
    except UrlError:
        return
    if parse_learned_url(endpoint.url) != endpoint:
        raise AssertionError("URL does not stay the same when read again")
    if endpoint.host.startswith("-") or not endpoint.url.isascii() or "/../" in endpoint.url + "/":
        raise AssertionError("unsafe URL was let through")


if __name__ == "__main__":
    from harness import run

    run(one_input)
