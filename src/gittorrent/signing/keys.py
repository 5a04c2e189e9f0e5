"""Choosing the key to sign with, the way git chooses it.

``Signer`` is what the rest of the program sees; ``resolve_signer`` makes one from what the user
asked for and git's configuration. Tracks nothing. Rules: never guesses between keys, and says
what to do when there is none. Must not know what is being signed.

Source: git-config(1), user.signingKey, gpg.format, gpg.program and gpg.ssh.*.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gittorrent.signing.gpg import GPG, OpenPgpSigner, gpg_signer
from gittorrent.signing.programs import (
    NoKeyOfThatNameError,
    NoSigningKey,
    SigningFailed,
    complaint,
    run,
)
from gittorrent.signing.ssh import (
    SSH_KEYGEN,
    SshSigner,
    file_signer,
    is_literal,
    literal_signer,
    make_ssh_key,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gittorrent.trust.keys import KeyRef
    from gittorrent.trust.signature import Signature

__all__ = [
    "NoSigningKey",
    "OpenPgpSigner",
    "Signer",
    "SigningFailed",
    "SshSigner",
    "make_ssh_key",
    "resolve_signer",
]


class Signer(Protocol):
    """Something that signs with one key."""

    @property
    def key(self) -> KeyRef:
        """The name of the key, as policies write it."""
        ...

    @property
    def certificate(self) -> bytes | None:
        """The OpenPGP certificate to publish (binary, minimal); None for SSH keys."""
        ...

    @property
    def spec(self) -> str:
        """What names the key to `resolve_signer` from any directory: a file, a line, a user."""
        ...

    def sign(self, message: bytes) -> Signature:
        """Sign ``message``, perhaps asking at the terminal; raises ``SigningFailed``."""
        ...


def resolve_signer(spec: str | None, config: Mapping[str, str]) -> Signer:
    """Find the key to sign with.

    ``spec`` is a key file, a public key line (with or without ``key::``), or an OpenPGP
    fingerprint, key id or email address; without it git's configuration decides. ``config`` maps
    git's configuration names (any case) to values. Raises ``NoSigningKey``.
    """
    settings = {name.lower(): value for name, value in config.items()}
    ssh_program = settings.get("gpg.ssh.program") or SSH_KEYGEN
    gpg_program = settings.get("gpg.openpgp.program") or settings.get("gpg.program") or GPG
    if spec is not None:
        return _from_spec(spec, ssh_program, gpg_program)
    kind = settings.get("gpg.format", "openpgp").lower()
    if kind == "ssh":
        return _configured_ssh(settings, ssh_program)
    if kind == "openpgp":
        user = settings.get("user.signingkey") or settings.get("user.email")
        if not user:
            raise NoSigningKey("no signing key: git's user.signingKey is not set")
        return gpg_signer(user, gpg_program)
    raise NoSigningKey(
        f"git is configured to sign with gpg.format={kind}, which is not supported here",
        hint="name an SSH or OpenPGP key with --key",
    )


def _from_spec(spec: str, ssh_program: str, gpg_program: str) -> Signer:
    """Tell a file, a public key and an OpenPGP name apart."""
    if is_literal(spec):
        return literal_signer(spec, ssh_program)
    if spec.startswith("ssh:"):
        raise NoSigningKey(f"{spec} names an SSH key, but not where it is")
    path = _expand(spec)
    if path.exists() or "/" in spec or spec.endswith(".pub"):
        return file_signer(path, ssh_program)
    if not spec.strip():
        raise NoSigningKey("the name of the signing key is empty")
    try:
        return gpg_signer(spec.removeprefix("openpgp:"), gpg_program)
    except NoKeyOfThatNameError as error:
        if spec.startswith("openpgp:"):
            raise
        raise NoKeyOfThatNameError(f"{error}, and there is no file {path}") from error


def _configured_ssh(settings: Mapping[str, str], program: str) -> Signer:
    """Follow git's rules for gpg.format=ssh."""
    wanted = settings.get("user.signingkey") or _default_key(
        settings.get("gpg.ssh.defaultkeycommand", "")
    )
    if not wanted:
        raise NoSigningKey("no signing key: gpg.format is ssh, but user.signingKey is not set")
    if is_literal(wanted):
        return literal_signer(wanted, program)
    return file_signer(_expand(wanted), program)


def _default_key(command: str) -> str | None:
    """Ask gpg.ssh.defaultKeyCommand for a public key: the first line that is one."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise NoSigningKey(f"gpg.ssh.defaultKeyCommand is malformed: {error}") from error
    if not words:
        return None
    done = run(words, may_prompt=True)
    if done.returncode != 0:
        raise NoSigningKey(f"gpg.ssh.defaultKeyCommand failed: {complaint(done)}")
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    return next((line for line in lines if is_literal(line)), None)


def _expand(text: str) -> Path:
    """Expand ``~`` as git does; a name that cannot be expanded stays as it is."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)
