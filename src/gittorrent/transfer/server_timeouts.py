"""Timeouts of the server side: how long a node, clone or seed waits for its callers.

Every wait that a stranger can hold has its bound here, so that tests can shorten it and the table
in the protocol page has one place to agree with. Requests and other short things have to be whole
in a fixed time, however they trickle. What is long has to move: so many bytes in a time, for as
long as it takes. A connection that is idle may stay until its slot is wanted.

Pure: reads no clock. Source: docs/protocol/mirrorsync.md, How long anybody is waited for.
"""

from __future__ import annotations

from msgspec import Struct, field

from gittorrent.wire.session import Timeouts


class ServerTimeouts(Struct, frozen=True):
    """Times in seconds.

    Args:
        request: for a whole request at a node: git's first packet, or the head of a request over
            HTTP; also between two of those, and for what is left to flush when one is answered.
        peer_request: for the first packet at a clone or seed, which has less to spare.
        notice: for the whole of a notice.
        taken: for a caller to take one chunk of what it is sent, or all of a list.
        call_back: for a whole call-back to somebody who announced itself.
        look_up: for the addresses of a name that somebody announced.
        control: for a program of this machine to send its request, and to take the last answer.
        queue: between two words to a peer whose part waits for an upload slot.
        useless: for a conversation at a clone or seed in which neither end was of use to the other,
            before it makes room for a newcomer; at a node there is no such time.
        look: between two looks at a conversation in which something is sent or received.
        look_quiet: the same where nothing is: a thousand idle conversations are to cost nothing,
            and no deadline is shorter than a minute.
        session: of a conversation: silence, and one message with its bytes.
    """

    request: float = 30.0
    peer_request: float = 10.0
    notice: float = 30.0
    taken: float = 120.0
    call_back: float = 15.0
    look_up: float = 5.0
    control: float = 10.0
    queue: float = 10.0
    useless: float = 60.0
    look: float = 1.0
    look_quiet: float = 20.0
    session: Timeouts = field(default_factory=Timeouts)


SERVER_TIMEOUTS = ServerTimeouts()
"""What is used unless a test says otherwise."""
