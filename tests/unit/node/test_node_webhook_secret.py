"""Proofs of webhooks, as the forges make them."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest

from gittorrent.node.webhook_secret import Proof, SecretError, read_secret

SECRET = b"0123456789abcdef0123"
BODY = b'{"ref": "refs/heads/main"}'
MAC = hmac.new(SECRET, BODY, hashlib.sha256).hexdigest()


def holds(headers: dict[str, str], body: bytes = BODY) -> bool:
    proof = Proof(SECRET, headers)
    proof.take(body[:7])
    proof.take(body[7:])
    return proof.holds()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Hub-Signature-256", f"sha256={MAC}"),
        ("X-Gitlab-Token", SECRET.decode()),
        ("X-Forgejo-Signature", MAC),
        ("X-Gitea-Signature", MAC),
    ],
)
def test_each_forge_is_believed(name: str, value: str) -> None:
    assert holds({name: value})
    assert holds({name: value, "X-Hub-Signature": "sha1=old"})
    assert not holds({name: value[:-1] + "~"})
    assert not holds({name: ""})
    assert not holds({"X-Other": value})


@pytest.mark.parametrize("name", ["X-Hub-Signature-256", "X-Forgejo-Signature"])
def test_the_body_counts(name: str) -> None:
    value = f"sha256={MAC}" if name.startswith("X-Hub") else MAC
    assert not holds({name: value}, BODY + b" ")


def test_what_is_no_ascii_is_wrong_and_no_error() -> None:
    assert not holds({"X-Gitlab-Token": "\udcff", "X-Hub-Signature-256": "sha256=é"})
    assert not holds({})


def test_a_secret_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(SECRET + b"\n")
    assert read_secret(path) == SECRET
    for bad in (b"", b"short\n", b"x" * 5000):
        path.write_bytes(bad)
        with pytest.raises(SecretError, match="no secret of 16"):
            read_secret(path)
    with pytest.raises(SecretError, match="cannot read"):
        read_secret(tmp_path / "nothing")
