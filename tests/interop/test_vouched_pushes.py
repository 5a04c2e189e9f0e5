"""People whom nobody named push at a stranger's mirror, by certifications that lead to them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gittorrent.repository.carried import Carried, open_carried
from gittorrent.repository.signed_entries import Author, EntrySigner
from gittorrent.repository.verify import Verifier
from gittorrent.trust.openpgp import split_certificates
from gittorrent.trust.policy import Rule, WebOfTrust
from gittorrent.trust.refpattern import RefPattern
from support import depots
from support.gitcmd import git, text
from support.gpg import TIME, GpgPeople, GpgPerson, gpg_people
from support.nodes import LOOPBACK, copy_as_mirror, make_home, serving
from support.programs import Person, somebody
from support.publishing import builder, grow, publish

pytestmark = pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg missing")

TWO_STEPS = Rule(RefPattern(b"refs/heads/*"), WebOfTrust(2, 1))


@pytest.fixture
def people() -> Iterator[GpgPeople]:
    with gpg_people() as found:
        yield found


@pytest.fixture
def project(
    tmp_path: Path, people: GpgPeople, monkeypatch: pytest.MonkeyPatch
) -> tuple[Carried, GpgPerson]:
    """A repository of an owner with an OpenPGP key, and of whoever is vouched for in two steps."""
    owner = people.person("owner")
    monkeypatch.setenv("GNUPGHOME", str(people.home_of("owner")))
    path = tmp_path / "project.git"
    grow(builder(path), 3)
    publish(path, name="project", signer=owner.signer)
    depots.let_in(path, TWO_STEPS, signer=owner.signer)
    return open_carried(path), owner


def clone(tmp_path: Path, people: GpgPeople, who: GpgPerson, origin: Carried) -> Person:
    """Return somebody with a clone in ``work``, whose git signs with their key."""
    person = somebody(tmp_path / who.name)
    person.variables["GNUPGHOME"] = str(people.home_of(who.name))
    git(person.root, "clone", "-q", str(origin.layout.git_dir), "work")
    return person


def commit(person: Person, name: str) -> str:
    work = person.root / "work"
    (work / name).write_text(name, encoding="ascii")
    git(work, "add", name)
    git(work, "commit", "-q", "-m", name)
    return text(work, "rev-parse", "HEAD")


def keep(carried: Carried, owner: GpgPerson) -> None:
    """Let the keeper take what is provisional."""
    with carried.writing():
        log = carried.log()
        entries = EntrySigner(carried, log, owner.signer, Author(b"Owner <o@example.org>"))
        entries.checkpoint()
        carried.commit(log)


def test_two_commands_then_plain_git_push(
    tmp_path: Path, people: GpgPeople, project: tuple[Carried, GpgPerson]
) -> None:
    origin, owner = project
    alice, bob = people.person("alice"), people.person("bob")
    owner.certify(alice)
    alice.certify(bob)
    bob.take(alice.certificate())
    mirror = copy_as_mirror(origin, tmp_path / "mirror.git", "git://origin.example.org/project.git")
    person = clone(tmp_path, people, bob, origin)
    work = person.root / "work"
    with serving(mirror, home=make_home(tmp_path / "h"), options=LOOPBACK) as served:
        git(work, "remote", "set-url", "origin", f"{served.http}/project.git")
        new = commit(person, "a")
        said = person.gittorrent("certificate", work, "--key", bob.user).ok().out
        assert "carry 1 certificate now" in said
        done = person.git("push", "origin", "main", cwd=work)
        done.failed(1, "the policy does not let this key")
        words = ("certificate", work, "--key", bob.user, "--also", alice.user)
        assert "carry 2 certificates now" in person.gittorrent(*words).ok().out
        done = person.git("push", "--progress", "origin", "main", cwd=work).ok()
        assert "accepted as push " in done.err
        assert mirror.log().refs[b"refs/heads/main"] == new  # type: ignore[index]
        person.gittorrent("certificate", work, "--remove").ok()
        assert person.git("config", "--get-all", "push.pushOption", cwd=work).status == 1
    # What the keeper takes names the copies that were judged, and replays everywhere else.
    keep(mirror, owner)
    log = mirror.log()
    assert log.head is not None
    (copy,) = log.checkpoint(log.head).checkpoint.copies
    push = mirror.log_store.push(copy.push)
    assert [len(split_certificates(each)) for each in push.pinned] == [1, 1]
    assert log.final_refs[b"refs/heads/main"] == new  # type: ignore[index]
    assert not log.followed
    replayed = mirror.log_store.replay()
    assert replayed.head == log.head
    assert not replayed.followed
    assert not Verifier(mirror).run().findings


def test_who_was_certified_since_the_newest_checkpoint_need_not_wait(
    tmp_path: Path, people: GpgPeople, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, alice = people.person("owner"), people.person("alice")
    monkeypatch.setenv("GNUPGHOME", str(people.home_of("owner")))
    path = tmp_path / "project.git"
    grow(builder(path), 3)
    publish(path, name="project", signer=owner.signer)
    depots.let_in(path, TWO_STEPS, signer=owner.signer, now=TIME + 50)
    origin = open_carried(path)
    person = clone(tmp_path, people, alice, origin)
    work = person.root / "work"
    new = commit(person, "a")
    with serving(origin, home=make_home(tmp_path / "h"), options=LOOPBACK) as served:
        git(work, "remote", "set-url", "origin", f"{served.http}/project.git")
        git(work, "config", "push.gpgSign", "if-asked")
        git(work, "config", "user.signingKey", alice.user)
        done = person.git("push", "origin", "main", cwd=work)
        done.failed(1, "no certificate is known", "run 'gittorrent certificate' in your clone")
        person.gittorrent("certificate", work, "--key", alice.user).ok()
        done = person.git("push", "origin", "main", cwd=work)
        done.failed(1, "no owner's key vouches for it. Once it is certified, run 'gittorrent")
        owner.certify(alice)  # later than the newest checkpoint, and nobody signs another one
        person.gittorrent("certificate", work, "--key", alice.user).ok()
        person.git("push", "origin", "main", cwd=work).ok()
    assert origin.log().refs[b"refs/heads/main"] == new  # type: ignore[index]
    assert (
        f"certificate by {alice.key} ({alice.user}), 20" in person.gittorrent("log", path).ok().out
    )
    keep(origin, owner)
    replayed = origin.log_store.replay()
    assert replayed.final_refs[b"refs/heads/main"] == new  # type: ignore[index]
    assert not replayed.followed


def test_withdrawn_certifications_are_pinned(
    tmp_path: Path, people: GpgPeople, project: tuple[Carried, GpgPerson]
) -> None:
    """Whoever keeps the old copy of a certificate is stopped by the one that the policy pins."""
    origin, owner = project
    alice = people.person("alice")
    owner.certify(alice)
    person = clone(tmp_path, people, alice, origin)
    work = person.root / "work"
    person.gittorrent("certificate", work, "--key", alice.user).ok()
    path = origin.layout.git_dir
    with serving(origin, home=make_home(tmp_path / "h"), options=LOOPBACK) as served:
        git(work, "remote", "set-url", "origin", f"{served.http}/project.git")
        commit(person, "a")
        person.git("push", "origin", "main", cwd=work).ok()
        owner.take_back(alice)
        newer = tmp_path / "alice.asc"
        newer.write_bytes(owner.run("--armor", "--export", alice.fingerprint))
        at_home = somebody(tmp_path / "owner")
        at_home.variables["GNUPGHOME"] = str(people.home_of("owner"))
        words = ("policy", "add", newer, "--pin", "-r", path, "--key", owner.fingerprint)
        said = at_home.gittorrent(*words).ok().out
        assert f"added: certificate of {alice.key} ({alice.user})" in said
        commit(person, "b")
        done = person.git("push", "origin", "main", cwd=work)
        done.failed(1, "the policy does not let this key")
    assert not Verifier(origin).run().findings
