"""The two dialects, and all in which they differ beside formats.

Pure. `RFC` is the draft as docs/protocol/gtp01.md completes it; `PERL_2008` is what the Perl
implementation of 2008 speaks and survives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.gtp import perl2008
from gittorrent.gtp.codec import Codec
from gittorrent.gtp.reference import SPACE, TAB

if TYPE_CHECKING:
    from gittorrent.gtp.messages import Message


class Profile(Struct, frozen=True):
    """A dialect.

    Args:
        name: as options and metainfo files write it.
        codec: formats of messages.
        starts_choked: whether both ends begin choked and uninterested.
        drains: whether a connection is closed by ending our side, and reading to the end of theirs.
        blocks_are_commits: whether a block is one commit; otherwise a range of bytes.
        shares_partial: whether what is still incomplete is offered.
        separator: between id and name in the lines of reference objects.
    """

    name: str
    codec: Codec
    starts_choked: bool
    drains: bool
    blocks_are_commits: bool
    shares_partial: bool
    separator: bytes

    def check(self, message: Message) -> None:
        """Raise `ForbiddenMessageError` when ``message`` must not be sent in this dialect."""
        if self.blocks_are_commits:
            perl2008.check(message)


RFC = Profile(
    name="rfc",
    codec=Codec(),
    starts_choked=True,
    drains=False,
    blocks_are_commits=False,
    shares_partial=True,
    separator=TAB,
)
PERL_2008 = Profile(
    name="perl-2008",
    codec=perl2008.Perl2008Codec(),
    starts_choked=False,
    drains=True,
    blocks_are_commits=True,
    shares_partial=False,
    separator=SPACE,
)
PROFILES = {profile.name: profile for profile in (RFC, PERL_2008)}
