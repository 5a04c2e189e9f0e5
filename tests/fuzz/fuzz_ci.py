"""Fuzz target: lines of the CI socket and URLs of upstreams are refused or written in one way."""

from __future__ import annotations

from gittorrent.wire import ci
from gittorrent.wire.ci_urls import CiUrlError, is_allowed, parse_ci_url, parse_prefix
from gittorrent.wire.fields import MessageError

SEEDS = [
    b"gittorrent-ci 3\n",
    b"open https://git.example.org/x/y\n",
    b"serves https://git.example.org/\n",
    b"ready 0\n",
    b"login\n",
    b"login Basic bWU6c2VjcmV0\n",
    b"fetch 4711\n",
    b"list 47\n",
    b"alive 0\n",
    b"coming\n",
    b"given 5242880\n",
    b"no it is not allowed\n",
    b"https://name:pass%20word@Git.Example.org:443/x/y/",
    b"http://[::1]:8080/a/../b",
    b"https://git.example.org/%2e%2E/x",
]


def one_input(data: bytes) -> None:
    for parse in (ci.parse_request, ci.parse_answer):
        try:
            written = parse(data).encode()
        except MessageError:
            continue
        if written.count(b"\n") != 1 or b"\r" in written or parse(written) != parse(data):
            raise AssertionError("a line does not survive writing and reading")
    text = data.decode("utf-8", "surrogateescape")
    try:
        found = parse_ci_url(text)
    except CiUrlError:
        return
    if parse_ci_url(found.url).url != found.url or "@" in found.url.split("/")[2]:
        raise AssertionError("a URL is written in more than one way")
    if any(part in ("", ".", "..") for part in found.url.split("/")[3:]):
        raise AssertionError("a URL leads out of where it seems to be")
    prefix = parse_prefix(found.url)
    if not all(is_allowed(found.url + more, [prefix]) for more in ("", ".git", "/x")):
        raise AssertionError("a prefix lacks what it names")
    if any(is_allowed(found.url + more, [prefix]) for more in ("x", "-x", ".gitx")):
        raise AssertionError("a prefix has more or less than what is below it")


if __name__ == "__main__":
    from harness import run

    run(one_input)
