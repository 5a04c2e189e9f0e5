"""Reels laid one on another give the repository: all that the refs reach, in order, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from golden_cases import SMALL_TARGET

from gittorrent.git import packs, scratch
from gittorrent.git.runner import Git
from gittorrent.ids import OBJECT_FORMATS, Oid
from gittorrent.reel.build import ReelPack, build_reel
from gittorrent.reel.pack import FilePiece, WireView
from support import gitcmd, reference
from support.repositories import RECIPES, Made

RECIPE_NAMES = sorted(set(RECIPES) - {"empty", "many-refs"})
BROKEN = ("negative",)
"""Recipes that git fsck rightly complains about."""


def reel(
    made: Made, start: list[str], end: list[str], work: Path, smallest: int
) -> ReelPack | None:
    work.mkdir(parents=True)
    return build_reel(
        made.objects,
        OBJECT_FORMATS[made.object_format],
        [Oid(o) for o in start],
        [Oid(o) for o in end],
        work,
        smallest_target=smallest,
    )


def entries(pack: Path) -> Iterator[tuple[str, int, str | None]]:
    """Yield id, offset and, for deltas, base of every entry."""
    out = gitcmd.text(pack.parent, "verify-pack", "-v", str(pack.with_suffix(".idx")))
    for line in out.splitlines():
        words = line.split()
        if len(words) in (5, 7) and words[1] in ("commit", "tree", "blob", "tag"):
            yield words[0], int(words[4]), words[6] if len(words) == 7 else None


def lay(made: Made, pack: ReelPack, target: Path) -> set[str]:
    """Index a reel into ``target`` and return the ids in it; checks the pack on the way."""
    git = Git(target)
    before = {path.name for path in (target / "objects" / "pack").glob("*.pack")}
    process = packs.IndexingProcess(git, thin=True, check_connected=False)
    process.stdin.write(pack.path.read_bytes())
    indexed, _ = process.finish()
    assert indexed.name not in before
    found = list(entries(indexed))
    end = pack.size - OBJECT_FORMATS[made.object_format].raw_size
    own = {oid: offset for oid, offset, _ in found if offset < end}
    assert len(own) == pack.objects
    for oid, offset, base in found:
        if base in own and oid in own:
            assert own[base] < offset, f"{oid} comes before its base {base}"
    _check_wire(made, pack, indexed)
    return set(own)


def _check_wire(made: Made, pack: ReelPack, indexed: Path) -> None:
    """The wire form can be served from the completed pack."""
    view = WireView(OBJECT_FORMATS[made.object_format], pack.objects, pack.size, pack.checksum)
    stored = indexed.read_bytes()
    served = b"".join(
        stored[piece.offset : piece.offset + piece.count] if isinstance(piece, FilePiece) else piece
        for piece in view.pieces(0, pack.size)
    )
    assert served == pack.path.read_bytes()


def check_refs(made: Made, target: Path, state: list[str], *, broken: bool) -> None:
    lines = [f"create refs/tips/{n} {oid}\n" for n, oid in enumerate(state)]
    gitcmd.git(target, "update-ref", "--stdin", stdin="".join(lines).encode())
    out = gitcmd.git(target, "fsck", *(["--connectivity-only"] if broken else ["--full"]))
    assert b"missing" not in out
    assert b"broken" not in out
    for name in gitcmd.refs(target):
        gitcmd.git(target, "update-ref", "-d", name.decode())


@pytest.mark.parametrize("smallest", [1 << 30, SMALL_TARGET], ids=["whole", "cut"])
@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_reels_laid_one_on_another_give_every_state(
    recipe: str, smallest: int, made: Callable[[str], Made], tmp_path: Path
) -> None:
    repository = made(recipe)
    objects = reference.Objects(repository.git_dir)
    target = gitcmd.init(tmp_path / "target.git", repository.object_format)
    start: list[str] = []
    have: set[str] = set()
    for number, state in enumerate(repository.states):
        pack = reel(repository, start, state, tmp_path / f"work{number}", smallest)
        brought = set() if pack is None else lay(repository, pack, target)
        if not number:
            assert brought == objects.reachable(state), "no more and no less than the refs reach"
        assert brought <= objects.reachable(state)
        have |= brought
        assert objects.reachable(state) <= have
        check_refs(repository, target, state, broken=recipe in BROKEN)
        start = state


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_a_reel_over_several_pushes_replaces_those_between(
    recipe: str, made: Callable[[str], Made], tmp_path: Path
) -> None:
    repository = made(recipe)
    first, last = repository.states[0], repository.states[-1]
    target = gitcmd.init(tmp_path / "target.git", repository.object_format)
    begun = reel(repository, [], first, tmp_path / "a", 1 << 30)
    assert begun is not None
    lay(repository, begun, target)
    rest = reel(repository, first, last, tmp_path / "b", 1 << 30)
    if rest is not None:
        lay(repository, rest, target)
    check_refs(repository, target, last, broken=recipe in BROKEN)


def test_a_reel_from_the_beginning_is_self_contained(
    made: Callable[[str], Made], tmp_path: Path
) -> None:
    repository = made("linear")
    pack = reel(repository, [], repository.states[-1], tmp_path / "w", SMALL_TARGET)
    assert pack is not None
    assert len(pack.segments) > 4
    with scratch.receiving(tmp_path / "in", OBJECT_FORMATS["sha1"]) as git:
        process = packs.IndexingProcess(git, thin=False, check_connected=True)
        process.stdin.write(pack.path.read_bytes())
        _, connected = process.finish()
    assert connected


def test_nothing_between_is_no_reel(made: Callable[[str], Made], tmp_path: Path) -> None:
    repository = made("pushes")
    states = repository.states
    assert reel(repository, [], [], tmp_path / "0", 1) is None
    assert reel(repository, states[1], states[1], tmp_path / "1", 1) is None
    assert reel(repository, states[2], states[0], tmp_path / "2", 1) is None
    assert reel(repository, states[2], [], tmp_path / "3", 1) is None


def test_what_the_start_reaches_does_not_trail(made: Callable[[str], Made], tmp_path: Path) -> None:
    repository = made("tags")
    names = gitcmd.refs(repository.git_dir)
    main = names[b"refs/heads/main"]
    reached, lonely = names[b"refs/tags/reached"], names[b"refs/tags/lonely"]
    only_tag = reel(repository, [main], [main, reached], tmp_path / "1", 1 << 30)
    assert only_tag is not None
    assert only_tag.objects == 1
    assert only_tag.segments[0].frontier == ()
    with_tree = reel(repository, [main], [main, lonely], tmp_path / "2", 1 << 30)
    assert with_tree is not None
    # The tag, its tree, the tree "only" and the blob in it; "top" is reached by main.
    assert with_tree.objects == 4
    bare_tree = names[b"refs/tags/light-tree"]
    assert reel(repository, [main], [bare_tree], tmp_path / "3", 1 << 30) is None
