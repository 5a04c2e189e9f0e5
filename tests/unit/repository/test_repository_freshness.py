"""Which statements of freshness count."""

from __future__ import annotations

import pytest

from gittorrent.errors import TrustError
from gittorrent.ids import PushId
from gittorrent.push.fresh import MAX_AHEAD, Fresh
from gittorrent.repository.freshness import judge_fresh
from gittorrent.trust.policy import Grant, Rule
from gittorrent.trust.refpattern import RefPattern
from gittorrent.wire.live import FreshLine
from support.logs import MAIN, Writer, oid
from support.signing import TestSigner

OTHER = TestSigner(9)
NOW = 1_700_000_000


def said(writer: Writer, signer: TestSigner, checkpoint: PushId, time: int = NOW) -> FreshLine:
    text = Fresh(writer.repository, checkpoint, time).text()
    return FreshLine(checkpoint, time, signer.sign(text).data)


def test_it_is_the_keepers_word_on_a_checkpoint_that_is_known() -> None:
    writer = Writer()
    rule = Rule(RefPattern(b"refs/*"), OTHER.key, Grant.FORCE)
    writer.append(writer.next_policy(rules=(*writer.state.policy.policy.rules, rule)))
    head = writer.publish({MAIN: oid(1)})
    assert judge_fresh(writer.state, said(writer, writer.signer, head), NOW).checkpoint == head
    ahead = NOW - MAX_AHEAD - 1
    for line, now, why in (
        (said(writer, OTHER, head), NOW, "not the keeper"),
        (said(writer, writer.signer, PushId("ab" * 20)), NOW, "not known here"),
        (said(writer, writer.signer, head), ahead, "dated ahead"),
    ):
        with pytest.raises(TrustError, match=why):
            judge_fresh(writer.state, line, now)
    forged = said(writer, writer.signer, head)
    later = FreshLine(head, NOW + 60, forged.signature)
    with pytest.raises(TrustError):
        judge_fresh(writer.state, later, NOW + 60)
