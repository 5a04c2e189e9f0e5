"""``gittorrent serve``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gittorrent import event_log
from gittorrent.cli.hang_up import on_hang_up
from gittorrent.cli.limits import git_memory_of, peer_up_limit_option, size_of, up_limit_option
from gittorrent.cli.node_config import Flags, Settings
from gittorrent.cli.node_health import running_nodes
from gittorrent.cli.node_toml import read_config
from gittorrent.cli.output import json_option
from gittorrent.cli.repositories import REPOSITORY
from gittorrent.cli.served_places import catalogue_of
from gittorrent.errors import GitTorrentError, UsageError
from gittorrent.event_log import EventLog
from gittorrent.git.credentials import ask_nobody
from gittorrent.interruptions import PROCESS, run
from gittorrent.node.catalogue import Catalogue
from gittorrent.node.config import NodeConfig
from gittorrent.node.config_table import ConfigError
from gittorrent.node.config_values import Place, place
from gittorrent.node.connections import CannotListenError
from gittorrent.node.git_turns import PROCESSES
from gittorrent.node.local_clones import KEEP_SECONDS
from gittorrent.node.node import Node
from gittorrent.node.service_manager import ServiceManager
from gittorrent.node.tls import CertificateFiles
from gittorrent.node.tls_in_use import certificate_of
from gittorrent.store.database import Database
from gittorrent.store.home import Home, open_home
from gittorrent.transfer.task_set import TaskSet
from gittorrent.wire.control import MAX_KEEP_SECONDS
from gittorrent.wire.urls import Endpoint, UrlError, parse_learned_url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_log = EventLog(__name__)


@click.command()
@click.argument("places", nargs=-1, metavar="[DIR_OR_REPO]...", type=REPOSITORY)
@click.option(
    "--git",
    "git_places",
    multiple=True,
    metavar="HOST:PORT",
    help="Listen for git://; port 0 takes a free one. Default 127.0.0.1:9418.",
)
@click.option(
    "--http",
    "http_places",
    multiple=True,
    metavar="HOST:PORT",
    help="Listen for HTTP; port 0 takes a free one.",
)
@click.option(
    "--https",
    "https_places",
    multiple=True,
    metavar="HOST:PORT",
    help="Listen for HTTP over TLS; port 0 takes a free one.",
)
@click.option(
    "--tls-certificate",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The node's certificate with its chain, in PEM; taken anew when it changes.",
)
@click.option(
    "--tls-key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Its key, in PEM; the same file by default.",
)
@click.option(
    "--behind-proxy",
    is_flag=True,
    help="Believe a web server of this machine which says in X-Real-IP who called it.",
)
@click.option(
    "--git-push",
    is_flag=True,
    help="Take signed pushes over git:// too; over HTTP they are taken anyway.",
)
@click.option(
    "--final-only",
    is_flag=True,
    help="Show to git only what the keeper has made final, and no pushes on top of it.",
)
@click.option("--url", metavar="URL", help="Base URL under which others reach this node.")
@up_limit_option
@peer_up_limit_option
@click.option(
    "--keep-for",
    type=click.IntRange(0, MAX_KEEP_SECONDS),
    metavar="SECONDS",
    help="Keep what clones of this machine use so long after its last use; 0 keeps nothing."
    f" Default {KEEP_SECONDS}.",
)
@click.option(
    "--keep-size",
    metavar="SIZE",
    callback=size_of,
    help="Keep at most so many bytes for clones of this machine. Default 10G.",
)
@click.option(
    "--git-processes",
    type=click.IntRange(1),
    metavar="N",
    help="Let stock git work for so many callers at once; the others wait their turn."
    f" Default {PROCESSES}.",
)
@click.option(
    "--git-memory",
    metavar="SIZE",
    callback=git_memory_of,
    help="Memory of one git process, to which 512 bytes an object are added. Default 512M.",
)
@click.option(
    "--lan",
    is_flag=True,
    help="Make this node known on the local network; list mirrors at private addresses too.",
)
@click.option(
    "--dht/--no-dht",
    default=None,
    help="Announce what is served in the DHT, if strangers reach this node, and find others there."
    " Default on.",
)
@click.option("--no-peer-exchange", is_flag=True, help="Do not tell downloaders of each other.")
@click.option(
    "--map-port", is_flag=True, help="Ask the router for the port of git://, by UPnP or NAT-PMP."
)
@click.option("--no-announce", is_flag=True, help="Do not tell origins that we mirror them.")
@click.option("-v", "--verbose", is_flag=True, help="Log each connection; --log-level info.")
@click.option(
    "--log-level",
    type=click.Choice(event_log.LEVELS),
    metavar="LEVEL",
    help="Log what matters as much: debug, info, warning (default) or error.",
)
@click.option(
    "--log-format",
    type=click.Choice(event_log.FORMATS),
    metavar="FORMAT",
    help="Write the log as text (default), or as json: an object a line.",
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Read this configuration instead of node.toml in the node's home.",
)
@click.option("--check", is_flag=True, help="Say whether the configuration is right, and end.")
@json_option
def serve(
    places: tuple[Path, ...],
    git_places: tuple[str, ...],
    http_places: tuple[str, ...],
    https_places: tuple[str, ...],
    tls_certificate: Path | None,
    tls_key: Path | None,
    behind_proxy: bool,
    git_push: bool,
    final_only: bool,
    url: str | None,
    up_limit: int | None,
    peer_up_limit: int | None,
    keep_for: int | None,
    keep_size: int | None,
    git_processes: int | None,
    git_memory: int | None,
    lan: bool,
    dht: bool | None,
    no_peer_exchange: bool,
    map_port: bool,
    no_announce: bool,
    verbose: bool,
    log_level: str | None,
    log_format: str | None,
    config_file: Path | None,
    check: bool,
    as_json: bool,
) -> None:
    """Serve published and mirrored repositories to git, to mirrors and to web clients.

    Without arguments everything this node carries is served, otherwise only the repositories
    given, or found in the directories given. A repository published as NAME answers at
    /NAME.git. Ends cleanly on SIGTERM and Ctrl-C.

    What is not said here node.toml in the node's home says ('gittorrent init-node'), if there is
    one.

    \b
    Examples:
      gittorrent serve
      gittorrent serve --git 0.0.0.0:9418 --http 0.0.0.0:8417 --url git://mirror.example.org
      gittorrent serve /srv/git --up-limit 10M
    """
    home = open_home()
    path = config_file or home.config
    flags = Flags(
        git=[_place(text) for text in git_places],
        http=[_place(text) for text in http_places],
        https=[_place(text) for text in https_places],
        certificate=_certificate(tls_certificate, tls_key),
        url=None if url is None else _public_url(url),
        up_limit=up_limit,
        peer_up_limit=peer_up_limit,
        keep_for=keep_for,
        keep_size=keep_size,
        git_processes=git_processes,
        git_memory=git_memory,
        behind_proxy=behind_proxy,
        git_push=git_push,
        final_only=final_only,
        lan=lan,
        dht=dht,
        no_peer_exchange=no_peer_exchange,
        map_port=map_port,
        no_announce=no_announce,
    )
    level = log_level or ("info" if verbose else None)
    settings = Settings(path, config_file is not None, flags, level, log_format, not places)
    if check:
        _check(settings)
        return
    PROCESS.serve()
    ask_nobody()
    config = settings.read()
    settings.set_log(config)
    database = Database(home.database)
    try:
        catalogue = catalogue_of(places, database)
        run(_serve(catalogue, database, home, config, settings, as_json=as_json))
    finally:
        database.close()


async def _serve(
    catalogue: Catalogue,
    database: Database,
    home: Home,
    config: NodeConfig,
    settings: Settings,
    *,
    as_json: bool,
) -> None:
    reading = asyncio.Lock()

    async def read_again() -> None:
        """Go by the configuration as it is now; where it is wrong all stays as it was."""
        try:
            async with reading:
                now = settings.read()
                await node.reload(settings.options(now))
                settings.set_log(now)
        except GitTorrentError as error:
            for problem in error.problems if isinstance(error, ConfigError) else [str(error)]:
                _log.error("not-reloaded", "goes on as before: {reason}", reason=problem)
            raise
        _log.info("reloaded", "goes by {path} as it is now", path=settings.path)

    options = settings.options(config)
    node = Node(catalogue, database, home, options, read_again=read_again)
    tasks = TaskSet()
    with on_hang_up(lambda: tasks.start(_quietly(read_again))):
        async with reading:  # a signal that comes early waits until the node has begun
            try:
                await node.start()
            except CannotListenError as error:
                raise _running_already(error, home) from error
        _show(node, catalogue, as_json=as_json)
        manager = ServiceManager.of(os.environ, os.getpid())
        manager.ready()
        tasks.start(manager.follow(lambda: node.readiness.lacks or "ready"))
        await node.run_until_interrupted(manager.stopping)
    await tasks.stop()


def _running_already(error: CannotListenError, home: Home) -> CannotListenError:
    """Say that a node of this home listens there, if one does."""
    for each in running_nodes(home):
        where = " and ".join(each.listening)
        hint = (
            f"a node of this home runs already, as process {each.pid}, and listens at {where};"
            " 'gittorrent reload' has it read node.toml again, and GITTORRENT_HOME names another"
            " home for a second one"
        )
        return CannotListenError(str(error), hint=hint)
    return error


async def _quietly(work: Callable[[], Awaitable[None]]) -> None:
    with contextlib.suppress(GitTorrentError):  # it is in the log
        await work()


def _show(node: Node, catalogue: Catalogue, *, as_json: bool) -> None:
    """Print where the node listens and what it serves."""
    served = [(entry.path, entry.carried.info.repository_id) for entry in catalogue]
    if as_json:
        value = {
            "listening": node.addresses,
            "repositories": [{"path": p, "repository_id": i} for p, i in served],
            "ci": None if node.ci_place is None else str(node.ci_place),
        }
        click.echo(json.dumps(value))
    else:
        for address in node.addresses:
            click.echo(f"listening at {address}")
        if node.ci_place is not None:
            click.echo(f"answering CI jobs at {node.ci_place}")
        for path, repository in served:
            click.echo(f"serving {path}  {repository}")
        if not served and node.ci_place is None:
            click.echo("nothing to serve yet: publish or mirror a repository", err=True)


def _public_url(url: str) -> Endpoint:
    """Return the base URL that others are told, if they would accept it.

    Raises:
        UsageError: they would not.
    """
    try:
        return parse_learned_url(url)
    except UrlError as error:
        raise UsageError(
            f"--url {url}: {error}", hint="write git://mirror.example.org or https://HOST[:PORT]"
        ) from error


def _certificate(chain: Path | None, key: Path | None) -> CertificateFiles | None:
    if chain is None:
        if key is not None:
            raise UsageError("--tls-key names a key without --tls-certificate FILE")
        return None
    return CertificateFiles(chain, key or chain)


def _check(settings: Settings) -> None:
    """Say whether a node can begin with a configuration and what was typed.

    Raises:
        UsageError: it is not there, or wrong.
        CertificateError: the certificate that it names cannot be used.
        SystemExit: it is wrong; all that is wrong was said.
    """
    path = settings.path
    try:
        config = read_config(path, is_named=True)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        raise SystemExit(error.exit_code) from error
    certificate_of(settings.options(config))
    click.echo(f"{path} is right")


def _place(text: str) -> Place:
    """Return what an option says to listen at.

    Raises:
        UsageError: it is no HOST:PORT.
    """
    try:
        return place(text)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no HOST:PORT", hint="write 0.0.0.0:9418 or [::]:9418"
        ) from error
