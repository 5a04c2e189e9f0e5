"""Options that bound what a command sends, takes and keeps: rates and sizes, in bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gittorrent.errors import UsageError
from gittorrent.node.config_values import seconds
from gittorrent.node.git_limits import LEAST_MEMORY
from gittorrent.sizes import parse_size
from gittorrent.transfer.limiter import parse_rate

if TYPE_CHECKING:
    from collections.abc import Callable


MOST_DIGITS = 9
"""Digits of a length of time in seconds; it is no number to anybody if there are more."""


def _rate(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Return a rate as a number; `RateError` says what is wrong with another word."""
    del ctx, param
    return None if value is None else parse_rate(value)


def size_of(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Return a size in bytes, None where none is given; `UsageError` names the option."""
    del ctx
    if value is None:
        return None
    size = parse_size(value)
    if not size:
        raise UsageError(
            f"{param.opts[0]}: {value!r} is not a size",
            hint="write a number of bytes, with K, M or G: 64K, 512M, 10G",
        )
    return size


def git_memory_of(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Return the memory of a git, as `size_of` does; enough to begin with."""
    size = size_of(ctx, param, value)
    if size is not None and size < LEAST_MEMORY:
        raise UsageError(
            f"{param.opts[0]}: {value} is too little for any git",
            hint=f"write {LEAST_MEMORY >> 20}M or more",
        )
    return size


def length_of_time(
    least: int,
) -> Callable[[click.Context, click.Parameter, str | None], int | None]:
    """Return what reads a length of time in seconds, None where none is given.

    Args:
        least: seconds that it may be.
    """
    read = seconds(least)

    def take(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
        del ctx
        if value is None:
            return None
        try:
            is_number = value.isascii() and value.isdigit() and len(value) <= MOST_DIGITS
            return read(int(value) if is_number else value)
        except ValueError as error:
            wrong, _, instead = str(error).partition("; ")
            raise UsageError(f"{param.opts[0]}: {wrong}", hint=instead) from error

    return take


up_limit_option = click.option(
    "--up-limit",
    metavar="RATE",
    callback=_rate,
    help="Send at most so many bytes a second: 500K, 2M.",
)
down_limit_option = click.option(
    "--down-limit",
    metavar="RATE",
    callback=_rate,
    help="Take at most so many bytes a second.",
)
peer_up_limit_option = click.option(
    "--peer-up-limit",
    metavar="RATE",
    callback=_rate,
    help="Send at most so many bytes a second to any one address.",
)
