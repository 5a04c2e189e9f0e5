"""Builds what is released, and checks it: behind ``make dist``.

Both packages (``gittorrent`` and, where cargo is, ``gittorrent-native``) become an sdist, and each
sdist a wheel, so a wheel also shows that its sdist is complete. Then the files and the metadata of
all are checked, and the wheels are installed into a fresh virtual environment, where a repository
is published, served and cloned.

Rules: nothing is built in the checkout, whose files are copied first; no network is used, so the
fresh environment gets what the wheel says it needs, and only that, from the running one; nothing
of the checkout is on any path while the installed programs are tried.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path, PurePosixPath

from dist_install import DistError, try_wheels
from packaging.metadata import Metadata

CHECKOUT = Path(__file__).resolve().parent.parent

NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", "build", "dist", "target", "htmlcov", "*.egg-info", "__pycache__",
    ".coverage*", ".*_cache", ".hypothesis", "corpus", "artifacts",
)  # fmt: skip
"""What tools make in a checkout, as .gitignore has it."""

NOT_IN_SDIST = (".ci", ".gitignore", "native")
"""What of the checkout the sdist of ``gittorrent`` leaves out."""

ADDED_TO_SDIST = ("PKG-INFO", "setup.cfg")
"""What setuptools adds to an sdist."""


def build(source: Path, into: Path) -> list[Path]:
    """Build the sdist of a package and, from it, the wheel.

    Cargo gets a target folder of its own: files of an sdist all have the same old time, so cargo
    would take what another build of the same paths left for up to date.

    Raises:
        DistError: the build fails.
    """
    words = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(into), str(source)]
    earlier = set(into.iterdir())
    with tempfile.TemporaryDirectory(prefix="gittorrent-target-") as target:
        environment = os.environ | {"CARGO_TARGET_DIR": target, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise DistError(f"building {source.name} failed:\n{done.stdout}{done.stderr}")
    return sorted(set(into.iterdir()) - earlier)


# --- Contents ----------------------------------------------------------------------------------


def files_below(root: Path) -> set[str]:
    """Return the relative names of all files in a folder."""
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}


def check_same(archive: Path, found: set[str], wanted: set[str], remedy: str) -> None:
    """Compare the files of an archive with those it must have.

    Raises:
        DistError: some lack or are too many; says which.
    """
    lacking, more = sorted(wanted - found), sorted(found - wanted)
    if lacking:
        raise DistError(f"{archive.name} lacks {', '.join(lacking)}; {remedy}")
    if more:
        raise DistError(f"{archive.name} has {', '.join(more)}, which does not belong there")


def check_sdist(archive: Path, checkout: set[str]) -> None:
    """Check that the sdist of ``gittorrent`` holds the files of the checkout.

    Raises:
        DistError: it does not.
    """
    with tarfile.open(archive) as tar:
        names = [PurePosixPath(member.name) for member in tar if member.isfile()]
    found = {PurePosixPath(*name.parts[1:]).as_posix() for name in names}
    found = {n for n in found if n not in ADDED_TO_SDIST and ".egg-info/" not in n}
    wanted = {n for n in checkout if n.partition("/")[0] not in NOT_IN_SDIST}
    check_same(archive, found, wanted, "MANIFEST.in names what belongs there")


def data_files(tree: Path) -> set[str]:
    """Return where pyproject.toml puts files outside the package, below the prefix."""
    project = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))
    folders: dict[str, list[str]] = project["tool"]["setuptools"].get("data-files", {})
    return {
        f"{folder}/{PurePosixPath(name).name}" for folder in folders for name in folders[folder]
    }


def check_wheel(archive: Path, checkout: set[str], data: set[str]) -> None:
    """Check that the wheel of ``gittorrent`` holds the package, and nothing but what is declared.

    Args:
        archive: the wheel.
        checkout: the files of the checkout.
        data: the files that go outside the package, below the prefix.

    Raises:
        DistError: it does not.
    """
    with zipfile.ZipFile(archive) as zipped:
        names = [n for n in zipped.namelist() if ".dist-info/" not in n]
    found = {n.partition(".data/data/")[2] or n for n in names}
    wanted = {n.removeprefix("src/") for n in checkout if n.startswith("src/gittorrent/")}
    remedy = "package-data and data-files in pyproject.toml name what is no module"
    check_same(archive, found, wanted | data, remedy)


# --- Metadata ----------------------------------------------------------------------------------


def metadata_of(archive: Path) -> Metadata:
    """Read and validate the core metadata of an sdist or a wheel.

    Raises:
        DistError: there is none, it breaks the rules, or it describes nothing.
    """
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as zipped:
            (name,) = (n for n in zipped.namelist() if n.endswith(".dist-info/METADATA"))
            text = zipped.read(name)
    else:
        with tarfile.open(archive) as tar:
            (root,) = {PurePosixPath(n).parts[0] for n in tar.getnames()}
            member = tar.extractfile(f"{root}/PKG-INFO")
            text = member.read() if member else b""
    try:
        found = Metadata.from_email(text, validate=True)
    except ExceptionGroup as group:
        faults = "; ".join(str(error) for error in group.exceptions)
        raise DistError(f"the metadata of {archive.name} is wrong: {faults}") from group
    kind = (found.description_content_type or "").partition(";")[0]
    if not (found.description or "").strip() or kind != "text/markdown":
        raise DistError(f"{archive.name} has no description; readme of pyproject.toml names it")
    if found.license_expression is None:
        raise DistError(f"{archive.name} names no licence; license of pyproject.toml does")
    return found


def check_metadata(archives: list[Path], version: str) -> None:
    """Check that all archives of a package carry valid metadata with its version.

    Raises:
        DistError: one does not.
    """
    for archive in archives:
        found = str(metadata_of(archive).version)
        if found != version:
            raise DistError(f"{archive.name} says version {found}, the source says {version}")


def own_version(tree: Path) -> str:
    """Return the version of ``gittorrent`` that the source states."""
    code = "import gittorrent; print(gittorrent.__version__)"
    words = [sys.executable, "-B", "-c", code]  # leaves nothing in the tree that is packed
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tree / "src")
    return done.stdout.strip()


def native_version(tree: Path) -> str:
    """Return the version of ``gittorrent-native`` that the source states."""
    cargo = tomllib.loads((tree / "native" / "Cargo.toml").read_text(encoding="utf-8"))
    return str(cargo["workspace"]["package"]["version"])


# --- The whole ---------------------------------------------------------------------------------


def make(out: Path, tree: Path, *, native: bool) -> None:
    """Build both packages of a copied checkout into ``out`` and check everything.

    Raises:
        DistError: a build fails, or what was built is not right.
    """
    version, checkout = own_version(tree), files_below(tree)
    built = build(tree, out)
    sdist, wheel = (next(p for p in built if p.name.endswith(e)) for e in (".tar.gz", ".whl"))
    check_sdist(sdist, checkout)
    check_wheel(wheel, checkout, data_files(tree))
    check_metadata(built, version)
    wheels = {wheel: version}
    if native:
        made = build(tree / "native", out)
        check_metadata(made, native_version(tree))
        wheels[next(p for p in made if p.suffix == ".whl")] = native_version(tree)
        built += made
    try_wheels(wheels)
    for path in built:
        print(f"{path.stat().st_size:>9} bytes  {path}")
    print("checked: files, metadata, installed alone: --version, publish, serve, clone")


def main() -> int:
    """Build and check as the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(description="build the sdists and wheels, and check them")
    parser.add_argument("--out", type=Path, default=CHECKOUT / "dist", help="folder to fill")
    parser.add_argument("--no-native", action="store_true", help="leave gittorrent-native out")
    chosen = parser.parse_args()
    native = not chosen.no_native and shutil.which("cargo") is not None
    if not native:
        print("gittorrent-native is left out" + ("" if chosen.no_native else ": no cargo here"))
    shutil.rmtree(chosen.out, ignore_errors=True)
    chosen.out.mkdir(parents=True)
    try:
        with tempfile.TemporaryDirectory(prefix="gittorrent-dist-") as root:
            tree = Path(root) / "gittorrent"
            shutil.copytree(CHECKOUT, tree, ignore=NOT_COPIED)
            make(chosen.out.resolve(), tree, native=native)
    except DistError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
