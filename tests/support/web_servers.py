"""nginx and tinyproxy as operators run them, on free ports of this machine."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.certificates import Certificate
from support.ports import free_port
from support.programs import PATIENCE, wait_until

GUIDE = Path(__file__).parents[2] / "docs" / "guide-behind-nginx.md"


def answers(port: int) -> bool:
    """Tell whether something listens at a port of this machine."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def running(words: list[str], port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in the foreground while the block runs."""
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(words, stdout=said, stderr=said, start_new_session=True)
    try:
        wait_until(lambda: answers(port) or process.poll() is not None, "it listens")
        assert process.poll() is None, (folder / "said").read_text()
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)


def block_of_the_guide(node: str) -> str:
    """Return the guide's location block, with the address of a node put in.

    Args:
        node: ``HOST:PORT``.
    """
    found = re.search(r"```nginx\n(location .*?\n\}\n)```", GUIDE.read_text(), re.DOTALL)
    assert found is not None
    assert "127.0.0.1:8417" in found[1]
    return found[1].replace("127.0.0.1:8417", node)


@contextlib.contextmanager
def nginx(folder: Path, certificate: Certificate, location: str) -> Iterator[str]:
    """Run nginx with TLS; yields its base URL.

    Args:
        folder: an empty place.
        certificate: its own.
        location: the block that it serves by.
    """
    tls = f"ssl_certificate {certificate.chain};\n    ssl_certificate_key {certificate.key};\n"
    with _nginx(folder, " ssl", f"    {tls}{location}") as port:
        yield f"https://127.0.0.1:{port}"


@contextlib.contextmanager
def nginx_files(folder: Path, location: str) -> Iterator[str]:
    """Run nginx without TLS; yields its base URL.

    Args:
        folder: an empty place, where ``access`` is its log.
        location: the lines of its server that say what it serves.
    """
    with _nginx(folder, "", location) as port:
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def _nginx(folder: Path, listening: str, lines: str) -> Iterator[int]:
    """Run nginx on a free port, which is yielded; ``lines`` are those of its server."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("nginx missing")
    folder.mkdir()
    port = free_port()
    places = "".join(
        f"  {kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user}daemon off;\nworker_processes 1;\npid {folder}/pid;\n"
        "events { worker_connections 256; }\n"
        f"http {{\n  access_log {folder}/access;\n{places}"
        f"  server {{\n    listen 127.0.0.1:{port}{listening};\n{lines}  }}\n}}\n"
    )
    words = [program, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    words += ["-e", str(folder / "errors")]
    with running(words, port, folder):
        yield port


@contextlib.contextmanager
def tinyproxy(folder: Path) -> Iterator[tuple[str, Path]]:
    """Run an HTTP proxy that allows CONNECT; yields its URL and its log."""
    program = shutil.which("tinyproxy")
    if program is None:
        pytest.skip("tinyproxy missing")
    folder.mkdir()
    port = free_port()
    log = folder / "log"
    log.touch()
    log.chmod(0o666)
    (folder / "tinyproxy.conf").write_text(
        f'Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 64\nLogFile "{log}"\n'
        "LogLevel Connect\n"
    )
    with running([program, "-d", "-c", str(folder / "tinyproxy.conf")], port, folder):
        yield f"http://127.0.0.1:{port}", log
