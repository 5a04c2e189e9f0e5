"""A reporter that keeps what the user is told."""

from __future__ import annotations

from gittorrent.store.processes import DownloadFigures


class Notes:
    """Keeps notes and details; nothing else is expected to happen."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.details: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)

    def detail(self, text: str) -> None:
        self.details.append(text)

    def git_says(self, said: bytes) -> None:
        raise AssertionError(said)

    def close(self) -> None:
        pass

    def downloading(self, name: str, figures: DownloadFigures) -> None:
        raise AssertionError(name)

    def phase(self, text: str) -> None:
        raise AssertionError(text)
