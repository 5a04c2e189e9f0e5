"""The state at a checkpoint as bytes: it comes back, and damage does not go unseen."""

from __future__ import annotations

import pytest

from gittorrent.ids import SHA1
from gittorrent.push.certificate import Line
from gittorrent.push.listing import BEGINNING
from gittorrent.push.snapshot import Snapshot, SnapshotError, load_snapshot
from support.logs import LINE, MAIN, Writer, certificate, oid


def written() -> Writer:
    """Write a log with deleted refs, an open conflict and many refs."""
    writer = Writer()
    writer.push({MAIN: oid(1), **{b"refs/heads/b/%d" % number: oid(1) for number in range(300)}})
    writer.keep()
    for number in range(5):
        writer.push({b"refs/heads/b/%d" % number: None, b"refs/heads/b/100": oid(2 + number)})
        if number % 2:
            writer.keep()
    nonce = writer.state.ledger.nonce()
    writer.append(certificate(writer.signer, nonce, [Line(oid(9), oid(LINE), MAIN)]))
    writer.keep()
    return writer


def test_what_was_kept_goes_on_as_what_was_not() -> None:
    writer = written()
    point = writer.state.ledger.adopted
    signed = writer.state.checkpoint(point.id)
    kept = load_snapshot(Snapshot.of(point).dump(), SHA1).point(signed, point.policy)
    assert kept.listing.refs() == point.listing.refs()
    assert len(list(point.listing.conflicts())) == 1
    assert list(kept.listing.conflicts()) == list(point.listing.conflicts())
    assert kept.listing.shown_refs() == writer.state.refs
    for number in (3, 10):
        ours, theirs = (each.listing.sweep(number) for each in (kept, point))
        assert sorted(ours[1]) == sorted(theirs[1])
        assert ours[0].digest == theirs[0].digest
        assert ours[0].whole_text() == theirs[0].whole_text()
    for name in ("taken", "numbers", "times"):
        assert dict(getattr(kept, name)) == dict(getattr(point, name))
    assert (kept.keeper_since, kept.unlisted) == (point.keeper_since, point.unlisted)
    key = writer.signer.key
    assert kept.listing.open_of(key) == point.listing.open_of(key) == 1
    assert kept.listing.clashes(MAIN.__class__(b"refs/heads/b"))
    again = load_snapshot(Snapshot.of(kept).dump(), SHA1).point(signed, point.policy)
    assert again.listing.whole_text() == point.listing.whole_text()


def test_each_entry_is_read_as_it_was() -> None:
    writer = written()
    point = writer.state.ledger.adopted
    entries = dict(point.listing.entries)
    assert any(entry.value is None for entry in entries.values())
    assert any(entry.conflicts for entry in entries.values())
    assert any(entry.value is not None and entry.mark != BEGINNING for entry in entries.values())
    kept = load_snapshot(Snapshot.of(point).dump(), SHA1)
    assert {name: kept.listing.entries.get(name) for name in entries} == entries


def test_a_damaged_one_is_none() -> None:
    writer = written()
    point = writer.state.ledger.adopted
    data = Snapshot.of(point).dump()
    harmed = [data[:100], data[:-1], data + b"x", b"", data.replace(b"snapshot 2", b"snapshot 1")]
    for place in range(0, len(data), len(data) // 50):
        harmed.append(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    for each in harmed:
        with pytest.raises(SnapshotError):
            load_snapshot(each, SHA1)


def test_one_of_another_checkpoint_is_none() -> None:
    writer = written()
    before = Snapshot.of(writer.state.ledger.adopted)
    newer = writer.state.checkpoint(writer.publish({MAIN: oid(50)}))
    with pytest.raises(SnapshotError, match="is not of checkpoint"):
        before.point(newer, writer.state.ledger.adopted.policy)
