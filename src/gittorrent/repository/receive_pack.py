"""Speaks receive-pack with one caller, over descriptors: hears the push, gives the report.

For git:// and HTTP, where the node hands a socket over, and for ssh, where a process has standard
input and output. Tracks one push. The pack is not read here: it goes from the descriptor to an
indexer that bounds it, so nothing of it passes through this process.

Rules: every wait has an end; nothing is read beyond the request; whoever is refused is told so
before the rest of the pack is dropped. Must not know logs, policies or where a pack is put: a
`Depot` does. Blocks; run it in a thread.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from gittorrent.errors import GitTorrentError, LocalError, NoRoomError, ProtocolError, local_error
from gittorrent.git.runner import GitError
from gittorrent.printable import Screening
from gittorrent.push.depot.admission import PushRefusedError
from gittorrent.push.depot.advertisement import advertisement
from gittorrent.push.depot.report import (
    encode_fatal,
    encode_message,
    encode_report,
    refused,
    words_of,
)
from gittorrent.push.depot.request import RequestReader
from gittorrent.repository.keep_alive import SECONDS, KeepAlive
from gittorrent.wire import pktline

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.ids import ObjectFormat, RefName
    from gittorrent.push.certificate import Nonce
    from gittorrent.push.depot.advertisement import RefLines
    from gittorrent.push.depot.report import Report
    from gittorrent.push.depot.request import PushRequest

AGENT = "gittorrent"
"""How this program calls itself; its version is nobody's business."""

REQUEST_SECONDS = 120.0
"""Time for all that comes before the pack; people type passphrases before, not during it."""

PACK_SECONDS = 120.0
"""Time in which the pack begins to come: git counts and compresses before it sends anything."""

ANSWER_SECONDS = 120.0
"""Time in which a caller takes its report."""

DROPPED_BYTES = 64 << 20
"""Bytes of a pack that are read and dropped after a push was refused: git reads no answer while it
sends, and says that the connection broke if nobody reads what it sends."""

DROPPED_SECONDS = 20.0
"""Time for that."""

OUR_FAULT = "this mirror has a problem of its own; push to another"
"""What callers are told of errors that are for the operator to read."""

DISK_FULL = "the disk of this mirror is full; push to another mirror, or later"
"""What they are told where there turned out to be no room."""

_CHUNK = 64 << 10
_PACK_HEADER = 12


class Greeting(Struct, frozen=True):
    """What a depot shows: its refs, and the nonce to sign."""

    refs: RefLines
    nonce: Nonce


class SentPack(Struct, frozen=True):
    """A pack whose first bytes were read.

    Args:
        objects: how many it says it has.
        option: by which git is told of what was read.
        source: descriptor that the rest comes from.
        version: of its format.
    """

    objects: int
    option: str
    source: int
    version: int = 2


class Admitted(Protocol):
    """A push that may send its objects."""

    @property
    def needs_pack(self) -> bool:
        """Whether objects come: unless all that it does is delete."""
        ...


class Depot(Protocol):
    """What takes pushes of one repository."""

    @property
    def object_format(self) -> ObjectFormat:
        """Of the repository."""
        ...

    def greet(self) -> Greeting:
        """Return what to show now."""
        ...

    def admit(self, request: PushRequest) -> Admitted:
        """Judge what can be judged before the objects are here.

        Raises:
            GitTorrentError: it is refused.
        """
        ...

    def accept(
        self, admitted: Admitted, pack: SentPack | None, hear: Callable[[bytes], None] | None
    ) -> Report:
        """Take the objects, judge the push and put it into the log, or do nothing at all.

        Args:
            admitted: what `admit` returned.
            pack: the objects, which are still to come; None without any.
            hear: told of progress, as git shows it; None where nobody wants to know.

        Raises:
            GitTorrentError: it is refused, or failed.
        """
        ...


class Ended(Struct, frozen=True):
    """How a push ended, for the log.

    Args:
        text: in words.
        is_our_fault: whether the operator has to look at it.
    """

    text: str
    is_our_fault: bool = False


class CallerGoneError(ConnectionError):
    """The caller went away, or did not go on in time."""


class Channel:
    """The two ways to a caller.

    Args:
        source: descriptor to read from.
        sink: descriptor to write to; the same for a socket.
    """

    def __init__(self, source: int, sink: int) -> None:
        self.source = source
        self.written = 0
        self._sink = sink
        self._writing = threading.Lock()

    def read(self, size: int, deadline: float) -> bytes:
        """Read exactly so many bytes.

        Raises:
            CallerGoneError: they do not come.
        """
        data = bytearray()
        while len(data) < size:
            more = self._some(size - len(data), deadline)
            if not more:
                raise CallerGoneError("it hung up")
            data += more
        return bytes(data)

    def packet(self, deadline: float) -> pktline.Packet:
        """Read one packet and nothing beyond it.

        Raises:
            PktLineError: it is none.
            CallerGoneError: it does not come.
        """
        size = pktline.parse_length(self.read(pktline.HEADER_SIZE, deadline))
        return self.read(size, deadline) if isinstance(size, int) else size

    def write(self, data: bytes) -> None:
        """Send some bytes, whole; used by several threads at once.

        Raises:
            CallerGoneError: they are not taken.
        """
        with self._writing:
            self.written += 1
            self._write(data)

    def _write(self, data: bytes) -> None:
        left, deadline = memoryview(data), time.monotonic() + ANSWER_SECONDS
        os.set_blocking(self._sink, False)
        while left:
            self._await(self._sink, select.POLLOUT, deadline)
            try:
                left = left[os.write(self._sink, left[:_CHUNK]) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise CallerGoneError(str(error)) from error

    def drop(self) -> None:
        """Read and drop what still comes, as far as is bearable."""
        left, deadline = DROPPED_BYTES, time.monotonic() + DROPPED_SECONDS
        with contextlib.suppress(CallerGoneError):
            while left > 0 and (data := self._some(_CHUNK, deadline)):
                left -= len(data)

    def _some(self, most: int, deadline: float) -> bytes:
        while True:
            self._await(self.source, select.POLLIN, deadline)
            try:
                return os.read(self.source, most)
            except BlockingIOError:
                continue
            except OSError as error:
                raise CallerGoneError(str(error)) from error

    def _await(self, descriptor: int, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise CallerGoneError("it did not go on in time")


def greeting(depot: Depot, version: str | None) -> bytes:
    """Return what a depot says first.

    Args:
        depot: of the repository.
        version: of git's protocol, as asked for.
    """
    shown = depot.greet()
    said = advertisement(shown.refs, depot.object_format, shown.nonce, AGENT, version=version)
    return b"".join(said)


def receive(depot: Depot, channel: Channel, keep_alive: float = SECONDS) -> Ended:
    """Hear one push and answer it.

    Args:
        depot: of the repository.
        channel: to the caller, who has heard the greeting.
        keep_alive: seconds of silence after which the caller is sent an empty packet.

    Returns:
        How it ended, for the log.

    Raises:
        CallerGoneError: the caller went away before it had its answer.
    """
    reader = RequestReader(depot.object_format)
    deadline = time.monotonic() + REQUEST_SECONDS
    try:
        while not reader.take(channel.packet(deadline)):
            pass
    except ProtocolError as error:
        channel.write(encode_fatal(words_of(error), reader.abilities))
        channel.drop()
        return Ended(f"refused: {error}")
    request = reader.request()
    if request.is_empty:
        return Ended("nothing was pushed")
    return _answer(depot, channel, request, keep_alive)


def _answer(depot: Depot, channel: Channel, request: PushRequest, seconds: float) -> Ended:
    """Take a push that was asked for, and report."""
    ended, is_over = Ended("refused"), False
    try:
        admitted = depot.admit(request)
        is_over = not admitted.needs_pack
        pack = _begun_pack(channel) if admitted.needs_pack else None
        has_side_band = b"side-band-64k" in request.abilities
        with KeepAlive(channel if has_side_band else None, seconds):
            report = depot.accept(admitted, pack, _progress(channel, request))
        is_over = True
        if all(not ref.refusal for ref in report.refs):
            ended = Ended("accepted")
    except (GitTorrentError, OSError) as error:
        reason = _reason_of(error)
        report = _report_of(reason, request)
        ended = Ended(f"refused: {reason}", isinstance(reason, LocalError))
    channel.write(encode_report(report, request.abilities, depot.object_format))
    if not is_over:
        channel.drop()
    return ended


def _reason_of(error: GitTorrentError | OSError) -> GitTorrentError:
    """Return why a push failed.

    Raises:
        OSError: the caller has gone, or it is no failure of this machine that is known.
    """
    if isinstance(error, GitTorrentError):
        return error
    reason = None if isinstance(error, CallerGoneError) else local_error(error)
    if reason is None:
        raise error
    return reason


def _begun_pack(channel: Channel) -> SentPack:
    """Read how a pack begins (gitformat-pack(5)); git is told of it, and reads the rest.

    Raises:
        PushRefusedError: it is none.
        CallerGoneError: it does not come.
    """
    header = channel.read(_PACK_HEADER, time.monotonic() + PACK_SECONDS)
    version, objects = (int.from_bytes(header[at : at + 4], "big") for at in (4, 8))
    if header[:4] != b"PACK" or version not in (2, 3):
        raise PushRefusedError("what was sent is no pack", hint="push again")
    return SentPack(objects, f"--pack_header={version},{objects}", channel.source, version)


def _report_of(error: GitTorrentError, request: PushRequest) -> Report:
    """Return the report of a push of which nothing happened."""
    if isinstance(error, LocalError):
        is_full = isinstance(error, NoRoomError) or (
            isinstance(error, GitError) and error.is_for_room
        )
        return refused(_refs_of(request), DISK_FULL if is_full else OUR_FAULT)
    more = error.more if isinstance(error, PushRefusedError) else ()
    return refused(_refs_of(request), words_of(error), *more)


def _refs_of(request: PushRequest) -> list[RefName]:
    return [line.ref for line in request.claimed()]


def _progress(channel: Channel, request: PushRequest) -> Callable[[bytes], None] | None:
    """Return what passes progress on to a caller that wants to see it."""
    if b"side-band-64k" not in request.abilities or b"quiet" in request.abilities:
        return None
    screening = Screening()

    def hear(data: bytes) -> None:
        if shown := screening.feed(data):
            channel.write(encode_message(shown))

    return hear
