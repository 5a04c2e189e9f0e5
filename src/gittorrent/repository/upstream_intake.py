"""Lets a repository that is published here follow a plain git server's refs.

The repository is an origin like any other: its refs belong to this node's operator, whose key signs
for them, and what they are comes from the server. Rules: objects stay in quarantine
(`gittorrent.repository.quarantine`) until all that the refs need is proved to be there, whole and
within fsck's rules; what would be lost is judged before it is (``judge``); then refs move in one
transaction, HEAD after them, and nothing is published yet. A crash leaves refs as they were, or
moved and unpublished, which the next round finds out. Blocks. Must not know when, nor what is
signed.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.disk_space import UNBOUNDED
from gittorrent.git.descent import descends
from gittorrent.git.fetching import FetchOptions
from gittorrent.git.fsckrules import read_rules
from gittorrent.git.refs import apply_changes, head_target, read_refs, set_head, write_first_refs
from gittorrent.git.repository import configured, list_config
from gittorrent.git.upstream import UpstreamBounds, UpstreamError, fetch_ids
from gittorrent.ids import Oid, RefName
from gittorrent.push.head_branch import successor
from gittorrent.repository.carried import PUBLISHED
from gittorrent.repository.quarantine import Extent, IncompleteSourceError, quarantine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gittorrent.disk_space import Space
    from gittorrent.git.fsckrules import FsckRules
    from gittorrent.git.upstream import Upstream
    from gittorrent.ids import Refs
    from gittorrent.push.upstream_refs import Advertised, Selection
    from gittorrent.repository.carried import Carried

Move = tuple[RefName, Oid | None, Oid | None]
"""Name, old and new value of a ref; None for none."""

REAL_HISTORIES = (
    "badTimezone",
    "missingSpaceBeforeDate",
    "zeroPaddedDate",
    "missingNameBeforeEmail",
    "missingSpaceBeforeEmail",
    "missingEmail",
    "badEmail",
    "zeroPaddedFilemode",
)
"""Rules of fsck's that old and honest histories break: how dates, names and modes are spelled in
commits and trees, which no git acts upon. Big hosts take such histories too. What somebody could be
harmed by stays forbidden: names of files that git would take for its own, links out of the tree,
hostile URLs of submodules."""


class Loss(Struct, frozen=True):
    """What refs would lose.

    Args:
        own: all refs, as they are.
        names: those that would be deleted, or moved to where what they were is no part of.
        is_other_history: whether the default branch would share nothing with what it was.
    """

    own: Mapping[RefName, Oid]
    names: frozenset[RefName]
    is_other_history: bool


def own_refs(carried: Carried, selection: Selection) -> Refs:
    """Return the refs of a tracked repository that are its upstream's, were, or would be."""
    former = carried.info.patterns if carried.is_carried else ()
    patterns = dict.fromkeys((*PUBLISHED, *selection.published, *former))
    return read_refs(carried.git, *(pattern.removesuffix("/*") for pattern in patterns))


def tracking_rules(carried: Carried) -> FsckRules:
    """Return the rules of fsck's for what an upstream sends.

    All of them but `REAL_HISTORIES`, and the exceptions that git's configuration makes for fetches,
    which come before those.
    """
    git = configured(carried.layout.git_dir)
    lenient = [(f"fetch.fsck.{name.lower()}", "ignore") for name in REAL_HISTORIES]
    return read_rules(git, [*lenient, *list_config(git)])


class UpstreamIntake:
    """Takes in what an upstream lists.

    Args:
        carried: the repository, published or not yet.
        upstream: the server.
        selection: which of its refs are followed.
        max_bytes: of packs to take.
        judge: says which of the refs that would lose something stay as they are.
        hear: told of git's progress.
        space: tells whether there is room for what comes.
    """

    def __init__(
        self,
        carried: Carried,
        upstream: Upstream,
        selection: Selection,
        max_bytes: int,
        judge: Callable[[Loss], frozenset[RefName]],
        hear: Callable[[bytes], None] | None = None,
        space: Space = UNBOUNDED,
    ) -> None:
        self._space = space
        self._carried = carried
        self._upstream = upstream
        self._selection = selection
        self._max_bytes = max_bytes
        self._judge = judge
        self._hear = hear

    def take_in(self, advertised: Advertised) -> list[Move]:
        """Bring the objects that refs are to move to, and move them; returns what moved.

        Raises:
            UpstreamError: the server did not give what it has listed.
            RulesBrokenError: objects break fsck's rules.
            GitError: refs were changed meanwhile.
        """
        carried = self._carried
        with carried.writing():
            own = own_refs(carried, self._selection)
            wanted = self._selection.select(advertised.refs)
            names = sorted({name for name, _ in own.items() ^ wanted.items()})
            moves: list[Move] = [(name, own.get(name), wanted.get(name)) for name in names]
            wants = list(dict.fromkeys(new for _, _, new in moves if new is not None))
            if wants:
                self._bring(wants)
            loss = self._loss(own, moves)
            kept = self._judge(loss)
            moves = [move for move in moves if move[0] not in kept]
            self._move(own, moves)
            after = {**own, **{name: new for name, _, new in moves}}
            self._follow_head(
                advertised, own, {name: oid for name, oid in after.items() if oid is not None}
            )
        return moves

    def _bring(self, wants: Sequence[Oid]) -> None:
        """Fetch objects, prove that they are whole, and install them."""
        carried, url = self._carried, self._upstream.url
        place = carried.layout.git_dir
        self._space.require(place)
        rules = tracking_rules(carried)
        with quarantine(carried.layout, carried.object_format, Extent(), borrows=True) as apart:
            staging = apart.staging.directory
            room = partial(self._space.room, place)
            bounds = UpstreamBounds(self._max_bytes, room)
            is_held = fetch_ids(self._upstream, staging, wants, rules, bounds, self._hear)
            try:
                apart.check(wants, FetchOptions())
            except IncompleteSourceError as error:
                raise UpstreamError(
                    f"cannot track {url}: {error}",
                    hint="an upstream has to be whole; if it changed just now, the next look helps",
                ) from error
            if not is_held:
                apart.hold_to(rules, url)
            apart.install()

    def _loss(self, own: Refs, moves: Sequence[Move]) -> Loss:
        """Find out what moves would lose."""
        # What is not followed any more goes because the operator says so, and is nobody's loss.
        followed = self._selection.select(own)
        changed = [(n, old, new) for n, old, new in moves if old is not None and n in followed]
        names = {name for name, _, new in changed if new is None}
        moved = [(name, old, new) for name, old, new in changed if new is not None]
        # A tag that moves on loses nothing: what it led to is part of what it leads to.
        keeps = descends(self._carried.git, [(old, new) for _, old, new in moved])
        names |= {name for (name, _, _), kept in zip(moved, keeps, strict=True) if not kept}
        head = head_target(self._carried.git)
        of_head = next(((old, new) for name, old, new in changed if name == head), None)
        is_other = False
        if of_head is not None and of_head[1] is not None and head in names:
            done = self._carried.git.attempt("merge-base", of_head[0], of_head[1])
            is_other = not done.stdout.strip()
        return Loss(own, frozenset(names), is_other)

    def _move(self, own: Refs, moves: Sequence[Move]) -> None:
        git = self._carried.git
        first = {name: new for name, _, new in moves if new is not None}
        if own or len(first) < len(moves) or not write_first_refs(git, first):
            apply_changes(git, moves, self._carried.object_format)

    def _follow_head(self, advertised: Advertised, own: Refs, after: Refs) -> None:
        """Let HEAD name the branch that the upstream's names; one that is there, in any case.

        Where the upstream's leads nowhere it says nothing. Then HEAD stays, or names the branch
        that everybody who reads the log takes for it.
        """
        git = self._carried.git
        present, wanted = head_target(git), advertised.head
        if wanted not in after:
            wanted = present if present in after else self._likeliest(present, own, after)
        if wanted is not None and wanted != present:
            set_head(git, wanted)

    def _likeliest(self, former: RefName | None, own: Refs, after: Refs) -> RefName | None:
        shown = self._carried.peek().default_branch
        return shown if shown in after else successor(former or RefName(b""), own, after)
