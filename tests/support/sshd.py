"""A real sshd on a port of this machine, for one key that may run one command."""

from __future__ import annotations

import contextlib
import getpass
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.ports import free_port
from support.programs import BIN, PATIENCE, Person, wait_until
from support.web_servers import answers

PROGRAM = Path("/usr/sbin/sshd")


@dataclass(frozen=True)
class Account:
    """An account behind sshd, and how to get there."""

    port: int
    client: Path

    @property
    def base(self) -> str:
        """What ssh URLs of it begin with."""
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"

    def __call__(self, person: Person) -> Person:
        """Return somebody who has the key."""
        more = {**person.variables, "GIT_SSH_COMMAND": str(self.client)}
        return Person(person.root, person.git_program, more)


@contextlib.contextmanager
def account(
    folder: Path, operator: Person, *words: str | Path, exposes: bool = False
) -> Iterator[Account]:
    """Run sshd, with ``gittorrent shell`` as the forced command of a key.

    Args:
        folder: an empty place.
        operator: whose node the account has.
        words: what the command is given.
        exposes: whether the command is told which key it was.
    """
    folder.mkdir()
    shell = folder / "shell"
    given = " ".join(f"'{word}'" for word in words)
    settings = "".join(f"export {name}='{value}'\n" for name, value in operator.environ().items())
    shell.write_text(f"#!/bin/sh\n{settings}exec {BIN}/gittorrent shell {given}\n")
    shell.chmod(0o755)
    restriction = f'restrict,command="{shell}" '
    exposing = f"ExposeAuthInfo {'yes' if exposes else 'no'}\n"
    with running_sshd(folder, restriction, exposing) as (port, client):
        yield Account(port, client)


@contextlib.contextmanager
def running_sshd(
    folder: Path, restriction: str | None, settings: str
) -> Iterator[tuple[int, Path]]:
    """Run a real sshd that lets one key in; skips where there is none.

    Args:
        folder: a place that has nothing of it yet.
        restriction: what stands before the key in ``authorized_keys``; None for no such file.
        settings: further lines of its configuration.

    Yields:
        Its port, and an ``ssh`` that has the key.
    """
    if not PROGRAM.exists():
        pytest.skip("sshd missing")
    for name in ("host", "id"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    if restriction is not None:
        (folder / "authorized").write_text(restriction + (folder / "id.pub").read_text())
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    port = free_port()
    keys_file = "none" if restriction is None else folder / "authorized"
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\n"
        f"AuthorizedKeysFile {keys_file}\nStrictModes no\nUsePAM no\n"
        f"PidFile {folder}/pid\nPasswordAuthentication no\n{settings}"
    )
    client = folder / "ssh"
    client.write_text(
        f"#!/bin/sh\nexec ssh -F none -i {folder}/id -o IdentitiesOnly=yes -o BatchMode=yes"
        f' -o UserKnownHostsFile={folder}/known -o StrictHostKeyChecking=accept-new "$@"\n'
    )
    client.chmod(0o755)
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            [PROGRAM, "-D", "-e", "-f", folder / "config"],
            stdout=said, stderr=said, start_new_session=True,
        )  # fmt: skip
    try:
        wait_until(lambda: answers(port) or process.poll() is not None, "sshd listens")
        assert process.poll() is None, (folder / "said").read_text()
        yield port, client
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
