"""A place for exports in memory, which remembers each step, and what readers would make of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gittorrent.export.inventory import INVENTORY, is_exported_name
from gittorrent.wire.messages import HaveBundle, parse_message
from gittorrent.wire.mirrorlist import parse_text


class Forever:
    """A hold that is not lost."""

    def check(self) -> None:
        """Hold."""


@dataclass
class Memory:
    """A `gittorrent.export.place.Place`; ``before`` is called before each file is written."""

    files: dict[str, bytes] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    before: Callable[[str], None] = lambda name: None
    name: str = "memory"

    @contextlib.contextmanager
    def held(self) -> Iterator[Forever]:
        yield Forever()

    def present(self) -> Mapping[str, int]:
        return {n: len(data) for n, data in self.files.items() if is_exported_name(n)}

    def read(self, name: str, most: int) -> bytes | None:
        data = self.files.get(name)
        assert data is None or len(data) <= most
        return data

    def chunks(self, name: str) -> Iterator[bytes]:
        if name in self.files:
            yield self.files[name]

    def write_small(self, files: Mapping[str, bytes]) -> None:
        for name, data in files.items():
            self._step(f"write {name}", name)
            self.files[name] = data

    def write(self, name: str, size: int, chunks: Iterator[bytes]) -> None:
        data = b"".join(chunks)
        assert len(data) == size
        self._step(f"write {name}", name)
        self.files[name] = data

    def remove(self, names: Sequence[str]) -> None:
        for name in names:
            self._step(f"remove {name}", name)
            del self.files[name]

    def _step(self, step: str, name: str) -> None:
        self.before(name)
        self.steps.append(step)
        assert name == INVENTORY or INVENTORY in self.files, "it is listed before it is written"


def misses(files: Mapping[str, bytes]) -> list[str]:
    """Return what a reader is told of and does not find; the list of mirrors is read first."""
    if "mirror-list" not in files:
        return []
    latest = parse_text(files["mirror-list"]).latest
    wanted = []
    for index in ("pushes/index", "pushes/short"):
        ids = [line.split()[0].decode() for line in files[index].splitlines()]
        wanted += [f"pushes/{push}" for push in ids]
        if latest not in ids:
            wanted.append(f"{latest} in {index}")
    ends = set()
    for line in files["reels/index"].splitlines():
        offer = parse_message(line)
        assert isinstance(offer, HaveBundle)
        ends.add(offer.reel.end)
        wanted += [f"reels/{offer.manifest}.{kind}" for kind in ("manifest", "pack")]
    if latest not in ends:
        wanted.append(f"a reel that ends at {latest}")
    uris = [
        line.split()[-1].decode()
        for line in files["bundle-list"].splitlines()
        if line.startswith(b"\turi")
    ]
    return [name for name in wanted + uris if name not in files]
