"""Mirrors that are reached by HTTP alone, and still talk: clones, pushes as they come, seeds."""

from __future__ import annotations

import http.server
import shutil
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.node.options import Options
from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from support import gitcmd, nodes, web_files
from support.nodes import Served
from support.programs import GITS, Person, somebody, wait_until
from support.running_servers import running

WEB_ONLY = Options(http=(("127.0.0.1", 0),), announce=False)


def url_at(served: Served) -> str:
    return f"gittorrent::{served.http}/project.git"


@pytest.mark.parametrize("git", GITS)
def test_a_clone_converses(project: Carried, tmp_path: Path, git: str) -> None:
    home = nodes.make_home(tmp_path / "node")
    person = somebody(tmp_path / "person", git)
    with nodes.serving(project, home=home, options=WEB_ONLY) as served:
        person.git("clone", url_at(served), "copy").ok()
        (one, *_) = served.ended_conversations()
        assert one.reason == "done"
        assert one.sent > 0
        assert person.git("fetch", cwd=person.root / "copy").ok()
    assert gitcmd.refs(person.root / "copy" / ".git")[b"refs/remotes/origin/main"]


def make_pair(folder: Path, stack: ExitStack) -> tuple[list[Carried], list[Served], Signer]:
    """Return an origin, a mirror of it, and their nodes, which have no git:// port."""
    key = nodes.signer(folder)
    origin = nodes.publish(nodes.make_repository(folder / "project.git"), key, "project")
    copy = nodes.copy_as_mirror(origin, folder / "mirror.git", "")
    served = [
        stack.enter_context(
            nodes.serving(origin, home=nodes.make_home(folder / "home0"), options=WEB_ONLY)
        )
    ]
    copy.set_info(replace(copy.info, source=url_at(served[0])))
    served.append(
        stack.enter_context(
            nodes.serving(copy, home=nodes.make_home(folder / "home1"), options=WEB_ONLY)
        )
    )
    return [origin, copy], served, key


def test_pushes_travel_both_ways_as_they_come(tmp_path: Path) -> None:
    with ExitStack() as stack:
        (origin, copy), _, key = make_pair(tmp_path, stack)
        at_mirror = nodes.push_to_main(copy, key, b"at the mirror\n")
        wait_until(partial(nodes.shows_on_main, origin, at_mirror), "it is shown at the origin")
        at_origin = nodes.push_to_main(origin, key, b"at the origin\n")
        wait_until(partial(nodes.shows_on_main, copy, at_origin), "it is shown at the mirror")


@pytest.mark.parametrize(("as_bucket", "status"), [(False, 404), (True, 403)])
def test_a_server_of_files_is_asked_for_files(
    project: Carried, tmp_path: Path, person: Person, as_bucket: bool, status: int
) -> None:
    with nodes.serving(project, home=nodes.make_home(tmp_path / "node")) as served:
        web_files.save(project, served.http_address, tmp_path / "www" / "project.git", packs=True)
    with web_files.serving(tmp_path / "www", as_bucket=as_bucket) as base:
        url = f"gittorrent::{base}/project.git"
        plain = person.git("clone", url, "plain").ok()
        assert "conversation" not in plain.err
        detailed = person.git("clone", "-v", url, "detailed").ok()
        assert f"agrees to no conversation ({status}); it is asked for files" in detailed.err


def test_a_redirect_leads_nowhere(project: Carried, tmp_path: Path, person: Person) -> None:
    """To another host a conversation would be as unjudged as any other request."""
    asked: list[str] = []

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_words: object) -> None:
            """Say nothing."""

    with nodes.serving(project, home=nodes.make_home(tmp_path / "node")) as served:
        web_files.save(project, served.http_address, tmp_path / "www" / "project.git", packs=True)
    elsewhere = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    with running(elsewhere):
        away = f"http://127.0.0.1:{elsewhere.server_port}/away"
        moved = {"/project.git/mirror-sync": away}
        with web_files.serving(tmp_path / "www", moved) as base:
            person.git("clone", f"gittorrent::{base}/project.git", "copy").ok()
    assert asked == []
    shutil.rmtree(person.root / "copy")


@pytest.mark.parametrize("git", GITS)
def test_git_rewrites_and_allows_it_as_one_transport(
    project: Carried, tmp_path: Path, git: str
) -> None:
    """``gittorrent::http://`` works with `insteadOf`, `protocol.allow` and relative submodules."""
    person = somebody(tmp_path / "person", git)
    home = nodes.make_home(tmp_path / "node")
    with nodes.serving(project, home=home, options=WEB_ONLY) as served:
        instead = f"url.gittorrent::{served.http}/.insteadOf=https://example.org/"
        url = "https://example.org/project.git"
        person.git("-c", instead, "clone", url, "rewritten").ok()
        never = ("-c", "protocol.gittorrent.allow=never")
        done = person.git(*never, "clone", url_at(served), "refused")
        assert done.status == 128
        assert "transport 'gittorrent' not allowed" in done.err
        above = person.root / "above"
        person.git("init", "-q", above).ok()
        where = f"gittorrent::{served.http}/above.git"
        person.git("remote", "add", "origin", where, cwd=above).ok()
        allowed = ("-c", "protocol.gittorrent.allow=always")
        person.git(*allowed, "submodule", "add", "../project.git", "below", cwd=above).ok()
        found = person.git("remote", "get-url", "origin", cwd=above / "below").out.strip()
        assert found.startswith("gittorrent::http://")
        assert found.endswith("/project.git")
