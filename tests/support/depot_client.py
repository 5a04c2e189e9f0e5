"""Pushes to a depot without git's client: whatever somebody might send."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from gittorrent.ids import SHA1, Oid, RefName
from gittorrent.push.certificate import Certificate, Line, Nonce
from gittorrent.push.depot.report import Report
from gittorrent.push.depot.request import PushRequest
from gittorrent.repository.carried import open_carried
from gittorrent.repository.depot import AcceptedPush, RepositoryDepot
from gittorrent.repository.receive_pack import SentPack
from gittorrent.trust.policy import Quorum, Rule
from gittorrent.trust.refpattern import RefPattern
from support import depots
from support.gitcmd import git, text
from support.objects import FILE, write_commit, write_object, write_tree
from support.publishing import builder, grow, publish
from support.signing import TestSigner

MAIN = RefName(b"refs/heads/main")
ALICE, BOB, STRANGER = TestSigner(2), TestSigner(3), TestSigner(4)
BOTH = tuple(sorted((ALICE.key, BOB.key)))


class Client:
    """Makes pushes to one depot, of whatever kind.

    Args:
        directory: an empty one.
    """

    def __init__(self, directory: Path) -> None:
        self.git_dir = directory / "project.git"
        grow(builder(self.git_dir), 3)
        publish(self.git_dir, name="project")
        everywhere = RefPattern(b"refs/heads/*")
        depots.let_in(
            self.git_dir, Rule(everywhere, ALICE.key), Rule(everywhere, BOB.key),
            quorums=(Quorum(RefPattern(b"refs/heads/both"), 2, BOTH),),
        )  # fmt: skip
        self.work = directory / "work.git"
        git(directory, "clone", "-q", "--bare", str(self.git_dir), str(self.work))
        self.accepted: list[AcceptedPush] = []
        self.depot = RepositoryDepot(open_carried(self.git_dir), self.accepted.append)

    @property
    def main(self) -> Oid:
        """What the branch is in the depot's log."""
        return open_carried(self.git_dir).log().refs[MAIN]

    def commit(self, message: str = "new", files: int = 0) -> Oid:
        """Make a commit in the work repository, which may consist of so many new files."""
        parent = self.main
        tree = text(self.work, "rev-parse", f"{parent}^{{tree}}")
        if files:
            names = [f"{message} {number}" for number in range(files)]
            blobs = {n: (FILE, write_object(self.work, "blob", n.encode())) for n in names}
            tree = write_tree(self.work, blobs)
        return Oid(write_commit(self.work, tree, [parent], message))

    def certificate(
        self, *lines: Line, options: tuple[bytes, ...] = (), nonce: Nonce | None = None
    ) -> bytes:
        """Return the text of a certificate."""
        return Certificate(
            object_format=SHA1, pusher=b"P Usher <push@example.org>", time=1_700_000_000,
            zone="+0000", pushee=b"http://h.example.org/project.git",
            nonce=nonce or self.depot.greet().nonce, options=options, lines=lines,
        ).text()  # fmt: skip

    def pack(self, *wanted: str) -> bytes:
        """Return a pack, as `git pack-objects` makes it of revisions; an empty one of nothing."""
        words = "".join(f"{word}\n" for word in wanted).encode()
        return git(self.work, "pack-objects", "--stdout", "--revs", "--thin", "-q", stdin=words)

    def send(
        self,
        certificate: bytes,
        pack: bytes | None,
        signer: TestSigner = ALICE,
        options: tuple[bytes, ...] = (),
    ) -> Report:
        """Push."""
        signed = certificate + signer.sign(certificate).data
        return send(self.depot, PushRequest(frozenset(), (), signed, options), pack)

    def nothing_happened(self) -> None:
        """Check that nothing is left of what was refused."""
        carried = open_carried(self.git_dir)
        assert not carried.log().unfinal
        assert not self.accepted
        assert not list(carried.layout.uploads.glob("*"))
        assert not list(carried.layout.incoming.glob("*"))


def send(depot: RepositoryDepot, request: PushRequest, pack: bytes | None) -> Report:
    """Give a depot a request and the pack that comes with it."""
    admitted = depot.admit(request)
    if pack is None:
        return depot.accept(admitted, None, None)
    with tempfile.TemporaryFile() as file:
        file.write(pack[12:])
        file.flush()
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        count = int.from_bytes(pack[8:12], "big")
        return depot.accept(
            admitted, SentPack(count, f"--pack_header=2,{count}", file.fileno()), None
        )
