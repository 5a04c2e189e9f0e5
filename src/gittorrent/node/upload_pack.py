"""How git's own upload-pack is run for a served repository.

Rules: it sees nobody's configuration but the repository's, and what follows overrides that; it
shows HEAD and the refs that are published, never ``refs/gittorrent``; it runs no hook and makes
nothing in the repository; filters, and what git offers beside fetching, are the few that clones
need, since each is work that a caller can ask for. Objects can be fetched by id: protocol version
2 allows that anyway, and clients that verified an id elsewhere need it. Hidden refs are hidden, not
secret: somebody who knows an object's id can fetch it, as from any git server.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

if TYPE_CHECKING:
    from gittorrent.git.runner import Git
    from gittorrent.node.catalogue import Served

IDLE_SECONDS = 300
"""Time a caller may leave upload-pack waiting."""

_VERSION = re.compile(rb"version=[0-2]\Z")
_WILD = re.compile(r"[*?\[]")

MAX_TREE_DEPTH = 1
"""Depth up to which clones without trees may have some; git itself asks for ``tree:0``."""

_SETTINGS = (
    "safe.directory=*",
    "core.hooksPath=/dev/null",
    "uploadpack.allowAnySHA1InWant=true",
    "uploadpack.allowRefInWant=false",
    "uploadpack.allowSidebandAll=false",
    "uploadpack.advertiseBundleURIs=false",
    "transfer.advertiseObjectInfo=false",
    "transfer.advertiseSID=false",
    # Every second: whoever has hung up is noticed by what cannot be sent any more.
    "uploadpack.keepAlive=1",
    "gc.auto=0",
)

_FILTERS = (
    "uploadpack.allowFilter=true",
    # What a filter remembers takes memory, and combined ones multiply it: only what clones need.
    "uploadpackfilter.allow=false",
    "uploadpackfilter.blob:none.allow=true",
    "uploadpackfilter.blob:limit.allow=true",
    "uploadpackfilter.tree.allow=true",
    f"uploadpackfilter.tree.maxDepth={MAX_TREE_DEPTH}",
    "uploadpackfilter.combine.allow=false",
    "uploadpackfilter.object:type.allow=false",
    "uploadpackfilter.sparse:oid.allow=false",
)

_FRUGAL = (
    # One caller, one processor, and memory that does not depend on the sizes of files.
    "pack.threads=1",
    "pack.windowMemory=64m",
    "pack.deltaCacheSize=32m",
    "core.bigFileThreshold=64m",
)


def protocol_of(extra: tuple[bytes, ...]) -> str | None:
    """Return the value for GIT_PROTOCOL that a caller's extra parameters ask for."""
    return next((word.decode("ascii") for word in extra if _VERSION.match(word)), None)


def git_for(served: Served, protocol: str | None) -> Git:
    """Return git with the settings for serving one repository.

    Args:
        served: the repository.
        protocol: as ``protocol_of`` returned it.
    """
    git = served.carried.git.with_config(
        *_SETTINGS, *_FILTERS, *_FRUGAL, *hidden_refs(served.about.patterns)
    )
    if protocol is None:
        return git
    return replace(git, variables={"GIT_PROTOCOL": protocol})


def describe_end(status: int) -> str:
    """Return how upload-pack ended, for the log."""
    if status < 0:
        return f"ended by signal {-status}"
    return f"ended with status {status}" if status else "done"


def hidden_refs(patterns: tuple[str, ...]) -> list[str]:
    """Return the settings that hide every ref but those of ``patterns``; the last match counts.

    Only whole namespaces and single refs can be shown this way. What a pattern with a ``*``
    elsewhere than at its end selects stays hidden: it can be fetched by id, not be listed.
    """
    shown = [pattern.removesuffix("/*") for pattern in patterns]
    lines = ["refs", *(f"!{name}" for name in shown if not _WILD.search(name)), "refs/gittorrent"]
    return [f"transfer.hideRefs={line}" for line in lines]


def arguments(served: Served, *options: str) -> tuple[str, ...]:
    """Return the command line for upload-pack."""
    timeout = f"--timeout={IDLE_SECONDS}"
    return ("upload-pack", "--strict", timeout, *options, str(served.carried.layout.git_dir))
