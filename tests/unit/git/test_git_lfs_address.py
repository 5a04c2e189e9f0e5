"""What a clone is told of the address that Git LFS is to ask at."""

from __future__ import annotations

from pathlib import Path

import pytest

from gittorrent.git.lfs_address import lead_lfs, lfs_address
from support import gitcmd
from support.programs import GITS


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://h.example/x/y.git", "https://h.example/x/y.git/info/lfs"),
        ("https://h.example/x/y", "https://h.example/x/y.git/info/lfs"),
        ("https://me:pw@h.example/x/y.git/", "https://me:pw@h.example/x/y.git/info/lfs"),
    ],
)
def test_addresses(url: str, address: str) -> None:
    assert lfs_address(url) == address


@pytest.fixture(params=GITS)
def clone(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GITTORRENT_GIT", request.param)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "clone"))
    return gitcmd.init(tmp_path / "clone")


def read(clone: Path, name: str) -> str:
    return gitcmd.text(clone, "config", "--default", "", "--get", name)


@pytest.mark.parametrize(
    "url",
    [
        "https://h.example/x/y.git",
        "https://me:one@h.example/x/y.git",
        'https://h.example/odd[1]*?"x\\y',
    ],
)
def test_it_holds_as_long_as_a_remote_has_the_url(clone: Path, url: str) -> None:
    gitcmd.git(clone, "config", "remote.origin.url", url)
    for _ in range(2):
        lead_lfs("origin", url, clone)
    assert read(clone, "remote.origin.lfsurl") == lfs_address(url)
    assert read(clone, f"url.{lfs_address(url)}.insteadOf") == lfs_address(url)
    assert (clone / "config").read_text().count("gittorrent-lfs") == 1
    for other in ("https://h.example/x/z.git", "https://xh.example/x/y.git"):
        gitcmd.git(clone, "config", "remote.origin.url", other)
        assert not read(clone, "remote.origin.lfsurl")


def test_another_login_is_followed(clone: Path) -> None:
    for login in ("me:one", "me:two", "you:two"):
        url = f"https://{login}@h.example/x/y.git"
        gitcmd.git(clone, "config", "remote.origin.url", url)
        lead_lfs("origin", url, clone)
        assert read(clone, "remote.origin.lfsurl") == lfs_address(url)
    assert (clone / "config").read_text().count("gittorrent-lfs") == 1


def test_a_line_break_is_no_setting(clone: Path) -> None:
    before = (clone / "config").read_text()
    lead_lfs("origin", "https://h.example/x\n[core]y", clone)
    assert (clone / "config").read_text() == before
    assert not (clone / "gittorrent-lfs").exists()
