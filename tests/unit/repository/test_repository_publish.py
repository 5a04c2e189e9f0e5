"""Publishing end to end, with real git: what becomes of refs, log and reels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gittorrent.errors import TrustError, UsageError
from gittorrent.git.repository import UnsuitableRepositoryError, find_repository
from gittorrent.ids import RefName
from gittorrent.push.object import PushKind, PushObject
from gittorrent.push.origin_refs import Trouble
from gittorrent.repository.carried import MIRROR, NotCarriedError, RepositoryInfo, open_carried
from gittorrent.repository.layout import LOG_REF
from gittorrent.repository.logstore import LogStoreError, identify
from gittorrent.repository.publish import Publisher
from gittorrent.repository.publishable import NothingPublishableError
from gittorrent.repository.publishing_keys import WrongKeyError
from gittorrent.repository.reelstore import ReelStoreError
from gittorrent.repository.signed_entries import Author
from gittorrent.repository.verify import Verifier
from gittorrent.signing.keys import make_ssh_key
from support import gitcmd
from support.publishing import PERSON, builder, carried, grow, outcome, publish
from support.repositories import Builder
from support.signing import TestSigner

FORMATS = ("sha1", "sha256")
MAIN = RefName(b"refs/heads/main")


@pytest.fixture(params=FORMATS)
def b(request: pytest.FixtureRequest, tmp_path: Path) -> Builder:
    """A bare repository with three commits, in either object format."""
    made = builder(tmp_path / "project.git", request.param)
    grow(made, 3)
    return made


def sound(b: Builder) -> dict[str, Any]:
    """Return the outcome, which must be sound, with the log's refs being the repository's."""
    found = outcome(b.git_dir)
    assert found["findings"] == []
    assert found["incoming"] == []
    assert found["replayed"]
    assert found["log ref"]
    shown = {name.decode(): oid for name, oid in gitcmd.refs(b.git_dir).items()}
    published = {
        name: oid for name, oid in shown.items() if name.startswith(("refs/heads/", "refs/tags/"))
    }
    assert found["refs"] == published
    return found


def test_a_new_repository(b: Builder) -> None:
    done = publish(b.git_dir, name="project")
    assert (done.is_new, done.changed, done.name, len(done.reels)) == (True, 1, "project", 1)
    found = sound(b)
    assert found["kinds"] == ["policy", "checkpoint", "certificate", "checkpoint"]
    assert [reel[:2] for reel in found["reels"]] == [(-1, 1)]
    this = open_carried(b.git_dir)
    assert this.info.repository_id == done.repository_id
    assert done.reels[0].pack.parent == this.layout.objects / "pack"
    assert done.reels[0].pack.with_suffix(".keep").read_text() == "gittorrent reel\n"
    assert done.reels[0].pack.with_suffix(".rev").exists()
    assert gitcmd.text(b.git_dir, "config", "repack.packKeptObjects") == "false"
    words = ["log", "--topo-order", "--reverse", "--format=%an %ae %ad %s", "--date=raw", LOG_REF]
    assert gitcmd.text(b.git_dir, *words).splitlines() == [
        "GitTorrent log@gittorrent.invalid 0 +0000 gittorrent policy",
        "GitTorrent log@gittorrent.invalid 1700000000 +0000 gittorrent checkpoint",
        "GitTorrent log@gittorrent.invalid 1700000000 +0000 gittorrent certificate",
        "GitTorrent log@gittorrent.invalid 1700000000 +0000 gittorrent checkpoint",
    ]
    text = gitcmd.text(b.git_dir, "show", f"{LOG_REF}:text")
    assert f"tagger {PERSON.decode()} 1700000000 +0000" in text
    tip = gitcmd.text(b.git_dir, "rev-parse", "main")
    first = this.log().ids[0]
    zero = carried(b.git_dir).object_format.zero
    assert gitcmd.text(b.git_dir, "show", f"{LOG_REF}^2:text").splitlines() == [
        "certificate version 0.1",
        f"pusher {PERSON.decode()} 1700000000 +0000",
        f"pushee gittorrent://{done.repository_id}/project.git",
        f"nonce {done.repository_id}/{first}/1",
        "",
        f"{zero} {tip} refs/heads/main",
    ]


def test_nothing_new(b: Builder) -> None:
    first = publish(b.git_dir, name="project")
    before = sound(b)
    again = publish(b.git_dir, now=1_800_000_000)
    assert (again.is_new, again.changed, again.reels) == (False, 0, ())
    assert again.push_id == first.push_id
    assert sound(b) == before


def test_one_commit_more_makes_a_small_reel_kept_as_wire_file(b: Builder) -> None:
    publish(b.git_dir, name="project")
    grow(b, 1)
    done = publish(b.git_dir)
    assert done.changed == 1
    (reel,) = done.reels
    assert reel.manifest.objects == 3
    assert reel.pack.parent == carried(b.git_dir).layout.reels
    assert reel.pack.stat().st_size == reel.manifest.pack_size
    found = sound(b)
    assert [r[:2] for r in found["reels"]] == [(-1, 1), (1, 2)]
    assert len(found["kept"]) == 1


def test_many_objects_more_make_a_thin_reel_completed_in_the_store(b: Builder) -> None:
    publish(b.git_dir, name="project")
    grow(b, 40)
    (reel,) = publish(b.git_dir).reels
    assert reel.manifest.objects == 120
    assert reel.pack.parent == carried(b.git_dir).layout.objects / "pack"
    assert reel.pack.stat().st_size > reel.manifest.pack_size
    assert len(sound(b)["kept"]) == 2


def test_a_forced_rewind_and_what_comes_after(b: Builder) -> None:
    publish(b.git_dir, name="project")
    old = gitcmd.text(b.git_dir, "rev-parse", "main~2")
    b.set_ref("refs/heads/main", old)
    rewound = publish(b.git_dir)
    assert (rewound.changed, rewound.reels) == (1, ())
    sound(b)
    grow(b, 1, name="other")
    after = publish(b.git_dir)
    (reel,) = after.reels
    assert carried(b.git_dir).log().ids.index(reel.manifest.start) == 1  # type: ignore[arg-type]
    sound(b)


@pytest.mark.parametrize("is_lost", [False, True])
def test_what_a_rewind_left_to_be_pruned_is_brought_back(b: Builder, is_lost: bool) -> None:
    publish(b.git_dir, name="project")
    old = gitcmd.text(b.git_dir, "rev-parse", "main")
    grow(b, 1)
    (small,) = publish(b.git_dir).reels
    b.set_ref("refs/heads/main", old)
    gitcmd.git(b.git_dir, "-c", "gc.reflogExpire=now", "prune", "--expire=now")
    grow(b, 1, name="other")
    if is_lost:
        small.pack.unlink()
    done = publish(b.git_dir)
    assert [change.change for change in done.changes] == ["rewound"]
    log = carried(b.git_dir).log()
    (reel,) = done.reels
    places = [log.ids.index(push) for push in (reel.manifest.start, reel.manifest.end) if push]
    assert places == ([1, 3] if is_lost else [2, 3])


def test_deleting_renaming_and_tags(b: Builder) -> None:
    b.set_ref("refs/heads/a", gitcmd.text(b.git_dir, "rev-parse", "main"))
    gitcmd.git(b.git_dir, "tag", "-m", "one", "v1", "main")
    assert publish(b.git_dir, name="project").changed == 3
    b.delete_ref("refs/tags/v1")
    assert publish(b.git_dir).changed == 1
    b.delete_ref("refs/heads/a")
    b.set_ref("refs/heads/a/b", gitcmd.text(b.git_dir, "rev-parse", "main~1"))
    done = publish(b.git_dir)
    assert (done.changed, done.reels) == (2, ())
    assert "refs/heads/a/b" in sound(b)["refs"]
    b.delete_ref("refs/heads/a/b")
    b.set_ref("refs/heads/a", gitcmd.text(b.git_dir, "rev-parse", "main"))
    assert publish(b.git_dir).changed == 2
    pairs = ["certificate", "checkpoint"] * 4
    assert sound(b)["kinds"] == ["policy", "checkpoint", *pairs]


def test_a_deleted_tag_that_comes_back_brings_its_object_again(b: Builder) -> None:
    gitcmd.git(b.git_dir, "tag", "-m", "one", "v1", "main")
    oid = gitcmd.text(b.git_dir, "rev-parse", "v1")
    publish(b.git_dir, name="project")
    b.delete_ref("refs/tags/v1")
    publish(b.git_dir)
    b.set_ref("refs/tags/v1", oid)
    # The newest push with a reel is the first, which had the tag: nothing is between.
    assert publish(b.git_dir).reels == ()
    sound(b)


def test_an_empty_repository_and_its_first_commit(tmp_path: Path) -> None:
    b = builder(tmp_path / "empty.git")
    done = publish(b.git_dir, name="empty")
    assert (done.is_new, done.changed, done.reels) == (True, 0, ())
    assert sound(b)["refs"] == {}
    assert publish(b.git_dir).push_id == done.push_id
    grow(b, 1)
    (reel,) = publish(b.git_dir).reels
    assert reel.manifest.start is None
    sound(b)


def test_head_decides_the_policys_branch(tmp_path: Path) -> None:
    for number, (head, expected) in enumerate(
        [
            ("refs/heads/trunk", b"refs/heads/trunk"),
            ("refs/heads/unborn", b"refs/heads/main"),
            (None, b"refs/heads/main"),
        ]
    ):
        b = builder(tmp_path / f"{number}.git")
        grow(b, 1)
        grow(b, 1, "trunk", "t")
        if head is None:
            tip = gitcmd.text(b.git_dir, "rev-parse", "main")
            gitcmd.git(b.git_dir, "update-ref", "--no-deref", "HEAD", tip)
        else:
            gitcmd.git(b.git_dir, "symbolic-ref", "HEAD", head)
        publish(b.git_dir, name="project")
        assert carried(b.git_dir).log().policy.policy.head == expected


def test_names_without_encoding(b: Builder) -> None:
    tip = gitcmd.text(b.git_dir, "rev-parse", "main")
    names = [b"refs/heads/\xe4\xff", b"refs/heads/-dash", "refs/tags/日本".encode()]
    for name in names:
        line = b"create %s\0%s\0" % (name, tip.encode())
        gitcmd.git(b.git_dir, "update-ref", "-z", "--stdin", stdin=line)
    assert publish(b.git_dir, name="project").changed == 4
    log = carried(b.git_dir).log()
    assert {RefName(name) for name in names} < set(log.refs)
    assert Verifier(carried(b.git_dir)).run().findings == ()


def test_further_patterns_are_remembered(b: Builder) -> None:
    tip = gitcmd.text(b.git_dir, "rev-parse", "main")
    b.set_ref("refs/notes/commits", tip)
    b.set_ref("refs/other/x", tip)
    assert publish(b.git_dir, name="project").changed == 1
    assert publish(b.git_dir, patterns=("refs/notes/*",)).changed == 1
    b.set_ref("refs/notes/more", tip)
    assert publish(b.git_dir).changed == 1
    names = set(carried(b.git_dir).log().refs)
    assert names == {b"refs/heads/main", b"refs/notes/commits", b"refs/notes/more"}


def test_a_pattern_alone_is_remembered_too(b: Builder) -> None:
    publish(b.git_dir, name="project")
    assert publish(b.git_dir, patterns=("refs/notes/*",)).changed == 0
    assert "refs/notes/*" in carried(b.git_dir).info.patterns


# --- refusals ------------------------------------------------------------------------------------


def refused(b: Builder, error: type[Exception], match: str, **options: Any) -> None:
    own = b.git_dir / "gittorrent"
    info = own / "repository.json"
    before = info.read_text() if info.exists() else None
    with pytest.raises(error, match=match):
        publish(b.git_dir, **options)
    assert (info.read_text() if info.exists() else None) == before, "a refusal changes nothing"
    assert not any(own.glob("incoming/*"))


def test_shallow_repositories(b: Builder) -> None:
    clone = b.git_dir.parent / "shallow.git"
    source = f"file://{b.git_dir}"
    gitcmd.git(b.git_dir.parent, "clone", "-q", "--bare", "--depth=1", source, clone.name)
    shallow = Builder(clone, b.object_format)
    refused(shallow, UnsuitableRepositoryError, "is shallow", name="project")


def test_partial_repositories(b: Builder) -> None:
    clone = b.git_dir.parent / "partial.git"
    gitcmd.git(b.git_dir, "config", "uploadpack.allowFilter", "true")
    words = ["clone", "-q", "--bare", "--filter=blob:none", f"file://{b.git_dir}", clone.name]
    gitcmd.git(b.git_dir.parent, *words)
    partial = Builder(clone, b.object_format)
    refused(partial, UnsuitableRepositoryError, "is a partial clone", name="project")


def test_grafted_repositories(b: Builder) -> None:
    (b.git_dir / "info").mkdir(exist_ok=True)
    grafts = b.git_dir / "info" / "grafts"
    grafts.write_text(gitcmd.text(b.git_dir, "rev-parse", "main") + "\n")
    refused(b, UnsuitableRepositoryError, "has grafts", name="project")


def test_stray_promisor_files_do_no_harm(b: Builder) -> None:
    """A completed copy of a partial clone may keep them; only configuration counts."""
    gitcmd.git(b.git_dir, "repack", "-adq")
    (pack,) = (b.git_dir / "objects" / "pack").glob("*.pack")
    pack.with_suffix(".promisor").write_text("")
    publish(b.git_dir, name="project")
    sound(b)


def test_damaged_repositories(b: Builder) -> None:
    blob = gitcmd.text(b.git_dir, "rev-parse", "main~1:f")
    (b.git_dir / "objects" / blob[:2] / blob[2:]).unlink()
    refused(b, Exception, "missing|unable to read|bad object", name="project")


def test_replace_refs_are_neither_published_nor_heard(b: Builder) -> None:
    tip = gitcmd.text(b.git_dir, "rev-parse", "main")
    b.set_ref(f"refs/replace/{tip}", gitcmd.text(b.git_dir, "rev-parse", "main~2"))
    (reel,) = publish(b.git_dir, name="project").reels
    assert reel.manifest.objects == 9
    sound(b)
    refused(b, NothingPublishableError, "reserved", patterns=("refs/replace/*",))


def test_names_that_must_not_be_published(b: Builder) -> None:
    tip = gitcmd.text(b.git_dir, "rev-parse", "main")
    b.set_ref("refs/conflicts/x", tip)
    refused(b, NothingPublishableError, "reserved", name="p", patterns=("refs/conflicts/*",))
    refused(b, NothingPublishableError, "not a ref pattern", name="p", patterns=("heads/*",))


def test_another_name(b: Builder) -> None:
    first = publish(b.git_dir, name="project")
    done = publish(b.git_dir, name="other")
    assert (done.name, done.renamed_from) == ("other", "project")
    assert (done.repository_id, done.changes, done.reels) == (first.repository_id, (), ())
    found = outcome(b.git_dir)
    assert found["kinds"][4:] == ["policy", "checkpoint"]
    assert carried(b.git_dir).log().former_names == ("project",)
    assert carried(b.git_dir).info.former_names == ("project",)
    sound(b)
    grow(b, 1)
    assert publish(b.git_dir).renamed_from is None
    assert publish(b.git_dir, name="project").renamed_from == "other"
    assert carried(b.git_dir).info.former_names == ("other",)
    sound(b)


def test_a_name_that_other_keys_would_have_to_sign(b: Builder) -> None:
    publish(b.git_dir, name="project")
    this = carried(b.git_dir)
    log = this.log()
    assert log.head is not None
    keys = tuple(sorted({TestSigner(1).key, TestSigner(2).key}))
    policy = log.policy.policy.next_version(log.head, roots=keys, threshold=2)
    text = policy.text()
    push = PushObject(PushKind.POLICY, text, (TestSigner(1).sign(text),))
    with this.writing():
        (push_id,) = identify(this.git, [push], this.object_format, write=True)
        log.admit(push, push_id)
        this.log_store.store_push(push_id, push)
        this.commit(log)
    refused(b, UsageError, "the policy takes 2 of its root keys", name="other")
    assert publish(b.git_dir).name == "project"


def test_another_key(b: Builder) -> None:
    publish(b.git_dir, name="project")
    grow(b, 1)
    before = outcome(b.git_dir)
    match = f"is published with {TestSigner(1).key} .*not with {TestSigner(2).key}"
    refused(b, WrongKeyError, match, signer=TestSigner(2))
    after = outcome(b.git_dir)
    assert after == before
    assert publish(b.git_dir).changed == 1
    sound(b)


def test_the_key_is_remembered(b: Builder) -> None:
    publish(b.git_dir, name="project")
    assert carried(b.git_dir).signing_key == TestSigner(1).spec
    with pytest.raises(WrongKeyError):
        publish(b.git_dir, signer=TestSigner(2))
    assert carried(b.git_dir).signing_key == TestSigner(1).spec


def test_mirrors_are_not_published(b: Builder) -> None:
    done = publish(b.git_dir, name="project")
    carried(b.git_dir).set_info(
        RepositoryInfo(done.repository_id, "project", MIRROR, source="git://x/y")
    )
    refused(b, UsageError, "is a mirror of git://x/y")


def test_a_repository_not_published_is_not_carried(b: Builder) -> None:
    with pytest.raises(NotCarriedError):
        open_carried(b.git_dir)
    (b.git_dir / "shallow").write_text("")
    with pytest.raises(UnsuitableRepositoryError):
        publish(b.git_dir, name="project")
    with pytest.raises(NotCarriedError):
        open_carried(b.git_dir)


# --- repair --------------------------------------------------------------------------------------


def test_the_log_ref_follows_the_log_again(b: Builder) -> None:
    publish(b.git_dir, name="project")
    before = sound(b)
    first = carried(b.git_dir).log().ids[0]
    for damage in (["update-ref", LOG_REF, first], ["update-ref", "-d", LOG_REF]):
        gitcmd.git(b.git_dir, *damage)
        with carried(b.git_dir).writing():
            pass
        assert sound(b) == before


def test_entries_lost_in_a_power_cut_are_written_again(b: Builder) -> None:
    publish(b.git_dir, name="project")
    before = sound(b)
    listing = gitcmd.text(b.git_dir, "rev-list", "--objects", LOG_REF)
    for line in listing.splitlines():
        oid = line.split()[0]
        (b.git_dir / "objects" / oid[:2] / oid[2:]).unlink()
    with carried(b.git_dir).writing():
        pass
    assert sound(b) == before


def test_what_a_dead_writer_left_is_cleared(b: Builder) -> None:
    publish(b.git_dir, name="project")
    stale = b.git_dir / "gittorrent" / "incoming" / "incoming-x"
    (stale / "objects").mkdir(parents=True)
    publish(b.git_dir)
    assert not stale.exists()


def test_a_lost_reel_is_made_again(b: Builder) -> None:
    publish(b.git_dir, name="project")
    grow(b, 1)
    (reel,) = publish(b.git_dir).reels
    reel.pack.unlink()
    (again,) = publish(b.git_dir).reels
    assert again.id == reel.id
    assert again.pack.exists()


def test_damage_is_told_and_not_guessed_away(b: Builder) -> None:
    done = publish(b.git_dir, name="project")
    layout = carried(b.git_dir).layout
    manifest = layout.manifest(done.reels[0].id)
    kept = manifest.read_bytes()
    manifest.write_bytes(kept.replace(b"objects 9", b"objects 8"))
    with pytest.raises(ReelStoreError, match="is damaged"):
        carried(b.git_dir).reels.all()
    manifest.write_bytes(kept)
    path = carried(b.git_dir).log_store.path
    log = path.read_text()
    path.write_text(log.replace("policy", "politics"))
    with pytest.raises(LogStoreError, match="is damaged"):
        carried(b.git_dir).log()
    path.write_text(log)
    layout.push(done.push_id).unlink()
    with pytest.raises(LogStoreError, match="is missing"):
        carried(b.git_dir).log()


def test_verify_finds_what_is_wrong(b: Builder) -> None:
    done = publish(b.git_dir, name="project")
    pack = done.reels[0].pack
    pack.chmod(0o644)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
    subjects = {finding.subject for finding in Verifier(carried(b.git_dir)).run().findings}
    assert f"reel {done.reels[0].id}" in subjects


def test_verify_judges_the_log_and_the_manifest(b: Builder) -> None:
    done = publish(b.git_dir, name="project")
    this = carried(b.git_dir)
    reel = done.reels[0]
    forged = reel.manifest.text() + TestSigner(2).sign(reel.manifest.text()).data
    this.layout.manifest(reel.id).write_bytes(forged)
    findings = Verifier(carried(b.git_dir)).run().findings
    assert any("may not sign reels" in finding.problem for finding in findings)
    push = this.log_store.push(done.push_id)
    stolen = push.encode().replace(push.signatures[0].data, TestSigner(2).sign(push.text).data)
    this.layout.push(done.push_id).write_bytes(stolen)
    findings = Verifier(carried(b.git_dir)).run().findings
    assert any(finding.subject == "log" for finding in findings)
    with pytest.raises(TrustError):
        carried(b.git_dir).log_store.replay()


# --- keys, places, size --------------------------------------------------------------------------


def test_a_real_key(b: Builder, tmp_path: Path) -> None:
    signer = make_ssh_key(tmp_path / "key", "test")
    author = Author(PERSON, clock=lambda: 1.0)
    done = Publisher(carried(b.git_dir), signer, author).publish("project")
    assert done.is_new
    sound(b)


def test_a_repository_is_found_from_its_work_tree(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    gitcmd.git(work, "init", "-q", ".")
    found = find_repository(work)
    assert (found.git_dir, found.is_bare) == ((work / ".git").resolve(), False)


def test_about_is_plain_json(b: Builder) -> None:
    done = publish(b.git_dir, name="project")
    layout = carried(b.git_dir).layout
    values = json.loads(layout.info.read_text())
    assert values["repository_id"] == done.repository_id
    assert values["role"] == "origin"


def head(b: Builder) -> bytes | None:
    return carried(b.git_dir).log().default_branch


@pytest.mark.parametrize("is_named", [True, False])
def test_a_renamed_default_branch(b: Builder, is_named: bool) -> None:
    grow(b, 1, "other", "o")
    publish(b.git_dir, name="project")
    if is_named:
        gitcmd.git(b.git_dir, "branch", "-m", "main", "trunk")
    else:
        b.set_ref("refs/heads/trunk", gitcmd.text(b.git_dir, "rev-parse", "main"))
        b.delete_ref("refs/heads/main")
    done = publish(b.git_dir)
    assert done.head == head(b) == b"refs/heads/trunk"
    assert [change.change for change in done.changes] == ["deleted", "created"]
    assert gitcmd.text(b.git_dir, "symbolic-ref", "HEAD") == "refs/heads/trunk"
    sound(b)
    grow(b, 1, "trunk")
    assert publish(b.git_dir).head is None
    assert head(b) == b"refs/heads/trunk"


def test_another_head_and_nothing_else(b: Builder) -> None:
    grow(b, 1, "other", "o")
    publish(b.git_dir, name="project")
    gitcmd.git(b.git_dir, "symbolic-ref", "HEAD", "refs/heads/other")
    done = publish(b.git_dir)
    assert (done.head, done.changes, done.reels) == (b"refs/heads/other", (), ())
    assert head(b) == b"refs/heads/other"
    before = sound(b)
    assert publish(b.git_dir).head is None
    assert sound(b) == before


@pytest.mark.parametrize("words", [["symbolic-ref", "HEAD", "refs/heads/gone"], ["checkout"]])
def test_a_head_that_says_nothing_changes_nothing(b: Builder, words: list[str]) -> None:
    grow(b, 1, "other", "o")
    publish(b.git_dir, name="project")
    if words == ["checkout"]:
        tip = gitcmd.text(b.git_dir, "rev-parse", "other")
        words = ["update-ref", "--no-deref", "HEAD", tip]
    gitcmd.git(b.git_dir, *words)
    assert publish(b.git_dir).head is None
    assert head(b) == b"refs/heads/main"


def test_the_only_branch_cannot_go(b: Builder) -> None:
    publish(b.git_dir, name="project")
    gitcmd.git(b.git_dir, "tag", "v1", "main")
    b.delete_ref("refs/heads/main")
    done = publish(b.git_dir)
    assert [(each.ref, each.trouble) for each in done.parted] == [(MAIN, Trouble.HEAD_BRANCH)]
    assert [change.name for change in done.changes] == [b"refs/tags/v1"]
    assert head(b) == MAIN
    b.set_ref("refs/heads/next", gitcmd.text(b.git_dir, "rev-parse", "v1"))
    done = publish(b.git_dir)
    assert (done.parted, done.head) == ((), b"refs/heads/next")
    sound(b)
