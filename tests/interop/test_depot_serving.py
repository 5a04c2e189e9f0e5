"""Pushes by unmodified git to a running node, over HTTP and git://."""

from __future__ import annotations

import base64
import contextlib
import gzip
import http.client
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.node.git_listener import NO_PUSH
from gittorrent.node.pushes import BUSY, PUSHES
from gittorrent.push.depot.advertisement import SERVICE
from gittorrent.repository.carried import Carried, open_carried
from gittorrent.trust.keys import KeyRef
from gittorrent.trust.openpgp import certificate_digest
from gittorrent.trust.policy import PinnedKey, Rule, WebOfTrust
from gittorrent.trust.refpattern import RefPattern
from gittorrent.trust.sshkey import parse_key_line
from gittorrent.wire import pktline
from support import depots
from support.gitcmd import ENVIRONMENT, git, text
from support.gpg import GpgPeople, GpgPerson, gpg_people
from support.nodes import LOOPBACK, Served, copy_as_mirror, make_home, serving
from support.programs import GITS, Person, wait_until
from support.publishing import builder, grow, publish
from support.repositories import noise

pytestmark = pytest.mark.git_in_turn

PUSHING = replace(LOOPBACK, git_push=True)


@dataclass(frozen=True)
class Place:
    """A mirror that a node serves, and somebody's clone of it."""

    mirror: Carried
    served: Served
    work: Path
    key: Path
    program: str

    @property
    def urls(self) -> dict[str, str]:
        """Where it is pushed to, by transport."""
        return {
            "git": f"{self.served.git}/project.git",
            "http": f"{self.served.http}/project.git",
        }

    def push(self, url: str, *words: str, settings: tuple[str, ...] = ()) -> tuple[int, str]:
        """Run ``git push --signed``; return its status and what it said."""
        chosen = settings or ("gpg.format=ssh", f"user.signingKey={self.key}")
        options = [word for setting in chosen for word in ("-c", setting)]
        done = subprocess.run(
            [self.program, *options, "push", "--signed", url, *words],
            cwd=self.work, env=ENVIRONMENT, capture_output=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stderr.decode()

    def commit(self, name: str, size: int = 1000) -> str:
        """Make a commit with a file that does not compress; return its id."""
        (self.work / name).write_bytes(noise(name, size))
        git(self.work, "add", name)
        git(self.work, "commit", "-q", "-m", name)
        return text(self.work, "rev-parse", "HEAD")

    @property
    def main(self) -> str:
        """What the mirror's log shows."""
        return self.mirror.log().refs[b"refs/heads/main"]  # type: ignore[index]


def published(root: Path, *keys: KeyRef) -> Carried:
    """Publish a repository that some keys may push to."""
    origin = root / "project.git"
    grow(builder(origin), 3)
    publish(origin, name="project")
    depots.let_in(origin, *(Rule(RefPattern(b"refs/heads/*"), key) for key in keys))
    return open_carried(origin)


def made_key(path: Path, kind: str = "ed25519") -> tuple[Path, KeyRef]:
    """Make an SSH key; return its public file, and its name."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path], check=True)
    public = Path(f"{path}.pub")
    return public, parse_key_line(public.read_text()).key


@pytest.fixture(params=GITS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    public, key = made_key(tmp_path / "id")
    origin = published(tmp_path, key)
    mirror = copy_as_mirror(origin, tmp_path / "mirror.git", "git://origin.example.org/project.git")
    work = tmp_path / "work"
    git(tmp_path, "clone", "-q", str(origin.layout.git_dir), str(work))
    with serving(mirror, home=make_home(tmp_path / "home"), options=PUSHING) as served:
        yield Place(mirror, served, work, public, str(request.param))


@pytest.mark.parametrize("transport", ["git", "http"])
def test_push(place: Place, transport: str) -> None:
    url = place.urls[transport]
    new = place.commit("a")
    status, said = place.push("--progress", url, "main")
    assert status == 0, said
    assert "remote: accepted as push " in said
    assert place.main == new
    assert text(place.mirror.layout.git_dir, "rev-parse", "refs/heads/main") == new
    status, said = place.push(url, "main:refs/tags/v1")
    assert (status, "the policy does not let this key do that" in said) == (1, True)
    assert place.push(url, "--dry-run", "main:refs/heads/other")[0] == 0
    status, said = place.push(url, "--atomic", "-o", "atomic", "main:refs/heads/b", "main:c")
    assert status == 0, said
    # Whoever clones from there has it.
    git(place.work, "clone", "-q", url, "again")
    assert text(place.work / "again", "rev-parse", "origin/b") == new


@pytest.mark.parametrize("transport", ["git", "http"])
def test_unsigned(place: Place, transport: str) -> None:
    place.commit("a", 3 << 20)
    done = subprocess.run(
        [place.program, "push", place.urls[transport], "main"],
        cwd=place.work, env=ENVIRONMENT, capture_output=True, check=False,
    )  # fmt: skip
    said = done.stderr.decode()
    assert (done.returncode, "(not signed" in said) == (1, True), said


@pytest.mark.parametrize("transport", ["git", "http"])
def test_large(place: Place, transport: str) -> None:
    """More than git posts at once goes in chunks, and through no buffer of ours."""
    new = place.commit("large", 12 << 20)
    status, said = place.push(place.urls[transport], "main")
    assert status == 0, said
    assert place.main == new


def test_not_enabled_over_git(place: Place, tmp_path: Path) -> None:
    place.commit("a")
    with serving(place.mirror, home=make_home(tmp_path / "other"), options=LOOPBACK) as served:
        status, said = place.push(f"{served.git}/project.git", "main")
        url = f"{served.http}/project.git"
        assert (status, f"{NO_PUSH}; push to {url}, over ssh," in said) == (128, True)
        assert place.push(url, "main")[0] == 0


@pytest.mark.parametrize("with_id", [False, True])
@pytest.mark.parametrize("transport", ["git", "http"])
def test_gittorrent_urls(place: Place, tmp_path: Path, transport: str, with_id: bool) -> None:
    """A clone pushes to where it came from, and has nothing else to set up than signing."""
    scheme, _, rest = place.urls[transport].partition("://")
    owner = f"{place.mirror.info.repository_id}@" if with_id else ""
    person = Person(tmp_path / "person", place.program)
    person.git("clone", "-q", f"gittorrent::{scheme}://{owner}{rest}", "clone").ok()
    work = person.root / "clone"
    for setting in ("gpg.format=ssh", f"user.signingKey={place.key}", "push.gpgSign=if-asked"):
        git(work, "config", *setting.split("=", 1))
    git(work, "commit", "-q", "--allow-empty", "-m", "new")
    new = text(work, "rev-parse", "HEAD")
    done = person.git("push", "--progress", "origin", "main", cwd=work).ok()
    assert "remote: accepted as push " in done.err
    assert place.main == new
    assert text(work, "rev-parse", "origin/main") == new
    git(work, "commit", "-q", "--allow-empty", "-m", "in silence")
    assert person.git("push", "-q", "origin", "main", cwd=work).ok().err == ""
    person.git("push", "origin", "main:refs/tags/v1", cwd=work).failed(1, "the policy does not let")
    person.git("push", "--dry-run", "origin", "main:other", cwd=work).ok()
    person.git("push", "--no-signed", "origin", "main:other", cwd=work).failed(1, "(not signed")
    both = ("--atomic", "-o", "atomic", "origin", "main:refs/heads/b", "main:refs/heads/c")
    person.git("push", *both, cwd=work).ok()
    person.git("push", *both, cwd=work).ok()  # nothing is left to be done


def test_a_gittorrent_url_over_http_that_cannot_be_pushed_to(place: Place, tmp_path: Path) -> None:
    """What git's own helper has to say is all that is said."""
    person = Person(tmp_path / "person", place.program)
    url = f"gittorrent::{place.served.http}/missing.git"
    said = person.git("push", url, "main", cwd=place.work).failed(128, "missing.git/' not found")
    assert "gittorrent:" not in said.err.replace(url, "")


def test_what_sends_too_slowly_or_hangs_up(place: Place) -> None:
    """A caller that goes away in the middle leaves nothing, and holds nobody up."""
    new = place.commit("a")
    with socket.create_connection(place.served.git_address) as sock:
        sock.sendall(pktline.encode(b"git-receive-pack /project.git\0host=x\0"))
        assert b"push-cert=" in sock.recv(1 << 16)
        sock.sendall(pktline.encode(b"push-cert\0 report-status"))
        assert place.push(place.urls["git"], "main")[0] == 0  # meanwhile
    assert place.main == new
    layout = place.mirror.layout
    wait_until(lambda: not list(layout.uploads.glob("*")), "nothing is left of it")


def test_a_pack_that_is_cut_off(place: Place, tmp_path: Path) -> None:
    """Git dies while it sends its pack."""
    place.commit("large", 4 << 20)
    broken = tmp_path / "broken"
    broken.mkdir()
    program = broken / "git"
    program.write_text(
        f'#!/bin/sh\nif [ "$1" = pack-objects ]; then {place.program} "$@" | head -c 2000000;'
        f' exit 1; fi\nexec {place.program} "$@"\n'
    )
    program.chmod(0o755)
    before = place.main
    options = ["-c", "gpg.format=ssh", "-c", f"user.signingKey={place.key}"]
    done = subprocess.run(
        [place.program, f"--exec-path={broken}", *options, "push", "--signed", place.urls["git"],
         "main"],
        cwd=place.work, env=ENVIRONMENT, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    layout = place.mirror.layout
    wait_until(lambda: not list(layout.uploads.glob("*")), "what came of it is gone")
    assert place.main == before
    assert not place.mirror.log().unfinal


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_other_ssh_keys(tmp_path: Path, kind: str) -> None:
    public, key = made_key(tmp_path / "id", kind)
    origin = published(tmp_path, key)
    work = tmp_path / "work"
    git(tmp_path, "clone", "-q", str(origin.layout.git_dir), str(work))
    with serving(origin, home=make_home(tmp_path / "home"), options=PUSHING) as served:
        place = Place(origin, served, work, public, "git")
        new = place.commit("a")
        status, said = place.push(place.urls["http"], "main")
        assert status == 0, said
        assert place.main == new
        assert text(origin.layout.git_dir, "rev-parse", "refs/heads/main") == new  # the origin's


@pytest.fixture
def people() -> Iterator[GpgPeople]:
    if shutil.which("gpg") is None:
        pytest.skip("gpg missing")
    with gpg_people() as found:
        yield found


def gpg_push(
    place: Place, people: GpgPeople, who: GpgPerson, *options: str
) -> tuple[int, str]:  # fmt: skip
    """Push with somebody's OpenPGP key and push options of theirs."""
    settings = [f"push.pushOption={option}" for option in options]
    words = [word for setting in settings for word in ("-c", setting)]
    done = subprocess.run(
        [place.program, "-c", f"user.signingKey={who.fingerprint}", *words,
         "push", "--signed", place.urls["http"], "main"],
        cwd=place.work, env=ENVIRONMENT | {"GNUPGHOME": str(people.home_of(who.name))},
        capture_output=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize("program", GITS)
def test_openpgp(tmp_path: Path, people: GpgPeople, program: str) -> None:
    alice = people.person("alice")
    origin = tmp_path / "project.git"
    grow(builder(origin), 3)
    publish(origin, name="project")
    pinned = PinnedKey(alice.key, certificate_digest(alice.certificate()))
    depots.let_in(
        origin, Rule(RefPattern(b"refs/heads/*"), alice.key),
        keys=(pinned,), pinned=(alice.certificate(),),
    )  # fmt: skip
    work = tmp_path / "work"
    git(tmp_path, "clone", "-q", str(origin), str(work))
    carried = open_carried(origin)
    with serving(carried, home=make_home(tmp_path / "h"), options=PUSHING) as served:
        place = Place(carried, served, work, Path(), program)
        new = place.commit("a")
        status, said = gpg_push(place, people, alice)
        assert status == 0, said
        assert place.main == new


def test_web_of_trust(tmp_path: Path, people: GpgPeople) -> None:
    """Whose key an owner's key certified pushes at a stranger's mirror; others do not."""
    owner, alice, mallory = map(people.person, ("owner", "alice", "mallory"))
    owner.certify(alice)
    origin = tmp_path / "project.git"
    grow(builder(origin), 3)
    os.environ["GNUPGHOME"] = str(people.home_of("owner"))
    try:
        publish(origin, name="project", signer=owner.signer)
        vouched = Rule(RefPattern(b"refs/heads/*"), WebOfTrust(1, 1))
        depots.let_in(origin, vouched, signer=owner.signer)
    finally:
        del os.environ["GNUPGHOME"]
    mirror = copy_as_mirror(open_carried(origin), tmp_path / "mirror.git", "git://o.example.org/x")
    work = tmp_path / "work"
    git(tmp_path, "clone", "-q", str(origin), str(work))
    with serving(mirror, home=make_home(tmp_path / "h"), options=PUSHING) as served:
        place = Place(mirror, served, work, Path(), "git")
        before, new = place.main, place.commit("a")
        for who in (mallory, alice):
            status, said = gpg_push(place, people, who)
            assert (status, "no certificate is known" in said) == (1, True), said
        status, said = gpg_push(place, people, mallory, *certificate_options(mallory))
        assert (status, "the policy does not let this key" in said) == (1, True), said
        assert place.main == before
        status, said = gpg_push(place, people, alice, *certificate_options(alice))
        assert status == 0, said
        assert place.main == new


def certificate_options(who: GpgPerson) -> list[str]:
    """Return the push options that carry somebody's certificate."""
    text = base64.b64encode(who.certificate()).decode()
    return [f"openpgp-certificate={text[at : at + 900]}" for at in range(0, len(text), 900)]


# -- HTTP, byte by byte


def test_http_forms(place: Place) -> None:
    """Requests that ask for nothing, compressed ones, wrong ones."""
    connection = http.client.HTTPConnection(*place.served.http_address)
    connection.request("GET", "/project.git/info/refs?service=git-receive-pack")
    answer = connection.getresponse()
    body = answer.read()
    assert answer.headers["Content-Type"] == "application/x-git-receive-pack-advertisement"
    assert body.startswith(pktline.encode_lines([SERVICE]))
    assert b" push-cert=" in body
    post = "application/x-git-receive-pack-request"
    empty, commands = b"0000", pktline.encode_lines([b"nonsense"])
    for data, headers in (
        (empty, {}),
        (gzip.compress(empty), {"Content-Encoding": "gzip"}),
        (iter([b"00", b"00"]), {"Transfer-Encoding": "chunked"}),
    ):
        connection.request(
            "POST", "/project.git/git-receive-pack", data, {"Content-Type": post, **headers},
            encode_chunked="Transfer-Encoding" in headers,
        )  # fmt: skip
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
    connection.request("POST", "/project.git/git-receive-pack", commands, {"Content-Type": post})
    assert connection.getresponse().read()[4:].startswith(b"ERR not a change of a ref: 'nonsense'")
    connection.close()
    for headers, status in (
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": post, "Content-Encoding": "br"}, 415),
        ({"Content-Type": post, "Origin": "http://example.org"}, 403),
    ):
        connection.request("POST", "/project.git/git-receive-pack", empty, headers)
        assert connection.getresponse().status == status
        connection.close()


def test_expect_continue(place: Place) -> None:
    with socket.create_connection(place.served.http_address) as sock:
        sock.sendall(
            b"POST /project.git/git-receive-pack HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/x-git-receive-pack-request\r\n"
            b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        )
        assert sock.recv(100).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        sock.sendall(b"0000")
        assert sock.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_node_stops_while_somebody_pushes(place: Place, tmp_path: Path) -> None:
    mirror, home = place.mirror, make_home(tmp_path / "other")
    with contextlib.ExitStack() as stack:
        with serving(mirror, home=home, options=PUSHING) as served:
            for _ in range(3):
                sock = stack.enter_context(socket.create_connection(served.git_address))
                sock.sendall(pktline.encode(b"git-receive-pack /project.git\0host=x\0"))
                assert b"push-cert=" in sock.recv(1 << 16)
                sock.sendall(pktline.encode(b"push-cert\0 report-status"))
            sock = stack.enter_context(socket.create_connection(served.http_address))
            sock.sendall(
                b"POST /project.git/git-receive-pack HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/x-git-receive-pack-request\r\n"
                b"Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
            )
            assert sock.recv(100).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
            sock.sendall(pktline.encode(b"push-cert\0 report-status"))
        assert not list(mirror.layout.uploads.glob("*"))


def test_callers_beyond_the_limit_wait_and_are_told(place: Place, tmp_path: Path) -> None:
    options = replace(PUSHING, git_wait=0.0)
    new = place.commit("a")
    with contextlib.ExitStack() as stack:
        served = stack.enter_context(
            serving(place.mirror, home=make_home(tmp_path / "other"), options=options)
        )
        for _ in range(PUSHES):
            sock = stack.enter_context(socket.create_connection(served.git_address))
            sock.sendall(pktline.encode(b"git-receive-pack /project.git\0host=x\0"))
            assert b"push-cert=" in sock.recv(1 << 16)
        for base in (served.git, served.http):
            status, said = place.push(f"{base}/project.git", "main")
            assert (status != 0, BUSY in said) == (True, True), said
    assert place.main != new


@pytest.mark.parametrize("transport", ["git", "http"])
def test_a_depot_that_shows_only_what_is_final(tmp_path: Path, transport: str) -> None:
    """Pushes are taken on top of each other and kept, and stock git sees those that are final."""
    public, key = made_key(tmp_path / "id")
    origin = published(tmp_path, key)
    work = tmp_path / "work"
    git(tmp_path, "clone", "-q", str(origin.layout.git_dir), str(work))
    options, home = replace(PUSHING, final_only=True), make_home(tmp_path / "home")
    with serving(origin, home=home, options=options) as served:
        place = Place(origin, served, work, public, "git")
        url, before = place.urls[transport], text(work, "rev-parse", "HEAD")
        for number in range(2):
            pushed = place.commit(f"file {number}")
            status, said = place.push(url, "HEAD:refs/heads/main", "HEAD:refs/heads/new")
            assert status == 0, said
        assert place.main == pushed
        assert text(work, "ls-remote", url, "refs/heads/*") == f"{before}\trefs/heads/main"
        person = Person(tmp_path / "person")
        listed = person.git("ls-remote", f"gittorrent::{url}", "refs/heads/*").ok().out
        assert listed == f"{pushed}\trefs/heads/main\n{pushed}\trefs/heads/new\n"
        publish(origin.layout.git_dir)
        wanted = f"{pushed}\trefs/heads/main\n{pushed}\trefs/heads/new"
        assert text(work, "ls-remote", url, "refs/heads/*") == wanted
