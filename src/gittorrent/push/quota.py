"""How much of one key's pushes a mirror holds and relays that no checkpoint has taken yet.

Pure. A keeper that is away for long must not let one key fill every mirror; what is over the
limit is refused where it is pushed, with words, and not relayed (docs/protocol/push.md, "Bounds").

Tracks the untaken pushes of each key and the bytes that came with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.ids import PushId
    from gittorrent.trust.keys import KeyRef

MAX_PUSHES = 256
"""Pushes of one key that no checkpoint has taken: a week of a busy person's."""

MAX_BYTES = 256 << 20
"""Bytes of certificates and packs that came with them."""


class _Share(Struct):
    pushes: dict[PushId, int] = field(default_factory=dict)
    size: int = 0


class Quota:
    """The shares of all keys of one repository."""

    def __init__(self) -> None:
        self._shares: dict[KeyRef, _Share] = {}

    def refusal(self, key: KeyRef, size: int) -> str:
        """Tell people why one more push of a key is not taken; empty if it is.

        Args:
            key: who signed it.
            size: bytes of its certificate and of the pack that came with it.
        """
        share = self._shares.get(key, _Share())
        if len(share.pushes) >= MAX_PUSHES:
            return (
                f"{len(share.pushes)} pushes of this key wait for the keeper, which is the most:"
                " push again when they are final"
            )
        if share.size + size > MAX_BYTES:
            return (
                f"pushes of this key that wait for the keeper would have more than"
                f" {MAX_BYTES >> 20} MiB: push again when they are final"
            )
        return ""

    def add(self, key: KeyRef, push: PushId, size: int) -> None:
        """Count a push that was taken; counting it again changes nothing."""
        share = self._shares.setdefault(key, _Share())
        if push not in share.pushes:
            share.pushes[push] = size
            share.size += size

    def keep(self, is_open: Callable[[PushId], bool]) -> None:
        """Count on only those of which no checkpoint has been told yet."""
        for key, share in list(self._shares.items()):
            share.pushes = {push: size for push, size in share.pushes.items() if is_open(push)}
            share.size = sum(share.pushes.values())
            if not share.pushes:
                del self._shares[key]
