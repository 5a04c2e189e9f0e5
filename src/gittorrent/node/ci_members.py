"""Which nodes of other CI runners there are: those of the operator's list, and found ones.

Pure. Tracks what each is called, which it is only once it has proved to know the secret, and when
it has to prove that again. Rules: only who has proved it counts; one that fails counts no more from
then on, so that one that is gone leaves in bounded time. Found ones are believed for nothing but
where to look, as any address that was learned (`gittorrent.wire.urls`); they have places of their
own, few for each address, and one that has proved itself gives its place to nobody.
Source: docs/protocol/mirrorsync.md, Nodes of CI runners.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.wire.ci_labels import VALID_SECONDS
from gittorrent.wire.urls import AddressClass, UrlError, address_class, found_endpoint, may_contact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gittorrent.wire.ci_labels import RunnerLabel

KNOWN_SECONDS = 60.0
"""For how long it counts what a node is called, and that it is there."""

GONE_SECONDS = 30.0
"""For how long a node that failed is left alone."""

MOST_GONE_SECONDS = 480.0
"""The same of a found one that fails again and again: the pause doubles up to this."""

MAX_FOUND = 64
"""Found nodes that are looked at; a larger fleet says addresses."""

MAX_OF_ADDRESS = 2
"""Of them at one address: one that was replaced may be known for a while beside its successor."""


class Member(Struct):
    """A node of another runner.

    Args:
        url: base URL.
        name: that it has proved to be called; empty for one that is not there.
        until: when that has to be looked at again, by the clock that the table is given.
        host: IP address of a found one; empty for one of the operator's list.
        at: when a found one made its name known, in seconds since 1970.
        failures: since it proved itself last.
        start: of it that it proved; requests are for that alone.
    """

    url: str
    name: str = ""
    until: float = 0.0
    host: str = ""
    at: int = 0
    failures: int = 0
    start: str = ""


class Members:
    """The other runners' nodes.

    Args:
        given: base URLs of the operator's list.
    """

    def __init__(self, given: Sequence[str]) -> None:
        self._given = [Member(each.rstrip("/")) for each in given]
        self._found: list[Member] = []

    @property
    def there(self) -> dict[str, Member]:
        """Those that have proved themselves, by name; of two that are one, that of the list."""
        return {each.name: each for each in (*self._found, *self._given) if each.name}

    def all(self) -> list[Member]:
        """Return all: the operator's first."""
        return [*self._given, *self._found]

    def url_of(self, name: str) -> str | None:
        """Return where a node is reached, by its name; None if that is not known."""
        found = self.there.get(name)
        return None if found is None else found.url

    def at(self, url: str) -> Member | None:
        """Return the node at a base URL that has proved itself; None if there is none."""
        return next((each for each in self.all() if each.url == url and each.name), None)

    def hear(self, label: RunnerLabel) -> None:
        """Note a node that was heard of, if it may be asked and there is a place for it.

        Args:
            label: that somebody of the fleet wrote.

        Raises:
            UrlError: nobody is to be led to such an address.
        """
        url = url_of_label(label)
        known = next((each for each in self.all() if each.url == url), None)
        if known is not None:
            if label.at > known.at and known.host:
                known.at = label.at
                known.until = known.until if known.name else 0.0
            return
        same = [each for each in self._found if each.host == label.host]
        if len(same) >= MAX_OF_ADDRESS and not self._displace(same):
            return
        if len(self._found) >= MAX_FOUND and not self._displace(self._found):
            return
        self._found.append(Member(url, host=label.host, at=label.at))

    def _displace(self, among: list[Member]) -> bool:
        """Give up the one that failed most, then the oldest; tells whether there was one."""
        failed = [each for each in among if each.failures]
        if failed:
            self._found.remove(min(failed, key=lambda each: (-each.failures, each.at)))
        return bool(failed)

    def due(self, now: float, *, found: bool) -> list[Member]:
        """Return those of the list, or the found ones, that have to prove themselves now."""
        return [each for each in (self._found if found else self._given) if each.until <= now]

    def next_due(self) -> float:
        """Return when the next found one is due; infinite if there is none."""
        return min((each.until for each in self._found), default=float("inf"))

    def proved(self, member: Member, name: str, start: str, now: float) -> None:
        """Note that one has proved itself.

        Args:
            member: it.
            name: that it is called.
            start: of it.
            now: by the clock of the table.
        """
        member.name, member.start, member.failures = name, start, 0
        member.until = now + KNOWN_SECONDS

    def started_anew(self, member: Member) -> None:
        """Note that one has another start than the one it proved, and has to prove that."""
        member.name, member.until = "", 0.0

    def failed(self, member: Member, now: float) -> None:
        """Note that one has not, or gives nothing: it counts no more until it proves itself."""
        member.name = ""
        member.failures += 1
        pause = GONE_SECONDS * 2 ** min(member.failures - 1, 10) if member.host else GONE_SECONDS
        member.until = now + min(pause, MOST_GONE_SECONDS)

    def expire(self, now: int) -> None:
        """Forget found ones whose names have run out; ``now`` is in seconds since 1970."""
        self._found = [each for each in self._found if each.name or each.at > now - VALID_SECONDS]


def url_of_label(label: RunnerLabel) -> str:
    """Return the base URL of a node that was heard of.

    Raises:
        UrlError: nobody is to be led to such an address.
    """
    if not may_contact(address_class(label.host), AddressClass.PRIVATE):
        raise UrlError(f"{label.host} is not contacted on the word of others")
    return found_endpoint(label.host, label.port, "/", "http").url.rstrip("/")
