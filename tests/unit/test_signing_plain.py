"""Signing without OpenSSH: the same files and signatures as with it."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from gittorrent.signing.keys import NoSigningKey, make_ssh_key, resolve_signer
from gittorrent.signing.plain import PlainSigner, make_plain_key, plain_signer
from gittorrent.signing.ssh import SSH_KEYGEN, SshSigner
from gittorrent.trust.signature import verify

needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen missing")
MESSAGE = b"tree and parent\n\0\xff"


@pytest.fixture
def without_openssh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing-here"))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    make_plain_key(path, "test")
    return path


def test_signature_holds(key: Path) -> None:
    signer = plain_signer(key)
    assert verify(signer.sign(MESSAGE), MESSAGE).key == signer.key
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_it_is_what_is_used_without_openssh(without_openssh: None, tmp_path: Path) -> None:
    made = make_ssh_key(tmp_path / "made", "test")
    found = resolve_signer(str(tmp_path / "made"), {})
    assert isinstance(made, PlainSigner)
    assert made == found
    assert (tmp_path / "made.pub").read_text(encoding="ascii").startswith("ssh-ed25519 ")


@needs_ssh
def test_openssh_uses_the_same_files_and_makes_the_same_signature(key: Path) -> None:
    signer = resolve_signer(str(key), {})
    assert isinstance(signer, SshSigner)
    assert signer.key == plain_signer(key).key
    assert signer.sign(MESSAGE).data == plain_signer(key).sign(MESSAGE).data


@needs_ssh
@pytest.mark.parametrize(
    "words", [("-t", "ecdsa", "-N", ""), ("-t", "ed25519", "-N", "secret words")]
)
def test_what_needs_openssh_says_so(words: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "other"
    subprocess.run([SSH_KEYGEN, "-q", *words, "-f", str(path)], check=True)
    with pytest.raises(NoSigningKey, match=r"without OpenSSH") as caught:
        plain_signer(path)
    assert "openssh-client" in caught.value.hint


def test_nothing_is_overwritten(key: Path) -> None:
    before = key.read_bytes()
    with pytest.raises(NoSigningKey, match="cannot make"):
        make_plain_key(key, "again")
    assert key.read_bytes() == before
