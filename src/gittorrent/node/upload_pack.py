"""How git's own upload-pack is run for a served repository.

Rules: it serves a view of what is published (`gittorrent.repository.published_view`) and nothing
else; it sees nobody's configuration, the carried repository's included; it runs no hook; filters,
and what git offers beside fetching, are the few that clones need, since each is work that a caller
can ask for. By id, versions 0 and 1 of git's protocol give commits that published refs reach,
version 2 gives what the view has.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

if TYPE_CHECKING:
    from gittorrent.git.runner import Git
    from gittorrent.repository.published_view import PublishedView

IDLE_SECONDS = 300
"""Time a caller may leave upload-pack waiting."""

_VERSION = re.compile(rb"version=[0-2]\Z")

MAX_TREE_DEPTH = 1
"""Depth up to which clones without trees may have some; git itself asks for ``tree:0``."""

_SETTINGS = (
    "safe.directory=*",
    "core.hooksPath=/dev/null",
    # Views that show only what is final hide the rest, which is given by its id.
    "uploadpack.hideRefs=refs/gittorrent/",
    "uploadpack.allowTipSHA1InWant=true",
    "uploadpack.allowAnySHA1InWant=false",
    # Git checks this of commits only; of files and trees, which partial clones ask for, it gives
    # whatever is there.
    "uploadpack.allowReachableSHA1InWant=true",
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

WITHOUT_HISTORY = ("pack.window=0",)
"""Settings for packs of objects without their history: one commit, the files of a checkout.

Reels keep what is new as differences from what is old, which does not come along; so git would look
for other differences between files that have little in common, at twice the processor time of all
the rest, for three percent of the bytes.
"""


def protocol_of(extra: tuple[bytes, ...]) -> str | None:
    """Return the value for GIT_PROTOCOL that a caller's extra parameters ask for."""
    return next((word.decode("ascii") for word in extra if _VERSION.match(word)), None)


def git_for(view: PublishedView, protocol: str | None) -> Git:
    """Return git with the settings for serving one repository.

    Args:
        view: what is published of it.
        protocol: as ``protocol_of`` returned it.
    """
    git = view.git.with_config(*_SETTINGS, *_FILTERS, *_FRUGAL)
    if protocol is None:
        return git
    return replace(git, variables={"GIT_PROTOCOL": protocol})


def describe_end(status: int) -> str:
    """Return how upload-pack ended, for the log."""
    if status < 0:
        return f"ended by signal {-status}"
    return f"ended with status {status}" if status else "done"


def arguments(view: PublishedView, *options: str) -> tuple[str, ...]:
    """Return the command line for upload-pack."""
    timeout = f"--timeout={IDLE_SECONDS}"
    return ("upload-pack", "--strict", timeout, *options, str(view.directory))
