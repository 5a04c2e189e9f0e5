"""Owners of a collection who mean ill: what they cannot make a node do that follows it."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from gittorrent.ids import SHA1
from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import make_ssh_key
from support import nodes
from support.collection_sites import Site, carried, once, states
from support.programs import Person, serve
from support.repositories import noise


@pytest.fixture
def attacker(people: Callable[[str], Person]) -> Person:
    return people("attacker")


@pytest.fixture
def operator(people: Callable[[str], Person]) -> Person:
    return people("operator")


@pytest.fixture
def site(attacker: Person) -> Site:
    return Site(attacker, ["list", "one"])


def test_it_does_not_fill_the_disk(site: Site, operator: Person) -> None:
    """What is larger than allowed is not taken, and neither is what comes after it is full."""
    path = site.owner.root / "one.git"
    nodes.add_commit(path, "refs/heads/main", "file", noise("large", 3 << 20))
    site.owner.gittorrent("publish", path, "--wait").ok()
    with serve(site.owner) as site.node:
        site.name_all("one")
        failed = once(operator, site.node, "--max-each", "1M")
        assert failed.status != 0
        assert "allowed" in failed.err
        taken = sum(each.stat().st_size for each in operator.node.rglob("*") if each.is_file())
        assert set(carried(operator)) == {"list"}
        assert taken < 1 << 20
        assert once(operator, site.node, "--max-each", "4M", "--max-total", "1M").status != 0
        once(operator, site.node, "--max-total", "4M").ok()
        site.publish("two")
        site.name_all("one", "two")
        once(operator, site.node, "--max-total", "1M").ok()
        assert states(operator)[site.ids["two"]] == (
            "left out",
            "the limit of 1.00 MiB in all is reached",
        )


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c touch% {marker}",
        "file://{marker}",
        "gittorrent::ext::sh -c touch% {marker}",
        "ssh://-oProxyCommand=touch%20{marker}/x",
    ],
)
def test_it_runs_no_program_and_reads_no_file(
    site: Site, operator: Person, tmp_path: Path, url: str
) -> None:
    marker = tmp_path / "marker"
    with serve(site.owner) as site.node:
        address = json.dumps([url.format(marker=marker)])
        site.name(f'[[repository]]\nid = "{"a" * 52}"\nurls = {address}\n')
        assert "collection.toml:3: urls: " in once(operator, site.node).ok().err
    assert not marker.exists()
    assert set(carried(operator)) == {"list"}


def test_it_does_not_take_the_place_of_what_the_operator_has(
    site: Site, operator: Person, people: Callable[[str], Person]
) -> None:
    """Neither under its id with another address, nor under its name with another id."""
    victim = Site(people("victim"), ["one"])
    with serve(victim.owner) as victim.node, serve(site.owner) as site.node:
        operator.gittorrent("mirror", victim.node.url("one"), "--once").ok()
        before = carried(operator)["one"]
        hijack = f'[[repository]]\nid = "{victim.ids["one"]}"\nurls = ["{site.node.git}/one.git"]\n'
        site.name(hijack + site.entry("one", name="one"))
        once(operator, site.node).ok()
        after = carried(operator)["one"]
        assert (after["repository_id"], after["source"]) == (victim.ids["one"], before["source"])
        (found,) = json.loads(operator.gittorrent("collections", "--json").ok().out)
        by_id = {each["repository_id"]: each for each in found["repositories"]}
        assert by_id[victim.ids["one"]]["state"] == "elsewhere"
        assert by_id[site.ids["one"]]["state"] == "left out"
        assert "the name one is taken by" in by_id[site.ids["one"]]["reason"]
        # The policy of another one says the same name.
        site.name(site.entry("one"))
        assert once(operator, site.node).status == 2
        assert carried(operator)["one"]["repository_id"] == victim.ids["one"]


def test_what_is_no_mirror_is_asked_once_in_a_round_and_believed_nothing(
    site: Site, operator: Person
) -> None:
    """Each address of each entry gets one question at most; who answers nonsense brings nothing."""
    with socket.create_server(("127.0.0.1", 0)) as third, serve(site.owner) as site.node:
        port = third.getsockname()[1]
        urls = json.dumps([f"git://127.0.0.1:{port}/{number}" for number in range(8)])
        site.name(f'[[repository]]\nid = "{"a" * 52}"\nurls = {urls}\n')
        third.settimeout(0)
        running = operator.start(
            "gittorrent", "mirror", "--collection", site.node.url("list"), "--once"
        )
        calls = 0
        while running.process.poll() is None:
            third.settimeout(0.1)
            try:
                caller, _ = third.accept()
            except TimeoutError:
                continue
            calls += 1
            caller.sendall(b"nonsense\n")
            caller.close()
        assert 1 <= calls <= 8
        assert running.wait() != 0
    assert set(carried(operator)) == {"list"}


def test_whoever_writes_an_allowed_key_into_a_policy_has_not_its_signature(
    site: Site, operator: Person, people: Callable[[str], Person]
) -> None:
    victim = Site(people("victim"), ["good"])
    allowed = victim.owner.node / "keys" / "publish.pub"
    second = Path(make_ssh_key(site.owner.root / "second", "second").spec).with_suffix(".pub")
    root = Carried(victim.owner.root / "good.git", SHA1).log().policy.policy.roots[0]
    words = ("policy", "add", allowed, second, "--root", "--threshold", "2", "--offline")
    site.owner.gittorrent(*words, "-r", site.owner.root / "one.git").ok()
    policy = Carried(site.owner.root / "one.git", SHA1).log().policy.policy
    assert root in policy.roots
    with serve(victim.owner) as victim.node, serve(site.owner) as site.node:
        site.name(site.entry("one") + victim.entry("good"))
        once(operator, site.node, "--owner", str(root)).ok()
        assert set(carried(operator)) == {"list", "good"}
        assert states(operator)[site.ids["one"]][0] == "left out"


def test_it_leads_to_no_address_of_this_machine_unless_it_came_from_there(
    site: Site, operator: Person
) -> None:
    """A collection of which only the id is known may name public addresses alone."""
    own = Site(operator, ["mine"])
    with socket.create_server(("127.0.0.1", 0)) as inner:
        url = f"git://127.0.0.1:{inner.getsockname()[1]}/x.git"
        own.name(f'[[repository]]\nid = "{site.ids["one"]}"\nurls = ["{url}"]\n', collection="mine")
        words = ("mirror", "--collection", f"gittorrent://{own.ids['mine']}", "--once")
        operator.gittorrent(*words).failed(3, "is an address that strangers may not send us to")
        inner.settimeout(0)
        with pytest.raises(BlockingIOError):
            inner.accept()
