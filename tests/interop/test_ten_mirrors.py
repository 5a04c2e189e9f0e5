"""Ten mirrors in network namespaces, pushed to by stock git: nothing is lost, all show the same.

People with SSH and OpenPGP keys push at mirrors, each at the one next to them. The network is
divided and joined again, the keeper's node is killed and started again, and is lost at last: then a
root names another. After each of these all nodes show the same, and whatever was acknowledged is in
a branch or in an open conflict.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import netns

from support.programs import BIN, PATIENCE, wait_until

MIRRORS = 10
SEED = int(os.environ.get("GITTORRENT_MIRRORS_SEED", "1"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(netns.obstacle()), reason=netns.obstacle() or "-"),
    pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is not installed"),
]


@dataclass
class Person:
    """Somebody who pushes: a work tree, and how their git signs."""

    name: str
    work: Path
    settings: tuple[str, ...]


@dataclass
class Site:
    """A machine: its place in the network, its home, and the repository that it carries."""

    node: netns.Node
    home: Path
    environ: dict[str, str]
    repository: Path | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{self.node.address}:8417/project.git"

    def refs(self) -> dict[str, str]:
        """Return branches, tags and open conflicts, as git has them here."""
        assert self.repository is not None
        words = ["git", f"--git-dir={self.repository}", "for-each-ref"]
        words += ["--format=%(refname) %(objectname)", "refs/heads", "refs/tags", "refs/conflicts"]
        done = subprocess.run(words, env=self.environ, capture_output=True, check=True)
        return dict(line.split(" ") for line in done.stdout.decode().splitlines())

    def final(self) -> dict[str, object]:
        """Return what ``gittorrent status`` says of the log here."""
        assert self.repository is not None
        log = next((self.repository / "gittorrent" / "logs").glob("*/log"))
        lines = [line.split(" ") for line in log.read_text().splitlines()[1:]]
        taken = {push for line in lines if line[1] == "checkpoint" for push in line[6:]}
        pushes = {line[0] for line in lines if line[1] == "certificate"}
        return {"unfinal": pushes - taken}


@dataclass
class World:
    """The network, its sites and people, and what was acknowledged."""

    network: netns.Network
    root: Path
    draw: random.Random
    sites: list[Site] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    number: int = 0

    def run(self, site: Site, *words: str | Path, cwd: Path | None = None) -> tuple[int, str]:
        """Run a program at a site; return its status and all that it said."""
        with site.node.entered():
            done = subprocess.run(
                words, env=site.environ, cwd=cwd, stdin=subprocess.DEVNULL, check=False,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        return done.returncode, done.stdout.decode(errors="replace")

    def ok(self, site: Site, *words: str | Path, cwd: Path | None = None) -> str:
        status, said = self.run(site, *words, cwd=cwd)
        assert status == 0, f"{words}: {said}"
        return said

    def serve(self, site: Site) -> None:
        """Start a site's node."""
        where = site.node.address
        words: list[str | Path] = [
            BIN / "gittorrent",
            "serve",
            "--json",
            "--lan",
            "--git-push",
            "-v",
        ]
        words += ["--git", f"{where}:9418", "--http", f"{where}:8417", str(site.repository)]
        log = (site.home / "node.log").open("ab")
        site.process = self.network.start(
            site.node, words, site.environ, log, stdout=subprocess.PIPE
        )
        log.close()
        assert site.process.stdout is not None
        said = site.process.stdout.readline()
        assert said, (site.home / "node.log").read_text()

    def kill(self, site: Site) -> None:
        """Kill a site's node as a power cut would."""
        assert site.process is not None
        site.process.kill()
        site.process.wait()

    def commit(self, person: Person, site: Site) -> str:
        """Make a commit with a file of its own; return its id."""
        self.number += 1
        name = f"{person.name}-{self.number}"
        (person.work / name).write_text(f"{name}\n")
        self.ok(site, "git", "add", name, cwd=person.work)
        self.ok(site, "git", "commit", "-q", "-m", name, cwd=person.work)
        return self.head(person, site)

    def head(self, person: Person, site: Site) -> str:
        return self.ok(site, "git", "rev-parse", "HEAD", cwd=person.work).strip()

    def fetch(self, person: Person, site: Site, branch: str) -> None:
        """Have a person's work tree at what a mirror shows of a branch, or else of main."""
        if branch not in site.refs():
            branch = "refs/heads/main"
        self.ok(site, "git", "fetch", "-q", site.url, f"+{branch}:seen", cwd=person.work)
        self.ok(site, "git", "checkout", "-q", "--detach", "seen", cwd=person.work)

    def push(self, person: Person, site: Site, target: str, *words: str) -> tuple[int, str]:
        """Push a person's HEAD at a site; note what is acknowledged."""
        options = [word for setting in person.settings for word in ("-c", setting)]
        status, said = self.run(
            site, "git", *options, "push", "--signed", *words, site.url, f"HEAD:{target}",
            cwd=person.work,
        )  # fmt: skip
        if status == 0:
            self.acknowledged.append(self.head(person, site))
        return status, said

    def advance(self, person: Person, site: Site, target: str) -> None:
        """Fetch a branch from a site, commit, and push there until it is taken."""

        def pushed() -> bool:
            self.fetch(person, site, target)
            self.commit(person, site)
            status, said = self.push(person, site, target)
            assert status == 0 or "rejected" in said, said
            return status == 0

        wait_until(pushed, f"{person.name} has pushed {target} at {site.home.name}")

    def together(self, *sites: Site, final: bool = True) -> dict[str, str]:
        """Wait until sites show the same, and nothing acknowledged is lost; return the refs."""

        def same() -> bool:
            shown = [site.refs() for site in sites]
            if any(other != shown[0] for other in shown):
                return False
            return not final or not any(site.final()["unfinal"] for site in sites)

        # Who was cut off is called again only after about as long as that lasted: the busier the
        # machine, the later.
        wait_until(same, "all show the same", 3 * PATIENCE)
        for site in sites:
            for value in self.acknowledged:
                found = self.ok(
                    site, "git", f"--git-dir={site.repository}", "for-each-ref", "--count=1",
                    f"--contains={value}", "refs/heads", "refs/conflicts",
                )  # fmt: skip
                assert found, f"{value} is lost at {site.home.name}: {site.refs()}"
        return sites[0].refs()


def environ(home: Path) -> dict[str, str]:
    """Return the environment of a machine's programs."""
    (home / "tmp").mkdir(parents=True)
    made = {
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "HOME": str(home), "GITTORRENT_HOME": str(home / "node"), "TMPDIR": str(home / "tmp"),
        "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C",
    }  # fmt: skip
    for role in ("AUTHOR", "COMMITTER"):
        made |= {f"GIT_{role}_NAME": "P Usher", f"GIT_{role}_EMAIL": "p@example.org"}
    return made


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        network = stack.enter_context(netns.built(MIRRORS + 1))
        made = World(network, tmp_path, random.Random(SEED))
        for number, node in enumerate(network.nodes):
            home = tmp_path / f"site{number}"
            made.sites.append(Site(node, home, environ(home)))
        yield made


def openpgp(world: World, origin: Site) -> tuple[Path, str]:
    """Make an OpenPGP key without a passphrase; return its certificate's file and fingerprint."""
    home = world.root / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ("gpg", "--homedir", str(home), "--batch")
    words = ("--pinentry-mode", "loopback", "--passphrase", "", "--quick-generate-key")
    world.ok(origin, *gpg, *words, "Bob <bob@example.org>", "ed25519", "sign", "never")
    listed = world.ok(origin, *gpg, "--with-colons", "--list-keys")
    name = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))
    path = world.root / "bob.asc"
    world.ok(origin, *gpg, "--armor", "--output", path, "--export", name)
    return path, name


def begin(world: World) -> None:
    """Publish, let two people in, and have ten mirrors."""
    origin = world.sites[0]
    work = world.root / "first"
    world.ok(origin, "git", "init", "-q", "-b", "main", work)
    (work / "file").write_text("first\n")
    world.ok(origin, "git", "add", "file", cwd=work)
    world.ok(origin, "git", "commit", "-q", "-m", "first", cwd=work)
    origin.repository = world.root / "project.git"
    world.ok(origin, "git", "clone", "-q", "--bare", work, origin.repository)
    key = world.root / "alice"
    world.ok(origin, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    certificate, fingerprint = openpgp(world, origin)
    told = world.ok(
        origin, "gittorrent", "publish", origin.repository, "--new-key", "--wait", "--json"
    )
    identity = json.loads(told[told.index("{") :])["repository_id"]
    for file in (f"{key}.pub", str(certificate)):
        world.ok(
            origin, "gittorrent", "policy", "add", file, "refs/heads/*", "-r", origin.repository
        )
    world.ok(origin, "gittorrent", "keeper", "here", origin.repository)
    world.serve(origin)
    for site in world.sites[1:]:
        url = f"gittorrent://{identity}@{origin.node.address}/project.git"
        world.ok(site, "gittorrent", "mirror", url, "--once")
        site.repository = next(site.home.rglob("project.git"))
        world.serve(site)
    home = f"GNUPGHOME={world.root / 'gnupg'}"
    program = world.root / "gpg"
    program.write_text(f'#!/bin/sh\n{home} exec gpg "$@"\n')
    program.chmod(0o755)
    settings = {
        "alice": ("gpg.format=ssh", f"user.signingKey={key}.pub"),
        "bob": ("gpg.format=openpgp", f"gpg.program={program}", f"user.signingKey={fingerprint}"),
    }
    for name, chosen in settings.items():
        person = Person(name, world.root / f"work-{name}", chosen)
        world.ok(origin, "git", "clone", "-q", work, person.work)
        world.people.append(person)


def test_ten_mirrors(world: World) -> None:
    print(f"GITTORRENT_MIRRORS_SEED={SEED}")
    begin(world)
    origin, *mirrors = world.sites
    alice, bob = world.people
    # Alternately, at mirrors that nobody chose.
    for number in range(6):
        world.advance(world.people[number % 2], world.draw.choice(mirrors), "refs/heads/main")
    world.together(*world.sites)

    # Apart, both push to the same branch; each side goes on.
    side = mirrors[5:]
    world.fetch(alice, mirrors[0], "refs/heads/main")
    world.fetch(bob, side[0], "refs/heads/main")
    with world.network.divided(site.node for site in side):
        for person, site in ((alice, mirrors[0]), (bob, side[0])):
            world.commit(person, site)
            status, said = world.push(person, site, "refs/heads/main")
            assert status == 0, said
    shown = world.together(*world.sites)
    open_ = [ref for ref in shown if ref.startswith("refs/conflicts/")]
    assert len(open_) == 1, shown

    # One merge ends it.
    site = world.draw.choice(mirrors)
    world.fetch(alice, site, "refs/heads/main")
    world.ok(site, "git", "fetch", "-q", site.url, open_[0], cwd=alice.work)
    world.ok(site, "git", "merge", "-q", "-m", "merge", "FETCH_HEAD", cwd=alice.work)
    status, said = world.push(alice, site, "refs/heads/main")
    assert status == 0, said
    shown = world.together(*world.sites)
    assert not [ref for ref in shown if ref.startswith("refs/conflicts/")]

    # The keeper's node dies and comes back; pushes go on meanwhile.
    world.kill(origin)
    for number in range(4):
        world.advance(world.people[number % 2], world.draw.choice(mirrors), "refs/heads/topic")
    world.serve(origin)
    world.together(*world.sites)

    # It is lost for good. A root's key is elsewhere, and another machine keeps from now on.
    root = next((origin.home / "node" / "keys").glob("*[!b]"))
    kept = world.root / "root-key"
    shutil.copy(root, kept)
    shutil.copy(f"{root}.pub", f"{kept}.pub")
    world.kill(origin)
    world.advance(bob, mirrors[7], "refs/heads/main")
    assert mirrors[2].repository is not None
    world.ok(mirrors[2], "gittorrent", "keeper", "here", mirrors[2].repository, "--root-key", kept)
    for number in range(3):
        world.advance(world.people[number % 2], world.draw.choice(mirrors), "refs/heads/main")
    world.together(*mirrors)
