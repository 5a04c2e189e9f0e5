"""Fuzz target: the policy reader. A text is refused, or written again to the same bytes."""

from __future__ import annotations

from gittorrent.trust.errors import PolicyError
from gittorrent.trust.keys import KeyRef
from gittorrent.trust.policy import Change, Policy, repository_id

_SSH = "ssh:SHA256:" + "A" * 42 + "E"
_PGP = "openpgp:" + "1" * 40
_ID = "ab" * 20
_FIRST = f"""\
gittorrent policy 2
name linux
version 1
genesis {"00" * 16}
threshold 2
root {_PGP}
root {_SSH}
key {_PGP} sha256:{"2" * 64}
head refs/heads/main
keeper {_SSH}
auth refs/heads/* {_SSH}
auth refs/tags/* {_PGP} create
auth refs/* {_SSH} force
auth refs/heads/contrib/* web-of-trust depth 2 needs 1
quorum refs/heads/release 2 {_PGP} {_SSH}
mirror git://origin.example.org/linux.git
fresh-within 3600
"""
_LATER = _FIRST.replace(
    f"version 1\ngenesis {'00' * 16}\n",
    f"version 2\nprevious sha256:{'3' * 64}\ncheckpoint {_ID}\n",
)

_PRIVATE = f"{_LATER}private\nreader {_SSH}\n"

SEEDS: list[bytes] = [_FIRST.encode(), _LATER.encode(), _PRIVATE.encode()]
SEEDS += [b"gittorrent policy 1\nname x\n", b""]

_KEY = KeyRef.parse(_SSH)


def one_input(data: bytes) -> None:
    """Read ``data`` as a policy; raises only when the reader itself is wrong."""
    try:
        policy = Policy.parse(data)
    except PolicyError:
        return
    if policy.text() != data:
        raise RuntimeError("accepted a text that is not in canonical form")
    if 2 * policy.threshold <= len(policy.roots):
        raise RuntimeError("accepted a threshold of half of the roots")
    for ref in (b"HEAD", b"refs/gittorrent/log", b"refs/conflicts/a", b"refs/replace/a"):
        if any(policy.allows(ref, _KEY, change) for change in Change):
            raise RuntimeError(f"granted {ref!r}")
    if policy.readers and not policy.private:
        raise RuntimeError("accepted readers of a public repository")
    if policy.version == 1:
        repository_id(data)


if __name__ == "__main__":
    from harness import run

    run(one_input)
