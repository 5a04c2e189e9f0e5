"""What gpg lists is read as it is meant, and certifications are counted by key."""

from __future__ import annotations

import pytest

from gittorrent.trust.policy import WebOfTrust
from gittorrent.trust.vouching import is_vouched_for, read_listing

TIME = 1000
ROOT, OTHER, ALICE, BOB = ("a" * 40, "b" * 40, "c" * 40, "d" * 40)


def pub(key: str, validity: str, *signatures: str, user: str = "f") -> str:
    fingerprint = f"fpr:::::::::{key.upper()}:"
    uid = f"uid:{user}::::1::HASH::x@example.org::::::::::0:"
    return "\n".join(
        [
            f"pub:{validity}:255:22:{key[-16:].upper()}:1:::u:::scSC:::",
            fingerprint,
            uid,
            *signatures,
        ]
    )


def sig(
    issuer: str, created: int = 10, expires: str = "", kind: str = "10x", good: str = "!",
    record: str = "sig",
) -> str:  # fmt: skip
    return f"{record}:{good}::22:{issuer[-16:].upper()}:{created}:{expires}:::x:{kind}::::::8:"


def found(listing: list[str], key: str = ALICE, depth: int = 1, needs: int = 1) -> bool:
    return is_vouched_for(key, read_listing("\n".join(listing), TIME), WebOfTrust(depth, needs))


ROOTS = [pub(ROOT, "u", sig(ROOT, kind="13x"), user="u"), pub(OTHER, "u", user="u")]


@pytest.mark.parametrize(
    ("signatures", "counts"),
    [
        ([sig(ROOT)], True),
        ([sig(ROOT, kind="13x", expires=str(TIME + 1))], True),
        ([], False),
        ([sig(ALICE)], False),
        ([sig(BOB)], False),
        ([sig(ROOT, good="?")], False),
        ([sig(ROOT, good="-")], False),
        ([sig(ROOT, kind="10l")], False),
        ([sig(ROOT, kind="18x")], False),
        ([sig(ROOT, expires=str(TIME))], False),
        ([sig(ROOT, created=TIME + 1)], False),
        ([sig(ROOT), sig(ROOT, 20, kind="30x", record="rev")], False),
        ([sig(ROOT, 30), sig(ROOT, 20, kind="30x", record="rev")], True),
        ([sig(ROOT), sig(ROOT, TIME + 1, kind="30x", record="rev")], True),
        ([sig(ROOT), sig(OTHER, 20, kind="30x", record="rev")], True),
        (["sub:f:255:22:1:1:::::e::::::cv25519::", sig(ROOT)], False),
    ],
)
def test_which_certifications_count(signatures: list[str], counts: bool) -> None:
    assert found([*ROOTS, pub(ALICE, "f", *signatures)]) is counts


@pytest.mark.parametrize("validity", ["-", "m", "r", "e", "n", "q", ""])
def test_keys_that_gpg_does_not_take_for_valid(validity: str) -> None:
    assert not found([*ROOTS, pub(ALICE, validity, sig(ROOT))])
    assert not found([*ROOTS, pub(ALICE, "f", sig(ROOT), user=validity)])


def test_needs_are_counted_on_one_user_id_by_different_keys() -> None:
    twice = pub(ALICE, "f", sig(ROOT), sig(ROOT, 20))
    assert not found([*ROOTS, twice], needs=2)
    assert found([*ROOTS, pub(ALICE, "f", sig(ROOT), sig(OTHER))], needs=2)
    apart = pub(ALICE, "f", sig(ROOT), "uid:f::::1::HASH::y::::::::::0:", sig(OTHER))
    assert not found([*ROOTS, apart], needs=2)


def test_steps_are_counted() -> None:
    listing = [*ROOTS, pub(ALICE, "f", sig(ROOT)), pub(BOB, "f", sig(ALICE))]
    assert not found(listing, BOB, depth=1)
    assert found(listing, BOB, depth=2)
    assert not found([*ROOTS, pub(ALICE, "-", sig(ROOT)), listing[-1]], BOB, depth=2)
    assert not found([], BOB)


def test_rubbish_is_passed_over() -> None:
    listing = [
        "",
        "fpr",
        "uid",
        "sig:!",
        "uid:f",
        "pub",
        "tru::1:0",
        pub(ALICE, "f", "rev", "sig:"),
    ]
    assert not found(listing)
