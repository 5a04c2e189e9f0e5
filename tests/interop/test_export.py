"""Exports that real nginx and a server of buckets serve: clones, mirrors, liars, people killed."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gittorrent.errors import UnreachableError
from gittorrent.export.bucket import Bucket
from gittorrent.export.inventory import INVENTORY, STATE
from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from support import bulk, dying, gitcmd, lying_web, nodes, web_files
from support.buckets import CREDENTIALS, BucketServer, bucket_server, losing_an_answer
from support.lying_web import Answering, WebLiar
from support.places import misses
from support.programs import GITS, Done, Person, somebody, wait_until
from support.slow_lines import slow_line
from support.web_servers import nginx_files

pytestmark = pytest.mark.git_in_turn


@pytest.fixture(scope="module")
def buckets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BucketServer]:
    with bucket_server(tmp_path_factory.mktemp("buckets") / "server") as server:
        yield server


@pytest.fixture
def owner(tmp_path: Path) -> Person:
    return somebody(tmp_path / "owner", variables=CREDENTIALS)


@pytest.fixture(params=GITS)
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Person:
    return somebody(tmp_path / "reader", str(request.param))


def said(done: Done) -> dict[str, Any]:
    found = json.loads(done.ok().out)
    assert isinstance(found, dict)
    return found


def to_bucket(server: BucketServer, prefix: str) -> tuple[str, ...]:
    return (f"s3://{server.bucket}/{prefix}", "--endpoint", server.endpoint)


def url_of(server: BucketServer, prefix: str) -> str:
    return f"{server.endpoint}/{server.bucket}/{prefix}"


def grow(origin: Carried, key: Signer) -> str:
    """Publish one commit more; returns it."""
    commit = nodes.add_commit(origin.layout.git_dir, "refs/heads/main", "more", b"more\n")
    nodes.publish(origin.layout.git_dir, key, None)
    return commit


def is_whole(reader: Person, copy: str, origin: Carried) -> None:
    """Make sure that a mirror clone has what is published."""
    assert gitcmd.refs(reader.root / copy) == {
        bytes(name): str(oid) for name, oid in origin.log().refs.items()
    }
    reader.git("fsck", "--strict", cwd=reader.root / copy).ok()


def test_nginx_serves_a_mirror(
    owner: Person, reader: Person, owner_key: Signer, tmp_path: Path
) -> None:
    origin = nodes.publish(bulk.make_small(tmp_path / "project.git"), owner_key, "project")
    place = tmp_path / "www" / "project"
    owner.gittorrent("export", origin.layout.git_dir, place).ok()
    with nginx_files(tmp_path / "nginx", f"    root {tmp_path}/www;\n") as base:
        url = f"gittorrent::{base}/project"
        reader.git("clone", "--mirror", url, "copy").ok()
        is_whole(reader, "copy", origin)
        new = grow(origin, owner_key)
        more = said(owner.gittorrent("export", origin.layout.git_dir, place, "--json"))
        assert more["sent_bytes"] < 20_000
        reader.git("fetch", cwd=reader.root / "copy").ok()
        assert gitcmd.refs(reader.root / "copy")[b"refs/heads/main"] == new
        is_whole(reader, "copy", nodes.publish(origin.layout.git_dir, owner_key, None))
        asked = (tmp_path / "nginx" / "access").read_text()
    assert 'mirror-sync HTTP/1.1" 404' in asked
    assert '.pack HTTP/1.1" 206' in asked
    assert "git-upload-pack" not in asked


def test_a_bucket_is_a_mirror(
    owner: Person, reader: Person, owner_key: Signer, tmp_path: Path, buckets: BucketServer
) -> None:
    origin = nodes.publish(bulk.make_small(tmp_path / "project.git"), owner_key, "project")
    prefix = f"whole/{GITS.index(reader.git_program)}"
    place = to_bucket(buckets, prefix)
    first = said(owner.gittorrent("export", origin.layout.git_dir, *place, "--json"))
    assert first["current"] == 0
    assert not buckets.has(f"{prefix}/.gittorrent-export/lock")
    reader.git("clone", "--mirror", f"gittorrent::{url_of(buckets, prefix)}", "copy").ok()
    is_whole(reader, "copy", origin)
    nothing = said(owner.gittorrent("export", origin.layout.git_dir, *place, "--json"))
    assert (nothing["sent"], nothing["current"]) == (0, first["sent"])
    deep = reader.git("clone", "--depth=5", f"gittorrent::{url_of(buckets, prefix)}", "deep")
    deep.failed(128, "packs nothing on demand")
    new = grow(origin, owner_key)
    tried = said(owner.gittorrent("export", origin.layout.git_dir, *place, "--json", "--dry-run"))
    more = said(owner.gittorrent("export", origin.layout.git_dir, *place, "--json"))
    assert tried == {**more, "dry_run": True}
    reader.git("fetch", cwd=reader.root / "copy").ok()
    assert gitcmd.refs(reader.root / "copy")[b"refs/heads/main"] == new


def test_a_mirror_follows_an_export(
    owner: Person, person: Person, owner_key: Signer, tmp_path: Path
) -> None:
    origin = nodes.publish(bulk.make_small(tmp_path / "project.git"), owner_key, "project")
    place = tmp_path / "www" / "project"
    following = owner.start(
        "gittorrent", "export", origin.layout.git_dir, place, "--follow", "--every", "1s"
    )
    try:
        wait_until(lambda: "checkpoint" in following.out, "it is exported")
        with nginx_files(tmp_path / "nginx", f"    root {tmp_path}/www;\n") as base:
            url = f"gittorrent::{base}/project"
            person.gittorrent("mirror", url, "--once").ok()
            new = grow(origin, owner_key)
            wait_until(lambda: following.out.count("checkpoint") == 2, "it is exported again")
            person.gittorrent("mirror", url, "--once").ok()
            (mirror,) = (person.node / "repositories").glob("*.git")
            assert gitcmd.refs(mirror)[b"refs/heads/main"] == new
        owner.gittorrent("export", origin.layout.git_dir, place).failed(1, "another process")
        following.process.send_signal(signal.SIGTERM)
        assert following.wait() == 0, following.err
    finally:
        following.stop()


@pytest.mark.parametrize("git", GITS)
def test_stock_git_takes_bundles_of_an_export(
    owner: Person, owner_key: Signer, tmp_path: Path, git: str
) -> None:
    origin = nodes.publish(bulk.make_large(tmp_path / "project.git"), owner_key, "project")
    grow(origin, owner_key)
    git_dir, place = origin.layout.git_dir, tmp_path / "www" / "project"
    reader = somebody(tmp_path / "reader", git)
    with nginx_files(tmp_path / "nginx", f"    root {tmp_path}/www;\n") as base:
        words = ("--bundles", "--url", f"{base}/project")
        owner.gittorrent("export", git_dir, place, *words).ok()
        bundles = f"--bundle-uri={base}/project/bundle-list"
        done = reader.git("clone", "--mirror", bundles, f"file://{git_dir}", "copy").ok()
        asked = (tmp_path / "nginx" / "access").read_text()
    assert "warning" not in done.err
    assert asked.count('.bundle HTTP/1.1" 200') == 2
    reader.git("fsck", "--strict", cwd=reader.root / "copy").ok()


def test_three_front_ends_over_one_export(
    owner: Person, reader: Person, owner_key: Signer, tmp_path: Path
) -> None:
    """They keep no state: whichever is there will do, and clones know all of them from any."""
    origin = nodes.publish(bulk.make_small(tmp_path / "project.git"), owner_key, "project")
    place, root = tmp_path / "www" / "project", f"    root {tmp_path}/www;\n"
    with ExitStack() as lasting, ExitStack() as first:
        fronts = [first.enter_context(nginx_files(tmp_path / "nginx0", root))]
        fronts += [lasting.enter_context(nginx_files(tmp_path / f"nginx{n}", root)) for n in (1, 2)]
        urls = [word for base in fronts for word in ("--url", f"{base}/project")]
        owner.gittorrent("export", origin.layout.git_dir, place, *urls).ok()
        listed = person_lists(reader, f"gittorrent::{fronts[2]}/project")
        assert listed == [f"{base}/project" for base in fronts]
        reader.git("clone", "--mirror", f"gittorrent::{fronts[0]}/project", "copy").ok()
        is_whole(reader, "copy", origin)
        first.close()
        new = grow(origin, owner_key)
        owner.gittorrent("export", origin.layout.git_dir, place, *urls).ok()
        reader.git("fetch", cwd=reader.root / "copy").ok()
        assert gitcmd.refs(reader.root / "copy")[b"refs/heads/main"] == new
        reader.git("clone", "--mirror", f"gittorrent::{fronts[1]}/project", "other").ok()


def person_lists(person: Person, url: str) -> list[str]:
    """Return the mirrors that a mirror tells of."""
    done = person.gittorrent("mirrors", url, "--json").ok()
    return [mirror["url"] for mirror in json.loads(done.out)["mirrors"]]


@pytest.mark.parametrize("option", ["--depth=1", "--filter=blob:none"])
def test_clones_of_less_than_everything(
    owner: Person, reader: Person, owner_key: Signer, tmp_path: Path, option: str
) -> None:
    """Where the repository has reels of that shape, files are enough for them, too."""
    made = bulk.make_small(tmp_path / "project.git")
    gitcmd.git(made, "config", "gittorrent.shapes", "always")
    origin = nodes.publish(made, owner_key, "project")
    owner.gittorrent("export", origin.layout.git_dir, tmp_path / "www" / "project").ok()
    with nginx_files(tmp_path / "nginx", f"    root {tmp_path}/www;\n") as base:
        reader.git("clone", option, f"gittorrent::{base}/project", "copy").ok()
        asked = (tmp_path / "nginx" / "access").read_text()
    copy = reader.root / "copy"
    assert reader.git("status", "--porcelain", cwd=copy).ok().out == ""
    head = gitcmd.text(origin.layout.git_dir, "rev-parse", "main")
    assert gitcmd.text(copy, "rev-parse", "HEAD") == head
    if option == "--depth=1":
        assert (copy / ".git" / "shallow").read_text().strip() == head
    assert "git-upload-pack" not in asked


def test_a_mirror_that_lies_is_left_for_another_one(
    owner: Person, person: Person, owner_key: Signer, tmp_path: Path, buckets: BucketServer
) -> None:
    """Of two that are served from, one has a changed pack."""
    origin = nodes.publish(bulk.make_large(tmp_path / "project.git"), owner_key, "project")
    git_dir, place = origin.layout.git_dir, tmp_path / "www" / "project"
    with nginx_files(tmp_path / "nginx", f"    root {tmp_path}/www;\n") as base:
        lying = url_of(buckets, "lying")
        urls = ("--url", lying, "--url", f"{base}/project")
        owner.gittorrent("export", git_dir, *to_bucket(buckets, "lying"), *urls).ok()
        owner.gittorrent("export", git_dir, place, *urls).ok()
        packs = sorted(place.glob("reels/*.pack"), key=lambda path: path.stat().st_size)
        pack = packs[-1].name
        data = bytearray(buckets.read(f"lying/reels/{pack}"))
        for at in range(100, len(data), 50_000):
            data[at] ^= 1
        buckets.ask("PUT", f"lying/reels/{pack}", bytes(data))
        person.git("clone", "--mirror", f"gittorrent::{lying}", "copy").ok()
        is_whole(person, "copy", origin)
        checked = owner.gittorrent("export", git_dir, *to_bucket(buckets, "lying"), "--verify")
        checked.failed(1, f"reels/{pack}: is not what the repository here has")
        owner.gittorrent("export", git_dir, place, "--verify", *urls).ok()
    (tmp_path / "www").rename(tmp_path / "gone")
    # With the other one it depends on who is faster whether anything wrong is sent.
    done = person.git("clone", "--mirror", f"gittorrent::{lying}", "alone").failed(128)
    assert "wrong" in done.err or "sends" in done.err, done.err


def test_a_killed_export_goes_on_at_a_bucket(
    owner: Person, owner_key: Signer, tmp_path: Path, buckets: BucketServer
) -> None:
    origin = nodes.publish(bulk.make_large(tmp_path / "project.git"), owner_key, "project")
    place = to_bucket(buckets, "killed")
    running = owner.start("gittorrent", "export", origin.layout.git_dir, *place)
    try:
        wait_until(lambda: buckets.has(f"killed/{INVENTORY}"), "it has begun")
    finally:
        running.stop()
    assert buckets.has("killed/.gittorrent-export/lock")
    done = said(owner.gittorrent("export", origin.layout.git_dir, *place, "--json"))
    assert done["changed"]
    again = said(owner.gittorrent("export", origin.layout.git_dir, *place, "--json"))
    assert (again["sent"], again["superseded"]) == (0, 0)


def test_one_exporter_to_a_bucket(
    owner: Person, owner_key: Signer, tmp_path: Path, buckets: BucketServer
) -> None:
    """The note of somebody on another machine holds; one that is over does not."""
    origin = nodes.publish(bulk.make_small(tmp_path / "project.git"), owner_key, "project")
    place, lock = to_bucket(buckets, "held"), "held/.gittorrent-export/lock"
    note = {"host": "elsewhere", "boot": "another", "pid": 7, "until": 0}
    wait = {**note, "until": int(time.time()) + 500}
    buckets.ask("PUT", lock, json.dumps(wait).encode())
    refused = owner.gittorrent("export", origin.layout.git_dir, *place)
    refused.failed(1, "elsewhere exports to s3://mirrors/held")
    assert not buckets.has("held/mirror-list")
    buckets.ask("PUT", lock, json.dumps(note).encode())
    owner.gittorrent("export", origin.layout.git_dir, *place).ok()
    assert not buckets.has(lock)


TAKEN_OVER = """
import sys
from gittorrent.export.bucket import Bucket
from gittorrent.export.lease import Note
from gittorrent.export.place import LockLostError
place, other = Bucket(*sys.argv[1:]), Bucket(*sys.argv[1:])
with place.held() as hold:
    hold.check()
    _, seen = other.read_note()
    assert other.write_note(Note("elsewhere", "another", 7, 1 << 40), seen)
    try:
        hold.check()
    except LockLostError:
        print("lost")
"""


def test_an_exporter_that_was_taken_over_names_nothing(
    owner: Person, buckets: BucketServer
) -> None:
    """A machine whose clock is wrong takes the place early: the server says who has it."""
    url, _, endpoint = to_bucket(buckets, "taken")
    assert owner.run(sys.executable, "-c", TAKEN_OVER, url, endpoint).ok().out.strip() == "lost"
    assert buckets.has("taken/.gittorrent-export/lock")


LISTED = """
import sys
from gittorrent.errors import LocalError
from gittorrent.export.bucket import Bucket
url, endpoint = sys.argv[1:]
print(len(Bucket(url, endpoint, most=30).present()))
try:
    Bucket(url, endpoint, most=29).present()
except LocalError as error:
    print(error)
"""


def test_a_list_of_objects_is_not_read_for_ever(owner: Person, buckets: BucketServer) -> None:
    """Those that no export has are counted, too."""
    for number in range(15):
        buckets.ask("PUT", f"long/reels/{number:064x}.pack", b"x")
        buckets.ask("PUT", f"long/pushes/strange-{number}", b"x")
    url, _, endpoint = to_bucket(buckets, "long")
    said = owner.run(sys.executable, "-c", LISTED, url, endpoint).ok().out.splitlines()
    assert said == ["15", f"{url} lists more than 29 objects"]


@pytest.mark.parametrize("status", [500, 0])
def test_an_answer_that_is_lost_is_nobody_elses_lock(
    project: Carried, owner: Person, buckets: BucketServer, status: int
) -> None:
    """What was asked for is done, and comes a second time or is not known to be."""
    prefix = f"lost{status}"
    with losing_an_answer(buckets, f"PUT /mirrors/{prefix}/{STATE}/lock", status) as way:
        owner.gittorrent("export", project.layout.git_dir, *to_bucket(way, prefix)).ok()
    assert not buckets.has(f"{prefix}/{STATE}/lock")
    assert buckets.has(f"{prefix}/mirror-list")


def test_a_slow_line_takes_a_large_object(
    buckets: BucketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parts take longer than a short request may."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    host, _, port = buckets.endpoint.partition("://")[2].partition(":")
    short = 0.2
    with slow_line((host, int(port)), 4 * short) as place:
        bucket = Bucket("s3://mirrors/slow", f"http://{place}", short_seconds=short)
        name, data = f"reels/{'a' * 64}.pack", bytes(9 << 20)
        bucket.write(name, len(data), iter([data[: 1 << 20], data[1 << 20 :]]))
        bucket.write_small({"mirror-list": b"short"})
        assert b"".join(bucket.chunks(name)) == data
        assert bucket.read("mirror-list", 100) == b"short"
        with pytest.raises(UnreachableError):
            bucket.read_note()
    assert buckets.read(f"slow/{name}") == data


def test_a_killed_export_goes_on_in_a_directory(
    owner: Person, owner_key: Signer, tmp_path: Path
) -> None:
    """Wherever it is killed, readers find what they are told of, and the next one finishes."""
    origin = nodes.publish(bulk.make_small(tmp_path / "project.git"), owner_key, "project")
    git_dir, place = origin.layout.git_dir, tmp_path / "www"
    owner.gittorrent("export", git_dir, place).ok()
    grow(origin, owner_key)
    count = tmp_path / "count"
    words = (sys.executable, dying.__file__, "gittorrent", "export", git_dir)
    Person(owner.root, variables={"DIE_AT": "0", "DIE_COUNT": str(count)}).run(
        *words, tmp_path / "other"
    ).ok()
    steps = int(count.read_text())
    died = 0
    for step in range(1, steps, 4):
        mortal = Person(owner.root, variables={"DIE_AT": str(step)})
        died += mortal.run(*words, place).status == -signal.SIGKILL
        assert misses(files_of(place)) == [], f"after step {step}"
    assert died >= 5
    owner.gittorrent("export", git_dir, place).ok()
    assert files_of(place) == files_of(tmp_path / "other")
    assert not list((place / ".gittorrent-export" / "new").iterdir())


def files_of(place: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file() and not path.relative_to(place).parts[0].startswith(".")
    }


def test_what_is_private_is_not_exported(owner: Person, owner_key: Signer, tmp_path: Path) -> None:
    made = bulk.make_small(tmp_path / "project.git")
    origin = nodes.publish(made, owner_key, "project", private=True)
    place = tmp_path / "www"
    refused = owner.gittorrent("export", origin.layout.git_dir, place)
    refused.failed(2, "is private", "--even-if-private")
    assert not place.exists()
    owner.gittorrent("export", origin.layout.git_dir, place, "--even-if-private").ok()
    assert (place / "mirror-list").exists()


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("ftp://example.org/x",), 2, "cannot export to"),
        (("s3://bucket",), 2, "no prefix"),
        (("www", "--endpoint", "http://127.0.0.1:9"), 2, "--endpoint is for buckets"),
        (("www", "--url", "ftp://example.org/x"), 2, "--url"),
        (("www", "--url", "git://example.org/x"), 2, "no web server's"),
        (("www", "--url", "https://example.org/"), 2, "names no repository"),
        (("www", "--follow", "--dry-run"), 2, "--dry-run"),
        (("www", "--every", "5m"), 2, "--every"),
        (("s3://bucket/x", "--endpoint", "http://127.0.0.1:9"), 3, "cannot use s3://bucket/x"),
    ],
)
def test_what_cannot_be_done_is_said(
    project: Carried, owner: Person, words: tuple[str, ...], status: int, says: str
) -> None:
    if words[0].startswith("s3://"):
        pytest.importorskip("obstore")
    owner.gittorrent("export", project.layout.git_dir, *words).failed(status, says)


@pytest.mark.parametrize(
    ("there", "status", "says"),
    [
        ("www/reels/index", 2, "no export wrote it"),
        ("www/pushes", 7, "Not a directory"),
        ("www", 2, "is a file"),
    ],
)
def test_what_is_refused_leaves_nothing(
    project: Carried, owner: Person, there: str, status: int, says: str
) -> None:
    path = owner.root / "place" / there
    path.parent.mkdir(parents=True)
    path.write_text("somebody's")
    before = sorted((owner.root / "place").rglob("*"))
    owner.gittorrent("export", project.layout.git_dir, "place/www").failed(status, says)
    assert sorted((owner.root / "place").rglob("*")) == before


def test_below_a_file_there_is_no_place(project: Carried, owner: Person) -> None:
    (owner.root / "file").touch()
    done = owner.gittorrent("export", project.layout.git_dir, "file/www")
    done.failed(7, f"Not a directory ({owner.root}/file/www")


def test_a_repository_begins_empty(owner: Person, reader: Person, tmp_path: Path) -> None:
    """Whoever sets everything up before the first commit need not come again."""
    made = Path(gitcmd.init(tmp_path / "project.git"))
    owner.gittorrent("publish", made, "--new-key").ok()
    place = tmp_path / "www" / "project"
    owner.gittorrent("export", made, place).ok()
    assert said(owner.gittorrent("export", made, place, "--verify", "--json"))["ok"]
    with web_files.serving(tmp_path / "www") as base:
        done = reader.git("clone", f"gittorrent::{base}/project", "copy").ok()
        assert "cloned an empty repository" in done.err
        reader.gittorrent("mirror", "--once", f"gittorrent::{base}/project").ok()
        new = nodes.add_commit(made, "refs/heads/main", "first", b"first\n")
        owner.gittorrent("publish", made).ok()
        owner.gittorrent("export", made, place).ok()
        reader.git("fetch", cwd=reader.root / "copy").ok()
        reader.gittorrent("mirror", "--once", f"gittorrent::{base}/project").ok()
    mirror = reader.node / "repositories" / "project.git"
    assert gitcmd.text(reader.root / "copy", "rev-parse", "origin/main") == new
    assert gitcmd.text(mirror, "rev-parse", "main") == new


def test_a_page_for_all_that_is_missing(
    project: Carried, owner: Person, reader: Person, tmp_path: Path
) -> None:
    """Web servers of applications that run in browsers answer so."""

    def page(answering: Answering, true: bytes) -> None:
        answering.say(200, true or b"<!doctype html><title>An application</title>")

    owner.gittorrent("export", project.layout.git_dir, tmp_path / "www" / "project").ok()
    with lying_web.serving(WebLiar(tmp_path / "www", {"*": page})) as web:
        url = f"gittorrent::{web.url}/project"
        reader.git("clone", "--mirror", url, "copy").ok()
        is_whole(reader, "copy", project)
        for option in ("--depth=1", "--filter=blob:none"):
            reader.git("clone", option, url, "less").failed(128, "packs nothing on demand")
        reader.git("clone", f"gittorrent::{web.url}/elsewhere").failed(128, "is a web page")


def test_a_bucket_without_credentials(project: Carried, person: Person) -> None:
    pytest.importorskip("obstore")
    nobody = Person(person.root, variables={"AWS_METADATA_ENDPOINT": "http://127.0.0.1:9"})
    words = ("s3://bucket/x", "--endpoint", "http://127.0.0.1:9")
    done = nobody.gittorrent("export", project.layout.git_dir, *words)
    done.failed(2, "no credentials for s3://bucket/x", "AWS_ACCESS_KEY_ID")


def test_the_server_that_amazons_tools_would_ask(
    project: Carried, owner: Person, buckets: BucketServer
) -> None:
    git_dir, place = project.layout.git_dir, f"s3://{buckets.bucket}/by-variable"
    there = {**CREDENTIALS, "AWS_ENDPOINT_URL": buckets.endpoint}
    Person(owner.root, variables=there).gittorrent("export", git_dir, place).ok()
    assert buckets.has("by-variable/mirror-list")
    host = buckets.endpoint.removeprefix("http://")
    done = owner.gittorrent("export", git_dir, place, "--endpoint", host)
    done.failed(2, f"{host} is no URL of a bucket's server", f"write https://{host}")
    pytest.importorskip("boto3")
    nobody = Person(owner.root, variables={"AWS_PROFILE": "nobody"})
    done = nobody.gittorrent("export", git_dir, place, "--endpoint", buckets.endpoint)
    done.failed(2, "AWS_PROFILE cannot be used", "AWS_ACCESS_KEY_ID")


def test_a_bucket_that_is_not_there(project: Carried, owner: Person, buckets: BucketServer) -> None:
    words = ("export", project.layout.git_dir, "s3://nowhere/x", "--endpoint", buckets.endpoint)
    for option in ((), ("--dry-run",), ("--verify",)):
        done = owner.gittorrent(*words, *option)
        done.failed(3, "s3://nowhere/x is not there", "make the bucket first")


def test_a_bucket_without_the_library(project: Carried, owner: Person, tmp_path: Path) -> None:
    """What is not installed is named; directories need nothing of it."""
    (tmp_path / "obstore.py").write_text("raise ImportError('not here')\n")
    without = Person(owner.root, variables={"PYTHONPATH": str(tmp_path)})
    git_dir = project.layout.git_dir
    done = without.gittorrent("export", git_dir, "s3://bucket/x")
    done.failed(2, "obstore, which is not installed", "pipx inject gittorrent obstore")
    without.gittorrent("export", git_dir, tmp_path / "www").ok()


def test_a_clone_is_not_exported(project_node: nodes.Served, person: Person) -> None:
    url = f"gittorrent://{project_node.git.removeprefix('git://')}/project.git"
    person.git("clone", url, "copy").ok()
    person.gittorrent("export", person.root / "copy", "www").failed(2)
