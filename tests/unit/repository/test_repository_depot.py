"""Taking pushes into a carried repository, by what a client sends that git would not."""

from __future__ import annotations

import hashlib
import random
import sys
import threading
import zlib
from pathlib import Path

import pytest

from gittorrent.errors import GitTorrentError
from gittorrent.git.fsckrules import RulesBrokenError
from gittorrent.git.small_pack import pack_objects_in
from gittorrent.ids import SHA1, Oid, PushId, RefName, RepositoryId
from gittorrent.push.certificate import Line, Nonce
from gittorrent.push.depot.admission import PushRefusedError
from gittorrent.push.depot.request import PushRequest
from gittorrent.push.quota import MAX_BYTES
from gittorrent.repository.carried import open_carried
from gittorrent.repository.depot import RepositoryDepot
from gittorrent.repository.kept_log import KeptLog
from gittorrent.repository.uploads import SMALL_BYTES, SMALL_UNPACKED
from support import depots
from support.depot_client import ALICE, BOB, MAIN, STRANGER, Client
from support.gitcmd import git, text


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path)


def test_accepted(client: Client) -> None:
    old, new = client.main, client.commit()
    report = client.send(client.certificate(Line(old, new, MAIN)), client.pack(new, f"^{old}"))
    assert [ref.refusal for ref in report.refs] == [""]
    assert client.main == new
    (accepted,) = client.accepted
    assert report.remarks[0].startswith(f"accepted as push {accepted.id}")
    assert text(client.git_dir, "cat-file", "-t", accepted.id) == "commit"
    assert accepted.pack is not None  # others are given it as it came
    assert pack_objects_in(accepted.pack, SHA1) > 0
    assert accepted.size == len(accepted.pack)


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


def test_an_ordinary_push_starts_three_gits(client: Client) -> None:
    """One that unpacks, one that looks whether all is there, one that moves refs."""
    started: list[str] = []
    is_on = False

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "subprocess.Popen" and is_on:
            started.append(" ".join(map(str, arguments[1])))  # type: ignore[call-overload]

    sys.addaudithook(hook)
    for is_first in (True, False):  # the first one opens the log, and compares all refs
        old, new = client.main, client.commit(files=2)
        certificate, pack = client.certificate(Line(old, new, MAIN)), client.pack(new, f"^{old}")
        is_on = not is_first
        assert not client.send(certificate, pack).refs[0].refusal
        is_on = False
    commands = ("unpack-objects", "rev-list", "update-ref")
    assert [next((c for c in commands if c in words), words) for words in started] == list(commands)


def test_objects_that_are_here_already_and_hidden(client: Client) -> None:
    """Sent again they count as sent, whatever git makes of them."""
    old, new = client.main, client.commit(files=3)
    git(client.git_dir, "fetch", "-q", str(client.work), f"{new}:refs/private/x")
    report = client.send(client.certificate(Line(old, new, MAIN)), client.pack(new, f"^{old}"))
    assert not report.refs[0].refusal
    assert client.main == new


def test_small_packs_are_held_to_the_rules(client: Client) -> None:
    old = client.main
    blob = text(client.work, "hash-object", "-w", "--stdin", stdin=b"x")
    tree = b"100644 .git\0" + bytes.fromhex(blob)
    wrong = text(
        client.work, "hash-object", "--literally", "-t", "tree", "-w", "--stdin", stdin=tree
    )
    new = Oid(text(client.work, "commit-tree", wrong, "-p", old, "-m", "wrong"))
    with pytest.raises(RulesBrokenError) as caught:
        client.send(client.certificate(Line(old, new, MAIN)), client.pack(new, f"^{old}"))
    assert str(caught.value) == f"object {wrong} breaks fsck's rules: hasDotgit: contains '.git'"
    assert "'git config --global fetch.fsck.hasDotgit ignore' on the mirror" in caught.value.hint
    assert "downloaded" not in caught.value.hint
    client.nothing_happened()


def test_few_objects_that_are_large(client: Client) -> None:
    """They stay in their pack, of which a part was read when that came out."""
    old = client.main
    content = random.Random(1).randbytes(5 << 20)
    blob = text(client.work, "hash-object", "-w", "--stdin", stdin=content)
    tree = text(client.work, "mktree", stdin=f"100644 blob {blob}\tlarge\n".encode())
    new = Oid(text(client.work, "commit-tree", tree, "-p", old, "-m", "large"))
    report = client.send(client.certificate(Line(old, new, MAIN)), client.pack(new, f"^{old}"))
    assert not report.refs[0].refusal
    assert client.main == new
    git(client.git_dir, "fsck", "--strict")


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


@pytest.mark.parametrize("steps", [1, 2])
def test_deltas_that_copy_what_is_not_shown_do_not_send_it(client: Client, steps: int) -> None:
    """What they come to is what they are on; git takes no pack in which that is so."""
    secret_text = b"".join(b"%d secret\n" % number for number in range(500))
    secret = text(client.git_dir, "hash-object", "-w", "--stdin", stdin=secret_text)
    listed = f"100644 blob {secret}\ta\n".encode()
    tree = text(client.work, "mktree", "--missing", stdin=listed)
    old = client.main
    new = Oid(text(client.work, "commit-tree", tree, "-p", old, "-m", "theft"))
    length = len(secret_text)
    copied = b"\xb0" + length.to_bytes(2, "little")
    first = size(length) + size(length + steps - 1) + copied + (b"" if steps == 1 else b"\x01x")
    objects: list[tuple[int, bytes] | tuple[int, bytes, bytes]] = [
        (1, git(client.work, "cat-file", "commit", new)),
        (2, git(client.work, "cat-file", "tree", tree)),
        (7, first, bytes.fromhex(secret)),
    ]
    if steps == 2:  # the second is on the first, which begins right before it
        back = len(packed(*objects)) - len(packed(*objects[:2]))
        assert back < 128
        objects.append((6, size(length + 1) + size(length) + copied, bytes([back])))
    pack = packed(*objects)
    with pytest.raises(PushRefusedError, match=r"duplicate base|objects are missing"):
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


@pytest.mark.parametrize("kind", ["blob", "tree", "tag"])
def test_branches_become_commits_and_nothing_else(client: Client, kind: str) -> None:
    tag = f"object {client.main}\ntype commit\ntag t\ntagger T <t@example.org> 1 +0000\n\nx\n"
    data = {"blob": b"blob\n", "tree": b"", "tag": tag.encode()}[kind]
    words = ["hash-object", "-t", kind, "-w", "--stdin"]
    made = Oid(text(client.work, *words, stdin=data))
    pack = git(client.work, "pack-objects", "--stdout", "-q", stdin=f"{made}\n".encode())
    for ref in (RefName(b"refs/heads/new"), RefName(b"refs/heads/both")):
        report = client.send(client.certificate(Line(None, made, ref)), pack)
        assert "can only be a commit" in report.refs[0].refusal
    client.nothing_happened()


def test_a_small_pack_that_stands_for_much_is_not_unpacked(client: Client) -> None:
    """Git would set aside memory for what its objects come to; as a pack they stay small."""
    blob = bytes(SMALL_UNPACKED + 1)
    made = text(client.work, "hash-object", "-w", "--stdin", stdin=blob)
    tree = text(client.work, "mktree", stdin=f"100644 blob {made}\tzeros\n".encode())
    new = Oid(text(client.work, "commit-tree", tree, "-p", client.main, "-m", "zeros"))
    old, pack = client.main, client.pack(new, f"^{client.main}")
    assert len(pack) < SMALL_BYTES
    client.send(client.certificate(Line(old, new, MAIN)), pack)
    assert client.main == new
    assert not (client.git_dir / "objects" / made[:2] / made[2:]).exists()
    assert text(client.git_dir, "cat-file", "-s", made) == str(len(blob))
    kept = client.commit()
    client.send(client.certificate(Line(new, kept, MAIN)), client.pack(kept, f"^{new}"))
    assert (client.git_dir / "objects" / kept[:2] / kept[2:]).exists()


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
    listed = client.depot.greet().refs
    assert listed.first(b"").endswith(new.encode() + b" refs/heads/main\n")


def test_copies_that_lack_history(client: Client) -> None:
    """Where commits are cut off, or objects left out, nothing can be judged."""
    old, new = client.main, client.commit()
    certificate, pack = client.certificate(Line(old, new, MAIN)), client.pack(new, f"^{old}")
    shallow = client.git_dir / "shallow"
    shallow.write_text(f"{old}\n")
    with pytest.raises(PushRefusedError, match="lacks a part of the history"):
        client.send(certificate, pack)
    shallow.unlink()
    git(client.git_dir, "config", "remote.origin.promisor", "true")
    with pytest.raises(PushRefusedError, match="lacks a part of the history"):
        client.send(certificate, pack)
    git(client.git_dir, "config", "--unset", "remote.origin.promisor")
    assert not client.send(certificate, pack).refs[0].refusal


def test_no_more_bytes_than_the_quota_of_one_key(client: Client) -> None:
    kept = KeptLog(open_carried(client.git_dir))
    client.depot = RepositoryDepot(kept.carried, client.accepted.append, kept)
    kept.quota.add(ALICE.key, PushId("1" * 40), MAX_BYTES)
    old, new = client.main, client.commit()
    certificate, pack = client.certificate(Line(old, new, MAIN)), client.pack(new, f"^{old}")
    with pytest.raises(PushRefusedError, match="256 MiB"):
        client.send(certificate, pack)
    client.nothing_happened()
    client.send(certificate, pack, BOB)
    assert client.main == new


def pushed_at_once(client: Client, pushes: list[tuple[bytes, bytes]]) -> list[str]:
    """Push all together, and return why each was refused."""
    said = [""] * len(pushes)
    begin = threading.Barrier(len(pushes))

    def push(number: int) -> None:
        begin.wait()
        try:
            said[number] = client.send(*pushes[number]).refs[0].refusal
        except PushRefusedError as error:
            said[number] = str(error)

    threads = [threading.Thread(target=push, args=(number,)) for number in range(len(pushes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return said


def test_pushes_of_different_branches_at_once(client: Client) -> None:
    """They share a step, which is as if each had come alone."""
    old = client.main
    made = [client.commit(f"at once {number}", files=1) for number in range(6)]
    refs = [RefName(b"refs/heads/%d" % number) for number in range(6)]
    pushes = [
        (client.certificate(Line(None, new, ref)), client.pack(new, f"^{old}"))
        for ref, new in zip(refs, made, strict=True)
    ]
    assert pushed_at_once(client, pushes) == [""] * 6
    log = open_carried(client.git_dir).log()
    assert {ref: log.refs[ref] for ref in refs} == dict(zip(refs, made, strict=True))
    assert len(client.accepted) == len(log.unfinal) == 6
    git(client.git_dir, "fsck", "--strict")
    assert log.refs == open_carried(client.git_dir).log_store.replay().refs


def test_pushes_of_one_branch_at_once(client: Client) -> None:
    """One is taken; the others are refused, whatever step they shared, and change nothing."""
    old = client.main
    made = [client.commit(f"at once {number}", files=1) for number in range(5)]
    pushes = [
        (client.certificate(Line(old, new, MAIN)), client.pack(new, f"^{old}")) for new in made
    ]
    other = client.commit("other")
    beside = client.certificate(Line(None, other, RefName(b"refs/heads/beside")))
    pushes.append((beside, client.pack(other, f"^{old}")))
    said = pushed_at_once(client, pushes)
    assert sorted(map(bool, said)) == [False, False, True, True, True, True]
    assert said[-1] == ""
    log = open_carried(client.git_dir).log()
    assert log.refs[MAIN] == made[said.index("")]
    assert log.refs[RefName(b"refs/heads/beside")] == other
    assert len(log.unfinal) == len(client.accepted) == 2
    assert all("moved" in words or "fast-forward" in words for words in said if words)


def test_the_same_push_twice_at_once(client: Client) -> None:
    old, new = client.main, client.commit()
    pushes = [(client.certificate(Line(old, new, MAIN)), client.pack(new, f"^{old}"))] * 2
    said = sorted(pushed_at_once(client, pushes))
    assert said[0] == ""
    assert "taken before" in said[1]
