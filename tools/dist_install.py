"""Tries wheels as a user gets them: alone in a fresh virtual environment.

What the wheels say they need is linked from the running environment, and nothing else, so a need
that is not stated is missed. ``pip check`` compares the versions.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from demo import at, publish
from demo_stage import DemoError, Mirror, Stage, stage
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name


class DistError(Exception):
    """What was built is not as it should be."""


def needed_by(names: set[NormalizedName]) -> dict[NormalizedName, metadata.Distribution]:
    """Return the installed packages that the named ones need, directly or through others.

    Raises:
        DistError: one is not installed here.
    """
    found: dict[NormalizedName, metadata.Distribution] = {}
    left = set(names)
    while left:
        name = left.pop()
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError as error:
            raise DistError(f"{name} is needed and not installed here") from error
        left |= direct_needs(found[name].requires or []) - found.keys()
    return found


def direct_needs(lines: list[str]) -> set[NormalizedName]:
    """Return the names of the requirements that hold here, without those of extras."""
    wanted = (Requirement(line) for line in lines)
    return {
        canonicalize_name(r.name)
        for r in wanted
        if r.marker is None or r.marker.evaluate({"extra": ""})
    }


def link_packages(found: Mapping[NormalizedName, metadata.Distribution], site: Path) -> None:
    """Let the files of installed packages appear in another environment's ``site-packages``."""
    for package in found.values():
        for file in package.files or []:
            if ".." in file.parts or "__pycache__" in file.parts:
                continue  # a program in bin, or what Python makes itself
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(Path(str(file.locate())).resolve())


def make_environment(root: Path, wheels: list[Path]) -> Path:
    """Make a virtual environment with the wheels and what they need; returns its programs' folder.

    Raises:
        DistError: a wheel cannot be installed, or its needs are not met.
    """
    venv.create(root, with_pip=False, symlinks=True)
    python = root / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    run([*pip, "install", "--quiet", "--no-index", "--no-deps", *map(str, wheels)])
    (site,) = (root / "lib").glob("python*/site-packages")
    stated = [line for d in metadata.distributions(path=[str(site)]) for line in d.requires or []]
    link_packages(needed_by(direct_needs(stated)), site)
    run([*pip, "check"])
    return root / "bin"


def run(words: list[str]) -> str:
    """Run a program to its end and return what it printed.

    Raises:
        DistError: it did not end with 0.
    """
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DistError(
            f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def check_programs(on: Stage, root: Path, wheels: Mapping[str, str]) -> None:
    """Check that the installed packages are those of the environment, in the right versions.

    Raises:
        DistError: another package, or another version, is seen.
    """
    for module, version in wheels.items():
        code = f"import {module} as m; print(m.__version__, m.__file__)"
        seen, _, where = on.run(str(root / "bin" / "python"), "-c", code).partition(" ")
        if seen != version:
            raise DistError(f"the installed {module} says version {seen}, not {version}")
        if not Path(where).is_relative_to(root):
            raise DistError(f"{module} came from {where}, not from the wheel")
    said = on.run("gittorrent", "--version")
    if said.split()[-1] != wheels["gittorrent"]:
        raise DistError(f"gittorrent --version says {said!r}")


def publish_and_clone(on: Stage) -> None:
    """Publish a small repository, serve it, and clone it with git.

    Raises:
        DistError: the clone has another commit than the repository.
    """
    path = on.root / "small.git"
    on.run("git", "init", "-q", "--bare", str(path))
    place = ("git", f"--git-dir={path}")
    tree = on.run(*place, "mktree", given=b"")
    commit = on.run(*place, "commit-tree", "-m", "Begin", tree)
    on.run(*place, "update-ref", "refs/heads/main", commit)
    published = publish(on, path)
    origin = Mirror("origin", "1G")
    on.serve(origin, limited=False)
    on.run("git", "clone", "-q", at(published, origin), "clone", home="client")
    head = on.run("git", "-C", "clone", "rev-parse", "HEAD")
    if head != commit:
        raise DistError(f"the clone is at {head}, the published repository at {commit}")
    on.stop(origin)


def try_wheels(wheels: Mapping[Path, str]) -> None:
    """Install wheels into a fresh environment and use them.

    Args:
        wheels: the files, with the version that each must have.

    Raises:
        DistError: something does not work.
    """
    versions = {path.name.partition("-")[0]: version for path, version in wheels.items()}
    with tempfile.TemporaryDirectory(prefix="gittorrent-installed-") as place:
        root = Path(place) / "venv"
        programs = make_environment(root, list(wheels))
        try:
            with stage(programs) as on:
                check_programs(on, root, versions)
                publish_and_clone(on)
        except DemoError as error:
            raise DistError(f"installed from the wheels alone: {error}") from error
