"""Listings of refs, compared without taking them apart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gittorrent.git.refs import parse_refs
from gittorrent.ids import Oid, RefName, Refs
from gittorrent.push.certificate import Line
from gittorrent.repository.ref_listing import RefListing

NAMES = st.sampled_from(["a", "aa", "ab", "b", "ba", "c", "m", "n", "y", "z", "zz"]).map(
    lambda name: RefName(f"refs/heads/{name}".encode())
)
VALUES = st.integers(1, 3).map(lambda digit: Oid(f"{digit}" * 40))
REFS = st.dictionaries(NAMES, VALUES)


def listing(refs: Refs) -> RefListing:
    """Return refs as git lists them."""
    return RefListing(b"".join(refs[ref].encode() + b" " + ref + b"\n" for ref in sorted(refs)))


@given(REFS, REFS)
def test_what_changed_is_found(before: Refs, after: Refs) -> None:
    changed = listing(after).changed_from(listing(before))
    assert changed == {ref for ref, _ in before.items() ^ after.items()}


@given(REFS, NAMES)
def test_one_ref_is_looked_up(refs: Refs, name: RefName) -> None:
    assert listing(refs).value(name) == refs.get(name)
    assert listing(refs).only([name]) == {k: v for k, v in refs.items() if k == name}
    assert parse_refs(listing(refs).text) == listing(refs).refs == refs


@given(REFS, REFS)
def test_changes_give_the_listing_that_git_would(before: Refs, after: Refs) -> None:
    names = sorted(before.keys() | after.keys())
    changes = [Line(before.get(ref), after.get(ref), ref) for ref in names]
    assert listing(before).after(changes).text == listing(after).text
    unchanged = listing(before)
    assert unchanged.after([]) is unchanged


def test_many_names_at_once() -> None:
    refs: Refs = {RefName(f"refs/heads/{n:04}".encode()): Oid("1" * 40) for n in range(300)}
    wanted = [name for number, name in enumerate(refs) if number % 3]
    assert listing(refs).only(wanted).keys() == set(wanted)
