"""docs/commands.md and the command line name the same commands, options and exit codes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from gittorrent import errors
from gittorrent.cli.main import COMMANDS, EPILOG, gittorrent
from gittorrent.git.runner import EXECUTABLE_VARIABLE
from gittorrent.store.home import VARIABLE

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"


def in_click(command: click.Command, name: str) -> Iterator[tuple[str, set[str], set[str]]]:
    """Give (name, options, those that take a value) of a command and all below it."""
    if not isinstance(command, click.Group) or command is gittorrent:
        options = [p for p in command.params if isinstance(p, click.Option)]
        names = {word for option in options for word in (*option.opts, *option.secondary_opts)}
        valued = {word for option in options if not option.is_flag for word in option.opts}
        yield name, names, valued
    if isinstance(command, click.Group):
        below = COMMANDS if command is gittorrent else command.commands
        with click.Context(command) as context:
            for word in below:
                found = command.get_command(context, word)
                assert found is not None
                yield from in_click(found, f"{name} {word}")


def on_page() -> dict[str, tuple[set[str], set[str]]]:
    """Give the options, and those with a value, under each heading that is a command."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    current: tuple[set[str], set[str]] | None = None
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            heading = re.fullmatch(r"## `(gittorrent[a-z -]*)`", line)
            current = (set(), set()) if heading else None
            if heading and current is not None:
                found[heading[1]] = current
        elif current is not None and line.startswith("- `-"):
            for word, value in re.findall(r"`(--?[a-z-]+)( [A-Z:]+)?`", line.partition(": ")[0]):
                current[0].add(word)
                if value:
                    current[1].add(word)
    return found


SHOWN = {name: (names, valued) for name, names, valued in in_click(gittorrent, "gittorrent")}
WRITTEN = on_page()


def test_commands_are_the_same() -> None:
    assert set(SHOWN) == set(WRITTEN)


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_options_are_the_same(name: str) -> None:
    options, valued = SHOWN[name]
    written = WRITTEN[name][0] - ({"-h", "--help"} if name == "gittorrent" else set())
    assert options == written
    assert valued == WRITTEN[name][1]


def roots() -> list[type[errors.GitTorrentError]]:
    return [errors.GitTorrentError, *errors.GitTorrentError.__subclasses__()]


def test_exit_codes_are_those_of_the_errors() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## Exit codes")[2]
    written = {int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)}
    ours = {e.exit_code for e in roots() if e.__module__ == errors.__name__}
    assert written == ours | {0, 130}
    shown = {int(code) for code in re.findall(r"\b(\d+) [a-z]", EPILOG.partition("Exit codes")[2])}
    assert shown == written


@pytest.mark.parametrize("variable", [VARIABLE, EXECUTABLE_VARIABLE])
def test_variables_are_explained(variable: str) -> None:
    assert f"- `{variable}`" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(set(SHOWN) - {"gittorrent"}))
def test_every_command_explains_itself(name: str) -> None:
    command: click.Command = gittorrent
    for word in name.split()[1:]:
        assert isinstance(command, click.Group)
        with click.Context(command) as context:
            found = command.get_command(context, word)
        assert found is not None
        command = found
    assert command.help
    assert "Example" in command.help
    for option in command.params:
        assert not isinstance(option, click.Option) or option.help, option.name
