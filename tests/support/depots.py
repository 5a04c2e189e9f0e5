"""A depot over a plain bare repository that takes what is signed and refuses what it is told to.

Run as a program it answers one `git push`, as ``--receive-pack`` starts it: what the front end of
real depots says, without a log behind it.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gittorrent.ids import OBJECT_FORMATS, Oid, PushId, RefName, RepositoryId
from gittorrent.push.certificate import Certificate, Nonce, parse_certificate
from gittorrent.push.depot import admission
from gittorrent.push.depot.advertisement import RefLines
from gittorrent.push.depot.report import RefReport, Report
from gittorrent.push.depot.request import PushRequest
from gittorrent.repository.carried import open_carried
from gittorrent.repository.depot import RepositoryDepot
from gittorrent.repository.receive_pack import (
    Admitted,
    Channel,
    Greeting,
    SentPack,
    greeting,
    receive,
)
from gittorrent.repository.signed_entries import Author, EntrySigner
from gittorrent.signing.keys import Signer
from gittorrent.trust.policy import Rule
from support import dying
from support.signing import TestSigner

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Taken:
    """A push that was let in."""

    certificate: Certificate

    @property
    def needs_pack(self) -> bool:
        """Whether anything is not deleted."""
        return any(line.new is not None for line in self.certificate.lines)


class PlainDepot:
    """Takes signed pushes into a bare repository.

    Args:
        repository: its git directory.
        orders: refs to refuse, with reasons, and the file that requests are noted in.
    """

    def __init__(self, repository: Path, orders: Path) -> None:
        self._repository = repository
        self._orders = orders
        told = json.loads(orders.read_text())
        self._refuse: dict[str, str] = told["refuse"]
        self.object_format = OBJECT_FORMATS[told["format"]]

    def _git(self, *words: str) -> bytes:
        command = ["git", f"--git-dir={self._repository}", *words]
        return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout

    def greet(self) -> Greeting:
        """Show the refs."""
        lines = self._git("for-each-ref", "--format=%(objectname) %(refname)").splitlines()
        refs = {RefName(line[1]): Oid(line[0].decode()) for line in (x.split(b" ") for x in lines)}
        checkpoint = PushId("c" * self.object_format.hex_size)
        return Greeting(RefLines(refs), Nonce(RepositoryId("a2" * 26), checkpoint, 7))

    def admit(self, request: PushRequest) -> Taken:
        """Take what is signed."""
        text, _ = admission.signed_part(request)
        certificate = parse_certificate(text, self.object_format)
        admission.check_request(certificate, request)
        for line in certificate.lines:
            if line.ref.decode() in self._refuse:
                raise admission.PushRefusedError(
                    self._refuse[line.ref.decode()], hint="do something"
                )
        self._orders.with_suffix(".text").write_bytes(text)
        return Taken(certificate)

    def accept(
        self, admitted: Admitted, pack: SentPack | None, hear: Callable[[bytes], None] | None
    ) -> Report:
        """Take the objects and move the refs."""
        if pack is not None:
            done = subprocess.run(
                [
                    "git", f"--git-dir={self._repository}", "index-pack", "--stdin", "--fix-thin",
                    pack.option,
                ],
                stdin=pack.source, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True,
            )  # fmt: skip
            if hear is not None:
                hear(done.stderr + b"indexed\n")
        assert isinstance(admitted, Taken)
        certificate = admitted.certificate
        for line in certificate.lines:
            name = line.ref.decode()
            zero = self.object_format.zero
            self._git("update-ref", name, line.new or zero, line.old or zero)
        refs = tuple(RefReport(line.ref) for line in certificate.lines)
        return Report(refs, remarks=("accepted as push " + "e" * 40,))


def program(
    directory: Path, object_format: str = "sha1", refuse: dict[str, str] | None = None
) -> Path:
    """Write a program for ``--receive-pack`` and return its path; what it took lies beside it."""
    orders = directory / "orders.json"
    orders.write_text(json.dumps({"refuse": refuse or {}, "format": object_format}))
    path = directory / "receive-pack"
    path.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(TESTS)!r})\n"
        f"from support.depots import main\nmain(sys.argv[1], {str(orders)!r})\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def main(repository: str, orders: str) -> None:
    """Answer one push over standard input and output."""
    depot = PlainDepot(Path(repository).resolve(), Path(orders))
    channel = Channel(0, 1)
    channel.write(greeting(depot, os.environ.get("GIT_PROTOCOL")))
    receive(depot, channel)


def carried_program(directory: Path) -> Path:
    """Write a program for ``--receive-pack`` that pushes into a carried repository."""
    path = directory / "receive-pack-carried"
    path.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(TESTS)!r})\n"
        "from support.depots import answer_carried\nanswer_carried(sys.argv[1])\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def answer_carried(repository: str) -> None:
    """Answer one push to a carried repository over standard input and output."""
    depot = RepositoryDepot(open_carried(Path(repository).resolve()))
    channel = Channel(0, 1)
    channel.write(greeting(depot, os.environ.get("GIT_PROTOCOL")))
    # Whoever wants to can have it die while it takes the push.
    dying.watch(int(os.environ.get("DIE_AT", "0")))
    receive(depot, channel)


def let_in(
    repository: Path,
    *rules: Rule,
    signer: Signer | None = None,
    pinned: tuple[bytes, ...] = (),
    now: int | None = None,
    **changes: Any,
) -> None:
    """Add lines to the policy of a published repository, and have it in force.

    Args:
        repository: published by the key, whose keeper it is.
        rules: the lines to add.
        signer: the key; the first test key by default.
        pinned: the OpenPGP certificates of the new version, besides those of the old one.
        now: when, in seconds; by default it is the present.
        changes: other fields of the policy that become different.
    """
    carried = open_carried(repository)
    with carried.writing():
        log = carried.log()
        clock = time.time if now is None else lambda: float(now)
        author = Author(b"P Usher <push@example.org>", clock=clock)
        entries = EntrySigner(carried, log, signer or TestSigner(), author)
        assert log.head is not None
        policy = log.policy.policy
        pinned = (*log.policy.keyring.values(), *pinned)
        rules = (*policy.rules, *rules)
        entries.policy(policy.next_version(log.head, rules=rules, **changes), pinned)
        entries.checkpoint()
        carried.commit(log)


def keep(repository: Path) -> None:
    """Sign a checkpoint over what a published repository shows."""
    carried = open_carried(repository)
    with carried.writing():
        log = carried.log()
        author = Author(b"P Usher <push@example.org>")
        EntrySigner(carried, log, TestSigner(), author).checkpoint()
        carried.commit(log)
