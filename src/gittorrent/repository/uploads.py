"""Where the objects of a push wait until it is decided whether it is let in.

An upload may take hours, so it does not hold the repository's lock, which others need. It gathers
in a scratch repository of its own; whoever receives one shares a lock, and where nobody has that
lock, what lies there was left by processes that were killed. Only what was judged is moved in,
under the repository's lock, by way of the place that a crashed writer's things are cleared from.

Rules: bounded in bytes, memory, processor time and silence; a base that git adds to a thin pack
does not count as sent. Must not know who pushes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shutil
import sys
import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gittorrent.durable import Batch, make_directory, open_to_append
from gittorrent.errors import LocalError
from gittorrent.git import history, packs, scratch
from gittorrent.git.fsckrules import RulesBrokenError, says_rules_are_broken
from gittorrent.git.guarded import Bounds, Broken, Guarded
from gittorrent.git.pack_extent import PackExtent
from gittorrent.git.runner import Git, GitError
from gittorrent.git.small_pack import SmallPackError
from gittorrent.push.depot.admission import PushRefusedError
from gittorrent.reel.pack import HEADER_SIZE, pack_header
from gittorrent.repository.receive import add_loose
from gittorrent.repository.receive_pack import SentPack
from gittorrent.repository.small_intake import UnpackError, unpack
from gittorrent.sizes import show_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from gittorrent.git.fsckrules import FsckRules
    from gittorrent.git.guarded import Outcome
    from gittorrent.ids import ObjectFormat, Oid
    from gittorrent.repository.layout import Layout
    from gittorrent.repository.small_intake import Identified

MAX_PUSHED = 256 << 20
"""Bytes that a push may bring: as much as mirrors pass on of one key before it is final."""

SILENCE_SECONDS = 120.0
"""Time in which something has to come."""

LEAST_BYTES = 256 << 10
"""Bytes that have to come in that time, as is asked of callers that are sent something."""

SMALL_OBJECTS = 100
"""Objects below which a push is unpacked, as by git (receive.unpackLimit): packs are looked through
one by one, and every push would leave another."""

SMALL_BYTES = 4 << 20
"""Bytes of a pack beyond which it is kept, however few objects it has: a small one is held in
memory, and git unpacks there, too."""

SMALL_UNPACKED = 64 << 20
"""The same for what these objects come to: a few hundred bytes can stand for gigabytes."""

MAX_KNOWN = 2000
"""Refs that a first check of connectivity starts from; it starts from all if that is not enough."""

VERSION = 2
"""Of the format of packs that are joined with others."""

NO_ROOM = "the disk of this mirror is full or nearly so, and it takes no pushes until there is room"
"""What those are told for whose pushes there is no room."""

_CHUNK = 64 << 10
_TOO_LARGE = ("exceeds maximum allowed size", "signal 25", "File too large")


class Upload:
    """Objects that came with one push, in a scratch repository; use `uploading`.

    Args:
        layout: of the repository.
        object_format: of its objects.
        staging: the scratch repository.
        room: returns how many bytes may still be written.
    """

    def __init__(
        self, layout: Layout, object_format: ObjectFormat, staging: Git, room: Callable[[], int]
    ) -> None:
        self._room = room
        self._layout = layout
        self._format = object_format
        self._sent: set[str] = set()
        self._small: bytes | None = None
        self._given: tuple[SentPack, Bounds, FsckRules] | None = None
        self.staging = staging
        self.size = 0

    @property
    def small(self) -> bytes | None:
        """The pack as it was sent, if it was small enough to be read whole."""
        return self._small

    def receive(
        self,
        pack: SentPack,
        bounds: Bounds,
        rules: FsckRules,
        hear: Callable[[bytes], None] | None = None,
    ) -> None:
        """Take a pack that comes from a descriptor, and read nothing beyond it.

        A small one is only read; `unpack` stores it.

        Args:
            pack: where it comes from.
            bounds: what it may cost.
            rules: what its objects must keep to.
            hear: told of progress, as git shows it.

        Raises:
            PushRefusedError: it is too large, broken, or does not come.
            RulesBrokenError: one of its objects breaks the rules.
            GitError: this machine let git down.
        """
        if pack.objects < SMALL_OBJECTS and pack.version == VERSION:
            begun, self._small = _read_small(pack, bounds, self._format)
            if self._small is not None:
                self._given = (pack, bounds, rules)
                self.size = len(self._small)
                if self.size > bounds.max_bytes:
                    raise _too_large(bounds)
                return
            self._index(pack, bounds, rules, hear, begun)
        else:
            self._index(pack, bounds, rules, hear)

    def unpack(self, entry: Identified, rules: FsckRules, *, is_whole: bool) -> None:
        """Store what records a push, and its objects, if they are few: by one run of git.

        Args:
            entry: the push.
            rules: what objects must keep to.
            is_whole: whether what the entry is on is here: git's rules say that links lead
                somewhere.

        Raises:
            PushRefusedError: its objects are broken, or build on what is not here.
            RulesBrokenError: one of them breaks the rules.
            GitError: this machine let git down.
        """
        packs_sent = [] if self._small is None else [self._small]
        try:
            if packs_sent and is_whole:
                unpack(self.staging, packs_sent, [entry], self._format, rules)
                self.note_loose()
                return
            if packs_sent:
                unpack(self.staging, packs_sent, [], self._format, rules)
                self.note_loose()
        except (UnpackError, SmallPackError):
            self._index_small()  # which says what is wrong, or finds nothing
        unpack(self.staging, [], [entry], self._format, None)

    def note_pack(self, pack: bytes, objects: int, bounds: Bounds, rules: FsckRules) -> None:
        """Take note of all that a small pack has, some of which git may have had already.

        Args:
            pack: a whole one, which was unpacked.
            objects: how many it has.
            bounds: what it may cost.
            rules: what its objects must keep to.

        Raises:
            PushRefusedError: it is broken.
            RulesBrokenError: one of its objects breaks the rules.
            GitError: this machine let git down.
        """
        sent = SentPack(objects, f"--pack_header={VERSION},{objects}", source=-1)
        self._given = (sent, bounds, rules)
        self._index(sent, bounds, rules, None, pack[HEADER_SIZE:])

    def _index_small(self) -> None:
        """Find out what a small pack has, some of which git may have had already."""
        if self._small is not None and self._given is not None:
            data, self._small = self._small[HEADER_SIZE:], None
            self._index(*self._given, None, data)

    def _index(
        self,
        pack: SentPack,
        bounds: Bounds,
        rules: FsckRules,
        hear: Callable[[bytes], None] | None,
        begun: bytes | None = None,
    ) -> None:
        """Index a pack, of which a part may have been read, or all after its header."""
        # What git unpacks by itself is not what was sent: it leaves out what the repository has.
        words = ["index-pack", "--stdin", "--fix-thin", "--rev-index", rules.strict]
        words += [] if hear is None else ["--show-resolving-progress"]
        words += [f"--max-input-size={bounds.max_bytes}", pack.option]
        git = self.staging
        said = bytearray()

        def listen(data: bytes) -> None:
            said.extend(data)
            if hear is not None:
                hear(data)

        guarded = Guarded(git.directory, bounds, listen, self._room)
        given = pack.source if begun is None else begun
        then = None if begun is None or self._given is not None else pack.source
        outcome = guarded.run(git.command(*words), given, git.environ(), then=then)
        if outcome.status or outcome.broken is not None:
            raise _failure(outcome, words, git, bounds)
        self.size = 0
        for path in self._packs():
            self.size += path.stat().st_size
            self._sent |= packs.first_objects(path, pack.objects, self._format)

    def note_loose(self) -> None:
        """Take note that what lies loose in the scratch repository was sent."""
        objects = self.staging.directory / "objects"
        for folder in objects.glob("[0-9a-f][0-9a-f]"):
            self._sent.update(folder.name + file.name for file in folder.iterdir())

    def note_packs(self, paths: Iterable[Path]) -> None:
        """Take note that what lies in some packs of the repository was sent for this."""
        for path in paths:
            self._sent.update(packs.listed(self.staging, path))

    def check(
        self,
        tips: Sequence[Oid],
        shown: Sequence[Oid],
        others: Callable[[], Iterable[Oid]] = tuple,
    ) -> None:
        """Prove that everything ``tips`` reach was sent, or is reached by what is shown.

        What the repository has besides is not the pusher's to publish.

        Args:
            tips: new values of refs.
            shown: the values of refs that are shown, the most likely ones first.
            others: returns the others, asked for where those are not enough.

        Raises:
            PushRefusedError: something is missing.
        """
        known = list(dict.fromkeys(shown))
        if self._reaches_no_other(tips, known[:MAX_KNOWN]):
            return
        known = list(dict.fromkeys([*known, *others()]))
        if self._reaches_no_other(tips, known):
            return
        if self._small is not None:
            self._index_small()
            if self._reaches_no_other(tips, known):
                return
        raise PushRefusedError(
            "objects are missing that were not sent and that no ref shown here reaches",
            hint="git fetch, and push again",
        )

    def install(self) -> None:
        """Move everything into the repository, whose lock the caller holds.

        Raises:
            LocalError: there is no room.
        """
        install_all([self])

    def withdraw(self) -> Path:
        """Move the scratch repository to where a crashed writer's things are cleared from."""
        place = self._layout.incoming / self.staging.directory.name
        make_directory(place.parent)
        self.staging.directory.rename(place)
        self.staging = replace(self.staging, directory=place)
        return place

    def add_to(self, batch: Batch) -> None:
        """Let a batch move the objects into the repository; packs are moved at once."""
        for pack in self._packs():
            packs.adopt_pack(pack, self._layout.pack(pack.stem.removeprefix("pack-")))
        add_loose(batch, self.staging.directory / "objects", self._layout.objects)

    def _packs(self) -> list[Path]:
        return sorted((self.staging.directory / "objects" / "pack").glob("pack-*.pack"))

    def _reaches_no_other(self, tips: Iterable[Oid], known: Iterable[Oid]) -> bool:
        """Tell whether nothing is reached besides what was sent and what is known."""
        reached = history.Reached(self.staging, tips, without=known, without_borrowed=False)
        try:
            return reached.are_all_in(self._sent)
        except GitError as error:
            if error.is_own_trouble:
                raise
            return False  # something is not here at all


def install_all(
    uploads: Iterable[Upload], add: Callable[[Batch], None] = lambda _batch: None
) -> None:
    """Move uploads into their repository, whose lock the caller holds.

    Args:
        uploads: of one repository.
        add: told of the batch that does it, to put into it what else is to become durable.

    Raises:
        LocalError: there is no room.
    """
    places: list[Path] = []
    try:
        with Batch() as batch:
            for upload in uploads:
                places.append(upload.withdraw())
                upload.add_to(batch)
            add(batch)
    finally:
        for place in places:
            shutil.rmtree(place, ignore_errors=True)


def _read_small(
    pack: SentPack, bounds: Bounds, object_format: ObjectFormat
) -> tuple[bytes, bytes | None]:
    """Read a pack that may be small.

    Returns:
        What was read after its header; all of it with the header, None if it turned out not to be
        small, or to be none.

    Raises:
        PushRefusedError: it does not come.
    """
    extent = PackExtent(pack.objects, object_format, SMALL_BYTES, SMALL_UNPACKED)
    poll = select.poll()
    poll.register(pack.source, select.POLLIN)
    since, had, is_done = time.monotonic(), 0, False
    try:
        while not is_done:
            left = since + bounds.silence - time.monotonic()
            if left > 0 and not poll.poll(left * 1000):
                continue
            if left <= 0:
                if len(extent.data) - had < bounds.least:
                    raise _too_slow()
                since, had = time.monotonic(), len(extent.data)
                continue
            try:
                data = os.read(pack.source, _CHUNK)
            except BlockingIOError:
                continue
            is_done = extent.feed(data)
            if not data:
                break
        if is_done and extent.unpacked_size() > SMALL_UNPACKED:
            is_done = False
    except (SmallPackError, OSError):
        is_done = False
    read = bytes(extent.data)
    return read, pack_header(pack.objects) + read if is_done else None


@contextlib.contextmanager
def uploading(
    layout: Layout, object_format: ObjectFormat, room: Callable[[], int] = lambda: sys.maxsize
) -> Iterator[Upload]:
    """Yield a place for the objects of one push; what was not installed is gone afterwards.

    Args:
        layout: of the repository; its lock is not needed.
        object_format: of its objects.
        room: returns how many bytes may still be written there.
    """
    alternates = (layout.objects,) if layout.has_objects() else ()
    make_directory(layout.uploads)
    with open_to_append(layout.uploads_lock) as lock:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in layout.uploads.iterdir():
                shutil.rmtree(left, ignore_errors=True)
        fcntl.flock(lock, fcntl.LOCK_SH)
        with scratch.receiving(layout.uploads, object_format, alternates) as staging:
            yield Upload(layout, object_format, staging, room)


def _failure(
    outcome: Outcome, words: Sequence[str], git: Git, bounds: Bounds
) -> PushRefusedError | RulesBrokenError | LocalError:
    """Return what to tell of a pack that was not indexed."""
    said = outcome.said
    if outcome.broken is Broken.STOPPED:
        return LocalError("stopped")
    if outcome.broken is Broken.NO_ROOM:
        return no_room()
    if outcome.broken is Broken.TOO_LARGE or any(sign in said for sign in _TOO_LARGE):
        return _too_large(bounds)
    if outcome.broken is Broken.SILENT:
        return _too_slow()
    if outcome.broken is Broken.MEMORY:
        return PushRefusedError("the pack needs too much memory", hint="push in several steps")
    if says_rules_are_broken(said):
        return RulesBrokenError(said, first="push what does not have it", at="on the mirror")
    error = GitError(words, outcome.status, said.encode(), str(git.directory))
    if error.is_own_trouble:
        return error
    return PushRefusedError(f"the pack is broken: {_last_line(said)}", hint="push again")


def no_room() -> PushRefusedError:
    """Return what those are told for whose pushes there is no room."""
    return PushRefusedError(NO_ROOM, hint="push to another mirror, or later")


def _too_large(bounds: Bounds) -> PushRefusedError:
    return PushRefusedError(
        f"too large: a push may bring {show_bytes(bounds.max_bytes)} here",
        hint="push in several steps: git push origin <an older commit>:refs/heads/...",
    )


def _too_slow() -> PushRefusedError:
    return PushRefusedError("the pack comes too slowly", hint="push again, or in several steps")


def _last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else "git does not say why"
