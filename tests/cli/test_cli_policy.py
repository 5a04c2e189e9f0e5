"""People are added, roots agree, keepers change: what the guide for owners tells, tried."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from gittorrent.ids import Oid, RefName
from gittorrent.push.certificate import Line
from gittorrent.push.reel_signers import ReelSignerError, reel_signer
from gittorrent.repository.carried import MIRROR, open_carried
from gittorrent.repository.policy_drafts import read_draft
from gittorrent.repository.signed_entries import add_entry
from gittorrent.signing.keys import resolve_signer
from gittorrent.store.carried_rows import CarriedRow
from gittorrent.store.database import Database
from support import bulk, gitcmd
from support.copying import copy_tree
from support.disks import small_disk
from support.gpg import gpg_people
from support.programs import Person, serve, somebody, wait_until
from support.publishing import builder, grow, publish, push_elsewhere
from support.signing import TestSigner

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not here")

BRANCHES = "refs/heads/*"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder of keys by name, each with its .pub file."""
    folder = tmp_path / "keys"
    folder.mkdir()
    for name in ("owner", "alice", "bob", "carol"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{name}@example.org"]
        subprocess.run([*words, "-f", str(folder / name)], check=True)
    return folder


@pytest.fixture
def owner(tmp_path: Path) -> Person:
    return somebody(tmp_path / "owner")


@pytest.fixture
def project(tmp_path: Path, owner: Person, keys: Path) -> Path:
    """A repository that was published with the owner's key."""
    path = bulk.make_small(tmp_path / "project.git")
    owner.gittorrent("publish", path, "--key", keys / "owner", "--wait").ok()
    return path


def name_of(key: Path) -> str:
    """Return a key's name as policies write it."""
    shown = subprocess.run(["ssh-keygen", "-l", "-f", str(key)], check=True, capture_output=True)
    return "ssh:" + shown.stdout.decode().split()[1]


def shown(person: Person, project: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        person.gittorrent("policy", "show", project, "--json").ok().out
    )
    return found


def policy(person: Person, project: Path, *words: str | Path) -> dict[str, Any]:
    """Run a command of 'gittorrent policy' and return what it says as JSON."""
    done = person.gittorrent("policy", *words, "-r", project, "--json").ok()
    found: dict[str, Any] = json.loads(done.out)
    return found


def machine(tmp_path: Path, name: str, project: Path) -> tuple[Person, Path]:
    """Return somebody else, who mirrors the repository as it is now."""
    other = somebody(tmp_path / name)
    copy = tmp_path / name / "project.git"
    copy_tree(project, copy)
    other.git("-C", copy, "config", "--unset", "gittorrent.signingKey")
    return other, copy


# -- add and remove


def test_a_contributor_is_added_with_one_command(owner: Person, project: Path, keys: Path) -> None:
    done = owner.gittorrent("policy", "add", keys / "alice.pub", BRANCHES, "-r", project).ok()
    assert f"{name_of(keys / 'alice')} (alice@example.org) may create {BRANCHES}" in done.out
    assert "published as version 2" in done.out
    assert "checkpoint  " in done.out
    assert "one root decides everything" not in done.err, "that was said when it was published"
    assert "one root decides everything" in owner.gittorrent("policy", "show", project).ok().err
    rule = {"pattern": BRANCHES, "grant": "plain", "key": name_of(keys / "alice")}
    now = shown(owner, project)
    assert rule in now["rules"]
    assert now["draft"] is None
    owner.gittorrent("verify", project).ok()


def test_the_comment_of_a_key_is_its_name_for_everybody(
    owner: Person, project: Path, keys: Path, tmp_path: Path
) -> None:
    alice, bob, carol = (name_of(keys / name) for name in ("alice", "bob", "carol"))
    done = owner.gittorrent("policy", "add", keys / "alice.pub", BRANCHES, "-r", project).ok()
    assert f"added: {alice} is called alice@example.org" in done.out
    policy(owner, project, "add", keys / "bob.pub", BRANCHES, "--label", "Bjørn B.")
    policy(owner, project, "add", keys / "carol.pub", BRANCHES, "--label", "")
    now = shown(owner, project)
    called = {each["key"]: each["label"] for each in now["labels"]}
    assert called == {alice: "alice@example.org", bob: "Bjørn B."}
    said = policy(owner, project, "add", keys / "alice.pub", "--label", "Alice \u202e A.")
    assert [change["what"] for change in said["changes"]] == ["label"]
    again = owner.gittorrent("policy", "add", keys / "alice.pub", "refs/tags/*", "-r", project).ok()
    assert "is called" not in again.out, "a label that was said stays"
    tip = Oid(gitcmd.text(project, "rev-parse", "HEAD"))
    for number, name in enumerate(("alice", "bob", "carol")):
        line = Line(None, tip, RefName(f"refs/heads/by-{number}".encode()))
        signer = resolve_signer(str(keys / name), {})
        push_elsewhere(project, [line], signer, pusher=f"{signer.key.fingerprint} ".encode())
    policy(owner, project, "remove", keys / "bob.pub")
    _, copy = machine(tmp_path, "mirror", project)
    log = owner.gittorrent("log", copy).ok().out
    assert f"certificate by {alice} (Alice \\u202e A.), 20" in log
    assert f"certificate by {bob} (Bjørn B.), 20" in log, "what it pushed keeps its name"
    assert f"certificate by {carol}, 20" in log
    entries = json.loads(owner.gittorrent("log", copy, "--json").ok().out)
    labels = {each["signer"]: each["label"] for each in entries if each["kind"] == "certificate"}
    assert (labels[alice], labels[bob], labels[carol]) == ("Alice \u202e A.", "Bjørn B.", "")


def test_labels_that_cannot_be(owner: Person, project: Path, keys: Path) -> None:
    alice = keys / "alice.pub"
    for words, status, says in (
        ([alice, BRANCHES, "--label", "x" * 101], 2, "1 to 100 bytes"),
        ([alice, BRANCHES, "--label", "a\nb"], 2, "no control characters"),
        ([alice, "--label", "Alice"], 2, "does not name"),
        (["--label", "Alice"], 2, "name one"),
    ):
        owner.gittorrent("policy", "add", *words, "-r", project).failed(status, says)
    assert shown(owner, project)["version"] == 1


def test_what_is_said_already_changes_nothing(owner: Person, project: Path, keys: Path) -> None:
    for _ in range(2):
        done = owner.gittorrent("policy", "add", keys / "alice.pub", BRANCHES, "-r", project).ok()
    assert "nothing to change" in done.out
    assert shown(owner, project)["version"] == 2


def test_keys_as_people_have_them(owner: Person, project: Path, keys: Path) -> None:
    listed = (keys / "alice.pub").read_text() + (keys / "bob.pub").read_text()
    words = ["gittorrent", "policy", "add", "-", BRANCHES, "-r", str(project), "--json"]
    done = json.loads(owner.run(*words, stdin=f"ssh-dss AAAA\n{listed}").ok().out)
    assert [each["what"] for each in done["changes"]] == ["auth", "auth", "label", "label"]
    policy(owner, project, "add", name_of(keys / "carol"), "refs/tags/*", "--create")
    grants = {rule["key"]: rule["grant"] for rule in shown(owner, project)["rules"]}
    assert grants[name_of(keys / "carol")] == "create"
    assert len(grants) == 4


def test_openpgp_contributors_and_webs_of_trust(owner: Person, project: Path) -> None:
    with gpg_people() as people:
        root, alice = people.person("root"), people.person("alice")
        for who in (root, alice):
            (project.parent / f"{who.user}.asc").write_bytes(who.run("--armor", "--export"))
        policy(owner, project, "add", project.parent / f"{alice.user}.asc", BRANCHES, "--force")
        web = ("add", "refs/heads/contrib/*", "--web-of-trust", "--depth", "2")
        done = owner.gittorrent("policy", *web, "-r", project)
        done.failed(2, "no root of this policy is an OpenPGP key", "--root")
        policy(owner, project, "add", project.parent / f"{root.user}.asc", "--root", "--no-sign")
        said = policy(owner, project, *web)
        assert said["published"]
        now = shown(owner, project)
        assert {pin["label"] for pin in now["certificates"]} == {root.user, alice.user}
        assert now["rules"][-1]["web_of_trust"] == {"depth": 2, "needs": 1}
        done = owner.gittorrent("policy", "show", project).ok()
        assert f"openpgp:{alice.fingerprint.lower()} ({alice.user}) may do everything" in done.out


def test_reels_outlive_the_certificate_that_signed_them(owner: Person, tmp_path: Path) -> None:
    """gpg replaces what a key says of itself when its life is extended, with the date of then."""
    with gpg_people() as people:
        who = people.person("owner")
        owner.variables["GNUPGHOME"] = str(people.home_of("owner"))
        project, file = bulk.make_small(tmp_path / "signed.git"), tmp_path / "owner.asc"
        owner.gittorrent("publish", project, "--key", who.fingerprint, "--wait").ok()
        signed = int(time.time())
        wait_until(lambda: int(time.time()) > signed, "the date of what follows is another one")
        who.run("--quick-set-expire", who.fingerprint, "2y")
        file.write_bytes(who.certificate())
        assert policy(owner, project, "add", file)["published"]
        assert "all is well" in owner.gittorrent("verify", project).ok().out
        with serve(owner) as node:
            done = owner.git("clone", "-v", node.url("signed"), tmp_path / "clone").ok()
            assert "signature does not hold" not in done.err
        # gpg signs with the newest subkey, which the policy does not know before it is told.
        who.run("--quick-add-key", who.fingerprint, "ed25519", "sign", "2y")
        gitcmd.git(project, "branch", "another", "main")
        done = owner.gittorrent("publish", project)
        done.failed(5, "no certificate is known", "gittorrent policy add FILE")
        file.write_bytes(who.certificate())
        assert policy(owner, project, "add", file, "--key", f"{who.fingerprint}!")["published"]
        owner.gittorrent("publish", project).ok()
        assert "all is well" in owner.gittorrent("verify", project).ok().out


def test_rights_are_taken_away_by_file_or_beginning_of_a_name(
    owner: Person, project: Path, keys: Path
) -> None:
    policy(owner, project, "add", keys / "alice.pub", keys / "bob.pub", BRANCHES, "refs/tags/*")
    policy(owner, project, "remove", keys / "alice.pub", "refs/tags/*")
    policy(owner, project, "remove", name_of(keys / "bob")[:20])
    policy(owner, project, "add", keys / "bob.pub", keys / "carol.pub", BRANCHES)
    policy(owner, project, "remove", "bob@example.org")
    policy(owner, project, "add", keys / "bob.pub", BRANCHES, "--label", "carol@example.org")
    twice = owner.gittorrent("policy", "remove", "carol@example.org", "-r", project)
    twice.failed(2, name_of(keys / "bob"), name_of(keys / "carol"), "are called")
    policy(owner, project, "remove", keys / "bob.pub", keys / "carol.pub")
    rules = [(r["pattern"], r["key"]) for r in shown(owner, project)["rules"]]
    assert rules[1:] == [(BRANCHES, name_of(keys / "alice"))]
    done = owner.gittorrent("policy", "remove", "ssh:SHA256:", "-r", project)
    done.failed(2, "stands for", "policy show")
    done = owner.gittorrent("policy", "remove", keys / "carol.pub", "-r", project)
    done.failed(2, "names none of the keys in")
    done = owner.gittorrent("policy", "remove", name_of(keys / "owner"), "-r", project)
    done.failed(2, "is the keeper", "keeper here")


def test_mistakes_are_told_in_words(owner: Person, project: Path, keys: Path) -> None:
    for words, status, says in (
        (["nobody.pub", BRANCHES], 2, "there is no file nobody.pub"),
        ([keys / "alice", BRANCHES], 2, "private key"),
        ([keys / "alice.pub"], 2, "does not name"),
        ([BRANCHES], 2, "say whose"),
        ([keys / "alice.pub", "refs/replace/*"], 2, "cannot be granted"),
        ([keys / "alice.pub", BRANCHES, "--create", "--force"], 2, "different rights"),
        ([keys / "alice.pub", keys / "bob.pub", "--keeper"], 2, "one keeper"),
        ([keys / "alice.pub", "refs/heads/x", "--quorum", "2"], 2, "needs 2 of 1"),
        (["--threshold", "2"], 2, "does not suit 1 root"),
        (["--mirror", "ext::sh"], 2, "is no gittorrent URL"),
        (["--mirror", "https://me:word@m.example.org/r.git"], 2, "https://...@m.example.org/r.git"),
        (["--mirror", f"gittorrent://{'a' * 52}@m.example.org/r.git"], 2, "another repository"),
        (["--mirror", "git://m.example.org"], 2, "names no repository"),
        (["--mirror", ""], 2, "'' is no gittorrent URL"),
        ([keys / "alice.pub", BRANCHES, "--key", keys / "bob"], 2, "is not a root"),
    ):
        owner.gittorrent("policy", "add", *words, "-r", project).failed(status, says)
    assert shown(owner, project)["version"] == 1
    assert shown(owner, project)["draft"] is None


def test_a_mirror_is_named_in_any_form(owner: Person, project: Path) -> None:
    repository = shown(owner, project)["repository_id"]
    typed = (
        f"gittorrent://{repository}@M.example.org/r.git",
        "gittorrent::https://m.example.org/r",
    )
    policy(owner, project, "add", *(word for url in typed for word in ("--mirror", url)))
    urls = ["git://m.example.org/r.git", "https://m.example.org/r"]
    assert shown(owner, project)["mirrors"] == urls
    again = owner.gittorrent("policy", "add", "--mirror", urls[0] + "/", "-r", project).ok()
    assert "nothing to change" in again.out
    policy(owner, project, "remove", "--mirror", "gittorrent://m.example.org/r.git")
    assert shown(owner, project)["mirrors"] == urls[1:]
    gone = ("policy", "remove", "--mirror", urls[0], "-r", project)
    owner.gittorrent(*gone).failed(2, f"does not name the mirror '{urls[0]}'")


# -- several roots


def add_roots(owner: Person, project: Path, keys: Path) -> None:
    policy(owner, project, "add", keys / "alice.pub", keys / "bob.pub", "--root")
    now = shown(owner, project)
    assert (now["threshold"], len(now["roots"])) == (2, 3)
    assert not now["warnings"]


@pytest.mark.parametrize(
    "words", [("policy", "show"), ("policy", "log"), ("keeper", "show"), ("log",), ("conflicts",)]
)
def test_the_repository_is_an_argument_or_an_option(
    owner: Person, project: Path, words: tuple[str, ...]
) -> None:
    by_argument = owner.gittorrent(*words, project).ok().out.replace("seconds", "second")
    by_option = owner.gittorrent(*words, "-r", project).ok().out.replace("seconds", "second")
    ages = re.compile(r"\d+ second ")
    assert ages.sub("", by_option) == ages.sub("", by_argument)
    twice = owner.gittorrent(*words, project, "--repository", "project")
    twice.failed(2, "the repository is named twice")


def test_roots_sign_on_different_machines(
    owner: Person, project: Path, keys: Path, tmp_path: Path
) -> None:
    add_roots(owner, project, keys)
    alice, copy = machine(tmp_path, "alice", project)
    done = owner.gittorrent("policy", "add", keys / "carol.pub", BRANCHES, "-r", project).ok()
    draft = project / "gittorrent" / "policy-draft"
    assert f"kept as a draft of version 3: {draft}" in done.out
    assert "1 more root must sign" in done.out
    assert shown(owner, project)["version"] == 2
    sent = tmp_path / "mail"
    shutil.copy(draft, sent)
    diff = alice.gittorrent("policy", "diff", sent, "-r", copy).ok().out
    assert f"added: {name_of(keys / 'carol')} may create {BRANCHES}" in diff
    words = ("policy", "sign", sent, "--no-publish", "-r", copy, "--key", keys / "alice")
    done = alice.gittorrent(*words).ok()
    assert "enough roots signed" in done.out
    back = policy(owner, project, "sign", sent)
    assert back["signers"] == sorted(name_of(keys / who) for who in ("owner", "alice"))
    assert back["published"]
    assert back["checkpoint"]
    assert shown(owner, project)["version"] == 3
    history = json.loads(owner.gittorrent("policy", "log", project, "--json").ok().out)
    assert [entry["version"] for entry in history] == [3, 2, 1]
    assert history[0]["signers"] == back["signers"]
    owner.gittorrent("policy", "sign", sent, "-r", project).failed(5, "is published already")


def test_a_full_disk_takes_no_signature_away(
    owner: Person, project: Path, keys: Path, tmp_path: Path
) -> None:
    add_roots(owner, project, keys)
    owner.gittorrent("policy", "add", keys / "carol.pub", BRANCHES, "-r", project).ok()
    alice, copy = machine(tmp_path, "alice", project)
    with small_disk(tmp_path / "stick", "64k") as stick:
        sent = stick.path / "mail"
        shutil.copy(project / "gittorrent" / "policy-draft", sent)
        before = sent.read_bytes()
        stick.fill()
        words = ("policy", "sign", sent, "--no-publish", "-r", copy, "--key", keys / "alice")
        alice.gittorrent(*words).failed(7, f"No space left on device ({sent})")
        assert sent.read_bytes() == before
        assert sorted(path.name for path in stick.path.iterdir()) == ["filler", "mail"]


def test_a_draft_that_another_machine_published_is_none_any_more(
    owner: Person, project: Path, keys: Path, tmp_path: Path
) -> None:
    add_roots(owner, project, keys)
    draft = project / "gittorrent" / "policy-draft"
    policy(owner, project, "add", keys / "carol.pub", BRANCHES)
    left = draft.read_bytes()
    assert policy(owner, project, "sign", "--key", keys / "alice")["published"]
    draft.write_bytes(left)  # as where it was published elsewhere, and came here with the log
    done = owner.gittorrent("policy", "show", project).ok()
    assert "draft" not in done.out + done.err
    owner.gittorrent("policy", "sign", "-r", project).failed(2, "no draft is kept")
    said = policy(owner, project, "remove", keys / "carol.pub", "--no-sign")
    assert [change["action"] for change in said["changes"]] == ["removed", "removed"]


def test_a_draft_that_is_changed_is_signed_again(owner: Person, project: Path, keys: Path) -> None:
    add_roots(owner, project, keys)
    policy(owner, project, "add", keys / "carol.pub", BRANCHES)
    said = policy(owner, project, "add", "--mirror", "git://m.example.org/r.git", "--no-sign")
    assert (said["signers"], said["needed"], len(said["changes"])) == ([], 2, 3)
    done = owner.gittorrent("policy", "show", project).ok()
    assert "draft of version 3, signed by 0 of the 2 roots it takes:" in done.out
    owner.gittorrent("policy", "remove", "--draft", "-r", project).ok()
    assert shown(owner, project)["draft"] is None
    owner.gittorrent("policy", "sign", "-r", project).failed(2, "no draft is kept")


def test_a_lost_root_is_replaced_by_the_others(
    owner: Person, project: Path, keys: Path, tmp_path: Path
) -> None:
    add_roots(owner, project, keys)
    (keys / "bob").unlink()
    policy(owner, project, "remove", keys / "bob.pub", "--root", "--no-sign")
    policy(owner, project, "add", keys / "carol.pub", "--root")
    draft = project / "gittorrent" / "policy-draft"
    alice, copy = machine(tmp_path, "alice", project)
    assert policy(alice, copy, "sign", draft, "--key", keys / "alice")["published"]
    done = policy(owner, project, "sign", draft)
    assert done["published"], "the other machine's file has both signatures"
    roots = shown(owner, project)["roots"]
    assert roots == sorted(name_of(keys / who) for who in ("owner", "alice", "carol"))


def test_a_lost_laptop_loses_its_rights(owner: Person, project: Path, keys: Path) -> None:
    policy(owner, project, "add", keys / "alice.pub", BRANCHES)
    done = owner.gittorrent("policy", "remove", keys / "alice.pub", "-r", project).ok()
    alice = f"{name_of(keys / 'alice')} (alice@example.org)"
    assert f"removed: {alice} may create {BRANCHES}" in done.out
    policy(owner, project, "add", keys / "carol.pub", BRANCHES)
    diff = owner.gittorrent("policy", "diff", "--from", "1", "--to", "4", "-r", project).ok().out
    assert name_of(keys / "alice") not in diff
    assert name_of(keys / "carol") in diff
    done = owner.gittorrent("policy", "diff", "--from", "9", "-r", project)
    done.failed(2, "there is no version 9")


# -- keeper


def test_a_node_becomes_the_keeper(
    owner: Person, project: Path, keys: Path, tmp_path: Path
) -> None:
    node, copy = machine(tmp_path, "node", project)
    said = json.loads(node.gittorrent("keeper", "here", copy, "--json").ok().out)
    assert said["signers"] == []
    assert said["published"] is None
    before = json.loads(owner.gittorrent("keeper", "show", project, "--json").ok().out)
    assert (before["keeper"], before["is_here"]) == (name_of(keys / "owner"), True)
    shown = owner.gittorrent("keeper", "show", project).ok().out
    assert "a node does after 'gittorrent keeper here'" in shown
    done = owner.gittorrent("policy", "sign", said["draft"], "-r", project).ok()
    assert f"the keeper, from {name_of(keys / 'owner')} to {said['keeper']}" in done.out
    assert f"it is final once the keeper signs: {said['keeper']}" in done.out
    now = json.loads(owner.gittorrent("keeper", "show", project, "--json").ok().out)
    assert (now["keeper"], now["is_here"]) == (said["keeper"], False)
    published = policy(node, copy, "sign", said["draft"])
    assert published["checkpoint"], "on the keeper's own machine it is final at once"
    shown_here = node.gittorrent("keeper", "show", copy).ok().out
    assert f"{said['keeper']} (its key is on this machine)" in shown_here
    assert "waiting     nothing" in shown_here
    assert "signs checkpoints: 'gittorrent serve' would" in shown_here
    row = CarriedRow("project", open_carried(copy).info.repository_id, str(copy), MIRROR)
    with contextlib.closing(Database(node.node / "node.sqlite")) as database:
        database.carry(row)
    unanswered = node.gittorrent("remove", copy, "--keep")
    unanswered.failed(
        2, f"warning: this machine is the keeper of {copy.stem}: pushes stay", "--yes"
    )
    node.gittorrent("verify", copy).ok()


def test_status_counts_pushes_that_wait_for_the_keeper(
    owner: Person, project: Path, keys: Path
) -> None:
    owner.gittorrent("keeper", "here", project, "--key", keys / "carol").ok()
    for number, words in enumerate(("", "1 push is", "2 pushes are")):
        (row,) = json.loads(owner.gittorrent("status", "--json").ok().out)["repositories"]
        assert (row["pushes"], row["not_final"]) == (1 + number, number)
        said = owner.gittorrent("status").ok().out
        assert f"project: {words} not final until" in said if words else "not final" not in said
        gitcmd.git(project, "branch", f"new-{number}", "HEAD")
        owner.gittorrent("publish", project).ok()


def test_reels_of_a_former_keeper_end_where_it_was_the_keeper(
    owner: Person, project: Path, keys: Path
) -> None:
    owner.gittorrent("keeper", "here", project, "--key", keys / "carol").ok()
    log = open_carried(project).log()
    former, present = (resolve_signer(str(keys / name), {}) for name in ("owner", "carol"))
    assert log.head is not None
    for signer, end, counts in (
        (former, log.ids[1], True),
        (present, log.ids[1], True),
        (present, log.head, True),
        (former, log.head, False),
    ):
        signature = signer.sign(b"a manifest\n")
        if counts:
            assert reel_signer(log, end, b"a manifest\n", signature) == signer.key
            continue
        with pytest.raises(ReelSignerError, match="may not sign reels"):
            reel_signer(log, end, b"a manifest\n", signature)


def test_a_lost_keeper_is_replaced_by_the_roots(owner: Person, project: Path, keys: Path) -> None:
    said = json.loads(owner.gittorrent("keeper", "here", project, "--json").ok().out)
    assert said["checkpoint"]
    (owner.node / "keys" / "keeper").unlink()
    done = owner.gittorrent("keeper", "here", project, "--key", keys / "carol").ok()
    assert f"to {name_of(keys / 'carol')} (this machine)" in done.out
    assert "checkpoint  " in done.out
    done = owner.gittorrent("keeper", "here", project, "--key", keys / "carol").ok()
    assert "is the keeper already" in done.out
    owner.gittorrent("verify", project).ok()


def test_a_keeper_that_signed_twice_is_replaced_at_the_right_checkpoint(
    tmp_path: Path, keys: Path
) -> None:
    """One was restored from a copy: a mirror knows both checkpoints, and the roots name a side."""
    project, copy = tmp_path / "project.git", tmp_path / "copy.git"
    grow(builder(project), 2)
    publish(project, name="project")
    copy_tree(project, copy)
    for place, text in ((project, "one"), (copy, "other")):
        now = gitcmd.text(place, "rev-parse", "main")
        new = gitcmd.text(place, "commit-tree", f"{now}^{{tree}}", "-p", now, "-m", text)
        line = Line(Oid(now), Oid(new), RefName(b"refs/heads/main"))
        push_elsewhere(place, [line], TestSigner(), keeper=TestSigner())
        gitcmd.git(place, "update-ref", "refs/heads/main", new)
    gitcmd.git(project, "fetch", "-q", str(copy), "refs/gittorrent/log", "main")
    this, other = open_carried(project), open_carried(copy)
    log, theirs = this.log(), other.log()
    with this.writing():
        for entry in theirs.entries:
            if entry not in log:
                add_entry(this, log, other.log_store.push(entry))
        this.commit(log)
    owner = somebody(tmp_path / "owner")
    trouble = json.loads(owner.gittorrent("keeper", "show", project, "--json").ok().out)
    assert sorted(trouble["twins"][0]) == sorted([log.ids[-1], theirs.ids[-1]])
    assert "the roots must name another keeper" in trouble["trouble"][0]
    owner.gittorrent("keeper", "here", project).failed(
        2, "say which of the two counts", f"--from {trouble['twins'][0][0][:12]}"
    )
    words = ("keeper", "here", project, "--key", keys / "carol", "--from")
    owner.gittorrent(*words, "f" * 40).failed(2, "stands for 0 checkpoints")
    chosen = theirs.head
    assert chosen is not None
    said = json.loads(owner.gittorrent(*words, chosen[:12], "--json").ok().out)
    assert chosen in said["changes"][0]["words"]
    assert said["published"] is None, "the root's key is not on this machine"
    draft = read_draft(this, this.log())
    assert draft is not None
    signed = draft.with_signature(TestSigner().sign(draft.policy.text()), this.log().policy)
    (tmp_path / "back").write_bytes(signed.encode())
    done = policy(owner, project, "sign", tmp_path / "back")
    assert done["checkpoint"]
    after = this.log()
    assert after.ledger.adopted.checkpoint.previous == chosen
    assert not after.ledger.stopped
    assert [c.ref for c in after.ledger.view().listing.conflicts()] == [b"refs/heads/main"]


def test_two_versions_that_exclude_each_other_are_replaced(
    owner: Person, project: Path, keys: Path, tmp_path: Path
) -> None:
    """Two of the roots let different keys be the keeper, on machines that did not talk."""
    policy(owner, project, "add", keys / "alice.pub", "--root", "--threshold", "2")
    machines = [machine(tmp_path, name, project) for name in ("first", "second", "third")]
    for (person, place), keeper in zip(machines[:2], ("bob", "carol"), strict=True):
        policy(person, place, "add", keys / f"{keeper}.pub", "--keeper", "--no-sign")
        for root in ("owner", "alice"):
            policy(person, place, "sign", "--key", keys / root)
        assert shown(person, place)["keeper"] == name_of(keys / keeper)
    person, place = machines[2]
    this = open_carried(place)
    with this.writing():
        log = this.log()
        for _, other in machines[:2]:
            theirs = open_carried(other)
            for entry in theirs.log().entries:
                if entry not in log:
                    add_entry(this, log, theirs.log_store.push(entry))
        this.commit(log)
    assert shown(person, place)["keeper"] == name_of(keys / "owner")
    said = policy(person, place, "add", keys / "bob.pub", "--keeper", "--no-sign")
    assert [change["what"] for change in said["changes"][:2]] == ["instead-of", "instead-of"]
    assert policy(person, place, "sign", "--key", keys / "owner")["published"] is None
    done = policy(person, place, "sign", "--key", keys / "alice")
    assert done["published"]
    assert shown(person, place)["keeper"] == name_of(keys / "bob")
    assert not this.log().ledger.rivals
    left, behind = machines[1]
    before = open_carried(behind)
    with before.writing():
        log = before.log()
        for entry in this.log().entries:
            if entry not in log:
                add_entry(before, log, this.log_store.push(entry))
        before.commit(log)
    assert shown(left, behind)["keeper"] == name_of(keys / "bob"), "who went with one is moved"


def test_a_keeper_that_signed_twice_goes_on_with_another_key(
    owner: Person, project: Path, keys: Path
) -> None:
    """The machine that is the keeper is the one where its owner settles it."""
    first = json.loads(owner.gittorrent("keeper", "here", project, "--json").ok().out)["keeper"]
    log = open_carried(project).log()
    assert log.head is not None
    done = owner.gittorrent("keeper", "here", project, "--from", log.head[:12], "--json").ok()
    said = json.loads(done.out)
    assert said["keeper"] != first
    assert said["checkpoint"]
    assert (owner.node / "keys" / "keeper-2").exists()
    shown_now = json.loads(owner.gittorrent("keeper", "show", project, "--json").ok().out)
    assert (shown_now["keeper"], shown_now["is_here"]) == (said["keeper"], True)
    words = ("keeper", "here", project, "--key", owner.node / "keys" / "keeper-2", "--from")
    head = open_carried(project).log().head
    assert head is not None
    owner.gittorrent(*words, head).failed(2, "another one goes on", "leave --key away")


def test_drafts_of_strangers_are_shown_as_they_are(
    owner: Person, project: Path, keys: Path, tmp_path: Path
) -> None:
    """Names and patterns with control characters neither hide a line nor move the cursor."""
    pattern = "refs/heads/a\u202e\u009b2K\u2066/*"
    policy(owner, project, "add", keys / "alice.pub", pattern, "--no-sign")
    draft = project / "gittorrent" / "policy-draft"
    handed = tmp_path / "draft"
    handed.write_bytes(draft.read_bytes())
    owner.gittorrent("policy", "sign", handed, "--no-publish", "-r", project, "--yes").ok()
    said = [
        owner.gittorrent("policy", "diff", handed, "-r", project).ok().out,
        owner.gittorrent("policy", "show", project).ok().out,
        owner.gittorrent("policy", "sign", "-r", project).ok().out,
        owner.gittorrent("policy", "log", project).ok().out,
        owner.gittorrent("policy", "show", project).ok().out,
    ]
    for out in said:
        assert name_of(keys / "alice") in out
        assert re.search(r"may create refs/heads/a\\u202e\\(x|u00)9b2K\\u2066/\*", out)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", out)
    signed = handed.read_bytes()
    text = signed[: signed.index(b"-----BEGIN")]
    other = text.replace(b"auth refs/*", b"auth refs/tags/*")
    assert other != text
    handed.write_bytes(other + signed[len(text) :])
    done = owner.gittorrent("policy", "diff", handed, "-r", project)
    assert done.status != 0 or "refs/tags/*" in done.out
