"""Signing with SSH keys: files, keys held by an agent, security keys.

``ssh-keygen -Y sign`` does the work (or the program git is configured to use instead). Tracks
the key's name and where it is. Rules: namespace ``git``, as git signs tags and pushes; every
signature is verified before it is handed out, so that a wrong ``.pub`` file beside a key, or a
kind of key nobody would accept, is noticed here and not by strangers.

Source: ssh-keygen(1); docs/protocol/trust.md, SSH signatures.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.durable import temporary_directory
from gittorrent.errors import TrustError
from gittorrent.signing.programs import NoSigningKey, SigningFailed, complaint, run
from gittorrent.trust.errors import BadKey
from gittorrent.trust.keys import KeyKind, KeyRef
from gittorrent.trust.signature import Signature, detect, verify
from gittorrent.trust.sshkey import parse_key_line

if TYPE_CHECKING:
    from gittorrent.signing.plain import PlainSigner

SSH_KEYGEN = "ssh-keygen"

_TOO_OPEN = re.compile(rb"Permissions [0-7]+ for '.*' are too open")

_LITERAL = re.compile(r"(?:key::\s*)?((?:ssh|ecdsa|sk-ssh|sk-ecdsa)-\S+ .*)\Z", re.DOTALL)
_LISTED = re.compile(r"\d+ (SHA256:[A-Za-z0-9+/]{43}) ")


class SshSigner(Struct, frozen=True):
    """Signs with one SSH key.

    ``path`` is a private key, or a public key whose private half an agent holds; ``literal`` is
    a public key line instead, likewise held by an agent. ``program`` makes the signatures.
    """

    key: KeyRef
    path: Path | None = None
    literal: str | None = None
    program: str = SSH_KEYGEN

    @property
    def certificate(self) -> None:
        """SSH signatures carry their key, so there is no certificate to publish."""
        return

    @property
    def spec(self) -> str:
        """The absolute path, or the public key line where an agent holds the key."""
        return self.literal or str(self.path and self.path.absolute())

    def sign(self, message: bytes) -> Signature:
        """Sign ``message``; may ask for a passphrase or a touch. Raises ``SigningFailed``."""
        if self.path is not None:
            data = self._sign(message, ["-f", str(self.path)])
        else:
            with temporary_directory("sign") as folder:
                public = folder / "key.pub"
                public.write_text(f"{self.literal}\n", encoding="utf-8")
                data = self._sign(message, ["-U", "-f", str(public)])
        return checked(data, message, self)

    def _sign(self, message: bytes, which: list[str]) -> bytes:
        # Silent, as to what it signs; other programs are only known to take what git says to them.
        silent = ["-q"] if Path(self.program).name == SSH_KEYGEN else []
        command = [self.program, *silent, "-Y", "sign", "-n", "git", *which]
        done = run(command, given=message, may_prompt=True)
        if done.returncode != 0:
            why = complaint(done)
            hint = "check the passphrase, or that ssh-agent runs and holds the key (ssh-add -l)"
            if (found := _TOO_OPEN.search(done.stderr or b"")) is not None:
                # What it says last is that there is no such key.
                why, hint = os.fsdecode(found[0]), f"'chmod 600 {self.path}' closes it to others"
            raise SigningFailed(
                f"{self.program} could not sign with {self.path or self.key}: {why}", hint=hint
            )
        return done.stdout


def checked(data: bytes, message: bytes, signer: SshSigner) -> Signature:
    """Return the signature in ``data`` once it has been verified as this signer's."""
    try:
        signature = detect(data)
        made_by = verify(signature, message).key
    except TrustError as error:
        raise SigningFailed(
            f"{signer.program} made a signature that others would refuse: {error}",
            hint=error.hint,
        ) from error
    if made_by != signer.key:
        raise SigningFailed(
            f"{signer.path or 'the agent'} signed as {made_by}, not as {signer.key}",
            hint="the .pub file beside the private key belongs to another key",
        )
    return signature


def is_literal(spec: str) -> bool:
    """Tell whether ``spec`` is a public key itself, as git's user.signingKey may be."""
    return _LITERAL.match(spec) is not None or spec.startswith("key::")


def literal_signer(spec: str, program: str = SSH_KEYGEN) -> SshSigner:
    """Make a signer for a public key line, with or without ``key::``; an agent holds the key.

    Raises ``NoSigningKey`` when the line is malformed.
    """
    match = _LITERAL.match(spec)
    try:
        public = parse_key_line(match.group(1) if match is not None else spec)
    except TrustError as error:
        raise NoSigningKey(f"cannot sign with {spec[:60]!r}: {error}") from error
    return SshSigner(public.key, literal=public.line, program=program)


def file_signer(path: Path, program: str = SSH_KEYGEN) -> SshSigner | PlainSigner:
    """Make a signer for a private or public key file; raises ``NoSigningKey``."""
    if not path.is_file():
        raise NoSigningKey(f"there is no key file {path}")
    if shutil.which(SSH_KEYGEN) is None:
        from gittorrent.signing.plain import plain_signer  # slow to import, and few have no OpenSSH

        return plain_signer(path)
    # Asking for the fingerprint needs no passphrase, not even for an encrypted private key.
    done = run([SSH_KEYGEN, "-l", "-E", "sha256", "-f", str(path)])
    found = _LISTED.match(done.stdout.decode("ascii", "replace"))
    if done.returncode != 0 or found is None:
        raise NoSigningKey(f"{path} is not an SSH key: {complaint(done)}")
    try:
        key = KeyRef(KeyKind.SSH, found.group(1))
    except BadKey as error:
        raise NoSigningKey(f"{path} is not an SSH key: {error}") from error
    return SshSigner(key, path=path, program=program)


def make_ssh_key(path: Path, comment: str) -> SshSigner | PlainSigner:
    """Make a new ed25519 key without passphrase at ``path`` (mode 0600), and ``path``.pub.

    Never overwrites: raises ``NoSigningKey`` when either file exists or cannot be made.
    """
    public = path.with_name(path.name + ".pub")
    for taken in (path, public):
        if taken.exists() or taken.is_symlink():
            raise NoSigningKey(
                f"{taken} exists already; it is not overwritten",
                hint=f"sign with it (--key {path}), or choose another place",
            )
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise NoSigningKey(f"cannot make {path.parent}: {error.strerror}") from error
    if shutil.which(SSH_KEYGEN) is None:
        from gittorrent.signing.plain import make_plain_key, plain_signer

        make_plain_key(path, comment)
        return plain_signer(path)
    command = [SSH_KEYGEN, "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    done = run(command)
    if done.returncode != 0:
        raise NoSigningKey(f"ssh-keygen could not make {path}: {complaint(done)}")
    path.chmod(0o600)
    return file_signer(path)
