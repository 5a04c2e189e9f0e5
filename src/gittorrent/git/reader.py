"""Reads objects one by one through a single ``git cat-file --batch``.

For callers that learn what to read next from what they have read. Objects come whole, in memory;
`gittorrent.git.history` reads what is known beforehand in one go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from gittorrent.git.runner import GitError

if TYPE_CHECKING:
    import subprocess
    from types import TracebackType

    from gittorrent.git.runner import Git

_COMMAND = ("cat-file", "--batch")


class ObjectReader:
    """Reads objects of one repository; git starts with the first of them.

    A context manager, at whose end git is gone. For one thread at a time.

    Args:
        git: the repository.
    """

    def __init__(self, git: Git) -> None:
        self._git = git
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def read(self, oid: str) -> tuple[str, bytes] | None:
        """Return the kind and content of an object, None when it is not present.

        Raises:
            GitError: git ended, as it does where an object is damaged.
        """
        if self._process is None:
            self._process = self._git.start(*_COMMAND)
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{oid}\n".encode("ascii"))
            process.stdin.flush()
        except BrokenPipeError:
            raise self._ended(process) from None
        words = process.stdout.readline().split()
        if len(words) == 2 and words[1] == b"missing":
            return None
        if len(words) != 3:
            raise self._ended(process)
        size = int(words[2])
        content = process.stdout.read(size + 1)
        if len(content) != size + 1:
            raise self._ended(process)
        return words[1].decode("ascii"), content[:size]

    def _ended(self, process: subprocess.Popen[bytes]) -> GitError:
        _, said = process.communicate()
        return GitError(_COMMAND, process.returncode, said, str(self._git.directory))
