"""Plain git for tests: a fixed environment and nothing of the program under test."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "LC_ALL": "C",
    "HOME": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "A U Thor",
    "GIT_AUTHOR_EMAIL": "author@example.org",
    "GIT_AUTHOR_DATE": "1000000000 +0000",
    "GIT_COMMITTER_NAME": "C O Mitter",
    "GIT_COMMITTER_EMAIL": "committer@example.org",
    "GIT_COMMITTER_DATE": "1000000000 +0000",
}


def git(
    directory: Path,
    *arguments: str | Path,
    stdin: bytes = b"",
    extra: dict[str, str] | None = None,
    program: str = "git",
) -> bytes:
    """Run git in ``directory`` (a git directory or a work tree); it must succeed."""
    done = subprocess.run(
        [program, *arguments],
        input=stdin,
        capture_output=True,
        cwd=directory,
        env=ENVIRONMENT | (extra or {}),
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"git {arguments}: {done.stderr.decode(errors='replace')}")
    return done.stdout


def text(directory: Path, *arguments: str | Path, stdin: bytes = b"") -> str:
    """Run git and return its output as text without the last line feed."""
    return git(directory, *arguments, stdin=stdin).decode().removesuffix("\n")


def init(directory: Path, object_format: str = "sha1") -> Path:
    """Make an empty bare repository and return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    git(
        directory, "init", "--quiet", "--bare", "--template=",
        "--initial-branch=main", f"--object-format={object_format}", ".",
    )  # fmt: skip
    return directory


def refs(directory: Path) -> dict[bytes, str]:
    """Return every ref and its value."""
    lines = git(directory, "for-each-ref", "--format=%(objectname) %(refname)").splitlines()
    return {line.split(b" ", 1)[1]: line.split(b" ", 1)[0].decode() for line in lines}
