"""``gittorrent token``: what operators give to readers of private repositories."""

from __future__ import annotations

import contextlib
import secrets
import time
from typing import TYPE_CHECKING

import click

from gittorrent.cli.completing import complete_tokens
from gittorrent.cli.output import json_option, print_json
from gittorrent.cli.repositories import CARRIED_REPOSITORY
from gittorrent.errors import UsageError
from gittorrent.ids import RepositoryId
from gittorrent.node.config_values import seconds
from gittorrent.repository.carried import open_carried
from gittorrent.repository.readers_file import is_private_here
from gittorrent.store.database import Database
from gittorrent.store.home import open_home
from gittorrent.store.tokens import TokenRow, TokenTable
from gittorrent.wire.tokens import TOKEN_SIZE, digest_of, make_token

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEAST_SECONDS = 60
"""Shortest life of a token."""


@click.group()
def token() -> None:
    """Let readers of private repositories in by tokens, over HTTPS.

    A token is the password that git asks for, or a credential helper of git's knows. It counts at
    this node alone, and only over TLS. Who has one reads; who may push is for the policy.

    \b
    Examples:
      gittorrent token new alice-laptop --repository secrets --expires 90d
      gittorrent token revoke alice-laptop
    """


@contextlib.contextmanager
def _table() -> Iterator[tuple[TokenTable, Database]]:
    with contextlib.closing(Database(open_home().database)) as database:
        yield TokenTable(database), database


def life(text: str) -> int:
    """Return the seconds that a length of time such as ``30d`` or ``12h`` has.

    Raises:
        UsageError: it is none.
    """
    try:
        return seconds(LEAST_SECONDS)(text)
    except ValueError as error:
        raise UsageError(f"--expires: {error}") from error


@token.command()
@click.argument("name")
@click.option(
    "-r",
    "--repository",
    type=CARRIED_REPOSITORY,
    metavar="REPOSITORY",
    help="The only one it is good for; all private ones of this node without it.",
)
@click.option("--expires", metavar="TIME", help="Let it be good for 30d, 12h or 90m; for ever.")
@json_option
def new(name: str, repository: Path | None, expires: str | None, as_json: bool) -> None:
    """Make a token, and print it: it is shown this once, and kept nowhere.

    \b
    Examples:
      gittorrent token new alice-laptop --repository secrets --expires 90d
      gittorrent token new mirror-two
    """
    now = int(time.time())
    ends = 0 if expires is None else now + life(expires)
    carried = None if repository is None else open_carried(repository)
    good_for = "" if carried is None else carried.info.repository_id
    made = make_token(secrets.token_bytes(TOKEN_SIZE))
    with _table() as (table, _):
        table.add(TokenRow(name, digest_of(made), good_for, now, ends))
    if as_json:
        print_json({"name": name, "token": made, "repository_id": good_for, "expires": ends})
        return
    if carried is not None and not is_private_here(carried.layout, carried.info.repository_id):
        click.echo(f"{carried.info.name} is public: who reads it needs no token", err=True)
    click.echo("give it to its reader, who types it where git asks for a password:", err=True)
    click.echo(made)


@token.command("list")
@json_option
def list_tokens(as_json: bool) -> None:
    """List the tokens there are, without what only their readers know.

    \b
    Example:
      gittorrent token list
    """
    with _table() as (table, database):
        rows = table.all()
        names = {row.repository_id: row.name for row in database.carried()}
    now = time.time()
    if as_json:
        print_json(
            [
                {
                    "name": row.name,
                    "repository_id": row.repository,
                    "made": row.made,
                    "expires": row.expires,
                    "good": row.is_good(now),
                }
                for row in rows
            ]
        )
        return
    if not rows:
        click.echo("there are no tokens: 'gittorrent token new NAME' makes one")
    for row in rows:
        name = names.get(RepositoryId(row.repository), row.repository)
        where = name or "all private repositories"
        click.echo(f"{row.name}: {where}, made {_day(row.made)}, {_end(row, now)}")


def _end(row: TokenRow, now: float) -> str:
    if not row.expires:
        return "does not expire"
    return f"{'expires' if row.is_good(now) else 'EXPIRED'} {_day(row.expires)}"


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


@token.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_tokens)
@json_option
def revoke(names: tuple[str, ...], as_json: bool) -> None:
    """Let tokens be good for nothing from now on; the running node sees it at once.

    \b
    Example:
      gittorrent token revoke alice-laptop
    """
    with _table() as (table, _):
        gone = table.revoke(names)
    if as_json:
        print_json([{"name": row.name, "repository_id": row.repository} for row in gone])
        return
    for row in gone:
        click.echo(f"revoked {row.name}")
