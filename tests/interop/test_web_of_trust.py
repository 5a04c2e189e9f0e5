"""gpg judges webs of trust in a home of its own, as of a given time."""

from __future__ import annotations

import itertools
import random
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator

import pytest
from pysequoia import Cert
from pysequoia.packet import PacketPile

from gittorrent.push.rule import UnknownObjectError
from gittorrent.signing.vouching import GpgVouching
from gittorrent.trust.keys import KeyRef
from gittorrent.trust.openpgp import certificate_dates
from gittorrent.trust.policy import WebOfTrust
from support.gpg import TIME, GpgPeople, GpgPerson, gpg_people
from support.signing import TestSigner
from support.web_model import vouched

pytestmark = pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg missing")

EXHAUSTIVE = pytest.mark.exhaustive
NOW = TIME + 1000
DIRECT = WebOfTrust(depth=1, needs=1)


@pytest.fixture
def people() -> Iterator[GpgPeople]:
    with gpg_people() as found:
        yield found


def judged(
    who: GpgPerson,
    roots: Iterable[GpgPerson],
    *others: GpgPerson,
    rule: WebOfTrust = DIRECT,
    time: int = NOW,
    vouching: GpgVouching | None = None,
) -> bool:
    roots = list(roots)
    certificates = {each.key: each.certificate() for each in (who, *roots, *others)}
    judge = GpgVouching() if vouching is None else vouching
    return judge.certified(who.key, rule, [root.key for root in roots], certificates, time)


def test_whom_a_root_certified(people: GpgPeople) -> None:
    root, alice, mallory = map(people.person, ("root", "alice", "mallory"))
    root.certify(alice)
    mallory.certify(mallory)
    assert judged(alice, [root])
    assert not judged(mallory, [root])
    assert not judged(mallory, [root], alice)
    assert judged(root, [root])


def test_strangers_certify_nobody_whatever_they_call_themselves(people: GpgPeople) -> None:
    root, alice = people.person("root"), people.person("alice")
    (people.home_of("again")).mkdir(mode=0o700)
    namesake = GpgPerson(people.home_of("again"), "root")
    namesake.certify(alice)
    assert not judged(alice, [root], namesake)


def test_depth(people: GpgPeople) -> None:
    root, alice, bob, carol = map(people.person, ("root", "alice", "bob", "carol"))
    root.certify(alice)
    alice.certify(bob)
    bob.certify(carol)
    found = [
        [judged(who, [root], alice, bob, carol, rule=WebOfTrust(depth, 1)) for depth in (1, 2, 3)]
        for who in (alice, bob, carol)
    ]
    assert found == [[True, True, True], [False, True, True], [False, False, True]]
    assert not judged(carol, [root], alice, rule=WebOfTrust(5, 1)), "a link is missing"


def test_needs(people: GpgPeople) -> None:
    one, two, alice, bob, carol = map(people.person, ("one", "two", "alice", "bob", "carol"))
    roots = [one, two]
    for root in roots:
        root.certify(alice)
        root.certify(carol)
    one.certify(bob)
    twice = WebOfTrust(depth=1, needs=2)
    assert judged(alice, roots, rule=twice)
    assert not judged(bob, roots, rule=twice), "one root is one, however much it is trusted"
    alice.certify(bob)
    assert not judged(bob, roots, alice, rule=twice)
    assert judged(bob, roots, alice, rule=WebOfTrust(depth=2, needs=2))
    dave = people.person("dave")
    alice.certify(dave)
    assert not judged(dave, roots, alice, carol, rule=WebOfTrust(2, 2))
    carol.certify(dave)
    assert judged(dave, roots, alice, carol, rule=WebOfTrust(2, 2))
    bob.certify(alice)
    assert not judged(dave, roots, alice, carol, rule=WebOfTrust(2, 3))


def test_certifications_that_were_taken_back(people: GpgPeople) -> None:
    root, alice = people.person("root"), people.person("alice")
    root.certify(alice, at=TIME + 100)
    before = alice.certificate()
    root.take_back(alice, at=TIME + 200)
    assert not judged(alice, [root])
    certificates = {alice.key: before, root.key: root.certificate()}
    assert GpgVouching().certified(alice.key, DIRECT, [root.key], certificates, NOW), (
        "the copy at hand is the one that is judged"
    )


def test_certifications_hold_from_when_they_were_made_until_they_expire(people: GpgPeople) -> None:
    root, alice = people.person("root"), people.person("alice")
    root.certify(alice, at=TIME + 100, expires="2d")
    day = 86_400
    judge = GpgVouching()
    times = [TIME + 50, TIME + 150, TIME + day, TIME + 2 * day + 99, TIME + 2 * day + 101]
    found = [judged(alice, [root], time=time, vouching=judge) for time in times]
    assert found == [False, True, True, True, False]


def test_expired_and_revoked_keys(people: GpgPeople) -> None:
    root, bob = people.person("root"), people.person("bob")
    alice = people.person("alice", expires="10d")
    root.certify(alice)
    alice.certify(bob)
    both = WebOfTrust(2, 1)
    assert judged(alice, [root])
    assert judged(bob, [root], alice, rule=both)
    later = TIME + 11 * 86_400
    assert not judged(alice, [root], time=later)
    assert not judged(bob, [root], alice, rule=both, time=later)
    alice.revoke()
    assert not judged(alice, [root])
    assert not judged(bob, [root], alice, rule=both)


def test_a_revoked_or_expired_root_vouches_for_nobody(people: GpgPeople) -> None:
    root, other = people.person("root"), people.person("other", expires="10d")
    alice, bob = people.person("alice"), people.person("bob")
    root.certify(alice)
    other.certify(bob)
    assert judged(bob, [root, other])
    assert not judged(bob, [root, other], time=TIME + 11 * 86_400)
    root.revoke()
    assert not judged(alice, [root, other])


def test_ssh_keys_and_keys_without_certificates(people: GpgPeople) -> None:
    root, alice = people.person("root"), people.person("alice")
    root.certify(alice)
    judge = GpgVouching(program="/nonexistent/gpg")
    ssh = TestSigner(1).key
    certificates = {alice.key: alice.certificate(), root.key: root.certificate()}
    assert not judge.certified(ssh, DIRECT, [root.key], certificates, NOW)
    assert not judge.certified(alice.key, DIRECT, [ssh], certificates, NOW)
    for key in certificates:
        rest = {name: each for name, each in certificates.items() if name != key}
        assert not judge.certified(alice.key, DIRECT, [root.key], rest, NOW)
    with pytest.raises(UnknownObjectError, match="cannot be found out"):
        judge.certified(alice.key, DIRECT, [root.key], certificates, NOW)


def test_nothing_of_the_users_own_home_counts(
    people: GpgPeople, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, alice = people.person("root"), people.person("alice")
    certificates = {alice.key: alice.certificate(), root.key: root.certificate()}
    home = people.home_of("alice")
    (home / "gpg.conf").write_text("trust-model always\nno-such-option\n", encoding="ascii")
    monkeypatch.setenv("GNUPGHOME", str(home))
    before = sorted(path.name for path in home.iterdir())
    assert not GpgVouching().certified(alice.key, DIRECT, [root.key], certificates, NOW)
    assert sorted(path.name for path in home.iterdir()) == before


def test_answers_are_kept_between_dates(people: GpgPeople) -> None:
    root, alice = people.person("root"), people.person("alice")
    root.certify(alice)
    certificates = {alice.key: alice.certificate(), root.key: root.certificate()}
    judge = GpgVouching()
    assert judge.certified(alice.key, DIRECT, [root.key], certificates, NOW)
    kept = dict(judge._answers)
    assert judge.certified(alice.key, DIRECT, [root.key], certificates, NOW + 10_000)
    assert judge._answers == kept


def test_another_program_finds_the_same_certifications(people: GpgPeople) -> None:
    """What gpg counts is what Sequoia reads in the certificate and finds made by that key."""
    root, alice = people.person("root"), people.person("alice")
    root.certify(alice)
    packets = list(PacketPile.from_bytes(alice.certificate()))
    issuers = {packet.issuer_fingerprint for packet in packets if packet.issuer_fingerprint}
    assert issuers == {alice.fingerprint.lower(), root.fingerprint.lower()}
    assert {TIME, TIME + 100} <= certificate_dates(alice.certificate())
    assert KeyRef.parse(f"openpgp:{Cert.from_bytes(alice.certificate()).fingerprint}") == alice.key


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=EXHAUSTIVE) for n in range(1, 12))])
def test_random_webs_are_read_alike_without_gpg(people: GpgPeople, seed: int) -> None:
    """Who is vouched for, in all ways to ask, is what a second reading of the bytes comes to."""
    chance = random.Random(seed)
    day = 86_400
    crowd = [
        people.person(name, expires=chance.choice(["never", "never", "20d"])) for name in "abcdef"
    ]
    made: set[tuple[str, str]] = set()
    for _ in range(12):
        one, other = chance.sample(crowd, 2)
        if (one.user, other.user) not in made:
            made.add((one.user, other.user))
            at, lasts = TIME + chance.randrange(15) * day, chance.choice([None, None, "5d"])
            one.certify(other, at=at, expires=lasts)
            if chance.random() < 0.2:
                one.take_back(other, at=at + day)
    if chance.random() < 0.5:
        crowd[-1].revoke()
    certificates = {who.key: who.certificate() for who in crowd}
    roots = [who.key for who in crowd[:2]]
    judge, answers = GpgVouching(), Counter[bool]()
    for depth, needs, days in itertools.product((1, 2, 3), (1, 2), (0, 8, 30)):
        rule, time = WebOfTrust(depth, needs), TIME + days * day + 500
        for who in crowd:
            found = judge.certified(who.key, rule, roots, certificates, time)
            other_way = vouched(who.key, rule, roots, certificates, time)
            assert found == other_way, (who.user, rule, days, sorted(made))
            answers[found] += 1
    assert answers[True] > len(roots)
    assert answers[False]
