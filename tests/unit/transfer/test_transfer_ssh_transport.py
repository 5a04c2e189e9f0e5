"""What ssh itself fails at, and how long it may take to ask its user something."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gittorrent.errors import GitTorrentError
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.dialling import CannotConnectError, NotAMirrorError, NotCarriedThereError
from gittorrent.transfer.location import parse_location
from gittorrent.transfer.ssh_transport import SshTransport

REFUSAL = "ERR no such repository here"


@pytest.fixture(autouse=True)
def no_askpass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_ASKPASS", raising=False)


def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, answer: float) -> None:
    program = tmp_path / "ssh"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(program))
    endpoint = parse_location("gittorrent::ssh://host.example.org/project.git").endpoint
    assert endpoint is not None
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
