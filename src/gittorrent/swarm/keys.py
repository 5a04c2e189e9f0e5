"""Numbers by which machines of the node tell other ends apart; see also `events.PeerKey`.

Each kind is counted by itself, so that a number of one kind means nothing where another is asked
for. All are picked by shells and never given again.
"""

from __future__ import annotations

from typing import NewType

ConversationKey = NewType("ConversationKey", int)
"""A conversation of this process: what upload slots and announcements of parts go by."""

ParticipantKey = NewType("ParticipantKey", int)
"""A caller of the node as one of a swarm: what peer exchange and super-seeding go by."""
