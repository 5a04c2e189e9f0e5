"""The container files: what they name is there, and what they run works as processes."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import socket
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
import pytest

from gittorrent.cli.main import COMMANDS, gittorrent
from support import bulk, gitcmd
from support.containers import COMPOSE, DOCKERFILE, FOLDER, instructions, last, parse_yaml
from support.programs import Running, somebody, wait_until

GUIDE = Path(__file__).parents[2] / "docs" / "guide-mirror-operators.md"
HOME = "/var/lib/gittorrent"
IMAGE = DOCKERFILE.read_text(encoding="utf-8")
SERVICES: dict[str, dict[str, Any]] = parse_yaml(COMPOSE.read_text(encoding="utf-8"))["services"]


def parsed(words: list[str]) -> click.Context:
    """Parse a command line as the program does; fails where it would be refused."""
    assert words[0] in COMMANDS
    command = gittorrent.get_command(click.Context(gittorrent), words[0])
    assert command is not None
    return command.make_context(words[0], words[1:])


def test_the_image_runs_commands_there_are() -> None:
    entry = json.loads(last(IMAGE, "ENTRYPOINT"))
    assert entry[-1] == "gittorrent"
    parsed(json.loads(last(IMAGE, "CMD")))
    check = json.loads(last(IMAGE, "HEALTHCHECK").partition("CMD ")[2])
    assert check[0] == "gittorrent"
    assert parsed(check[1:]).params["check"]


def test_the_image_is_no_root_and_has_no_keys() -> None:
    assert last(IMAGE, "USER") == "gittorrent"
    assert last(IMAGE, "VOLUME") == HOME
    assert f"GITTORRENT_HOME={HOME}" in last(IMAGE, "ENV")
    assert "--uid 9418 " in last(IMAGE, "RUN")


def test_the_image_is_built_of_what_is_there() -> None:
    """Nothing else is sent to whoever builds it."""
    allowed = (FOLDER / "Dockerfile.dockerignore").read_text().split()
    assert allowed[0] == "*"
    sent = {name.removeprefix("!") for name in allowed[1:]}
    copied = set()
    for word, rest in instructions(IMAGE):
        if word == "COPY" and not rest.startswith("--from"):
            copied.update(rest.split()[:-1])
    assert copied == sent
    assert all((FOLDER.parent / name).exists() for name in copied)
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8"))
    needed = [*project["project"]["license-files"], project["project"]["readme"]]
    for names in project["tool"]["setuptools"]["data-files"].values():
        needed += names
    assert {name.partition("/")[0] for name in needed} <= copied


def test_programs_that_are_run_are_installed() -> None:
    packages = last(IMAGE, "RUN").split()
    assert {"python3", "git", "openssh-client", "gpg", "tini"} <= set(packages)


@pytest.mark.parametrize("name", SERVICES)
def test_services_run_commands_there_are(name: str) -> None:
    service = SERVICES[name]
    context = parsed(service["command"])
    assert context.params["url"] == f"git://{name}:9418"
    exposed = {f":{port}" for port in last(IMAGE, "EXPOSE").split()}
    listening = (*context.params["git_places"], *context.params["http_places"])
    inside = {place.rpartition(":")[2] for place in listening}
    assert {f":{port}" for port in inside} <= exposed
    assert {port.rpartition(":")[2] for port in service["ports"]} == inside
    assert service["volumes"] == [f"{name}:{HOME}"]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]


def test_keys_are_secrets() -> None:
    whole = parse_yaml(COMPOSE.read_text(encoding="utf-8"))
    assert set(whole["volumes"]) == set(SERVICES)
    used = {name for service in SERVICES.values() for name in service.get("secrets", ())}
    assert used == set(whole["secrets"])
    assert SERVICES["mirror"].get("secrets") is None
    assert SERVICES["mirror"]["depends_on"] == {"origin": {"condition": "service_healthy"}}


# -- the same as processes, with what the guide says to type


def typed() -> list[str]:
    """Return the lines that the guide has typed."""
    text = GUIDE.read_text(encoding="utf-8").partition("## In containers\n")[2]
    block = re.search(r"\n\n((?:    .+\n)+)", text)
    assert block is not None
    return [line.strip().partition("   #")[0].strip() for line in block[1].splitlines()]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Composed:
    """The services as processes, each with its home and at addresses of its own."""

    def __init__(self, folder: Path) -> None:
        self.people = {name: somebody(folder / name) for name in SERVICES}
        self.ports = {name: (free_port(), free_port()) for name in SERVICES}
        self.user = somebody(folder / "user")
        self.key = self.user.root / "owner_key"

    def here(self, word: str, name: str) -> str:
        """Return a word of a container's as it is on this machine."""
        git, http = self.ports[name]
        word = word.replace("0.0.0.0:9418", f"127.0.0.1:{git}")
        word = word.replace("0.0.0.0:8417", f"127.0.0.1:{http}")
        word = word.replace("/run/secrets/owner_key", str(self.key))
        for other, (port, _) in self.ports.items():
            word = re.sub(
                rf"(://(?:[^@/]*@)?){other}(?::9418)?(?=/|$)", rf"\g<1>127.0.0.1:{port}", word
            )
        outside = {"localhost:9418": "origin", "localhost:9419": "mirror"}
        for place, service in outside.items():
            word = word.replace(place, f"127.0.0.1:{self.ports[service][0]}")
        return word

    @contextmanager
    def up(self, name: str) -> Iterator[Running]:
        """Start a service, and wait until it is healthy."""
        person = self.people[name]
        person.node.mkdir(exist_ok=True)
        words = [self.here(word, name) for word in SERVICES[name]["command"]]
        running = person.start("gittorrent", *words, cwd=person.node)
        try:
            wait_until(lambda: self.is_healthy(name), f"{name} is healthy")
            yield running
            running.process.terminate()
            assert running.wait() == 0
        finally:
            running.stop()

    def is_healthy(self, name: str) -> bool:
        check = json.loads(last(IMAGE, "HEALTHCHECK").partition("CMD ")[2])
        return self.people[name].run(*check).status == 0

    def type(self, line: str) -> str:
        """Run a line of the guide's; returns what it said."""
        words = shlex.split(line)
        if words[:3] == ["docker", "compose", "exec"]:
            name, *rest = words[3:]
            person = self.people[name]
            rest = [self.here(word, name) for word in rest]
            return person.run(*rest, cwd=person.node).ok().out
        rest = [self.here(word, "origin") for word in words]
        return self.user.run(*rest).ok().out


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not here")
def test_what_the_guide_says_to_type(tmp_path: Path) -> None:
    source = bulk.make_small(tmp_path / "source.git")
    composed = Composed(tmp_path)
    lines = typed()
    begin = next(n for n, line in enumerate(lines) if line.startswith("docker compose up"))
    for line in lines[:begin]:
        if line.startswith("ssh-keygen"):
            composed.type(line)
        else:
            assert line in ("cd container", "sudo chown 9418 owner_key")
    with ExitStack() as stack:
        for name in SERVICES:
            stack.enter_context(composed.up(name))
        for line in lines[begin + 1 :]:
            if line.startswith("docker compose exec"):
                line = line.replace("https://example.org/project.git", str(source))
            composed.type(line)
        wanted = bulk.published(gitcmd.refs(source))
        for clone in ("project", "stock"):
            head = gitcmd.text(composed.user.root / clone, "rev-parse", "HEAD")
            assert head in wanted.values()
        git = composed.ports["mirror"][0]
        line = "gittorrent mirrors --json gittorrent://localhost:9418/project.git"
        wait_until(
            lambda: f"git://127.0.0.1:{git}/project.git" in composed.type(line),
            "the origin lists the mirror",
        )
