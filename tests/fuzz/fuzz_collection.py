"""Fuzz target: the reader of collection.toml. What is read means the same to TOML."""

from __future__ import annotations

import tomllib

from gittorrent.node.collection_file import MAX_URLS, CollectionError, parse_collection

_ID = "a2" * 26
_TEXT = f"""\
# What we want carried
[[repository]]
id = "{_ID}"
urls = ["git://mirror.example.org/linux.git", 'https://cdn.example.net/l']  # two
name = "linux"
priority = -7

[[ repository ]]
id = '{"b3" * 26}'
urls = [
    "gittorrent://{"b3" * 26}@h.example.org/x",  # one
]
future = true
""".encode()

SEEDS: list[bytes] = [
    _TEXT,
    _TEXT.replace(b"\n", b"\r\n"),
    b'title = "\\"\\\\"\n[other]\nkey = 1\n' + _TEXT,
    b'[[repository]]\nid = "nonsense"\n' + _TEXT,
    b'[[repository]]\nurls = ["file:///etc/passwd"]\n',
    b"",
]


def one_input(data: bytes) -> None:
    """Read ``data`` as a collection; raises only when the reader itself is wrong."""
    try:
        found = parse_collection(data)
    except CollectionError:
        return
    document = tomllib.loads(data.decode("utf-8"))
    tables = document.get("repository", [])
    if len(tables) != len(found.entries) + found.wrong:
        raise RuntimeError("TOML has another number of entries")
    said = {table.get("id"): table for table in reversed(tables)}
    for entry in found.entries:
        table = said[entry.repository]
        if (entry.name, entry.priority) != (table.get("name"), table.get("priority", 0)):
            raise RuntimeError("an entry is read as another")
        if len(entry.urls) > MAX_URLS or len(entry.urls) > len(table.get("urls", [])):
            raise RuntimeError("addresses came from nowhere")
        if any(each.scheme not in ("git", "http", "https") for each in entry.urls):
            raise RuntimeError("an address is of a kind that is never contacted")


if __name__ == "__main__":
    from harness import run

    run(one_input)
