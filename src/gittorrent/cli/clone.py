"""``gittorrent clone``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import click

from gittorrent.cli.clone_options import sort_words
from gittorrent.cli.limits import down_limit_option, peer_up_limit_option, up_limit_option
from gittorrent.cli.locations import typed_location
from gittorrent.durable import temporary_directory
from gittorrent.git.runner import executable
from gittorrent.interruptions import PROCESS
from gittorrent.terminal import STATUS_VARIABLE
from gittorrent.transfer.location import url_for_git

_GIT_OPTIONS = "gittorrent.clone.git_options"
"""Where the context keeps git's options."""


class _CloneCommand(click.Command):
    """Takes git clone's options wherever they stand; click is shown its own, URL and directory."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Sort the words, and let click read what it knows."""
        own = [each for each in self.get_params(ctx) if isinstance(each, click.Option)]
        valued = {word for each in own if not each.is_flag for word in each.opts}
        switches = {word for each in own if each.is_flag for word in each.opts}
        found = sort_words(args, valued, switches, _long_options_of_git)
        ctx.meta[_GIT_OPTIONS] = found.git
        return super().parse_args(ctx, [*found.own, "--", *found.places])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Show that git's options are taken."""
        return ["[OPTIONS] [GIT OPTIONS]", *super().collect_usage_pieces(ctx)[1:]]


def _long_options_of_git() -> list[str]:
    """Ask git for clone's long options; those that take a value end with ``=``."""
    asked = subprocess.run(
        [executable(), "clone", "--git-completion-helper-all"],
        capture_output=True,
        check=False,
    )
    return asked.stdout.decode("ascii", "replace").split()


@click.command(cls=_CloneCommand)
@click.option(
    "--allow-unverified",
    is_flag=True,
    help="Clone from a plain git server too, where nothing can be verified.",
)
@down_limit_option
@up_limit_option
@peer_up_limit_option
@click.argument("url")
@click.argument("directory", required=False)
@click.pass_context
def clone(
    ctx: click.Context,
    allow_unverified: bool,
    down_limit: int | None,
    up_limit: int | None,
    peer_up_limit: int | None,
    url: str,
    directory: str | None,
) -> None:
    """Clone from all mirrors of a repository at once; the same as 'git clone URL'.

    Options that git clone knows are passed on, wherever they stand. An interrupted clone keeps
    the parts it has verified: run the same command again and it goes on from there. Unlike git,
    this command ends with an exit code that tells what was wrong.

    \b
    Examples:
      gittorrent clone gittorrent://mirror.example.org/project.git
      gittorrent clone --branch next gittorrent://mirror.example.org/project.git dir
      gittorrent clone gittorrent://mirror.example.org/project.git --down-limit 500K
    """
    typed_location(url)
    url = url_for_git(url)
    limits = {"downLimit": down_limit, "upLimit": up_limit, "peerUpLimit": peer_up_limit}
    once = [f"gittorrent.{name}={rate}" for name, rate in limits.items() if rate is not None]
    words = [executable(), *(word for each in once for word in ("-c", each)), "clone"]
    if allow_unverified:
        words += ["-c", "gittorrent.allowUnverified=true"]
    with temporary_directory("clone") as folder:
        status = folder / "status"
        status.touch()
        environ = {**os.environ, STATUS_VARIABLE: str(status), "PATH": _path()}
        places = [url] if directory is None else [url, directory]
        ended = _run([*words, *ctx.meta[_GIT_OPTIONS], "--", *places], environ)
        if ended < 0:
            sys.exit(128 - ended)
        if ended and (said := status.read_text(encoding="ascii")):
            sys.exit(int(said))
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


def _path() -> str:
    """Return a PATH on which git finds our remote helper, wherever this program is installed."""
    own = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", os.defpath)
    return path if own in path.split(os.pathsep) else f"{path}{os.pathsep}{own}"
