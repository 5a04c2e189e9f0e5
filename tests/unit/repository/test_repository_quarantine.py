"""What came by an ordinary fetch: what is proved of it, and what is moved in."""

from __future__ import annotations

from pathlib import Path

import pytest

from gittorrent.git.fetching import FetchOptions
from gittorrent.ids import OBJECT_FORMATS, Oid
from gittorrent.repository.layout import Layout
from gittorrent.repository.quarantine import (
    INFINITE_DEPTH,
    Extent,
    IncompleteSourceError,
    Quarantine,
    extent_of,
    quarantine,
)
from support import gitcmd
from support.publishing import builder, grow
from support.repositories import Builder

ALL = FetchOptions()
FORMATS = ["sha1", "sha256"]
IDENTITY = ("-c", "user.name=A", "-c", "user.email=a@example.org")


@pytest.fixture(params=FORMATS)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Builder:
    made = builder(tmp_path / "source.git", request.param)
    grow(made, 6)
    return made


@pytest.fixture
def layout(source: Builder, tmp_path: Path) -> Layout:
    """An empty repository to move into."""
    return Layout(gitcmd.init(tmp_path / "target.git", source.object_format))


def tip_of(source: Builder, name: str = "refs/heads/main") -> Oid:
    return Oid(gitcmd.text(source.git_dir, "rev-parse", name))


def names_of(source: Builder, *revisions: str) -> list[str]:
    listed = gitcmd.text(source.git_dir, "rev-list", "--objects", *revisions)
    return [line.split(" ")[0] for line in listed.splitlines()]


def put(apart: Quarantine, source: Builder, names: list[str], *options: str) -> None:
    """Put a pack of these objects where git would have put it."""
    asked = "".join(f"{name}\n" for name in names).encode()
    words = ("pack-objects", "--stdout", "-q", *options)
    pack = gitcmd.git(source.git_dir, *words, stdin=asked)
    git = ("index-pack", "--stdin", "--fix-thin")
    gitcmd.git(apart.staging.directory, *git, stdin=pack)


def held(layout: Layout) -> set[str]:
    words = ("cat-file", "--batch-all-objects", "--batch-check=%(objectname)")
    return set(gitcmd.text(layout.git_dir, *words).split())


def opened(layout: Layout, source: Builder, *, borrows: bool = True):  # type: ignore[no-untyped-def]
    """Return a quarantine for what the repository holds now."""
    object_format = OBJECT_FORMATS[source.object_format]
    return quarantine(layout, object_format, extent_of(layout.git_dir), borrows=borrows)


def test_what_is_whole_is_moved_in(source: Builder, layout: Layout) -> None:
    names = names_of(source, "refs/heads/main")
    with opened(layout, source) as apart:
        put(apart, source, names)
        apart.check([tip_of(source)], ALL)
        assert not held(layout), "nothing is there before it is moved"
        apart.install()
    assert held(layout) == set(names)
    assert not list(layout.incoming.glob("*"))


def test_nothing_stays_of_what_does_not_hold(source: Builder, layout: Layout) -> None:
    names = names_of(source, "refs/heads/main")
    for at in range(len(names)):
        with opened(layout, source) as apart:
            put(apart, source, names[:at] + names[at + 1 :])
            with pytest.raises(IncompleteSourceError):
                apart.check([tip_of(source)], ALL)
    assert not held(layout)
    assert not list(layout.incoming.glob("*"))


def test_what_builds_on_what_is_here(source: Builder, layout: Layout) -> None:
    """A thin pack is completed by objects that are here; they may come along."""
    main = "refs/heads/main"
    gitcmd.git(layout.git_dir, "fetch", "-q", source.git_dir, f"{main}:{main}")
    before = tip_of(source)
    grow(source, 2)
    names = names_of(source, main, f"^{before}")
    with opened(layout, source) as apart:
        put(apart, source, names, "--thin")
        apart.check([tip_of(source)], ALL)
        apart.install()
    assert held(layout) == set(names_of(source, main))


def test_what_nobody_asked_for_stays_behind(source: Builder, layout: Layout) -> None:
    wanted = names_of(source, "refs/heads/main")
    grow(source, 3, branch="other", name="g")
    everything = names_of(source, "--all")
    assert len(everything) > len(wanted)
    with opened(layout, source) as apart:
        put(apart, source, everything)
        apart.check([tip_of(source)], ALL)
        apart.install()
    assert held(layout) == set(wanted)


@pytest.mark.parametrize("is_whole", [True, False])
def test_annotated_tags_that_are_welcome_may_come_along(
    source: Builder, layout: Layout, is_whole: bool
) -> None:
    wanted = names_of(source, "refs/heads/main")
    for name in ("welcome", "stranger"):
        gitcmd.git(source.git_dir, *IDENTITY, "tag", "-a", "-m", name, name, "refs/heads/main")
    grow(source, 1, branch="other", name="g")
    gitcmd.git(source.git_dir, *IDENTITY, "tag", "-a", "-m", "x", "aside", "refs/heads/other")
    tags = [tip_of(source, f"refs/tags/{name}") for name in ("welcome", "aside", "stranger")]
    came = [*wanted, tags[0], tags[2], *(() if is_whole else (tags[1],))]
    with opened(layout, source) as apart:
        put(apart, source, came)
        if not is_whole:
            with pytest.raises(IncompleteSourceError):
                apart.check([tip_of(source)], ALL, tags[:2])
            return
        apart.check([tip_of(source)], ALL, tags[:2])
        apart.install()
    assert held(layout) == {*wanted, tags[0]}


def test_a_tag_that_was_here_already_proves_and_spoils_nothing(
    source: Builder, layout: Layout
) -> None:
    """Its history may be cut off here: then it is none of this fetch's business."""
    gitcmd.git(source.git_dir, *IDENTITY, "tag", "-a", "-m", "x", "aside", "refs/heads/main")
    tag = tip_of(source, "refs/tags/aside")
    with opened(layout, source) as apart:
        put(apart, source, [tag])
        apart.install()
    with opened(layout, source) as apart:
        names = names_of(source, "refs/heads/main~1")
        put(apart, source, names)
        apart.check([tip_of(source, "refs/heads/main~1")], ALL, [tag])
        apart.install()
    assert held(layout) == {*names, tag}


def test_nothing_is_taken_for_granted_where_objects_are_missing(
    source: Builder, layout: Layout
) -> None:
    main = "refs/heads/main"
    gitcmd.git(layout.git_dir, "fetch", "-q", source.git_dir, f"{main}:{main}")
    before = tip_of(source)
    grow(source, 1)
    with opened(layout, source, borrows=False) as apart:
        put(apart, source, names_of(source, main, f"^{before}"))
        with pytest.raises(IncompleteSourceError):
            apart.check([tip_of(source)], ALL)


# --- boundaries ----------------------------------------------------------------------------------


def cut_at(apart: Quarantine, *commits: str) -> None:
    path = apart.staging.directory / "shallow"
    path.write_text("".join(f"{commit}\n" for commit in commits))


def shallow_names(source: Builder, depth: int) -> list[str]:
    """Return the objects of the newest commits, whole."""
    names: dict[str, None] = {}
    for number in range(depth):
        names |= dict.fromkeys(names_of(source, "--no-walk", f"refs/heads/main~{number}"))
    return list(names)


@pytest.mark.parametrize(
    ("depth", "settings", "well"),
    [
        (2, {}, False),
        (2, {"depth": ["2"]}, True),
        (2, {"depth": ["1"]}, True),
        (2, {"depth": ["3"]}, False),
        (2, {"depth": [str(INFINITE_DEPTH)]}, False),
        (2, {"deepen-since": ["yesterday"]}, True),
        (2, {"update-shallow": ["true"]}, True),
        (2, {"update-shallow": ["false"]}, False),
        (2, {"filter": ["blob:none"]}, False),
    ],
)
def test_a_boundary_is_right_where_it_was_asked_for(
    source: Builder, layout: Layout, depth: int, settings: dict[str, list[str]], well: bool
) -> None:
    with opened(layout, source) as apart:
        put(apart, source, shallow_names(source, depth))
        cut_at(apart, tip_of(source, f"refs/heads/main~{depth - 1}"))
        options = FetchOptions(settings=settings)
        if not well:
            with pytest.raises(IncompleteSourceError, match="cut off"):
                apart.check([tip_of(source)], options)
            return
        apart.check([tip_of(source)], options)
        apart.install()
    assert extent_of(layout.git_dir).shallow == {tip_of(source, f"refs/heads/main~{depth - 1}")}
    gitcmd.git(layout.git_dir, "fsck", "--connectivity-only")


def test_a_boundary_that_is_gone(source: Builder, layout: Layout) -> None:
    with opened(layout, source) as apart:
        put(apart, source, shallow_names(source, 1))
        cut_at(apart, tip_of(source))
        apart.check([tip_of(source)], FetchOptions(settings={"depth": ["1"]}))
        apart.install()
    assert not extent_of(layout.git_dir).is_whole
    with opened(layout, source) as apart:
        put(apart, source, names_of(source, "refs/heads/main"))
        (apart.staging.directory / "shallow").unlink()
        options = FetchOptions(settings={"depth": [str(INFINITE_DEPTH)]})
        apart.check([tip_of(source)], options)
        apart.install()
    assert extent_of(layout.git_dir) == Extent()


def shallow_already(source: Builder, layout: Layout, depth: int) -> None:
    """Make the repository one that was cloned with a depth."""
    with opened(layout, source) as apart:
        put(apart, source, shallow_names(source, depth))
        cut_at(apart, tip_of(source, f"refs/heads/main~{depth - 1}"))
        apart.check([tip_of(source)], FetchOptions(settings={"depth": [str(depth)]}))
        apart.install()
    gitcmd.git(layout.git_dir, "update-ref", "refs/heads/main", tip_of(source))


@pytest.mark.parametrize(
    ("place", "settings", "well"),
    [
        # As it was: nothing was sent that was asked for.
        (1, {"depth": ["2"]}, True),
        (1, {"depth": ["3"]}, False),
        (1, {"depth": [str(INFINITE_DEPTH)]}, False),
        (1, {"depth": ["1"], "deepen-relative": ["true"]}, False),
        # Nearer than it was.
        (0, {"depth": ["1"], "deepen-relative": ["true"]}, False),
        # Further away, and not far enough.
        (2, {"depth": ["4"]}, False),
        (2, {"depth": ["2"], "deepen-relative": ["true"]}, False),
        (3, {"depth": ["4"]}, True),
        (3, {"depth": ["2"], "deepen-relative": ["true"]}, True),
    ],
)
def test_a_boundary_goes_as_far_as_it_was_asked_to(
    source: Builder, layout: Layout, place: int, settings: dict[str, list[str]], well: bool
) -> None:
    shallow_already(source, layout, 2)
    with opened(layout, source) as apart:
        put(apart, source, shallow_names(source, place + 1))
        cut_at(apart, tip_of(source, f"refs/heads/main~{place}"))
        options = FetchOptions(settings=settings)
        if well:
            apart.check([tip_of(source)], options)
            return
        with pytest.raises(IncompleteSourceError, match="cut off"):
            apart.check([tip_of(source)], options)


@pytest.mark.parametrize("is_whole", [True, False])
def test_what_is_cut_off_no_more_has_to_be_whole(
    source: Builder, layout: Layout, is_whole: bool
) -> None:
    """Whichever refs are wanted: a mirror says of all of the boundary that it is gone."""
    grow(source, 3, branch="other", name="g")
    shallow_already(source, layout, 1)
    before, main = held(layout), set(names_of(source, "refs/heads/main"))
    other = tip_of(source, "refs/heads/other")
    options = FetchOptions(settings={"depth": [str(INFINITE_DEPTH)]})
    with opened(layout, source) as apart:
        behind = (
            main - before if is_whole else main - before - {tip_of(source, "refs/heads/main~3")}
        )
        put(apart, source, [*names_of(source, "refs/heads/other"), *behind])
        (apart.staging.directory / "shallow").unlink()
        if not is_whole:
            with pytest.raises(IncompleteSourceError, match="less than"):
                apart.check([other], options)
            return
        apart.check([other], options)
        apart.install()
    assert extent_of(layout.git_dir) == Extent()
    assert held(layout) == main | set(names_of(source, "refs/heads/other"))


def test_nothing_is_cut_off_where_nothing_was(source: Builder, layout: Layout) -> None:
    """Who has all of it and asks for more of it is not left with less."""
    main = "refs/heads/main"
    gitcmd.git(layout.git_dir, "fetch", "-q", source.git_dir, f"{main}:{main}")
    with opened(layout, source) as apart:
        put(apart, source, shallow_names(source, 1))
        cut_at(apart, tip_of(source))
        options = FetchOptions(settings={"depth": ["1"], "deepen-relative": ["true"]})
        with pytest.raises(IncompleteSourceError, match="cut off"):
            apart.check([tip_of(source)], options)


@pytest.mark.parametrize("settings", [{"depth": ["2"]}, {"depth": ["1"], "deepen-relative": ["1"]}])
def test_other_boundaries_stay(
    source: Builder, layout: Layout, settings: dict[str, list[str]]
) -> None:
    """A boundary that what is wanted does not reach is not what was to be moved."""
    grow(source, 3, branch="other", name="g")
    shallow_already(source, layout, 1)
    other = tip_of(source, "refs/heads/other")
    with opened(layout, source) as apart:
        names = names_of(source, "--no-walk", "refs/heads/other")
        put(apart, source, [*names, *names_of(source, "--no-walk", "refs/heads/other~1")])
        cut_at(apart, tip_of(source), tip_of(source, "refs/heads/other~1"))
        if "deepen-relative" in settings:
            cut_at(apart, tip_of(source))
            put(apart, source, names_of(source, "refs/heads/other"))
        apart.check([other], FetchOptions(settings=settings))


# --- partial -------------------------------------------------------------------------------------


def test_a_partial_clone_may_lack_blobs(source: Builder, layout: Layout) -> None:
    gitcmd.git(layout.git_dir, "config", "remote.origin.promisor", "true")
    listed = gitcmd.text(
        source.git_dir, "rev-list", "--objects", "--filter=blob:none", "refs/heads/main"
    )
    names = [line.split(" ")[0] for line in listed.splitlines()]
    blob = next(n for n in names_of(source, "refs/heads/main") if n not in names)
    with opened(layout, source) as apart:
        put(apart, source, [*names, blob])
        (pack,) = apart.staging.directory.glob("objects/pack/*.pack")
        pack.with_suffix(".promisor").touch()
        apart.check([tip_of(source)], FetchOptions(settings={"filter": ["blob:none"]}))
        apart.install()
    assert held(layout) >= set(names)
    assert list(layout.objects.glob("pack/*.promisor"))
    with (
        opened(layout, source) as apart,
        pytest.raises(IncompleteSourceError, match="did not send"),
    ):
        apart.check([Oid("1" * len(blob))], ALL)


def filtered_names(source: Builder, spec: str, *revisions: str) -> list[str]:
    listed = gitcmd.text(source.git_dir, "rev-list", "--objects", f"--filter={spec}", *revisions)
    return [line.split(" ")[0] for line in listed.splitlines()]


@pytest.mark.parametrize("spec", ["blob:none", "blob:limit=1k", "tree:0"])
def test_what_a_filter_does_not_leave_out_has_to_come(
    source: Builder, layout: Layout, spec: str
) -> None:
    main = "refs/heads/main"
    options = FetchOptions(settings={"filter": [spec]})
    gitcmd.git(layout.git_dir, "config", "remote.origin.promisor", "true")
    names = filtered_names(source, spec, main)
    for at in range(len(names)):
        with opened(layout, source) as apart:
            put(apart, source, names[:at] + names[at + 1 :])
            with pytest.raises(IncompleteSourceError):
                apart.check([tip_of(source)], options)
    with opened(layout, source) as apart:
        put(apart, source, names)
        apart.check([tip_of(source)], options)
        apart.install()
    assert held(layout) == set(names)


def test_a_filter_keeps_what_it_need_not_leave_out(source: Builder, layout: Layout) -> None:
    names = names_of(source, "refs/heads/main")
    with opened(layout, source) as apart:
        put(apart, source, names)
        apart.check([tip_of(source)], FetchOptions(settings={"filter": ["blob:limit=1m"]}))
        apart.install()
    assert held(layout) == set(names)


def test_history_may_not_be_missing_later_either(source: Builder, layout: Layout) -> None:
    """What commits hold may be missing in a partial clone, on both sides; commits may not."""
    main = "refs/heads/main"
    options = FetchOptions(settings={"filter": ["blob:none"]})
    gitcmd.git(layout.git_dir, "config", "remote.origin.promisor", "true")
    with opened(layout, source) as apart:
        put(apart, source, filtered_names(source, "tree:0", main))
        apart.check([tip_of(source)], FetchOptions(settings={"filter": ["tree:0"]}))
        apart.install()
    before = tip_of(source)
    gitcmd.git(layout.git_dir, "update-ref", main, before)
    grow(source, 3)
    names = filtered_names(source, "blob:none", main, f"^{before}")
    lost = gitcmd.text(source.git_dir, "rev-parse", f"{main}~1")
    with opened(layout, source) as apart:
        put(apart, source, [name for name in names if name != lost])
        with pytest.raises(IncompleteSourceError):
            apart.check([tip_of(source)], options)
    with opened(layout, source) as apart:
        put(apart, source, names)
        apart.check([tip_of(source)], options)


def test_of_other_filters_nothing_is_known(source: Builder, layout: Layout) -> None:
    names = filtered_names(source, "tree:0", "refs/heads/main")
    with opened(layout, source) as apart:
        put(apart, source, names)
        apart.check([tip_of(source)], FetchOptions(settings={"filter": ["object:type=commit"]}))
