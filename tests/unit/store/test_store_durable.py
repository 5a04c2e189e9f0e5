"""Files that are written together are there whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from gittorrent.durable import SYNCED_TOGETHER, write_all


def test_many_files_at_once(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "folder"
    files = {f"f{number}": b"%d" % number for number in range(3 * SYNCED_TOGETHER)}
    write_all(directory, files)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == files
    write_all(directory, {"f0": b"anew"})
    assert (directory / "f0").read_bytes() == b"anew"
    assert len(list(directory.iterdir())) == len(files)


def test_one_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    files = {"a": b"", "x" * 300: b"", "b": b""}
    with pytest.raises(OSError, match="too long"):
        write_all(tmp_path, files)
    assert not list(tmp_path.iterdir())
