"""Clones by signed indexes that are killed, and their checks: no index goes unchecked."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from gittorrent.git.refused import admit_again
from gittorrent.repository.carried import Carried
from gittorrent.repository.layout import Layout
from gittorrent.repository.receive import SignedManifest
from gittorrent.repository.reelstore import ReelStore
from gittorrent.repository.unchecked import Unchecked
from gittorrent.signing.keys import Signer
from support import bulk, gitcmd, killing
from support.killing import Mortal
from support.programs import somebody
from support.signed_indexes import is_refused, published, serving, sign_false_index, url_of

SPEC = "+refs/*:refs/*"
KILLS = 6
"""Of each kind, at random steps and moments, the same ones each time."""


@pytest.fixture
def origin(tmp_path: Path, owner_key: Signer) -> Carried:
    return published(tmp_path / "r.git", owner_key)


def words_of(url: str) -> list[str]:
    return ["git", "-c", "gittorrent.index=signed", "fetch", "-q", url, SPEC]


@pytest.mark.parametrize("lie", [False, True])
def test_fetches_that_are_killed(
    origin: Carried, owner_key: Signer, tmp_path: Path, lie: bool
) -> None:
    """Whatever came in is checked, or not there; and a lie is found in the end."""
    if lie:
        sign_false_index(origin, owner_key)
    mortal = Mortal(somebody(tmp_path / "person"), random.Random(7))
    twin = Mortal(somebody(tmp_path / "twin"), mortal.draw)
    with serving(origin, tmp_path / "h") as served:
        words = words_of(url_of(served))
        for one in (mortal.person, twin.person):
            one.git("init", "-q", "--bare", "c").ok()
        twin.rehearsed("fetch", *words, cwd=twin.person.root / "c")
        mortal.steps, mortal.seconds = twin.steps, twin.seconds
        clone = mortal.person.root / "c"
        for _ in range(KILLS):
            mortal.run("fetch", *words, cwd=clone)
            killing.clear_git_locks(clone)
            killing.wait_for_background(mortal.person)
            if not lie:
                killing.fsck(clone)
            elif Layout(clone).has_objects():
                # It came, and its check was owed from before it did.
                assert is_refused(mortal.person, "c") or not Unchecked(Layout(clone)).is_empty
        done = mortal.person.run(*words, cwd=clone)
        killing.wait_for_background(mortal.person)
    if lie:
        mortal.person.gittorrent("verify", "--pending", "c")
        assert is_refused(mortal.person, "c")
        return
    done.ok()
    mortal.person.gittorrent("verify", "c").ok()
    assert Unchecked(Layout(clone)).is_empty
    assert gitcmd.refs(clone) == bulk.published(gitcmd.refs(origin.layout.git_dir))
    killing.fsck(clone)


def owe(clone: Layout, idx: bytes, key: Signer) -> None:
    """Let a clone be as it was when its pack and index had just come."""
    admit_again(clone.git_dir)
    (reel,) = ReelStore(clone).all()
    place = reel.pack.with_suffix(".idx")
    place.unlink()
    place.write_bytes(idx)
    signed = SignedManifest(reel.manifest, reel.signature, key.key)
    Unchecked(clone).note(signed, signed, reel.pack, place)


@pytest.mark.parametrize("lie", [False, True])
def test_checks_that_are_killed(
    origin: Carried, owner_key: Signer, tmp_path: Path, lie: bool
) -> None:
    """A check that was cut short is owed still, and the alarm comes before that ends."""
    mortal = Mortal(somebody(tmp_path / "person"), random.Random(11))
    person = mortal.person
    with serving(origin, tmp_path / "h") as served:
        person.git("init", "-q", "--bare", "c").ok()
        person.run(*words_of(url_of(served)), cwd=person.root / "c").ok()
    killing.wait_for_background(person)
    clone = Layout(person.root / "c")
    (index,) = origin.indexes.all()
    true = index.pack.read_bytes()
    owe(clone, true, owner_key)
    check = ["gittorrent", "verify", "--pending", "c"]
    mortal.rehearsed("check", *check)
    if lie:
        sign_false_index(origin, owner_key)
    idx = origin.indexes.all()[0].pack.read_bytes()
    for _ in range(KILLS):
        owe(clone, idx, owner_key)
        place = mortal.run("check", *check).place
        killing.wait_for_background(person)
        assert not (lie and Unchecked(clone).is_empty) or is_refused(person, "c"), place
        person.run(*check)
        assert is_refused(person, "c") is lie, place
        assert Unchecked(clone).is_empty, place
    assert list(clone.building.iterdir()) == []
