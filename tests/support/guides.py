"""What guides have their readers type, with hosts that are addresses of this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.programs import Person, Running, wait_until

DOCS = Path(__file__).parents[2] / "docs"


def typed(guide: str, section: str) -> list[str]:
    """Return the lines that a section of a guide has typed: indented ones and blocks of sh."""
    fenced = re.sub(
        r"^```sh\n(.*?)^```$",
        lambda block: re.sub("^", "    ", block[1], flags=re.MULTILINE),
        _section(guide, section),
        flags=re.MULTILINE | re.DOTALL,
    )
    return [line.strip() for line in re.findall(r"^    (\S.*)$", fenced, re.MULTILINE)]


def run(person: Person, line: str) -> str:
    """Run a line as somebody types it; it must succeed."""
    return person.run("sh", "-c", line).ok().out


class Hosts:
    """Names of hosts that stand for ports of this machine."""

    def __init__(self) -> None:
        self.ports: dict[str, int] = {}

    def here(self, line: str) -> str:
        for name, port in self.ports.items():
            line = re.sub(rf"\b{re.escape(name)}(?::9418)?(?=/|\s|$)", f"127.0.0.1:{port}", line)
        return line

    @contextmanager
    def serve(self, person: Person, name: str, line: str) -> Iterator[Running]:
        """Run a line that serves, at the port of a host, or at a free one that it has from now."""
        port = self.ports.get(name, 0)
        line = line.removesuffix("&").replace("0.0.0.0:9418", f"127.0.0.1:{port}")
        line = re.sub(r" --url \S+", "", line)
        running = person.start("sh", "-c", f"exec {line} --no-dht")
        try:
            wait_until(lambda: "listening at git://" in running.out, "it listens")
            found = re.search(r"listening at git://127\.0\.0\.1:(\d+)", running.out)
            assert found is not None
            self.ports[name] = int(found[1])
            yield running
        finally:
            running.stop()


def block(guide: str, section: str, language: str) -> str:
    """Return the only fenced block of a language in a section of a guide."""
    blocks = rf"^```{language}\n(.*?)^```$"
    (only,) = re.findall(blocks, _section(guide, section), re.MULTILINE | re.DOTALL)
    assert isinstance(only, str)
    return only


def _section(guide: str, section: str) -> str:
    text = (DOCS / guide).read_text(encoding="utf-8")
    found = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, section
    return found[1]
