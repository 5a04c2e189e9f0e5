"""The command that git would reach a host by over ssh: the user's program, options and all.

``GIT_SSH_COMMAND`` and ``core.sshCommand`` are for a shell, ``GIT_SSH`` is a program (git(1)). What
comes out of a URL is checked, quoted for the shell at the other end, and can be no option: user and
host begin with no dash, and the port is a number.
Source: git's connect.c, fill_ssh_args; git-config(1), core.sshCommand and ssh.variant.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

from gittorrent.errors import UsageError
from gittorrent.git import environment
from gittorrent.git.http_settings import SECONDS
from gittorrent.git.runner import executable

_PORT_OPTIONS = {"ssh": "-p", "plink": "-P", "putty": "-P", "tortoiseplink": "-P"}
_QUIET = {"ssh": "-oBatchMode=yes", "plink": "-batch", "putty": "-batch", "tortoiseplink": "-batch"}
"""How each is told to ask nobody."""

_USER = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._-]*\Z")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\Z|[0-9a-fA-F:.]+\Z")


class SshCommandError(UsageError):
    """A host cannot be reached by ssh as it was named."""


def ssh_words(
    user: str, host: str, port: int | None, service: str, path: bytes, *, asks: bool = True
) -> list[str]:
    """Return the command line that runs a service at a host. Blocks while git is asked.

    Args:
        user: to be there; empty for whom ssh chooses.
        host: name, alias or address, without brackets.
        port: None for what ssh chooses.
        service: such as ``git-mirror-sync``.
        path: of the repository, any bytes but NUL.
        asks: whether it may ask its user something, such as for a passphrase; if not, those that
            are known are told so.

    Raises:
        SshCommandError: user or host is none.
        UsageError: git does not answer.
    """
    if (user and _USER.match(user) is None) or _HOST.match(host) is None:
        raise SshCommandError(
            f"{user}@{host} is no user and host of ssh" if user else f"{host} is no host of ssh",
            hint="write letters, digits, dots and dashes, and no dash at the beginning",
        )
    shell = os.environ.get("GIT_SSH_COMMAND") or _setting("core.sshCommand")
    program = os.environ.get("GIT_SSH") or "ssh"
    words = ["sh", "-c", f'{shell} "$@"', shell] if shell else [program]
    variant = _variant(shell, program)
    if variant == "tortoiseplink" or (not asks and variant in _QUIET):
        words.append(_QUIET[variant])  # that one asks in windows, and git never lets it
    if port is not None:
        words += [_port_option(variant), str(port)]
    quoted = path.replace(b"'", b"'\\''").replace(b"!", b"'\\!'").decode("utf-8", "surrogateescape")
    return [*words, f"{user}@{host}" if user else host, f"{service} '{quoted}'"]


def _variant(shell: str, program: str) -> str:
    """Return which ssh the user's is, by what is set or by its name."""
    variant = os.environ.get("GIT_SSH_VARIANT") or _setting("ssh.variant") or "auto"
    if variant != "auto":
        return variant
    try:
        first = shlex.split(shell)[0] if shell else program
    except (ValueError, IndexError):
        first = "ssh"
    return Path(first).name.lower().removesuffix(".exe")


def _port_option(variant: str) -> str:
    """Return the option by which an ssh takes a port."""
    if variant == "simple":
        raise SshCommandError(
            "an ssh of the variant 'simple' takes no port",
            hint="name the port in ssh's own settings",
        )
    return _PORT_OPTIONS.get(variant, "-p")


def _setting(name: str) -> str:
    own = os.environ.get("GIT_DIR")
    words = [executable(), *([f"--git-dir={own}"] if own else []), "config", "--get", name]
    environ = environment.trusted(environment.one_off_settings())
    try:
        done = subprocess.run(words, capture_output=True, env=environ, check=False, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"git cannot say what {name} is: {error}") from error
    return done.stdout.decode("utf-8", "surrogateescape").removesuffix("\n")
