"""Where the libraries that find mirrors are missing, all else works, and one line says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.nodes import Served
from support.programs import Person, serve, wait_until

ID = "a" * 52


@pytest.fixture
def without(person: Person, tmp_path: Path) -> Person:
    """Somebody whose Python has neither library."""
    folder = tmp_path / "missing"
    folder.mkdir()
    for name in ("libtorrent", "zeroconf"):
        (folder / f"{name}.py").write_text(f"raise ImportError('no {name} here')\n")
    person.variables["PYTHONPATH"] = str(folder)
    person.variables["GITTORRENT_DHT_BOOTSTRAP"] = "127.0.0.1:1"
    return person


def test_a_clone_by_id_says_in_one_line_what_is_missing(without: Person) -> None:
    done = without.git("clone", f"gittorrent://{ID}", "c")
    done.failed(128, "no mirror of", "name one that carries it")
    (said,) = [line for line in done.err.splitlines() if "libtorrent" in line]
    assert "the DHT cannot be asked" in said
    assert "install the Python package libtorrent, or name a mirror" in said


def test_who_names_a_mirror_does_not_notice(without: Person, project_node: Served) -> None:
    done = without.git("clone", f"gittorrent://{project_node.git[6:]}/project.git", "c").ok()
    assert "libtorrent" not in done.err
    assert "zeroconf" not in done.err


def test_a_node_runs(without: Person) -> None:
    with serve(without, "--lan", "--map-port", "--url", "git://mirror.example.org") as daemon:
        assert daemon.git


def test_runners_of_a_fleet_are_told_that_they_cannot_be_found(
    without: Person, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s" * 32)
    without.node.mkdir(mode=0o700)
    (without.node / "node.toml").write_text(
        f'[ci]\nallow = ["https://git.example.org/"]\nlan = true\nsecret = "{secret}"\n'
    )
    with serve(without) as daemon:
        wait_until(lambda: "no zeroconf here" in daemon.running.err, "it says so")
        assert without.gittorrent("ci", "status", "--json").ok().out.count('"node": true') == 1
