"""Every bound the wire protocol puts on what a peer may send, in one place.

For all of ``wire``; pure. Each constant states what it bounds and why it has that value. A peer
that exceeds one breaks the protocol (docs/protocol/mirrorsync.md, Limits).

Rules: sizes are in bytes, times in seconds; a reader checks the bound before it allocates.
"""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB
DAY = 24 * 3600

# Frames and lines

MAX_PKT_LINE = 65520
"""Bytes in one pkt-line with its four length digits: git's own LARGE_PACKET_MAX."""

MAX_PKT_PAYLOAD = MAX_PKT_LINE - 4
"""Bytes of payload in one pkt-line."""

MAX_REASON = 200
"""Characters of a peer's ``ERR`` or ``bye`` reason that are shown: about two terminal lines."""

MAX_KEY = 200
"""Characters in a key's name such as ``openpgp:<fingerprint>``; the longest today has 72."""

MAX_NODE_ID = 128
"""Characters in a node id: room for a hexadecimal SHA-512."""

# Service requests

MAX_PATH = 4096
"""Bytes in a requested path: PATH_MAX, beyond which no file system could hold it."""

MAX_HOST = 300
"""Bytes in the ``host=`` parameter: a DNS name of 253, brackets and a port fit."""

MAX_SERVICE = 64
"""Characters in a service's name; the longest known has 18."""

MAX_EXTRA = 16
"""Extra parameters after the host; git sends one (``version=2``)."""

MAX_EXTRA_BYTES = 256
"""Bytes in one extra parameter, since it ends up in an environment variable."""

# Questions to git's upload-pack whose answers are kept

MAX_QUESTION = 2 * MIB
"""Bytes of a request that is looked at before git sees it: 40,000 ids, as a checkout of a clone
without files asks for at once. Longer ones go to git as they come."""

SMALL_QUESTION = 64 * KIB
"""Bytes of it that anybody may have gathered here; for more the node has a common bound."""

MAX_QUESTION_PREFIXES = 64
"""Prefixes of refs in a question: git itself sends about ten for each ref it looks for."""

# Mirror lists and notices

MAX_TRY_LINES = 200
"""Mirrors in one list: far more than anyone contacts, few enough not to flood an address book."""

MAX_AUTH_LINES = 1000
"""``auth`` lines in one list; they inform people, and the signed policy is what counts."""

MAX_LIST_LINES = 4000
"""Lines in one list or notice, unknown ones too: room to grow, yet a bounded read."""

MAX_LIST_BYTES = 1 * MIB
"""Bytes in a list or notice: all lines at their usual length fit ten times."""

MAX_CHECKPOINT_NUMBER = 2**31 - 1
"""The last number of a checkpoint (docs/protocol/trust.md): one a second lasts 68 years."""

MAX_UNTAKEN = 2**20
"""Pushes that a list may say no checkpoint has taken: as many as the answer with them may have."""

MAX_REF_PATTERN = 1024
"""Bytes in an ``auth`` line's ref pattern."""

MAX_URL = 2048
"""Bytes in a URL: the customary bound of web servers and proxies."""

MAX_HOST_NAME = 253
"""Characters in a DNS name (RFC 1035 2.3.4, without the final dot)."""

MAX_LABEL = 63
"""Characters in one label of a DNS name (RFC 1035 2.3.4)."""

MAX_VALID_SECONDS = 30 * DAY
"""How long an address may claim to be valid; old addresses belong to somebody else."""

MAX_BUSY_SECONDS = 3600
"""How long a peer may tell us to wait; one that wants more rest can hang up."""

# Packs and parts

MAX_PUSH_BYTES = 64 * MIB
"""Bytes in one push object: a checkpoint that lists 200,000 refs fits twice."""

MAX_TAG_BYTES = 1 * MIB
"""Bytes in one annotated tag that is given for itself: the longest release notes fit."""

MAX_TAGS_BYTES = 16 * MIB
"""Bytes of such tags held at once, by either end: some twenty thousand signed ones."""

MAX_TAG_DEPTH = 8
"""Tags on the way from a ref to what is no tag, by either end: people tag a tag once, and each
further one costs a question, and the one who answers a run of git."""

MAX_PUSH_PACK_BYTES = 16 * MIB
"""Bytes of the pack that comes with a push over a live conversation, as many as of a part: both
ends have it in memory. For more there are ordinary fetches, which need somebody to call."""

MAX_SENT_BYTES = 64 << 10
"""Bytes of a push and of its pack that may be sent along with the news of it: who gets it from a
few peers at once loses little, and a stranger's are bounded like lines."""

MAX_FRESH_SIGNATURE = 24_000
"""Base64 digits of the signature of a statement of freshness; an OpenPGP one of RSA has 1,200."""

MAX_SECONDS = 10**12 - 1
"""Seconds since 1970 in a statement of freshness: twelve digits."""

MAX_MANIFEST_BYTES = 64 * MIB
"""Bytes in one manifest: some 900,000 parts at 72 bytes each."""

MAX_PART_BYTES = 16 * MIB
"""Bytes in one part: what is held in memory unverified for one answer."""

MAX_PACK_BYTES = 2**50
"""Bytes in one pack: a pebibyte, so that sums stay far inside 64 bits."""

MAX_PARTS = 2**22
"""Parts in one pack: four tebibytes in parts of one mebibyte."""

MAX_BITMAP_DIGITS = 64_000
"""Hexadecimal digits in a part bitmap: what fits one pkt-line beside the names before it."""

MAX_PARTS_PER_REQUEST = 256
"""Parts one request may name: runs save most of the cost, and cancelling stays fine-grained."""

# Conversation

MAX_PIPELINED = 64
"""Requests an end keeps open at once: at one part each, 64 MiB in flight fill any real link."""

MAX_INCOMING = 2 * MAX_PIPELINED
"""Open requests tolerated from a peer: twice its due, as the ends count a crossing differently."""

MAX_LATE_ANSWERS = MAX_PIPELINED * MAX_PARTS_PER_REQUEST
"""Withdrawn questions whose answers are still let in: all that could be open at one moment."""

MAX_LATE_RUNS = 16 * MAX_PIPELINED
"""Runs of parts withdrawn together whose answers are still let in: nobody withdraws a full pipeline
sixteen times while answers are on their way, and single parts are runs too."""

LONG_LINE = 1 * KIB
"""Bytes of a line that count as one more when lines are counted that nobody asked for."""

MAX_LOG_ENTRIES = 2**20
"""Push objects sent for the ``fetch log`` requests open together: a push a minute for two years."""

MAX_LOG_PIECE = 64 * KIB
"""Bytes of a deflated log that come together: deflate makes 64 MiB of them at most, of which little
is held at a time, and some 256 KiB of an honest log."""

MAX_LOG_PADDING = 64 * KIB
"""Bytes by which a deflated log may be longer than what it holds, in all: what cannot be deflated
grows by a few for each piece, and a stream can be made to hold nothing."""

FIRST_LINE_BUFFER = 4096
"""Bytes set aside for lines in each conversation, idle ones too; most lines have some hundred."""

FIRST_PAYLOAD_BUFFER = 4 * MIB
"""Bytes set aside when a payload is announced; larger ones grow as their bytes truly arrive."""

KEEPALIVE_SECONDS = 60.0
"""Silence of ours after which an ``alive`` line is due: below the two minutes of common NATs."""

IDLE_SECONDS = 180.0
"""Silence of the peer after which it is given up: three missed ``alive`` lines."""

MESSAGE_SECONDS = 1800.0
"""Time one message with its payload may take: the largest manifest at 300 kbit/s."""

# Several conversations over one connection

MAX_STREAMS = 1024
"""Conversations that one connection may carry: four times the repositories that a node talks of."""

STREAM_WINDOW = 64 * KIB
"""Bytes that may be on their way in one conversation and not read yet, in each direction: what is
held for one that nobody reads, and enough for 5 Mbit/s at 100 ms."""

MAX_STREAM_DATA = 16 * KIB
"""Bytes of one conversation before another one has its turn: 13 ms at 10 Mbit/s."""

MAX_STREAM_NUMBER = 2**31 - 1
"""The last number of a conversation: a hundred a second last eight months."""
