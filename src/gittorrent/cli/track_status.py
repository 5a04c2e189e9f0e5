"""What ``gittorrent status`` says of each plain git server that this node tracks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.cli.output import count
from gittorrent.store.tracks import TrackTable
from gittorrent.terminal import show_duration

if TYPE_CHECKING:
    from gittorrent.store.database import Database


class TrackStatus(Struct, frozen=True):
    """One upstream, as ``--json`` shows it; times are seconds since 1970, None for never.

    Args:
        name: under which it is published.
        upstream: its URL.
        every: seconds between looks; None where no node looks.
        refs: patterns of further refs, and with ``^`` of refs that are left out.
        webhook: whether webhooks are taken.
        paused: whether somebody paused it.
        by_config: whether the node's configuration names it.
        succeeded: when it last answered and all that it has was published.
        failed: when a look last failed.
        error: why; empty if never.
        failures: how often since the last success.
        next: when the node looks again.
    """

    name: str
    upstream: str
    every: int | None
    refs: list[str]
    webhook: bool
    paused: bool
    by_config: bool
    succeeded: int | None
    failed: int | None
    error: str
    failures: int
    next: int | None


def track_statuses(database: Database) -> list[TrackStatus]:
    """Return what there is to say of all that is tracked, by name."""
    table = TrackTable(database)
    found = []
    for track in table.all():
        state = table.state(track.name)
        found.append(
            TrackStatus(
                name=track.name,
                upstream=track.url,
                every=track.every or None,
                refs=list(track.patterns),
                webhook=bool(track.secret),
                paused=track.paused,
                by_config=track.by_config,
                succeeded=state.succeeded or None,
                failed=state.failed or None,
                error=state.error,
                failures=state.failures,
                next=state.next or None,
            )
        )
    return found


def describe_track(track: TrackStatus, now: float) -> str:
    """Return the same for people, in one line.

    Args:
        track: the upstream.
        now: seconds since 1970.
    """

    def ago(moment: int | None) -> str:
        return f"{show_duration(max(0.0, now - (moment or 0)))} ago"

    if track.failures:
        words = f"no news {ago(track.failed)} ({count(track.failures, 'failure')}): {track.error}; "
        words += (
            "it never answered before"
            if track.succeeded is None
            else f"all of it was published {ago(track.succeeded)}"
        )
    elif track.succeeded is None:
        words = "not looked at yet"
    else:
        words = f"all of it was published {ago(track.succeeded)}"
    return f"tracks {track.upstream}: {words}{_next_look(track, now)}"


def _next_look(track: TrackStatus, now: float) -> str:
    if track.paused:
        return "; paused until 'gittorrent resume'"
    if track.every is None:
        return "; looked at by 'gittorrent track --once' alone"
    if track.next is None or track.next < now:
        return ""
    return f"; looks again in {show_duration(track.next - now)}"
