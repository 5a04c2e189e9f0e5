"""Fuzz target: push objects, as far as they are read before any signature is judged."""

from __future__ import annotations

from gittorrent.errors import TrustError
from gittorrent.ids import SHA1, SHA256
from gittorrent.push.commit import entry_commit, entry_files, entry_parents, entry_time
from gittorrent.push.object import PushKind, PushObject, parse_push_object
from gittorrent.trust.armor import Armor, wrap
from gittorrent.trust.keys import KeyRef
from gittorrent.trust.signature import detect

_KEY = KeyRef.parse("ssh:SHA256:" + "A" * 42 + "E")
_SIGNATURES = (detect(wrap(b"SSHSIG and so on", Armor.SSH_SIGNATURE, 70)),)
_NONCE = f"certificate version 0.1\npusher me 1600000000 +0000\nnonce x/{'ab' * 20}/1\n\n".encode()
_POLICY = f"""\
gittorrent policy 2
name linux
version 1
genesis {"00" * 16}
threshold 1
root {_KEY}
head refs/heads/main
keeper {_KEY}
""".encode()
_CHECKPOINT = f"""\
object {SHA1.empty_tree}
type tree
tag gittorrent-checkpoint
tagger P <p> 1600000000 +0000

gittorrent checkpoint 1
repository {"a2" * 26}
sequence 2
previous {"ab" * 20}
policy 2 sha256:{"c" * 64}
adopt {"6" * 40}
push {"8" * 40} refs/heads/main applied
head refs/heads/main 2.1
state {"d" * 64}
changes
""".encode()

SEEDS: list[bytes] = [
    PushObject(PushKind.POLICY, _POLICY, _SIGNATURES * 2, pinned=(b"certificate",)).encode(),
    PushObject(PushKind.CHECKPOINT, _CHECKPOINT, _SIGNATURES, signer=_KEY).encode(),
    PushObject(
        PushKind.CERTIFICATE, _NONCE, _SIGNATURES, _KEY, pinned=(b"of the pusher",)
    ).encode(),
    b"gittorrent push 1\n",
    b"gittorrent push 2\n",
]


def one_input(data: bytes) -> None:
    """Read ``data`` as a push object and describe its commit; raises only on a defect."""
    try:
        push = parse_push_object(data)
    except TrustError:
        return
    if push.encode() != data:
        raise RuntimeError("accepted a file that is not in canonical form")
    for object_format in (SHA1, SHA256):
        try:
            parents = entry_parents(push, object_format)
        except TrustError:
            continue
        commit = entry_commit(push, object_format.empty_tree, parents)
        if commit.count(b"\n\n") != 1 or not commit.isascii():
            raise RuntimeError("text leaked into the commit's header")
    if entry_time(push) < 0 or entry_files(push).text != push.text:
        raise RuntimeError("the entry does not hold the text")


if __name__ == "__main__":
    from harness import run

    run(one_input)
