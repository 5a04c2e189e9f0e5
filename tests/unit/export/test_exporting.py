"""Exports step by step: what a reader finds at each, who is cut short where, what goes when."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gittorrent.durable import locked
from gittorrent.errors import LocalError, UsageError
from gittorrent.export.contents import ChangedMeanwhileError, Contents, read_contents
from gittorrent.export.directory import Directory
from gittorrent.export.exporting import Exported, Exporter, OlderCopyError
from gittorrent.export.inventory import HEADS, INVENTORY, STATE
from gittorrent.export.place import BusyPlaceError, Place
from gittorrent.export.verifying import Verified, verify_export
from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from gittorrent.transfer.repository_content import RepositoryContent
from support import nodes
from support.places import Forever, Memory, misses

DAY = 86_400


@dataclass
class Export:
    """One repository that is exported again and again, by a clock that is set."""

    carried: Carried
    key: Signer
    now: float = 1_000_000.0
    keep: int = 7 * DAY
    bundles: bool = False
    numbers: list[int] = field(default_factory=list)

    def contents(self) -> Contents:
        return read_contents(RepositoryContent(self.carried), (), bundles=self.bundles)

    def to(self, place: Place, *, again: bool = False) -> Exported:
        exporter = Exporter(place, self.keep, lambda: self.now, _hear_nothing, again=again)
        with place.held() as hold:
            return exporter.run(self.contents, hold)[1]

    def grow(self) -> None:
        """Publish one commit more."""
        self.numbers.append(0)
        name = f"file{len(self.numbers)}"
        nodes.add_commit(self.carried.layout.git_dir, "refs/heads/main", name, name.encode())
        self.carried = nodes.publish(self.carried.layout.git_dir, self.key, None)


def _hear_nothing(phase: str, done: int, total: int) -> None:
    """Show no progress."""


@pytest.fixture
def export(tmp_path: Path) -> Export:
    key = nodes.signer(tmp_path)
    made = nodes.make_repository(tmp_path / "project.git")
    return Export(nodes.publish(made, key, "project"), key)


class Killed(BaseException):
    """The process is gone."""


def dying_at(step: int) -> Callable[[str], None]:
    """Return what kills the process before its ``step``-th file, from 0."""
    left = [step]

    def die(_name: str) -> None:
        if not left[0]:
            raise Killed
        left[0] -= 1

    return die


@pytest.mark.parametrize("bundles", [False, True])
def test_readers_find_what_they_are_told_of_wherever_it_ends(export: Export, bundles: bool) -> None:
    """It is killed before each file in turn; the next one finishes, and comes to the same."""
    export.bundles = bundles
    older = Memory()
    export.to(older)
    assert misses(older.files) == []
    export.grow()
    whole = Memory(dict(older.files))
    export.to(whole)
    whole.steps.clear()
    for step in range(100):
        place = Memory(dict(older.files), before=dying_at(step))
        try:
            export.to(place)
        except Killed:
            assert misses(place.files) == [], f"after {place.steps}"
        else:
            assert step > 6
            assert place.files == whole.files
            break
        place.before = dying_at(100)
        export.to(place)
        assert misses(place.files) == []
        assert place.files == whole.files


def test_nothing_is_sent_twice(export: Export) -> None:
    place = Memory()
    first = export.to(place)
    assert first.sent == len(place.files) - 1
    place.steps.clear()
    again = export.to(place)
    assert (again.sent, again.changed, again.current) == (0, False, first.sent)
    assert place.steps == []
    export.grow()
    assert 0 < export.to(place).sent < first.sent
    export.to(place, again=True)
    assert len(place.steps) > first.sent


def test_the_list_of_mirrors_is_replaced_last(export: Export) -> None:
    place = Memory()
    export.to(place)
    written = [step.removeprefix("write ") for step in place.steps]
    assert written[0] == INVENTORY
    assert written[-len(HEADS) :] == list(HEADS)


def test_what_was_superseded_goes_when_its_time_is_over(export: Export) -> None:
    export.bundles = True
    place = Memory()
    export.to(place)
    export.bundles = False
    (bundle,) = (name for name in place.files if name.startswith("bundles/"))
    assert export.to(place).superseded == 1
    export.now += export.keep - 1
    assert export.to(place).removed == 0
    assert bundle in place.files
    export.now += 1
    assert export.to(place).removed == 1
    assert bundle not in place.files
    assert bundle.encode() not in place.files[INVENTORY]


def test_what_it_did_not_write_stays(export: Export) -> None:
    place = Memory({"index.html": b"ours\n", f"reels/{'1' * 64}.pack": b"theirs"})
    export.keep = 0
    export.to(place)
    export.now += DAY
    export.to(place)
    assert place.files["index.html"] == b"ours\n"
    assert place.files[f"reels/{'1' * 64}.pack"] == b"theirs"


def test_somebody_elses_files_are_not_replaced(export: Export) -> None:
    place = Memory({"mirror-list": b"repo\n"})
    with pytest.raises(UsageError, match="no export wrote it"):
        export.to(place)
    assert place.steps == []


def test_another_repositorys_place_is_not_taken(export: Export, tmp_path: Path) -> None:
    place = Memory()
    export.to(place)
    other = nodes.make_repository(tmp_path / "other.git", 50)
    with pytest.raises(UsageError, match="has an export of"):
        Export(nodes.publish(other, export.key, "other"), export.key).to(place)


def test_a_place_is_not_taken_back(export: Export, tmp_path: Path) -> None:
    older = nodes.copy_as_mirror(export.carried, tmp_path / "older.git", "")
    export.grow()
    place = Memory()
    export.to(place)
    behind = Export(older, export.key)
    with pytest.raises(OlderCopyError, match="not known here"):
        behind.to(place)
    behind.to(place, again=True)
    assert misses(place.files) == []


def test_a_repository_that_changes_meanwhile_is_read_anew(export: Export) -> None:
    place, asked = Memory(), [0]
    exporter = Exporter(place, DAY, lambda: export.now, _hear_nothing)

    def read() -> Contents:
        asked[0] += 1
        if asked[0] == 1:
            raise ChangedMeanwhileError("a pack is gone")
        return export.contents()

    exporter.run(read, Forever())
    assert asked == [2]
    assert misses(place.files) == []


def test_a_damaged_pack_is_not_passed_on(export: Export) -> None:
    (reel,) = export.carried.reels.all()
    data = bytearray(reel.pack.read_bytes())
    data[20] ^= 1
    reel.pack.chmod(0o600)
    reel.pack.write_bytes(data)
    place = Memory()
    with pytest.raises(LocalError, match="is damaged"):
        export.to(place)
    assert f"reels/{reel.id}.pack" not in place.files
    assert "mirror-list" not in place.files


def test_only_what_reels_lead_to_is_exported(export: Export) -> None:
    """Pushes that no checkpoint took have objects that a server of files cannot give."""
    latest = export.carried.log().head
    place = Memory()
    nodes.push_to_main(export.carried, export.key, b"not taken yet\n")
    export.to(place)
    assert misses(place.files) == []
    assert f"latest {latest}".encode() in place.files["mirror-list"]
    assert b"pushes" not in place.files["mirror-list"]


def test_a_directory(export: Export, tmp_path: Path) -> None:
    memory, folder = Memory(), tmp_path / "www" / "project"
    export.bundles = True
    export.to(memory)
    export.to(Directory(folder))
    export.grow()
    export.to(memory)
    left = folder / STATE / "new"
    left.mkdir(exist_ok=True)
    (left / "large").write_bytes(b"left by one that was killed")
    done = export.to(Directory(folder))
    assert done.sent
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock"
    }
    assert files == memory.files
    assert export.to(Directory(folder)).sent == 0


@pytest.mark.parametrize("name", ["pushes", "reels", "bundles", STATE, f"{STATE}/new"])
def test_links_that_lead_elsewhere_are_not_followed(
    export: Export, tmp_path: Path, name: str
) -> None:
    """Whoever may write to the place would choose where this user's files go."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "large").write_bytes(b"somebody's")
    link = tmp_path / "www" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    with pytest.raises(UsageError, match="symbolic link"):
        export.to(Directory(tmp_path / "www"))
    assert [path.name for path in elsewhere.iterdir()] == ["large"]


@pytest.mark.parametrize("name", ["mirror-list", "pushes/index", f"{STATE}/inventory"])
def test_what_is_no_file_is_not_read(export: Export, tmp_path: Path, name: str) -> None:
    """To open a named pipe waits for whoever writes to it, which may be nobody."""
    export.to(Directory(tmp_path / "www"))
    (tmp_path / "www" / name).unlink()
    os.mkfifo(tmp_path / "www" / name)
    with pytest.raises(UsageError, match="is no file"):
        export.to(Directory(tmp_path / "www"))


def test_sha256(tmp_path: Path) -> None:
    key = nodes.signer(tmp_path)
    made = nodes.make_repository(tmp_path / "project.git", object_format="sha256")
    export = Export(nodes.publish(made, key, "project"), key, bundles=True)
    place = Memory()
    export.to(place)
    assert misses(place.files) == []
    assert verify_export(place, export.contents(), _hear_nothing).findings == ()


def test_one_exporter_at_a_time(export: Export, tmp_path: Path) -> None:
    with locked(tmp_path / STATE / "lock"), pytest.raises(BusyPlaceError):
        export.to(Directory(tmp_path))


def test_a_git_repository_is_no_place(export: Export, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="git repository"):
        Directory(export.carried.layout.git_dir)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="no directory"):
        Directory(tmp_path / "file")


def problems(found: Verified) -> dict[str, str]:
    return {finding.subject: finding.problem for finding in found.findings}


def test_what_is_right_is_found_right(export: Export) -> None:
    export.bundles = True
    place = Memory()
    export.to(place)
    place.steps.clear()
    found = verify_export(place, export.contents(), _hear_nothing)
    assert (found.findings, found.unknown, found.behind) == ((), 0, 0)
    assert found.files == len(export.contents().files)
    export.grow()
    later = verify_export(place, export.contents(), _hear_nothing)
    assert later.findings == ()
    assert later.behind == 1
    assert place.steps == []


@pytest.mark.parametrize("name", ["pushes/index", "reels/index", "bundle-list", "mirror-list"])
@pytest.mark.parametrize("data", [None, b"", b"\xff\0 x\n", b"have bundle\n", b"\turi = ../../x\n"])
def test_heads_that_are_damaged_or_gone(export: Export, name: str, data: bytes | None) -> None:
    """No line of a stranger's makes it look anywhere else, or fail in another way."""
    place = Memory()
    export.to(place)
    if data is None:
        del place.files[name]
    else:
        place.files[name] = data
    found = verify_export(place, export.contents(), _hear_nothing)
    if data is None or name == "mirror-list":
        assert name in problems(found)


def test_each_file_is_read_back(export: Export) -> None:
    export.bundles = True
    place = Memory()
    export.to(place)
    contents = export.contents()
    assert RepositoryContent(export.carried).tags()
    for name in contents.files:
        whole = place.files.pop(name)
        assert problems(verify_export(place, contents, _hear_nothing)) == {
            name: "is named and not there"
        }
        for other in (whole[:-1], whole + b"x", whole[:-1] + bytes([whole[-1] ^ 1]), b""):
            place.files[name] = other
            assert problems(verify_export(place, contents, _hear_nothing)) == {
                name: "is not what the repository here has"
            }
        place.files[name] = whole
