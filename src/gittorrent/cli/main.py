"""The ``gittorrent`` command and how it ends.

Subcommands live in modules of their own and are imported when they are used, so that none pays
for another's imports. Errors become one line on standard error, a hint below it, and the exit
code of their root (`gittorrent.errors`).
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from gittorrent import __version__
from gittorrent.cli.manual import how_to_read
from gittorrent.errors import GitTorrentError, LocalError
from gittorrent.interruptions import PROCESS
from gittorrent.permissions import explain_local_error
from gittorrent.terminal import complain, screen_streams

COMMANDS = {
    "publish": ("publish", "publish", "Sign a repository's refs and make its objects a reel."),
    "adopt": ("adopt", "adopt", "Publish a repository from here that was published elsewhere."),
    "serve": ("serve", "serve", "Serve published and mirrored repositories."),
    "init-node": ("init_node", "init_node", "Write a configuration for this node."),
    "reload": ("reload", "reload_node", "Let the running node read its configuration again."),
    "shell": ("shell", "shell", "Let people push and fetch over ssh; for sshd."),
    "clone": ("clone", "clone", "Clone from all mirrors at once; same as git clone."),
    "seed": ("seed", "seed", "Turn a clone you have into a seed, without a download."),
    "mirror": ("mirror", "mirror", "Carry a repository: download, verify, keep current."),
    "track": ("track", "track", "Publish what a plain git server has, and follow it."),
    "ci": ("ci", "ci", "Let CI jobs clone by way of this machine's node."),
    "export": ("export", "export", "Write a repository as files that any web server serves."),
    "mirrors": ("mirrors", "mirrors", "List the mirrors of a repository."),
    "collections": ("collections", "collections", "List the collections that are followed."),
    "collection": ("collection", "collection", "Look at lists of what owners want carried."),
    "pause": ("pause", "pause", "Serve a mirror as it is, and do not follow it."),
    "resume": ("pause", "resume", "Follow a mirror again that was paused."),
    "confirm": ("confirm", "confirm", "Let go what disappeared suddenly, or keep it."),
    "remove": ("remove", "remove", "Stop carrying a repository."),
    "status": ("status", "status", "Show what this node carries."),
    "doctor": ("doctor", "doctor", "Look for what would keep a node from working."),
    "backup": ("backup", "backup", "Write a backup of what this node knows."),
    "restore": ("restore", "restore", "Make a node of a backup."),
    "log": ("log", "log", "Show a repository's push log."),
    "conflicts": ("conflicts", "conflicts", "Show pushes that wait to be merged."),
    "policy": ("policy", "policy", "Say who may push where, and who may change that."),
    "token": ("token", "token", "Let readers of private repositories in by tokens."),
    "keeper": ("keeper", "keeper", "Say which machine puts pushes in order."),
    "certificate": ("certificate", "certificate", "Let pushes carry your OpenPGP certificate."),
    "verify": ("verify", "verify", "Check everything a carried repository holds."),
    "reel": ("reel", "reel", "Look at reels."),
    "gtp": ("gtp", "gtp", "Speak GTP/0.1, the protocol of 2006 to 2008."),
    "forget": ("forget", "forget", "Forget which repository a URL led to."),
    "completion": ("completion", "completion", "Print a shell's completion script."),
    "tidy": ("tidy", "tidy", "Repack a carried repository now."),
}
"""Name: (module, function, help in one line)."""

EPILOG = """\
\b
Examples:
  gittorrent publish ~/src/project.git
  gittorrent serve --git 0.0.0.0:9418
  git clone gittorrent://mirror.example.org/project.git

\b
Exit codes: 0 done, 1 a check failed, 2 bad request, 3 nobody reachable,
4 another repository, 5 not trustworthy, 6 only unverified, 7 this machine,
8 a peer broke the protocol, 130 interrupted.
"""


class _ReaderGone(Exception):
    """Whoever read our output has enough."""


class LazyGroup(click.Group):
    """Imports a subcommand when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of `COMMANDS`."""
        del ctx
        return [name for name in COMMANDS if name != "tidy"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one subcommand."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, function, _ = COMMANDS[cmd_name]
        loaded = importlib.import_module(f"gittorrent.cli.{module}")
        if not gc.isenabled():  # as `gittorrent.cli.start` leaves it
            gc.freeze()
            gc.enable()
        command = getattr(loaded, function)
        assert isinstance(command, click.Command)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take ``help COMMAND`` for ``COMMAND --help``, as git does."""
        if args[:1] == ["help"]:
            args = [*args[1:], "--help"]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand; of one that is not there the likest is named."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches  # few mistype

            near = get_close_matches(args[0], COMMANDS, 1)
            if not near:
                raise
            meant = f"{error.message} Did you mean '{near[0]}'?"
            raise click.UsageError(meant, ctx) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; click itself would take a closed pipe for a failure."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderGone from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][2]) for name in self.list_commands(ctx)])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the epilog, and where the manual is."""
        super().format_epilog(ctx, formatter)
        if manual := how_to_read(Path(sys.argv[0]), os.environ):
            formatter.write_paragraph()
            formatter.write(f"Manual: {manual}\n")


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gittorrent")
def gittorrent() -> None:
    """Distribute git repositories from peer to peer, over git's own protocol."""


def main(command: click.Command = gittorrent) -> NoReturn:
    """Run the command line, of ``gittorrent`` or of one command."""
    screen_streams()
    try:
        command.main(standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.Abort as error:
        if isinstance(error.__cause__, EOFError):  # click takes it for the end of somebody's typing
            raise error.__cause__ from None
        sys.exit(PROCESS.status)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(PROCESS.status)
    except (_ReaderGone, BrokenPipeError):
        _say_no_more()  # no failure of ours
        sys.exit(0)
    except GitTorrentError as error:
        _fail(error)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not _has_directory():
            hint = "go to one that is"
            _fail(LocalError("the current directory is not there any more", hint=hint))
        if error.filename == sys.stdout.name:
            _say_no_more()
            _fail(LocalError(f"cannot write to standard output: {error.strerror}"))
        _explain(error)
    except (MemoryError, RuntimeError) as error:
        _explain(error)
    sys.exit(0)


def _explain(error: OSError | MemoryError | RuntimeError) -> NoReturn:
    """Say what is wrong with this machine, if that is what is wrong."""
    trouble = explain_local_error(error)
    if trouble is None:
        raise error
    _fail(trouble)


def _say_no_more() -> None:
    """Let what is still buffered not fail again when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _has_directory() -> bool:
    try:
        os.getcwd()  # noqa: PTH109 (what is asked is whether there is one)
    except FileNotFoundError:
        return False
    return True


def _fail(error: GitTorrentError) -> NoReturn:
    complain(error)
    sys.exit(error.exit_code)
