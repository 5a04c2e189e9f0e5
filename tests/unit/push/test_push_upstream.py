"""What an upstream lists, which of it is followed, and which URLs are taken."""

from __future__ import annotations

import pytest

from gittorrent.errors import UsageError
from gittorrent.ids import SHA1, SHA256, Oid, RefName
from gittorrent.push.upstream_refs import (
    MAX_PATTERNS,
    Advertised,
    NotAListingError,
    Selection,
    parse_listing,
)
from gittorrent.push.upstream_urls import Scheme, UpstreamUrlError, default_name, scheme_of

A, B = "a" * 40, "b" * 40
MAIN, TOPIC, TAG = (RefName(b"refs/" + n) for n in (b"heads/main", b"heads/topic", b"tags/v1"))
PULL = RefName(b"refs/pull/7/head")


def test_a_listing_is_read() -> None:
    data = (
        f"ref: refs/heads/main\tHEAD\n{A}\tHEAD\n{A}\trefs/heads/main\n{B}\trefs/tags/v1\n"
        f"{A}\trefs/tags/v1^{{}}\n"
    )
    found = parse_listing(data.encode())
    assert found == Advertised({MAIN: Oid(A), TAG: Oid(B)}, MAIN)
    assert found.object_format is SHA1
    assert parse_listing(b"") == Advertised({})
    assert parse_listing(f"{'c' * 64}\trefs/heads/main\n".encode()).object_format is SHA256


@pytest.mark.parametrize("text", ["x", f"{A} refs/heads/main", f"{A[1:]}\trefs/heads/main"])
def test_what_is_no_listing_is_refused(text: str) -> None:
    with pytest.raises(NotAListingError):
        parse_listing(text.encode())
    with pytest.raises(NotAListingError):
        _ = Advertised({MAIN: Oid(A), TAG: Oid("c" * 64)}).object_format


def test_branches_and_tags_are_followed_and_more_on_request() -> None:
    merge = RefName(b"refs/pull/7/merge")
    refs = {MAIN: Oid(A), TOPIC: Oid(A), TAG: Oid(B), PULL: Oid(A), merge: Oid(B)}
    assert set(Selection().select(refs)) == {MAIN, TOPIC, TAG}
    chosen = Selection(("refs/pull/*/head", "^refs/heads/to*"))
    assert set(chosen.select(refs)) == {MAIN, TAG, PULL}
    assert chosen.published == ("refs/pull/*",)
    assert Selection().is_usual
    assert Selection(("^refs/heads/x",)).is_usual
    assert not chosen.is_usual
    other = Selection(("refs/notes/commits", "refs/ci/1*", "refs/ci/2*"))
    assert other.published == ("refs/notes/commits", "refs/ci/*")


def test_reserved_and_malformed_names_are_never_followed() -> None:
    names = (b"refs/gittorrent/log", b"refs/conflicts/x", b"refs/heads/a..b", b"HEAD", b"refs/x/y")
    refs = {RefName(name): Oid(A) for name in names}
    assert set(Selection(("refs/*/*",)).select(refs)) == {b"refs/x/y"}


@pytest.mark.parametrize(
    "pattern",
    ["main", "refs/*", "refs/gittorrent/*", "refs/replace/*", "refs/a..b/*", "^", "", "-x"],
)
def test_bad_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(UsageError):
        Selection((pattern,))
    with pytest.raises(UsageError):
        Selection(tuple(f"refs/x/{number}" for number in range(MAX_PATTERNS + 1)))


def test_the_digest_changes_with_what_is_followed_alone() -> None:
    refs = {MAIN: Oid(A), PULL: Oid(A)}
    plain, more = Selection(), Selection(("refs/pull/*/head",))
    assert plain.digest(refs) == plain.digest({MAIN: Oid(A), PULL: Oid(B)})
    assert plain.digest(refs) != plain.digest({MAIN: Oid(B)})
    assert plain.digest({MAIN: Oid(A)}) != more.digest({MAIN: Oid(A)})
    assert more.digest(refs) != more.digest({MAIN: Oid(A)})


@pytest.mark.parametrize(
    ("text", "scheme", "name"),
    [
        ("https://h/a/project.git", Scheme.HTTPS, "project"),
        ("http://me@h:8080/project", Scheme.HTTP, "project"),
        ("ssh://git@h:22/~u/x.git/", Scheme.SSH, "x"),
        ("git@h:team/project.git", Scheme.SSH, "project"),
        ("h:x", Scheme.SSH, "x"),
        ("git://[::1]/x.git", Scheme.GIT, "x"),
        ("file:///srv/x.git", Scheme.FILE, "x"),
        ("/srv/git/x/.git", Scheme.FILE, "x"),
        ("../x.git", Scheme.FILE, "x"),
        ("https://h/", Scheme.HTTPS, ""),
    ],
)
def test_urls_of_git_are_taken(text: str, scheme: Scheme, name: str) -> None:
    assert scheme_of(text) is scheme
    assert default_name(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-x",
        "--upload-pack=touch x",
        "ext::sh -c x",
        "gittorrent://h/x",
        "gittorrent::https://h/x",
        "ftp://h/x",
        "https:///x",
        "https://a:b@h/x",
        "https://[::1/x",
        "https://h/\nx",
    ],
)
def test_other_urls_are_refused(text: str) -> None:
    with pytest.raises(UpstreamUrlError):
        scheme_of(text)


def test_a_file_may_look_like_a_host() -> None:
    assert scheme_of("a:b", is_path=True) is Scheme.FILE


@pytest.mark.parametrize(
    "url",
    [
        "https://ghp_sec0123456789abcdefghijklmnopqrstuvw@host/p.git",
        "https://0123456789sec0123456789012345678901234567@host/p.git",
        "http://glpat-sec45678901234567890@host/p.git",
        "https://me:sec@host/p.git",
        "gittorrent::https://me:sec@host/p.git",
        "foo://me:sec@host/p.git",
    ],
)
def test_secrets_are_neither_taken_nor_shown(url: str) -> None:
    with pytest.raises(UpstreamUrlError) as raised:
        scheme_of(url)
    assert "sec" not in f"{raised.value} {raised.value.hint}"


@pytest.mark.parametrize(
    "url", ["https://me@host/p.git", "https://gitlab-ci-token@host/p", "ssh://git@host/p"]
)
def test_names_are_taken(url: str) -> None:
    assert scheme_of(url).value == url.partition(":")[0]
