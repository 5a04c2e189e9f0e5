"""Published repositories and a collection of them, for the tests with real programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from support import gitcmd, nodes
from support.programs import Daemon, Done, Person

FILE = "collection.toml"


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

    def entry(self, name: str, /, **more: object) -> str:
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


def once(person: Person, node: Daemon, *words: str) -> Done:
    return person.gittorrent("mirror", "--collection", node.url("list"), "--once", *words)
