"""When what came and could not be taken in is asked for again.

Pure. Tracks entries that somebody offers. Each waits twice as long as the time before. News, of
whom nobody had asked for it yet, cut that short; whoever makes up news again and again gains a
question now and then, ever more seldom up to a bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gittorrent.ids import PushId

FIRST_RETRY = 5.0
"""Time after which something is asked for again that came and could not be taken in here, such as
with a full disk; doubled each time."""

LAST_RETRY = 300.0
"""Longest such time."""

LAST_NEWS_RETRY = 60.0
"""Longest time that news wait for; the first time it is `FIRST_RETRY`, and doubled each time news
were the reason."""


class _Postponed(Struct, frozen=True):
    """When an entry is asked for again.

    Args:
        until: when, without news.
        wait: how long that was waited for.
        news_from: when news may count.
        news_wait: how long that was waited for.
        is_news: whether it is asked for because of news.
    """

    until: float
    wait: float
    news_from: float
    news_wait: float
    is_news: bool = False


class Postponed:
    """What is asked for again later."""

    def __init__(self) -> None:
        self._entries: dict[PushId, _Postponed] = {}

    def __iter__(self) -> Iterator[PushId]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entry: PushId, now: float) -> None:
        """Take note that an entry could not be taken in."""
        old = self._entries.get(entry)
        wait = news_wait = FIRST_RETRY
        if old is not None and old.is_news:
            wait, news_wait = old.wait, min(2 * old.news_wait, LAST_NEWS_RETRY)
        elif old is not None:
            wait, news_wait = min(2 * old.wait, LAST_RETRY), old.news_wait
        self._entries[entry] = _Postponed(now + wait, wait, now + news_wait, news_wait)

    def heard_news(self, entry: PushId, now: float) -> None:
        """Take note that somebody may have an entry, or what it needs, who was not asked yet."""
        old = self._entries.get(entry)
        if old is not None and (soon := max(now, old.news_from)) < old.until:
            self._entries[entry] = replace(old, until=soon, is_news=True)

    def drop(self, entry: PushId) -> None:
        """Forget an entry."""
        self._entries.pop(entry, None)

    def until(self, entry: PushId) -> float | None:
        """Return when an entry is asked for again, None for one that is not postponed."""
        found = self._entries.get(entry)
        return None if found is None else found.until

    def is_due(self, entry: PushId, now: float) -> bool:
        """Tell whether an entry may be asked for."""
        until = self.until(entry)
        return until is None or now >= until
