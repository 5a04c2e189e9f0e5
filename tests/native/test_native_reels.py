"""Any git makes the bytes of the definition where the native helper deflates."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from deflating import deflated

from gittorrent.errors import LocalError
from gittorrent.git.runner import EXECUTABLE_VARIABLE, GitError
from gittorrent.ids import SHA1, Oid
from gittorrent.native import SWITCH
from gittorrent.reel.build import build_reel
from gittorrent.reel.packing import ReelError
from gittorrent.reel.selftest import find_encoder
from support import gitcmd, other_git
from support.programs import GITS
from support.repositories import Made

MakeRepository = Callable[[str], Made]


def build(made: Made, work: Path) -> bytes:
    """Build the reel of a repository's last state and return its bytes."""
    work.mkdir()
    tips = [Oid(oid) for oid in made.states[-1]]
    pack = build_reel(made.objects, SHA1, [], tips, work)
    assert pack is not None
    return pack.path.read_bytes()


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path | str], None]:
    return lambda git: monkeypatch.setenv(EXECUTABLE_VARIABLE, str(git))


def runs_on_another_zlib() -> bool:
    """Tell whether this machine's git runs on another zlib."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWITCH, "0")
        return bool(find_encoder().trouble)


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_what_git_deflates_comes_out_as_it_is(
    object_format: str, history: dict[str, Path], tmp_path: Path
) -> None:
    """Provided that git runs on stock zlib; else the same pack comes out of both levels."""
    packs = []
    for level in ("0", "9", "-1"):
        done = subprocess.run(
            [
                *("git", "-C", history[object_format], "-c", f"pack.compression={level}"),
                *("pack-objects", "--all", "--stdout", "-q", "--delta-base-offset"),
                *("--no-reuse-object", "--threads=1"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )
        packs.append(done.stdout)
    results = {deflated(pack, tmp_path, object_format, threads=n) for n, pack in enumerate(packs)}
    assert len(results) == 1
    if not runs_on_another_zlib():
        assert results == {packs[2]}


@pytest.mark.parametrize("git", GITS)
def test_the_helper_is_used_whatever_the_git(git: str, use: Callable[[str], None]) -> None:
    use(git)
    encoder = find_encoder()
    assert (encoder.deflates, encoder.trouble) == (True, "")


@pytest.mark.parametrize("real", GITS)
@pytest.mark.parametrize("recipe", ["linear", "merges", "pushes", "tags"])
def test_a_git_on_another_zlib_makes_the_same_reels(
    recipe: str,
    real: str,
    made: MakeRepository,
    tmp_path: Path,
    use: Callable[[Path | str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(real)
    expected = build(made(recipe), tmp_path / "expected")
    library = other_git.OTHER_ZLIB
    gits = [other_git.otherwise_deflating(tmp_path / "git9", real)]
    gits += [other_git.preloading(tmp_path / "gitng", library, real)] if library else []
    for number, git in enumerate(gits):
        use(git)
        assert find_encoder().trouble == ""
        assert build(made(recipe), tmp_path / f"helped{number}") == expected
        with monkeypatch.context() as patch:
            patch.setenv(SWITCH, "0")
            assert "compresses differently from stock zlib" in find_encoder().trouble
            assert "gittorrent-native" in find_encoder().remedy
            with pytest.raises(ReelError, match="install gittorrent-native"):
                find_encoder().require()
            assert build(made(recipe), tmp_path / f"alone{number}") != expected


def test_a_git_that_chooses_other_deltas_is_noticed(
    tmp_path: Path, use: Callable[[Path], None]
) -> None:
    use(other_git.otherwise_choosing(tmp_path / "git"))
    encoder = find_encoder()
    assert "chooses other deltas" in encoder.trouble
    assert "another version of git" in encoder.remedy


@pytest.mark.parametrize("status", [0, 3])
def test_a_git_that_breaks_off_is_told_from_a_broken_pack(
    status: int, made: MakeRepository, tmp_path: Path, use: Callable[[Path], None]
) -> None:
    use(other_git.breaking_off(tmp_path / "git", status))
    failure = GitError if status else ReelError
    with pytest.raises(failure, match="pack"):
        build(made("linear"), tmp_path / "work")


@pytest.mark.slow
def test_a_blob_that_git_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above core.bigFileThreshold git hands the blob to zlib in steps, and so do we."""
    git_dir = gitcmd.init(tmp_path / "big.git")
    noise = b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(32768))
    # Where a window of zlib's begins, and as far behind as it can refer back, the same bytes.
    for start in range(32768, len(noise) - 65536, 32768):
        again = start + 32768 - 262
        noise = noise[:again] + noise[start : start + 40] + noise[again + 40 :]
    big = tmp_path / "big"
    with big.open("wb") as file:
        for _ in range(8):
            file.write(noise)
        file.truncate((512 << 20) + 12345)
    words = ("-c", "core.compression=1", "hash-object", "-w", str(big))
    oid = gitcmd.text(git_dir, *words)
    big.unlink()
    found = []
    for switch in ("1", "0"):
        monkeypatch.setenv(SWITCH, switch)
        if switch == "0" and find_encoder().trouble:
            pytest.skip("this git runs on another zlib")
        work = tmp_path / switch
        work.mkdir()
        pack = build_reel(git_dir / "objects", SHA1, [], [Oid(oid)], work)
        assert pack is not None
        found.append((pack.size, pack.checksum))
    assert found[0] == found[1]


def test_a_full_disk_is_this_machines_fault(made: MakeRepository, tmp_path: Path) -> None:
    repository = made("linear")
    work = tmp_path / "work"
    work.mkdir()
    (work / "0.pack").symlink_to("/dev/full")
    tips = [Oid(oid) for oid in repository.states[-1]]
    with pytest.raises(LocalError, match="No space left"):
        build_reel(repository.objects, SHA1, [], tips, work)
