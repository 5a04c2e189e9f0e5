"""Taking pushes into a carried repository, by what a client sends that git would not."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zlib
from pathlib import Path

import pytest

from gittorrent.errors import GitTorrentError
from gittorrent.ids import SHA1, Oid, PushId, RefName, RepositoryId
from gittorrent.push.certificate import Certificate, Line, Nonce
from gittorrent.push.depot.admission import PushRefusedError
from gittorrent.push.depot.report import Report
from gittorrent.push.depot.request import PushRequest
from gittorrent.repository.carried import open_carried
from gittorrent.repository.depot import AcceptedPush, RepositoryDepot
from gittorrent.repository.receive_pack import SentPack
from gittorrent.trust.policy import Quorum, Rule
from gittorrent.trust.refpattern import RefPattern
from support import depots
from support.gitcmd import git, text
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

    def commit(self, parent: Oid | None = None, message: str = "new") -> Oid:
        """Make a commit in the work repository."""
        parent = parent or self.main
        tree = text(self.work, "rev-parse", f"{parent}^{{tree}}")
        return Oid(text(self.work, "commit-tree", tree, "-p", parent, "-m", message))

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
        request = PushRequest(frozenset(), (), signed, options)
        admitted = self.depot.admit(request)
        if pack is None:
            return self.depot.accept(admitted, None, None)
        with tempfile.TemporaryFile() as file:
            file.write(pack[12:])
            file.flush()
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            count = int.from_bytes(pack[8:12], "big")
            sent = SentPack(count, f"--pack_header=2,{count}", file.fileno())
            return self.depot.accept(admitted, sent, None)

    def nothing_happened(self) -> None:
        """Check that nothing is left of what was refused."""
        carried = open_carried(self.git_dir)
        assert not carried.log().unfinal
        assert not self.accepted
        assert not list(carried.layout.uploads.glob("*"))
        assert not list(carried.layout.incoming.glob("*"))


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path)


def test_accepted(client: Client) -> None:
    old, new = client.main, client.commit()
    report = client.send(client.certificate(Line(old, new, MAIN)), client.pack(new, f"^{old}"))
    assert [ref.refusal for ref in report.refs] == [""]
    assert client.main == new
    (accepted,) = client.accepted
    assert report.messages[0].startswith(f"accepted as push {accepted.id}")
    assert text(client.git_dir, "cat-file", "-t", accepted.id) == "commit"


def test_replayed(client: Client) -> None:
    old, new = client.main, client.commit()
    certificate, pack = client.certificate(Line(old, new, MAIN)), client.pack(new, f"^{old}")
    client.send(certificate, pack)
    for _ in range(2):
        with pytest.raises(PushRefusedError, match="taken before"):
            client.send(certificate, pack)
        depots.keep(client.git_dir)
    assert len(client.accepted) == 1


def test_by_somebody_else(client: Client) -> None:
    old, new = client.main, client.commit()
    certificate = client.certificate(Line(old, new, MAIN))
    with pytest.raises(PushRefusedError, match="may not push to project"):
        client.send(certificate, client.pack(new, f"^{old}"), STRANGER)
    client.nothing_happened()


def test_forged(client: Client) -> None:
    certificate = client.certificate(Line(client.main, client.commit(), MAIN))
    forged = certificate + ALICE.sign(certificate + b"x").data
    with pytest.raises(GitTorrentError, match="signature"):
        client.depot.admit(PushRequest(frozenset(), (), forged))


@pytest.mark.parametrize("count", [2, 65_535])
def test_counts_that_were_not_offered(client: Client, count: int) -> None:
    nonce = client.depot.greet().nonce
    old, new = client.main, client.commit()
    ahead = Nonce(nonce.repository, nonce.checkpoint, count)
    with pytest.raises(PushRefusedError, match="is behind"):
        client.send(client.certificate(Line(old, new, MAIN), nonce=ahead), client.pack(new))
    client.nothing_happened()


def test_checkpoints_that_are_not_known(client: Client) -> None:
    nonce = client.depot.greet().nonce
    unknown = Nonce(nonce.repository, PushId("d" * 40), 1)
    with pytest.raises(PushRefusedError) as caught:
        client.send(client.certificate(Line(client.main, None, MAIN), nonce=unknown), None)
    assert caught.value.hint == "push again in 10 s"


def test_another_repository(client: Client) -> None:
    nonce = client.depot.greet().nonce
    other = Nonce(RepositoryId("b" * 52), nonce.checkpoint, 1)
    old, new = client.main, client.commit()
    certificate = client.certificate(Line(old, new, MAIN), nonce=other)
    with pytest.raises(GitTorrentError, match="was made for repository"):
        client.send(certificate, client.pack(new, f"^{old}"))
    client.nothing_happened()


def test_what_was_pushed_meanwhile_is_not_pushed_aside(client: Client) -> None:
    """Two were offered the same nonce: who comes second has to merge, whatever the order is."""
    old = client.main
    nonce = client.depot.greet().nonce
    one, two = client.commit(message="one"), client.commit(message="two")
    for signer, new in ((ALICE, one), (BOB, two)):
        made = client.certificate(Line(old, new, MAIN), nonce=nonce)
        report = client.send(made, client.pack(new, f"^{old}"), signer)
        assert bool(report.refs[0].refusal) == (signer is BOB)
    assert "has moved" in report.refs[0].refusal
    assert client.main == one
    third = client.commit(message="three")
    made = client.certificate(Line(None, third, RefName(b"refs/heads/x")), nonce=nonce)
    assert not client.send(made, client.pack(third, f"^{one}")).refs[0].refusal


def test_a_quorum_waits(client: Client) -> None:
    new = client.commit()
    line = Line(None, new, RefName(b"refs/heads/both"))
    first = client.send(client.certificate(line), client.pack(new, f"^{client.main}"))
    assert first.refs[0].values == (None, None)
    assert "waits until others have pushed the same" in first.messages[0]
    second = client.send(client.certificate(line), client.pack(new, f"^{client.main}"), BOB)
    assert second.refs[0].values is None
    assert open_carried(client.git_dir).log().refs[line.ref] == new


def test_objects_that_were_not_sent(client: Client) -> None:
    """Somebody who knows the id of what is not published cannot publish it."""
    old, hidden = client.main, client.commit(message="hidden")
    git(client.git_dir, "fetch", "-q", str(client.work), f"{hidden}:refs/private/x")
    certificate = client.certificate(Line(old, hidden, MAIN))
    with pytest.raises(PushRefusedError, match="objects are missing"):
        client.send(certificate, client.pack())
    client.nothing_happened()
    assert not client.send(certificate, client.pack(hidden, f"^{old}")).refs[0].refusal


def test_bases_that_git_adds_do_not_count_as_sent(client: Client) -> None:
    """A delta against what is not published makes git add that to the pack."""
    lines = b"".join(b"%d secret\n" % number for number in range(500))
    secret = text(client.git_dir, "hash-object", "-w", "--stdin", stdin=lines)
    text(client.work, "hash-object", "-w", "--stdin", stdin=lines)
    near = text(client.work, "hash-object", "-w", "--stdin", stdin=lines + b"more\n")
    first = f"100644 blob {secret}\ta\n"
    tree = text(client.work, "mktree", stdin=f"{first}100644 blob {near}\tb\n".encode())
    old = client.main
    new = Oid(text(client.work, "commit-tree", tree, "-p", old, "-m", "theft"))
    delta = size(len(lines)) + size(len(lines) + 5) + b"\xb0" + len(lines).to_bytes(2, "little")
    pack = packed(
        (1, git(client.work, "cat-file", "commit", new)),
        (2, git(client.work, "cat-file", "tree", tree)),
        (7, delta + b"\x05more\n", bytes.fromhex(secret)),
    )
    with pytest.raises(PushRefusedError, match="objects are missing"):
        client.send(client.certificate(Line(old, new, MAIN)), pack)
    client.nothing_happened()


def size(number: int) -> bytes:
    """Return a number as deltas write sizes, seven bits at a time."""
    low = bytes([number & 0x7F | (0x80 if number > 0x7F else 0)])
    return low + size(number >> 7) if number > 0x7F else low


def packed(*objects: tuple[int, bytes] | tuple[int, bytes, bytes]) -> bytes:
    """Return a pack of (kind, content, base) (gitformat-pack(5))."""
    data = b"PACK" + (2).to_bytes(4, "big") + len(objects).to_bytes(4, "big")
    for kind, content, *base in objects:
        high = len(content) >> 4
        first = kind << 4 | len(content) & 0x0F | (0x80 if high else 0)
        data += bytes([first]) + (size(high) if high else b"")
        data += b"".join(base) + zlib.compress(content)
    return data + hashlib.sha1(data).digest()


def test_cut_off(client: Client) -> None:
    old, new = client.main, client.commit()
    pack = client.pack(new, f"^{old}")
    with pytest.raises(PushRefusedError, match="pack is broken"):
        client.send(client.certificate(Line(old, new, MAIN)), pack[:-21])
    client.nothing_happened()


def test_a_log_that_others_change(client: Client) -> None:
    """Another process publishes between two pushes, and the depot goes on from there."""
    other = RepositoryDepot(open_carried(client.git_dir))
    before = client.depot.greet().nonce
    old, new = client.main, client.commit()
    mine, client.depot = client.depot, other
    client.send(client.certificate(Line(old, new, MAIN)), client.pack(new, f"^{old}"))
    client.depot = mine
    assert client.depot.greet().nonce.count == before.count + 1
    assert client.depot.greet().refs[MAIN] == new
