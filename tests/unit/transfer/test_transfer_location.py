"""Forms of URL that mean the same, and those that lead nowhere."""

from __future__ import annotations

import pytest

from gittorrent.ids import RepositoryId
from gittorrent.transfer.location import (
    LocationError,
    may_lead_to_mirror,
    parse_location,
    shown_url,
    url_for_git,
)

ID = "a" * 52


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("gittorrent://host/p.git/", "gittorrent://host/p.git"),
        ("gittorrent::http://host/p.git//", "gittorrent::http://host/p.git"),
        (f"gittorrent://{ID.upper()}@host/p.git", f"gittorrent://{ID}@host/p.git"),
        (f"gittorrent://{ID.upper()}/", f"gittorrent://{ID}"),
        ("GIT://host/p.git", "gittorrent://host/p.git"),
        (f"gittorrent://{ID}@host:9999/", f"gittorrent://{ID}@host:9999/{ID}"),
        (f"gittorrent://{ID.upper()}@host", f"gittorrent://{ID}@host/{ID}"),
        (f"gittorrent::https://{ID}@host//", f"gittorrent::https://{ID}@host/{ID}"),
        (f"gittorrent::ssh://{ID}+git@host", f"gittorrent::ssh://{ID}+git@host/{ID}"),
    ],
)
def test_forms_that_mean_the_same(url: str, same: str) -> None:
    assert parse_location(url) == parse_location(same)


@pytest.mark.parametrize("url", ["gittorrent://host/", "gittorrent://host//"])
def test_slashes_alone_name_no_repository(url: str) -> None:
    with pytest.raises(LocationError, match="names no repository"):
        parse_location(url)


def test_port_0_is_not_the_usual_one() -> None:
    with pytest.raises(LocationError, match="port 0"):
        parse_location("gittorrent://host:0/p.git")


@pytest.mark.parametrize(
    ("url", "for_git"),
    [
        ("HTTP://Host/P.git", "gittorrent::http://Host/P.git"),
        ("git://host/p.git", "gittorrent::git://host/p.git"),
        ("GITTORRENT://host/p.git", "gittorrent://host/p.git"),
        ("gittorrent::http://host/p.git", "gittorrent::http://host/p.git"),
    ],
)
def test_git_finds_the_helper(url: str, for_git: str) -> None:
    assert url_for_git(url) == for_git


def test_the_form_that_git_has_no_program_for_is_corrected() -> None:
    with pytest.raises(LocationError) as raised:
        parse_location("gittorrent+https://host/p.git")
    assert "gittorrent::https://host/p.git" in str(raised.value.hint)


@pytest.mark.parametrize("url", ["git@host:p.git", "alias:p.git", "host.example.org:a/p.git"])
def test_gits_short_form_of_ssh_leads_to_the_long_one(url: str) -> None:
    with pytest.raises(LocationError) as raised:
        parse_location(f"gittorrent::{url}")
    assert "gittorrent::ssh://[USER@]HOST/PATH" in raised.value.hint


@pytest.mark.parametrize("url", ["host:9418/p.git", "ftp://host/p.git", "name", "host:", "ext::sh"])
def test_other_forms_do_not(url: str) -> None:
    with pytest.raises(LocationError) as raised:
        parse_location(url)
    assert "ssh://" not in raised.value.hint


@pytest.mark.parametrize(
    ("url", "pinned"),
    [
        ("gittorrent::ssh://git@host/p.git", f"gittorrent::ssh://{ID}+git@host/p.git"),
        ("ssh://host:2222/p.git", f"gittorrent::ssh://{ID}@host:2222/p.git"),
        (f"gittorrent::ssh://{ID}+git@host/p.git", f"gittorrent::ssh://{ID}+git@host/p.git"),
        (f"gittorrent::ssh://{ID}@host/p.git", f"gittorrent::ssh://{ID}@host/p.git"),
    ],
)
def test_ssh_has_a_user_before_the_host(url: str, pinned: str) -> None:
    location = parse_location(url)
    assert location.pinned_url(RepositoryId(ID)) == pinned
    assert parse_location(pinned).endpoint == location.endpoint
    assert url_for_git(location.url).startswith("gittorrent::ssh://")


def test_a_plain_ssh_remote_is_not_tried() -> None:
    assert not may_lead_to_mirror("ssh://git@host/p.git")
    assert may_lead_to_mirror("gittorrent::ssh://git@host/p.git")
    assert may_lead_to_mirror("https://host/p.git")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:secret@host/p.git", "https://...@host/p.git"),
        ("gittorrent::https://secret@host/p.git", "gittorrent::https://...@host/p.git"),
        ("gittorrent://me:secret@host/p.git", "gittorrent://...@host/p.git"),
        ("gittorrent::ssh://me:secret@host/p.git", "gittorrent::ssh://...@host/p.git"),
        ("gittorrent::https://host/p.git?token=secret", "gittorrent::https://host/p.git?..."),
        ("https://secret@host/p.git?token=secret", "https://...@host/p.git?..."),
        ("https://me:sec:ret@host:no/p.git", "what begins with 'https' is no URL"),
        ("https://me:sec/ret@host/p.git", "what begins with 'https' is no URL"),
    ],
)
def test_passwords_and_tokens_are_not_shown(url: str, shown: str) -> None:
    with pytest.raises(LocationError) as caught:
        parse_location(url)
    assert shown in str(caught.value)
    assert "sec" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    "url", [f"gittorrent::https://{ID}@host/p.git", "ssh://git@host/p", "https://host/a@b", "name"]
)
def test_what_is_no_secret_is_shown(url: str) -> None:
    assert shown_url(url) == url
