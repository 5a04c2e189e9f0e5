"""Mirrors reached through a real HTTP proxy, as git's configuration and the environment say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from gittorrent.repository.carried import Carried
from gittorrent.store.home import Home
from support import certificates, nodes
from support.nodes import Served
from support.ports import free_port
from support.programs import Person, wait_until
from support.web_servers import block_of_the_guide, nginx, tinyproxy


@dataclass(frozen=True)
class Proxied:
    """A node, nginx before it, and a proxy."""

    served: Served
    secure: str
    authority: Path
    proxy: str
    log: Path
    home: Home

    def asked(self) -> str:
        """Return what the proxy was asked for."""
        return self.log.read_text()


@pytest.fixture
def proxied(project: Carried, tmp_path: Path) -> Iterator[Proxied]:
    certificates.authority(tmp_path / "ca")
    certificate = certificates.issue(tmp_path / "ca")
    home = nodes.make_home(tmp_path / "node")
    with ExitStack() as stack:
        served = stack.enter_context(nodes.serving(project, home=home))
        block = block_of_the_guide(served.http.removeprefix("http://"))
        base = stack.enter_context(nginx(tmp_path / "nginx", certificate, block))
        proxy, log = stack.enter_context(tinyproxy(tmp_path / "proxy"))
        yield Proxied(served, base, certificate.authority, proxy, log, home)


def test_by_connect_to_where_tls_is_spoken(proxied: Proxied, person: Person) -> None:
    person.git("config", "--global", "http.sslCAInfo", proxied.authority).ok()
    person.git("config", "--global", f"http.{proxied.secure}/.proxy", proxied.proxy).ok()
    person.git("clone", f"gittorrent::{proxied.secure}/project.git", "copy").ok()
    wait_until(lambda: "CONNECT 127.0.0.1" in proxied.asked(), "the proxy says so")
    assert proxied.served.ended_conversations()[0].reason == "done"


def test_without_tls_it_passes_files(proxied: Proxied, person: Person) -> None:
    """This proxy, like most, lets nobody change to another protocol."""
    url = f"gittorrent::{proxied.served.http}/project.git"
    environ = {"http_proxy": proxied.proxy}
    behind = Person(person.root, person.git_program, environ)
    done = behind.git("clone", "-v", url, "copy").ok()
    assert "it is asked for files" in done.err
    wait_until(lambda: "GET http://127.0.0.1" in proxied.asked(), "the proxy says so")
    exempt = Person(person.root, person.git_program, {**environ, "no_proxy": "127.0.0.1"})
    before = proxied.asked()
    exempt.git("clone", url, "direct").ok()
    assert proxied.asked() == before


def test_a_remotes_own_proxy(proxied: Proxied, person: Person) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    person.git("config", "--global", "http.sslCAInfo", proxied.authority).ok()
    url = f"gittorrent::{proxied.secure}/project.git"
    person.git("clone", url, "copy").ok()
    copy = person.root / "copy"
    person.git("config", "http.proxy", dead, cwd=copy).ok()
    person.git("config", "remote.origin.proxy", proxied.proxy, cwd=copy).ok()
    person.git("fetch", cwd=copy).ok()
    wait_until(lambda: "CONNECT 127.0.0.1" in proxied.asked(), "the proxy says so")


def test_one_that_is_not_there_or_not_understood_is_named(proxied: Proxied, person: Person) -> None:
    url = f"gittorrent::{proxied.secure}/project.git"
    dead = f"http.proxy=http://127.0.0.1:{free_port()}"
    person.git("-c", dead, "clone", url, "one").failed(128, "connection refused", "proxy")
    socks = "http.proxy=socks5h://127.0.0.1:9050"
    person.git("-c", socks, "clone", url, "two").failed(128, "socks5h proxy", "hint: ")


def test_learned_mirrors_are_not_told_of_it(
    proxied: Proxied, project: Carried, person: Person, tmp_path: Path
) -> None:
    with nodes.serving(project, home=nodes.make_home(tmp_path / "other")) as other:
        nodes.list_mirrors(proxied.home, project, f"{other.http}/project.git")
        url = f"gittorrent::{proxied.served.http}/project.git"
        behind = Person(person.root, person.git_program, {"http_proxy": proxied.proxy})
        behind.git("clone", url, "copy").ok()
        assert other.http.removeprefix("http://") not in proxied.asked()
