"""Mirrors whose upload-pack lies, stalls or sends others: an ordinary fetch harms nobody.

Each attack is tried on a mirror, which is served on, and on a clone, as far as both are concerned.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from gittorrent.store.database import Database, RememberedMirror
from gittorrent.store.home import Home
from gittorrent.wire.urls import AddressClass
from support import bulk, gitcmd, liars, nodes
from support.liars import Front, front
from support.nodes import Served
from support.programs import Person, wait_until


def url_at(at: str, name: str = "project", scheme: str = "gittorrent") -> str:
    return f"{scheme}://{at}/{name}.git"


def without_reels(carried: Carried, target: Path) -> Carried:
    """Return a copy that has a log, objects, and no reel."""
    copy = nodes.copy_as_mirror(carried, target, "")
    for manifest in copy.layout.reels.glob("*.manifest"):
        manifest.unlink()
    return copy


@pytest.fixture
def bare(project: Carried, tmp_path: Path) -> Carried:
    """The project without reels: everything has to come by an ordinary fetch."""
    return without_reels(project, tmp_path / "bare.git")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return nodes.make_home(tmp_path / "node")


@pytest.fixture
def honest(bare: Carried, home: Home) -> Iterator[Served]:
    with nodes.serving(bare, home=home) as served:
        yield served


def published_tips(git_dir: Path) -> list[str]:
    return sorted(set(bulk.published(gitcmd.refs(git_dir)).values()))


def tip_only(carried: Carried) -> liars.Manner:
    """Send the newest commit and nothing that it needs."""
    git_dir = carried.layout.git_dir
    tip = gitcmd.text(git_dir, "rev-parse", "refs/heads/main")
    tips = published_tips(git_dir)
    found = liars.objects_of(git_dir, tips)
    return liars.of_pack(tip, lambda: iter(found), len(found))


def lacking(carried: Carried, kind: str) -> liars.Manner:
    """Send everything but one object of a kind that lies deep in history."""
    git_dir = carried.layout.git_dir
    tips = published_tips(git_dir)
    found = liars.objects_of(git_dir, liars.all_names(git_dir, *tips))
    last = max(at for at, (each, _) in enumerate(found) if each == kind)
    del found[last]
    return liars.of_pack(tips[0], lambda: iter(found), len(found))


def shallow(carried: Carried, tmp_path: Path, depth: int = 1) -> liars.Manner:
    """Serve a copy whose history is cut off."""
    copy = tmp_path / f"shallow-{depth}.git"
    if not copy.exists():
        source = f"file://{carried.layout.git_dir}"
        words = ("clone", "-q", "--mirror", "--no-single-branch", f"--depth={depth}")
        gitcmd.git(tmp_path, *words, source, copy.name)
    return liars.of_repository(copy)


def is_whole(git_dir: Path, carried: Carried) -> bool:
    """Tell whether a mirror clone has all refs and all that they reach, and nothing else."""
    if gitcmd.refs(git_dir) != bulk.published(gitcmd.refs(carried.layout.git_dir)):
        return False
    listed = gitcmd.git(git_dir, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)")
    reached = set(liars.all_names(git_dir, *gitcmd.refs(git_dir).values()))
    return set(listed.decode().split()) == reached and not (git_dir / "shallow").exists()


MANNERS: dict[str, Callable[[Carried, Path], liars.Manner]] = {
    "tip only": lambda carried, _: tip_only(carried),
    "a blob less": lambda carried, _: lacking(carried, "blob"),
    "a tree less": lambda carried, _: lacking(carried, "tree"),
    "shallow": shallow,
}


# --- less than was asked for ---------------------------------------------------------------------


@pytest.mark.parametrize("manner", MANNERS)
def test_a_mirror_is_not_poisoned(
    bare: Carried, honest: Served, tmp_path: Path, person: Person, manner: str
) -> None:
    with front(honest.git_address, MANNERS[manner](bare, tmp_path)) as liar:
        done = person.gittorrent("mirror", url_at(liar.at), "--once")
        done.failed(5, liar.at, "cannot be fetched from")
        assert "key" not in done.err, "nobody is to be blamed who signed"
        assert not list(person.node.glob("repositories/*"))
    person.gittorrent("mirror", url_at(honest.git[6:]), "--once").ok()
    (git_dir,) = person.node.glob("repositories/*.git")
    assert "all is well" in person.gittorrent("verify", git_dir).ok().out


@pytest.mark.parametrize("manner", MANNERS)
def test_a_mirror_is_not_poisoned_later(
    bare: Carried,
    honest: Served,
    tmp_path: Path,
    person: Person,
    owner_key: Signer,
    manner: str,
) -> None:
    person.gittorrent("mirror", url_at(honest.git[6:]), "--once").ok()
    (git_dir,) = person.node.glob("repositories/*.git")
    before = gitcmd.refs(git_dir)
    origin = tmp_path / "origin.git"
    make_origin_again(bare, origin, owner_key)
    grown = without_reels(Carried(origin, bare.object_format), tmp_path / "grown.git")
    with nodes.serving(grown, home=nodes.make_home(tmp_path / "n2")) as served:
        with front(served.git_address, MANNERS[manner](grown, tmp_path)) as liar:
            person.gittorrent("mirror", url_at(liar.at), "--once").failed(5, liar.at)
            assert gitcmd.refs(git_dir) == before
            assert "all is well" in person.gittorrent("verify", git_dir).ok().out
        person.gittorrent("mirror", url_at(served.git[6:]), "--once").ok()
    assert gitcmd.refs(git_dir)[b"refs/heads/new"]
    assert "all is well" in person.gittorrent("verify", git_dir).ok().out


def make_origin_again(carried: Carried, target: Path, key: Signer) -> None:
    """Let a copy of the project be published with more in it, as its owner would."""
    copy = nodes.copy_as_mirror(carried, target, "")
    copy.set_info(replace(copy.info, role="origin"))
    main = gitcmd.text(target, "rev-parse", "refs/heads/main")
    gitcmd.git(target, "update-ref", "refs/heads/new", main)
    nodes.add_commit(target, "refs/heads/new", "first of new", b"1")
    nodes.add_commit(target, "refs/heads/new", "second of new", b"2")
    nodes.publish(target, key, None)


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("other", ["git", "http"])
def test_a_clone_takes_the_next_mirror(
    bare: Carried,
    honest: Served,
    tmp_path: Path,
    person: Person,
    manner: str,
    other: str,
) -> None:
    base = honest.git if other == "git" else honest.http
    lie = MANNERS[manner](bare, tmp_path)
    with front(honest.git_address, lie, f"{base}/project.git") as liar:
        words = ("clone", "--mirror", "--reject-shallow", url_at(liar.at), "c")
        done = person.git(*words).ok()
        assert "is left out" in done.err
        assert liar.asked.count("git-upload-pack") == 1
    assert is_whole(person.root / "c", bare)


@pytest.mark.parametrize("manner", MANNERS)
def test_a_clone_of_the_only_mirror_fails(
    bare: Carried, honest: Served, tmp_path: Path, person: Person, manner: str
) -> None:
    with front(honest.git_address, MANNERS[manner](bare, tmp_path)) as liar:
        person.git("clone", "--mirror", url_at(liar.at), "c").failed(128, "cannot be fetched from")
    assert not (person.root / "c").exists()


def test_shallower_than_was_asked_for(
    bare: Carried, honest: Served, tmp_path: Path, person: Person
) -> None:
    """A boundary is right where it was asked for, and nowhere nearer."""
    manner = shallow(bare, tmp_path, depth=2)
    with front(honest.git_address, manner) as liar:
        for depth, well in (("1", True), ("2", True), ("5", False)):
            words = ("clone", f"--depth={depth}", url_at(liar.at), f"c{depth}")
            done = person.git(*words)
            assert (done.status == 0) is well, done.err
            assert ("before the depth asked for" in done.err) is not well
        liar.tries = [f"{honest.git}/project.git"]
        person.git("clone", "--depth=5", url_at(liar.at), "c").ok()
        # Now that it is shallow by wish, everything is wanted: no boundary may stay.
        done = person.git("fetch", "--unshallow", cwd=person.root / "c").ok()
        assert "is left out" in done.err
    assert not (person.root / "c" / ".git" / "shallow").exists()
    gitcmd.git(person.root / "c" / ".git", "fsck", "--connectivity-only")


def test_deepening_and_unshallowing(honest: Served, person: Person) -> None:
    """What git's own options move is moved, also when it goes through quarantine."""
    url = url_at(honest.git[6:])
    person.git("clone", "-q", "--depth=2", url, "c").ok()
    clone = person.root / "c"
    count = ("rev-list", "--count", "HEAD")
    assert person.git(*count, cwd=clone).out == "2\n"
    person.git("fetch", "-q", "--deepen=3", cwd=clone).ok()
    assert person.git(*count, cwd=clone).out == "5\n"
    person.git("fetch", "-q", "--depth=1", cwd=clone).ok()
    assert person.git(*count, cwd=clone).out == "1\n"
    person.git("fetch", "-q", "--unshallow", cwd=clone).ok()
    assert person.git(*count, cwd=clone).out == "62\n"
    gitcmd.git(clone / ".git", "fsck", "--connectivity-only")


@pytest.mark.parametrize("option", ["--unshallow", "--depth=5", "--deepen=5"])
def test_a_boundary_that_does_not_move(
    bare: Carried, honest: Served, tmp_path: Path, person: Person, option: str
) -> None:
    """A mirror cut off where the clone is has nothing to send, which is not what was asked for."""
    with front(honest.git_address, shallow(bare, tmp_path, depth=2)) as liar:
        person.git("clone", "-q", "--depth=2", url_at(liar.at), "c").ok()
        clone = person.root / "c"
        done = person.git("fetch", option, cwd=clone)
        assert done.status != 0
        assert "its history is cut off" in done.err
        assert person.git("rev-list", "--count", "HEAD", cwd=clone).out == "2\n"


@pytest.mark.parametrize("option", ["--filter=blob:none", "--filter=tree:0"])
def test_a_partial_clone_has_all_of_history(
    bare: Carried, honest: Served, person: Person, option: str
) -> None:
    words = ("clone", "--no-checkout", option)
    with front(honest.git_address, tip_only(bare)) as liar:
        person.git(*words, url_at(liar.at), "c").failed(128, "cannot be fetched from")
        liar.tries = [f"{honest.git}/project.git"]
        person.git(*words, url_at(liar.at), "c").ok()
    # Git would fetch what is missing, and finds no helper here.
    listed = gitcmd.text(person.root / "c", "rev-list", "HEAD")
    assert listed == gitcmd.text(bare.layout.git_dir, "rev-list", "main")


# --- more than was asked for ---------------------------------------------------------------------


def with_junk(carried: Carried, blobs: int, size: int) -> liars.Manner:
    git_dir = carried.layout.git_dir
    tips = published_tips(git_dir)
    found = liars.objects_of(git_dir, liars.all_names(git_dir, *tips))

    def entries() -> Iterator[tuple[str, bytes]]:
        yield from found
        for _ in range(blobs):
            yield liars.junk(size)

    return liars.of_pack(tips[0], entries, len(found) + blobs)


def test_unrelated_objects_do_not_stay(bare: Carried, honest: Served, person: Person) -> None:
    with front(honest.git_address, with_junk(bare, 30, 1000)) as liar:
        person.git("clone", "-q", "--mirror", url_at(liar.at), "c").ok()
    assert is_whole(person.root / "c", bare)


@pytest.mark.parametrize("command", ["clone", "mirror"])
def test_the_size_is_bounded_as_it_arrives(
    bare: Carried, honest: Served, person: Person, command: str
) -> None:
    """The configured size for clones; nothing of what came stays."""
    sent = 0

    def endless() -> Iterator[tuple[str, bytes]]:
        nonlocal sent
        while True:
            sent += 1
            yield liars.junk(1 << 18)

    tip = gitcmd.text(bare.layout.git_dir, "rev-parse", "refs/heads/main")
    person.git("config", "--global", "gittorrent.maxSize", "2M").ok()
    with front(honest.git_address, liars.of_pack(tip, endless, 4000)) as liar:
        if command == "clone":
            person.git("init", "-q", "--bare", "c").ok()
            words = ("fetch", url_at(liar.at), "refs/heads/main:refs/heads/main")
            done = person.git(*words, cwd=person.root / "c")
        else:
            done = person.gittorrent("mirror", url_at(liar.at), "--once")
    assert done.status == (128 if command == "clone" else 7)
    assert "more than the 2.00 MiB allowed" in done.err
    assert "gittorrent.maxSize" in done.err
    assert sent < 400, "it was cut off on the way"
    left = sum(p.stat().st_size for p in person.root.rglob("*") if p.is_file())
    assert left < 1 << 20


def test_who_sends_too_much_is_asked_once(bare: Carried, honest: Served, person: Person) -> None:
    """Two such mirrors cost twice the size that is allowed, and not more for being two."""
    tip = gitcmd.text(bare.layout.git_dir, "rev-parse", "refs/heads/main")
    person.git("config", "--global", "gittorrent.maxSize", "1M").ok()

    def endless() -> Iterator[tuple[str, bytes]]:
        while True:
            yield liars.junk(1 << 18)

    manner = liars.of_pack(tip, endless, 4000)
    with front(honest.git_address, manner) as other:
        with front(honest.git_address, manner, f"git://{other.at}/project.git") as liar:
            done = person.git("clone", url_at(liar.at), "c").failed(128, "gittorrent.maxSize")
            assert done.err.count("more than the 1.00 MiB allowed") >= 2
            for each in (liar, other):
                assert each.asked.count("git-upload-pack") == 1


# --- nothing at all ------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("manner", [liars.silent, liars.trickling])
@pytest.mark.parametrize("command", ["mirror", "clone", "shallow"])
def test_a_stall_can_be_interrupted(
    honest: Served,
    person: Person,
    number: signal.Signals,
    manner: liars.Manner,
    command: str,
) -> None:
    """Ctrl-C reaches all, a supervisor's signal the program alone: nothing goes on or stays."""
    with front(honest.git_address, manner) as liar:
        words = {
            "mirror": ("gittorrent", "mirror", url_at(liar.at)),
            "clone": ("gittorrent", "clone", url_at(liar.at), "c"),
            "shallow": ("gittorrent", "clone", url_at(liar.at), "c", "--depth=1"),
        }[command]
        running = person.start(*words)
        try:
            wait_until(lambda: "git-upload-pack" in liar.asked, "it fetches")
            if number is signal.SIGINT:
                running.signal_group(number)
            else:
                running.process.send_signal(number)
            running.wait_all()
        finally:
            running.stop()
        # `mirror` follows until it is told to end, so SIGTERM is no failure of it.
        follows = command == "mirror" and number == signal.SIGTERM
        assert running.process.returncode in ((0,) if follows else (130, 143, -number))
    assert not (person.root / "c").exists()
    assert not list(person.node.glob("repositories/*/gittorrent/incoming/*"))


# --- somebody else -------------------------------------------------------------------------------


def refusing(made: Front, sock: socket.socket, first: bytes) -> None:
    """Hang up at once."""
    del made, sock, first


def test_no_redirect_and_nothing_of_the_users(honest: Served, person: Person) -> None:
    """A mirror we only learned of hears nothing but our question, and sends us nowhere."""
    person.git("config", "--global", "http.extraHeader", "X-Secret: of the user").ok()
    person.git("config", "--global", "http.cookieFile", str(person.root / "cookies")).ok()
    (person.root / "cookies").write_text("127.0.0.1\tFALSE\t/\tFALSE\t0\tsecret\tcookie\n")
    (person.root / "home" / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    with contextlib.ExitStack() as stack:
        witness = stack.enter_context(liars.web_front(None, ""))
        node = honest.http_address
        sender = stack.enter_context(liars.web_front(node, f"http://{witness.at}"))
        learned = f"http://{sender.at}/project.git"
        first = stack.enter_context(front(honest.git_address, refusing, learned))
        person.git("clone", url_at(first.at), "c").failed(128)
    assert any("/info/refs" in path for path, _ in sender.seen), "it was asked"
    for _, headers in sender.seen:
        assert not {"X-Secret", "Cookie", "Authorization"} & headers.keys()
    assert not witness.seen


def test_no_redirect_from_whom_the_user_named(honest: Served, person: Person) -> None:
    with liars.web_front(None, "") as witness:
        with liars.web_front(honest.http_address, f"http://{witness.at}") as sender:
            url = f"gittorrent::http://{sender.at}/project.git"
            done = person.git("clone", url, "c")
            assert f"http://{sender.at}/project.git failed" in done.err
        assert not witness.seen


def test_an_ssh_mirror_of_the_policy_comes_last(
    bare: Carried, honest: Served, tmp_path: Path, person: Person
) -> None:
    """It gives objects, and nothing else is believed of it; ssh asks nobody anything."""
    asked = tmp_path / "asked"
    ssh = tmp_path / "ssh"
    ssh.write_text(
        f'#!/bin/sh\necho "$@" >>"{asked}"\nexec git upload-pack "{bare.layout.git_dir}"\n'
    )
    ssh.chmod(0o755)
    person.variables.update(GIT_SSH_COMMAND=str(ssh), GIT_SSH_VARIANT="ssh")
    person.git("config", "--global", "safe.directory", "*").ok()
    with front(honest.git_address, refusing) as first:
        person.git("ls-remote", url_at(first.at)).ok()
        with contextlib.closing(Database(person.node / "node.sqlite")) as database:
            told = RememberedMirror("ssh://git@mirror.example.org:99/p.git", AddressClass.PUBLIC)
            database.remember_mirrors(bare.info.repository_id, [told], 1)
        person.git("clone", "--mirror", url_at(first.at), "c").ok()
    assert is_whole(person.root / "c", bare)
    (said,) = asked.read_text().splitlines()
    assert "git@mirror.example.org" in said
    assert "git-upload-pack '/p.git'" in said


# --- objects that are missing here ---------------------------------------------------------------


@pytest.fixture(params=["with reels", "without reels"])
def source(
    request: pytest.FixtureRequest, project: Carried, bare: Carried, tmp_path: Path
) -> Iterator[tuple[Served, Carried]]:
    """A node that has everything, with reels and without."""
    carried = project if request.param == "with reels" else bare
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "source")) as served:
        yield served, carried


def lose_objects(git_dir: Path) -> None:
    """Lose a pack, or where everything is loose some of the objects."""
    packs = sorted(git_dir.glob("objects/pack/pack-*.idx"))
    if packs:
        for path in git_dir.glob(f"objects/pack/{packs[0].stem}.*"):
            path.unlink()
    else:
        for path in sorted(git_dir.glob("objects/[0-9a-f][0-9a-f]/*"))[::3]:
            path.unlink()


def test_a_mirror_that_lost_objects_heals(source: tuple[Served, Carried], person: Person) -> None:
    """Though the log has not changed; and it says so."""
    served, carried = source
    url = url_at(served.git[6:])
    person.gittorrent("mirror", url, "--once").ok()
    (git_dir,) = person.node.glob("repositories/*.git")
    lose_objects(git_dir)
    assert person.gittorrent("verify", git_dir).status != 0
    done = person.gittorrent("mirror", url, "--once").ok()
    assert "are missing here" in done.err
    assert "all is well" in person.gittorrent("verify", git_dir).ok().out
    assert (
        gitcmd.refs(git_dir).items() >= bulk.published(gitcmd.refs(carried.layout.git_dir)).items()
    )
    assert "is up to date" in person.gittorrent("mirror", url, "--once").ok().out


def test_a_clone_that_lost_objects_heals(
    project: Carried, tmp_path: Path, person: Person, owner_key: Signer
) -> None:
    """A fetch finds out when what comes builds on what is gone, and gets that again."""
    origin = tmp_path / "origin.git"
    home = nodes.make_home(tmp_path / "n1")
    copy = nodes.copy_as_mirror(project, origin, "")
    with nodes.serving(copy, home=home) as served:
        person.git("clone", "-q", "--mirror", url_at(served.git[6:]), "c").ok()
    clone = person.root / "c"
    lose_objects(clone)
    make_origin_again(project, tmp_path / "again.git", owner_key)
    grown = Carried(tmp_path / "again.git", project.object_format)
    with nodes.serving(grown, home=nodes.make_home(tmp_path / "n2")) as served:
        url = url_at(served.git[6:])
        person.git("fetch", "-q", url, "+refs/*:refs/*", cwd=clone).ok()
    gitcmd.git(clone, "fsck", "--connectivity-only")
    assert gitcmd.refs(clone)[b"refs/heads/new"]


def test_unrelated_to_blame(bare: Carried, honest: Served, tmp_path: Path, person: Person) -> None:
    """Nothing that a mirror leaves out makes its owner a liar, in clones and mirrors alike."""
    with front(honest.git_address, lacking(bare, "commit")) as liar:
        for words in (("git", "clone", url_at(liar.at), "c"),
                      ("gittorrent", "mirror", url_at(liar.at), "--once")):  # fmt: skip
            done = person.run(*words)
            assert done.status != 0
            assert "does not descend" not in done.err
            assert "may not do that" not in done.err
