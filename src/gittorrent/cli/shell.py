"""``gittorrent shell``: what sshd runs for people who push and fetch over ssh, and no more.

sshd says what they want: in the environment where this is a forced command, as ``-c`` where it is a
login shell. Two commands of git's are known and three of mirrors, each with one path; what they
are run on comes from the node's own list and never from the path. Nothing is given to another
shell.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from pathlib import Path
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from gittorrent.cli.authorized_keys import authorized_line, shell_command
from gittorrent.cli.node_toml import read_config, watermarks_of
from gittorrent.cli.repositories import REPOSITORY
from gittorrent.cli.served_places import catalogue_of
from gittorrent.errors import GitTorrentError, UsageError
from gittorrent.interruptions import run
from gittorrent.node import upload_pack
from gittorrent.node.access import Access
from gittorrent.node.audience import KEEP_OUT_SECONDS
from gittorrent.node.conversations import NOT_SERVED
from gittorrent.node.git_listener import NO_DEPOT
from gittorrent.node.ssh_services import CONNECTION, SshServices, caller_of
from gittorrent.node.views import Views
from gittorrent.repository.carried import MIRROR, ORIGIN
from gittorrent.repository.depot import RepositoryDepot
from gittorrent.repository.receive_pack import CallerGoneError, Channel, greeting, receive
from gittorrent.repository.uploads import MAX_PUSHED
from gittorrent.store.database import Database
from gittorrent.store.home import open_home
from gittorrent.transfer.ssh_transport import SERVICES
from gittorrent.trust.ssh_login import MAX_FILE, keys_of_login, parse_login_key
from gittorrent.wire import notify, pktline
from gittorrent.wire.limits import MAX_PATH
from gittorrent.wire.service import RECEIVE_PACK, UPLOAD_PACK

if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import Popen

    from gittorrent.node.catalogue import Catalogue, Served
    from gittorrent.node.config import NodeConfig
    from gittorrent.repository.published_view import PublishedView
    from gittorrent.store.home import Home
    from gittorrent.trust.keys import KeyRef

LOGIN = "SSH_USER_AUTH"
"""Variable in which sshd names the file that says how the user was authenticated (ssh(1))."""

ORIGINAL_COMMAND = "SSH_ORIGINAL_COMMAND"
"""Variable in which sshd says what was asked for, beside a forced command (sshd(8))."""


@click.command()
@click.option("-c", "command", metavar="COMMAND", help="What sshd asks a login shell to run.")
@click.argument("places", nargs=-1, metavar="[DIR_OR_REPO]...", type=REPOSITORY)
@click.option(
    "--final-only",
    is_flag=True,
    help="Show to git only what the keeper has made final, and no pushes on top of it.",
)
@click.option(
    "--key",
    metavar="KEY",
    help="The key that sshd let in, ssh:SHA256:...; by default what sshd says.",
)
@click.option(
    "--authorized-keys",
    "offered",
    metavar="KEY",
    help="For sshd's AuthorizedKeysCommand: let the key in if a policy names it.",
)
def shell(
    command: str | None,
    places: tuple[Path, ...],
    final_only: bool,
    key: str | None,
    offered: str | None,
) -> None:
    """Let people push to and fetch from carried repositories over ssh, and do nothing else.

    Mirrors and clones converse over it too, by gittorrent::ssh://USER@HOST/NAME.git.

    For ~/.ssh/authorized_keys of an account on the mirror, before a person's key:

    \b
      restrict,command="gittorrent shell" ssh-ed25519 AAAA...

    Instead of that file 'gittorrent shell --authorized-keys %k', as sshd's
    AuthorizedKeysCommand, lets in whom policies name.

    Who may log in and who may push are two questions: pushes count by their signature, as
    everywhere. Private repositories are there for those alone whom their policies name: by the
    --key in that line, or where sshd says which key it was (ExposeAuthInfo yes in sshd_config).
    A login shell is a file with two lines, '#!/bin/sh' and
    'exec gittorrent shell "$@"'.

    \b
    Examples:
      git push --signed ssh://git@mirror.example.org/project.git main
    """
    if offered is not None:
        _let_in(offered, places, final_only=final_only)
        return
    asked = command if command is not None else os.environ.get(ORIGINAL_COMMAND, "")
    service, path = parse_command(asked)
    access = Access(_keys(key))
    home = open_home()
    database = Database(home.database)
    try:
        config = read_config(home.config, is_named=False)
        final_only = final_only or config.push.final_only
        catalogue = catalogue_of(places, database)

        def may_read() -> bool:
            now = catalogue_of(places, database).find(path, access)
            return now is not None and not now.is_cached

        sys.exit(
            _answer(
                service,
                path,
                catalogue,
                database,
                home,
                config,
                access,
                may_read,
                final_only=final_only,
            )
        )
    finally:
        database.close()


def _let_in(key: str, places: tuple[Path, ...], *, final_only: bool) -> None:
    """Print the line by which sshd lets a key in, if it is to."""
    with contextlib.closing(Database(open_home().database)) as database:
        repositories = [each for each in catalogue_of(places, database) if not each.is_cached]
        command = shell_command(places, final_only=final_only)
        if line := authorized_line(key, repositories, command):
            click.echo(line)


def _keys(named: str | None) -> frozenset[KeyRef]:
    """Return the keys that the caller has, by the command line or by sshd.

    Raises:
        BadKey: what the command line names is none.
    """
    if named is not None:
        return frozenset({parse_login_key(named)})
    said = os.environ.get(LOGIN)
    if not said:
        return frozenset()
    try:
        with Path(said).open("rb") as file:
            return keys_of_login(file.read(MAX_FILE))
    except OSError:
        return frozenset()  # nothing is proved


def parse_command(asked: str) -> tuple[str, bytes]:
    """Return which service of git's is asked for, and the path, which begins with a slash.

    Raises:
        UsageError: it is anything else.
    """
    try:
        words = shlex.split(asked)
    except ValueError:
        words = []
    if len(words) == 3 and words[0] == "git":
        words = [f"git-{words[1]}", words[2]]
    known = (UPLOAD_PACK, RECEIVE_PACK, *SERVICES.values())
    if len(words) != 2 or words[0] not in known or len(words[1]) > MAX_PATH:
        raise UsageError(
            "here are git repositories to push to and fetch from, and nothing else",
            hint="git clone ssh://USER@HOST/NAME.git",
        )
    path = words[1] if words[1].startswith("/") else f"/{words[1]}"
    return words[0], path.encode("utf-8", "surrogateescape")


def _answer(
    service: str,
    path: bytes,
    catalogue: Catalogue,
    database: Database,
    home: Home,
    config: NodeConfig,
    access: Access,
    may_read: Callable[[], bool],
    *,
    final_only: bool,
) -> int:
    """Serve one request; returns the exit status."""
    protocol = upload_pack.protocol_of((os.environb.get(b"GIT_PROTOCOL", b""),))
    channel = Channel(sys.stdin.fileno(), sys.stdout.fileno())
    served = catalogue.find(path, access)
    if served is None or served.is_cached:
        return _refuse(channel, NOT_SERVED)
    if service not in (UPLOAD_PACK, RECEIVE_PACK):
        caller = caller_of(os.environ.get(CONNECTION))
        services = SshServices(catalogue, database, home, caller, access)
        where = quote(path, safe="/%!$&'()*+,;=:@~")
        services.serve(service.removeprefix("git-"), served, where)
        return 0
    if service == UPLOAD_PACK:
        return _upload_pack(served, protocol, home, may_read, final_only=final_only)
    if served.info.role not in (ORIGIN, MIRROR):
        return _refuse(channel, NO_DEPOT)
    most = config.push.max_size or MAX_PUSHED
    space = watermarks_of(home, config)
    depot = RepositoryDepot(served.carried, space=space, most=lambda: most)
    try:
        channel.write(greeting(depot, protocol))
        receive(depot, channel)
    except CallerGoneError as error:
        raise GitTorrentError(f"the push was cut off: {error}") from error
    return 0


def _upload_pack(
    served: Served,
    protocol: str | None,
    home: Home,
    may_read: Callable[[], bool],
    *,
    final_only: bool,
) -> int:
    """Let git answer a fetch, from what is published and nothing else.

    Args:
        served: the repository.
        protocol: that the caller's git asks for.
        home: of the node.
        may_read: tells whether the caller may read it still, once it is another than it was.
        final_only: whether pushes are left out that no checkpoint has taken.
    """

    async def packed_by_the_node(view: PublishedView) -> None:
        del view

    async def view() -> PublishedView:
        views = Views(home.views, packed_by_the_node, final_only=final_only)
        return await views.view_of(served)

    made = run(view())
    git = upload_pack.git_for(made, protocol)
    with git.start(*upload_pack.arguments(made), stdin=None, stdout=None, stderr=None) as process:
        return _watched(process, served, may_read)


def _watched(process: Popen[bytes], served: Served, may_read: Callable[[], bool]) -> int:
    """Wait until git has ended; have it end once its caller may not read any more."""
    while True:
        try:
            return process.wait(KEEP_OUT_SECONDS)
        except TimeoutExpired:
            if not served.is_current() and not may_read():
                process.terminate()
                process.wait()
                return 128


def _refuse(channel: Channel, reason: str) -> int:
    channel.write(pktline.encode(notify.encode_refusal(reason)))
    return 128
