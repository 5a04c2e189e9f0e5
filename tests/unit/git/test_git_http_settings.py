"""How HTTP servers are reached by what git's configuration and the environment say."""

from __future__ import annotations

import pytest

from gittorrent.errors import UsageError
from gittorrent.git.http_settings import HttpSettings, ProxyError, settings_of

URL = "https://mirror.example.org/project.git"


def test_nothing_configured() -> None:
    assert settings_of(URL, {}, {}) == HttpSettings()


def test_certificates() -> None:
    config = {
        "http.sslcainfo": "/ca.pem",
        "http.sslcapath": "/ca",
        "http.sslcert": "/me.pem",
        "http.sslkey": "/me.key",
        "http.sslverify": "true",
    }
    found = settings_of(URL, config, {})
    assert found == HttpSettings("", True, "/ca.pem", "/ca", "/me.pem", "/me.key")
    overriding = {"GIT_SSL_CAINFO": "/other.pem", "GIT_SSL_NO_VERIFY": "0"}
    found = settings_of(URL, config, overriding)
    assert (found.ca_file, found.verify) == ("/other.pem", False)
    assert not settings_of(URL, {"http.sslverify": "no"}, {}).verify
    for value in ("perhaps", "9" * 5000):
        with pytest.raises(UsageError):
            settings_of(URL, {"http.sslverify": value}, {})


@pytest.mark.parametrize(
    ("config", "environ", "proxy"),
    [
        ({"http.proxy": "http://proxy:3128"}, {}, "http://proxy:3128"),
        ({"http.proxy": "proxy:3128"}, {}, "http://proxy:3128"),
        ({"http.proxy": ""}, {"https_proxy": "http://proxy:1"}, ""),
        ({}, {"https_proxy": "http://proxy:1", "ALL_PROXY": "http://all:2"}, "http://proxy:1"),
        ({}, {"HTTPS_PROXY": "http://proxy:1"}, "http://proxy:1"),
        ({}, {"http_proxy": "http://proxy:1"}, ""),
        ({}, {"all_proxy": "http://proxy:1"}, "http://proxy:1"),
        ({"http.proxy": "proxy:1"}, {"no_proxy": "other.example, .example.org"}, ""),
        ({"http.proxy": "proxy:1"}, {"no_proxy": "example"}, "http://proxy:1"),
        ({"http.proxy": "proxy:1"}, {"NO_PROXY": "*"}, ""),
    ],
)
def test_proxies(config: dict[str, str], environ: dict[str, str], proxy: str) -> None:
    assert settings_of(URL, config, environ).proxy == proxy


def test_only_the_lower_case_form_of_http_proxy_counts() -> None:
    plain = URL.replace("https", "http")
    assert settings_of(plain, {}, {"HTTP_PROXY": "http://proxy:1"}).proxy == ""
    assert settings_of(plain, {}, {"http_proxy": "http://proxy:1"}).proxy == "http://proxy:1"


@pytest.mark.parametrize(
    ("host", "exempt"),
    [("10.1.2.3", "10.0.0.0/8"), ("[::1]", "::1"), ("127.0.0.1", "127.0.0.1")],
)
def test_addresses_without_a_proxy(host: str, exempt: str) -> None:
    config = {"http.proxy": "proxy:1"}
    assert settings_of(f"http://{host}:80/x", config, {"no_proxy": exempt}).proxy == ""
    assert settings_of("http://192.0.2.1/x", config, {"no_proxy": exempt}).proxy


def test_other_kinds_of_proxies_are_refused() -> None:
    with pytest.raises(ProxyError, match="socks5h proxy"):
        settings_of(URL, {"http.proxy": "socks5h://127.0.0.1:9050"}, {})


@pytest.mark.parametrize(
    "proxy", ["http://me:secret@host:99999", "http://me:secret@:1", "me:secret@[h:1"]
)
def test_proxies_that_are_no_place_are_refused_without_their_passwords(proxy: str) -> None:
    with pytest.raises(ProxyError, match="form http://HOST:PORT") as raised:
        settings_of(URL, {"http.proxy": proxy}, {})
    assert "secret" not in f"{raised.value} {raised.value.hint}"


@pytest.mark.parametrize(
    ("said", "header"),
    [
        ("Authorization: Bearer abc", ("Authorization", "Bearer abc")),
        ("authorization:Basic eDp5", ("authorization", "Basic eDp5")),
        ("X-Access:  one:two ", ("X-Access", "one:two")),
        ("", ()),
        ("no colon", ()),
        ("Empty:", ()),
        ("A b: c", ()),
        ("X: a\r\nY: b", ()),
        ("X: \x1b[1m", ()),
        ("X: n\u00e4mlich", ()),
        ("Host: elsewhere.example", ()),
        ("Range: bytes=0-1", ()),
    ],
)
def test_headers(said: str, header: tuple[str, str] | tuple[()]) -> None:
    assert settings_of(URL, {"http.extraheader": said}, {}).header == header
