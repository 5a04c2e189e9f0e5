"""Comparing an origin with its log, whatever both did since."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gittorrent.ids import Oid, RefName, Refs
from gittorrent.push.origin_refs import compare
from gittorrent.push.publication import parts_of
from gittorrent.push.refnames import check_no_directory_conflict

NAMES = [RefName(f"refs/heads/{name}".encode()) for name in ("a", "a/b", "a/b/c", "d", "e")]
VALUES = [Oid(f"{number}" * 40) for number in range(1, 6)]


def apart(refs: Refs) -> Refs:
    """Leave out what has another one as a directory, as no repository has both."""
    return {
        name: value
        for name, value in refs.items()
        if not any(name != other and name.startswith(other + b"/") for other in refs)
    }


states = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES)).map(apart)


class Remembered:
    def __init__(self, values: Refs | None, final: bool) -> None:
        self.values = values
        self.final = final

    def knows(self, ref: RefName) -> bool:
        return self.values is not None

    def value(self, ref: RefName) -> Oid | None:
        return None if self.values is None else self.values.get(ref)

    def is_settled(self, ref: RefName, value: Oid) -> bool:
        return self.final


def older(outer: Oid, inner: Oid) -> bool:
    """All values but the last, which has nothing to do with them, are one line of history."""
    return inner <= outer and (outer == inner or outer != VALUES[-1])


@given(states, states, st.none() | states, st.booleans())
def test_both_sides_come_to_the_same_but_for_what_is_named(
    here: Refs, elsewhere: Refs, was: Refs | None, final: bool
) -> None:
    past = Remembered(was, final)
    found = compare(here, elsewhere, past, older)
    origin, log = dict(here), dict(elsewhere)
    for state, lines in ((origin, found.take), (log, found.publish)):
        for line in lines:
            assert state.pop(line.ref, None) == line.old
            if line.new is not None:
                state[line.ref] = line.new
        check_no_directory_conflict(state)
    parted = {each.ref for each in found.parted}
    assert {ref for ref, _ in origin.items() ^ log.items()} == parted
    for each in found.parted:
        assert (each.here, each.elsewhere) == (here.get(each.ref), elsewhere.get(each.ref))


@given(states, states, states, st.booleans())
def test_nothing_is_undone_that_changed_elsewhere(
    here: Refs, elsewhere: Refs, was: Refs, final: bool
) -> None:
    found = compare(here, elsewhere, Remembered(was, final), older)
    for line in found.publish:
        changed_there = elsewhere.get(line.ref) != was.get(line.ref)
        assert not changed_there or (line.new and line.old and older(line.new, line.old))
    for line in found.take:
        changed_here = here.get(line.ref) != was.get(line.ref)
        assert not changed_here or (line.new and line.old and older(line.new, line.old))
        forward = line.old is None or (line.new is not None and older(line.new, line.old))
        assert forward or final


@given(states, states)
def test_certificates_have_every_change_once(before: Refs, after: Refs) -> None:
    lines = compare(after, before, Remembered(before, True), older).publish
    parts = parts_of(lines)
    assert sorted(line.ref for part in parts for line in part.lines) == sorted(
        ref for ref in NAMES if before.get(ref) != after.get(ref)
    )
