"""Options that bound what a command sends and takes: rates in bytes per second."""

from __future__ import annotations

import click

from gittorrent.transfer.limiter import parse_rate


def _rate(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Return a rate as a number; `RateError` says what is wrong with another word."""
    del ctx, param
    return None if value is None else parse_rate(value)


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
