"""What whoever opens a conversation decides: what it gives, and who hears of what it brings.

For `gittorrent.transfer.conversation` and those who make one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.transfer.answering import Show
    from gittorrent.transfer.content_source import ContentSource
    from gittorrent.transfer.limiter import Limiter
    from gittorrent.transfer.off_loop import Reading
    from gittorrent.transfer.slot_queue import SlotQueue
    from gittorrent.wire.messages import CancelParts, Question, ReceivePart
    from gittorrent.wire.session import MessageReceived


class Upload(Struct, frozen=True):
    """What a conversation gives to the peer, and how.

    Args:
        content: what the peer may have.
        limiter: of this node's sending.
        slots: upload slots to wait for before each part; None to send at once.
        reading: where the content source is read, if that may have to wait for a disk.
        show: what to say of offers, called in the loop; None for what they are.
    """

    content: ContentSource
    limiter: Limiter
    slots: SlotQueue | None = None
    reading: Reading | None = None
    show: Show | None = None


class ConversationHandlers(Struct, frozen=True):
    """Who hears of what happens in a conversation; nobody by default.

    Args:
        on_message: called with each message and payload that is not a question.
        on_sent: called with each part that was sent.
        on_request: called with each question of the peer before it is answered, and with what
            it withdraws.
        on_announced: called with the bytes that a message under way has, as announced, before they
            come; with 0 when it came.
    """

    on_message: Callable[[MessageReceived], None] = lambda _event: None
    on_sent: Callable[[ReceivePart], None] = lambda _message: None
    on_request: Callable[[Question | CancelParts], None] = lambda _message: None
    on_announced: Callable[[int], None] = lambda _size: None


UNHEARD = ConversationHandlers()
"""Of those who only give, or only listen to how it ends."""
