"""Which reference objects a peer is given when it asks for them."""

from __future__ import annotations

import itertools

from gittorrent.gtp import limits
from gittorrent.gtp.believed import ReferenceBook
from gittorrent.gtp.exchange import Exchange
from gittorrent.gtp.messages import BEGINNING, ReelName, ReelOffer, References
from gittorrent.gtp.metainfo import MetainfoSpec, parse_metainfo, write_metainfo
from gittorrent.gtp.node.answers import MOST_NEWS, Answers
from gittorrent.gtp.node.holding import Holding
from gittorrent.gtp.profile import RFC
from gittorrent.gtp.reference import Reference, Tagger, reference_id, write_reference
from gittorrent.ids import Oid, RefName

OID = Oid("ab" * 20)


class Unsigned(ReferenceBook):
    """A book that believes everything."""

    def _believe(self, reference: object) -> None:
        pass


class Chain(Holding):
    """Gives a reel from each reference to the next."""

    def __init__(self, references: list[Reference]) -> None:
        self._references = references

    def references(self) -> list[Reference]:
        return self._references

    def offers(self) -> list[ReelOffer]:
        places = [BEGINNING, *(reference.id for reference in reversed(self._references))]
        return [ReelOffer(ReelName(a, b), 1) for a, b in itertools.pairwise(places)]


def answers(count: int, padding: int = 0, known_there: frozenset[bytes] = frozenset()) -> Answers:
    book = Unsigned(parse_metainfo(write_metainfo(MetainfoSpec(b"key", ()))))
    for number in range(count):
        refs = {RefName(b"refs/heads/main"): OID}
        body = write_reference(refs, OID, None, Tagger(b"A <a@b>", number)) + b"x" * padding
        book.add(reference_id(body), body)
    return Answers(RFC, Exchange(RFC, book), Chain(book.newest_first()), None, known_there)


def given(answers_: Answers) -> list[bytes]:
    found = answers_.answer(References())
    assert isinstance(found, References)
    return [entry.reference for entry in found.entries]


def test_all_references_that_offered_reels_name_are_given() -> None:
    assert len(given(answers(2 * MOST_NEWS))) == 2 * MOST_NEWS


def test_what_the_peer_knows_is_not_given_and_silence_is_an_answer() -> None:
    everything = given(answers(4))
    some = answers(4, known_there=frozenset(everything[:1]))
    assert given(some) == everything[1:]
    assert some.answer(References()) is not None
    assert answers(4, known_there=frozenset(everything)).answer(References()) is None


def test_what_does_not_fit_in_a_message_comes_with_the_next() -> None:
    half = limits.MAX_REFERENCES_MESSAGE // 2 - 1024
    first = given(answers(3, half))
    assert len(first) == 2
    assert len(given(answers(3, half, frozenset(first)))) == 1
