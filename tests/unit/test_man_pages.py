"""The manual pages are those of the commands, and man, mandoc and git take them."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import click
import pytest
from man_pages import FOLDER, pages

from gittorrent.cli.main import gittorrent
from gittorrent.cli.manual import how_to_read
from support.programs import GITS, Person, somebody

INSTALLED = ("gittorrent.1", "git-torrent.1", "git-remote-gittorrent.1")


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return somebody(tmp_path / "person")


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """Where the wheel would have put the pages, and the programs beside them."""
    made = tmp_path / "prefix"
    (made / "share/man/man1").mkdir(parents=True)
    for name in INSTALLED:
        shutil.copy(FOLDER / name, made / "share/man/man1" / name)
    (made / "bin").mkdir()
    for name in ("gittorrent", "git-torrent", "git-remote-gittorrent"):
        (made / "bin" / name).write_text("#!/bin/sh\n")
        (made / "bin" / name).chmod(0o755)
    return made


def reader(tmp_path: Path, prefix: Path, git_program: str) -> Person:
    """Somebody on whose PATH only that installation is, and no pager in the way."""
    person = somebody(tmp_path / "reader", git_program)
    path = f"{prefix / 'bin'}:{Path(git_program).parent}:/usr/bin:/bin"
    variables = {"PATH": path, "MANPAGER": "cat", "MANWIDTH": "80", "LC_ALL": "C.UTF-8"}
    return Person(person.root, variables=variables)


@pytest.mark.parametrize("name", sorted(pages()))
def test_pages_are_those_of_the_commands(name: str) -> None:
    written = (FOLDER / name).read_text(encoding="ascii")
    assert written == pages()[name], "run python tests/unit/man_pages.py"


def test_the_wheel_installs_all_of_them() -> None:
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8"))
    installed = project["tool"]["setuptools"]["data-files"]["share/man/man1"]
    assert installed == [f"man/{name}" for name in INSTALLED]
    assert (FOLDER / "git-torrent.1").readlink() == Path("gittorrent.1")


def test_every_command_and_option_is_there() -> None:
    text = pages()["gittorrent.1"].replace("\\-", "-")

    def look(command: click.Command, context: click.Context) -> None:
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                found = command.get_command(context, name)
                assert found is not None
                look(found, click.Context(found, context, name))
            return
        section = text.partition(f"\n.SS {context.command_path}\n")[2].partition("\n.S")[0]
        for option in command.params:
            if isinstance(option, click.Option):
                assert all(each in section for each in option.opts), (context.command_path, option)

    look(gittorrent, click.Context(gittorrent, info_name="gittorrent"))


@pytest.mark.parametrize("name", INSTALLED)
def test_mandoc_has_no_complaint(person: Person, name: str) -> None:
    program = shutil.which("mandoc")
    if program is None:
        pytest.skip("mandoc is not here")
    done = person.run(program, "-T", "lint", "-W", "warning", FOLDER / name)
    # A date that changed with every line of help would say nothing; the version is there.
    assert [line for line in done.out.splitlines() if "missing date" not in line] == []


@pytest.mark.parametrize("name", INSTALLED)
def test_man_has_no_complaint(person: Person, name: str) -> None:
    program = shutil.which("man")
    if program is None:
        pytest.skip("man is not here")
    done = person.run(program, "--warnings", "-E", "UTF-8", "-Tutf8", "-Z", "-l", FOLDER / name)
    assert done.ok().err == ""


@pytest.mark.parametrize("git_program", GITS)
def test_man_and_git_help_find_them(tmp_path: Path, prefix: Path, git_program: str) -> None:
    if shutil.which("man") is None:
        pytest.skip("man is not here")
    person = reader(tmp_path, prefix, git_program)
    for words in (
        ("man", "gittorrent"),
        ("man", "git-torrent"),
        (git_program, "-c", "help.format=man", "help", "torrent"),
    ):
        assert "gittorrent publish [OPTIONS]" in person.run(*words).ok().out
    assert "REMOTE URL" in person.run("man", "git-remote-gittorrent").ok().out


def test_help_says_how_to_read_the_manual(tmp_path: Path, prefix: Path) -> None:
    program = prefix / "bin/gittorrent"
    page = f"man -l {prefix / 'share/man/man1/gittorrent.1'}"
    short = "man gittorrent, or git help torrent"
    folder = str(prefix / "share/man")
    for environ, expected in (
        ({"PATH": f"/nowhere:{program.parent}"}, short),
        ({"PATH": "/nowhere"}, page),
        ({"PATH": "/nowhere", "MANPATH": f"{folder}:"}, short),
        ({"PATH": str(program.parent), "MANPATH": "/nowhere"}, page),
        ({"PATH": str(program.parent), "MANPATH": "/nowhere:"}, short),
        ({}, page),
    ):
        assert how_to_read(program, environ) == expected
    linked = tmp_path / "gittorrent"
    linked.symlink_to(program)
    assert how_to_read(linked, {}) == page
    assert how_to_read(tmp_path / "bin/other", {}) == ""
