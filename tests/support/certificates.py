"""Certificates of an authority of the tests' own, made by openssl."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Certificate:
    """A server's certificate and key, and the authority that signed it."""

    chain: Path
    key: Path
    authority: Path


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def authority(folder: Path) -> None:
    """Make an authority in a folder."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl missing")
    folder.mkdir(parents=True, exist_ok=True)
    openssl(
        folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test authority",
        "-addext", "keyUsage=critical,keyCertSign",
    )  # fmt: skip


def issue(folder: Path, name: str = "server", host: str = "127.0.0.1") -> Certificate:
    """Return a certificate for a host, signed by the authority in the folder."""
    kind = "IP" if host.replace(".", "").isdigit() else "DNS"
    (folder / f"{name}.ext").write_text(f"subjectAltName={kind}:{host}\n")
    openssl(
        folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}",
    )  # fmt: skip
    openssl(
        folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
        "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem",
    )  # fmt: skip
    return Certificate(folder / f"{name}.pem", folder / f"{name}.key", folder / "ca.pem")
