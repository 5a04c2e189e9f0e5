"""A node that speaks TLS itself, with certificates that are renewed while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path

import pytest

from gittorrent.errors import UsageError
from gittorrent.node.options import Options
from gittorrent.node.tls import Certificate, CertificateError, CertificateFiles
from gittorrent.repository.carried import Carried
from gittorrent.transfer.server_timeouts import ServerTimeouts
from support import certificates, nodes
from support.nodes import Served
from support.programs import PATIENCE, Person, wait_until
from support.websockets import BINARY, Caller, request


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    certificates.authority(tmp_path / "ca")
    certificates.issue(tmp_path / "ca")
    return tmp_path / "ca"


def files(folder: Path) -> CertificateFiles:
    return CertificateFiles(folder / "server.pem", folder / "server.key")


def options(folder: Path) -> Options:
    return Options(https=(("127.0.0.1", 0),), certificate=files(folder), announce=False)


def secured(node: Served, folder: Path) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    sock = socket.create_connection(node.https_address, timeout=PATIENCE)
    return context.wrap_socket(sock, server_hostname="127.0.0.1")


def serial(sock: ssl.SSLSocket) -> str:
    found = sock.getpeercert()
    assert found is not None
    return str(found["serialNumber"])


def renew(folder: Path) -> None:
    """Put a new certificate in place of the old one, as programs that renew them do."""
    made = certificates.issue(folder, "next")
    made.key.replace(folder / "server.key")
    made.chain.replace(folder / "server.pem")


def test_clones_and_fetches(large: Carried, folder: Path, tmp_path: Path, person: Person) -> None:
    home = nodes.make_home(tmp_path / "node")
    with nodes.serving(large, home=home, options=options(folder)) as node:
        url = f"{node.https}/project.git"
        person.git("config", "--global", "http.sslCAInfo", folder / "ca.pem").ok()
        person.git("clone", f"gittorrent::{url}", "copy").ok()
        assert node.ended_conversations()[0].reason == "done"
        person.git("clone", url, "stock").ok()
        (reel, *_) = large.reels.all()
        part = person.run(
            "curl", "-sS", "--cacert", folder / "ca.pem", "-o", "part", "-w", "%{http_code}",
            "-r", "0-999999", f"{url}/reels/{reel.id}.pack",
        )  # fmt: skip
        assert part.ok().out == "206"
        assert (person.root / "part").stat().st_size == 1_000_000


def reload(node: nodes.Served, folder: Path) -> None:
    """Have a node look at its certificate now."""
    work = node.node.reload(options(folder))
    asyncio.run_coroutine_threadsafe(work, node.loop).result(PATIENCE)


def test_it_is_renewed_and_open_connections_go_on(
    project: Carried, folder: Path, tmp_path: Path
) -> None:
    home = nodes.make_home(tmp_path / "node")
    with nodes.serving(project, home=home, options=options(folder)) as node:
        with secured(node, folder) as first, contextlib.ExitStack() as stack:
            before = serial(first)
            first.sendall(request())
            talk = Caller(first).agreed()
            talk.hear(b"mirror-sync ready")
            renew(folder)
            reload(node, folder)

            def is_new() -> bool:
                with secured(node, folder) as later:
                    return serial(later) != before

            wait_until(is_new, "newcomers get the new one")
            (folder / "server.key").write_text("no key")
            reload(node, folder)
            last = stack.enter_context(secured(node, folder))
            assert serial(last) != before, "what cannot be used changes nothing"
            talk.send(BINARY, b"000dbye done\n")
            talk.rest()
        assert node.ended_conversations()[0].reason == "done"


def test_files_are_looked_at_by_themselves(folder: Path) -> None:
    certificate = Certificate(files(folder))
    first = certificate.context
    assert not certificate.reload()
    renew(folder)
    assert certificate.reload()
    assert certificate.context is not first
    second = certificate.context
    (folder / "server.pem").unlink()
    assert not certificate.reload()
    assert certificate.context is second
    certificates.issue(folder)
    assert certificate.reload()


@pytest.mark.parametrize("state", ["missing", "empty", "of another", "locked"])
def test_what_cannot_be_used_is_said_at_the_start(
    folder: Path, tmp_path: Path, person: Person, state: str
) -> None:
    key = folder / "server.key"
    if state == "missing":
        key.unlink()
    elif state == "empty":
        key.write_text("")
    elif state == "of another":
        key.write_bytes(certificates.issue(folder, "another").key.read_bytes())
    else:
        certificates.openssl(
            folder, "ec", "-in", "server.key", "-aes128", "-passout", "pass:abcd",
            "-out", "server.key",
        )  # fmt: skip
    with pytest.raises(CertificateError):
        Certificate(files(folder))
    words = ("--https", "127.0.0.1:0", "--tls-certificate", folder / "server.pem")
    done = person.gittorrent("serve", *words, "--tls-key", key)
    assert done.status not in (0, 1)
    assert "server.key" in done.err
    assert "Traceback" not in done.err


def test_there_is_none_without_a_certificate(person: Person) -> None:
    said = "for HTTPS the node needs a certificate"
    person.gittorrent("serve", "--https", "127.0.0.1:0").failed(UsageError.exit_code, said)


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05" + b"\xff" * 64]
)
def test_who_speaks_no_tls_is_dropped(
    project: Carried, folder: Path, tmp_path: Path, sent: bytes
) -> None:
    home = nodes.make_home(tmp_path / "node")
    short = ServerTimeouts(request=0.2)
    with nodes.serving(project, home=home, options=options(folder), server_timeouts=short) as node:
        with socket.create_connection(node.https_address, timeout=PATIENCE) as sock:
            sock.sendall(sent)
            with contextlib.suppress(ConnectionError):
                while sock.recv(4096):
                    pass
        wait_until(lambda: node.node._connection_limiter.open == 0, "its place is free")
