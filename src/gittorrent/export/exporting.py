"""Brings a place up to what a repository exports now.

Rules: nothing is named before it is there, so the files that name others are replaced last, the
list of mirrors last of all; nothing is written or removed that the inventory does not list before;
a place is never taken back to an older state. Whoever is killed leaves what the next one goes on
from.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import ProtocolError, UsageError
from gittorrent.export.contents import SMALL_FILE, ChangedMeanwhileError
from gittorrent.export.inventory import (
    HEADS,
    INVENTORY,
    MAX_INVENTORY,
    Inventory,
    InventoryError,
    parse_inventory,
)
from gittorrent.export.planning import plan_export
from gittorrent.transfer.static_files import MAX_INDEX_BYTES
from gittorrent.wire.limits import MAX_LIST_BYTES
from gittorrent.wire.mirrorlist import parse_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gittorrent.export.contents import Contents
    from gittorrent.export.place import Hold, Place
    from gittorrent.export.planning import Plan
    from gittorrent.ids import PushId, RepositoryId

BATCH_FILES = 256
BATCH_BYTES = 4 << 20
"""Short files that are written side by side, and held in memory."""

KEEP_SECONDS = 7 * 24 * 3600
"""How long what was superseded stays by default: downloads take days on slow lines."""


ATTEMPTS = 3
"""How often a state is read anew because the repository was changed meanwhile."""


class OlderCopyError(UsageError):
    """A place has a newer state than the repository here."""


class Exported(Struct, frozen=True):
    """What an export did, or would do.

    Args:
        sent: files that were written.
        sent_bytes: theirs, as far as their sizes are known beforehand.
        current: files that were there already.
        superseded: files that stay for those who are in the middle of them.
        removed: files that had been superseded for long enough.
        changed: whether the files that name others were replaced.
    """

    sent: int
    sent_bytes: int
    current: int
    superseded: int
    removed: int
    changed: bool


class Exporter:
    """Exports one repository to one place.

    Args:
        place: where to.
        keep: seconds for which what was superseded stays.
        clock: seconds since 1970.
        progress: told how many of how many files are there.
        again: whether to send everything, whatever is there.
    """

    def __init__(
        self,
        place: Place,
        keep: int,
        clock: Callable[[], float],
        progress: Callable[[str, int, int], None],
        *,
        again: bool = False,
    ) -> None:
        self._place = place
        self._keep = keep
        self._clock = clock
        self._progress = progress
        self._again = again
        self._written: dict[str, bytes] = {}

    def run(self, read: Callable[[], Contents], hold: Hold) -> tuple[Contents, Exported]:
        """Bring the place up to date.

        Args:
            read: returns what is exported; called again if that was changed meanwhile.
            hold: on the place.

        Raises:
            ForeignFilesError: somebody else's files are in the way.
            OlderCopyError: what is there is newer.
            ChangedMeanwhileError: the repository is changed all the time.
        """
        for _ in range(ATTEMPTS - 1):
            with contextlib.suppress(ChangedMeanwhileError):
                contents = read()
                return contents, self._run(contents, hold)
        contents = read()
        return contents, self._run(contents, hold)

    def _run(self, contents: Contents, hold: Hold) -> Exported:
        plan, heads, known = self._plan(contents)
        if dict(known.files) != dict(plan.before):
            self._write_inventory(contents.repository, plan.before)
        self._send(contents, plan)
        hold.check()
        for name in heads:
            self._place.write_small({name: contents.heads[name]})
            self._written[name] = _digest(contents.heads[name])
        self._place.remove(plan.remove)
        if dict(plan.before) != dict(plan.after):
            self._write_inventory(contents.repository, plan.after)
        self._again = False
        return _outcome(contents, plan, heads)

    def look(self, contents: Contents) -> Exported:
        """Return what `run` would do; nothing is written."""
        plan, heads, _ = self._plan(contents)
        return _outcome(contents, plan, heads)

    def _plan(self, contents: Contents) -> tuple[Plan, list[str], Inventory]:
        known = self.inventory(contents.repository)
        if not self._again:
            self._refuse_older(contents)
        present = self._place.present()
        plan = plan_export(
            {name: file.size for name, file in contents.files.items()},
            contents.heads,
            present,
            known,
            int(self._clock()),
            self._keep,
            again=self._again,
        )
        return plan, [name for name in HEADS if not self._is_there(name, contents)], known

    def inventory(self, repository: RepositoryId) -> Inventory:
        """Return what exports have written at the place.

        Raises:
            UsageError: that is another repository's, or damaged.
        """
        data = self._place.read(INVENTORY, MAX_INVENTORY)
        if data is None:
            return Inventory(repository, {})
        try:
            known = parse_inventory(data)
        except InventoryError as error:
            raise UsageError(
                f"{self._place.name}/{INVENTORY} is damaged: {error}",
                hint="export to an empty place, or empty this one yourself",
            ) from error
        if known.repository != repository:
            raise UsageError(
                f"{self._place.name} has an export of {known.repository}, and this is {repository}",
                hint="each repository has a place of its own",
            )
        return known

    def _refuse_older(self, contents: Contents) -> None:
        """Make sure that the place does not have a newer state; raises OlderCopyError."""
        there = self._latest()
        if there is None:
            return
        number = contents.numbers.get(there)
        if number is None or number > contents.number:
            raise OlderCopyError(
                f"{self._place.name} has checkpoint {there}, which "
                + ("is not known here" if number is None else "no reel here leads to"),
                hint="bring this repository up to date first; --again takes the place back to it",
            )

    def _latest(self) -> PushId | None:
        data = self._place.read("mirror-list", MAX_LIST_BYTES)
        if data is None:
            return None
        try:
            return parse_text(data).latest
        except ProtocolError:
            return None  # whatever it is, it is replaced

    def _is_there(self, name: str, contents: Contents) -> bool:
        if self._again:
            return False
        wanted = contents.heads[name]
        if name in self._written:
            return self._written[name] == _digest(wanted)
        return self._place.read(name, MAX_INDEX_BYTES) == wanted

    def _write_inventory(self, repository: RepositoryId, files: Mapping[str, int]) -> None:
        self._place.write_small({INVENTORY: Inventory(repository, files).text()})

    def _send(self, contents: Contents, plan: Plan) -> None:
        done, total = 0, len(plan.send)
        batch: dict[str, bytes] = {}
        size = 0
        for name in plan.send:
            file = contents.files[name]
            if file.size is not None and file.size > SMALL_FILE:
                self._place.write(name, file.size, self._shown(name, file.size, file.chunks()))
                done += 1
            else:
                batch[name] = b"".join(file.chunks())
                size += len(batch[name])
            if size >= BATCH_BYTES or len(batch) == BATCH_FILES:
                self._place.write_small(batch)
                done += len(batch)
                batch, size = {}, 0
            self._progress("files", done, total)
        if batch:
            self._place.write_small(batch)
        if total:
            self._progress("files", total, total)

    def _shown(self, name: str, size: int, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield chunks, and show how far a large file is."""
        done = 0
        for chunk in chunks:
            yield chunk
            done += len(chunk)
            self._progress(name, done >> 10, size >> 10)


def _outcome(contents: Contents, plan: Plan, heads: list[str]) -> Exported:
    return Exported(
        len(plan.send) + len(heads),
        sum(contents.files[name].size or 0 for name in plan.send)
        + sum(len(contents.heads[name]) for name in heads),
        len(contents.files) + len(contents.heads) - len(plan.send) - len(heads),
        plan.superseded,
        len(plan.remove),
        bool(heads),
    )


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
