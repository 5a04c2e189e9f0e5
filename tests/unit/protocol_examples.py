"""Makes the worked examples of docs/protocol from one fixed key and one tiny repository.

The pages hold each example in a fenced block below a line ``<!-- example: NAME -->``. After a
change of the protocol run ``python tests/unit/protocol_examples.py``, which writes the blocks
anew; ``test_protocol_examples.py`` fails while pages and code disagree.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gittorrent.git import history, scratch
from gittorrent.git.hashing import hash_objects, tree_content
from gittorrent.git.repository import create_bare
from gittorrent.git.runner import Git
from gittorrent.ids import SHA1, ManifestId, Oid, PushId, RefName, RepositoryId
from gittorrent.push.certificate import Certificate, Line
from gittorrent.push.commit import entry_commit, entry_files, entry_parents
from gittorrent.push.log import VerifiedLog
from gittorrent.push.object import PushKind, PushObject
from gittorrent.reel import segments
from gittorrent.reel.build import build_reel
from gittorrent.reel.manifest import Manifest
from gittorrent.reel.order import Commit, canonical_order
from gittorrent.repository.evidence import GitEvidence
from gittorrent.repository.logstore import identify
from gittorrent.trust.armor import Armor, wrap
from gittorrent.trust.policy import Policy
from gittorrent.trust.signature import Signature, detect
from gittorrent.trust.sshkey import fingerprint
from gittorrent.wire import messages, pktline
from gittorrent.wire.mirrorlist import AuthLine, MirrorEntry, MirrorList, MirrorState
from gittorrent.wire.notify import Notify, encode_answer
from gittorrent.wire.reelname import PackShape, ReelName
from gittorrent.wire.service import MIRROR_SYNC, ServiceRequest, encode_request
from gittorrent.wire.session import Role, Session

PAGES = Path(__file__).parents[2] / "docs" / "protocol"
BLOCK = re.compile(r"(<!-- example: ([a-z0-9-]+) -->\n+```[a-z]*\n)(.*?)(^```$)", re.DOTALL | re.M)

SEED = hashlib.sha256(b"gittorrent protocol examples").digest()
PERSON = b"A U Thor <author@example.com>"
TIME = 1767225600
NODE_ID = "6d6972726f722e6578616d706c652e6f72672031"
ELSEWHERE = PushId("00000000000000000000000000000000000000aa")

README = "".join(
    f"{number}: {hashlib.sha256(str(number).encode()).hexdigest()[:24]}\n" for number in range(8)
).encode()


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


_KEY = ed25519.Ed25519PrivateKey.from_private_bytes(SEED)
_BLOB = _string(b"ssh-ed25519") + _string(
    _KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
)
KEY = fingerprint(_BLOB)


def sign(message: bytes) -> Signature:
    """Sign as ``ssh-keygen -Y sign -n git`` would."""
    fields = _string(b"git") + _string(b"") + _string(b"sha512")
    inner = _KEY.sign(b"SSHSIG" + fields + _string(hashlib.sha512(message).digest()))
    raw = b"SSHSIG" + (1).to_bytes(4, "big") + _string(_BLOB) + fields
    raw += _string(_string(b"ssh-ed25519") + _string(inner))
    return detect(wrap(raw, Armor.SSH_SIGNATURE, width=70))


@dataclass(frozen=True, slots=True)
class Reel:
    """One example reel: what pack-objects was fed, the pack, its manifest and the signed file."""

    plan: bytes
    pack: bytes
    manifest: Manifest

    @property
    def file(self) -> bytes:
        """The manifest as it travels."""
        return self.manifest.text() + sign(self.manifest.text()).data


@dataclass(frozen=True, slots=True)
class World:
    """Everything the examples speak of."""

    policy: bytes
    repository: RepositoryId
    pushes: tuple[tuple[PushId, PushObject], ...]
    commits: tuple[bytes, ...]
    reels: tuple[Reel, Reel]
    objects: tuple[tuple[str, Oid], ...]


def make_world(directory: Path) -> World:
    """Make the example repository below ``directory``, its log of six entries, its two reels."""
    git = create_bare(directory / "hello.git", SHA1)
    named = _history(git)
    main, tag = RefName(b"refs/heads/main"), RefName(b"refs/tags/v1")
    one, two = named["commit 1"], named["commit 2"]
    writer = _Writer(git)
    writer.add(PushKind.POLICY, Policy.first("hello", bytes(range(16)), KEY).text())
    log = writer.log
    writer.add(PushKind.CHECKPOINT, log.first_checkpoint(tagger=PERSON, time=TIME).text())
    ends = []
    for number, lines in enumerate(
        ((Line(None, one, main), Line(None, named["tag v1"], tag)), (Line(one, two, main),)), 1
    ):
        writer.add(PushKind.CERTIFICATE, _certificate(log, lines, TIME + 60 * number).text())
        proposal = log.ledger.proposal(tagger=PERSON, time=TIME + 60 * number + 1)
        ends.append(writer.add(PushKind.CHECKPOINT, proposal.text()))
    before, after = (log.refs_at(end).values() for end in ends)
    first = _reel(git, directory / "1", (), before, log.repository, None, ends[0])
    second = _reel(git, directory / "2", before, after, log.repository, ends[0], ends[1])
    commits = [
        entry_commit(push, _tree(git, push), entry_parents(push, SHA1)) for _, push in writer.pushes
    ]
    return World(
        writer.pushes[0][1].text,
        log.repository,
        tuple(writer.pushes),
        tuple(commits),
        (first, second),
        tuple(named.items()),
    )


class _Writer:
    """Signs entries with the key of the examples and puts them into a log."""

    def __init__(self, git: Git) -> None:
        self._git = git
        self.log = VerifiedLog(SHA1, GitEvidence(git))
        self.pushes: list[tuple[PushId, PushObject]] = []

    def add(self, kind: PushKind, text: bytes) -> PushId:
        signer = None if kind is PushKind.POLICY else KEY
        push = PushObject(kind, text, (sign(text),), signer=signer)
        (push_id,) = identify(self._git, [push], SHA1, write=False)
        self.log.admit(push, push_id)
        self.log.settle()
        self.pushes.append((push_id, push))
        return push_id


def _certificate(log: VerifiedLog, lines: tuple[Line, ...], time: int) -> Certificate:
    pushee = b"git://mirror.example.org/hello.git"
    return Certificate(SHA1, PERSON, time, "+0000", pushee, log.ledger.nonce(), (), lines)


def _tree(git: Git, push: PushObject) -> Oid:
    files = entry_files(push).listed()
    blobs = hash_objects(git, "blob", [content for _, content in files], write=False)
    names = [name for name, _ in files]
    (tree,) = hash_objects(
        git, "tree", [tree_content(list(zip(names, blobs, strict=True)))], write=False
    )
    return tree


def _history(git: Git) -> dict[str, Oid]:
    """Store two commits, each with one file, and an annotated tag of the first."""
    named: dict[str, Oid] = {}
    parent = ""
    changed = README + b"and one line more\n"
    for number, content in enumerate((README, changed), 1):
        (blob,) = hash_objects(git, "blob", [content], write=True)
        (tree,) = hash_objects(git, "tree", [tree_content([("README", blob)])], write=True)
        person = f"{PERSON.decode()} {TIME - 7200 + 3600 * number} +0000"
        text = f"tree {tree}\n{parent}author {person}\ncommitter {person}\n\nChange {number}\n"
        (commit,) = hash_objects(git, "commit", [text.encode()], write=True)
        named |= {f"commit {number}": commit, f"tree {number}": tree, f"blob {number}": blob}
        parent = f"parent {commit}\n"
    tag = (
        f"object {named['commit 1']}\ntype commit\ntag v1\n"
        f"tagger {PERSON.decode()} {TIME - 3000} +0000\n\nThe first\n"
    )
    (named["tag v1"],) = hash_objects(git, "tag", [tag.encode()], write=True)
    return named


def _reel(
    git: Git,
    work: Path,
    start: object,
    end: object,
    repository: RepositoryId,
    start_push: PushId | None,
    end_push: PushId,
) -> Reel:
    before, after = sorted(set(start)), sorted(set(end))  # type: ignore[call-overload]
    work.mkdir()
    objects = git.directory / "objects"
    built = build_reel(objects, SHA1, before, after, work, processes=1)
    assert built is not None
    manifest = built.manifest(repository, SHA1, start_push, end_push)
    return Reel(_fed(objects, before, after), built.path.read_bytes(), manifest)


def _fed(objects: Path, start: list[Oid], end: list[Oid]) -> bytes:
    """Return what pack-objects is fed for a reel of one segment, in the words of the page."""
    with scratch.borrowing(objects, SHA1) as git:
        walked = history.commits_between(git, start, end)
        commits = canonical_order([Commit(c.oid, c.time, c.parents) for c in walked])
        inside = {commit.oid for commit in commits}
        outside = sorted({p for c in commits for p in c.parents} - inside) if start else []
        with history.listed_in_commit_order(git, [c.oid for c in commits], outside) as lines:
            listed = b"".join(lines)
        tags = [oid for oid in end if oid not in start]
        kinds = history.describe(git, tags)
        trailing = [i.oid for i in kinds if i is not None and i.kind == "tag"]
    edges = [f"-{oid}\n" for oid in segments.edges(commits)]
    return "".join(edges).encode() + listed + "".join(f"{oid}\n" for oid in trailing).encode()


@dataclass(frozen=True, slots=True)
class Turn:
    """One packet of the example conversation, and the raw bytes that follow it."""

    sender: Role
    packet: bytes
    payload: bytes = b""
    what: str = ""


def conversation(world: World) -> list[Turn]:
    """Return the conversation of somebody who has nothing with a mirror that has all."""
    caller, mirror = Session(Role.CALLER, 0.0), Session(Role.ANSWERER, 0.0)
    turns: list[Turn] = []

    def ask(message: messages.Message, shape: PackShape | None = None) -> None:
        packet = caller.send(message, shape=shape)
        mirror.feed(packet)
        turns.append(Turn(Role.CALLER, packet))

    def answer(message: messages.Message, payload: bytes = b"", what: str = "") -> None:
        packet = mirror.send(message)
        caller.feed(packet + payload)
        turns.append(Turn(Role.ANSWERER, packet, payload, what))

    request = ServiceRequest(MIRROR_SYNC, b"/hello.git", b"mirror.example.org")
    turns.append(Turn(Role.CALLER, pktline.encode(encode_request(request))))
    head = world.pushes[-1][0]
    answer(messages.Ready(messages.VERSION, NODE_ID))
    answer(messages.HaveCheckpoint(head, len(world.reels) + 1))
    other = MirrorEntry("git://203.0.113.35/hello.git", 3600, MirrorState.CURRENT)
    answer(messages.Try(other))
    ask(messages.FetchLog(head))
    for push_id, push in world.pushes:
        data = push.encode()
        answer(messages.ReceivePush(push_id, len(data)), data, "the push object")
    answer(messages.EndLog(head))
    ask(messages.WantBundle(ReelName(None, head)))
    for reel in reversed(world.reels):
        m = reel.manifest
        answer(messages.HaveBundle(ReelName(m.start, m.end), m.id, m.pack_size, messages.ALL))
    answer(messages.EndWant(ReelName(None, head)))
    for reel in world.reels:
        ask(messages.FetchManifest(reel.manifest.id))
    for reel in world.reels:
        found = messages.ReceiveManifest(reel.manifest.id, len(reel.file))
        answer(found, reel.file, "the manifest and its signature")
    for reel in world.reels:
        m, name = reel.manifest, ReelName(reel.manifest.start, reel.manifest.end)
        ask(messages.FetchParts(name, m.id, 0, 0, 1), PackShape(m.pack_size, m.part_size))
    for reel in world.reels:
        m, name = reel.manifest, ReelName(reel.manifest.start, reel.manifest.end)
        answer(messages.ReceivePart(name, m.id, 0, 1, m.pack_size), reel.pack, "the part")
    ask(messages.FetchPush(ELSEWHERE))
    answer(messages.MissingPush(ELSEWHERE))
    ask(messages.FetchManifest(ManifestId(ELSEWHERE.zfill(64))))
    answer(messages.MissingManifest(ManifestId(ELSEWHERE.zfill(64))))
    ask(messages.Bye("done"))
    return turns


def deflated_log(world: World) -> list[Turn]:
    """Return how somebody with the first checkpoints is sent the rest of the log, deflated."""
    caller, mirror = Session(Role.CALLER, 0.0), Session(Role.ANSWERER, 0.0)
    caller.feed(mirror.send(messages.Ready(messages.VERSION, NODE_ID)))
    rest = world.pushes[-2:]
    head, base = rest[-1][0], world.pushes[-3][0]
    said = [(messages.ReceivePush(push_id, len(p.encode())), p.encode()) for push_id, p in rest]
    # Stored blocks, since how well anything else is deflated is up to the zlib at hand.
    inner = [pktline.encode(message.encode()) + data for message, data in said]
    stream = zlib.compress(b"".join(inner), 0)
    asked = caller.send(messages.FetchLog(head, base, deflated=True))
    mirror.feed(asked)
    given = mirror.send(messages.ReceiveLog(head, len(stream)))
    found = caller.feed(given + stream)
    assert len(found) == len(rest)
    end = mirror.send(messages.EndLog(head))
    caller.feed(end)
    return [
        Turn(Role.CALLER, asked),
        Turn(Role.ANSWERER, given, stream, f"a stream of {sum(map(len, inner))} bytes as they are"),
        Turn(Role.ANSWERER, end),
    ]


ARROWS = {Role.CALLER: "->", Role.ANSWERER: "<-"}


def transcript(turns: list[Turn]) -> str:
    """Write packets down with visible NUL and LF, and raw bytes as what they are."""
    lines = []
    for turn in turns:
        text = turn.packet.decode().replace("\0", "\\0").replace("\n", "\\n")
        lines.append(f"{ARROWS[turn.sender]} {text}")
        if turn.payload:
            lines.append(f"{ARROWS[turn.sender]} ({len(turn.payload)} raw bytes: {turn.what})")
    return "".join(f"{line}\n" for line in lines)


def packets(data: bytes) -> str:
    """Write a run of pkt-lines down, one a line, with visible LF."""
    lines = []
    while data:
        size = max(4, int(data[:4], 16))
        lines.append(data[:size].decode().replace("\n", "\\n"))
        data = data[size:]
    return "".join(f"{line}\n" for line in lines)


def mirror_list(world: World) -> MirrorList:
    """Return the list that a mirror of the example repository answers with."""
    return MirrorList(
        world.repository,
        (AuthLine(b"refs/*", str(KEY)),),
        world.pushes[-1][0],
        (
            MirrorEntry("git://mirror.example.org/hello.git", 86400, MirrorState.CURRENT),
            MirrorEntry("https://cdn.example.net/hello", 86400, MirrorState.CURRENT),
        ),
    )


def _hex(data: bytes) -> str:
    digits = data.hex()
    return "".join(f"{digits[at : at + 80]}\n" for at in range(0, len(digits), 80))


def examples(world: World) -> dict[str, str]:
    """Return the content of every example block, by name."""
    first, taking = (push for _, push in world.pushes[2:4])
    notice = Notify("git://203.0.113.35/hello.git", world.pushes[-1][0], 3600)
    found = {
        "key": f"ssh-ed25519 {wrap(_BLOB, Armor.SSH_SIGNATURE, 99).split()[3].decode()}\n{KEY}\n",
        "policy": world.policy.decode(),
        "repository-id": f"{world.repository}\n",
        "push-certificate": first.text.decode(),
        "checkpoint": taking.text.decode(),
        "push-object": taking.encode().decode(),
        "entry-commit": world.commits[3].decode(),
        "push-ids": "".join(f"{push_id}\n" for push_id, _ in world.pushes),
        "objects": "".join(f"{oid} {name}\n" for name, oid in world.objects),
        "mirror-list": packets(mirror_list(world).encode_packets()),
        "mirror-list-text": mirror_list(world).encode_text().decode(),
        "mirror-notify": packets(notice.encode_packets()),
        "mirror-notify-answer": packets(pktline.encode(encode_answer(1800))),
        "mirror-sync": transcript(conversation(world)),
        "mirror-sync-deflated": transcript(deflated_log(world)),
    }
    for number, reel in enumerate(world.reels, 1):
        found[f"plan-{number}"] = reel.plan.decode().replace("\n", "$\n")
        found[f"pack-{number}"] = _hex(reel.pack)
        found[f"manifest-{number}"] = reel.file.decode()
        found[f"manifest-id-{number}"] = f"{reel.manifest.id}\n"
    return found


def page_examples() -> dict[str, str]:
    """Return the example blocks that the pages hold, by name."""
    found: dict[str, str] = {}
    for page in sorted(PAGES.glob("*.md")):
        for _, name, content, _ in BLOCK.findall(page.read_text(encoding="utf-8")):
            assert name not in found, f"{page.name} has a second example {name}"
            found[name] = content
    return found


def main() -> None:
    """Write the examples into the pages."""
    with tempfile.TemporaryDirectory() as directory:
        made = examples(make_world(Path(directory)))
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        fresh = BLOCK.sub(lambda found: found[1] + made[found[2]] + found[4], text)
        if fresh != text:
            page.write_text(fresh, encoding="utf-8")
            print(f"{page} has new examples")


if __name__ == "__main__":
    main()
