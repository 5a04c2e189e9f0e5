"""What an unmodified git signs when it is offered our nonce is read, and verifies."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gittorrent.ids import SHA1, SHA256, Oid, PushId, RefName, RepositoryId
from gittorrent.push.certificate import Line, Nonce, parse_certificate
from gittorrent.push.object import PushKind, PushObject
from gittorrent.push.signed import check_signer, read_push
from gittorrent.trust.keys import KeyRef
from gittorrent.trust.openpgp import certificate_fingerprint
from gittorrent.trust.signature import KeyRing, split_signed
from gittorrent.trust.sshkey import parse_key_line
from support.gitcmd import ENVIRONMENT, git
from support.gitcmd import text as output
from support.gpg import gpg_home

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


def made_key(
    tmp_path: Path, home: Path, kind: str
) -> tuple[list[str], dict[str, str], KeyRef, KeyRing]:
    """Make a key; return settings and environment to sign with it, its name and certificate."""
    if kind == "openpgp":
        extra = {"GNUPGHOME": str(home)}
        gpg = ["gpg", "--batch", "--quiet", "--passphrase", ""]
        environment = ENVIRONMENT | extra
        made = [*gpg, "--quick-generate-key", "P Usher <p@example.org>", "ed25519", "sign"]
        subprocess.run(made, check=True, env=environment, capture_output=True)
        exported = [*gpg, "--export", "p@example.org"]
        done = subprocess.run(exported, check=True, env=environment, capture_output=True)
        settings = ["-c", "user.signingKey=p@example.org"]
        return settings, extra, certificate_fingerprint(done.stdout), KeyRing([done.stdout])
    path = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path], check=True)
    settings = ["-c", "gpg.format=ssh", "-c", f"user.signingKey={path}.pub"]
    return settings, {}, parse_key_line(Path(f"{path}.pub").read_text()).key, KeyRing()


def signed(
    tmp_path: Path, program: str, object_format: str, options: tuple[str, ...],
    settings: list[str], extra: dict[str, str],
) -> tuple[bytes, dict[str, str]]:  # fmt: skip
    """Push with ``program`` to a depot that keeps the certificate; return it and ids."""
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
            program, *settings, "push", "-q", "--signed", f"--receive-pack={depot}", str(target),
            *(f"--push-option={option}" for option in options),
            "main", "main:refs/heads/topic/one", ":refs/heads/old",
        ],
        check=True, cwd=work, env=ENVIRONMENT | extra,
    )  # fmt: skip
    kept = (tmp_path / "certificate").read_bytes()
    start = kept.index(b"certificate version")
    return kept[start:], ids


FORMS = [
    ("ed25519", "sha1", ()),
    ("ed25519", "sha1", ("atomic", "head=refs/heads/main", "ci.skip: yes")),
    ("ed25519", "sha256", ("atomic",)),
    ("ecdsa", "sha1", ()),
    ("rsa", "sha1", ()),
    ("openpgp", "sha1", ()),
]


@pytest.mark.parametrize(("kind", "object_format", "options"), FORMS)
@pytest.mark.parametrize("program", GITS)
def test_stock_git(
    tmp_path: Path, program: str, kind: str, object_format: str, options: tuple[str, ...]
) -> None:
    if kind == "openpgp" and shutil.which("gpg") is None:
        pytest.skip("gpg missing")
    with gpg_home() as home:
        settings, extra, key, ring = made_key(tmp_path, home, kind)
        data, ids = signed(tmp_path, program, object_format, options, settings, extra)
    text, signature = split_signed(data.removesuffix(b"push-cert-end\n"))
    known = SHA1 if object_format == "sha1" else SHA256
    certificate = parse_certificate(text, known)
    assert certificate.text() == text
    old, new = Oid(ids["old"]), Oid(ids["new"])
    assert set(certificate.lines) == {
        Line(old, new, RefName(b"refs/heads/main")),
        Line(None, new, RefName(b"refs/heads/topic/one")),
        Line(old, None, RefName(b"refs/heads/old")),
    }
    assert certificate.options == tuple(option.encode() for option in options)
    assert certificate.head == (b"refs/heads/main" if len(options) > 1 else None)
    assert (certificate.nonce.count, certificate.nonce.repository) == (7, ID)
    made, push_id = PushObject(PushKind.CERTIFICATE, text, (signature,), key), PushId("e" * 40)
    signer = check_signer(made, push_id, [ring])
    push = read_push(made, push_id, signer, repository=ID, names={"project"}, object_format=known)
    assert (push.key, push.certificate) == (key, certificate)
