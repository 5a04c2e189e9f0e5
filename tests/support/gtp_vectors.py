"""Reads the captured session of 2008."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).parents[1] / "vectors" / "gtp-2008-session.txt"


@dataclass(frozen=True)
class Record:
    """One message of the capture.

    ``kept`` has the bytes that were kept of ``size``; the rest of a pack or reference is missing.
    """

    from_listener: bool
    size: int
    label: str
    kept: bytes

    @property
    def is_whole(self) -> bool:
        return len(self.kept) == self.size

    @property
    def padded(self) -> bytes:
        """The message with zeros for what was not kept."""
        return self.kept.ljust(self.size, b"\0")


def session() -> list[Record]:
    """Return the messages in the order in which they were sent."""
    found: list[tuple[str, int, str, list[str]]] = []
    for line in FILE.read_text(encoding="ascii").splitlines():
        if line.startswith("  "):
            found[-1][3].append(line.strip())
        elif line and not line.startswith("#"):
            who, size, label = line.split(" ")
            found.append((who, int(size), label, []))
    return [
        Record(who == "S", size, label, bytes.fromhex("".join(digits)))
        for who, size, label, digits in found
    ]
