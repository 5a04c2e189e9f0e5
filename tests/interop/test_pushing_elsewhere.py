"""The host that a push is for is gone, or none is named: a mirror that is known takes the push."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from msgspec.structs import replace as changed

from gittorrent.ids import RefName
from gittorrent.node.git_listener import NO_PUSH
from gittorrent.node.options import Options
from gittorrent.repository.carried import Carried, open_carried
from gittorrent.trust.policy import Rule
from gittorrent.trust.refpattern import RefPattern
from gittorrent.trust.sshkey import parse_key_line
from support import depots, nodes
from support.gitcmd import git, text
from support.nodes import LOOPBACK
from support.programs import GITS, Person, somebody
from support.publishing import builder, grow, publish
from support.running_servers import running

PUSHING = changed(LOOPBACK, git_push=True)
MAIN = RefName(b"refs/heads/main")


@dataclass(frozen=True)
class Place:
    """An origin, a mirror that it lists, and somebody with a clone and a key that may push."""

    origin: Carried
    mirror: Carried
    person: Person
    root: Path

    def clone(self, way: str, at: str, options: Options) -> tuple[Path, str]:
        """Clone from the origin while it is there; return the clone, with a commit, and its tip.

        Args:
            way: transport of the origin.
            at: URL of the mirror that it lists.
            options: of the origin's node.
        """
        home = nodes.make_home(self.root / "origin-node")
        nodes.list_mirrors(home, self.origin, f"{at}/project.git")
        with nodes.serving(self.origin, home=home, options=options) as served:
            scheme, _, rest = getattr(served, way).partition("://")
            self.person.git("clone", "-q", f"gittorrent::{scheme}://{rest}/project.git", "c").ok()
        return self.committed()

    def committed(self) -> tuple[Path, str]:
        work = self.person.root / "c"
        key = self.person.root / "id.pub"
        for name, value in (("gpg.format", "ssh"), ("user.signingKey", str(key))):
            git(work, "config", name, value)
        git(work, "config", "push.gpgSign", "if-asked")
        git(work, "commit", "-q", "--allow-empty", "-m", "new")
        return work, text(work, "rev-parse", "HEAD")

    def shown(self) -> str | None:
        """Return what main is at the mirror."""
        return self.mirror.log().refs.get(MAIN)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    person = somebody(tmp_path / "person")
    person.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", person.root / "id").ok()
    key = parse_key_line((person.root / "id.pub").read_text()).key
    origin = tmp_path / "project.git"
    grow(builder(origin), 3)
    publish(origin, name="project")
    depots.let_in(origin, Rule(RefPattern(b"refs/heads/*"), key))
    carried = open_carried(origin)
    mirror = nodes.copy_as_mirror(carried, tmp_path / "mirror.git", "")
    return Place(carried, mirror, person, tmp_path)


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where somebody takes calls and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("way", ["git", "http"])
@pytest.mark.parametrize("elsewhere", ["git", "http"])
def test_the_host_is_gone(place: Place, way: str, elsewhere: str) -> None:
    home = nodes.make_home(place.root / "mirror-node")
    with nodes.serving(place.mirror, home=home, options=PUSHING) as served:
        work, new = place.clone(way, getattr(served, elsewhere), PUSHING)
        done = place.person.git("push", "--progress", "origin", "main", cwd=work).ok()
        assert f"; pushing to {getattr(served, elsewhere)}/project.git" in done.err
        assert "remote: accepted as push " in done.err
        assert place.shown() == new
        assert text(work, "rev-parse", "origin/main") == new
        place.person.git("push", "origin", "main:refs/tags/v1", cwd=work).failed(1, "does not let")


@pytest.mark.parametrize("program", GITS)
def test_no_host_is_named(place: Place, program: str) -> None:
    person = replace(place.person, git_program=program)
    home = nodes.make_home(place.root / "mirror-node")
    url = f"gittorrent://{place.mirror.info.repository_id}"
    with nodes.serving(place.mirror, home=home, options=PUSHING) as served:
        person.git("clone", "-q", f"gittorrent::{served.http}/project.git", "c").ok()
        work, new = place.committed()
        done = person.git("push", url, "main", cwd=work).ok()
        assert f"pushing to {served.http}/project.git" in done.err
        assert place.shown() == new
    person.git("push", url, "main", cwd=work).failed(128, "cannot connect to")
    stranger = somebody(place.root / "stranger")
    stranger.git("push", url, "main", cwd=work).failed(128, "none is known on this machine")


def test_whoever_is_named_and_refuses_has_the_last_word(place: Place) -> None:
    home = nodes.make_home(place.root / "mirror-node")
    with nodes.serving(place.mirror, home=home, options=PUSHING) as served:
        work, _ = place.clone("git", served.git, PUSHING)
        before = place.shown()
        with nodes.serving(place.origin, home=nodes.make_home(place.root / "again")) as again:
            url = f"gittorrent{again.git.removeprefix('git')}/project.git"
            pinned = url.replace("://", f"://{place.mirror.info.repository_id}@")
            for each in (url, pinned):
                done = place.person.git("push", each, "main", cwd=work)
                assert "pushing to" not in done.failed(128, NO_PUSH).err
        assert place.shown() == before


def test_whoever_takes_no_push_is_passed_over(place: Place) -> None:
    home = nodes.make_home(place.root / "mirror-node")
    with nodes.serving(place.mirror, home=home) as served:
        work, _ = place.clone("git", served.git, PUSHING)
        done = place.person.git("push", "origin", "main", cwd=work)
        done.failed(128, "cannot connect to", f"{served.git}/project.git takes no push: {NO_PUSH}")
        assert "accepted" not in done.err


def test_the_host_is_silent(place: Place, silent: int) -> None:
    home = nodes.make_home(place.root / "mirror-node")
    with nodes.serving(place.mirror, home=home, options=PUSHING) as served:
        work, new = place.clone("git", served.git, PUSHING)
        pinned = f"gittorrent://{place.mirror.info.repository_id}@127.0.0.1:{silent}/project.git"
        done = place.person.git("push", pinned, "main", cwd=work).ok()
        assert f"takes long to answer; pushing to {served.git}/" in done.err
        assert place.shown() == new


class _Curious(BaseHTTPRequestHandler):
    """Lists what a node lists, and wants to know who pushes."""

    node: str
    heard: list[str]

    def do_GET(self) -> None:
        self.heard.append(f"{self.path} {self.headers}")
        if "service=git-receive-pack" in self.path:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.end_headers()
            return
        status, data = 200, b""
        try:
            with urllib.request.urlopen(f"{self.node}{self.path}") as answer:
                data = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                status = error.code
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@pytest.mark.parametrize("program", GITS)
def test_nothing_of_the_user_s_is_told_to_whom_the_user_did_not_name(
    place: Place, program: str
) -> None:
    secret = "not-for-strangers"
    person = replace(place.person, git_program=program)
    cookies = person.root / "cookies"
    cookies.write_text(f"127.0.0.1\tFALSE\t/\tFALSE\t0\tname\t{secret}\n")
    helper = f'!f() {{ echo "username=x"; echo "password={secret}"; }}; f'
    home = nodes.make_home(place.root / "mirror-node")
    with nodes.serving(place.mirror, home=home, options=PUSHING) as served:
        heard: list[str] = []
        handler = type("_", (_Curious,), {"node": served.http, "heard": heard})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        at = f"http://127.0.0.1:{server.server_port}"
        with running(server):
            work, _ = place.clone("git", at, PUSHING)
            for name, value in (
                ("http.extraHeader", f"Authorization: Bearer {secret}"),
                (f"http.{at}/.extraHeader", f"X-Access: {secret}"),
                ("http.cookieFile", str(cookies)),
                ("http.proxy", f"http://{secret}@127.0.0.1:1"),
                ("credential.helper", helper),
                (f"credential.{at}.helper", helper),
                ("http.userAgent", secret),
            ):
                git(work, "config", name, value)
            proxied = {"http_proxy": "http://127.0.0.1:1", "all_proxy": "http://127.0.0.1:1"}
            person.variables.update(proxied)
            url = f"gittorrent://{place.mirror.info.repository_id}"
            person.git("push", url, "main", cwd=work).failed(128)
        assert any("service=git-receive-pack" in each for each in heard), heard
        assert secret not in "".join(heard)
        (person.root / "home" / ".netrc").write_text(f"default login x password {secret}\n")
        (person.root / "home" / ".netrc").chmod(0o600)
        done = person.git("push", url, "main", cwd=work)
        done.failed(128)
        assert secret not in done.err


def test_a_mirror_at_whose_place_something_else_is_gets_nothing(
    place: Place, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "project.git"
    grow(builder(other), 2)
    publish(other, name="project")
    home = nodes.make_home(place.root / "mirror-node")
    options = changed(PUSHING)
    with nodes.serving(place.mirror, home=home, options=options) as served:
        work, _ = place.clone("http", served.http, PUSHING)
        port = int(served.http.rpartition(":")[2])
    listening = changed(LOOPBACK, http=(("127.0.0.1", port),))
    foreign = open_carried(other)
    with nodes.serving(foreign, home=nodes.make_home(tmp_path / "n"), options=listening):
        done = place.person.git("push", "origin", "main", cwd=work)
        done.failed(128, "cannot connect to", f"it carries {foreign.info.repository_id}")
