"""What is noted of a mirror's objects spares a walk, and never stands in its way."""

from __future__ import annotations

from pathlib import Path

import pytest

from gittorrent.repository import completeness
from gittorrent.repository.carried import Carried
from support import nodes


@pytest.fixture
def carried(tmp_path: Path) -> Carried:
    key = nodes.signer(tmp_path)
    return nodes.publish(nodes.make_repository(tmp_path / "r.git"), key, "project")


def note_of(carried: Carried) -> Path:
    return carried.log_store.path.with_name("complete")


@pytest.mark.parametrize("note", ["", "x", "{head}\nnot a size", "{head}\nloose 9x\n", "\xff"])
def test_a_damaged_note_is_made_anew(carried: Carried, note: str) -> None:
    (head,) = carried.log_store.ids()[-1:]
    note_of(carried).write_bytes(note.format(head=head).encode("latin-1"))
    assert completeness.is_complete(carried, head)
    assert note_of(carried).read_text().startswith(f"{head}\n")


def test_what_is_noted_is_not_walked_again_and_what_is_lost_is(carried: Carried) -> None:
    (head,) = carried.log_store.ids()[-1:]
    completeness.record_complete(carried)
    before = note_of(carried).stat().st_ino
    assert completeness.is_complete(carried, head)
    assert note_of(carried).stat().st_ino == before
    for path in carried.layout.objects.rglob("*"):
        if path.is_file():
            path.unlink()
    assert not completeness.is_complete(carried, head)
    assert not note_of(carried).exists()
