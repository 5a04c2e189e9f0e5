"""CI jobs whose clones are led to a node: one request upstream, no stale branch, no secrets."""

from __future__ import annotations

import io
import json
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gittorrent.node.ci_copies import pack_in
from gittorrent.node.ci_socket import MAX_JOBS
from gittorrent.transfer.ci_node import CiNode, NoAnswerError
from gittorrent.wire.ci import FetchLine, Open
from gittorrent.wire.pktline import encode
from gittorrent.wire.upload_requests import UploadRequest
from support import gitcmd, nodes
from support.ci_sites import GOING, Site, a_site
from support.programs import GITS, wait_until

pytestmark = pytest.mark.git_in_turn


@pytest.fixture(params=GITS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with a_site(tmp_path, str(request.param)) as made:
        yield made


def test_one_request_upstream_serves_all(site: Site) -> None:
    site.begin()
    jobs = [site.runner.start("git", "clone", "-q", site.url, f"cold{n}") for n in range(3)]
    for job in jobs:
        assert job.wait() == 0, job.err
        assert GOING not in job.err
    assert len(site.server.fetched) == 1
    site.clone("warm").ok()
    assert len(site.server.fetched) == 1
    assert {site.head(n) for n in ("cold0", "cold2", "warm")} == {site.upstream_head()}
    site.runner.git("fsck", cwd=site.runner.root / "warm").ok()


def test_nodes_begin_and_end_with_ci_when_they_reload(site: Site) -> None:
    table = site.runner.node / "node.toml"
    site.begin()
    jobs = table.read_text()
    table.write_text("")
    site.runner.gittorrent("reload").ok()
    assert GOING in site.clone("none").ok().err
    other = site.runner.root / "other" / "ci.sock"
    other.parent.mkdir(mode=0o700)
    table.write_text(f'{jobs}socket = "{other}"\n')
    site.runner.gittorrent("reload").ok()
    assert GOING in site.clone("there").ok().err
    words = ("ci", "setup", "--for", site.server.base, "--socket", str(other))
    site.runner.gittorrent(*words).ok()
    assert GOING not in site.clone("here").ok().err
    assert site.head("here") == site.upstream_head()


def test_refs_are_listed_once_for_each_job(site: Site) -> None:
    site.begin()
    site.clone("cold").ok()
    for number in range(2):
        site.server.requests.clear()
        made = site.commit(f"news {number}", "refs/heads/other")
        done = site.runner.git("ls-remote", site.url, "refs/heads/other").ok()
        assert done.out.startswith(made)
        posts = [each for each in site.server.requests if each.endswith("/git-upload-pack")]
        assert len(posts) <= 2  # the refs; and, if that was long ago, who may read


def test_new_tags_are_known_at_once(site: Site) -> None:
    """Lists are asked for without what is known of tags."""
    site.begin()
    words = ("ls-remote", site.url)
    before = site.runner.git(*words).ok().out
    assert site.runner.git(*words).ok().out == before
    assert before == gitcmd.text(site.upstream, "ls-remote", str(site.upstream)) + "\n"
    gitcmd.git(site.upstream, "tag", "-f", "-a", "-m", "two", "v1", "HEAD")
    gitcmd.git(site.upstream, "tag", "-a", "-m", "two", "v2", "HEAD")
    after = site.runner.git(*words).ok().out
    assert after == gitcmd.text(site.upstream, "ls-remote", str(site.upstream)) + "\n"
    assert after != before


def test_the_server_hears_nothing_of_a_job_but_one_list(site: Site) -> None:
    """What it can, and who may read, is known since a moment ago."""
    site.begin()
    site.clone("cold", "--depth=1").ok()
    site.server.requests.clear()
    site.clone("warm", "--depth=1").ok()
    assert len(site.server.requests) == 2  # git's helper asks before each list
    assert site.head("warm") == site.upstream_head()


def test_shapes_cost_the_server_nothing_more(site: Site) -> None:
    site.begin()
    for words in (["--depth=1"], ["--filter=blob:none"], ["--depth=1", "--filter=blob:none"]):
        before = len(site.server.fetched)
        site.clone("first", *words).ok()
        once = len(site.server.fetched)
        done = site.clone("second", *words).ok()
        assert len(site.server.fetched) == once > before
        assert GOING not in done.err
        assert site.head("first") == site.head("second") == site.upstream_head()
        status = site.runner.git("status", "--short", cwd=site.runner.root / "second")
        assert status.ok().out == ""
        for name in ("first", "second"):
            (site.runner.root / name).rename(site.runner.root / f"{name}-{len(words)}-{words[0]}")


def test_nobody_gets_a_stale_branch(site: Site) -> None:
    site.begin()
    site.clone("before").ok()
    wait_until(site.has_copy, "the node has a copy")
    whole = site.server.fetched[0]
    made = site.commit("news")
    done = site.clone("after").ok()
    assert site.head("after") == made
    assert GOING not in done.err
    assert len(site.server.fetched) == 2
    assert site.server.fetched[1] < whole / 2
    # Who has something gets the difference from the copy, too.
    done = site.runner.git("pull", cwd=site.runner.root / "before").ok()
    assert site.head("before") == made
    assert GOING not in done.err
    site.clone("shallow", "--depth=1").ok()
    assert len(site.server.fetched) == 2


@pytest.mark.parametrize("shape", ["--depth=1", "--depth=2", "--filter=blob:none"])
def test_a_commit_later_costs_the_difference_in_any_shape(site: Site, shape: str) -> None:
    site.begin()
    site.clone("before", shape).ok()
    wait_until(site.has_copy, "the node has a copy")
    nodes.add_commit(site.upstream, "refs/heads/main", "new", b"some text\n")
    wanted = site.upstream_head()
    gitcmd.git(site.upstream, "tag", "-a", "-m", "one", "v-new", wanted)
    first, before = site.server.fetched[0], len(site.server.fetched)
    done = site.clone("after", shape).ok()
    assert GOING not in done.err
    assert site.head("after") == wanted
    assert sum(site.server.fetched[before:]) < first / 5
    before = len(site.server.fetched)
    site.clone("again", shape).ok()
    assert len(site.server.fetched) == before
    assert site.has_as_by_git("after", shape)


def test_rewound_and_renamed_branches(site: Site) -> None:
    gitcmd.git(site.upstream, "branch", "feature")
    site.begin()
    site.clone("before").ok()
    wait_until(site.has_copy, "the node has a copy")
    gitcmd.git(site.upstream, "branch", "-D", "feature")
    gitcmd.git(site.upstream, "branch", "feature/one")
    rewound = site.commit("rewound", parent="HEAD~1")
    done = site.clone("after").ok()
    assert site.head("after") == rewound
    assert GOING not in done.err
    names = gitcmd.text(site.runner.root / "after", "branch", "-r")
    assert "origin/feature/one" in names


def test_what_fails_goes_to_the_server(site: Site) -> None:
    site.begin('max-repository = "1K"')
    done = site.clone("big").ok()
    assert "more than 1024 bytes" in done.err
    assert site.head("big") == site.upstream_head()
    elsewhere = site.upstream.parents[1] / "y"
    elsewhere.mkdir()
    (elsewhere / "project.git").symlink_to(site.upstream)
    url = f"{site.server.base}/y/project.git"
    done = site.runner.git("clone", url, "other").ok()
    assert "is not allowed below [ci]" in done.err


def test_status_says_what_the_node_leaves_to_the_server(site: Site) -> None:
    site.begin()
    other = "https://git.example.org/"
    site.runner.gittorrent("ci", "setup", "--for", other, "--user", "me").ok()
    said = site.runner.gittorrent("ci", "status").ok()
    assert f"{other} goes to this machine's node, which leaves it to the server" in said.out
    assert f"of it only {site.server.base}/x/ is allowed" in said.out
    assert "allow is set below [ci]" in said.err
    shown = json.loads(site.runner.gittorrent("ci", "status", "--json").ok().out)
    assert shown["node"] is True
    assert set(shown["unserved"]) == {other, f"{site.server.base}/"}
    site.runner.gittorrent("ci", "undo").ok()
    site.runner.gittorrent("ci", "setup", "--for", f"{site.server.base}/x/").ok()
    said = site.runner.gittorrent("ci", "status").ok()
    assert "leaves it" not in said.out
    assert ": there" in said.out
    assert not said.err


def test_one_repository_is_allowed_by_its_name(site: Site) -> None:
    name = site.url.removesuffix(".git")
    site.begin()
    for allowed in (name, site.url):
        lines = f'[ci]\nallow = ["{allowed}"]\n'
        (site.runner.node / "node.toml").write_text(lines)
        site.runner.gittorrent("reload").ok()
        for number, url in enumerate((name, site.url, f"{site.url}/")):
            done = site.runner.git("clone", "-q", url, f"{allowed[-4:]}-{number}").ok()
            assert GOING not in done.err
    site.runner.gittorrent("ci", "undo").ok()
    site.runner.gittorrent("ci", "setup", "--for", site.url).ok()
    assert "leaves it" not in site.runner.gittorrent("ci", "status").ok().out


def test_killed_nodes_leave_what_is_whole(site: Site) -> None:
    site.begin()
    site.clone("before").ok()
    wait_until(site.has_copy, "the answer was looked into")
    site.kill()
    done = site.clone("without").ok()
    assert "no node that serves CI runs on this machine" in done.err
    left = site.runner.node / "ci" / "tmp" / "7"
    left.write_bytes(b"half an answer")
    fetched = len(site.server.fetched)
    site.begin()
    assert not left.exists()
    site.clone("after").ok()
    assert len(site.server.fetched) == fetched


def test_damage_costs_a_request_at_most(site: Site) -> None:
    site.begin()
    site.clone("before", "--depth=1").ok()
    wait_until(site.has_copy, "the answer was looked into")
    site.kill()
    for path in (site.runner.node / "ci").glob("*/answers/*"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    site.begin()
    fetched = len(site.server.fetched)
    done = site.clone("after", "--depth=1").ok()
    assert GOING not in done.err
    assert len(site.server.fetched) <= fetched + 1  # a copy of it may have been made by then
    assert site.head("after") == site.upstream_head()


def in_answer(pack: bytes) -> bytes:
    return encode(b"packfile\n") + encode(b"\1" + pack) + b"0000"


@pytest.mark.parametrize("lies", ["stops", "ends", "changes", "says less"])
@pytest.mark.parametrize("shape", ["", "--filter=blob:none"])
def test_a_server_that_was_mended_is_asked_again(site: Site, lies: str, shape: str) -> None:
    """What a server answered while something was wrong with it is given to no later job."""
    words = [shape] if shape else []
    oids = f"{site.upstream_head()}\n".encode()
    less = gitcmd.git(site.upstream, "pack-objects", "--stdout", "-q", stdin=oids)
    site.server.spoil = {
        "stops": lambda data: encode(b"packfile\n") + encode(b"\3no memory\n") + b"0000",
        "ends": lambda data: data[: len(data) // 2],
        "changes": lambda data: data[:4000] + bytes([data[4000] ^ 1]) + data[4001:],
        "says less": lambda data: in_answer(less),
    }[lies]
    site.begin()
    site.clone("ill", *words).failed(128)
    site.server.spoil = bytes
    site.clone("well", *words).ok()
    assert site.head("well") == site.upstream_head()


def test_a_broken_copy_is_given_up(site: Site) -> None:
    site.begin()
    site.clone("before").ok()
    wait_until(site.has_copy, "the node has a copy")
    for path in (site.runner.node / "ci").glob("*/copy.git/objects/pack/*.pack"):
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:40])
    site.commit("news")
    done = site.clone("after").ok()
    assert GOING not in done.err
    assert site.head("after") == site.upstream_head()
    # The next one makes another copy.
    gone = site.commit("more news")
    site.clone("then").ok()
    assert site.head("then") == gone


def test_redirects_are_for_the_caller(site: Site) -> None:
    site.begin()
    site.server.moved["/x/old.git"] = f"{site.server.base}/x/project.git"
    done = site.runner.git("clone", f"{site.server.base}/x/old.git", "copy").ok()
    assert GOING in done.err
    assert site.head("copy") == site.upstream_head()


def test_jobs_get_no_file_of_the_nodes(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root of a container could open it again, and write what others get."""
    site.begin()
    site.clone("first", "--depth=1").ok()
    with socket.socket(socket.AF_UNIX) as sock:
        monkeypatch.chdir(site.socket.parent)  # an address has no room for all of its path
        sock.connect(site.socket.name)
        request = UploadRequest((site.upstream_head().encode(),)).encode()
        sock.sendall(Open(site.url).encode() + FetchLine(len(request)).encode() + request)
        said, files = bytearray(), list[int]()
        while not files:
            data, files, _, _ = socket.recv_fds(sock, 4096, 1)
            assert data
            said += data
        assert said.endswith(b"coming\n")
        assert stat.S_ISFIFO(os.fstat(files[0]).st_mode)
        os.close(files[0])
    done = site.clone("second", "--depth=1").ok()
    assert GOING not in done.err


def test_a_job_that_calls_again_and_again_keeps_no_other_one_out(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.begin()
    site.clone("first").ok()
    monkeypatch.chdir(site.socket.parent)  # an address has no room for all of its path
    with ExitStack() as stack:
        for _ in range(MAX_JOBS):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.connect(site.socket.name)
            assert sock.recv(100).startswith(b"gittorrent-ci ")
        done = site.clone("second").ok()
        assert GOING not in done.err
    assert len(site.server.fetched) == 1


# -- private upstreams

HEADER = "Basic bWU6c2VjcmV0"


def asked(
    site: Site,
    header: str,
    *wants: str,
    shallow: tuple[str, ...] = (),
    shape: str = "",
    haves: tuple[str, ...] = (),
    is_done: bool = True,
) -> bytes:
    """Ask the node as a job could that lies about everything."""
    node = CiNode(site.socket, site.url)
    try:
        node.begin()
        request = UploadRequest(
            tuple(sorted(want.encode() for want in wants)),
            tuple(each.encode() for each in haves),
            is_done,
            shallow=tuple(each.encode() for each in shallow),
            shape=(shape.encode(),) if shape else (),
        )
        found = node.answer(request.encode(), lambda: header)
        with os.fdopen(found, "rb") as file:
            return file.read()
    finally:
        node.close()


def objects_in(answer: bytes) -> int:
    """Return how many objects the pack in an answer says it has."""
    return int.from_bytes(b"".join(pack_in(io.BytesIO(answer)))[8:12])


def refused(site: Site, header: str, *wants: str) -> str:
    with pytest.raises(NoAnswerError) as caught:
        asked(site, header, *wants)
    return str(caught.value)


def test_who_may_not_read_gets_nothing(site: Site) -> None:
    site.server.password = "secret"
    site.begin()
    done = site.private_clone("first").ok()
    assert GOING not in done.err
    assert "secret" not in done.err
    site.private_clone("second").ok()
    assert len(site.server.fetched) == 1
    site.clone("stranger").failed(128)
    head = site.upstream_head()
    assert b"packfile" in asked(site, HEADER, head)
    assert "nothing is known here" in refused(site, "", head)
    assert refused(site, "Basic bWU6d3Jvbmc=", head)
    # All of it is kept here; who was let in yesterday gets none of it.
    site.server.password = "another"
    assert refused(site, HEADER, head)
    assert len(site.server.fetched) == 1
    assert site.node is not None
    assert "secret" not in site.node.running.err
    assert HEADER not in site.node.running.err


def test_only_what_is_listed_is_given(site: Site) -> None:
    """Something that was pushed by mistake, and taken away upstream, is in the copy."""
    site.server.password = "secret"
    mistake = site.commit("mistake", "refs/heads/mistake")
    site.begin()
    site.private_clone("first").ok()
    wait_until(site.has_copy, "the node has a copy")
    parent = gitcmd.text(site.upstream, "rev-parse", "HEAD~1")
    gitcmd.git(site.upstream, "branch", "-D", "mistake")
    assert "not all of it is reached" in refused(site, HEADER, mistake)
    assert "not all of it is reached" in refused(site, HEADER, site.upstream_head(), mistake)
    tree = gitcmd.text(site.upstream, "rev-parse", "HEAD^{tree}")
    assert "not all of it is reached" in refused(site, HEADER, tree)
    assert b"packfile" in asked(site, HEADER, parent)


@pytest.mark.parametrize("depth", [0x7FFFFFFF, 0x17FFFFFFF, 0x7FFFFFFF7FFFFFFF])
def test_parents_of_what_is_not_listed_are_not_given(site: Site, depth: int) -> None:
    """Git gives the parents of whatever commit somebody says to have without them.

    It does so at the depth that stands for everything, and keeps 32 bits of the one it is told.
    """
    site.server.password = "secret"
    mistake = site.commit("mistake", "refs/heads/mistake")
    child = site.commit("its child", "refs/heads/mistake", mistake)
    site.begin()
    site.private_clone("first").ok()
    wait_until(site.has_copy, "the node has a copy")
    gitcmd.git(site.upstream, "branch", "-D", "mistake")
    head, parent = site.upstream_head(), gitcmd.text(site.upstream, "rev-parse", "HEAD~1")
    everything = f"deepen {depth}"
    assert b"packfile" in asked(site, HEADER, head, shallow=(parent,), shape=everything)
    with pytest.raises(NoAnswerError, match="not all of it is reached"):
        asked(site, HEADER, head, shallow=(child,), shape=everything)


@pytest.mark.parametrize("words", [[], ["--depth=2"]], ids=["whole copy", "shallow copy"])
def test_what_is_cut_at_a_depth_has_no_parents_of_others(site: Site, words: list[str]) -> None:
    """Jobs name the commits where their work trees end; nothing is given for a false one."""
    site.server.password = "secret"
    mistake = site.commit("mistake", "refs/heads/mistake")
    child = site.commit("its child", "refs/heads/mistake", mistake)
    site.begin()
    site.private_git("clone", "--no-single-branch", *words, site.url, "first").ok()
    wait_until(site.has_copy, "the node has a copy")
    gitcmd.git(site.upstream, "branch", "-D", "mistake")
    head = site.upstream_head()
    for haves in ((), (child,)):
        honest, lying = (
            asked(site, HEADER, head, shallow=shallow, shape="deepen 2", haves=haves)
            for shallow in ((), (child,))
        )
        assert objects_in(honest) == objects_in(lying)
        for answer in (honest, lying):
            assert mistake.encode() not in answer
            assert child.encode() not in answer


def test_what_is_not_listed_counts_as_nothing_that_somebody_has(site: Site) -> None:
    """Whoever knows an id is not told whether it was here, nor given differences from it."""
    site.server.password = "secret"
    mistake = site.commit("mistake", "refs/heads/mistake")
    site.begin()
    site.private_clone("first").ok()
    wait_until(site.has_copy, "the node has a copy")
    gitcmd.git(site.upstream, "branch", "-D", "mistake")
    head, parent = site.upstream_head(), gitcmd.text(site.upstream, "rev-parse", "HEAD~1")
    unknown = "9" * 40
    nothing = [
        asked(site, HEADER, head, haves=(each,), is_done=False) for each in (mistake, unknown)
    ]
    assert nothing[0] == nothing[1]
    whole = [asked(site, HEADER, head, haves=(each,)) for each in (mistake, unknown)]
    assert objects_in(whole[0]) == objects_in(whole[1])
    known = asked(site, HEADER, head, haves=(parent, mistake), is_done=False)
    assert f"ACK {parent}".encode() in known
    assert mistake.encode() not in known
    assert objects_in(asked(site, HEADER, head, haves=(parent,))) < objects_in(whole[0])


def test_what_becomes_public_is_asked_anew(site: Site) -> None:
    """Before it is made public something is taken away that is kept here."""
    site.server.password = "secret"
    mistake = site.commit("mistake", "refs/heads/mistake")
    site.begin()
    site.private_clone("first").ok()
    wait_until(site.has_copy, "the node has a copy")
    assert b"packfile" in asked(site, HEADER, mistake)
    gitcmd.git(site.upstream, "branch", "-D", "mistake")
    gitcmd.git(site.upstream, "gc", "--quiet", "--prune=now")
    site.server.password = ""
    assert b"packfile" in asked(site, "", site.upstream_head())
    refused(site, "", mistake)


def test_the_nodes_own_credentials_are_nobodys(site: Site) -> None:
    """What the node's user could prove, by any of git's ways, is not used for jobs."""
    site.server.password = "secret"
    home = site.runner.root / "home"
    host = site.server.base.removeprefix("http://")
    (home / ".netrc").write_text(f"machine {host.partition(':')[0]} login me password secret\n")
    config = home / ".gitconfig"
    config.write_text(
        config.read_text()
        + f'[http "{site.server.base}/"]\n\textraHeader = Authorization: {HEADER}\n'
        + "[credential]\n\thelper = !f() { echo username=me; echo password=secret; }; f\n"
    )
    site.begin()
    assert "nothing is known here" in refused(site, "", site.upstream_head())
    assert b"packfile" in asked(site, HEADER, site.upstream_head())
