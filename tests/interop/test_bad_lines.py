"""Web servers that are busy, and lines that break: a clone of files goes on until it is whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from gittorrent.repository.carried import Carried
from support import gitcmd, lying_web
from support.lying_web import Answering, Lie, WebLiar
from support.programs import Person, somebody

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


def test_a_server_that_stays_busy_is_named(web: WebLiar, person: Person) -> None:
    web.lies = {"*": busy(503)}
    done = person.git("clone", f"gittorrent::{web.url}/project", "copy")
    done.failed(128, f"{web.url}/project/mirror-list answers 503")


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
