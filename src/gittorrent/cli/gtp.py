"""``gittorrent gtp``: the protocol of 2006 to 2008."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec import Struct

from gittorrent.cli.gtp_metainfo import (
    author_of,
    file_argument,
    metainfo,
    read_metainfo,
    write_file,
)
from gittorrent.cli.limits import size_of
from gittorrent.cli.output import json_option, quiet_option, with_progress
from gittorrent.errors import UnverifiedError, UsageError
from gittorrent.git.repository import find_repository, read_config
from gittorrent.interruptions import run, until_interrupted
from gittorrent.printable import decoded, printable
from gittorrent.repository.layout import Layout
from gittorrent.repository.readers_file import has_private

if TYPE_CHECKING:
    from gittorrent.cli.output import StepProgress
    from gittorrent.gtp.metainfo import Metainfo
    from gittorrent.gtp.node.daemon import GtpNode
    from gittorrent.gtp.node.session import Clone, CloneOptions
    from gittorrent.gtp.reference import Reference
    from gittorrent.ids import RefName

DEFAULT_LISTEN = "0.0.0.0:9417"

MOST_NAMED = 10
"""Refs that a warning names; the rest is counted."""

wanted_profile_option = click.option(
    "--profile",
    type=click.Choice(["rfc", "perl-2008"]),
    help="Dialect of the swarm, if not the one the file says.",
)
peer_option = click.option(
    "--peer", "peers", multiple=True, metavar="HOST:PORT", help="A peer to begin with."
)
listen_option = click.option(
    "--listen",
    default=DEFAULT_LISTEN,
    show_default=True,
    metavar="HOST:PORT",
    help="Where peers can reach us; port 0 takes a free one.",
)
limit_option = click.option(
    "--up-limit", metavar="RATE", help="Send at most so many bytes a second: 500K, 2M."
)
allow_option = click.option(
    "--allow-unverified", is_flag=True, help="Believe unsigned reference objects."
)
verbose_option = click.option("-v", "--verbose", is_flag=True, help="Log each connection.")


@click.group()
def gtp() -> None:
    """Speak GTP/0.1, the GitTorrent protocol of 2006 to 2008.

    \b
    Examples:
      gittorrent gtp metainfo create ~/src/project.git project.gittorrent --key KEY
      gittorrent gtp serve project.gittorrent ~/src/project.git
      gittorrent gtp clone project.gittorrent project
      gittorrent gtp tracker --http 0.0.0.0:8418
    """


gtp.add_command(metainfo)


@gtp.command()
@file_argument
@click.argument("repo", type=click.Path(path_type=Path, exists=True))
@click.option("--sign", is_flag=True, help="List refs that changed in a new reference object.")
@click.option("--key", help="OpenPGP key for --sign; default as git does.")
@allow_option
@wanted_profile_option
@listen_option
@peer_option
@limit_option
@verbose_option
@json_option
def serve(
    file: Path,
    repo: Path,
    sign: bool,
    profile: str | None,
    key: str | None,
    allow_unverified: bool,
    listen: str,
    peers: tuple[str, ...],
    up_limit: str | None,
    verbose: bool,
    as_json: bool,
) -> None:
    """Give the repository REPO to the swarm of the metainfo FILE.

    REPO may be published by the main protocol too, or be a clone made by 'gittorrent gtp clone'.
    With --sign its refs are looked at first, and a new reference object is made if they changed.

    \b
    Examples:
      gittorrent gtp serve project.gittorrent ~/src/project.git
      gittorrent gtp serve project.gittorrent . --sign --listen 0.0.0.0:9417
    """
    _log_to_stderr(verbose)
    if has_private(Layout(find_repository(repo).git_dir)):
        raise UsageError(
            f"{repo} is private, and GTP/0.1 gives to whoever asks",
            hint="'gittorrent serve' gives it to its readers",
        )
    info = read_metainfo(file, profile)
    body: bytes | None = None
    if sign:
        from gittorrent.gtp.node.authoring import changed_reference

        unsigned = info.profile.blocks_are_commits
        body = changed_reference(repo, info, author_of(repo, key, signs=not unsigned))
    options = _SeedOptions(allow_unverified, body, tuple(map(_place, peers)))
    run(_serve(_node(_place(listen), up_limit), info, repo, options, as_json=as_json))


class _SeedOptions(Struct, frozen=True):
    """How to give a repository.

    Args:
        allow_unverified: whether unsigned references that it remembers are believed.
        body: a new reference object, which it is to remember.
        peers: to begin with.
    """

    allow_unverified: bool
    body: bytes | None
    peers: tuple[tuple[str, int], ...]


async def _serve(
    node: GtpNode, info: Metainfo, repo: Path, options: _SeedOptions, *, as_json: bool
) -> None:
    from gittorrent.gtp.node.authoring import remember_references
    from gittorrent.gtp.node.session import open_seed

    swarm = open_seed(
        node, info, repo, allow_unverified=options.allow_unverified, body=options.body
    )
    node.add(swarm, options.peers)
    try:
        await node.start()
        if options.body is not None:  # remembered last: what failed leaves nothing behind
            remember_references(repo, info, options.body)
        _say_listening(node, info, as_json=as_json)
        await until_interrupted()
    finally:
        await node.stop()
        if swarm.holding is not None:
            swarm.holding.close()


@gtp.command()
@file_argument
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--bare", is_flag=True, help="Mirror the refs into a bare repository.")
@click.option("--seed", is_flag=True, help="Go on giving when the clone is complete.")
@click.option(
    "--block-size",
    metavar="SIZE",
    callback=size_of,
    help="Such as 64K, 1M; default by size.",
)
@allow_option
@click.option("--timeout", default=300.0, show_default=True, help="Seconds without progress.")
@click.option("--listen", default=None, metavar="HOST:PORT", help="Let peers reach us too.")
@wanted_profile_option
@peer_option
@limit_option
@quiet_option
@verbose_option
def clone(
    file: Path,
    directory: Path,
    bare: bool,
    seed: bool,
    block_size: int | None,
    allow_unverified: bool,
    timeout: float,
    listen: str | None,
    profile: str | None,
    peers: tuple[str, ...],
    up_limit: str | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Clone the repository of the metainfo FILE from its swarm into DIRECTORY.

    Refs appear when everything they reach is here and was proved to be what the key signed. An
    interrupted clone goes on where it stopped when the same command is run again.

    \b
    Examples:
      gittorrent gtp clone project.gittorrent project
      gittorrent gtp clone project.gittorrent mirror.git --bare --seed --listen 0.0.0.0:9417
    """
    from gittorrent.gtp.node.session import CloneOptions
    from gittorrent.transfer.settings import read_settings

    _log_to_stderr(verbose)
    info = read_metainfo(file, profile)
    if not info.pubkey and not info.references and not allow_unverified:
        raise UnverifiedError(
            f"{file} has neither a key nor reference objects: nothing could be verified",
            hint="pass --allow-unverified if you trust the peers and the network",
        )
    max_bytes = read_settings(read_config(Path.cwd())).max_bytes
    options = CloneOptions(bare, block_size or 0, allow_unverified, timeout, max_bytes)
    place = None if listen is None else _place(listen)

    def work(progress: StepProgress) -> None:
        node = _node(place, up_limit)
        run(_clone(node, info, directory, options, peers, progress, seed=seed))

    with_progress(quiet, work)


async def _clone(
    node: GtpNode,
    info: Metainfo,
    directory: Path,
    options: CloneOptions,
    peers: tuple[str, ...],
    progress: StepProgress,
    *,
    seed: bool,
) -> None:
    from gittorrent.gtp.node.session import Clone

    clone_ = Clone(node, info, directory, options)
    node.add(clone_.swarm, tuple(map(_place, peers)))
    try:
        await node.start()
        reference, left_out = await _completed(clone_, directory, progress)
        count = len(reference.refs) - len(left_out)
        click.echo(f"{directory}: {count} refs of {reference.id.hex()}")
        if left_out:
            click.echo(_left_out(left_out), err=True)
        if seed:
            _say_listening(node, info, as_json=False)
            await until_interrupted()
    finally:
        await node.stop()
        clone_.close()


async def _completed(
    clone_: Clone, directory: Path, progress: StepProgress
) -> tuple[Reference, list[RefName]]:
    """Wait until a clone is complete; says what is kept if that is interrupted."""
    from asyncio import CancelledError

    try:
        return await clone_.run(progress)
    except CancelledError:
        progress.close()
        done, total = clone_.exchange.progress()
        if done:
            click.echo(
                f"gittorrent: interrupted; {directory} keeps {done} of {total} blocks:"
                " run the same command again and it goes on from there",
                err=True,
            )
        raise


def _left_out(names: list[RefName]) -> str:
    """Return the warning about refs whose objects nobody sent."""
    shown = ", ".join(printable(decoded(name)) for name in names[:MOST_NAMED])
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return (
        f"warning: left out {shown}{more}: nobody sent what they name\n"
        "hint: peers of 2008 send no annotated tags, and nothing that only a tag names"
    )


@gtp.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--http", "places", multiple=True, metavar="HOST:PORT", help="Where to listen.")
@click.option("--database", type=click.Path(path_type=Path), help="Where peers are remembered.")
@click.option("--behind-proxy", is_flag=True, help="Believe the last X-Forwarded-For.")
@click.option(
    "--static", type=click.Path(path_type=Path), help="Write a tracker file and end; needs --peer."
)
@peer_option
@verbose_option
@json_option
def tracker(
    files: tuple[Path, ...],
    places: tuple[str, ...],
    database: Path | None,
    behind_proxy: bool,
    static: Path | None,
    peers: tuple[str, ...],
    verbose: bool,
    as_json: bool,
) -> None:
    """Introduce peers to each other, over HTTP.

    With metainfo FILES only their repositories are tracked, and their reference objects are handed
    out; without, any that somebody announces.

    \b
    Examples:
      gittorrent gtp tracker --http 0.0.0.0:8418
      gittorrent gtp tracker project.gittorrent --static tracker.txt --peer seed.example.org:9417
    """
    _log_to_stderr(verbose)
    infos = [read_metainfo(file) for file in files]
    if static is not None:
        from gittorrent.gtp.node.tracker_server import static_answer

        if len(infos) != 1 or not peers:
            raise UsageError("--static needs one metainfo file and at least one --peer")
        write_file(static, static_answer(infos[0], [_place(peer) for peer in peers]))
        click.echo(f"wrote {static}: serve it with any web server")
        return
    if not places:
        raise UsageError("where to listen? name it with --http HOST:PORT")
    run(_track(infos, [_place(p) for p in places], database, behind_proxy, as_json=as_json))


async def _track(
    infos: list[Metainfo],
    places: list[tuple[str, int]],
    database: Path | None,
    behind_proxy: bool,
    *,
    as_json: bool,
) -> None:
    from gittorrent.gtp.node.tracker_server import TrackerServer
    from gittorrent.gtp.node.tracker_store import TrackerStore
    from gittorrent.store.home import open_home

    store = TrackerStore(database or open_home().root / "gtp-tracker.sqlite")
    server = TrackerServer(store, infos, behind_proxy=behind_proxy)
    try:
        await server.start(places)
        if as_json:
            click.echo(json.dumps({"listening": server.addresses}))
        for address in [] if as_json else server.addresses:
            click.echo(f"tracker at {address}")
        await until_interrupted()
    finally:
        await server.stop()
        store.close()


def _node(listen: tuple[str, int] | None, up_limit: str | None) -> GtpNode:
    from gittorrent.gtp.node.daemon import GtpNode
    from gittorrent.transfer.limiter import Limiter, parse_rate

    limiter = Limiter(None if up_limit is None else parse_rate(up_limit))
    return GtpNode(listen, limiter)


def _say_listening(node: GtpNode, info: Metainfo, *, as_json: bool) -> None:
    if as_json:
        value = {"host": node.address, "port": node.port, "repo_hash": info.repo_hash.hex()}
        click.echo(json.dumps(value))
    elif node.port:
        click.echo(f"serving {info.repo_hash.hex()} at {node.address}:{node.port}")


def _place(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535 or not host:
        raise UsageError(f"{text!r} is no HOST:PORT", hint="write 127.0.0.1:9417 or [::1]:9417")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _log_to_stderr(verbose: bool) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.ERROR,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
