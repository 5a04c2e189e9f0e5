"""What is in ``~/.netrc`` for a server, and where it comes in git's order."""

from __future__ import annotations

from pathlib import Path

import pytest

from gittorrent.git.ci_settings import caller_header
from gittorrent.git.netrc_file import in_netrc
from gittorrent.wire.tokens import encode_basic

URL = "https://git.example.org:8443/x/y.git"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("machine git.example.org login me password it", ("me", "it")),
        ("machine git.example.org\nlogin me\npassword it # no comment\n", ("me", "it")),
        ("machine example.org login me password it", None),
        ("machine example.org login me password it\ndefault login all password x", ("all", "x")),
        ("machine git.example.org login me", None),
        ("machine git.example.org nonsense", None),
        ("machine git.example.org login m\u00e9 password \u00fc", ("m\u00e9", "\u00fc")),
        ("", None),
    ],
)
def test_names_and_passwords(home: Path, text: str, found: tuple[str, str] | None) -> None:
    file = home / ".netrc"
    file.write_text(text)
    file.chmod(0o600)
    assert in_netrc(URL) == found


def test_files_that_cannot_be_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert in_netrc(URL) is None
    (home / ".netrc").write_bytes(b"machine \xff\xfe login")
    assert in_netrc(URL) is None
    (home / ".netrc").unlink()
    (home / ".netrc").mkdir()
    assert in_netrc(URL) is None
    monkeypatch.delenv("HOME")
    assert in_netrc(URL) is None


def test_it_comes_before_helpers_and_after_what_is_said_for_the_url(home: Path) -> None:
    settings = home / ".gitconfig"
    settings.write_text(
        '[credential]\n\thelper = "!f() { echo username=h; echo password=p; }; f"\n'
    )
    assert caller_header(URL) == encode_basic("h", "p")
    (home / ".netrc").write_text("machine git.example.org login me password it\n")
    (home / ".netrc").chmod(0o600)
    assert caller_header(URL) == encode_basic("me", "it")
    assert caller_header(URL.replace("//", "//u:v@")) == encode_basic("u", "v")
    with settings.open("a") as file:
        file.write(
            '[http "https://git.example.org:8443/"]\n\textraHeader = Authorization: Bearer b\n'
        )
    assert caller_header(URL) == "Bearer b"
