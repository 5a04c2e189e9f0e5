"""Every bound GTP/0.1 puts on what a stranger may send, in one place.

Pure. Each constant states what it bounds and why it has that value; sizes are in bytes, times in
seconds. A reader checks the bound before it sets memory aside (docs/protocol/gtp01.md, Limits).
"""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB

# Bencoding

MAX_BENCODE = 64 * MIB
"""Bytes of one bencoded document: metainfo with many reference objects fits."""

MAX_DEPTH = 16
"""Nesting of lists and dictionaries; the deepest document of the protocol has four levels."""

MAX_DIGITS = 19
"""Digits of an integer: what fits in 63 bits, so that sums stay small."""

MAX_ITEMS = 2**20
"""Values in one document, which bounds the memory a few bytes each can cost."""

# Metainfo

MAX_TRACKERS = 64
"""Trackers of one repository that are contacted."""

MAX_REFERENCES = 1024
"""Reference objects of one repository that are remembered."""

MAX_TEXT = 4096
"""Bytes of a comment, a description or a tracker's URL."""

# Reference objects

MAX_REFERENCE = 32 * MIB
"""Bytes of one reference object: a quarter of a million refs."""

# Peer wire

MAX_MESSAGE = 4 * MIB
"""Bytes of a message's payload unless its kind says otherwise; the longest lists fit."""

MAX_REFERENCES_MESSAGE = MAX_REFERENCE + MIB
"""Bytes of a references message: the largest reference object and some small ones."""

MAX_PACK_MESSAGE = 512 * MIB
"""Bytes of a play answer. A block holds whole objects, so the largest blob decides; a peer's bytes
are kept only as they truly arrive."""

MAX_PEERS = 256
"""Peers in one message: more than anyone connects to."""

MAX_ADDRESS = 255
"""Bytes of a peer's address: the longest DNS name has 253."""

MAX_REELS = 4096
"""Reels in one message: one for each push of a year."""

MAX_OFFERS = 512
"""Reels of one peer that are remembered: a node offers some twenty, and paths are looked for among
those of all peers."""

MAX_WATCHED = 64
"""Statuses, by reel and block size, that a peer is told anew when there is more; it asks for those
of the reels of one path."""

MAX_REEL_SIZE = 2**44
"""Uncompressed bytes of a reel: 16 TiB, far beyond any repository."""

MIN_BLOCK_SIZE = 4 * KIB
"""Smallest block size that is served; a pack for less is mostly header."""

MAX_BLOCK_SIZE = 2**31 - 1
"""Largest block size: the field has 32 bits, and arithmetic on it must not be surprising."""

MAX_BLOCKS = 2**22
"""Blocks of one reel: a bitmap of half a megabyte."""

MAX_OBJECTS_ASKED = 16_384
"""Object ids in one request message; more are asked for in several."""

MAX_SCAN_ENTRIES = 160_000
"""Objects listed in one scan answer: what fits in a message of 4 MiB."""

MAX_OPEN_REQUESTS = 64
"""Data requests of one peer that wait for their answers; more are a flood."""

PIPELINE = 8
"""Data requests we keep open with one peer."""

# Time

KEEPALIVE_SECONDS = 60.0
"""Silence of ours after which a keep-alive is due, where the profile has them."""

IDLE_SECONDS = 180.0
"""Silence of a peer after which it is given up: three missed keep-alives."""

HANDSHAKE_SECONDS = 20.0
"""Time for all 56 bytes of a handshake."""

REQUEST_SECONDS = 120.0
"""Time for the answer to a data request, after which it is asked of somebody else."""

STALL_SECONDS = 60.0
"""Time without anything new of a download, after which those it waits for are left if others can
give what is missing. A peer that trickles or chokes us holds nobody up for longer."""

# Connections

MAX_CONNECTIONS = 128
"""Peers of one repository connected at once."""

MAX_PER_ADDRESS = 8
"""Connections from one address, loopback excepted."""

UPLOAD_SLOTS = 8
"""Interested peers that are unchoked at once."""

# Tracker

MAX_TRACKER_PEERS = 50
"""Peers in one tracker answer."""

MAX_TRACKER_ANSWER = 4 * MIB
"""Bytes of a tracker's answer that are read."""

MAX_TRACKER_REFERENCES = 8
"""Reference objects in one tracker answer: the newest ones."""

MAX_QUERY = 16 * KIB
"""Bytes of a tracker request's query string."""
