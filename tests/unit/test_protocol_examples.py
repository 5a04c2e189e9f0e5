"""The worked examples in docs/protocol are what the code makes, and read back as they should."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

import pytest
from protocol_examples import (
    ARROWS,
    KEY,
    World,
    conversation,
    examples,
    make_world,
    page_examples,
)

from gittorrent.ids import SHA1
from gittorrent.push.certificate import parse_certificate
from gittorrent.push.checkpoint import parse_checkpoint, parse_listing
from gittorrent.push.commit import entry_parents
from gittorrent.push.listing import listing_of
from gittorrent.push.log import VerifiedLog
from gittorrent.push.object import PushKind, parse_push_object
from gittorrent.reel.manifest import parse_manifest
from gittorrent.trust.policy import Policy, repository_id
from gittorrent.trust.signature import split_signed, verify
from gittorrent.trust.sshkey import parse_key_line
from gittorrent.wire import mirrorlist, notify, pktline
from gittorrent.wire.messages import FetchParts, Unknown, parse_message
from gittorrent.wire.reelname import PackShape
from gittorrent.wire.service import MIRROR_SYNC, parse_request
from gittorrent.wire.session import MessageReceived, Role, Session
from support.packets import PacketStream

PAGE = page_examples()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("examples"))


def _packets(text: str) -> bytes:
    lines = [line.replace("\\n", "\n").replace("\\0", "\0") for line in text.splitlines()]
    return "".join(lines).encode()


def test_pages_show_what_the_code_makes(world: World) -> None:
    made = examples(world)
    assert PAGE.keys() == made.keys()
    for name, content in made.items():
        assert PAGE[name] == content, f"example {name}: run python tests/unit/protocol_examples.py"


def test_key() -> None:
    line, name = PAGE["key"].splitlines()
    assert str(parse_key_line(line).key) == name == str(KEY)


def test_policy_gives_the_repository_id() -> None:
    text = PAGE["policy"].encode()
    assert Policy.parse(text).text() == text
    assert repository_id(text) == PAGE["repository-id"].strip()


def named_objects() -> dict[str, str]:
    objects = [line.split(" ", 1) for line in PAGE["objects"].splitlines()]
    return {name: oid for oid, name in objects}


def test_push_certificate() -> None:
    text = PAGE["push-certificate"].encode()
    certificate = parse_certificate(text, SHA1)
    assert certificate.text() == text
    assert certificate.nonce.repository == PAGE["repository-id"].strip()
    assert certificate.nonce.checkpoint == PAGE["push-ids"].split()[1]
    assert certificate.names_repository({"hello"})
    changes = {line.ref: (line.old, line.new) for line in certificate.lines}
    named = named_objects()
    assert changes == {
        b"refs/heads/main": (None, named["commit 1"]),
        b"refs/tags/v1": (None, named["tag v1"]),
    }


def test_checkpoint() -> None:
    text = PAGE["checkpoint"].encode()
    checkpoint = parse_checkpoint(text, SHA1)
    assert checkpoint.text() == text
    ids = PAGE["push-ids"].split()
    assert (checkpoint.number, checkpoint.previous, checkpoint.pushes) == (2, ids[1], (ids[2],))
    entries = parse_listing(checkpoint.listing, SHA1)
    listing = listing_of(checkpoint.head, checkpoint.head_mark, entries)
    assert listing.digest == checkpoint.state
    named = named_objects()
    assert listing.refs() == {
        b"refs/heads/main": named["commit 1"], b"refs/tags/v1": named["tag v1"],
    }  # fmt: skip


def test_push_object() -> None:
    push = parse_push_object(PAGE["push-object"].encode())
    assert push.kind is PushKind.CHECKPOINT
    assert push.text == PAGE["checkpoint"].encode()
    assert verify(push.signatures[0], push.text).key == push.signer == KEY


def test_entry_commit_has_the_push_id() -> None:
    content = PAGE["entry-commit"].encode()
    push = parse_push_object(PAGE["push-object"].encode())
    digest = hashlib.sha1(b"commit %d\0" % len(content) + content, usedforsecurity=False)
    ids = PAGE["push-ids"].split()
    assert digest.hexdigest() == ids[3]
    assert entry_parents(push, SHA1) == (ids[1], ids[2])
    for parent in ids[1:3]:
        assert f"parent {parent}\n".encode() in content


def test_tag_and_signature_please_git(tmp_path: Path) -> None:
    push = parse_push_object(PAGE["push-object"].encode())
    subprocess.run(["git", "init", "-q", "--bare", tmp_path], check=True)
    done = subprocess.run(
        ["git", "-C", tmp_path, "hash-object", "-t", "tag", "-w", "--stdin"],
        input=push.text + push.signatures[0].data,
        stdout=subprocess.PIPE,
        check=True,
    )
    tag = done.stdout.decode().strip()
    allowed = tmp_path / "allowed"
    allowed.write_text(f"author@example.com {PAGE['key'].splitlines()[0]}\n")
    subprocess.run(
        ["git", "-C", tmp_path, "-c", f"gpg.ssh.allowedSignersFile={allowed}", "verify-tag", tag],
        stderr=subprocess.DEVNULL,
        check=True,
    )


def test_log_of_the_examples_is_admitted(world: World) -> None:
    log = VerifiedLog(SHA1)
    for push_id, push in world.pushes:
        log.admit(parse_push_object(push.encode()), push_id)
    log.settle()
    assert log.entries == PAGE["push-ids"].split()
    assert log.ids == PAGE["push-ids"].split()[1::2]
    assert log.repository == PAGE["repository-id"].strip()


@pytest.mark.parametrize("number", [1, 2])
def test_manifest_fits_its_pack(number: int) -> None:
    text, signature = split_signed(PAGE[f"manifest-{number}"].encode())
    manifest = parse_manifest(text)
    pack = bytes.fromhex(PAGE[f"pack-{number}"])
    assert manifest.id == PAGE[f"manifest-id-{number}"].strip()
    assert verify(signature, text).key == KEY
    assert manifest.pack_size == len(pack)
    assert manifest.parts == (hashlib.sha256(pack).hexdigest(),)
    assert manifest.pack_checksum == pack[-20:].hex()
    assert int.from_bytes(pack[8:12], "big") == manifest.objects
    ids = PAGE["push-ids"].split()
    expected = [(None, ids[3]), (ids[3], ids[5])][number - 1]
    assert (manifest.start, manifest.end) == expected


def test_packs_hold_what_was_planned(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "--bare", tmp_path], check=True)
    known: set[str] = set()
    for number in (1, 2):
        planned = [line.split()[0].rstrip("$") for line in PAGE[f"plan-{number}"].splitlines()]
        edges = {word[1:] for word in planned if word.startswith("-")}
        assert edges <= known
        subprocess.run(
            ["git", "-C", tmp_path, "unpack-objects", "-q"],
            input=bytes.fromhex(PAGE[f"pack-{number}"]),
            check=True,
        )
        listed = subprocess.run(
            ["git", "-C", tmp_path, "cat-file", "--batch-check", "--batch-all-objects"],
            stdout=subprocess.PIPE,
            check=True,
        )
        present = {line.split()[0] for line in listed.stdout.decode().splitlines()}
        assert present - known == {word for word in planned if not word.startswith("-")}
        known = present
    assert known == {line.split()[0] for line in PAGE["objects"].splitlines()}


def test_mirror_list() -> None:
    packets = PacketStream().feed(_packets(PAGE["mirror-list"]))
    assert packets.pop() is pktline.FLUSH
    found = mirrorlist.parse_lines([p for p in packets if isinstance(p, bytes)])
    assert found == mirrorlist.parse_text(PAGE["mirror-list-text"].encode())
    assert found.repository_id == PAGE["repository-id"].strip()
    assert found.latest == PAGE["push-ids"].split()[-1]


def test_mirror_notify() -> None:
    packets = PacketStream().feed(_packets(PAGE["mirror-notify"]))
    assert packets.pop() is pktline.FLUSH
    notice = notify.parse_lines([p for p in packets if isinstance(p, bytes)])
    assert notice.ttl == 3600
    (answer,) = PacketStream().feed(_packets(PAGE["mirror-notify-answer"]))
    assert isinstance(answer, bytes)
    assert notify.parse_answer(answer) == 1800


def test_conversation_is_understood_by_both_ends(world: World) -> None:
    """Feed each end the other end's lines as the page shows them."""
    payloads = [turn.payload for turn in conversation(world) if turn.payload]
    ends = {Role.CALLER: Session(Role.CALLER, 0.0), Role.ANSWERER: Session(Role.ANSWERER, 0.0)}
    first, *lines = PAGE["mirror-sync"].splitlines()
    (request,) = PacketStream().feed(_packets(first.removeprefix("-> ")))
    assert isinstance(request, bytes)
    assert parse_request(request).service == MIRROR_SYNC
    received = 0
    for line in lines:
        sender = next(role for role, arrow in ARROWS.items() if line.startswith(f"{arrow} "))
        other = ends[Role.ANSWERER if sender is Role.CALLER else Role.CALLER]
        text = line[3:]
        if raw := re.match(r"\((\d+) raw bytes: ", text):
            payload = payloads.pop(0)
            assert len(payload) == int(raw[1])
            (event,) = other.feed(payload)
            assert isinstance(event, MessageReceived)
            assert bytes(event.payload or b"") == payload
            received += 1
            continue
        packet = _packets(text)
        message = parse_message(packet[4:])
        assert not isinstance(message, Unknown)
        shape = _shape(world, text) if isinstance(message, FetchParts) else None
        assert ends[sender].send(message, shape=shape) == packet
        other.feed(packet)
    assert received == 10
    assert payloads == []
    assert all(session.closed for session in ends.values())


def _shape(world: World, text: str) -> PackShape:
    """Return the shape of the pack that a request names."""
    reel = next(r for r in world.reels if r.manifest.id in text)
    return PackShape(reel.manifest.pack_size, reel.manifest.part_size)
