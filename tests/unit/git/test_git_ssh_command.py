"""The command line that ssh is run with."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from gittorrent.git.ssh_command import SshCommandError, ssh_words


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "GIT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def words(port: int | None = None, path: bytes = b"/p.git") -> list[str]:
    return ssh_words("git", "host.example", port, "git-mirror-sync", path)


def test_plain() -> None:
    assert words() == ["ssh", "git@host.example", "git-mirror-sync '/p.git'"]
    assert words(2222)[:3] == ["ssh", "-p", "2222"]
    assert ssh_words("", "::1", None, "git-mirror-list", b"/p")[1] == "::1"


def test_what_the_user_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / ".gitconfig"
    subprocess.run(
        ["git", "config", "--file", config, "core.sshCommand", "ssh -i 'a key'"], check=True
    )
    assert words()[:4] == ["sh", "-c", "ssh -i 'a key' \"$@\"", "ssh -i 'a key'"]
    monkeypatch.setenv("GIT_SSH_COMMAND", "/opt/my ssh -v")
    assert words()[2] == '/opt/my ssh -v "$@"'
    monkeypatch.delenv("GIT_SSH_COMMAND")
    config.unlink()
    monkeypatch.setenv("GIT_SSH", "/opt/bin/plink")
    assert words(22000)[:3] == ["/opt/bin/plink", "-P", "22000"]
    monkeypatch.setenv("GIT_SSH_VARIANT", "simple")
    assert words()[0] == "/opt/bin/plink"
    with pytest.raises(SshCommandError, match="takes no port"):
        words(22000)


@pytest.mark.parametrize("path", [b"/it's", b"/a b", b"/$(touch x)`x`", b"/back\\slash", b"/!hi"])
def test_the_other_shell_sees_one_word(path: bytes) -> None:
    line = words(path=path)[-1]
    assert shlex.split(line) == ["git-mirror-sync", path.decode()]


@pytest.mark.parametrize(
    ("user", "host"), [("-l", "host"), ("git", "-oProxyCommand=x"), ("a b", "host"), ("git", "h;x")]
)
def test_what_is_no_user_or_host(user: str, host: str) -> None:
    with pytest.raises(SshCommandError):
        ssh_words(user, host, None, "git-mirror-sync", b"/p")


@pytest.mark.parametrize(
    ("program", "asked", "unasked"),
    [
        ("ssh", [], ["-oBatchMode=yes"]),
        ("plink", [], ["-batch"]),
        ("TortoisePlink.exe", ["-batch"], ["-batch"]),
        ("wrapper", [], []),
    ],
)
def test_who_is_not_to_be_asked_is_not(
    monkeypatch: pytest.MonkeyPatch, program: str, asked: list[str], unasked: list[str]
) -> None:
    monkeypatch.setenv("GIT_SSH", f"/opt/bin/{program}")
    for asks, expected in ((True, asked), (False, unasked)):
        words = ssh_words("git", "host", None, "git-mirror-list", b"/p", asks=asks)
        assert words[1:-2] == expected
