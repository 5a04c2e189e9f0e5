"""When reels of other shapes are made."""

from __future__ import annotations

import pytest

from gittorrent.ids import SHA1, Oid, PushId, RepositoryId
from gittorrent.reel.manifest import Manifest, Segment
from gittorrent.reel.shape_timing import (
    HISTORY_SECONDS,
    LEAST_BYTES,
    TIP_SECONDS,
    Made,
    ShapesWanted,
    is_history_due,
    is_tip_due,
    tips_among,
)
from gittorrent.shapes import HISTORY, Shape, parse_shape, tip_of

A, B, C = (Oid(letter * 40) for letter in "abc")


def made(shape: Shape, end: str, at: float) -> Made:
    commit = () if shape.commit is None else (shape.commit,)
    return (
        Manifest(
            repository=RepositoryId("a2" * 26),
            object_format=SHA1,
            start=None,
            end=PushId(end * 20),
            encoder=1,
            target=1 << 30,
            part_size=1 << 20,
            objects=1,
            pack_size=100,
            pack_checksum="ef" * 20,
            segments=(Segment(12, 1, 1, commit),),
            parts=("0" * 64,),
            shape=shape,
        ),
        at,
    )


def test_small_repositories_get_none_unless_somebody_says_so() -> None:
    assert not ShapesWanted.AUTO.are_made(LEAST_BYTES - 1)
    assert ShapesWanted.AUTO.are_made(LEAST_BYTES)
    assert ShapesWanted.ALWAYS.are_made(0)
    assert not ShapesWanted.NEVER.are_made(1 << 40)


def test_tips_are_those_of_what_a_branch_led_to() -> None:
    all_made = [
        made(tip_of(B), "02", 20),
        made(tip_of(A), "01", 10),
        made(tip_of(C), "02", 30),  # of another branch
        made(HISTORY, "02", 40),
        made(tip_of(A), "03", 50),  # of a checkpoint that is not in the log any more
    ]
    led = {PushId("01" * 20): A, PushId("02" * 20): B}
    assert [at for _, at in tips_among(all_made, led)] == [10, 20]


def test_a_tip_is_made_at_once_and_then_now_and_then() -> None:
    assert is_tip_due([], A, 0, 1.0)
    tips = [made(tip_of(A), "01", 100)]
    assert not is_tip_due(tips, A, 1e9, 1.0)
    assert not is_tip_due(tips, B, 99 + TIP_SECONDS, 1.0)
    assert is_tip_due(tips, B, 100 + TIP_SECONDS, 1.0)
    # A branch that went back has its old reel still.
    assert not is_tip_due([*tips, made(tip_of(B), "02", 200)], A, 1e9, 1.0)


def test_an_owner_without_patience_gets_one_each_time() -> None:
    tips = [made(tip_of(A), "01", 100)]
    assert is_tip_due(tips, B, 100, ShapesWanted.ALWAYS.patience)
    assert is_history_due([made(HISTORY, "01", 100)], 1, 100, ShapesWanted.ALWAYS.patience)


def test_history_goes_on_daily() -> None:
    assert is_history_due([made(tip_of(A), "01", 0)], 1, 0, 1.0)
    chain = [made(HISTORY, "01", 100), made(HISTORY, "02", 200)]
    assert not is_history_due(chain, 5, 199 + HISTORY_SECONDS, 1.0)
    assert is_history_due(chain, 5, 200 + HISTORY_SECONDS, 1.0)
    assert not is_history_due(chain, 0, 1e9, 1.0)


@pytest.mark.parametrize("shape", [HISTORY, tip_of(A), tip_of(Oid("a" * 64))], ids=str)
def test_shapes_are_spelled_in_two_ways(shape: Shape) -> None:
    assert parse_shape(shape.word) == shape
    assert parse_shape(shape.words, " ") == shape


@pytest.mark.parametrize("word", ["", "whole", "history:", "tip", "tip:", "tip:abc", "trees"])
def test_other_shapes_are_unknown(word: str) -> None:
    assert parse_shape(word) is None
