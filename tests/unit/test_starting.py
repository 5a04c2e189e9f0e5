"""How programs begin and end: Ctrl-C in imports says nothing; garbage is looked for after them."""

from __future__ import annotations

import compileall
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import gittorrent

PROGRAM = """
import importlib, os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[2]:
            os.kill(os.getpid(), signal.SIGINT)

main = importlib.import_module(sys.argv[1]).main
sys.meta_path.insert(0, Interrupting())
main()
"""


@pytest.mark.parametrize(
    ("start", "imported"),
    [("gittorrent.cli.start", "click"), ("gittorrent.helper.start", "asyncio")],
)
def test_interrupted_imports_leave_no_traceback(start: str, imported: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, start, imported], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


CALLING = """
import os, sys
import gittorrent.startup
gittorrent.startup.prepare()
sys.stdout.write("out"), sys.stderr.write("err")
with open(os.environ["NOTE"], "w") as note:
    print(os.open(os.devnull, os.O_RDONLY) > 2, all(map(os.get_inheritable, range(3))), file=note)
"""


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)])
def test_standard_streams_that_the_caller_closed_are_open(
    tmp_path: Path, closed: tuple[int, ...]
) -> None:
    """Files would get their numbers, and be written to in their stead."""
    note = tmp_path / "note"
    words = " ".join(f"{number}>&-" for number in closed)
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -c "$1" {words}', sys.executable, CALLING],
        capture_output=True,
        env={**os.environ, "NOTE": str(note)},
        check=False,
    )
    expected = (b"" if 1 in closed else b"out", b"" if 2 in closed else b"err")
    assert (done.returncode, done.stdout, done.stderr) == (0, *expected)
    assert note.read_text() == "True True\n"


def test_paths_are_in_utf_8_whatever_the_locale_says() -> None:
    program = """
import sys
print(sys.getfilesystemencoding(), flush=True)
from gittorrent.startup import prepare
prepare()
print(sys.argv[1:])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, "caf\u00e9", b"\xff"],
        capture_output=True,
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        check=True,
    )
    assert done.stdout.decode().splitlines() == ["ascii", "utf-8", "['caf\u00e9', '\\udcff']"]


COLLECTING = """
import atexit, gc, sys
from gittorrent.cli.start import main
told = lambda: sys.stderr.write(f"{gc.isenabled()} {gc.get_freeze_count() > 0}")
atexit.register(told)
sys.argv = ["gittorrent", "status", "--help"]
main()
"""


def test_what_imports_made_is_not_looked_through_for_garbage_but_the_rest_is() -> None:
    done = subprocess.run([sys.executable, "-c", COLLECTING], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"True True")


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, to be damaged."""
    place = tmp_path_factory.mktemp("copy")
    source = Path(gittorrent.__file__).parent
    shutil.copytree(source, place / "gittorrent", ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(place, quiet=1)
    return place


@pytest.mark.parametrize("damage", ["cut short", "zeros", "source", "missing"])
@pytest.mark.parametrize(
    ("start", "words", "module"),
    [
        ("cli.start", ["tidy", "."], "cli/tidy"),  # loaded by the command line when it is asked for
        ("cli.start", ["--version"], "cli/main"),
        ("helper.start", ["origin", "gittorrent://127.0.0.1:1/p.git"], "helper/main"),
        ("helper.start", ["origin", "ci+https://127.0.0.1:1/p.git"], "helper/ci"),
    ],
)
def test_a_damaged_part_of_the_program_is_named(
    copied: Path, tmp_path: Path, start: str, words: list[str], module: str, damage: str
) -> None:
    source = copied / "gittorrent" / f"{module}.py"
    compiled = Path(importlib.util.cache_from_source(str(source)))
    former = {path: path.read_bytes() for path in (source, compiled)}
    stamp = source.stat()
    if damage == "cut short":
        compiled.write_bytes(former[compiled][:200])
    elif damage == "zeros":
        compiled.write_bytes(former[compiled][:16] + bytes(2000))
    else:
        compiled.unlink()
        source.write_bytes(b"def (") if damage == "source" else source.unlink()
    program = f"import sys; from gittorrent.{start} import main; main()"
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, *words], capture_output=True, check=False, cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": str(copied), "GITTORRENT_HOME": str(tmp_path)},
        )  # fmt: skip
    finally:
        for path, data in former.items():
            path.write_bytes(data)
        os.utime(source, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    said = done.stderr.decode().strip().splitlines()
    assert done.returncode == 7, said
    assert len(said) == 2, said
    assert said[0].startswith("gittorrent: a part of this program cannot be loaded")
    assert said[1].endswith("install it again")
    if damage in ("cut short", "zeros"):
        assert str(compiled) in said[0]
        assert str(compiled) in said[1]
