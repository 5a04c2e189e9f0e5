"""A mirror as the client sees it, whichever way it is reached.

`Mirror` is the port; `git_mirror` speaks mirror-sync, `http_mirror` reads static resources. Small
things (log, manifests, offers) are awaited; parts are asked for and arrive at a `PartSink`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from gittorrent.errors import UnreachableError
from gittorrent.wire.fields import BUSY
from gittorrent.wire.reelname import PackShape, ReelName

if TYPE_CHECKING:
    from gittorrent.ids import ManifestId, PushId
    from gittorrent.reel.manifest import Manifest
    from gittorrent.swarm.bitmap import PartSet
    from gittorrent.swarm.events import PeerKind
    from gittorrent.wire.messages import FetchLog, HaveBundle, Try, WrongParts


LogEntry = tuple["PushId", "bytes | bytearray"]
"""A push object as it was sent, and the id it was sent under: neither is verified."""

Admit = Callable[[Sequence[LogEntry]], Awaitable[None]]
"""Takes the next entries of a log; until it is done no more than a batch is read."""


class MirrorLostError(UnreachableError):
    """A mirror stopped answering."""


class BusyMirrorError(MirrorLostError):
    """A mirror has no room for us just now."""

    def __init__(self, url: str, reason: str) -> None:
        said = reason.removeprefix(BUSY).removeprefix(":").strip()
        super().__init__(
            f"{url} is busy" + (f": {said}" if said else ""),
            hint="try again in a moment, or ask another mirror",
        )


class NotThereError(UnreachableError):
    """A mirror does not have what was asked for."""


class NoConversationError(UnreachableError):
    """A server gives files and holds no conversations, or something on the way lets none pass."""


class WantedPack(Struct, frozen=True):
    """A pack whose parts are asked for.

    Args:
        reel: its name.
        manifest: id of its verified manifest.
        shape: how it is cut.
        total: number of parts.
        is_asked_for: whether it is told of only to those who ask for other shapes.
    """

    reel: ReelName
    manifest: ManifestId
    shape: PackShape
    total: int
    is_asked_for: bool = False


def wanted_pack(manifest: Manifest) -> WantedPack:
    """Return what is asked for of a reel: its pack, or the index of that."""
    return WantedPack(
        ReelName(manifest.start, manifest.end),
        manifest.id,
        PackShape(manifest.pack_size, manifest.part_size),
        len(manifest.parts),
        manifest.shape.is_asked_for,
    )


class PartSink(Protocol):
    """Takes what mirrors send of the pack being downloaded."""

    def part_arrived(self, mirror: Mirror, part: int, data: bytearray | bytes) -> None:
        """Take the bytes of a part, not verified."""
        ...

    def taken_up(self, mirror: Mirror, part: int) -> bytes:
        """Hand over the beginning of a part that is asked for now; empty if there is none.

        It came from the same place, and goes back there by `part_broke_off` if that breaks again.
        """
        ...

    def part_broke_off(self, mirror: Mirror, part: int, beginning: bytes) -> None:
        """Keep the beginning of a part, not verified, of which no more comes before a redial."""
        ...

    def mirror_has(self, mirror: Mirror, parts: PartSet | None) -> None:
        """Note which parts a mirror says it has, None for all."""
        ...

    def parts_missing(self, mirror: Mirror, first: int, last: int) -> None:
        """Note that a mirror lacks a run of parts."""
        ...

    def mirror_busy(self, mirror: Mirror, seconds: float) -> None:
        """Note that a mirror wants to be left alone for a while."""
        ...

    def part_queued(self, mirror: Mirror) -> None:
        """Note that a mirror says that what was asked of it waits for its turn."""
        ...

    def mirror_lost(self, mirror: Mirror, reason: str) -> None:
        """Note that nothing more will come from a mirror."""
        ...


class Mirror(Protocol):
    """A mirror that answered."""

    @property
    def url(self) -> str:
        """Its URL; ``ADDRESS:PORT`` of a peer that called us."""
        ...

    @property
    def called_us(self) -> bool:
        """Whether it called us, so that it cannot be dialled at its ``url``."""
        ...

    @property
    def name(self) -> str:
        """What it is called in messages."""
        ...

    @property
    def kind(self) -> PeerKind:
        """How it is asked, for the scheduler."""
        ...

    @property
    def heads(self) -> Sequence[PushId]:
        """Newest checkpoints that it announced."""
        ...

    @property
    def address(self) -> str:
        """The IP address it answers from; empty while unknown."""
        ...

    async def fetch_log(
        self, question: FetchLog, is_held: Callable[[PushId], bool], admit: Admit
    ) -> None:
        """Hand the push objects over that are asked for, each after those it names, in batches.

        Args:
            question: which.
            is_held: tells of an entry whether it is here, and need not come.
            admit: takes each batch; what it raises ends the fetch.

        Raises:
            NotThereError: the mirror does not have the head asked for.
            MirrorLostError: it hung up, or answers too slowly
                (`gittorrent.transfer.client_timeouts`).
        """
        ...

    async def offers(
        self, reel: ReelName, take: Callable[[HaveBundle], None], *, shapes: bool = False
    ) -> None:
        """Hand each reel it has that helps to complete ``reel`` over, unverified.

        With ``shapes`` those of other shapes than the whole are asked for, too. Some may come
        without that.

        Raises:
            MirrorLostError: as above; what was handed over until then stands.
        """
        ...

    async def fetch_manifest(self, manifest: ManifestId, most: int) -> bytes:
        """Return a manifest with its signature, not verified.

        Args:
            manifest: its id.
            most: bytes it may have.

        Raises:
            NotThereError: the mirror does not have it.
            MirrorLostError: as above, or it is longer.
        """
        ...

    async def fetch_push(self, push: PushId, most: int) -> bytes:
        """Return a push object, or an annotated tag that a ref of the log's head names; unverified.

        Args:
            push: its id.
            most: bytes it may have.

        Raises:
            NotThereError: the mirror does not have it, or knows nothing of tags.
            MirrorLostError: as above, or it is longer.
        """
        ...

    def begin(self, pack: WantedPack, sink: PartSink) -> None:
        """Send what arrives of ``pack`` to ``sink`` from now on."""
        ...

    def ask(self, first: int, last: int) -> None:
        """Ask for a run of parts."""
        ...

    def cancel(self, first: int, last: int) -> None:
        """Withdraw a run of parts."""
        ...

    def tell(self, message: HaveBundle | Try | WrongParts) -> None:
        """Say something that asks for nothing, where the mirror can be told."""
        ...

    def flowing(self) -> tuple[int, int] | None:
        """Return the part on its way and how many of its bytes are here."""
        ...

    async def wait_closed(self) -> None:
        """Wait until nothing comes from it any more, whichever end ended that."""
        ...

    @property
    def has_ended(self) -> bool:
        """Tell whether nothing comes from it any more."""
        ...

    @property
    def is_busy(self) -> bool:
        """Tell, when nothing comes from it any more, whether that is since it is busy."""
        ...

    @property
    def may_return(self) -> bool:
        """Tell, when nothing comes from it any more, whether dialling again may help."""
        ...

    @property
    def has_given(self) -> bool:
        """Tell whether it sent any parts."""
        ...

    async def close(self) -> None:
        """End the conversation."""
        ...
