"""Packs taken with a signed index: what is owed, what a check finds, and what crashes leave."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from gittorrent.durable import locked
from gittorrent.errors import LocalError
from gittorrent.git.refused import (
    WORDS,
    RefusedRepositoryError,
    admit_again,
    refusal,
    refuse_repository,
    require_admitted,
)
from gittorrent.git.repository import (
    NotARepositoryError,
    UnsuitableRepositoryError,
    create_bare,
    find_repository,
    require_complete,
)
from gittorrent.git.runner import Git
from gittorrent.ids import SHA1, SHA256, ObjectFormat, Oid
from gittorrent.reel.index_manifest import index_manifest
from gittorrent.reel.manifest import Manifest
from gittorrent.repository.carried import Carried
from gittorrent.repository.index_check import FalseIndexError, IndexCheck
from gittorrent.repository.layout import Layout
from gittorrent.repository.receive import LyingReelError, SignedManifest, receiving
from gittorrent.repository.reelstore import ReelStore, StoredReel
from gittorrent.repository.unchecked import Owed, Unchecked
from support import gitcmd
from support.indexes import BEYOND_THE_INDEX, BEYOND_THE_PACK, put_all_offsets, swap_offsets
from support.programs import GITS, somebody
from support.publishing import builder, carried, grow, publish
from support.repositories import Builder
from support.signing import TestSigner

SIGNER = TestSigner()


@pytest.fixture
def origin(tmp_path: Path) -> Builder:
    made = builder(tmp_path / "project.git")
    grow(made, 40)
    publish(made.git_dir, name="project")
    return made


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    create_bare(tmp_path / "clone.git", SHA1)
    return Layout(tmp_path / "clone.git")


def reel_of(origin: Builder) -> StoredReel:
    (reel,) = carried(origin.git_dir).reels.all()
    return reel


def signed(manifest: Manifest) -> SignedManifest:
    return SignedManifest(manifest, SIGNER.sign(manifest.text()), SIGNER.key)


def take(origin: Builder, layout: Layout, idx: bytes | None = None) -> None:
    """Take the origin's reel with an index as it was signed, its own by default."""
    reel = reel_of(origin)
    data = reel.pack.with_suffix(".idx").read_bytes() if idx is None else idx
    place = layout.git_dir.parent / "taken.idx"
    place.unlink(missing_ok=True)
    place.write_bytes(data)
    wire = layout.git_dir.parent / "taken.pack"
    wire.unlink(missing_ok=True)
    wire.write_bytes(reel.pack.read_bytes())
    index = index_manifest(reel.manifest, io.BytesIO(data), len(data))
    tips = [
        Oid(oid) for name, oid in gitcmd.refs(origin.git_dir).items() if b"gittorrent" not in name
    ]
    with receiving(layout, SHA1, ReelStore(layout)) as receiver:
        receiver.take_with_index(signed(reel.manifest), wire, signed(index), place, tips)
        receiver.check(tips, ())
        receiver.install(keep=False)
    for name, oid in gitcmd.refs(origin.git_dir).items():
        if b"gittorrent" not in name:
            gitcmd.git(layout.git_dir, "update-ref", name.decode(), oid)


def false_index(origin: Builder, tmp_path: Path) -> bytes:
    false = tmp_path / "false.idx"
    false.write_bytes(reel_of(origin).pack.with_suffix(".idx").read_bytes())
    # Not the tip itself: git looks at that when it writes refs.
    swap_offsets(false, *gitcmd.text(origin.git_dir, "rev-list", "-3", "main").split()[1:])
    return false.read_bytes()


@pytest.fixture
def distrusted() -> list[tuple[Owed, str]]:
    return []


@pytest.fixture
def check(layout: Layout, distrusted: list[tuple[Owed, str]]) -> IndexCheck:
    return IndexCheck(layout, lambda owed, why: distrusted.append((owed, why)))


def test_a_true_index_is_owed_and_paid(
    origin: Builder, layout: Layout, check: IndexCheck, distrusted: list[object]
) -> None:
    assert check.run(wait=True) == 0
    take(origin, layout)
    gitcmd.git(layout.git_dir, "fsck", "--strict")
    (owed,) = Unchecked(layout).owed()
    assert (owed.manifest, owed.key) == (reel_of(origin).id, str(SIGNER.key))
    pack = layout.pack(reel_of(origin).manifest.pack_checksum)
    assert not pack.with_suffix(".rev").exists()
    assert check.run(wait=True) == 1
    assert pack.with_suffix(".rev").exists()
    assert Unchecked(layout).is_empty
    assert check.run(wait=True) == 0
    assert distrusted == []
    assert Carried(layout.git_dir, SHA1).indexes.all()[0].pack == pack.with_suffix(".idx")
    gitcmd.git(layout.git_dir, "fsck", "--strict")


def test_a_false_one_is_found_named_and_mended(
    origin: Builder, layout: Layout, check: IndexCheck, distrusted: list[tuple[Owed, str]],
    tmp_path: Path,
) -> None:  # fmt: skip
    take(origin, layout, false_index(origin, tmp_path))
    with pytest.raises(FalseIndexError, match="gave objects out for others"):
        check.run(wait=True)
    assert [owed.key for owed, _ in distrusted] == [str(SIGNER.key)]
    assert check.run(wait=True) == 0
    with pytest.raises(RefusedRepositoryError, match=str(SIGNER.key)):
        require_admitted(layout.git_dir)
    with pytest.raises(NotARepositoryError, match="is not to be used"):
        find_repository(layout.git_dir)
    assert b"not-verified-see-gittorrent-alarm" in Git(layout.git_dir).attempt("log").stderr
    assert check.admit()
    assert not check.admit()
    gitcmd.git(layout.git_dir, "fsck", "--strict")


@pytest.mark.parametrize("offset", [0, BEYOND_THE_PACK, BEYOND_THE_INDEX])
def test_one_that_git_cannot_follow_is_a_lie_and_not_a_failure_here(
    origin: Builder, layout: Layout, tmp_path: Path, offset: int
) -> None:
    """So a clone goes on in the ordinary way, and the key is believed no more."""
    false = tmp_path / "false.idx"
    false.write_bytes(reel_of(origin).pack.with_suffix(".idx").read_bytes())
    put_all_offsets(false, offset)
    with pytest.raises(LyingReelError, match="lacks what refs point at") as raised:
        take(origin, layout, false.read_bytes())
    assert raised.value.key == SIGNER.key
    assert Unchecked(layout).is_empty
    assert not list(layout.objects.glob("pack/*"))


def test_what_git_has_repacked_is_checked_all_the_same(
    origin: Builder, layout: Layout, check: IndexCheck, tmp_path: Path
) -> None:
    take(origin, layout, false_index(origin, tmp_path))
    place = layout.pack(reel_of(origin).manifest.pack_checksum)
    for suffix in (".idx", ".pack"):
        place.with_suffix(suffix).unlink()
    with pytest.raises(FalseIndexError):
        check.run(wait=True)
    assert refusal(layout.git_dir) is not None
    assert not place.with_suffix(".idx").exists()


def test_git_leaves_a_pack_alone_until_it_is_checked(
    origin: Builder, layout: Layout, check: IndexCheck
) -> None:
    """What git would write by a false index has false objects and a true checksum."""
    take(origin, layout)
    gitcmd.git(layout.git_dir, "hash-object", "-w", "--stdin", stdin=b"of the user\n")
    place = layout.pack(reel_of(origin).manifest.pack_checksum)
    for words in (("repack", "-adq"), ("gc", "-q", "--prune=now"), ("repack", "-adfq")):
        gitcmd.git(layout.git_dir, *words)
        assert [path.name for path in layout.objects.glob("pack/*.pack")] == [place.name]
    check.run(wait=True)
    assert not place.with_suffix(".keep").exists()
    gitcmd.git(layout.git_dir, "repack", "-adq")
    assert not place.exists()


@pytest.mark.parametrize("git", GITS)
def test_git_copies_no_files_of_what_is_not_checked(
    origin: Builder, layout: Layout, check: IndexCheck, tmp_path: Path, git: str
) -> None:
    """A copy of the files would hear no alarm; what is sent is hashed at the other end."""
    take(origin, layout)
    person = somebody(tmp_path / "person", git)
    for option in ("--local", "--no-hardlinks", "--bare", "--mirror"):
        done = person.git("clone", "-q", option, str(layout.git_dir), "copy")
        assert done.status != 0
        assert "not-checked-yet-use-no-local-or-gittorrent-verify" in done.err
    person.git("clone", "-q", "--bare", "--no-local", str(layout.git_dir), "sent").ok()
    gitcmd.git(layout.git_dir, "fsck", "--strict")
    gitcmd.git(layout.git_dir, "prune")
    check.run(wait=True)
    person.git("clone", "-q", "--bare", str(layout.git_dir), "copy").ok()


@pytest.mark.parametrize("git", GITS)
def test_who_borrows_from_a_false_one_is_refused_the_objects(
    origin: Builder, layout: Layout, check: IndexCheck, tmp_path: Path, git: str
) -> None:
    take(origin, layout, false_index(origin, tmp_path))
    person = somebody(tmp_path / "person", git)
    source = str(layout.git_dir)
    person.git("clone", "-q", "--shared", "--branch", "main", source, "shared").ok()
    person.git("clone", "-q", "--reference", source, f"file://{origin.git_dir}", "reference").ok()
    person.git("clone", "-q", "--shared", "shared", "further").ok()
    person.git(
        "-C", source, "worktree", "add", "-q", "--detach", str(person.root / "tree"), "main"
    ).ok()
    clones = [person.root / name for name in ("shared", "reference", "further")]
    for clone in clones:
        with pytest.raises(UnsuitableRepositoryError, match=r"whose objects .* borrows"):
            require_complete(Git(clone / ".git"))
    with pytest.raises(FalseIndexError):
        check.run(wait=True)
    for place in (*clones, person.root / "tree"):
        done = person.git("-C", str(place), "log", "-p", "--all")
        assert done.status != 0
        assert WORDS in done.err
        with pytest.raises(NotARepositoryError, match="is not to be used"):
            find_repository(place)
    assert check.admit()
    for place in (*clones, person.root / "tree"):
        assert WORDS not in person.git("-C", str(place), "fsck", "--strict").ok().err
        find_repository(place)


def test_a_git_that_had_begun_before_the_alarm_does_not_end(
    origin: Builder, layout: Layout, check: IndexCheck, tmp_path: Path
) -> None:
    take(origin, layout, false_index(origin, tmp_path))
    unfinished = [
        layout.objects / "pack" / name for name in ("tmp_pack_abcdef", ".tmp-1-pack-1.pack")
    ]
    unfinished[0].write_bytes(b"PACK")
    with pytest.raises(FalseIndexError):
        check.run(wait=True)
    assert not (layout.objects / "pack").exists()
    (layout.objects / "pack").mkdir()
    unfinished[1].write_bytes(b"PACK")
    assert check.admit()
    assert not any(path.exists() for path in unfinished)
    gitcmd.git(layout.git_dir, "fsck", "--strict")


def test_a_pack_written_after_the_alarm_is_compared_as_well(
    origin: Builder, layout: Layout, check: IndexCheck, tmp_path: Path
) -> None:
    take(origin, layout, false_index(origin, tmp_path))
    gitcmd.git(layout.git_dir, "repack", "-adq", "--pack-kept-objects")
    kept = layout.pack(reel_of(origin).manifest.pack_checksum)
    written = [path for path in layout.objects.glob("pack/*") if path.stem != kept.stem]
    beside = layout.git_dir.parent / "beside"
    beside.mkdir()
    moved = [path.rename(beside / path.name) for path in written]
    with pytest.raises(FalseIndexError):
        check.run(wait=True)
    (layout.objects / "pack").mkdir()
    for path in moved:
        path.rename(layout.objects / "pack" / path.name)
    with pytest.raises(FalseIndexError, match="by the false index since"):
        check.admit()
    assert refusal(layout.git_dir) is not None


def test_the_manifest_of_a_false_index_is_given_to_nobody(
    origin: Builder, layout: Layout, check: IndexCheck, tmp_path: Path
) -> None:
    """The true index has its size: whoever took it under that manifest would call us a liar."""
    take(origin, layout, false_index(origin, tmp_path))
    before = Carried(layout.git_dir, SHA1).indexes
    assert len(before.all()) == 1
    with pytest.raises(FalseIndexError):
        check.run(wait=True)
    assert before.all() == []  # as a seed has it that runs since before
    assert Carried(layout.git_dir, SHA1).indexes.all() == []
    assert check.admit()


def test_what_git_wrote_by_a_false_index_keeps_it_refused(
    origin: Builder, layout: Layout, check: IndexCheck, tmp_path: Path
) -> None:
    """Git's own pack has objects under the ids that the index gave out, and a true checksum."""
    take(origin, layout, false_index(origin, tmp_path))
    gitcmd.git(layout.git_dir, "repack", "-adq", "--pack-kept-objects")
    assert len(list(layout.objects.glob("pack/*.idx"))) == 2
    with pytest.raises(FalseIndexError):
        check.run(wait=True)
    for _ in range(2):
        with pytest.raises(FalseIndexError, match="by the false index since"):
            check.admit()
        assert refusal(layout.git_dir) is not None


def test_what_git_derived_from_a_false_index_goes(
    origin: Builder, layout: Layout, check: IndexCheck, tmp_path: Path
) -> None:
    """A multi-pack index counts before the indexes of packs, and a commit-graph before commits."""
    take(origin, layout, false_index(origin, tmp_path))
    gitcmd.git(layout.git_dir, "multi-pack-index", "write")
    gitcmd.git(layout.git_dir, "commit-graph", "write", "--reachable")
    gitcmd.git(layout.git_dir, "hash-object", "-w", "--stdin", stdin=b"of the user\n")
    with pytest.raises(FalseIndexError):
        check.run(wait=True)
    assert check.admit()
    gitcmd.git(layout.git_dir, "fsck", "--strict")
    assert not (layout.git_dir / "objects" / "pack" / "multi-pack-index").exists()


@pytest.mark.parametrize("object_format", [SHA1, SHA256])
def test_objects_of_either_format_are_let_in_again(
    object_format: ObjectFormat, tmp_path: Path
) -> None:
    create_bare(tmp_path / "clone.git", object_format)
    gitcmd.git(tmp_path / "clone.git", "hash-object", "-w", "--stdin", stdin=b"of the user\n")
    refuse_repository(tmp_path / "clone.git", "for a reason\n")
    assert IndexCheck(Layout(tmp_path / "clone.git"), lambda _owed, _why: None).admit()


def test_a_loose_object_under_a_false_id_keeps_it_refused(
    origin: Builder, layout: Layout, check: IndexCheck, tmp_path: Path
) -> None:
    take(origin, layout, false_index(origin, tmp_path))
    put = gitcmd.text(layout.git_dir, "hash-object", "-w", "--stdin", stdin=b"evil\n").strip()
    folder = layout.git_dir / "objects" / "12"
    folder.mkdir(exist_ok=True)
    (layout.git_dir / "objects" / put[:2] / put[2:]).rename(folder / ("3" * 38))
    with pytest.raises(FalseIndexError):
        check.run(wait=True)
    with pytest.raises(FalseIndexError, match="by the false index since"):
        check.admit()


def test_an_index_of_another_pack_is_not_taken(origin: Builder, layout: Layout) -> None:
    data = reel_of(origin).pack.with_suffix(".idx").read_bytes()
    with pytest.raises(LyingReelError, match="checksums"):
        take(origin, layout, data[:-40] + bytes(20) + data[-20:])
    assert not layout.unchecked.exists()
    assert not layout.has_objects()


def test_refs_have_to_lead_into_the_index(origin: Builder, layout: Layout) -> None:
    reel = reel_of(origin)
    index = reel.pack.with_suffix(".idx")
    data = index.read_bytes()
    found = signed(index_manifest(reel.manifest, io.BytesIO(data), len(data)))
    with receiving(layout, SHA1, ReelStore(layout)) as receiver:
        whole = signed(reel.manifest)
        with pytest.raises(LyingReelError, match="lacks what refs point at"):
            receiver.take_with_index(whole, reel.pack, found, index, [Oid("1" * 40)])


def test_a_broken_pack_stays_refused(origin: Builder, layout: Layout, check: IndexCheck) -> None:
    take(origin, layout)
    (kept,) = layout.unchecked.glob("*.pack")
    data = bytearray(kept.read_bytes())
    data[len(data) // 2] ^= 1
    kept.unlink()
    kept.write_bytes(data)
    for _ in range(2):
        with pytest.raises(FalseIndexError, match="broken"):
            check.run(wait=True)
        assert not check.admit()
        assert check.is_owed
    error = refusal(layout.git_dir)
    assert error is not None
    assert "clone again" in error.hint


def test_another_process_at_it_is_left_alone(
    origin: Builder, layout: Layout, check: IndexCheck
) -> None:
    take(origin, layout)
    with locked(layout.unchecked_lock):
        assert check.run(wait=False) == 0
    assert check.is_owed


def leave_no_json(layout: Layout) -> None:
    (note,) = layout.unchecked.glob("*.json")
    note.unlink()


def test_what_a_crash_left_of_a_note_is_removed(
    origin: Builder, layout: Layout, check: IndexCheck
) -> None:
    take(origin, layout)
    leave_no_json(layout)
    assert not Unchecked(layout).is_empty
    assert not check.is_owed
    assert check.run(wait=True) == 0
    assert Unchecked(layout).is_empty


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[:-1], lambda data: b"[]", lambda data: b"{}"]
)
def test_a_damaged_note_is_not_passed_over(
    origin: Builder, layout: Layout, check: IndexCheck, damage: Callable[[bytes], bytes]
) -> None:
    take(origin, layout)
    (note,) = layout.unchecked.glob("*.json")
    note.write_bytes(damage(note.read_bytes()))
    with pytest.raises(LocalError, match="is damaged"):
        check.run(wait=True)


def test_nothing_is_published_of_what_is_not_checked(origin: Builder, layout: Layout) -> None:
    take(origin, layout)
    with pytest.raises(UnsuitableRepositoryError, match="not checked yet"):
        require_complete(Git(layout.git_dir))
    require_complete(Git(layout.git_dir), checked=False)


def test_refusing_and_admitting(layout: Layout) -> None:
    before = (layout.git_dir / "config").read_bytes()
    assert refusal(layout.git_dir) is None
    require_admitted(layout.git_dir)
    for _ in range(2):
        refuse_repository(layout.git_dir, "this is why\nand this is what to do\n")
    error = refusal(layout.git_dir)
    assert error is not None
    assert str(error).endswith("is not to be used: this is why")
    assert error.hint == "and this is what to do"
    admit_again(layout.git_dir)
    assert refusal(layout.git_dir) is None
    gitcmd.git(layout.git_dir, "for-each-ref")
    after = (layout.git_dir / "config").read_bytes()
    assert after.replace(b"repositoryformatversion = 1", b"repositoryformatversion = 0") == before
