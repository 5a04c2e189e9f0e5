"""What an unmodified git signs when it is offered our nonce is read, and verifies."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gittorrent.ids import SHA1, SHA256, PushId, RefName, RepositoryId
from gittorrent.push.certificate import Line, Nonce, parse_certificate
from gittorrent.push.signed import verified_push
from gittorrent.trust.keys import KeyRef
from gittorrent.trust.signature import split_signed, verify
from gittorrent.trust.sshkey import parse_key_line
from support.gitcmd import ENVIRONMENT, git
from support.gitcmd import text as output

GITS = sorted({path for path in ("/usr/bin/git",) if Path(path).exists()} | {"git"})
ID = RepositoryId("a2" * 26)

DEPOT = """\
#!{python}
import sys
def send(line):
    sys.stdout.buffer.write(b"%04x" % (len(line) + 4) + line)
zero = b"0" * {size}
caps = b"report-status delete-refs push-options atomic object-format={format} push-cert={nonce}"
send(b"{main} refs/heads/main\\0" + caps + b"\\n")
send(b"{main} refs/heads/old\\n")
sys.stdout.buffer.write(b"0000")
sys.stdout.buffer.flush()
data = sys.stdin.buffer
lines = []
while True:
    size = int(data.read(4), 16)
    if not size:
        break
    lines.append(data.read(size - 4))
open({out!r}, "wb").write(b"".join(lines))
for flush in range({options}):
    while (size := int(data.read(4), 16)):
        data.read(size - 4)
data.read()
send(b"unpack ok\\n")
for line in lines[1:]:
    words = line.rstrip(b"\\n").split(b" ")
    if len(words) == 3 and len(words[0]) == {size}:
        send(b"ok " + words[2] + b"\\n")
sys.stdout.buffer.write(b"0000")
"""


def signed(
    tmp_path: Path, program: str, object_format: str, options: tuple[str, ...]
) -> tuple[bytes, dict[str, str], KeyRef]:
    """Push with ``program`` to a depot that keeps the certificate; return it, ids and the key."""
    key = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    work = tmp_path / "work"
    work.mkdir()
    git(work, "init", "-q", "-b", "main", f"--object-format={object_format}")
    ids = {}
    for name in ("old", "new"):
        git(work, "commit", "-q", "--allow-empty", "-m", name)
        ids[name] = output(work, "rev-parse", "HEAD")
    size = len(ids["old"])
    nonce = Nonce(ID, PushId("c" * size), 7)
    depot = tmp_path / "depot"
    depot.write_text(
        DEPOT.format(
            python=sys.executable, size=size, format=object_format, nonce=nonce, main=ids["old"],
            out=str(tmp_path / "certificate"), options=1 if options else 0,
        )
    )  # fmt: skip
    depot.chmod(depot.stat().st_mode | stat.S_IXUSR)
    target = tmp_path / "project.git"
    target.mkdir()
    subprocess.run(
        [
            program, "-c", "gpg.format=ssh", "-c", f"user.signingKey={key}.pub",
            "push", "-q", "--signed", f"--receive-pack={depot}", str(target),
            *(f"--push-option={option}" for option in options),
            "main", "main:refs/heads/topic/one", ":refs/heads/old",
        ],
        check=True, cwd=work, env=ENVIRONMENT,
    )  # fmt: skip
    kept = (tmp_path / "certificate").read_bytes()
    start = kept.index(b"certificate version")
    return kept[start:], ids, parse_key_line(Path(f"{key}.pub").read_text()).key


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
@pytest.mark.parametrize("options", [(), ("atomic", "head=refs/heads/main", "ci.skip: yes")])
@pytest.mark.parametrize("program", GITS)
def test_stock_git(
    tmp_path: Path, program: str, object_format: str, options: tuple[str, ...]
) -> None:
    data, ids, key = signed(tmp_path, program, object_format, options)
    text, signature = split_signed(data.removesuffix(b"push-cert-end\n"))
    known = SHA1 if object_format == "sha1" else SHA256
    certificate = parse_certificate(text, known)
    assert certificate.text() == text
    assert verify(signature, text).key == key
    old, new = known_ids = ids["old"], ids["new"]
    assert len(known_ids) == 2
    assert {(line.ref, line.old, line.new) for line in certificate.lines} == {
        (b"refs/heads/main", old, new),
        (b"refs/heads/topic/one", None, new),
        (b"refs/heads/old", old, None),
    }
    assert certificate.options == tuple(option.encode() for option in options)
    assert certificate.head == (RefName(b"refs/heads/main") if options else None)
    assert (certificate.nonce.count, str(certificate.nonce.repository)) == (7, ID)
    push = verified_push(
        PushId("e" * 40), text, signature, key, repository=ID, names={"project"},
        object_format=known, keyring={},
    )  # fmt: skip
    assert all(isinstance(line, Line) for line in push.certificate.lines)
