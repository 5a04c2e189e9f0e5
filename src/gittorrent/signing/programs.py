"""Starting ssh-keygen and gpg so that they can still talk to the person at the terminal.

For ``gittorrent.signing`` only; tracks nothing.

Rules: no shell; ``LC_ALL=C``; nothing of git's own environment is passed on; on a terminal the
programs keep it (they ask for passphrases and touches there), otherwise their complaints are
captured and become part of the error.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from gittorrent.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY_HINT = "name a key with --key (a file, or an OpenPGP fingerprint), or set git's user.signingKey"
"""What to do where no key is found; a command that may make one goes on in the same sentence."""


class NoSigningKey(LocalError):
    """No key to sign with is configured, or the one that is cannot be found or used."""

    def __init__(self, message: str, *, hint: str = KEY_HINT) -> None:
        super().__init__(message, hint=hint)


class NoKeyOfThatNameError(NoSigningKey):
    """No secret key has the name, number or address that was given."""


class SigningFailed(LocalError):
    """The signing program refused or failed, or made something that does not verify."""


def interactive() -> bool:
    """Tell whether somebody sits at a terminal and could answer a passphrase prompt."""
    return sys.stderr is not None and sys.stderr.isatty()


def run(
    arguments: Sequence[str],
    *,
    given: bytes = b"",
    may_prompt: bool = False,
    seconds: float | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end.

    ``given`` goes to its standard input. With ``may_prompt`` it may use the terminal, if there is
    one, for as long as the person needs; otherwise it is ended after ``seconds``. The exit code is
    the caller's to judge.
    Raises ``NoSigningKey`` when the program cannot be started, ``SigningFailed`` when it took
    too long.
    """
    to_terminal = may_prompt and interactive()
    try:
        return subprocess.run(
            list(arguments),
            input=given,
            stdout=subprocess.PIPE,
            stderr=None if to_terminal else subprocess.PIPE,
            env=environment(to_terminal=to_terminal),
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise SigningFailed(f"{arguments[0]} did not end within {seconds} seconds") from error
    except OSError as error:
        raise NoSigningKey(
            f"cannot start {arguments[0]}: {error.strerror}",
            hint="install OpenSSH or GnuPG, or set gpg.program or gpg.ssh.program in git's "
            "configuration",
        ) from error


def complaint(done: subprocess.CompletedProcess[bytes]) -> str:
    """Give the last line a failed program wrote, or its exit code."""
    lines = (done.stderr or b"").decode("utf-8", "backslashreplace").strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"


def environment(*, to_terminal: bool = False) -> dict[str, str]:
    """Build the environment the programs run in: ours without GIT_*, with messages in English."""
    scrubbed = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    scrubbed["LC_ALL"] = "C"
    if to_terminal and "GPG_TTY" not in scrubbed:
        # gpg looks for the terminal on its standard input, which carries the message here.
        with contextlib.suppress(OSError):
            scrubbed["GPG_TTY"] = os.ttyname(sys.stderr.fileno())
    return scrubbed
