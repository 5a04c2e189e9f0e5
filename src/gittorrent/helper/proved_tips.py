"""Shows git which tips are proved connected, so that a clone does not walk its history again.

Git asks a helper whether what it fetched is connected, and believes the answer only of tips that
stand in the one pack whose ``.keep`` the helper names (``lock`` and ``connectivity-ok`` in
gitremote-helpers(7); git's connected.c). A clone that came as several packs, or in part as loose
objects, has its tips in any of them. So git is shown a pack of the tips alone, a copy that it never
sees as part of the repository and that goes when the helper ends.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gittorrent.durable import make_directory

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.git.runner import Git
    from gittorrent.ids import Oid


class ProvedTips:
    """The packs of tips that one run of the helper shows; `close` removes them.

    Args:
        folder: where scratch files are; whatever a kill leaves there is removed by others.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: list[Path] = []

    def show(self, git: Git, tips: Iterable[Oid]) -> Path:
        """Make a pack of tips and return where its ``.keep`` is to be.

        Args:
            git: of the repository that has them.
            tips: what is proved connected; not empty.
        """
        make_directory(self._folder)
        room = Path(tempfile.mkdtemp(prefix="tips-", dir=self._folder))
        self._made.append(room)
        asked = "".join(f"{tip}\n" for tip in dict.fromkeys(tips))
        words = ["pack-objects", "--quiet", "--window=0", "--compression=0", str(room / "pack")]
        checksum = git.run(*words, stdin=asked.encode("ascii")).decode("ascii").strip()
        return room / f"pack-{checksum}.keep"

    def close(self) -> None:
        """Remove what was made; git has looked at it."""
        for room in self._made:
            shutil.rmtree(room, ignore_errors=True)
        self._made.clear()
