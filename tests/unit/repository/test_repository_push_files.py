"""Push objects on disk: alone and together, whichever copy is the newest, and damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from gittorrent.durable import Batch
from gittorrent.ids import PushId
from gittorrent.repository.layout import Layout
from gittorrent.repository.push_files import FEW, PushFiles, listed_in


def ids(start: int, count: int) -> list[PushId]:
    return [PushId(f"{number:040x}") for number in range(start, start + count)]


def content(push: PushId, copy: int = 0) -> bytes:
    return b"%d " % copy + push.encode() * (1 + int(push, 16) % 3)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


def add(layout: Layout, pushes: list[PushId], copy: int = 0) -> None:
    with Batch() as batch:
        PushFiles(layout).add(batch, {push: content(push, copy) for push in pushes})


def test_many_are_one_file(layout: Layout) -> None:
    files, many = PushFiles(layout), ids(0, 1000)
    assert files.read(many[0]) is None
    add(layout, many)
    assert len(list(layout.push_packs.iterdir())) == 1
    assert not layout.pushes.exists()
    for reader in (files, PushFiles(layout)):
        assert [reader.read(push) for push in many] == [content(push) for push in many]
        assert reader.read(PushId("f" * 40)) is None


def test_few_have_a_file_each(layout: Layout) -> None:
    """As all of them had before; older stores are read on."""
    few = ids(0, FEW)
    add(layout, few)
    assert not layout.push_packs.exists()
    assert {path.name for path in layout.pushes.iterdir()} == set(few)
    add(layout, ids(0, 100))
    assert [PushFiles(layout).read(push) for push in ids(0, 100)] == list(map(content, ids(0, 100)))
    (pack,) = layout.push_packs.iterdir()
    assert {push for push, _, _ in listed_in(pack)} == set(ids(FEW, 100 - FEW))


def test_a_later_copy_counts(layout: Layout) -> None:
    reader, many = PushFiles(layout), ids(0, 50)
    add(layout, many)
    assert reader.read(many[3]) == content(many[3])
    add(layout, [many[3]], copy=1)
    assert reader.read(many[3]) == content(many[3], copy=1)
    add(layout, [*many[:20], *ids(50, 20)], copy=2)
    for found in (reader, PushFiles(layout)):
        assert [found.read(push) for push in many[:20]] == [content(p, copy=2) for p in many[:20]]
        assert found.read(many[30]) == content(many[30])
        assert found.read(PushId(f"{60:040x}")) == content(PushId(f"{60:040x}"), copy=2)


@pytest.mark.parametrize("damage", [b"", b"gittorrent pushes 2 1\n", b"gittorrent pushes 1 x\n"])
def test_a_file_that_was_not_written_here(layout: Layout, damage: bytes) -> None:
    add(layout, ids(0, 20))
    (layout.push_packs / "other").write_bytes(damage)
    assert PushFiles(layout).read(ids(5, 1)[0]) == content(ids(5, 1)[0])


def test_a_file_that_was_cut_off(layout: Layout) -> None:
    """What is there is there; the rest is missing, and is said to be."""
    many = ids(0, 20)
    add(layout, many)
    (pack,) = layout.push_packs.iterdir()
    pack.write_bytes(pack.read_bytes()[:-5])
    reader = PushFiles(layout)
    assert reader.read(many[0]) == content(many[0])
    assert reader.read(many[-1]) is None
    pack.write_bytes(pack.read_bytes()[:100])
    assert PushFiles(layout).read(many[0]) is None
