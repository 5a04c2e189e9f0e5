"""Peels annotated tags, for the ``^{}`` lines of git's listings.

The log lists what refs point at, and of a tag that is its own id. Git wants to know the tagged
object before it has the tag: ``git ls-remote`` shows it, and ``git fetch`` follows tags by it.
Where the tag is not here it is asked of the mirror, and believed only if its content has the id
that the verified log names; so a mirror can withhold a line, and give none that is wrong.
Source: docs/protocol/mirrorsync.md, Annotated tags.

Tracks, in a file of the repository, what was found before: a clone without tags would ask for all
of them each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.durable import write_atomically
from gittorrent.git import history, scratch
from gittorrent.git.proved_tags import proved_tags
from gittorrent.ids import Oid, RefName, format_of
from gittorrent.transfer.working import stoppable
from gittorrent.wire.limits import MAX_TAG_DEPTH

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from pathlib import Path

    from gittorrent.ids import Refs
    from gittorrent.repository.layout import Layout

    Ask = Callable[[Iterable[Oid]], Awaitable[dict[Oid, bytes]]]

TAGS = b"refs/tags/"

MAX_ASKED = 10_000
"""Tags asked for in one listing."""


async def peeled_tags(layout: Layout, refs: Refs, ask: Ask) -> dict[RefName, Oid]:
    """Return what the annotated tags among some refs lead to, as far as it can be known.

    Args:
        layout: of the repository that git works in.
        refs: verified.
        ask: returns those of some tag objects that a mirror has, unverified.

    Raises:
        GitTorrentError: the mirror failed.
    """
    tags = {name: oid for name, oid in refs.items() if name.startswith(TAGS)}
    known = await stoppable(_known, layout, sorted(set(tags.values())))
    wanted = [oid for oid in sorted(set(tags.values())) if oid not in known][:MAX_ASKED]
    if wanted:
        found = await _ask(wanted, ask)
        if found:
            known |= found
            await stoppable(_remember, layout, known)
    led = {name: known.get(oid, oid) for name, oid in tags.items()}
    return {name: oid for name, oid in led.items() if oid != tags[name]}


def _known(layout: Layout, oids: list[Oid]) -> dict[Oid, Oid]:
    """Return what is known here without asking."""
    known = _remembered(layout.peeled)
    object_format = format_of(next(iter(oids), ""))
    if object_format is not None and layout.has_objects():
        # Apart: in a partial clone git would fetch what is missing, by this very program.
        with scratch.borrowing(layout.objects, object_format) as git:
            peeled = history.peel(git, oids)
        known |= {oid: to for oid, to in zip(oids, peeled, strict=True) if to is not None}
    return {oid: known[oid] for oid in oids if oid in known}


async def _ask(oids: list[Oid], ask: Ask) -> dict[Oid, Oid]:
    """Return what tags lead to by tag objects that a mirror has and that prove to be these."""
    named: dict[Oid, tuple[Oid, bool]] = {}
    wanted = set(oids)
    for _ in range(MAX_TAG_DEPTH):
        sent = await ask(wanted) if wanted else {}
        proved = await stoppable(proved_tags, sent)
        new = {oid: (to, kind == "tag") for oid, (to, kind) in proved.items()}
        named |= new
        wanted = {to for to, is_tag in new.values() if is_tag} - named.keys()
    found = {}
    for oid in oids:
        to, is_tag = named.get(oid, (oid, True))
        for _ in range(MAX_TAG_DEPTH):
            to, is_tag = named.get(to, (to, is_tag)) if is_tag else (to, False)
        if not is_tag:
            found[oid] = to
    return found


def _remembered(path: Path) -> dict[Oid, Oid]:
    """Return what was found before; malformed lines are skipped."""
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.partition(" ") for line in lines)
    return {
        Oid(oid): Oid(to) for oid, _, to in pairs if format_of(oid) is not None and format_of(to)
    }


def _remember(layout: Layout, known: Mapping[Oid, Oid]) -> None:
    layout.peeled.parent.mkdir(exist_ok=True)
    text = "".join(f"{oid} {to}\n" for oid, to in sorted(known.items()))
    write_atomically(layout.peeled, text.encode("ascii"))
