"""The worker that makes reels of what a keeper's node signed."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from gittorrent.background import worker
from gittorrent.durable import locked
from gittorrent.errors import LocalError
from gittorrent.ids import Oid, PushId, RefName
from gittorrent.push.certificate import Line
from gittorrent.reel.splicing import LEFT_ALONE
from gittorrent.repository import reel_worker
from gittorrent.repository.carried import Carried
from gittorrent.repository.making import Made, make_reels
from gittorrent.repository.rebuilding import rebuild_reels
from gittorrent.repository.verify import Verifier
from gittorrent.signing.keys import Signer
from support import gitcmd, nodes
from support.programs import PATIENCE
from support.publishing import builder, carried, grow, push_elsewhere
from support.repositories import Builder

if shutil.which("ssh-keygen") is None:
    pytest.skip("ssh-keygen is not installed", allow_module_level=True)

MAIN = RefName(b"refs/heads/main")


@pytest.fixture
def key(tmp_path: Path) -> Signer:
    return nodes.signer(tmp_path)


@pytest.fixture
def b(tmp_path: Path, key: Signer) -> Builder:
    made = builder(tmp_path / "project.git")
    grow(made, 60)
    nodes.publish(made.git_dir, key, "project")
    carried(made.git_dir).remember_keeper(key.spec)
    return made


def push(b: Builder, key: Signer) -> None:
    """Put a push into the log and make it final, as a node does that has the keeper's key."""
    old = carried(b.git_dir).log().refs[MAIN]
    grow(b, 1)
    new = Oid(gitcmd.text(b.git_dir, "rev-parse", "main"))
    push_elsewhere(b.git_dir, [Line(old, new, MAIN)], key, keeper=key)


def make(this: Carried) -> list[str]:
    """Have reels made; return where they lie in the log."""
    made: list[Made] = []
    asyncio.run(make_reels(this, made.append))
    places: dict[PushId | None, int] = {None: -1}
    places |= {push: at for at, push in enumerate(this.log().ids)}
    found = [this.reels.get(each.manifest) for each in made]
    return [
        f"{places[reel.manifest.start]}:{places[reel.manifest.end]}"
        for reel in found
        if reel is not None and reel.is_available
    ]


def test_one_reel_covers_what_was_signed_since_the_last(b: Builder, key: Signer) -> None:
    for _ in range(3):
        push(b, key)
    this = carried(b.git_dir)
    assert make(this) == ["1:4"]
    assert make(this) == []
    assert Verifier(this).run().findings == ()
    assert list(this.layout.building.iterdir()) == []


def test_the_chain_is_spliced(b: Builder, key: Signer) -> None:
    for _ in range(LEFT_ALONE - 1):
        push(b, key)
        assert len(make(carried(b.git_dir))) == 1
    push(b, key)
    assert make(carried(b.git_dir)) == ["4:5", "1:5"]


def test_nothing_is_made_without_the_keepers_key(b: Builder, key: Signer, tmp_path: Path) -> None:
    push(b, key)
    this = carried(b.git_dir)
    (tmp_path / "other").mkdir()
    this.remember_keeper(nodes.signer(tmp_path / "other").spec)
    assert make(this) == []
    gitcmd.git(b.git_dir, "config", "--unset", "gittorrent.keeperKey")
    assert make(this) == []


def test_nothing_is_made_while_a_publication_makes_reels(b: Builder, key: Signer) -> None:
    push(b, key)
    this = carried(b.git_dir)
    with locked(this.layout.making_lock):
        assert make(this) == []
    assert make(this) == ["1:2"]


def test_what_is_missing_is_said(b: Builder, key: Signer) -> None:
    push(b, key)
    tip = gitcmd.text(b.git_dir, "rev-parse", "main")
    (b.git_dir / "objects" / tip[:2] / tip[2:]).unlink()
    with pytest.raises(LocalError, match=r"missing|lacks|no such|bad object"):
        make(carried(b.git_dir))


def test_what_is_cancelled_leaves_nothing(b: Builder, key: Signer) -> None:
    push(b, key)
    this = carried(b.git_dir)

    async def cancelled() -> None:
        task = asyncio.get_running_loop().create_task(make_reels(this, lambda _made: None))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    with locked(this.layout.making_lock, wait=False):
        assert not this.layout.building.exists() or list(this.layout.building.iterdir()) == []
    assert make(this) == ["1:2"]


def test_makers_of_many_repositories_take_turns(
    b: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who rebuilds in the foreground waits for none of them."""
    at_work, most, begun = 0, 0, 0
    may_end = asyncio.Event()

    @contextlib.asynccontextmanager
    async def counting(
        module: str, variables: Mapping[str, str]
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        nonlocal at_work, most, begun
        begun, at_work = begun + 1, at_work + 1
        most = max(most, at_work)
        await may_end.wait()
        async with worker(module, variables) as process:
            yield process
        at_work -= 1

    monkeypatch.setattr(reel_worker, "worker", counting)
    this, many = carried(b.git_dir), 3 * reel_worker.YIELDING_AT_ONCE

    async def scenario() -> None:
        makers = [asyncio.create_task(make_reels(this, lambda _: None)) for _ in range(many)]
        while begun < reel_worker.YIELDING_AT_ONCE:
            await asyncio.sleep(0)
        at_once = asyncio.create_task(
            rebuild_reels(this, [], lambda _phase, _done, _total: None, yielding=False)
        )
        while begun <= reel_worker.YIELDING_AT_ONCE:
            await asyncio.sleep(0)
        may_end.set()
        assert await at_once == []
        await asyncio.gather(*makers)

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE))
    assert begun == many + 1
    assert most == reel_worker.YIELDING_AT_ONCE + 1
