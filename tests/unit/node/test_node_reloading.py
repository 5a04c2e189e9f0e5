"""A node that was told to reload goes by all of ``node.toml``, as if it had begun with it.

Nothing names the places where settings are kept: nodes are taken apart. What differs between one
that began with one configuration and one that began with another is a setting; after a reload it
has to be what it is in a node that began with the new one.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from asyncio import Task
from functools import partial
from importlib import resources
from pathlib import Path
from types import MethodType

from msgspec import Struct
from msgspec.structs import asdict, replace

from gittorrent.cli.node_config import Flags, options_of
from gittorrent.node.catalogue import Catalogue
from gittorrent.node.config_document import parse_config
from gittorrent.node.node import Node
from gittorrent.node.options import Options
from gittorrent.store.database import Database
from support import certificates, nodes

TEMPLATE = (resources.files("gittorrent.node") / "node.toml").read_text(encoding="utf-8")

FIRST = '[listen]\ngit = "127.0.0.1:0"\n[discovery]\ndht = false\n'

OTHER = """
[listen]
git = "127.0.0.1:0"
http = ["127.0.0.1:0", "127.0.0.2:0"]
https = "127.0.0.1:0"
tls-certificate = "{certificate}"
tls-key = "{key}"
behind-proxy = true
url = "git://mirror.example.org"

[limits]
up = "5M"
peer-up = "4M"
down = "3M"
git-processes = 7
git-memory = "333M"
git-answers = "77M"
connections = 99
connections-per-address = 9
conversations = 999
conversations-per-address = 88
[[limits.at]]
days = "mon-sun"
hours = "00:00-23:59"
up = "2M"

[carry]
max-size = "11G"
look-every = "77s"
at-once = 3
keep-for = "5d"
keep-size = "12G"

[discovery]
announce = false
private-addresses = true
lan = true
dht = true
dht-bootstrap = ["127.0.0.1:1"]
peer-exchange = false
map-port = true

[push]
git = true
final-only = true
max-size = "111M"

[disk]
reserve = "77M"

[log]
level = "error"
format = "json"

[ci]
allow = ["https://git.example.org/"]
socket = "{home}/ci/socket"
socket-mode = "all"
max-size = "7G"
max-repository = "3G"
keep-for = "3d"
peers = ["http://127.0.0.1:1"]
secret = "{secret}"
wait = "1m"
share-refs = true
lan = true
"""

TABLES = {
    "url", "name", "priority", "every", "refs", "key", "hook-secret", "owners", "max-repositories",
    "max-total",
}  # fmt: skip
"""Keys of repositories, collections and tracked servers, which `test_reloading` and others try."""

KEYS = re.compile(r"^(?:# )?([a-z-]+) = ", re.MULTILINE)

WHOLE = (int, float, str, bytes, type(None), tuple, frozenset, Path)
SKIPPED = (
    "gittorrent.store",
    "gittorrent.repository",
    "gittorrent.event_log",
    "gittorrent.transfer.off_loop",
)
"""What is remembered of the world, and threads."""


PROGRESS = re.compile(
    r"\._(changes|number|is_configured|busy|looked_at|asked_at|carried_at|before\.\w+)$"
)
"""What a node has done so far."""


def test_all_keys_are_tried() -> None:
    assert set(KEYS.findall(TEMPLATE)) - TABLES == set(KEYS.findall(OTHER)) - TABLES


def settings(node: Node, home: Path) -> dict[str, object]:
    """Return what can be told of a node's parts, by where in it that is."""
    found: dict[str, object] = {}
    seen: set[int] = set()

    def walk(thing: object, path: str) -> None:
        if isinstance(thing, WHOLE):
            found[path] = str(thing).replace(str(home), "HOME")
        elif isinstance(thing, list) and not any(isinstance(each, Task) for each in thing):
            found[path] = len(thing)
        elif isinstance(thing, Struct) or id(thing) not in seen:
            seen.add(id(thing))
            for name, value in parts(thing).items():
                walk(value, f"{path}.{name}")

    walk(node, "node")
    return found


def parts(thing: object) -> dict[str, object]:
    """Return what something consists of, by name."""
    module = type(thing).__module__
    if isinstance(thing, Struct):
        return asdict(thing)
    if isinstance(thing, partial):
        return {"func": thing.func, "args": thing.args, **thing.keywords}
    if isinstance(thing, MethodType):
        return {"self": thing.__self__}
    if isinstance(thing, dict):
        return {"len": len(thing)} | {k: v for k, v in thing.items() if isinstance(k, str)}
    if not module.startswith("gittorrent") or module.startswith(SKIPPED):
        return {}
    slots = [name for each in type(thing).__mro__ for name in getattr(each, "__slots__", ())]
    names = [*getattr(thing, "__dict__", ()), *slots]
    return {name: getattr(thing, name) for name in names if hasattr(thing, name)}


def different(one: dict[str, object], other: dict[str, object]) -> set[str]:
    return {path for path in one | other if one.get(path) != other.get(path)}


class Rig:
    """Nodes without repositories, each in a home of its own."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._begun: list[tuple[Node, Database]] = []
        certificates.authority(root / "tls")
        self._certificate = certificates.issue(root / "tls")
        self._secret = root / "secret"
        self._secret.write_text(secrets.token_hex(32))

    def options(self, text: str, home: Path) -> Options:
        said = text.format(
            certificate=self._certificate.chain, key=self._certificate.key, secret=self._secret,
            home=home,
        )  # fmt: skip
        return replace(options_of(parse_config(said), Flags()), follows=True)

    async def begin(self, text: str, then: str | None = None) -> dict[str, object]:
        """Begin a node with a configuration, let it reload another one; returns its settings."""
        home = nodes.make_home(self._root / f"home{len(self._begun)}")
        database = Database(home.database)
        node = Node(Catalogue(()), database, home, self.options(text, home.root))
        self._begun.append((node, database))
        await node.start()
        if then is not None:
            await node.reload(self.options(then, home.root))
        return settings(node, home.root)

    async def end(self) -> None:
        for node, database in self._begun:
            await node.stop()
            database.close()


def test_a_reload_is_as_good_as_a_new_start(tmp_path: Path) -> None:
    async def work() -> None:
        rig = Rig(tmp_path)
        try:
            first, second = await rig.begin(FIRST), await rig.begin(FIRST)
            new, another = await rig.begin(OTHER), await rig.begin(OTHER)
            reloaded, back = await rig.begin(FIRST, OTHER), await rig.begin(OTHER, FIRST)
        finally:
            await rig.end()
        chance = different(first, second) | different(new, another)
        where = {path for path in different(first, new) - chance if not PROGRESS.search(path)}
        assert len(where) > len(KEYS.findall(OTHER))
        assert different(reloaded, new) & where == set()
        assert different(back, first) & where == set()

    asyncio.run(work())
