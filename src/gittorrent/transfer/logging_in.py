"""Doing something at an HTTPS server that may want to know who asks.

It is tried as a stranger, or with what is known already; when the server wants a name and password,
git's credential helpers are asked, and it is tried once more. Asking is outside of the time that
the server gets, since the user may have to type. Must not know what is done.
Source: docs/protocol/mirrorsync.md, Private repositories.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from gittorrent.git.credentials import LOGINS, REFUSED_HINT, NoLoginError
from gittorrent.transfer.http_client import LoginWantedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


async def logged_in(url: str, work: Callable[[], Awaitable[T]]) -> T:
    """Return what work comes to.

    Args:
        url: of what is asked for.
        work: asks, with what is known by then.

    Raises:
        NoLoginError: the server wants a name and password, and there are none that it takes.
    """
    try:
        return await work()
    except LoginWantedError as error:
        login = await asyncio.to_thread(LOGINS.ask, url, error.refused)
    try:
        done = await work()
    except LoginWantedError:
        await asyncio.to_thread(LOGINS.reject, url, login)
        raise NoLoginError(f"{url} takes no such name and password", hint=REFUSED_HINT) from None
    await asyncio.to_thread(LOGINS.approve, url, login)
    return done
