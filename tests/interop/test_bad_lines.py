"""Web servers that are busy, and lines that break: a clone of files goes on until it is whole."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.ids import ManifestId
from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from gittorrent.transfer.content_source import ServedPack
from gittorrent.wire.urls import Endpoint
from support import bulk, gitcmd, hostile, lying_web, nodes
from support.lying_web import Answering, Lie, WebLiar
from support.programs import Person, somebody
from support.repositories import Builder, noise
from support.slow_lines import breaking_line

IN_VAIN = 2
"""Requests for each file that come to nothing."""


def busy(status: int) -> Lie:
    return lambda answering, _true: answering.say(status, b"")


def hang_up(answering: Answering, true: bytes) -> None:
    """Answer nothing; the connection ends with the request."""
    del answering, true


def at_first(lie: Lie) -> Lie:
    """Answer so to the first requests for each file, and then with what is true."""
    asked: Counter[str] = Counter()

    def answer(answering: Answering, true: bytes) -> None:
        asked[answering.path] += 1
        if asked[answering.path] <= IN_VAIN:
            lie(answering, true)
        else:
            answering.say(200 if true else 404, true)

    return answer


@pytest.fixture(scope="module")
def exported(large: Carried, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of web files with the large repository."""
    root = tmp_path_factory.mktemp("exported")
    done = somebody(root / "owner").gittorrent(
        "export", large.layout.git_dir, root / "www" / "project"
    )
    done.ok()
    return root / "www"


@pytest.fixture
def web(exported: Path) -> Iterator[WebLiar]:
    with lying_web.serving(WebLiar(exported)) as made:
        yield made


def is_cloned(person: Person, web: WebLiar, large: Carried) -> None:
    person.git("clone", "-q", "--mirror", f"gittorrent::{web.url}/project", "copy").ok()
    copy = person.root / "copy"
    assert gitcmd.refs(copy) == {bytes(n): str(oid) for n, oid in large.log().refs.items()}
    person.git("fsck", "--strict", cwd=copy).ok()


@pytest.mark.parametrize(
    "lie",
    [busy(429), busy(500), busy(503), hang_up, lying_web.cut_off],
    ids=["too many", "error", "busy", "hangs up", "cut off"],
)
def test_each_file_comes_in_the_end(web: WebLiar, large: Carried, person: Person, lie: Lie) -> None:
    web.lies = {"*": at_first(lie)}
    is_cloned(person, web, large)


def test_a_server_that_stays_broken_is_named(web: WebLiar, person: Person) -> None:
    web.lies = {"*": busy(500)}
    done = person.git("clone", f"gittorrent::{web.url}/project", "copy")
    done.failed(128, f"{web.url}/project/mirror-list answers 500")


def test_an_index_that_becomes_another_one_is_not_put_together(
    web: WebLiar, person: Person
) -> None:
    """What was said before it broke off is no beginning of what is said after it."""

    def other(answering: Answering, true: bytes) -> None:
        answering.say(200, true.replace(b"have bundle", b"have  bundle"))

    def changing(answering: Answering, true: bytes) -> None:
        is_first = web.asked.count("project/reels/index") == 1
        (lying_web.cut_off if is_first else other)(answering, true)

    web.lies = {"*/reels/index": changing}
    done = person.git("clone", f"gittorrent::{web.url}/project", "copy")
    done.failed(128, "reels/index is not what it was a moment ago")


def test_a_line_that_breaks_again_and_again(web: WebLiar, large: Carried, person: Person) -> None:
    """Each answer brings some parts, and many more break off than are asked for again in vain."""

    def broken(answering: Answering, true: bytes) -> None:
        answering.say(200, true, most=600_000)

    web.lies = {"*.pack": broken}
    is_cloned(person, web, large)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory, owner_key: Signer) -> Carried:
    """A published repository whose pack has a few parts of 256 KiB."""
    git_dir = gitcmd.init(tmp_path_factory.mktemp("noisy") / "r.git")
    made = Builder(git_dir, "sha1")
    made.commit("refs/heads/main", [], {b"noise": noise("noise", 900_000)})
    made.flush()
    return nodes.publish(git_dir, owner_key, "project")


UNTOLD = replace(nodes.LOOPBACK, url=Endpoint("git", "127.0.0.1", 1, "/"))
"""Of a node that tells nobody where it listens itself."""


class Spoils(hostile.WrongBytes):
    """Sends wrong bytes up to the middle of a part, and hangs up."""

    def pack(self, manifest: ManifestId) -> ServedPack | None:
        found = super().pack(manifest)
        if found is None:
            return None
        short = found.path.with_suffix(".short")
        short.write_bytes(found.path.read_bytes()[: found.part_size // 2])
        return replace(found, path=short)


def test_who_sends_wrong_beginnings_spoils_no_parts_of_others(
    noisy: Carried, people: Callable[[str], Person], tmp_path: Path
) -> None:
    """The honest mirror's line breaks as well; what came from each is put to its own."""
    user, home = people("user"), nodes.make_home(tmp_path / "h")
    mirror = nodes.copy_as_mirror(noisy, tmp_path / "l.git", "git://127.0.0.1:1/project.git")
    with (
        hostile.lying(mirror, nodes.make_home(tmp_path / "l"), Spoils) as liar,
        nodes.serving(noisy, home=home, options=UNTOLD) as served,
    ):
        nodes.list_mirrors(home, noisy, f"{liar.git}/project.git")
        host, _, port = served.git.removeprefix("git://").rpartition(":")
        with breaking_line((host, int(port)), SHORT) as (line, _):
            user.git("clone", "--mirror", f"gittorrent://{line}/project.git", "c").ok()
    assert gitcmd.refs(user.root / "c") == bulk.published(gitcmd.refs(noisy.layout.git_dir))


def test_a_line_that_brings_the_same_again_and_again_is_given_up(
    noisy: Carried, people: Callable[[str], Person], tmp_path: Path
) -> None:
    """A pack file that ends in the middle of a part; nobody else has it."""
    user, home = people("user"), nodes.make_home(tmp_path / "h")
    with hostile.lying(noisy, home, hostile.ClosesMidPart) as liar:
        at = liar.git.removeprefix("git://")
        done = user.git("clone", "--mirror", f"gittorrent://{at}/project.git", "c")
    done.failed(128, "the download stopped with 0 of 4 parts")


SHORT = 100_000
"""Bytes after which a line breaks: less than a part."""


@pytest.mark.parametrize("way", ["git", "websocket", "files"])
def test_a_line_that_breaks_before_a_part_is_whole(
    noisy: Carried, people: Callable[[str], Person], tmp_path: Path, way: str
) -> None:
    """What came of a part is kept, and only the rest is asked for."""
    user = people("user")
    with contextlib.ExitStack() as stack:
        if way == "files":
            done = people("owner").gittorrent(
                "export", noisy.layout.git_dir, tmp_path / "w/project"
            )
            done.ok()
            web = stack.enter_context(lying_web.serving(WebLiar(tmp_path / "w")))
            at = web.url.removeprefix("http://")
        else:
            home = nodes.make_home(tmp_path / "h")
            served = stack.enter_context(nodes.serving(noisy, home=home, options=UNTOLD))
            at = (served.git if way == "git" else served.http).partition("://")[2]
        host, _, port = at.rpartition(":")
        line, carried = stack.enter_context(breaking_line((host, int(port)), SHORT))
        url = f"gittorrent://{line}/project.git" if way == "git" else f"http://{line}/project"
        url = url if way == "git" else f"gittorrent::{url}"
        user.git("clone", "-q", "--mirror", url, "c").ok()
    size = sum(reel.manifest.pack_size for reel in noisy.reels.all())
    assert carried.count(SHORT) > 2
    if way != "files":  # of several connections all end with the one that breaks
        assert sum(carried) < 2 * size
    assert gitcmd.refs(user.root / "c") == bulk.published(gitcmd.refs(noisy.layout.git_dir))
    user.git("fsck", "--strict", cwd=user.root / "c").ok()
