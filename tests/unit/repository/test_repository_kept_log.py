"""A log that a node has open for long: what it keeps in memory of what came."""

from __future__ import annotations

import gc
from pathlib import Path

from gittorrent.push.certificate import Line
from gittorrent.push.chain import Point
from gittorrent.repository.carried import open_carried
from gittorrent.repository.kept_log import KeptLog
from gittorrent.repository.signed_entries import Author, EntrySigner
from support.depot_client import MAIN, Client
from support.signing import TestSigner

MOST = 8


def sign(kept: KeptLog) -> None:
    """Sign a checkpoint over what the log shows."""
    with kept.changing() as log:
        author = Author(b"P Usher <push@example.org>")
        EntrySigner(kept.carried, log, TestSigner(), author).checkpoint()
        kept.commit(log)


def points() -> int:
    """Return how many checkpoints are in memory with the refs that they come to."""
    gc.collect()
    return sum(isinstance(each, Point) for each in gc.get_objects())


def test_what_came_is_not_kept_for_ever(tmp_path: Path) -> None:
    client = Client(tmp_path)
    kept = KeptLog(open_carried(client.git_dir), most_grown=MOST)
    before = points()
    for _ in range(4 * MOST):
        sign(kept)
        assert kept.shown().head == kept.carried.log().head
    assert points() - before <= MOST + 2
    with kept.reading() as log:
        assert log.number > 4 * MOST
        assert len(log.entries) > 4 * MOST
    fresh = open_carried(client.git_dir).log_store
    fresh.replay()
    assert fresh.entries() == log.entries


def test_pushes_wait_while_the_log_is_read_again(tmp_path: Path) -> None:
    client = Client(tmp_path)
    kept = KeptLog(open_carried(client.git_dir), most_grown=0)
    old, new = client.main, client.commit()
    client.send(client.certificate(Line(old, new, MAIN)), client.pack(new, f"^{old}"))
    (accepted,) = client.accepted
    with kept.reading() as log:
        assert [push.id for push in log.unfinal] == [accepted.id]
    sign(kept)
    assert not kept.shown().unfinal
    assert open_carried(client.git_dir).log().refs[MAIN] == new
