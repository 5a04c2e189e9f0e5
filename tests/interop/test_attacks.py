"""Attacks of peers on clones that are under way: real processes, real sockets, and no harm.

Which attack of docs/protocol/trust.md's world is shown to fail where:

| attack | shown in |
|---|---|
| wrong parts at full speed, by somebody dialled or calling | here |
| parts of another reel, of a wrong size, never asked for | here |
| a part begun and not ended, everything claimed and nothing given | here |
| bitmaps that do not fit, claims that are lies | here, test_mirroring |
| floods of lines, pipelines without end, answers not read | here, test_node_attacks |
| bans evaded by a new port or a new identity | here, test_transfer_callers |
| poisoned `try` lines, one source filling the table | here, test_transfer_peer_manager |
| slow and silent callers of the node and of a clone | test_node_attacks, here |
| huge manifests, endless lists | test_mirroring |
| manifests of wrong objects, of strangers, two for one reel | test_manifest_attacks |
| redirects | test_manifest_attacks |
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gittorrent.repository.carried import Carried
from gittorrent.wire.messages import FetchParts, Ready
from support import bulk, gitcmd
from support.attackers import Act, Pack, Trap, Wire, claiming, faults_of, memory
from support.programs import Daemon, Person, Running, serve, somebody, wait_until

RATE = "6M"
"""What the honest node sends in a second: a clone takes some two of them."""

CALLER = re.compile(r"127\.0\.0\.1:\d+ \(called us\)")
"""What somebody who called from this machine is called in messages."""

MEMORY = 48 << 20
"""Bytes that an attack may cost a clone, beyond what an undisturbed one uses: a few parts, and
whatever the allocator keeps."""


@pytest.fixture(scope="module")
def pack(large: Carried) -> Pack:
    (stored,) = large.reels.all()
    manifest = stored.manifest
    return Pack(
        f":{manifest.end}",
        stored.id,
        manifest.pack_size,
        manifest.part_size,
        len(manifest.parts),
        stored.pack,
    )


@pytest.fixture(scope="module")
def node(large: Carried, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    owner = somebody(tmp_path_factory.mktemp("owner") / "owner")
    with serve(owner, large.layout.git_dir, "--up-limit", RATE) as daemon:
        yield daemon


@dataclass
class Scene:
    """A node, somebody who clones from it, and attackers it tells of."""

    node: Daemon
    repository: str
    origin: Carried
    root: Path
    peak: int = 0
    said: list[str] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.node.git.removeprefix("git://").rpartition(":")
        return host, int(port)

    def introduce(self, url: str) -> Wire:
        """Let the node take an attacker for a downloader that listens."""
        wire = Wire.call(self.address, self.repository)
        assert isinstance(next(wire.messages()), Ready)
        wire.say(f"try {url} 3600 partial")
        return wire

    def start(self, person: Person) -> Running:
        words = ["git", "clone", "--mirror", "--progress", self.node.url("project"), "c"]
        return person.start(*words)

    def watch(self, running: Running) -> None:
        """Wait for the end of a clone, with an eye on its memory."""

        def over() -> bool:
            for pid in running.helpers():
                self.peak = max(self.peak, _memory(pid))
            return running.process.poll() is not None

        wait_until(over, "the clone ends")
        self.said.append(running.err)
        assert running.wait() == 0, running.err
        assert "Traceback" not in running.err, running.err
        assert "never retrieved" not in running.err, running.err

    def clone(self, name: str = "reader") -> str:
        """Clone as a new person, and check what comes out; returns what was said."""
        person = somebody(self.root / name)
        running = self.start(person)
        try:
            self.watch(running)
        finally:
            running.stop()
        self.check(person)
        return self.said[-1]

    def check(self, person: Person) -> None:
        refs = gitcmd.refs(person.root / "c")
        assert refs == bulk.published(gitcmd.refs(self.origin.layout.git_dir))
        gitcmd.git(person.root / "c", "fsck", "--strict")
        assert not person.partial


def _memory(pid: int) -> int:
    try:
        return memory(pid)
    except (FileNotFoundError, ProcessLookupError):
        return 0


@pytest.fixture
def scene(node: Daemon, large: Carried, tmp_path: Path) -> Scene:
    return Scene(node, str(large.info.repository_id), large, tmp_path)


@pytest.fixture(scope="module")
def usual(node: Daemon, large: Carried, tmp_path_factory: pytest.TempPathFactory) -> int:
    """Bytes of memory that an undisturbed clone uses."""
    calm = Scene(node, str(large.info.repository_id), large, tmp_path_factory.mktemp("calm"))
    calm.clone()
    return calm.peak


# --- lies about parts -----------------------------------------------------------------------------


def _wrong_bytes(pack: Pack, wire: Wire, trap: Trap, asked: FetchParts) -> None:
    """Send rubbish for all that is asked, as fast as it is taken."""
    for part in asked.indices:
        trap.parts_sent += 1
        wire.say(pack.announce(part), os.urandom(pack.size_of(part)))


def _other_reel(pack: Pack, wire: Wire, trap: Trap, asked: FetchParts) -> None:
    """Send the right bytes under another pack's name."""
    del trap
    line = pack.announce(asked.first).replace(pack.manifest, "ab" * 32)
    wire.say(line, bytes(pack.size_of(asked.first)))


def _wrong_size(pack: Pack, wire: Wire, trap: Trap, asked: FetchParts) -> None:
    del trap
    size = pack.size_of(asked.first) - 1
    wire.say(pack.announce(asked.first, size), bytes(size))


def _never_asked(pack: Pack, wire: Wire, trap: Trap, asked: FetchParts) -> None:
    del trap
    other = (asked.last + 1) % pack.parts
    wire.say(pack.announce(other), bytes(pack.size_of(other)))


def _stalling(pack: Pack, wire: Wire, trap: Trap, asked: FetchParts) -> None:
    """Begin a part and keep quiet."""
    del trap
    wire.say(pack.announce(asked.first), bytes(1000))
    wire.is_over()


def _silent(pack: Pack, wire: Wire, trap: Trap, asked: FetchParts) -> None:
    """Owe everything."""
    del pack, wire, trap, asked


def _all_missing(pack: Pack, wire: Wire, trap: Trap, asked: FetchParts) -> None:
    """Have nothing of what was claimed."""
    del trap
    run = f"parts {asked.first + 1}-{asked.last + 1}/{pack.parts}"
    wire.say(f"missing bundle {pack.reel} {pack.manifest} {run}")


def _bad_bitmap(pack: Pack, wire: Wire, trap: Trap, asked: FetchParts) -> None:
    del trap, asked
    wire.say(pack.claim("ff" * 1000))


Answer = Callable[[Pack, Wire, Trap, FetchParts], None]

LIES = [
    (_wrong_bytes, "wrong digest"),
    (_wrong_size, "announced with"),
    (_never_asked, "not asked"),
    (_bad_bitmap, "bitmap"),
    (_stalling, ""),
    (_silent, ""),
    pytest.param(_other_reel, "not asked", marks=pytest.mark.slow),
    pytest.param(_all_missing, "lacks parts that it said it has", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("lie", "fault"), LIES)
def test_lies_cost_only_their_teller(
    scene: Scene, pack: Pack, usual: int, lie: Answer, fault: str
) -> None:
    act = claiming(pack, lambda wire, trap, asked: lie(pack, wire, trap, asked))
    with Trap(act).open() as trap:
        with scene.introduce(trap.url(scene.repository)):
            said = scene.clone()
    assert trap.calls == 1
    faults = faults_of(said)
    if fault:
        assert fault in faults.pop(trap.url(scene.repository)), said
    assert set(faults) <= {trap.url(scene.repository)}, said
    assert scene.peak < usual + MEMORY
    if lie is _wrong_bytes:
        # What was asked before the first part was judged was two parts, and no more followed.
        assert trap.parts_sent <= 2


def test_only_the_sender_of_rubbish_is_banned(scene: Scene, pack: Pack) -> None:
    """Three clone together; the attacker is dialled by them and calls each as well."""

    def wrong(wire: Wire, trap: Trap, asked: FetchParts) -> None:
        _wrong_bytes(pack, wire, trap, asked)

    people = [somebody(scene.root / f"reader{number}") for number in range(3)]
    with Trap(claiming(pack, wrong)).open() as trap:
        with scene.introduce(trap.url(scene.repository)) as wire:
            running = [scene.start(person) for person in people]
            threading.Thread(
                target=_call_all, args=(scene, wire, trap, claiming(pack, wrong)), daemon=True
            ).start()
            try:
                for one in running:
                    scene.watch(one)
            finally:
                for one in running:
                    one.stop()
    for person in people:
        scene.check(person)
    # Told apart from the honest ones that called from the same address by what it did.
    for said in scene.said:
        faults = re.findall(r"gittorrent: (\S+(?: \(called us\))?) is out: .*wrong digest", said)
        assert len(faults) <= 2, said
        own = trap.url(scene.repository)
        assert all(name == own or CALLER.fullmatch(name) for name in faults), said
    assert any("wrong digest" in said for said in scene.said)
    assert trap.parts_sent <= 2 * 2 * len(people)


def _play(act: Act, wire: Wire, trap: Trap) -> None:
    with contextlib.suppress(OSError), wire:
        act(wire, trap)


def _call_all(scene: Scene, wire: Wire, trap: Trap, act: Act) -> None:
    """Call everybody the node tells of, as one more downloader would."""
    for url in wire.told(trap.url(scene.repository)):
        host, _, port = url.split("/")[2].rpartition(":")
        with contextlib.suppress(OSError):  # it may be done already
            caller = Wire.call((host, int(port)), scene.repository)
            threading.Thread(target=_play, args=(act, caller, trap), daemon=True).start()


# --- floods ---------------------------------------------------------------------------------------

ENOUGH = 64 << 20
"""Bytes an attacker would send if nobody stopped it."""


def _lines(*lines: str) -> bytes:
    return b"".join(f"{len(line) + 5:04x}{line}\n".encode() for line in lines)


def _floods(pack: Pack) -> dict[str, bytes]:
    bitmap = f"{1 << (4 * 2 * ((pack.parts + 7) // 8) - 1):x}"
    return {
        "have push": _lines(*(f"have push {number:040x}" for number in range(1000))),
        "have checkpoint": _lines(*(f"have checkpoint {n:040x} {n + 1}" for n in range(1000))),
        "have bundle": _lines(*[pack.claim(bitmap)] * 500),
        "have others": _lines(
            *(f"have bundle :{number:040x} {number:064x} 99 {'ff' * 30000}" for number in range(64))
        ),
        "try": _lines(*(f"try git://10.9.8.7:{1 + n}/x 3600 partial" for n in range(1000))),
        "alive": _lines("alive") * 5000,
        "unknown": _lines("hello world") * 5000,
        "want": _lines(f"want bundle {pack.reel}") * 100,
        "busy": _lines("busy 3600") * 1000,
        "cancel": _lines(f"cancel bundle {pack.reel} {pack.manifest} parts 1-12/{pack.parts}")
        * 500,
    }


QUICK = ("have push", "have others", "unknown")
FLOODS = [
    *QUICK,
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("have bundle", "try", "alive", "want", "busy", "cancel")
    ),
]


@pytest.mark.parametrize("name", FLOODS)
def test_floods_are_cut_off(scene: Scene, pack: Pack, usual: int, name: str) -> None:
    """A dialled peer says millions of lines, before and while it is asked for anything."""
    sent: list[int] = []

    def act(wire: Wire, trap: Trap) -> None:
        del trap
        sent.append(wire.flood(_floods(pack)[name], ENOUGH))

    with Trap(act).open() as trap:
        with scene.introduce(trap.url(scene.repository)):
            said = scene.clone()
    assert trap.calls == 1, said
    assert scene.peak < usual + MEMORY
    wait_until(lambda: bool(sent), "the flood is over")
    assert sent[0] < ENOUGH // 2, "nobody stopped it"
