"""Options that bound what a command sends, takes and keeps: rates and sizes, in bytes."""

from __future__ import annotations

import click

from gittorrent.errors import UsageError
from gittorrent.sizes import parse_size
from gittorrent.transfer.limiter import parse_rate


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
