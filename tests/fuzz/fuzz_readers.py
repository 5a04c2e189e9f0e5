"""Fuzz target: who may read, as it is kept and as sshd says it. What is damaged lets nobody in."""

from __future__ import annotations

from gittorrent.trust.keys import KeyKind
from gittorrent.trust.readers import decode_readers, encode_readers
from gittorrent.trust.ssh_login import keys_of_login

_SSH = "ssh:SHA256:" + "A" * 42 + "E"
_PGP = "openpgp:" + "1" * 40
_LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFao2Xq9ouP6ey3RUVsK8MeLcMEhL7jPerwnfk4FofH4"

SEEDS: list[bytes] = [
    f"gittorrent readers 1\n{_PGP}\n{_SSH}\n".encode(),
    b"gittorrent readers 1\n",
    f"publickey {_LINE}\n".encode(),
    f"password\npublickey {_LINE}\npublickey {_LINE}\n".encode(),
    b"",
]


def one_input(data: bytes) -> None:
    """Read ``data`` as either; raises only when a reader itself is wrong."""
    readers = decode_readers(data)
    if readers and decode_readers(encode_readers(readers)) != readers:
        raise RuntimeError("writing and reading readers gives others")
    if any(key.kind is not KeyKind.SSH for key in keys_of_login(data)):
        raise RuntimeError("somebody logged in over ssh with a key of another kind")


if __name__ == "__main__":
    from harness import run

    run(one_input)
