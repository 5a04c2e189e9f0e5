"""Makes new reels in a process of its own: ``python -m gittorrent.repository.making``.

For the node that signs checkpoints (`gittorrent.node.reel_builder`): a worker
(`gittorrent.repository.reel_worker`) makes the reel up to the log's head, splices the chain, drops
what was covered for long, and says which reels it made; then it makes the reels of other shapes
that are due (`gittorrent.repository.shape_maker`). It signs with the keeper's key that the
repository's configuration names. It yields to others, and holds the repository's lock only while it
moves files, so that no push waits for it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.durable import locked
from gittorrent.git.repository import read_config
from gittorrent.ids import OBJECT_FORMATS, ManifestId
from gittorrent.repository import housekeeping
from gittorrent.repository.carried import Carried
from gittorrent.repository.leaving_reels import drop_superseded
from gittorrent.repository.recorded_key import recorded_signer
from gittorrent.repository.reel_maker import ReelMaker
from gittorrent.repository.reel_worker import ask_worker, each_percent, serve_order
from gittorrent.repository.shape_maker import ShapeMaker
from gittorrent.repository.stale_files import clear_building

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.signing.keys import Signer

_MODULE = "gittorrent.repository.making"


class MakingOrder(Struct, frozen=True):
    """What a worker is to do.

    Args:
        git_dir: of the repository, as the system spells it.
        object_format: its name.
    """

    git_dir: bytes
    object_format: str


class Made(Struct, frozen=True, tag="made"):
    """A reel that was made: its manifest's id."""

    manifest: ManifestId


async def make_reels(carried: Carried, heard: Callable[[Made], None]) -> None:
    """Make the reels that are due in a repository, if its keeper's key is here.

    Nothing is made if another process makes reels there. Cancelled, it leaves nothing running, and
    nothing but finished reels behind.

    Args:
        carried: the repository.
        heard: told of each reel when it is there.

    Raises:
        LocalError: this machine let it down, or objects are missing.
    """
    order = MakingOrder(os.fsencode(carried.layout.git_dir), carried.object_format.name)
    await ask_worker(
        carried, _MODULE, order, Made, lambda _phase, _done, _total: None, heard, yielding=True
    )


def _work(order: MakingOrder, say: Callable[[Struct], None]) -> None:
    carried = Carried(Path(os.fsdecode(order.git_dir)), OBJECT_FORMATS[order.object_format])
    spec = carried.keeper_key
    if spec is None:
        return
    signer = recorded_signer(spec, read_config(carried.layout.git_dir))
    try:
        with locked(carried.layout.making_lock, wait=False):
            has_packs = _make(carried, signer, say)
    except BlockingIOError:
        return  # a publication, which makes them as well
    if has_packs or housekeeping.is_due(carried, first=False):
        housekeeping.tidy_up(carried)


def _make(carried: Carried, signer: Signer, say: Callable[[Struct], None]) -> bool:
    """Make what is due; tells whether packs are left to housekeeping."""
    log = carried.log()
    if log.head is None or log.policy.policy.keeper != signer.key:
        return False
    maker = ReelMaker(carried, log, signer, each_percent(say), lambda _text: None)
    with locked(carried.layout.building_lock):
        clear_building(carried.layout)
        reel = maker.extend(is_locked=False)
        while reel is not None or (reel := maker.splice()) is not None:
            say(Made(reel.id))
            reel = None
        ShapeMaker(carried, log, signer, time.time(), each_percent(say)).make_due()
    with locked(carried.layout.lock):
        return drop_superseded(carried, log, time.time())


def main() -> None:
    """Work for the process at the other ends of standard input and output."""
    serve_order(MakingOrder, _work, lambda _order: True)


if __name__ == "__main__":
    main()
