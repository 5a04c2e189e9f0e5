"""Learned URLs and the addresses behind them: what a stranger's word may lead us to."""

from __future__ import annotations

import pytest

from gittorrent.wire.limits import MAX_URL
from gittorrent.wire.urls import (
    AddressClass,
    Endpoint,
    UrlError,
    address_class,
    check_host_and_port,
    may_contact,
    parse_learned_url,
)

LOOPBACK, PRIVATE = AddressClass.LOOPBACK, AddressClass.PRIVATE
PUBLIC, RESERVED = AddressClass.PUBLIC, AddressClass.RESERVED


@pytest.mark.parametrize(
    ("url", "endpoint", "canonical"),
    [
        ("git://h.example/x.git", Endpoint("git", "h.example", 9418, "/x.git"), None),
        ("git://h:9418/x", Endpoint("git", "h", 9418, "/x"), "git://h/x"),
        ("HTTPS://H.Example", Endpoint("https", "h.example", 443, "/"), "https://h.example/"),
        ("http://h:8417/a%20b", Endpoint("http", "h", 8417, "/a%20b"), None),
        ("git://203.0.113.35/x", Endpoint("git", "203.0.113.35", 9418, "/x"), None),
        (
            "git://[2001:DB8:0::1]:80/x",
            Endpoint("git", "2001:db8::1", 80, "/x"),
            "git://[2001:db8::1]:80/x",
        ),
        (
            "http://bücher.example/ä",
            Endpoint("http", "xn--bcher-kva.example", 80, "/%C3%A4"),
            "http://xn--bcher-kva.example/%C3%A4",
        ),
        ("git://mirror_1/~u/x", Endpoint("git", "mirror_1", 9418, "/~u/x"), None),
    ],
)
def test_reads(url: str, endpoint: Endpoint, canonical: str | None) -> None:
    assert parse_learned_url(url) == endpoint
    assert endpoint.url == (canonical or url)


def test_full_width_digits_become_the_address_they_stand_for() -> None:
    assert parse_learned_url("http://１２７.0.0.1/").host == "127.0.0.1"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h/x",
        "git:/h/x",
        "git:///x",
        "ssh://h/x",
        "file:///etc/passwd",
        "ext::sh -c x",
        "-oProxyCommand=x://h/p",
        "git://-h/x",
        "git://h-/x",
        "git://u@h/x",
        "https://u:p@h/x",
        "https://h/x?q",
        "https://h/x#f",
        "https://h\\@evil/x",
        "https://h/a b",
        "https://h/a\n",
        "https://h/\x00",
        "https://h/\u202eabc",
        "https://h/../x",
        "https://h/a/..",
        "https://h/./x",
        "https://h/%2e%2E/x",
        "https://h/a%2f..%2fx",
        "https://h/%00",
        "https://h/%0a",
        "https://h/%5c",
        "https://h/%zz",
        "https://h/%2",
        "git://h:0/x",
        "git://h:65536/x",
        "git://h:/x",
        "git://h:+1/x",
        "git://h:080/x",
        "git://h:1:2/x",
        "git://h./x",
        "git://a..b/x",
        "git://127.1/x",
        "git://2130706433/x",
        "git://0x7f000001/x",
        "git://0177.0.0.1/x",
        "git://1.2.3.4.5/x",
        "git://h.0x7/x",
        "git://[::1/x",
        "git://[::1]x/x",
        "git://[fe80::1%25eth0]/x",
        "git://[h]/x",
        "git://2001:db8::1/x",
        "git://" + "a" * 64 + "/x",
        "git://" + "a." * 127 + "aa/x",
        "git://h/" + "x" * MAX_URL,
        "git://h/" + "ä" * (MAX_URL // 3),
    ],
)
def test_refuses(url: str) -> None:
    with pytest.raises(UrlError):
        parse_learned_url(url)


@pytest.mark.parametrize("text", ["h", ":1", "h:", "h:0", "h:1/x", "u@h:1", "a/b:1", "h:1:2", ""])
def test_what_is_no_host_and_port(text: str) -> None:
    with pytest.raises(UrlError):
        check_host_and_port(text)


def test_host_and_port() -> None:
    for text in ("h.example:1", "192.0.2.1:9418", "[2001:db8::1]:6881"):
        check_host_and_port(text)


@pytest.mark.parametrize(
    ("ip", "expected"),
    [
        ("127.0.0.1", LOOPBACK),
        ("127.255.0.9", LOOPBACK),
        ("::1", LOOPBACK),
        ("::ffff:127.0.0.1", LOOPBACK),
        ("2002:7f00:1::", LOOPBACK),
        ("64:ff9b::7f00:1", LOOPBACK),
        ("10.1.2.3", PRIVATE),
        ("172.31.255.255", PRIVATE),
        ("172.32.0.0", PUBLIC),
        ("192.168.0.1", PRIVATE),
        ("169.254.169.254", PRIVATE),
        ("100.64.0.1", PRIVATE),
        ("100.128.0.1", PUBLIC),
        ("fd00::1", PRIVATE),
        ("fe80::1", PRIVATE),
        ("fe80::1%eth0", PRIVATE),
        ("fec0::1", PRIVATE),
        ("::ffff:10.0.0.1", PRIVATE),
        ("64:ff9b::a00:1", PRIVATE),
        ("64:ff9b:1::1", PRIVATE),
        ("2002:c0a8:1::1", PRIVATE),
        ("8.8.8.8", PUBLIC),
        ("2606:4700::1111", PUBLIC),
        ("::ffff:8.8.8.8", PUBLIC),
        ("64:ff9b::808:808", PUBLIC),
        ("0.0.0.0", RESERVED),
        ("0.1.2.3", RESERVED),
        ("224.0.0.1", RESERVED),
        ("240.0.0.1", RESERVED),
        ("255.255.255.255", RESERVED),
        ("198.18.0.1", RESERVED),
        ("203.0.113.35", RESERVED),
        ("::", RESERVED),
        ("::127.0.0.1", RESERVED),
        ("ff02::1", RESERVED),
        ("2001::1", RESERVED),
        ("2001:db8::1", RESERVED),
        ("100::1", RESERVED),
        ("4000::1", RESERVED),
    ],
)
def test_address_class(ip: str, expected: AddressClass) -> None:
    assert address_class(ip) is expected


@pytest.mark.parametrize("ip", ["", "localhost", "127.1", "1.2.3.4/8", "[::1]"])
def test_only_addresses_have_a_class(ip: str) -> None:
    with pytest.raises(UrlError):
        address_class(ip)


def test_a_stranger_cannot_lead_us_inwards() -> None:
    allowed = {
        (learned, trusted)
        for learned in AddressClass
        for trusted in AddressClass
        if may_contact(learned, trusted)
    }
    assert allowed == {
        *((PUBLIC, trusted) for trusted in AddressClass),
        (LOOPBACK, LOOPBACK),
        (PRIVATE, LOOPBACK),
        (PRIVATE, PRIVATE),
    }


@pytest.mark.parametrize("base", ["https://h:8443/git", "https://H:8443/git/"])
def test_what_is_below_an_endpoint(base: str) -> None:
    below = parse_learned_url(base).below("/project.git")
    assert below == Endpoint("https", "h", 8443, "/git/project.git")
    with pytest.raises(UrlError):
        parse_learned_url(base).below("/../x")
