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
import shutil
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gittorrent.durable import make_directory, open_to_append
from gittorrent.errors import LocalError
from gittorrent.git import history, packs, scratch
from gittorrent.git.fsckrules import RulesBrokenError, says_rules_are_broken
from gittorrent.git.guarded import Bounds, Broken, Guarded
from gittorrent.git.pack_sizes import unpacked_size
from gittorrent.git.runner import Git, GitError
from gittorrent.push.depot.admission import PushRefusedError
from gittorrent.repository.receive import move_loose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from gittorrent.git.fsckrules import FsckRules
    from gittorrent.git.guarded import Outcome
    from gittorrent.ids import ObjectFormat, Oid
    from gittorrent.repository.layout import Layout
    from gittorrent.repository.receive_pack import SentPack

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
"""Bytes of a pack beyond which it is kept, however few objects it has: git unpacks in memory."""

SMALL_UNPACKED = 64 << 20
"""The same for what these objects come to: a few hundred bytes can stand for gigabytes."""

MAX_KNOWN = 2000
"""Refs that a first check of connectivity starts from; it starts from all if that is not enough."""

_TOO_LARGE = ("exceeds maximum allowed size", "signal 25", "File too large")


class Upload:
    """Objects that came with one push, in a scratch repository; use `uploading`.

    Args:
        layout: of the repository.
        object_format: of its objects.
        staging: the scratch repository.
    """

    def __init__(self, layout: Layout, object_format: ObjectFormat, staging: Git) -> None:
        self._layout = layout
        self._format = object_format
        self._sent: set[str] = set()
        self.staging = staging
        self.size = 0

    def receive(
        self,
        pack: SentPack,
        bounds: Bounds,
        rules: FsckRules,
        hear: Callable[[bytes], None] | None = None,
    ) -> None:
        """Index a pack that comes from a descriptor, and read nothing beyond it.


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

        guarded = Guarded(git.directory, bounds, listen)
        outcome = guarded.run(git.command(*words), pack.source, git.environ())
        if outcome.status or outcome.broken is not None:
            raise _failure(outcome, words, git, bounds)
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

    def check(self, tips: Sequence[Oid], shown: Sequence[Oid]) -> None:
        """Prove that everything ``tips`` reach was sent, or is reached by what is shown.

        What the repository has besides is not the pusher's to publish.

        Args:
            tips: new values of refs.
            shown: the values of refs that are shown, the most likely ones first.

        Raises:
            PushRefusedError: something is missing.
        """
        known = list(dict.fromkeys(shown))
        missing = self._missing(tips, known[:MAX_KNOWN])
        if missing is not None and missing and len(known) > MAX_KNOWN:
            missing = self._missing(tips, known)
        if missing is None or missing:
            raise PushRefusedError(
                "objects are missing that were not sent and that no ref shown here reaches",
                hint="git fetch, and push again",
            )

    def install(self) -> None:
        """Move everything into the repository, whose lock the caller holds.

        Raises:
            LocalError: there is no room.
        """
        place = self._layout.incoming / self.staging.directory.name
        make_directory(place.parent)
        self.staging.directory.rename(place)
        self.staging = replace(self.staging, directory=place)
        try:
            for pack in self._packs():
                packs.adopt_pack(pack, self._layout.pack(pack.stem.removeprefix("pack-")))
            move_loose(place / "objects", self._layout.objects)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def unpack_if_small(self) -> None:
        """Store the objects loose if they are few: the next push does not look through its pack."""
        for pack in self._packs():
            if self._is_small(pack):
                # Git takes nothing apart that it finds in a pack already.
                aside = pack.with_suffix(".aside")
                pack.rename(aside)
                packs.remove_pack(pack)
                with aside.open("rb") as source:
                    self.staging.run("unpack-objects", "-q", stdin=source)
                aside.unlink()

    def _is_small(self, pack: Path) -> bool:
        if len(self._sent) >= SMALL_OBJECTS or pack.stat().st_size >= SMALL_BYTES:
            return False
        offsets = [offset for offset, _ in packs.placed(pack, self._format)]
        return unpacked_size(pack.read_bytes(), offsets, self._format) <= SMALL_UNPACKED

    def _packs(self) -> list[Path]:
        return sorted((self.staging.directory / "objects" / "pack").glob("pack-*.pack"))

    def _missing(self, tips: Iterable[Oid], known: Iterable[Oid]) -> set[str] | None:
        """Return what is reached and was not sent; None if something is not here at all."""
        reached = history.Reached(self.staging, tips, without=known, without_borrowed=False)
        try:
            return reached.ids() - self._sent
        except GitError as error:
            if error.is_own_trouble:
                raise
            return None


@contextlib.contextmanager
def uploading(layout: Layout, object_format: ObjectFormat) -> Iterator[Upload]:
    """Yield a place for the objects of one push; what was not installed is gone afterwards.

    Args:
        layout: of the repository; its lock is not needed.
        object_format: of its objects.
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
            yield Upload(layout, object_format, staging)


def _failure(
    outcome: Outcome, words: Sequence[str], git: Git, bounds: Bounds
) -> PushRefusedError | RulesBrokenError | LocalError:
    """Return what to tell of a pack that was not indexed."""
    said = outcome.said
    if outcome.broken is Broken.STOPPED:
        return LocalError("stopped")
    if outcome.broken is Broken.TOO_LARGE or any(sign in said for sign in _TOO_LARGE):
        return PushRefusedError(
            f"too large: a push may bring {bounds.max_bytes >> 20} MiB here",
            hint="push in several steps: git push origin <an older commit>:refs/heads/...",
        )
    if outcome.broken is Broken.SILENT:
        return PushRefusedError("the pack comes too slowly", hint="push again, or in several steps")
    if outcome.broken is Broken.MEMORY:
        return PushRefusedError("the pack needs too much memory", hint="push in several steps")
    if says_rules_are_broken(said):
        return RulesBrokenError(_last_line(said))
    error = GitError(words, outcome.status, said.encode(), str(git.directory))
    if error.is_own_trouble:
        return error
    return PushRefusedError(f"the pack is broken: {_last_line(said)}", hint="push again")


def _last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else "git does not say why"
