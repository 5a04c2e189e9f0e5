"""Collections: what owners name is carried where it is followed, within the operator's limits."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from support import gitcmd, nodes
from support.programs import Daemon, Person, serve, wait_until

SOON = "[carry]\nlook-every = 1\n"
"""A configuration by which a source is asked every second."""

FILE = "collection.toml"


@pytest.fixture
def owner(people: Callable[[str], Person]) -> Person:
    return people("owner")


@pytest.fixture
def operator(people: Callable[[str], Person]) -> Person:
    person = people("operator")
    configure(person, SOON)
    return person


class Site:
    """Repositories that one person publishes, and a collection that names some of them."""

    def __init__(self, owner: Person, names: Sequence[str]) -> None:
        self.owner = owner
        self.ids: dict[str, str] = {}
        self.node: Daemon | None = None
        for name in names:
            self.publish(name)

    def publish(self, name: str) -> None:
        """Publish a small repository."""
        path = self.owner.root / f"{name}.git"
        gitcmd.init(path)
        nodes.add_commit(path, "refs/heads/main", "file", name.encode())
        words = ("publish", path, "--name", name, "--json", "--wait")
        key = () if self.ids else ("--new-key",)
        said = json.loads(self.owner.gittorrent(*words, *key).ok().out)
        self.ids[name] = said["repository_id"]

    def entry(self, name: str, **more: object) -> str:
        """Return an entry of a collection, with the address of the node."""
        assert self.node is not None
        lines = [f'id = "{self.ids[name]}"', f'urls = ["{self.node.git}/{name}.git"]']
        lines += [f"{key} = {json.dumps(value)}" for key, value in more.items()]
        return "[[repository]]\n" + "\n".join(lines) + "\n"

    def name(self, text: str, *, collection: str = "list") -> None:
        """Let the collection be a text."""
        path = self.owner.root / f"{collection}.git"
        nodes.add_commit(path, "refs/heads/main", FILE, text.encode())
        self.owner.gittorrent("publish", path, "--wait").ok()

    def name_all(self, *names: str, collection: str = "list") -> None:
        """Let the collection name some repositories."""
        self.name("".join(map(self.entry, names)), collection=collection)


@pytest.fixture
def site(owner: Person) -> Site:
    return Site(owner, ["list", "one", "two", "three", "four"])


def configure(person: Person, text: str) -> None:
    person.node.mkdir(exist_ok=True)
    (person.node / "node.toml").write_text(text)


def carried(person: Person) -> dict[str, dict[str, Any]]:
    found = json.loads(person.gittorrent("status", "--json").ok().out)
    return {row["name"]: row for row in found["repositories"]}


def states(person: Person, number: int = 0) -> Mapping[str, tuple[str, str]]:
    """Return (state, reason) of what a collection names, by name or id."""
    found = json.loads(person.gittorrent("collections", "--json").ok().out)
    if len(found) <= number:
        return {}
    rows = found[number]["repositories"]
    return {row["name"] or row["repository_id"]: (row["state"], row["reason"]) for row in rows}


def once(person: Person, node: Daemon, *words: str) -> Any:
    return person.gittorrent("mirror", "--collection", node.url("list"), "--once", *words)


def are_carried(person: Person, *names: str) -> Callable[[], bool]:
    return lambda: set(carried(person)) == set(names)


def test_what_owners_name_is_carried_and_what_they_take_out_goes(
    site: Site, operator: Person
) -> None:
    with serve(site.owner) as site.node:
        site.name_all("one", "two")
        once(operator, site.node).ok()
        assert set(carried(operator)) == {"list", "one", "two"}
        site.name_all("two", "three")
        once(operator, site.node).ok()
        assert set(carried(operator)) == {"list", "two", "three"}
        path = operator.node / "repositories"
        assert not (path / "one.git").exists()
        wanted = gitcmd.refs(site.owner.root / "three.git")[b"refs/heads/main"]
        assert gitcmd.refs(path / "three.git")[b"refs/heads/main"] == wanted


def test_a_node_follows_what_owners_add_and_take_out(site: Site, operator: Person) -> None:
    with serve(site.owner) as site.node, serve(operator) as node:
        site.name_all("one")
        done = operator.gittorrent("mirror", "--collection", site.node.url("list")).ok()
        assert "handed over to the node" in done.err
        wait_until(are_carried(operator, "list", "one"), "what is named is here")
        site.name_all("one", "two")
        wait_until(are_carried(operator, "list", "one", "two"), "what was added is here")
        assert operator.git("ls-remote", f"{node.git}/two.git").ok().out
        site.name_all("two")
        wait_until(are_carried(operator, "list", "two"), "what was taken out is gone")


def test_many_that_disappear_at_once_wait_for_a_confirmation(site: Site, operator: Person) -> None:
    with serve(site.owner) as site.node:
        site.name_all("one", "two", "three", "four")
        once(operator, site.node).ok()
        site.name_all("one")
        once(operator, site.node).ok()
        assert set(carried(operator)) == {"list", "one", "two", "three", "four"}
        assert (
            "list: 3 of 4 repositories disappeared at once"
            in operator.gittorrent("status").ok().out
        )
        assert states(operator)["two"] == ("held", "it is named no more, until that is confirmed")
        site.name_all("one", "two")  # one of them is back
        once(operator, site.node).ok()
        operator.gittorrent("confirm", "list").ok()
        once(operator, site.node).ok()
        assert set(carried(operator)) == {"list", "one", "two"}
        assert "held back" not in operator.gittorrent("status").ok().out


def test_a_running_node_sees_a_confirmation(site: Site, operator: Person) -> None:
    with serve(site.owner) as site.node, serve(operator):
        site.name_all("one", "two", "three", "four")
        operator.gittorrent("mirror", "--collection", site.node.url("list")).ok()
        wait_until(are_carried(operator, "list", *list(site.ids)[1:]), "all are here")
        site.name("# nothing any more\n")
        wait_until(
            lambda: "4 of 4 repositories disappeared" in operator.gittorrent("confirm").ok().out,
            "that is held back",
        )
        operator.gittorrent("confirm", "--refuse", "1").ok()
        operator.gittorrent("confirm", "1").ok()
        wait_until(are_carried(operator, "list"), "all are gone")
