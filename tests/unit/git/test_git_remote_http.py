"""For which URLs git's helper for HTTP is started: for no others is a program looked for."""

from __future__ import annotations

import pytest

from gittorrent.git.http_push import HttpPusher
from gittorrent.git.remote_http import NotHttpError, RemoteHttp, http_scheme


def test_http_is_http() -> None:
    assert http_scheme("https://git.example.org/x") == "https"
    assert http_scheme("http://[::1]:80/x") == "http"


@pytest.mark.parametrize(
    "url",
    ["", "https", "https:x", "ext::sh -c x", "a/x:y", "a/x://y", "fd://0", "HTTPS://x", "-c://x"],
)
def test_nothing_else_is(url: str) -> None:
    for begin in (http_scheme, lambda url: RemoteHttp(url, url), lambda url: HttpPusher("x", url)):
        with pytest.raises(NotHttpError, match="is no URL of HTTP"):
            begin(url)
