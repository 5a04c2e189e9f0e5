"""Bans outlast ports and names: who comes back from the same address is known, nobody else is."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from gittorrent.repository.carried import Carried
from gittorrent.transfer.peer_admission import MAX_PER_ADDRESS, MAX_STRIKES
from gittorrent.wire.messages import FetchParts, Ready, WantBundle
from support import bulk, gitcmd
from support.addresses import in_own_network
from support.attackers import Pack, Wire
from support.programs import serve, somebody, wait_until

NODE, EVIL, INNOCENT, LISTENER = (f"10.66.0.{number}" for number in range(1, 5))


def pack_of(carried: Carried) -> Pack:
    (stored,) = carried.reels.all()
    m = stored.manifest
    return Pack(f":{m.end}", stored.id, m.pack_size, m.part_size, len(m.parts), stored.pack)


def lie(address: tuple[str, int], repository: str, pack: Pack) -> tuple[bool, int]:
    """Call a clone, claim everything and send rubbish; tells whether it spoke, and parts sent."""
    sent, spoke = 0, False
    with contextlib.suppress(OSError), Wire.call(address, repository, source=EVIL) as wire:
        for message in wire.messages():
            if isinstance(message, Ready):
                spoke = True
            elif isinstance(message, WantBundle):
                wire.say(pack.claim())
                wire.say(f"end want {message.reel}")
            elif isinstance(message, FetchParts):
                for part in message.indices:
                    wire.say(pack.announce(part), bytes(pack.size_of(part)))
                    sent += 1
    return spoke, sent


def speaks(address: tuple[str, int], repository: str, source: str) -> bool:
    with contextlib.suppress(OSError), Wire.call(address, repository, source=source) as wire:
        return isinstance(next(wire.messages(), None), Ready)
    return False


def test_a_banned_peer_comes_back_in_vain(large: Carried, tmp_path: Path) -> None:
    pack, repository = pack_of(large), str(large.info.repository_id)

    def work() -> None:
        owner, reader = somebody(tmp_path / "owner"), somebody(tmp_path / "reader")
        words = ("--git", f"{NODE}:0", "--up-limit", "1M")
        with serve(owner, large.layout.git_dir, *words) as node:
            assert NODE in node.git
            port = int(node.git.rpartition(":")[2])
            ear = Wire.call((NODE, port), repository, source=LISTENER)
            running = reader.start("git", "clone", "--mirror", "--progress", node.url(), "c")
            try:
                told = next(ear.told(f"git://{LISTENER}:9/{repository}"))
                clone = (NODE, int(told.split("/")[2].rpartition(":")[2]))
                tries = [lie(clone, repository, pack) for _ in range(MAX_STRIKES + 3)]
                assert speaks(clone, repository, INNOCENT)
                assert running.process.poll() is None, "the clone was over too soon"
                assert running.wait() == 0, running.err
            finally:
                running.stop()
                ear.sock.close()
        assert [spoke for spoke, _ in tries] == [True] * MAX_STRIKES + [False] * 3
        assert sum(sent for _, sent in tries) <= 2 * MAX_STRIKES
        assert re.search(rf"{re.escape(EVIL)}:\d+ \(called us\) is out", running.err)
        assert not re.search(rf"{re.escape(INNOCENT)}:\d+ .*is out", running.err)
        refs = gitcmd.refs(reader.root / "c")
        assert refs == bulk.published(gitcmd.refs(large.layout.git_dir))

    in_own_network(work, NODE, EVIL, INNOCENT, LISTENER)


def test_one_address_gets_a_few_callers_in(large: Carried, tmp_path: Path) -> None:
    """However many identities it shows, and the rest of the places are for others."""
    repository = str(large.info.repository_id)

    def work() -> None:
        owner, seeder = somebody(tmp_path / "owner"), somebody(tmp_path / "seeder")
        with serve(owner, large.layout.git_dir, "--git", f"{NODE}:0") as node:
            seeder.git("clone", "-q", "--mirror", f"{node.git}/project.git", "c").ok()
            port = 4799
            words = ["gittorrent", "seed", "c", node.url(), "--port", str(port)]
            running = seeder.start(*words)
            try:
                wait_until(lambda: speaks((NODE, port), repository, INNOCENT), "the seed listens")
                with contextlib.ExitStack() as stack:
                    wires = [
                        stack.enter_context(Wire.call((NODE, port), repository, source=EVIL))
                        for _ in range(3 * MAX_PER_ADDRESS)
                    ]
                    heard = [next(wire.messages(), None) for wire in wires]
                    assert sum(isinstance(one, Ready) for one in heard) == MAX_PER_ADDRESS
                    assert speaks((NODE, port), repository, INNOCENT)
            finally:
                running.stop()

    in_own_network(work, NODE, EVIL, INNOCENT)
