"""The lines of the CI socket, and the URLs that may be named there."""

from __future__ import annotations

import pytest

from gittorrent.wire.ci import (
    MAX_LINE,
    Alive,
    FetchLine,
    Given,
    Hello,
    ListLine,
    Login,
    LoginWanted,
    No,
    Open,
    Ready,
    parse_answer,
    parse_request,
)
from gittorrent.wire.ci_urls import (
    CiUrlError,
    is_allowed,
    parse_beginning,
    parse_ci_url,
    parse_prefix,
    why_not_served,
    without_login,
)
from gittorrent.wire.fields import MessageError
from gittorrent.wire.upload_requests import MAX_REQUEST


@pytest.mark.parametrize(
    "line", [Open("https://git.example.org/x"), Login("Basic bWU6eA=="), FetchLine(12), ListLine(9)]
)
def test_requests_survive(line: Open | Login | FetchLine | ListLine) -> None:
    assert parse_request(line.encode()) == line


@pytest.mark.parametrize(
    "line", [Hello(), Ready(), LoginWanted(), Alive(5), Given(7), No("it is not allowed")]
)
def test_answers_survive(line: Hello | Ready | LoginWanted | Alive | Given | No) -> None:
    assert parse_answer(line.encode()) == line


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"open\n",
        b"follow - gittorrent://x\n",
        b"reload\n",
        b"login \n",
        b"login Basic x\ty\n",
        b"login Basic x\n\n",
        b"fetch 0\n",
        b"fetch %d\n" % (MAX_REQUEST + 1),
        b"open https://x/\0\n",
        b"open https://x/" + b"y" * MAX_LINE + b"\n",
    ],
)
def test_other_requests_are_refused(line: bytes) -> None:
    with pytest.raises(MessageError):
        parse_request(line)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://GitHub.com/x/y", "https://github.com/x/y"),
        ("https://github.com:443/x/y/", "https://github.com/x/y"),
        ("http://127.0.0.1:8080/x", "http://127.0.0.1:8080/x"),
        ("http://[::1]:80/x", "http://[::1]/x"),
        ("https://me:pass@github.com/x.git", "https://github.com/x.git"),
    ],
)
def test_urls_are_written_in_one_way(text: str, url: str) -> None:
    assert parse_ci_url(text).url == url


def test_name_and_password_become_a_header() -> None:
    assert parse_ci_url("https://me:a%40b@github.com/x").header == "Basic bWU6YUBi"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "file:///etc",
        "ssh://git@github.com/x",
        "ext::sh -c x",
        "gittorrent://github.com/x",
        "-upload-pack=x",
        "https:///x",
        "https://github.com",
        "https://github.com/",
        "https://github.com/x?service=y",
        "https://github.com/x#y",
        "https://github.com/team/../other",
        "https://github.com/team/./x",
        "https://github.com/team//x",
        "https://github.com/team/%2e%2e/other",
        "https://github.com/team/..;/other",
        "https://github.com/team/..;x=y/other",
        "https://github.com/team/..%3b/other",
        "https://github.com/team%2Fx",
        "https://github.com/x\\y",
        "https://github.com/x y",
        "https://github.com/\u202e",
        "https://github.com:99999/x",
        "https://allowed.example.org\\@evil.example.org/x",
        "https://github.com/" + "x" * 3000,
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(text: str) -> None:
    with pytest.raises(CiUrlError):
        parse_ci_url(text)


def test_prefixes_end_where_a_name_does() -> None:
    prefix = parse_prefix("https://git.example.org/team")
    assert is_allowed("https://git.example.org/team/x", [prefix])
    assert not is_allowed("https://git.example.org/teamsters/x", [prefix])
    assert not is_allowed("https://git.example.org.evil.example/team/x", [prefix])
    with pytest.raises(CiUrlError):
        parse_prefix("https://me@git.example.org/")


@pytest.mark.parametrize("named", ["team/x", "team/x/", "team/x.git", "team/x.git/"])
def test_one_repository_is_named_in_any_way(named: str) -> None:
    prefix = parse_prefix(f"https://github.com/{named}")
    for url in ("team/x", "team/x.git"):
        assert is_allowed(parse_ci_url(f"https://github.com/{url}").url, [prefix])
        assert why_not_served(parse_prefix(f"https://github.com/{url}"), [prefix]) == ""
    for url in ("team/x-y", "team/x.gitx", "team", "x"):
        assert not is_allowed(parse_ci_url(f"https://github.com/{url}").url, [prefix])


@pytest.mark.parametrize(
    ("said", "compared"),
    [
        ("https://github.com", "https://github.com/"),
        ("https://github.com/team", "https://github.com/team/"),
        ("https://github.com/team/x", "https://github.com/team/x/"),
        ("https://GitHub.com/team/x.git", "https://github.com/team/x"),
        ("https://github.com/team/x.git/", "https://github.com/team/x"),
        ("https://my.git", "https://my.git/"),
    ],
)
def test_what_git_compares_is_the_beginning(said: str, compared: str) -> None:
    assert parse_beginning(said) == compared


@pytest.mark.parametrize(
    "url",
    ["https://me:secret@h//x", "https://me@h//x", "https://a@b:secret@h//x", "https://h//x"],
)
def test_no_password_is_shown_of_what_cannot_be_read(url: str) -> None:
    assert without_login(url) == "https://h//x"


def test_what_is_not_served_is_said() -> None:
    assert "not allowed" in why_not_served("https://my.git/", ["https://my/"])
    allow = ["https://github.com/team/", "https://git.example.org/"]
    assert why_not_served("https://git.example.org/x/", allow) == ""
    assert why_not_served("https://github.com/team/", allow) == ""
    assert "not allowed" in why_not_served("https://gitlab.com/", allow)
    assert "only https://github.com/team/ is" in why_not_served("https://github.com/", allow)
    many = [f"https://github.com/team{number}/" for number in range(5)]
    assert "team0/, https://github.com/team1/, https://github.com/team2/ and 2 more" in (
        why_not_served("https://github.com/", many)
    )
