"""What a stranger's payload, handshake, reference object or address may not be."""

from __future__ import annotations

import re

import pytest

from gittorrent.gtp import handshake
from gittorrent.gtp.errors import BadReferenceError, HandshakeError, MessageError
from gittorrent.gtp.fields import ID, Fields
from gittorrent.gtp.limits import MAX_ADDRESS, MAX_REFERENCE
from gittorrent.gtp.reference import parse_reference, verify_reference
from gittorrent.gtp.tracker_messages import is_address


def test_no_field_reaches_beyond_its_payload() -> None:
    fields = Fields(bytes(ID) + b"\0\0\1\0", "play")
    assert (fields.oid(), fields.integer()) == (bytes(ID), 256)
    fields.end()
    with pytest.raises(MessageError, match="play message is cut off: 1 bytes wanted, 0 left"):
        fields.take(1)
    with pytest.raises(MessageError, match=f"cut off: {ID} bytes wanted, {ID - 1} left"):
        Fields(bytes(ID - 1), "scan").oid()


def test_nothing_may_follow_the_last_field() -> None:
    fields = Fields(b"12345", "stop")
    fields.take(3)
    with pytest.raises(MessageError, match="stop message: 2 bytes too many"):
        fields.end()
    assert fields.rest() == b"45"
    fields.end()


@pytest.mark.parametrize("value", [4, 5, 9])
def test_numbers_within_their_bounds_are_taken(value: int) -> None:
    assert Fields(bytes([0, 0, 0, value]), "blocks").bounded("count", 4, 9) == value


@pytest.mark.parametrize("value", [0, 3, 10])
def test_numbers_beyond_their_bounds_are_refused(value: int) -> None:
    with pytest.raises(MessageError, match=f"blocks message: count {value} is not 4 to 9"):
        Fields(bytes([0, 0, 0, value]), "blocks").bounded("count", 4, 9)


def test_a_handshake_has_one_size() -> None:
    said = handshake.Handshake(b"r" * 20, b"p" * 20)
    data = said.encode()
    assert handshake.parse(data) == said
    assert handshake.parse_repo_hash(data[: handshake.HASH_KNOWN_AFTER]) == said.repo_hash
    for wrong in (data[:-1], data + b"x"):
        with pytest.raises(HandshakeError, match=f"has {len(data)} bytes, not {len(wrong)}"):
            handshake.parse(wrong)
    with pytest.raises(HandshakeError, match="too few to know the repo hash"):
        handshake.parse_repo_hash(data[: handshake.HASH_KNOWN_AFTER - 1])
    for wrong in (b"\x13BitTorrent protocol", b"x", data[:7] + b"x"):
        with pytest.raises(HandshakeError, match=r"not a GTP/0\.1 handshake"):
            handshake.check_beginning(wrong)


def test_a_reference_object_is_a_tag_of_bounded_size() -> None:
    head = b"object " + b"a1" * 20 + b"\ntype commit\ntag x\ntagger A <a@b> 5 +0000\n\n"
    largest = head + b"\n" * (MAX_REFERENCE - len(head))
    assert parse_reference(largest).refs == {}
    with pytest.raises(BadReferenceError, match=f"of {MAX_REFERENCE + 1} bytes"):
        parse_reference(largest + b"\n")
    for body in (b"", b"tree " + b"a1" * 20 + b"\n", head[1:]):
        with pytest.raises(BadReferenceError, match=re.escape("is no tag")):
            parse_reference(body)


def test_an_ssh_signature_is_none_of_the_owners() -> None:
    head = b"object " + b"a1" * 20 + b"\ntype commit\ntag x\ntagger A <a@b> 5 +0000\n\n"
    signed = b"-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----\n"
    with pytest.raises(BadReferenceError, match="not signed by an OpenPGP key"):
        verify_reference(parse_reference(head + signed), b"")


@pytest.mark.parametrize(
    "host", ["192.0.2.1", "2001:db8::1", "example.org", "example.org.", "a-b.example", "x1.2y"]
)
def test_addresses_that_may_be_passed_on(host: str) -> None:
    assert is_address(host)


@pytest.mark.parametrize(
    "host",
    ["", "a" * 64, "bücher.example", "ex_ample.org/", "a b", "-a.org", "a..b", "1.2.3", "127.1"],
)
def test_what_is_no_address(host: str) -> None:
    assert not is_address(host)


def test_the_longest_address() -> None:
    longest = ".".join(["a" * 63] * 3 + ["b" * (MAX_ADDRESS - 3 * 64)])
    assert len(longest) == MAX_ADDRESS
    assert is_address(longest)
    assert not is_address(f"{longest}c")
