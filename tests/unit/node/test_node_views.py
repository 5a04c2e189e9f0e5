"""Views are made when something changed, once, and go with their repositories."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gittorrent.errors import LocalError
from gittorrent.node.catalogue import Catalogue, Served
from gittorrent.node.views import Views, remove_view
from gittorrent.repository.published_view import PublishedView
from gittorrent.signing.keys import Signer
from support import gitcmd, nodes


@pytest.fixture
def served(tmp_path: Path, key: Signer) -> Served:
    carried = nodes.publish(nodes.make_repository(tmp_path / "r.git"), key, "project")
    return next(iter(Catalogue([carried])))


async def no_packing(_view: PublishedView) -> None:
    raise AssertionError("small repositories are not packed")


def run(work: Callable[[Views], Awaitable[None]], root: Path | None) -> None:
    async def main() -> None:
        views = Views(root, no_packing)
        try:
            await work(views)
        finally:
            await views.stop()

    asyncio.run(main())


def stamp(view: PublishedView) -> int:
    return (view.directory / "packed-refs").stat().st_ino


def test_many_callers_make_one_view(served: Served, tmp_path: Path) -> None:
    async def work(views: Views) -> None:
        found = await asyncio.gather(*(views.view_of(served) for _ in range(8)))
        assert len(set(map(id, found))) == 1
        assert found[0].is_whole

    run(work, tmp_path / "views")


def test_a_publication_is_seen_and_nothing_else(
    served: Served, key: Signer, tmp_path: Path
) -> None:
    git_dir = served.carried.layout.git_dir

    async def work(views: Views) -> None:
        view = await views.view_of(served)
        before = stamp(view)
        tip = nodes.add_commit(git_dir, "refs/heads/main", "more", b"more\n")
        assert stamp(await views.view_of(served)) == before
        nodes.publish(git_dir, key, None)
        view = await views.view_of(served)
        assert gitcmd.refs(view.directory)[b"refs/heads/main"] == tip

    run(work, tmp_path / "views")


@pytest.mark.parametrize("is_kept", [True, False])
def test_what_is_shown_changes_while_it_is_served(
    served: Served, tmp_path: Path, is_kept: bool
) -> None:
    """Each kind has a place of its own, and whoever reads the former one goes on."""

    async def work(views: Views) -> None:
        all_of_it = await views.view_of(served)
        views.change(final_only=True)
        final = await views.view_of(served)
        assert final.directory != all_of_it.directory
        assert all_of_it.directory.is_dir()
        assert gitcmd.refs(final.directory) == gitcmd.refs(all_of_it.directory)
        views.change(final_only=True)
        assert await views.view_of(served) is final
        views.change(final_only=False)
        assert (await views.view_of(served)).directory == all_of_it.directory

    run(work, tmp_path / "views" if is_kept else None)


def test_the_next_node_finds_what_the_last_one_made(served: Served, tmp_path: Path) -> None:
    seen = []

    async def work(views: Views) -> None:
        seen.append(stamp(await views.view_of(served)))

    for _ in range(2):
        run(work, tmp_path / "views")
    assert seen[0] == seen[1]


def test_views_of_repositories_that_are_gone_go_too(
    served: Served, key: Signer, tmp_path: Path
) -> None:
    other = nodes.publish(nodes.make_repository(tmp_path / "other.git"), key, "other")
    (second,) = Catalogue([other])
    root = tmp_path / "views"

    async def both(views: Views) -> None:
        await views.view_of(served)
        await views.view_of(second)

    async def one(views: Views) -> None:
        await views.view_of(served)

    run(both, root)
    assert len(list(root.glob("*.git"))) == 2
    shutil.rmtree(other.layout.git_dir)
    run(one, root)
    assert len(list(root.glob("*.git"))) == len(list(root.glob("*.of"))) == 1


def test_without_a_home_views_are_temporary(served: Served) -> None:
    places = []

    async def work(views: Views) -> None:
        places.append((await views.view_of(served)).directory)
        assert places[0].is_dir()

    run(work, None)
    assert not places[0].exists()


def test_no_room_for_a_view_is_an_error_of_ours(served: Served, tmp_path: Path) -> None:
    (tmp_path / "views").write_text("in the way")

    async def work(views: Views) -> None:
        with pytest.raises(LocalError):
            await views.view_of(served)

    run(work, tmp_path / "views")


def test_a_repository_that_is_gone_shows_nothing(served: Served, tmp_path: Path) -> None:
    async def work(views: Views) -> None:
        await views.view_of(served)
        shutil.rmtree(served.carried.layout.git_dir)
        with pytest.raises(Exception, match="not published or mirrored here"):
            await views.view_of(served)

    run(work, tmp_path / "views")


def test_large_views_are_packed_in_the_background(served: Served, tmp_path: Path) -> None:
    packed = []

    async def pack(view: PublishedView) -> None:
        packed.append(view)

    class Large(PublishedView):
        wants_packing = True

    async def main() -> None:
        views = Views(tmp_path / "views", pack, Large)
        view = await views.view_of(served)
        await asyncio.sleep(0)
        assert packed == [view]
        await views.stop()

    asyncio.run(main())


def test_another_repository_at_the_same_place(served: Served, key: Signer, tmp_path: Path) -> None:
    """Nothing of the one that was there before is seen: no ref, and no object."""
    root, git_dir = tmp_path / "views", served.carried.layout.git_dir
    tip = gitcmd.refs(git_dir)[b"refs/heads/main"]
    git_dir.rename(tmp_path / "away")
    other = nodes.publish(nodes.make_repository(git_dir, object_format="sha256"), key, "other")
    (second,) = Catalogue([other])
    git_dir.rename(tmp_path / "second")
    (tmp_path / "away").rename(git_dir)

    async def work(views: Views) -> None:
        first = await views.view_of(served)
        assert gitcmd.refs(first.directory)[b"refs/heads/main"] == tip
        git_dir.rename(tmp_path / "away")
        (tmp_path / "second").rename(git_dir)
        view = await views.view_of(second)
        assert view.directory == first.directory
        shown = gitcmd.refs(view.directory)
        assert shown[b"refs/heads/main"] == gitcmd.refs(git_dir)[b"refs/heads/main"]
        objects = gitcmd.text(view.directory, "cat-file", "--batch-all-objects", "--batch-check")
        assert tip not in objects

    run(work, root)


def test_a_view_that_was_removed_is_made_anew(served: Served, tmp_path: Path) -> None:
    root, git_dir = tmp_path / "views", served.carried.layout.git_dir

    async def work(views: Views) -> None:
        before = gitcmd.refs((await views.view_of(served)).directory)
        remove_view(root, git_dir)
        assert list(root.iterdir()) == []
        assert gitcmd.refs((await views.view_of(served)).directory) == before

    run(work, root)
    remove_view(root, git_dir)
    remove_view(root, git_dir)
    assert list(root.iterdir()) == []
