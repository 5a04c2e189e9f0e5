"""What the commands that sign have in common: they first ask mirrors for what is newer.

Nobody is asked where a running node of the same home hears of news anyway, nor where no mirror is
known: then it costs two queries of the database, and what transfers data is not even loaded. The
hook that publishes pushes asks nobody either: it works for whoever pushes, who has another home and
waits, and it knows of no mirrors.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import click

from gittorrent.cli.output import count
from gittorrent.printable import printable
from gittorrent.store.processes import NodeProcess
from gittorrent.store.snapshot import read_snapshots
from gittorrent.transfer.reaching import known_to_owner

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.push.log import VerifiedLog
    from gittorrent.repository.carried import Carried
    from gittorrent.store.database import Database
    from gittorrent.store.home import Home
    from gittorrent.transfer.owner_news import News
    from gittorrent.trust.policy import Policy

offline_option = click.option(
    "--offline", is_flag=True, help="Do not ask mirrors first for what others pushed there."
)


def take_news(
    carried: Carried,
    log: VerifiedLog,
    home: Home,
    database: Database,
    say: Callable[[str], None],
) -> bool:
    """Take in what mirrors have that is newer, as far as they say so in time.

    Args:
        carried: the repository, an origin or a mirror.
        log: its log, not empty.
        home: of the node.
        database: of the node.
        say: told what was taken in, and what keeps it from being complete.

    Returns:
        Whether anything was, so that ``log`` is out of date.

    Raises:
        LocalError: this machine let us down.
    """
    if _hears_of_news(home, log):
        return False
    sources = known_to_owner(log, database, home, int(time.time()))
    if not sources:
        return False
    from gittorrent.git.repository import read_config
    from gittorrent.git.runner import Git
    from gittorrent.interruptions import run
    from gittorrent.terminal import TerminalReporter
    from gittorrent.transfer.context import Context
    from gittorrent.transfer.owner_news import OwnerNews
    from gittorrent.transfer.settings import read_settings

    limit = read_settings(read_config(home.root)).max_bytes
    with contextlib.closing(TerminalReporter(quiet=True)) as reporter:
        context = Context(database, home, Git(home.root), reporter, max_bytes=limit)
        done: News = run(OwnerNews(carried, sources, context).take())
    if done.urls:
        say(printable(f"took in {_words(done)} that {' and '.join(done.urls)} had"))
    for failure in done.failures:
        say(printable(f"warning: {failure}"))
    if not done.answered and _has_others(log.policy.policy):
        say(
            f"warning: of {count(len(sources), 'mirror')} known none answers: what others pushed"
            " there is not taken in"
        )
    return bool(done.urls)


def _words(done: News) -> str:
    """Say what was taken in: how many of what."""
    policies = count(done.policies, "version") + " of the policy" if done.policies else ""
    pushes = count(done.pushes, "push") if done.pushes else ""
    checkpoints = count(done.checkpoints, "checkpoint") if done.checkpoints else ""
    return " and ".join(filter(None, (pushes, policies, checkpoints))) or "log entries"


def _hears_of_news(home: Home, log: VerifiedLog) -> bool:
    """Tell whether a node that runs here is up to date, by its conversations with mirrors."""
    nodes = (each for each in read_snapshots(home.run) if isinstance(each, NodeProcess))
    return any(log.repository in node.current for node in nodes)


def _has_others(policy: Policy) -> bool:
    """Tell whether there is more than one key that can have pushed or signed anything."""
    keys = {rule.who for rule in policy.rules}
    return len({*keys, *policy.roots, policy.keeper}) > 1
