"""One connection to a peer: handshake, frames, who may ask, what is due when.

Pure. Tracks how far the handshake is, the four states (choked and interested, each way), data
requests that wait for answers each way, which reference objects were announced, and when each end
was last heard. Rules:

- as connecting end all 56 bytes go out at once; as listening end ours go out when the repo hash is
  known and is one of ours, so one listener can serve swarms of both dialects;
- own and already connected peer ids end the connection;
- a message is checked against the dialect before it goes out;
- data requests of a peer that we choke are discarded, and ours are never sent while it chokes us;
- choking discards what was asked and not answered, on both sides.

Must not know what is worth asking, nor where bytes come from.
Source: docs/protocol/gtp01.md, "Handshake" and "Choking".
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct, field

from gittorrent.gtp import handshake, limits
from gittorrent.gtp.errors import ForbiddenMessageError, HandshakeError, MessageError
from gittorrent.gtp.framing import FrameReader, encode_frame
from gittorrent.gtp.messages import (
    DATA_REQUESTS,
    Choke,
    Interested,
    KeepAlive,
    Message,
    MessageId,
    ObjectsAnswer,
    ObjectsRequest,
    PlayAnswer,
    PlayRequest,
    ReferenceEntry,
    References,
    ScanAnswer,
    ScanRequest,
    Stop,
    Unchoke,
    Uninterested,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gittorrent.gtp.messages import BlockName
    from gittorrent.gtp.profile import Profile

Identify: TypeAlias = "Callable[[bytes], Profile | None]"
"""Says which dialect the swarm with this repo hash speaks; None when there is no such swarm."""

Admit: TypeAlias = "Callable[[bytes, bytes], bool]"
"""Says whether a peer id may join the swarm: neither our own nor connected already."""

DataRequest: TypeAlias = ScanRequest | ObjectsRequest | PlayRequest
DataAnswer: TypeAlias = ScanAnswer | ObjectsAnswer | PlayAnswer


class Side(Enum):
    """Which end of a connection we are."""

    CONNECTING = auto()
    LISTENING = auto()


class Opened(Struct, frozen=True):
    """The handshake is complete."""

    repo_hash: bytes
    peer_id: bytes
    profile: Profile


class Received(Struct, frozen=True):
    """A message that fits the state of the conversation."""

    message: Message


class Discarded(Struct, frozen=True):
    """Data requests of ours that the peer will not answer."""

    requests: tuple[DataRequest, ...]


Event: TypeAlias = Opened | Received | Discarded


class _State(Struct):
    """The four flags of a connection."""

    choked: bool = True
    choking: bool = True
    interested: bool = False
    interesting: bool = False


class PeerMachine(Struct):
    """Speaks with one peer; see the module.

    Args:
        side: which end we are.
        peer_id: ours, 20 bytes.
        identify: tells swarms by repo hash.
        admit: tells welcome peers by repo hash and peer id.
        now: seconds that never run backwards.
        repo_hash: whom to ask for, as connecting end.

    ``profile`` is known as soon as our handshake may have gone out, whatever becomes of the peer's.
    ``most_data`` bounds an answer with data, by what is being asked for. ``is_answered`` tells
    whether the message under way is such an answer, and long.
    """

    side: Side
    peer_id: bytes
    identify: Identify
    admit: Admit
    now: float
    repo_hash: bytes = b""
    profile: Profile | None = None
    remote_id: bytes = b""
    state: _State = field(default_factory=_State)
    asked: list[DataRequest] = field(default_factory=list)
    waiting: list[DataRequest] = field(default_factory=list)
    most_data: int = limits.MAX_PACK_MESSAGE
    is_answered: bool = False
    _out: bytearray = field(default_factory=bytearray)
    _greeting: bytearray = field(default_factory=bytearray)
    _greeted: bool = False
    _reader: FrameReader | None = None
    _announced: set[bytes] = field(default_factory=set)
    _known_there: set[bytes] = field(default_factory=set)
    _heard: float = 0.0
    _spoke: float = 0.0

    def __post_init__(self) -> None:
        self._heard = self._spoke = self.now
        if self.side is Side.CONNECTING:
            self.profile = self.identify(self.repo_hash)
            self._greet(self.repo_hash)

    @property
    def is_open(self) -> bool:
        """Tell whether the handshake is complete."""
        return self._reader is not None

    @property
    def held(self) -> int:
        """Bytes kept of a message that is not whole."""
        return len(self._greeting) if self._reader is None else self._reader.held

    @property
    def known_there(self) -> frozenset[bytes]:
        """Ids of references that the peer announced or sent, or was sent."""
        return frozenset(self._known_there)

    def output(self) -> bytes:
        """Return what is to be written now."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def receive(self, now: float, data: bytes) -> Iterator[Event]:
        """Yield what ``data`` comes to.

        Args:
            now: seconds.
            data: bytes of the peer, in any pieces.

        Raises:
            HandshakeError: not a peer for us.
            MessageError: the peer broke the protocol.
        """
        self._heard = now
        if self._reader is None:
            wanted = handshake.SIZE - len(self._greeting)
            self._greeting += data[:wanted]
            data = data[wanted:]
            opened = self._listen_to_greeting()
            if opened is None:
                return
            yield opened
        assert self._reader is not None
        for message in self._reader.feed(data):
            event = self._take(message)
            if event is not None:
                yield event

    def send(self, now: float, message: Message) -> None:
        """Put a message into the output.

        Args:
            now: seconds.
            message: what to say.

        Raises:
            ForbiddenMessageError: the dialect or the state of the conversation forbids it.
        """
        if self.profile is None or not self.is_open:
            raise ForbiddenMessageError("a message before the handshake is complete")
        self.profile.check(message)
        prepared = self._prepare(message)
        if prepared is not None:
            self._out += encode_frame(self.profile.codec, prepared)
            self._spoke = now

    def renew(self, now: float) -> None:
        """Note that up to now it was us who did not read."""
        self._heard = now

    def next_deadline(self) -> float:
        """Return when `tick` has something to do."""
        if self.profile is None or not self.is_open:
            return self._spoke + limits.HANDSHAKE_SECONDS
        dead = self._heard + limits.IDLE_SECONDS
        if not self.profile.codec.keepalives:
            # Silence is how the peer of 2008 says that it has nothing to say.
            return float("inf")
        return min(dead, self._spoke + limits.KEEPALIVE_SECONDS)

    def tick(self, now: float) -> None:
        """Send a keep-alive when one is due.

        Raises:
            HandshakeError: it took too long.
            MessageError: the peer has been silent for too long.
        """
        if now < self.next_deadline():
            return
        if not self.is_open:
            raise HandshakeError(f"no handshake within {limits.HANDSHAKE_SECONDS:.0f} seconds")
        if now >= self._heard + limits.IDLE_SECONDS:
            raise MessageError(f"silent for {limits.IDLE_SECONDS:.0f} seconds")
        self.send(now, KeepAlive())

    def _greet(self, repo_hash: bytes) -> None:
        self._out += handshake.Handshake(repo_hash, self.peer_id).encode()
        self._greeted = True

    def _listen_to_greeting(self) -> Opened | None:
        data = bytes(self._greeting)
        handshake.check_beginning(data)
        if len(data) < handshake.HASH_KNOWN_AFTER:
            return None
        repo_hash = handshake.parse_repo_hash(data)
        if self.side is Side.CONNECTING and repo_hash != self.repo_hash:
            raise HandshakeError(f"the peer answered for another repository, {repo_hash.hex()}")
        profile = self.identify(repo_hash)
        if profile is None:
            raise HandshakeError(f"there is no repository {repo_hash.hex()} here")
        self.profile = profile
        if not self._greeted:
            self._greet(repo_hash)
        if len(data) < handshake.SIZE:
            return None
        found = handshake.parse(data)
        if not self.admit(repo_hash, found.peer_id):
            raise HandshakeError("the peer is ourselves, or is connected already")
        self.repo_hash, self.remote_id = repo_hash, found.peer_id
        self._reader = FrameReader(profile.codec, self._is_wanted)
        if not profile.starts_choked:
            self.state = _State(choked=False, choking=False, interested=True, interesting=True)
        return Opened(repo_hash, found.peer_id, profile)

    def _is_wanted(self, kind: MessageId, size: int) -> bool:
        """Tell whether to read a message; a long answer only if something was asked for."""
        self.is_answered = kind is MessageId.PLAY and size > limits.MAX_MESSAGE
        if not self.is_answered:
            return True
        if not any(isinstance(asked, PlayRequest | ObjectsRequest) for asked in self.asked):
            return False
        if size > self.most_data:
            raise MessageError(f"an answer of {size} bytes; at most {self.most_data} can be right")
        return True

    def _take(self, message: Message) -> Event | None:
        match message:
            case KeepAlive():
                return None
            case Choke():
                self.state.choked = True
                lost, self.asked = tuple(self.asked), []
                return Discarded(lost)
            case Unchoke():
                self.state.choked = False
            case Interested():
                self.state.interesting = True
            case Uninterested():
                self.state.interesting = False
            case ScanRequest() | ObjectsRequest() | PlayRequest():
                return self._take_request(message)
            case ScanAnswer() | PlayAnswer() | ObjectsAnswer():
                if not self._settle(self.asked, message):
                    # An answer that crossed our stop, or that nobody asked for.
                    return None
            case Stop(block):
                self.waiting = _without(self.waiting, block)
            case References(entries):
                free = limits.MAX_REFERENCES - len(self._known_there)
                self._known_there.update(entry.reference for entry in entries[: max(free, 0)])
            case _:
                pass
        return Received(message)

    def _take_request(self, message: DataRequest) -> Event | None:
        if self.state.choking:
            return None
        if len(self.waiting) >= self._most_waiting():
            raise MessageError(f"more than {self._most_waiting()} requests without an answer")
        self.waiting.append(message)
        return Received(message)

    def _most_waiting(self) -> int:
        """A peer of 2008 asks for all commits at once; its requests are tiny, so let it."""
        assert self.profile is not None
        commits = self.profile.blocks_are_commits
        return limits.MAX_BLOCKS if commits else limits.MAX_OPEN_REQUESTS

    def _prepare(self, message: Message) -> Message | None:
        """Note what sending ``message`` changes; returns what really goes out."""
        match message:
            case Choke():
                self.state.choking = True
                self.waiting.clear()
            case Unchoke():
                self.state.choking = False
            case Interested():
                self.state.interested = True
            case Uninterested():
                self.state.interested = False
            case ScanAnswer() | PlayAnswer() | ObjectsAnswer():
                if not self._settle(self.waiting, message):
                    return None
            case References(entries) if entries:
                return self._unannounced(entries)
            case Stop(block):
                self.asked = _without(self.asked, block)
            case _ if isinstance(message, DATA_REQUESTS):
                if self.state.choked:
                    raise ForbiddenMessageError("a data request while the peer chokes us")
                self.asked.append(message)
            case _:
                pass
        return message

    def _unannounced(self, entries: tuple[ReferenceEntry, ...]) -> Message | None:
        """Leave out announcements that either end made on this connection before."""
        fresh = []
        for entry in entries:
            known = entry.reference in self._announced or entry.reference in self._known_there
            if entry.body or not known:
                fresh.append(entry)
            self._announced.add(entry.reference)
            if entry.body:
                self._known_there.add(entry.reference)
        return References(tuple(fresh)) if fresh else None

    @staticmethod
    def _settle(open_requests: list[DataRequest], answer: DataAnswer) -> bool:
        """Remove the request that ``answer`` answers; tells whether there was one."""
        for position, request in enumerate(open_requests):
            if _answers(answer, request):
                del open_requests[position]
                return True
        return False


def _without(requests: list[DataRequest], stopped: BlockName) -> list[DataRequest]:
    """Return what remains of requests after a stop; block size 0 stands for those by id."""
    if not stopped.size:
        return [request for request in requests if not isinstance(request, ObjectsRequest)]
    return [request for request in requests if getattr(request, "block", None) != stopped]


def _answers(answer: DataAnswer, request: DataRequest) -> bool:
    match answer, request:
        case ScanAnswer(block), ScanRequest(asked):
            return block == asked
        case PlayAnswer(block), PlayRequest(asked):
            return block == asked
        case ObjectsAnswer(), ObjectsRequest():
            return True
        case _:
            return False
