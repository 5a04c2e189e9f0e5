"""Being another user for a moment, and programs that run as other users; only root can."""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import gittorrent
from support.programs import PATIENCE, Done

SOMEBODY = 65534
"""A user that is not this one; nobody on most systems."""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


@contextlib.contextmanager
def being(user: int) -> Iterator[None]:
    """Run the block as another user: what it does and starts is that user's."""
    real, effective, saved = os.getresuid()
    # The real one too: access(2) asks for that one, in the programs started as well.
    os.setresuid(user, user, effective)
    try:
        yield
    finally:
        os.setresuid(real, effective, saved)


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """Yield a folder in which every user may do everything; skips the test if there is none."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        with being(SOMEBODY) if os.geteuid() == 0 else contextlib.nullcontext():
            reached = os.access(folder, os.W_OK | os.X_OK, effective_ids=True)
        if not reached:
            pytest.skip("other users do not reach temporary directories here")
        yield Path(folder)


@contextlib.contextmanager
def readable_folder() -> Iterator[Path]:
    """Yield such a folder, where others may also read what this user makes in it meanwhile."""
    before = os.umask(0o022)
    try:
        with open_folder() as folder:
            yield folder
    finally:
        os.umask(before)


@dataclass(frozen=True)
class UnixUser:
    """A user of this machine, who belongs to one group and has a home directory of their own.

    Args:
        name: as in the password file, since ssh-keygen looks there.
        group: number of the group.
        home: belongs to the user, and nobody else sees into it.
        umask: of the user's programs.
        variables: for their environment.
    """

    name: str
    group: int
    home: Path
    umask: int = 0o077
    variables: dict[str, str] = field(default_factory=dict)

    def run(self, *words: str | Path, cwd: Path) -> Done:
        """Run a program as this user; nothing but what is given here is in its environment."""
        shown = tuple(str(word) for word in words)
        done = subprocess.run(
            shown,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            cwd=cwd,
            user=self.name,
            group=self.group,
            extra_groups=[],
            umask=self.umask,
            env={"HOME": str(self.home), "LC_ALL": "C", **self.variables},
            timeout=PATIENCE,
            check=False,
        )
        out, err = (data.decode(errors="replace") for data in (done.stdout, done.stderr))
        return Done(shown, done.returncode, out, err)


def unix_users(folder: Path, group: int, **variables: str) -> list[UnixUser]:
    """Return two users with homes in ``folder``; skips the test where there are not so many."""
    names = [each.pw_name for each in pwd.getpwall() if each.pw_uid]
    if len(names) < 2:
        pytest.skip("there are no two users on this machine")
    made = []
    for name in names[:2]:
        home = folder / f"home-{name}"
        home.mkdir(mode=0o700)
        os.chown(home, pwd.getpwnam(name).pw_uid, group)
        made.append(UnixUser(name, group, home, variables=variables))
    return made


def installed_for_all(folder: Path) -> Path:
    """Return a Python that has this program and that every user may run; or skip the test."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for python in (os.path.realpath(sys.executable), f"/usr/bin/python{version}"):
        place = folder / "venv"
        if not _runs(Path(python), "pass"):
            continue
        subprocess.run([python, "-m", "venv", "--without-pip", str(place)], check=True)
        source = Path(gittorrent.__file__).parents[1]
        lines = f"{source}\n{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n"
        packages = place / "lib" / f"python{version}" / "site-packages"
        (packages / "all.pth").write_text(lines)
        if _runs(place / "bin" / "python", "import gittorrent.cli.publish"):
            return place / "bin" / "python"
    pytest.skip("other users cannot run this program here")


def _runs(python: Path, code: str) -> bool:
    """Tell whether another user can run a piece of Python."""
    try:
        done = subprocess.run(
            [python, "-P", "-c", code], cwd="/", user=SOMEBODY, extra_groups=[], check=False
        )
    except OSError:
        return False
    return done.returncode == 0
