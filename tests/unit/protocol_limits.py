"""Writes the tables of limits in docs/protocol from the constants of the code.

Run as a program it rewrites the rows in place; `test_protocol_limits` checks that nobody has to.
A row is found by its first cell.
"""

from __future__ import annotations

from pathlib import Path

from gittorrent.gtp import exchange, received, tracker_table
from gittorrent.gtp import limits as gtp
from gittorrent.gtp.node import addresses, daemon, link, room
from gittorrent.node import connection_limiter, held_bytes
from gittorrent.push import certificate, chain, checkpoint, fresh, log, rule
from gittorrent.push import object as push_object
from gittorrent.reel import manifest
from gittorrent.transfer import unsolicited, websocket
from gittorrent.transfer.server_timeouts import SERVER_TIMEOUTS
from gittorrent.trust import labels, policy, policy_text
from gittorrent.trust.signature import MAX_SIGNATURE
from gittorrent.trust.signed_policy import MAX_CERTIFICATES, MAX_CERTIFICATES_SIZE, MAX_SIGNATURES
from gittorrent.wire import limits

PAGES = Path(__file__).parents[2] / "docs" / "protocol"


def _mib(count: int) -> str:
    whole, rest = divmod(count, 1 << 20)
    assert not rest, count
    return f"{whole} MiB"


def _kib(count: int) -> str:
    whole, rest = divmod(count, 1 << 10)
    assert not rest, count
    return f"{whole} KiB"


def _paced(burst: int, seconds: float) -> str:
    return f"{burst:,} at once and one more every {seconds:,.0f} s"


def _days(seconds: int) -> str:
    days, rest = divmod(seconds, 86400)
    assert not rest, seconds
    return f"{days} days"


def _power(count: int) -> str:
    assert count.bit_count() == 1, count
    return f"2^{count.bit_length() - 1}"


def _mirrorsync() -> dict[str, str]:
    days = limits.MAX_VALID_SECONDS // 86400
    return {
        "packet": f"{limits.MAX_PKT_LINE:,} bytes with its length digits",
        "path; host; one extra parameter; number of those": (
            f"{limits.MAX_PATH:,}; {limits.MAX_HOST:,}; "
            f"{limits.MAX_EXTRA_BYTES:,} bytes; {limits.MAX_EXTRA}"
        ),
        "name of a service": f"{limits.MAX_SERVICE} characters",
        "reason of `ERR` and `bye`": f"{limits.MAX_REASON} characters are kept",
        "key; node id": f"{limits.MAX_KEY}; {limits.MAX_NODE_ID} characters",
        "URL": f"{limits.MAX_URL:,} bytes",
        "lines in a list or notice, unknown ones included": f"{limits.MAX_LIST_LINES:,}",
        "`try` lines; `auth` lines in a list": (
            f"{limits.MAX_TRY_LINES:,}; {limits.MAX_AUTH_LINES:,}"
        ),
        "number of a checkpoint; pushes that a list counts": (
            f"1 to {limits.MAX_CHECKPOINT_NUMBER:,}; {_power(limits.MAX_UNTAKEN)}"
        ),
        "list or notice": _mib(limits.MAX_LIST_BYTES),
        "validity of an address, ttl": (
            f"1 s (ttl and what is granted: 0) to {limits.MAX_VALID_SECONDS:,} s ({days} days)"
        ),
        "`busy`": f"0 to {limits.MAX_BUSY_SECONDS:,} s",
        "push object": _mib(limits.MAX_PUSH_BYTES),
        "pack that comes with a push in a conversation": _mib(limits.MAX_PUSH_PACK_BYTES),
        "push and pack that are sent along with the news of it": _kib(limits.MAX_SENT_BYTES),
        "annotated tag that is asked for by itself; tags of tags": (
            f"{_mib(limits.MAX_TAG_BYTES)}; {limits.MAX_TAG_DEPTH} from a ref on"
        ),
        "manifest with its signature": (
            f"{_mib(limits.MAX_MANIFEST_BYTES)}; when asked for, also 256 KiB and twice the size "
            "its pack is offered with"
        ),
        "part": _mib(limits.MAX_PART_BYTES),
        "pack": f"{_power(limits.MAX_PACK_BYTES)} bytes, {_power(limits.MAX_PARTS)} parts",
        "bitmap on a line": (
            f"{limits.MAX_BITMAP_DIGITS:,} hex digits: {4 * limits.MAX_BITMAP_DIGITS:,} parts"
        ),
        "parts in one request": f"{limits.MAX_PARTS_PER_REQUEST:,}",
        "questions open at once, by the one who asks": f"{limits.MAX_PIPELINED:,}",
        "questions that the one who answers tolerates": f"{limits.MAX_INCOMING:,}",
        "push objects in the answers to `fetch log` that are open together": (
            _power(limits.MAX_LOG_ENTRIES)
        ),
        "piece of a deflated log; bytes by which one may be longer than what it holds": (
            f"{_kib(limits.MAX_LOG_PIECE)}; {_kib(limits.MAX_LOG_PADDING)}"
        ),
        "silence before an `alive` line is due": f"{limits.KEEPALIVE_SECONDS:,.0f} s",
        "silence after which the other end is given up": f"{limits.IDLE_SECONDS:,.0f} s",
        "message of a WebSocket, all its frames": _kib(websocket.MAX_MESSAGE),
        (
            "conversations on one connection; bytes of one before another one has its turn;"
            " bytes of one on their way and unread"
        ): (
            f"{limits.MAX_STREAMS:,}; {_kib(limits.MAX_STREAM_DATA)}; {_kib(limits.STREAM_WINDOW)}"
        ),
        "one message with its raw bytes": f"{limits.MESSAGE_SECONDS:,.0f} s",
        (
            "lines that answer no question and are no offers asked for; "
            "each KiB of a line counts as one more"
        ): (
            f"{unsolicited.LINES_AT_ONCE:,} at once and"
            f" {unsolicited.LINES_PER_SECOND:,.0f} a second"
        ),
    }


def _trust() -> dict[str, str]:
    return {
        "text of a policy": f"{policy_text.MAX_TEXT:,} bytes, {policy_text.MAX_LINES:,} lines",
        "`text SIZE`": f"exactly one; at most {push_object.MAX_TEXT:,} bytes",
        "`signature SIZE`": (
            "at least one; exactly one unless a policy, which has at most "
            f"{MAX_SIGNATURES:,}; each at most {MAX_SIGNATURE:,} bytes"
        ),
        "`pinned SIZE`": (
            f"of a policy at most {MAX_CERTIFICATES:,}, with {MAX_CERTIFICATES_SIZE:,} bytes in"
            f" all; of a push certificate {push_object.MAX_PUSHER_CERTIFICATES:,} with"
            f" {push_object.MAX_PUSHER_CERTIFICATES_SIZE:,}; of a checkpoint none"
        ),
        "header": f"at most {push_object.MAX_HEADER:,} bytes, the empty line included",
        "the whole file": f"at most {push_object.MAX_SIZE:,} bytes",
        "text of a push certificate": (
            f"{certificate.MAX_TEXT:,} bytes, {certificate.MAX_LINES:,} lines of changes"
        ),
        "push options": (
            f"{certificate.MAX_OPTIONS:,}, each at most {certificate.MAX_OPTION:,} bytes"
        ),
        "count in a nonce": f"1 to {certificate.MAX_COUNT:,}",
        "text of a checkpoint": f"{checkpoint.MAX_TEXT:,} bytes",
        "number of a checkpoint": f"1 to {checkpoint.MAX_NUMBER:,}",
        "age of the checkpoint in a push's nonce": f"{_days(chain.WINDOW)} after the next one",
        "open conflicts and waiting lines of a key": f"{rule.MAX_OPEN:,}",
        "copies of a push that differ in certificates": f"{log.MAX_COPIES:,}",
        "pushes that no checkpoint took by keys that no line names": f"{log.MAX_STRANGERS:,}",
        "label of a key": f"{labels.MAX_LABEL} bytes",
        "a statement of freshness": (
            f"old after {fresh.FRESH_WITHIN:,} s, if the policy does not say otherwise, which may"
            f" be 1 to {policy.MAX_FRESH_WITHIN:,} s; not yet of use {fresh.MAX_AHEAD:,} s ahead"
        ),
    }


def _reels() -> dict[str, str]:
    return {
        "text of a manifest": f"{manifest.MAX_TEXT:,} bytes",
        "part size in a manifest": (
            f"{manifest.MIN_PART_SIZE:,} to {manifest.MAX_PART_SIZE:,} bytes"
        ),
        "numbers in a manifest": _power(manifest.MAX_NUMBER),
        "segments": f"1 to {manifest.MAX_SEGMENTS:,}",
        "objects": f"1 to {_power(manifest.MAX_OBJECTS + 1)} - 1, a third of the pack size at most",
    }


def _gtp() -> dict[str, str]:
    return {
        "bencoded document": (
            f"{_mib(gtp.MAX_BENCODE)}, {gtp.MAX_DEPTH} levels, {_power(gtp.MAX_ITEMS)} values, "
            f"integers of {gtp.MAX_DIGITS} digits"
        ),
        "tracker's answer, query": f"{_mib(gtp.MAX_TRACKER_ANSWER)}, {_kib(gtp.MAX_QUERY)}",
        "texts of a metainfo": f"{gtp.MAX_TEXT:,} bytes",
        "trackers, references of a metainfo": f"{gtp.MAX_TRACKERS:,}, {gtp.MAX_REFERENCES:,}",
        "reference object": _mib(gtp.MAX_REFERENCE),
        "references message": _mib(gtp.MAX_REFERENCES_MESSAGE),
        "play answer": (
            f"{_mib(gtp.MAX_PACK_MESSAGE)}; so a block's objects must fit there compressed"
        ),
        "packs of a reel": (
            f"{received.TIMES_SIZE} times its size, {_kib(received.FOR_BLOCK)} for each block "
            f"and {_mib(received.FOR_REEL)}"
        ),
        "`perl-2008`: a pack; what is kept of a reel": (
            f"{received.TIMES_SIZE} times the reel's size and {_mib(received.FOR_REEL)}; "
            f"{exchange.MOST_KEPT} times that"
        ),
        "any other message": _mib(gtp.MAX_MESSAGE),
        "peers, reels in a message": f"{gtp.MAX_PEERS:,}, {gtp.MAX_REELS:,}",
        "reels of a peer that are remembered; statuses it is told anew": (
            f"{gtp.MAX_OFFERS:,}; {gtp.MAX_WATCHED:,}"
        ),
        "address": f"{gtp.MAX_ADDRESS:,} bytes",
        "reel size": _power(gtp.MAX_REEL_SIZE),
        "block size": f"{_kib(gtp.MIN_BLOCK_SIZE)} to {_power(gtp.MAX_BLOCK_SIZE + 1)} - 1",
        "blocks of a reel": (
            f"{_power(gtp.MAX_BLOCKS)}; of what a peer says it has a bit each is kept"
        ),
        "object ids in a request": (
            f"{gtp.MAX_OBJECTS_ASKED:,} objects, {gtp.MAX_OBJECTS_ASKED:,} bases"
        ),
        "entries of a scan": f"{gtp.MAX_SCAN_ENTRIES:,}",
        "open data requests of a peer": (
            f"{gtp.MAX_OPEN_REQUESTS:,}; in `perl-2008` {_power(gtp.MAX_BLOCKS)}, "
            "since it asks for all commits at once"
        ),
        "questions waiting": (
            f"{link.MOST_QUEUED:,}; in `perl-2008` beside those {_power(gtp.MAX_BLOCKS)} data "
            "requests"
        ),
        "of all peers: messages that nobody asked for; answers in either direction with requests "
        "for them": (
            f"{_mib(room.MAX_TALK)}; {_mib(room.MAX_DATA)}; beyond that the connection for which "
            f"most is held is given up, never one with less than {_kib(held_bytes.SMALL)}"
        ),
        "of all peers: data that waits to be stored": (
            f"{_mib(room.MAX_STORING)}, then those who sent some are not read on"
        ),
        "connections": (
            f"{gtp.MAX_CONNECTIONS:,} that came in, {gtp.MAX_PER_ADDRESS:,} from one address "
            f"(loopback excepted); {daemon.MOST_CALLS:,} that a node opened for one swarm, and "
            f"{gtp.MAX_CONNECTIONS:,} for all of up to {gtp.MAX_CONNECTIONS:,} swarms"
        ),
        "connections of a tracker": (
            f"{connection_limiter.MAX_CONNECTIONS:,}, {connection_limiter.MAX_PER_ADDRESS:,} from "
            "one address; when all are taken, whoever asks for nothing makes room"
        ),
        "a tracker's caller: sending a request, idling, flushing an answer": (
            f"{SERVER_TIMEOUTS.request:,.0f} s each"
        ),
        "taking a chunk of what was asked for; short messages that wait for a peer to read": (
            f"{link.STALLED_SECONDS:,.0f} s; {_mib(link.MOST_UNREAD)}"
        ),
        "a handshake; silence; silence before a keep-alive is due; an answer to a data request": (
            f"{gtp.HANDSHAKE_SECONDS:,.0f} s; {gtp.IDLE_SECONDS:,.0f} s; "
            f"{gtp.KEEPALIVE_SECONDS:,.0f} s; {gtp.REQUEST_SECONDS:,.0f} s"
        ),
        "a download without anything new, before those it waits for are left": (
            f"{gtp.STALL_SECONDS:,.0f} s"
        ),
        "addresses named by one teller; calls to one IP address on strangers' word": (
            f"{_paced(addresses.TOLD_AT_ONCE, addresses.TOLD_SECONDS)}; "
            f"{_paced(addresses.CALLS_AT_ONCE, addresses.CALL_SECONDS)}"
        ),
        "swarms of a tracker; peers of a swarm, listed by one address; requests of one address": (
            f"{tracker_table.MAX_SWARMS:,}; {tracker_table.MAX_SWARM_PEERS:,}, "
            f"{tracker_table.MAX_LISTED_PER_ADDRESS:,}; "
            f"{_paced(tracker_table.BURST, tracker_table.REFILL_SECONDS)}"
        ),
    }


ROWS = {"gtp01.md": _gtp, "mirrorsync.md": _mirrorsync, "reels.md": _reels, "trust.md": _trust}


def rewritten(page: str) -> str:
    """Return a page of docs/protocol with the rows of its limits as the code has them.

    Raises:
        LookupError: a row is not there, or is there twice.
    """
    text = (PAGES / page).read_text()
    for name, value in ROWS[page]().items():
        start = f"\n| {name} |"
        if text.count(start) != 1:
            raise LookupError(f"{page} has {text.count(start)} rows {name!r}")
        before, rest = text.split(start)
        text = f"{before}{start} {value} |\n{rest.partition(chr(10))[2]}"
    return text


if __name__ == "__main__":
    for name in ROWS:
        (PAGES / name).write_text(rewritten(name))
