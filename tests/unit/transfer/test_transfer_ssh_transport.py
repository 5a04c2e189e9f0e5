"""What ssh itself fails at, and how long it may take to ask its user something."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gittorrent.errors import GitTorrentError, UnreachableError
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.dialling import CannotConnectError, NotAMirrorError, NotCarriedThereError
from gittorrent.transfer.git_mirror import ConversationContext
from gittorrent.transfer.limiter import Limits
from gittorrent.transfer.location import parse_location
from gittorrent.transfer.partial_content import PartialContent
from gittorrent.transfer.ssh_transport import SshTransport, open_ssh
from gittorrent.wire import notify
from gittorrent.wire.urls import AddressClass, Endpoint

REFUSAL = "ERR no such repository here"


@pytest.fixture(autouse=True)
def no_askpass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_ASKPASS", raising=False)


def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Endpoint:
    """Let a script be the user's ssh; returns where it leads."""
    path = tmp_path / "ssh"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(path))
    endpoint = parse_location("gittorrent::ssh://host.example.org/project.git").endpoint
    assert endpoint is not None
    return endpoint


def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, answer: float) -> None:
    endpoint = program(tmp_path, monkeypatch, script)
    timeouts = ClientTimeouts(answer=answer)
    asyncio.run(SshTransport().ask_list(endpoint, None, timeouts))


@pytest.mark.parametrize(
    ("script", "kind", "said"),
    [
        ("exit 255", CannotConnectError, "or was not let in"),
        ("exit 127", NotAMirrorError, "does not speak MirrorSync"),
        ("echo welcome; exit 255", CannotConnectError, "or was not let in"),
        ("echo welcome; exit 1", NotAMirrorError, "does not speak MirrorSync"),
    ],
)
def test_a_failure_of_ssh_is_told_from_a_server_that_is_no_mirror(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    kind: type[GitTorrentError],
    said: str,
) -> None:
    """Whose hint is to accept an unverified clone, which nobody should do of another's host."""
    with pytest.raises(kind, match=said) as caught:
        ask(tmp_path, monkeypatch, script, 60.0)
    assert ("allowUnverified" in caught.value.hint) is (kind is NotAMirrorError)


def test_who_is_asked_for_a_passphrase_may_take_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"sleep 1; printf '{len(REFUSAL) + 4:04x}%s' '{REFUSAL}'"
    monkeypatch.setenv("SSH_ASKPASS", "/bin/true")
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    with pytest.raises(NotCarriedThereError):
        ask(tmp_path, monkeypatch, script, 0.1)


@pytest.mark.parametrize("asks", [True, False])
def test_nobody_is_asked_for_a_mirror_that_is_one_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], asks: bool
) -> None:
    """Nor told that it is not reached: it is none that the user named just now."""
    endpoint = program(tmp_path, monkeypatch, 'echo "$SSH_ASKPASS_REQUIRE $@"; echo denied >&2')
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")

    async def said() -> bytes:
        login = await open_ssh(endpoint, None, "git-mirror-sync", asks=asks)
        found = b""
        while data := await asyncio.get_running_loop().sock_recv(login.stream.sock, 1024):
            found += data
        await login.stream.hang_up()
        return found

    words = asyncio.run(said()).decode().split()
    assert words[0] == ("force" if asks else "never")
    assert ("-oBatchMode=yes" in words) is not asks
    assert ("denied" in capfd.readouterr().err) is asks


@pytest.mark.parametrize("way", ["list", "service", "conversation", "notice", "at an address"])
def test_no_strangers_word_starts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    mark = tmp_path / "started"
    endpoint = program(tmp_path, monkeypatch, f"touch {mark}")
    learned, timeouts = AddressClass.PUBLIC, ClientTimeouts()
    exchange = ConversationContext("tester", PartialContent(), Limits())

    def notice(_address: str) -> notify.Notify:
        raise AssertionError("nothing is said")

    async def ask() -> object:
        ssh = SshTransport()
        if way == "list":
            return await ssh.ask_list(endpoint, learned, timeouts)
        if way == "service":
            return await ssh.open_service(endpoint, "git-upload-pack", learned, timeouts)
        if way == "conversation":
            return await ssh.open_mirror(endpoint, exchange, learned, None)
        if way == "notice":
            return await ssh.send_notice(endpoint, notice, learned, None)
        return await ssh.ask_list_at(endpoint, "192.0.2.1")

    with pytest.raises(UnreachableError, match="was not named here"):
        asyncio.run(ask())
    assert not mark.exists()
