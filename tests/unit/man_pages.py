"""Writes the manual pages in man/ from the commands, as --help shows them.

Run as a program it rewrites them; `test_man_pages` checks that nobody has to.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

from gittorrent import __version__
from gittorrent.cli.main import COMMANDS, gittorrent

FOLDER = Path(__file__).parents[2] / "man"

_WIDTH = 70
"""Characters in a line of prose, before signs are written as roff has them."""

_INTRODUCTION = """\
.SH SYNOPSIS
.B gittorrent
.I COMMAND
.RI [ OPTIONS "] [" ARGUMENTS ]
.br
.B git torrent
.I COMMAND
.RI [ OPTIONS "] [" ARGUMENTS ]
.br
.B git clone
.RI gittorrent:// HOST / NAME .git
.SH DESCRIPTION
"""

_HELPER = r""".TH GIT\-REMOTE\-GITTORRENT 1 "" "gittorrent {version}" "GitTorrent Manual"
.SH NAME
git\-remote\-gittorrent \- what git runs for gittorrent:// URLs
.SH SYNOPSIS
.B git\-remote\-gittorrent
.I REMOTE URL
.SH DESCRIPTION
git runs this program for URLs that begin with gittorrent:// or gittorrent::,
and finds it on the PATH.
It is not for typing: use
.BR git\-clone (1),
.BR git\-fetch (1),
.BR git\-pull (1)
and
.BR git\-ls\-remote (1).
The form of the URLs is in
.BR gittorrent (1),
under
.BR "gittorrent clone" .
.SH SEE ALSO
.BR gittorrent (1),
.BR gitremote\-helpers (7)
"""


def pages() -> dict[str, str]:
    """Return the manual pages by file name; git-torrent.1 is a link to the first."""
    return {
        "gittorrent.1": "\n".join(_main_page()) + "\n",
        "git-remote-gittorrent.1": _HELPER.format(version=__version__),
    }


def _main_page() -> Iterator[str]:
    context = click.Context(gittorrent, info_name="gittorrent")
    info = (gittorrent.help or "").strip()
    yield f'.TH GITTORRENT 1 "" "gittorrent {__version__}" "GitTorrent Manual"'
    yield ".SH NAME"
    yield f"gittorrent, git\\-torrent \\- {_safe(info[:1].lower() + info[1:].rstrip('.'))}"
    yield _INTRODUCTION.rstrip("\n")
    yield "git torrent COMMAND is the same as gittorrent COMMAND, for all commands."
    yield ".SH OPTIONS"
    yield from _options(gittorrent, context)
    yield ".SH COMMANDS"
    for name in COMMANDS:
        command = gittorrent.get_command(context, name)
        assert command is not None
        yield from _command(command, click.Context(command, context, name))
    yield from _epilog(gittorrent.epilog or "")
    yield ".SH SEE ALSO"
    yield ".BR git\\-clone (1),\n.BR git\\-remote\\-gittorrent (1),\n.BR gitremote\\-helpers (7)"


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield the section of a command, or those of a group's commands."""
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _command(found, click.Context(found, context, name))
        return
    yield f".SS {_code(context.command_path)}"
    yield f".B {_code(context.command_path)}"
    yield f".I {_code(' '.join(command.collect_usage_pieces(context)))}"
    yield from _text(command.help or "")
    yield from _options(command, context)


def _epilog(text: str) -> Iterator[str]:
    """Yield a section for each paragraph of an epilog, which begins with its title."""
    for block in _paragraphs(text):
        title, _, rest = block.removeprefix("\b\n").partition(":")
        yield f".SH {_code(title.upper())}"
        yield from _verbatim(rest.strip("\n").splitlines())


def _text(text: str) -> Iterator[str]:
    """Yield a help text. Click leaves the lines of a paragraph alone that begins with ``\\b``."""
    for block in _paragraphs(inspect.cleandoc(text)):
        lines = block.splitlines()
        yield ".PP"
        if lines[0] == "\b" and lines[1].startswith(" "):
            yield from _verbatim(lines[1:])
        elif lines[0] == "\b" and lines[1].endswith(":"):
            yield _prose(lines[1])
            yield from _verbatim(lines[2:])
        else:
            yield _prose(" ".join(line for line in lines if line != "\b"))


def _paragraphs(text: str) -> list[str]:
    return [block for block in re.split(r"\n\s*\n", text.strip("\n")) if block.strip()]


def _verbatim(lines: list[str]) -> Iterator[str]:
    yield ".RS\n.nf"
    yield from (_code(line.strip()) for line in lines)
    yield ".fi\n.RE"


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        # Newer versions of click tell of arguments as well, which the usage has shown.
        is_shown = isinstance(parameter, click.Option) and "--help" not in parameter.opts
        if record is not None and is_shown:
            names, words = record
            yield f".TP\n.B {_code(names)}\n{_prose(words)}"


def _prose(text: str) -> str:
    """Return text for roff to fill; options and the like keep their hyphens."""
    lines = textwrap.wrap(text, _WIDTH, break_on_hyphens=False, break_long_words=False)
    return "\n".join(
        re.sub(r"(?<![\w-])-[\w-]+", lambda found: found[0].replace("-", "\\-"), _safe(line))
        for line in lines
    )


def _code(text: str) -> str:
    return _safe(text).replace("-", "\\-")


def _safe(text: str) -> str:
    for sign, name in (("\\", "\\e"), ("'", "\\(aq"), ("~", "\\(ti"), ("^", "\\(ha")):
        text = text.replace(sign, name)
    return f"\\&{text}" if text.startswith(".") else text


def main() -> None:
    """Rewrite the pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="ascii")


if __name__ == "__main__":
    main()
