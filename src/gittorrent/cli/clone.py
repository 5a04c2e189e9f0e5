"""``gittorrent clone``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import click

from gittorrent.cli.limits import down_limit_option, peer_up_limit_option, up_limit_option
from gittorrent.durable import room
from gittorrent.git.runner import executable
from gittorrent.interruptions import PROCESS
from gittorrent.terminal import STATUS_VARIABLE
from gittorrent.transfer.location import SCHEME, parse_location


@click.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--allow-unverified",
    is_flag=True,
    help="Clone from a plain git server too, where nothing can be verified.",
)
@down_limit_option
@up_limit_option
@peer_up_limit_option
@click.argument("url")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[DIR] [GIT OPTIONS]...")
def clone(
    allow_unverified: bool,
    down_limit: int | None,
    up_limit: int | None,
    peer_up_limit: int | None,
    url: str,
    arguments: tuple[str, ...],
) -> None:
    """Clone from all mirrors of a repository at once; the same as 'git clone URL'.

    Options that git clone knows are passed on. An interrupted clone keeps the parts it has
    verified: run the same command again and it goes on from there. Unlike git, this command
    ends with an exit code that tells what was wrong.

    \b
    Examples:
      gittorrent clone gittorrent://mirror.example.org/project.git
      gittorrent clone gittorrent://mirror.example.org/project.git dir --branch next
      gittorrent clone gittorrent://mirror.example.org/project.git --down-limit 500K
    """
    parse_location(url)
    if url.partition("://")[0] in ("git", "http", "https"):
        url = f"{SCHEME}::{url}"
    limits = {"downLimit": down_limit, "upLimit": up_limit, "peerUpLimit": peer_up_limit}
    once = [f"gittorrent.{name}={rate}" for name, rate in limits.items() if rate is not None]
    words = [executable(), *(word for each in once for word in ("-c", each)), "clone"]
    if allow_unverified:
        words += ["-c", "gittorrent.allowUnverified=true"]
    with room("clone") as folder:
        status = folder / "status"
        environ = {**os.environ, STATUS_VARIABLE: str(status), "PATH": _path()}
        # Options of git's may stand anywhere, so they go before the end of options.
        options, places = _sort_out(arguments)
        ended = _run([*words, *options, "--", url, *places], environ)
        if ended < 0:
            sys.exit(128 - ended)
        if ended and status.exists():
            sys.exit(int(status.read_text(encoding="ascii")))
    sys.exit(1 if ended else 0)


def _run(words: list[str], environ: dict[str, str]) -> int:
    """Run git to its end, even when interrupted: it removes what it made, which takes a moment."""
    noted: list[int] = []
    running: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, _frame: object) -> None:
        if not running:
            noted.append(number)
        elif number == signal.SIGTERM:  # Ctrl-C reaches git by itself
            running[0].terminate()

    both = (signal.SIGINT, signal.SIGTERM)
    former = {number: signal.getsignal(number) for number in both}
    heard = [number for number in both if former[number] is not signal.SIG_IGN]
    for number in heard:
        signal.signal(number, pass_on)
    try:
        with subprocess.Popen(words, env=environ) as process:
            running.append(process)
            for early in noted:
                process.send_signal(early)
            return process.wait()
    finally:
        PROCESS.settle()
        for number in heard:
            signal.signal(number, former[number])


_VALUED = frozenset(
    [
        "-b",
        "--branch",
        "-c",
        "--config",
        "-o",
        "--origin",
        "-j",
        "--jobs",
        "--depth",
        "--filter",
        "--shallow-since",
        "--shallow-exclude",
        "--reference",
        "--reference-if-able",
        "--separate-git-dir",
        "--template",
        "--ref-format",
        "--server-option",
        "-u",
        "--upload-pack",
        "--bundle-uri",
    ]
)
"""Options of git clone's that take the next word as their value."""


def _sort_out(arguments: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Part git's options, with their values, from the directory."""
    options: list[str] = []
    places: list[str] = []
    waiting = False
    for word in arguments:
        if waiting or word.startswith("-"):
            options.append(word)
            waiting = not waiting and word in _VALUED
        else:
            places.append(word)
    return options, places


def _path() -> str:
    """Return a PATH on which git finds our remote helper, wherever this program is installed."""
    own = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", os.defpath)
    return path if own in path.split(os.pathsep) else f"{path}{os.pathsep}{own}"
