"""``gittorrent ci``: leads the clones of CI jobs to the node of this machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import asdict

from gittorrent.cli.node_health import running_nodes
from gittorrent.cli.output import json_option, print_json, quiet_option
from gittorrent.errors import UsageError
from gittorrent.git.ci_places import BASE, Setup, place_of, read_setup, set_up
from gittorrent.git.ci_places import undo as undo_setup
from gittorrent.store.home import named_home
from gittorrent.transfer.ci_node import CiNode, NoAnswerError
from gittorrent.wire.ci_urls import CiUrlError, parse_beginning, parse_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gittorrent.store.processes import CiRunner

HELPER = "git-remote-gittorrent"

_WITH_REMOTES = " (git alone, by its remotes)"

_OWNERS_SLASHES = 4
"""Those of ``https://HOST/OWNER/``: what has more may be one repository."""


@click.group()
def ci() -> None:
    """Let CI jobs clone by way of this machine's node, without changing a pipeline."""


def _where(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which file of git's configuration is meant."""
    options = (
        click.option("--system", "scope", flag_value="system", help="All users of this machine."),
        click.option(
            "--global", "scope", flag_value="global", default=True, help="This user; the default."
        ),
        click.option(
            "--file",
            metavar="FILE",
            type=click.Path(path_type=Path, dir_okay=False),
            help="This file of git's configuration.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


@ci.command()
@click.option(
    "--for",
    "prefixes",
    metavar="URL",
    multiple=True,
    required=True,
    help="What the URLs begin with, such as https://github.com/; several times for more.",
)
@_where
@click.option(
    "--socket",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Socket of the node, as node.toml names it below [ci]; this user's node by default.",
)
@click.option(
    "--user",
    "users",
    metavar="NAME",
    multiple=True,
    help="Also URLs with this name and a password before the host, as gitlab-ci-token.",
)
@click.option(
    "--git-only",
    is_flag=True,
    help="Lead git alone, where a remote has such a URL: cargo, JGit and the like go on as before.",
)
@quiet_option
@json_option
def setup(
    prefixes: tuple[str, ...],
    scope: str,
    file: Path | None,
    socket: Path | None,
    users: tuple[str, ...],
    git_only: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Lead git's clones and fetches of some servers to this machine's node.

    Afterwards plain 'git clone https://github.com/x/y', submodules and partial and shallow clones
    ask the server for its refs, as before, and this machine's node for objects; where the node is
    not there, or does not have them in time, the server. Pushes go to the server. It writes
    url.<base>.insteadOf and what git needs for that, and nothing else; 'gittorrent ci undo' takes
    it away. The node serves what [ci] in node.toml allows.

    Programs with git code of their own, such as cargo, fail at what is led there. With --git-only
    they see none of it; nor does a git that is given a URL in place of a remote, as Jenkins' is.

    \b
    Examples:
      gittorrent ci setup --for https://github.com/
      gittorrent ci setup --for https://gitlab.example.org/ --user gitlab-ci-token
      gittorrent ci setup --system --for https://github.com/ --socket /run/gittorrent/ci.sock
      gittorrent ci setup --git-only --for https://github.com/
    """
    if socket is not None and not socket.is_absolute():
        raise UsageError(f"--socket {socket}: git knows it from everywhere; write the whole path")
    beginnings = [_beginning(each) for each in prefixes]
    schemes = {each.partition("://")[0] for each in beginnings}
    for user in users:
        if not user or not user.isascii() or any(c in user for c in "/:@ ?#"):
            raise CiUrlError(f"--user {user}: not a name that URLs can have")
        beginnings += [f"{scheme}://{user}:" for scheme in sorted(schemes)]
    if not quiet:
        for said, prefix in zip(prefixes, beginnings, strict=False):
            _tell_what_is_below(said, prefix)
    place = place_of(scope, file)
    # Named in any case: jobs have homes of their own.
    named = socket or named_home().ci_socket.absolute()
    done = set_up(place, beginnings, str(named), git_only=git_only)
    missing = shutil.which(HELPER) is None
    if as_json:
        print_json({**_shown(done), "helper": not missing})
    elif not quiet:
        for prefix in done.prefixes:
            but = _WITH_REMOTES if prefix in done.git_only else ""
            click.echo(f"git goes to this machine's node for {prefix}{but}")
    if scope == "system" and file is None and socket is None and not quiet:
        click.echo(
            f"gittorrent: all users are led to {named}, the socket of your own node, which others"
            " do not reach: let [ci] in node.toml name one for all, and name it with --socket",
            err=True,
        )
    if not quiet and len(done.git_only) < len(done.prefixes) and shutil.which("cargo"):
        click.echo(
            "gittorrent: cargo, which is here, fails for git dependencies below these URLs, unless"
            " it runs git (net.git-fetch-with-cli); with --git-only it goes to the server",
            err=True,
        )
    if missing:
        click.echo(
            f"gittorrent: {HELPER} is not on the PATH: where jobs do not find it either, git fails",
            err=True,
        )


@ci.command()
@_where
@quiet_option
@json_option
def undo(scope: str, file: Path | None, quiet: bool, as_json: bool) -> None:
    """Take away what 'gittorrent ci setup' wrote to a file of git's configuration.

    What else is there stays. It does no harm where nothing is set up.

    \b
    Examples:
      gittorrent ci undo
      gittorrent ci undo --system
    """
    before = undo_setup(place_of(scope, file))
    if as_json:
        print_json(_shown(before))
    elif not quiet:
        for prefix in before.prefixes:
            click.echo(f"git goes to the server itself for {prefix}")
        if not before.prefixes:
            click.echo("nothing is set up there")


@ci.command()
@_where
@json_option
def status(scope: str, file: Path | None, as_json: bool) -> None:
    """Show what is led to the node, and whether the node is there and serves it.

    Of this user's own node it also shows which other runners it knows.

    \b
    Examples:
      gittorrent ci status
      gittorrent ci status --system --json
    """
    found = read_setup(place_of(scope, file))
    socket = Path(found.socket) if found.socket else named_home().ci_socket
    trouble, unserved = _looked_at(socket, found.prefixes)
    runners = [] if trouble else _runners(socket)
    if as_json:
        why = {"reason": trouble} if trouble else {}
        others = {"runners": [asdict(each) for each in runners]}
        where = {"socket": str(socket), "node": not trouble, "unserved": unserved}
        print_json({**_shown(found), **where, **why, **others})
        return
    for prefix in found.prefixes:
        but = _WITH_REMOTES if prefix in found.git_only else ""
        if prefix in unserved:
            but += f", which leaves it to the server: {unserved[prefix]}"
        click.echo(f"{prefix} goes to this machine's node{but}")
    if not found.prefixes:
        click.echo("nothing is set up there")
    click.echo(f"node at {socket}: {trouble or 'there'}")
    for each in runners:
        how = ", found on the local network" if each.found else ""
        click.echo(f"runner at {each.url}: {'there' if each.there else 'not there'}{how}")
    if trouble or unserved:
        click.echo(
            "hint: 'gittorrent serve' answers jobs there where allow is set below [ci] in"
            " node.toml; 'gittorrent reload' has a running node read it",
            err=True,
        )


def _beginning(text: str) -> str:
    try:
        return parse_beginning(text)
    except CiUrlError as error:
        raise CiUrlError(f"--for {text}: {error}", hint=error.hint) from error


def _tell_what_is_below(said: str, prefix: str) -> None:
    """Say how one repository is named, where that may have been meant."""
    if prefix.endswith("/") and not said.endswith("/") and prefix.count("/") > _OWNERS_SLASHES:
        click.echo(
            f"gittorrent: --for {said} is all that lies below it; if it is one repository, write"
            f" {prefix.rstrip('/')}.git",
            err=True,
        )


def _looked_at(socket: Path, prefixes: Iterable[str]) -> tuple[str, dict[str, str]]:
    """Return why a node does not answer, empty if it does, and what it does not serve, and why."""
    node = CiNode(socket, f"{BASE}status")
    try:
        node.call()
        whys = {each: node.why_not_served(each) for each in prefixes if _is_url(each)}
    except NoAnswerError as error:
        return str(error), {}
    finally:
        node.close()
    return "", {prefix: why for prefix, why in whys.items() if why}


def _is_url(prefix: str) -> bool:
    """Tell whether something names a server, rather than a user at whatever server."""
    try:
        return parse_prefix(prefix).rstrip("/") == prefix.rstrip("/")
    except CiUrlError:
        return False


def _runners(socket: Path) -> list[CiRunner]:
    """Return which other runners this user's node knows, if it is the one at a socket.

    They are not asked for at the socket, which any job may use.
    """
    nodes = [each.ci for each in running_nodes(named_home()) if each.ci is not None]
    return [runner for each in nodes if each.socket == str(socket) for runner in each.runners]


def _shown(setup: Setup) -> dict[str, Any]:
    return {"prefixes": list(setup.prefixes), "git_only": list(setup.git_only)}
