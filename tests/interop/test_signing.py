"""Our signers and verifiers against real ssh-keygen, gpg and git."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gittorrent.errors import TrustError
from gittorrent.push.signed import is_valid
from gittorrent.signing.keys import (
    NoSigningKey,
    OpenPgpSigner,
    SigningFailed,
    SshSigner,
    make_ssh_key,
    resolve_signer,
)
from gittorrent.trust import openpgp
from gittorrent.trust.errors import (
    BadKey,
    BadSignature,
    ExpiredKey,
    RevokedKey,
    UnknownKey,
    WeakSignature,
)
from gittorrent.trust.keys import KeyKind, KeyRef
from gittorrent.trust.policy import Policy
from gittorrent.trust.signature import KeyRing, detect, split_signed, verify
from gittorrent.trust.signed_policy import SignedPolicy, verify_first, verify_next
from gittorrent.trust.sshkey import parse_key_line
from support.gpg import gpg_home, short_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen missing")
needs_gpg = pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg missing")
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git missing")

MESSAGE = b"object 0\n\0\xff binary, signed as it is\n"


def tool(*command: str, given: bytes = b"", cwd: Path | None = None) -> bytes:
    """Run a program that must succeed; return what it printed."""
    return subprocess.run(command, input=given, capture_output=True, check=True, cwd=cwd).stdout


def ssh_key(folder: Path, *kind: str) -> Path:
    path = folder / ("id_" + "".join(kind))
    tool("ssh-keygen", "-q", "-t", *kind, "-N", "", "-C", "test", "-f", str(path))
    return path


# --- SSH ---------------------------------------------------------------------------------------


@needs_ssh
@pytest.mark.parametrize(
    "kind",
    [
        ("ed25519",),
        ("ecdsa", "-b", "256"),
        ("ecdsa", "-b", "384"),
        ("ecdsa", "-b", "521"),
        ("rsa", "-b", "2048"),
    ],
    ids=lambda kind: "".join(kind),
)
def test_ssh_keygen_signatures_verify(tmp_path: Path, kind: tuple[str, ...]) -> None:
    path = ssh_key(tmp_path, *kind)
    signer = resolve_signer(str(path), {})
    assert isinstance(signer, SshSigner)
    assert signer.certificate is None
    made = verify(signer.sign(MESSAGE), MESSAGE)
    assert made.key == signer.key
    assert str(made.key).removeprefix("ssh:") in tool("ssh-keygen", "-lf", str(path)).decode()
    public = Path(f"{path}.pub").read_text().split()
    assert made.public_key_line == " ".join(public[:2])
    with pytest.raises(BadSignature):
        verify(signer.sign(MESSAGE), MESSAGE + b"x")


@needs_ssh
@pytest.mark.parametrize("digest", ["sha256", "sha512"])
def test_both_digests_verify(tmp_path: Path, digest: str) -> None:
    path = ssh_key(tmp_path, "ed25519")
    command = ("ssh-keygen", "-Y", "sign", "-O", f"hashalg={digest}", "-n", "git", "-f", str(path))
    made = verify(detect(tool(*command, given=MESSAGE)), MESSAGE)
    assert made.key == resolve_signer(str(path), {}).key


@needs_ssh
def test_another_namespace_is_refused(tmp_path: Path) -> None:
    path = ssh_key(tmp_path, "ed25519")
    data = tool("ssh-keygen", "-Y", "sign", "-n", "file", "-f", str(path), given=MESSAGE)
    with pytest.raises(BadSignature, match="namespace"):
        verify(detect(data), MESSAGE)


@needs_ssh
def test_a_small_rsa_key_is_refused(tmp_path: Path) -> None:
    path = ssh_key(tmp_path, "rsa", "-b", "1024")
    with pytest.raises(SigningFailed, match="2048"):
        resolve_signer(str(path), {}).sign(MESSAGE)


@needs_ssh
def test_a_certificate_key_is_refused(tmp_path: Path) -> None:
    authority, path = ssh_key(tmp_path, "ecdsa"), ssh_key(tmp_path, "ed25519")
    tool("ssh-keygen", "-q", "-s", str(authority), "-I", "me", "-n", "me", f"{path}.pub")
    line = Path(f"{path}-cert.pub").read_text()
    with pytest.raises(BadKey, match="certificates are not accepted"):
        parse_key_line(line)


@needs_ssh
def test_ssh_keygen_accepts_our_signature(tmp_path: Path) -> None:
    signer = make_ssh_key(tmp_path / "new" / "key", "made by us")
    signature = tmp_path / "signature"
    signature.write_bytes(signer.sign(MESSAGE).data)
    allowed = tmp_path / "allowed"
    allowed.write_text("me@example.org " + (tmp_path / "new" / "key.pub").read_text())
    printed = tool(
        *("ssh-keygen", "-Y", "verify", "-f", str(allowed), "-I", "me@example.org"),
        *("-n", "git", "-s", str(signature)),
        given=MESSAGE,
    )
    assert b'Good "git" signature' in printed


@needs_ssh
def test_a_new_key_is_private_and_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "key"
    signer = make_ssh_key(path, "comment here")
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "key.pub").read_text().endswith(" comment here\n")
    before = path.read_bytes()
    with pytest.raises(NoSigningKey, match="not overwritten"):
        make_ssh_key(path, "again")
    path.unlink()
    with pytest.raises(NoSigningKey, match="not overwritten"):
        make_ssh_key(path, "the public half is still there")
    path.write_bytes(before)
    path.chmod(0o600)
    assert resolve_signer(str(path), {}) == signer


@needs_ssh
def test_a_wrong_public_file_beside_the_key_is_noticed(tmp_path: Path) -> None:
    one, other = ssh_key(tmp_path, "ed25519"), ssh_key(tmp_path, "ecdsa")
    shutil.copy(f"{other}.pub", f"{one}.pub")
    with pytest.raises(SigningFailed):
        resolve_signer(str(one), {}).sign(MESSAGE)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An ssh-agent of our own, on a socket with a short path."""
    with (
        short_folder() as folder,
        subprocess.Popen(
            ["ssh-agent", "-D", "-a", f"{folder}/s"], stdout=subprocess.PIPE
        ) as process,
    ):
        assert process.stdout is not None
        process.stdout.readline()  # printed once it listens
        monkeypatch.setenv("SSH_AUTH_SOCK", f"{folder}/s")
        yield
        process.terminate()


@needs_ssh
@pytest.mark.skipif(shutil.which("ssh-agent") is None, reason="ssh-agent missing")
@pytest.mark.usefixtures("agent")
def test_keys_held_by_an_agent_sign(tmp_path: Path) -> None:
    path = ssh_key(tmp_path, "ed25519")
    tool("ssh-add", "-q", str(path))
    path.unlink()
    line = Path(f"{path}.pub").read_text().strip()
    expected = parse_key_line(line).key
    config = {"gpg.format": "ssh", "user.signingKey": f"key::{line}"}
    by_command = {"gpg.format": "ssh", "gpg.ssh.defaultKeyCommand": f"cat {path}.pub"}
    for signer in (
        resolve_signer(f"{path}.pub", {}),
        resolve_signer(line, {}),
        resolve_signer(None, config),
        resolve_signer(None, by_command),
    ):
        assert signer.key == expected
        assert verify(signer.sign(MESSAGE), MESSAGE).key == expected
        assert resolve_signer(signer.spec, {}).key == expected


@needs_ssh
def test_a_public_key_nobody_holds_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    path = ssh_key(tmp_path, "ed25519")
    path.unlink()
    with pytest.raises(SigningFailed) as caught:
        resolve_signer(f"{path}.pub", {}).sign(MESSAGE)
    assert "ssh-agent" in caught.value.hint


@needs_ssh
def test_a_private_key_that_others_can_read(tmp_path: Path) -> None:
    path = ssh_key(tmp_path, "ed25519")
    path.chmod(0o644)
    with pytest.raises(SigningFailed, match=r"Permissions 0644 .* are too open") as caught:
        resolve_signer(str(path), {}).sign(MESSAGE)
    assert caught.value.hint.startswith(f"'chmod 600 {path}'")


def test_a_name_that_is_neither_a_file_nor_known_to_gpg() -> None:
    with pytest.raises(NoSigningKey, match="'nobody-of-this-name', and there is no file nobody"):
        resolve_signer("nobody-of-this-name", {})


@needs_ssh
def test_git_configuration_chooses_the_ssh_key_and_program(tmp_path: Path) -> None:
    path = ssh_key(tmp_path, "ed25519")
    used = tmp_path / "used"
    program = tmp_path / "signer"
    program.write_text(f'#!/bin/sh\nenv >{used}\nexec ssh-keygen "$@"\n')
    program.chmod(0o755)
    config = {
        "gpg.format": "ssh",
        "user.signingkey": str(path),
        "gpg.ssh.program": str(program),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_DIR", "/nowhere")
        resolve_signer(None, config).sign(MESSAGE)
    seen = used.read_text().splitlines()
    assert "LC_ALL=C" in seen
    assert not [line for line in seen if line.startswith("GIT_")]


@needs_ssh
@pytest.mark.parametrize(("name", "is_known"), [("ssh-keygen", True), ("sign-by-vault", False)])
def test_only_ssh_keygen_is_told_to_be_silent(tmp_path: Path, name: str, is_known: bool) -> None:
    path = ssh_key(tmp_path, "ed25519")
    words, program = tmp_path / "words", tmp_path / name
    program.write_text(f'#!/bin/sh\necho "$*" >{words}\nexec {shutil.which("ssh-keygen")} "$@"\n')
    program.chmod(0o755)
    config = {"gpg.format": "ssh", "gpg.ssh.program": str(program)}
    resolve_signer(str(path), config).sign(MESSAGE)
    silent = "-q " if is_known else ""
    assert words.read_text() == f"{silent}-Y sign -n git -f {path}\n"


@pytest.mark.parametrize(
    ("spec", "config"),
    [
        (None, {}),
        (None, {"gpg.format": "ssh"}),
        (None, {"gpg.format": "ssh", "user.signingkey": "/nowhere/key"}),
        (None, {"gpg.format": "ssh", "gpg.ssh.defaultKeyCommand": "false"}),
        (None, {"gpg.format": "ssh", "gpg.ssh.defaultKeyCommand": "echo 'open"}),
        (None, {"gpg.format": "x509", "user.signingkey": "me"}),
        ("/nowhere/key", {}),
        ("key::ssh-ed25519 AAAA", {}),
        ("ssh:SHA256:" + "A" * 43, {}),
        ("", {}),
        ("me@example.org", {"gpg.program": "/nowhere/gpg"}),
    ],
)
def test_no_key_is_said_with_a_way_out(spec: str | None, config: dict[str, str]) -> None:
    with pytest.raises(NoSigningKey) as caught:
        resolve_signer(spec, config)
    assert caught.value.hint


# --- OpenPGP -----------------------------------------------------------------------------------


class Gpg:
    """gpg in a home of its own, with keys made as the tests need them."""

    def __init__(self, home: str) -> None:
        self.home = home

    def run(self, *arguments: str, given: bytes = b"", at: str = "") -> bytes:
        faked = ("--faked-system-time", f"{at}!") if at else ()  # which stands still
        return tool(
            *("gpg", "--homedir", self.home, "--batch", "--quiet", "--yes"),
            *("--pinentry-mode", "loopback", "--passphrase", ""),
            *(*faked, *arguments),
            given=given,
        )

    def make(self, user: str, usage: str, expires: str = "0", at: str = "") -> str:
        self.run("--quick-generate-key", user, "ed25519", usage, expires, at=at)
        return self.fingerprints(user)[0]

    def fingerprints(self, user: str) -> list[str]:
        listed = self.run("--with-colons", "--list-keys", user).decode().splitlines()
        return [line.split(":")[9] for line in listed if line.startswith("fpr:")]

    def sign(self, user: str, *options: str, at: str = "") -> bytes:
        command = (*options, "--armor", "--local-user", user, "--detach-sign")
        return self.run(*command, given=MESSAGE, at=at)

    def certificate(self, user: str) -> bytes:
        return self.run("--export-options", "export-minimal", "--export", user)


@pytest.fixture(scope="module")
def gpg() -> Iterator[Gpg]:
    """A GnuPG home, and the variable that names it."""
    with gpg_home() as home, pytest.MonkeyPatch.context() as patch:
        patch.setenv("GNUPGHOME", str(home))
        yield Gpg(str(home))


@pytest.fixture(scope="module")
def plain(gpg: Gpg) -> str:
    """The fingerprint of a key that does not expire and signs itself."""
    return gpg.make("Plain <plain@example.org>", "sign")


@needs_gpg
@pytest.mark.parametrize("armored", [True, False])
def test_gpg_signatures_verify(gpg: Gpg, plain: str, armored: bool) -> None:
    certificate = gpg.certificate(plain)
    given = gpg.run("--armor", "--export", plain) if armored else certificate
    made = openpgp.verify(gpg.sign(plain), MESSAGE, given)
    assert str(made.key) == f"openpgp:{plain.lower()}"
    assert made.signing_key == plain.lower()
    assert openpgp.certificate_fingerprint(given) == made.key
    assert openpgp.dearmor(gpg.sign(plain))[0] & 0x80
    binary = openpgp.dearmor(given)
    assert openpgp.certificate_digest(given) == openpgp.certificate_digest(binary)
    with pytest.raises(BadSignature, match="did not sign"):
        openpgp.verify(gpg.sign(plain), MESSAGE + b"x", certificate)


@needs_gpg
def test_a_signing_subkey_speaks_for_its_primary(gpg: Gpg) -> None:
    primary = gpg.make("Sub <sub@example.org>", "cert")
    gpg.run("--quick-add-key", primary, "ed25519", "sign", "0")
    subkey = gpg.fingerprints(primary)[1]
    ring = KeyRing([gpg.certificate(primary)])
    made = verify(detect(gpg.sign(primary)), MESSAGE, ring)
    assert made.key == KeyRef(KeyKind.OPENPGP, primary.lower())
    assert made.signing_key == subkey.lower()
    for name in (primary, subkey, subkey + "!", "sub@example.org", f"openpgp:{primary.lower()}"):
        signer = resolve_signer(name, {})
        assert signer.key == made.key
        assert verify(signer.sign(MESSAGE), MESSAGE, ring).signing_key == subkey.lower()
        assert resolve_signer(signer.spec, {}) == signer
    # Revoking the subkey takes back what it signed, though the certificate stays valid.
    before = signer.sign(MESSAGE)
    tool(
        *("gpg", "--homedir", gpg.home, "--no-tty", "--pinentry-mode", "loopback"),
        *("--command-fd", "0", "--edit-key", primary),
        given=b"key 1\nrevkey\ny\n1\n\ny\nsave\n",
    )
    with pytest.raises(BadSignature, match="not valid at the time"):
        openpgp.verify(before.data, MESSAGE, gpg.certificate(primary))
    with pytest.raises(NoSigningKey):
        resolve_signer(primary, {})


@needs_gpg
def test_expiry_is_judged_when_the_signature_was_made(gpg: Gpg) -> None:
    old = gpg.make("Old <old@example.org>", "sign", "1y", at="20200101T000000")
    alive = gpg.sign(old, at="20200601T000000")
    certificate = gpg.certificate(old)
    assert openpgp.verify(alive, MESSAGE, certificate).created == 1590969600
    # gpg does not sign with an expired key, so the key gets a longer life, signs, and the
    # verifier holds the certificate from before.
    gpg.run("--quick-set-expire", old, "20y", at="20200701T000000")
    late = gpg.sign(old, at="20220601T000000")
    assert openpgp.verify(late, MESSAGE, gpg.certificate(old)).created == 1654041600
    with pytest.raises(ExpiredKey, match="expired on 2020-12-31"):
        openpgp.verify(late, MESSAGE, certificate)
    with pytest.raises(ExpiredKey):
        verify(detect(late), MESSAGE, KeyRing([certificate]))


@needs_gpg
def test_a_key_is_good_at_the_time_of_a_checkpoint(gpg: Gpg, plain: str) -> None:
    """Whatever date its signatures give themselves: until it expires, and never once revoked."""
    brief = gpg.make("Brief <brief@example.org>", "sign", "1y", at="20200101T000000")
    ring = KeyRing([gpg.certificate(brief), gpg.certificate(plain)])
    name, lasting = (KeyRef.parse(f"openpgp:{key.lower()}") for key in (brief, plain))
    assert is_valid(name, ring, 1590969600)
    assert not is_valid(name, ring, 1654041600)
    assert is_valid(lasting, ring, 1654041600)
    assert not is_valid(name, KeyRing(), 1590969600)
    gone = gpg.make("Gone <gone@example.org>", "sign")
    stored = Path(gpg.home, "openpgp-revocs.d", f"{gone}.rev").read_bytes()
    gpg.run("--import", given=stored.replace(b":-----BEGIN", b"-----BEGIN"))
    assert not openpgp.valid_at(gpg.certificate(gone), 1590969600)


@needs_gpg
def test_a_revoked_key_vouches_for_nothing(gpg: Gpg) -> None:
    key = gpg.make("Revoked <revoked@example.org>", "sign")
    signature, before = gpg.sign(key), gpg.certificate(key)
    assert openpgp.verify(signature, MESSAGE, before).created > 0
    stored = Path(gpg.home, "openpgp-revocs.d", f"{key}.rev").read_bytes()
    gpg.run("--import", given=stored.replace(b":-----BEGIN", b"-----BEGIN"))
    with pytest.raises(RevokedKey):
        openpgp.verify(signature, MESSAGE, gpg.certificate(key))
    with pytest.raises(NoSigningKey):
        resolve_signer(key, {})


@needs_gpg
def test_only_one_detached_binary_signature_counts(gpg: Gpg, plain: str) -> None:
    other = gpg.make("Other <other@example.org>", "sign")
    certificate = gpg.certificate(plain)
    good = gpg.sign(plain)
    refused = {
        "text mode": gpg.sign(plain, "--textmode"),
        "two": gpg.sign(plain, "--local-user", other),
        "inline": gpg.run("--armor", "--local-user", plain, "--sign", given=MESSAGE),
        "inline, binary": gpg.run("--local-user", plain, "--sign", given=MESSAGE),
        "clear": gpg.run("--local-user", plain, "--clear-sign", given=MESSAGE),
        "twice": good + good,
        "truncated": good[:-60],
        "binary truncated": openpgp.dearmor(good)[:-1],
        "trailing": openpgp.dearmor(good) + b"\0",
        "leading": b"hello\n" + good,
        "nothing": b"",
        "a certificate": certificate,
    }
    for data in refused.values():
        with pytest.raises(BadSignature):
            openpgp.verify(data, MESSAGE, certificate)
    with pytest.raises(WeakSignature, match="SHA-1"):
        openpgp.verify(gpg.sign(plain, "--digest-algo", "SHA1"), MESSAGE, certificate)
    with pytest.raises(UnknownKey):
        openpgp.verify(good, MESSAGE, gpg.certificate(other))
    with pytest.raises(UnknownKey):
        verify(detect(good), MESSAGE, KeyRing([gpg.certificate(other)]))
    for broken in (certificate + gpg.certificate(other), certificate[:-5], b"", b"\xc6\x00", good):
        with pytest.raises(TrustError):
            openpgp.certificate_fingerprint(broken)
    secret = gpg.run("--export-secret-keys", plain)
    with pytest.raises(BadKey, match="secret key"):
        openpgp.certificate_fingerprint(secret)


@needs_gpg
def test_comments_in_the_armor_change_nothing(gpg: Gpg, plain: str) -> None:
    noisy = gpg.sign(plain, "--comment", "hello there", "--emit-version")
    assert b"Comment: hello there\n" in noisy
    assert openpgp.verify(noisy, MESSAGE, gpg.certificate(plain)).key.kind is KeyKind.OPENPGP


@needs_gpg
def test_gpg_accepts_our_openpgp_signature(gpg: Gpg, plain: str, tmp_path: Path) -> None:
    signer = resolve_signer(None, {"user.email": "plain@example.org", "gpg.program": "gpg"})
    assert isinstance(signer, OpenPgpSigner)
    assert signer.certificate == gpg.certificate(plain)
    (tmp_path / "signature").write_bytes(signer.sign(MESSAGE).data)
    gpg.run("--verify", str(tmp_path / "signature"), "-", given=MESSAGE)


@needs_gpg
def test_an_ambiguous_name_is_not_guessed(gpg: Gpg) -> None:
    gpg.make("Twin One <one@twins.example.org>", "sign")
    gpg.make("Twin Two <two@twins.example.org>", "sign")
    with pytest.raises(NoSigningKey, match="2 secret keys"):
        resolve_signer("twins.example.org", {})
    with pytest.raises(NoSigningKey, match="no usable secret key"):
        resolve_signer("stranger@example.org", {})


# --- git ---------------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig"),
        "GIT_AUTHOR_NAME": "A",
        "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "A",
        "GIT_COMMITTER_EMAIL": "a@example.org",
    }.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "repository"
    tool("git", "init", "-q", str(path))
    tool("git", "commit", "-q", "--allow-empty", "-m", "first", cwd=path)
    return path


@needs_git
@needs_ssh
def test_a_tag_signed_by_git_with_ssh(repository: Path, tmp_path: Path) -> None:
    key = ssh_key(tmp_path, "ed25519")
    config = ("-c", "gpg.format=ssh", "-c", f"user.signingkey={key}")
    tool("git", *config, "tag", "-s", "-m", "message", "v1", cwd=repository)
    tag = tool("git", "cat-file", "tag", "v1", cwd=repository)
    payload, signature = split_signed(tag)
    assert payload.startswith(b"object ")
    assert payload.endswith(b"\nmessage\n")
    assert payload + signature.data == tag
    assert verify(signature, payload).key == resolve_signer(str(key), {}).key


@needs_git
@needs_gpg
def test_a_tag_signed_by_git_with_openpgp(gpg: Gpg, plain: str, repository: Path) -> None:
    config = ("-c", "gpg.format=openpgp", "-c", f"user.signingkey={plain}")
    tool("git", *config, "tag", "-s", "-m", "message", "v1", cwd=repository)
    payload, signature = split_signed(tool("git", "cat-file", "tag", "v1", cwd=repository))
    made = verify(signature, payload, KeyRing([gpg.certificate(plain)]))
    assert made.key == KeyRef(KeyKind.OPENPGP, plain.lower())
    with pytest.raises(UnknownKey):
        verify(signature, payload)


@needs_gpg
@needs_ssh
def test_a_policy_with_roots_of_both_kinds(gpg: Gpg, plain: str, tmp_path: Path) -> None:
    pgp = resolve_signer(plain, {})
    ssh = make_ssh_key(tmp_path / "key", "root")
    assert pgp.certificate is not None
    certificates = (pgp.certificate,)
    policy = Policy.first("both", bytes(16), [pgp.key, ssh.key], certificates=certificates)
    assert policy.threshold == 2
    text = policy.text()
    signed = SignedPolicy(text, (pgp.sign(text), ssh.sign(text)), certificates)
    first = verify_first(signed)
    assert first.signers == {pgp.key, ssh.key}
    later = policy.next_version("a" * 40, mirrors=("https://mirror.example.org/both.git",))  # type: ignore[arg-type]
    text = later.text()
    signed = SignedPolicy(text, (ssh.sign(text), pgp.sign(text)), certificates)
    second = verify_next(signed, first)
    assert second.repository == first.repository
    assert second.policy.version == 2
