"""What running processes of this node say of themselves, as ``gittorrent status --json`` shows it.

Each kind of process has a type, which its file (`gittorrent.store.snapshot`) names as ``kind``.
Names of fields are documented in docs/commands.md and programs build on them: fields are added, and
never get another meaning. Must not know how the figures come about.
"""

from __future__ import annotations

from msgspec import Struct

from gittorrent.disk_space import ShortDisk
from gittorrent.ids import Oid, PushId, RepositoryId


class Process(Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What all say of themselves; filled in when it is written.

    Args:
        pid: of the process.
        time: when this was true, in seconds since 1970.
    """

    pid: int = 0
    time: float = 0.0


class ConversationFigures(Struct, frozen=True):
    """A conversation of a node that is under way.

    Args:
        peer: IP address of the other end.
        repository: name it is served under.
        seconds: since it began.
        sent: bytes.
        received: bytes.
        rate: bytes sent per second, now.
        parts: that were sent.
        waiting: questions that wait for their answers.
        choked: whether its next part waits for an upload slot.
    """

    peer: str
    repository: str
    seconds: float
    sent: int
    received: int
    rate: int
    parts: int
    waiting: int
    choked: bool


class EndedConversation(Struct, frozen=True):
    """A conversation that ended in the last minute.

    Args:
        peer: IP address of the other end.
        repository: name it was served under.
        sent: bytes.
        received: bytes.
        parts: that were sent.
        reason: why it ended.
        at_fault: whether the other end refused, or broke the protocol.
    """

    peer: str
    repository: str
    sent: int
    received: int
    parts: int
    reason: str
    at_fault: bool


class KeptRepository(Struct, frozen=True):
    """What a node keeps for clones of its machine.

    Args:
        repository_id: its id.
        name: that its policy gives it.
        bytes: on disk.
        seconds_left: until it goes.
        path: its git directory.
    """

    repository_id: RepositoryId
    name: str
    bytes: int
    seconds_left: int
    path: str


class AnswerFigures(Struct, frozen=True):
    """What a node's git answered once and others were given too.

    Args:
        kept: answers that are there.
        bytes: that they take.
        hits: questions since the node started that git was not asked, since it had been before.
        misses: questions that it was asked.
    """

    kept: int = 0
    bytes: int = 0
    hits: int = 0
    misses: int = 0


class GitLoad(Struct, frozen=True):
    """Callers of a node that stock git works for, and those that wait for their turn.

    Args:
        running: callers that it works for.
        waiting: those that wait.
        answers: that are kept.
    """

    running: int = 0
    waiting: int = 0
    answers: AnswerFigures = AnswerFigures()


class KeepingFigures(Struct, frozen=True):
    """A repository whose checkpoints a node signs.

    Args:
        repository_id: its id.
        name: it is served under.
        key: the keeper's, by name.
        waits: whether it signs nothing yet, since mirrors have not said what they have.
        known: mirrors that it waits for, or has heard.
        answered: how many of them have said it, and all that they have is here.
        seconds_left: until it signs without the others.
        clock_ahead: seconds by which its clock is ahead of what it can be.
    """

    repository_id: RepositoryId
    name: str
    key: str
    waits: bool = False
    known: int = 0
    answered: int = 0
    seconds_left: int = 0
    clock_ahead: int = 0

    @property
    def words(self) -> str:
        """What it does, for people."""
        if not self.waits and self.clock_ahead:
            return (
                "signs checkpoints, dated by the time that has passed: the clock is"
                f" {self.clock_ahead} s ahead of what it can be"
            )
        if not self.waits:
            return "signs checkpoints"
        return (
            f"signs nothing yet: {self.answered} of {self.known} mirrors have said what they have;"
            f" without the others it begins in {self.seconds_left} s"
        )


class LackedRef(Struct, frozen=True):
    """A ref whose new value is not here, or not with all that it leads to.

    Args:
        ref: its name.
        oid: its value.
        push: that sets it.
    """

    ref: str
    oid: Oid
    push: PushId


class LackingFigures(Struct, frozen=True):
    """A repository that has pushes in its log, or was told of them, without their objects.

    Args:
        repository_id: its id.
        name: it is served under.
        entries: pushes without their objects, and checkpoints that wait for them.
        refs: what these pushes set, as far as it is not here; of many only some.
        more: how many more there are.
        asked: mirrors and peers that did not give it, those asked last at the end.
        since: when that was noticed, in seconds since 1970.
        tried: when it was last asked for; 0 for not yet.
        again: when it is asked for again unless there is news before; None where nobody offers it.
        reason: why it did not come.
    """

    repository_id: RepositoryId
    name: str
    entries: list[PushId]
    refs: list[LackedRef]
    more: int
    asked: list[str]
    since: float
    tried: float
    again: float | None
    reason: str


class ComingRepository(Struct, frozen=True):
    """A repository that a node is to carry and that is not here yet.

    Args:
        url: where it comes from.
        name: that it was asked for under; empty for the policy's.
        bringing: whether it is being brought now; otherwise it waits for its turn.
        error: why it did not come the last time; empty if that was not tried.
    """

    url: str
    name: str
    bringing: bool
    error: str


class FollowFigures(Struct, frozen=True):
    """What a node follows.

    Args:
        followed: repositories.
        looking: of those, how many it looks at or brings now.
        failing: how many it has no news of, for a reason.
        paused: mirrors that somebody paused.
        coming: what is not here yet, as far as it is shown.
        more: what is not here yet besides.
    """

    followed: int = 0
    looking: int = 0
    failing: int = 0
    paused: int = 0
    coming: list[ComingRepository] = []
    more: int = 0


class DiscoveryFigures(Struct, frozen=True):
    """How a node can be found by those who know a repository's id alone.

    Args:
        dht: whether it uses the DHT.
        lan: whether it makes itself known on the local network.
        port: at which strangers reach it, and which it announces; None if there is none.
        announced: repositories that it announces in the DHT.
    """

    dht: bool = False
    lan: bool = False
    port: int | None = None
    announced: int = 0


class CiRunner(Struct, frozen=True):
    """The node of another CI runner.

    Args:
        url: base URL.
        there: whether it has proved lately that it is one of the fleet.
        found: whether it was found on the local network; otherwise the operator named it.
    """

    url: str
    there: bool
    found: bool = False


class CiFigures(Struct, frozen=True):
    """What a node does for CI jobs.

    Args:
        socket: at which it answers them.
        lan: whether other runners are looked for on the local network.
        port: of HTTP, at which those find this one; None where they do not.
        runners: that it knows.
    """

    socket: str
    lan: bool = False
    port: int | None = None
    runners: list[CiRunner] = []


class NodeProcess(Process, frozen=True, kw_only=True, tag="node"):
    """A node that serves.

    Args:
        listening: base URLs, such as ``git://127.0.0.1:9418``.
        url: base URL under which others reach it, if its operator named one.
        serves: names of the repositories it serves; None for all that are carried.
        callers: connections that are open.
        git: what stock git does for them.
        conversations: under way, the busy ones first; of many only some.
        talks: how many conversations there are.
        ended: those that ended lately.
        cache: what is kept for clones of this machine.
        keeping: repositories whose keeper it is.
        lacking: repositories that lack objects of pushes.
        following: what it follows by itself; None where it serves named repositories only.
        discovery: how it can be found by an id alone.
        current: repositories of which a mirror that it called has nothing new, as a live
            conversation tells; of many only some.
        short: file systems from which it takes nothing more, until there is room.
        lacks: why it is not ready; empty while it is.
        ci: what it does for CI jobs; None where it answers none.
    """

    listening: list[str]
    url: str | None = None
    serves: list[str] | None = None
    callers: int = 0
    git: GitLoad = GitLoad()
    conversations: list[ConversationFigures] = []
    talks: int = 0
    ended: list[EndedConversation] = []
    cache: list[KeptRepository] = []
    keeping: list[KeepingFigures] = []
    lacking: list[LackingFigures] = []
    following: FollowFigures | None = None
    discovery: DiscoveryFigures = DiscoveryFigures()
    current: list[RepositoryId] = []
    short: list[ShortDisk] = []
    lacks: str = ""
    ci: CiFigures | None = None


def peer_name(place: str, called_us: bool) -> str:
    """Return what a peer is called in messages.

    Args:
        place: its URL; ``ADDRESS:PORT`` of one that called us.
        called_us: whether it did.
    """
    return f"{place} (called us)" if called_us else place


class MirrorFigures(Struct, frozen=True):
    """What came from one mirror.

    Args:
        url: of the mirror; ``ADDRESS:PORT`` of a peer that called us.
        rate: bytes per second, now.
        parts: delivered.
        bytes: delivered.
        fault: why it is not asked any more; empty while it is.
        called_us: whether it called us.
    """

    url: str
    rate: float
    parts: int
    bytes: int
    fault: str
    called_us: bool = False

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return peer_name(self.url, self.called_us)


class DownloadFigures(Struct, frozen=True):
    """How far a download is.

    Args:
        parts: verified so far.
        total: of all.
        size: bytes of the pack.
        received: bytes verified in this run.
        mirrors: what came from whom.
    """

    parts: int
    total: int
    size: int
    received: int
    mirrors: tuple[MirrorFigures, ...]


class GivenFigures(Struct, frozen=True):
    """What a peer was given.

    Args:
        peer: its URL; ``ADDRESS:PORT`` of one that called us.
        sent: bytes.
        choked: whether its next part waits for an upload slot.
        called_us: whether it called us.
    """

    peer: str
    sent: int
    choked: bool
    called_us: bool = False


class DownloadProcess(Process, frozen=True, kw_only=True, tag="download"):
    """The download of one reel.

    Args:
        repository_id: of the repository.
        download: how far it is.
        giving: what others were given of it.
    """

    repository_id: RepositoryId
    download: DownloadFigures
    giving: list[GivenFigures] = []


class MirrorProcess(Process, frozen=True, kw_only=True, tag="mirror"):
    """A ``mirror`` that follows a repository.

    Args:
        url: as the user named it.
        repository_id: of the repository; None until it is known.
        name: it is served under; empty until it is carried.
        checking: whether it looks for news, or brings them, now.
        next_check: when it looks again, in seconds since 1970; None while it does.
    """

    url: str
    repository_id: RepositoryId | None = None
    name: str = ""
    checking: bool = True
    next_check: float | None = None


class SeedProcess(Process, frozen=True, kw_only=True, tag="seed"):
    """A ``seed`` that gives what a clone has.

    Args:
        url: of the mirror that it follows.
        repository_id: of the repository.
        name: that its policy gives it.
        path: git directory of the clone.
        port: where it listens.
        latest: the newest push that it knows.
        reels: that it can give.
        impossible: reels that cannot be built from the clone.
        behind: a ref whose published value is not in the clone; None if there is none.
        giving: who is connected, and what they were given.
    """

    url: str
    repository_id: RepositoryId
    name: str
    path: str
    port: int
    latest: PushId
    reels: int
    impossible: int
    behind: str | None
    giving: list[GivenFigures] = []


AnyProcess = NodeProcess | DownloadProcess | MirrorProcess | SeedProcess
"""Every kind that there is."""
