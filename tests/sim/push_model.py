"""A second model of the log, slow and simple, written from docs/protocol/trust.md alone.

It shares no code with ``gittorrent.push``. What it knows are texts; a question is answered by
reading and replaying everything from the first checkpoint on. Commits are told as
``contains(outer, inner)``, what is one as ``is_commit(object)``, the validity of keys as
``valid(key, seconds)``; signatures count as verified.

Plain values throughout. A policy, push or checkpoint is a dict of its lines; a state, what a
checkpoint comes to, is

    number, time, id     of the checkpoint
    policy               digest of the version that it names
    chain                [(id, time, policy digest)], number 1 first
    refs                 {ref: entry}, with entry = {value, mark, conflicts, waiting}:
                         value (None: no such ref), mark (None: never set), [(oid, push, key)],
                         [(old, new, push, age, key)]
    head, head_mark
    taken                ids of the pushes taken
    unwritten            bytes of changes since the last whole listing
"""

from __future__ import annotations

import hashlib
from base64 import b32encode
from collections.abc import Callable
from typing import Any

from push_model_rule import RuleModel, copy_of
from push_model_texts import (
    Values,
    entry_lines,
    head_of,
    read_checkpoint,
    read_policy,
    read_push,
    tree,
    units_of,
)

Told = tuple[str, str, str]
"""A unit as a checkpoint tells of it: push, what names the unit, verdict."""


class Wrong(Exception):
    """A checkpoint that does not follow."""


class Lacking(Exception):
    """What cannot be judged yet."""


class Model(RuleModel):
    """All that was told about one log, and what follows from it."""

    def __init__(
        self,
        policy: tuple[str, bytes],
        checkpoint: tuple[str, str, bytes],
        contains: Callable[[str, str], bool],
        is_commit: Callable[[str], bool],
        valid: Callable[[str, int], bool],
    ) -> None:
        super().__init__(contains, is_commit, valid)
        self.pushes: dict[str, Values] = {}
        self.checkpoints: dict[str, Values] = {}
        self.replayed: dict[str, Values] = {}
        self.first = self.tell_policy(*policy)
        self.repository = b32encode(hashlib.sha256(policy[1]).digest()).decode().lower().rstrip("=")
        self.tell_checkpoint(*checkpoint)
        self.followed_to = self.adopted = checkpoint[0]
        self.stopped = False

    def tell_policy(self, entry: str, text: bytes) -> str:
        policy = read_policy(text)
        self.policies[policy["digest"]] = {**policy, "id": entry}
        return str(policy["digest"])

    def tell_push(self, entry: str, signer: str, text: bytes) -> None:
        self.pushes[entry] = {**read_push(text), "id": entry, "key": signer}

    def tell_checkpoint(self, entry: str, signer: str, text: bytes) -> None:
        self.checkpoints[entry] = {**read_checkpoint(text), "id": entry, "key": signer}

    def newest(self, digest: str) -> str:
        """Follow what extends a version, while one version does or one was named by its keeper."""
        while found := self.extending(digest):
            if len(found) > 1:
                found = [version for version in found if self.is_named(digest, version)]
            if len(found) != 1:
                break
            digest = found[0]
        return digest

    def is_named(self, before: str, version: str) -> bool:
        """Tell whether a checkpoint that follows, by the keeper of before, names a version."""
        return any(
            self.path(version, told["policy"]) is not None
            and not self.movers(before, told["policy"])
            for checkpoint, told in self.checkpoints.items()
            if self.try_replay(checkpoint) is not None
        )

    def extending(self, digest: str) -> list[str]:
        found = [d for d, policy in self.policies.items() if policy["previous"] == digest]
        return [d for d in found if not self.is_replaced(d)]

    def is_replaced(self, digest: str) -> bool:
        return any(digest in policy["instead-of"] for policy in self.policies.values())

    def kept(self, digest: str) -> str:
        """Return the last version up to which none was replaced."""
        line = [self.first, *(self.path(self.first, digest) or [])]
        bad = [n for n, version in enumerate(line) if self.is_replaced(version)]
        return line[bad[0] - 1] if bad else digest

    # The view

    def policy(self, state: Values) -> str:
        """Return the version under which pushes on top of a checkpoint are judged."""
        at = self.followed_to if state["id"] == self.adopted else state["id"]
        return self.newest(self.kept(self.checkpoints[at]["policy"]))

    def view(self, state: Values) -> tuple[list[Told], Values]:
        """Return the units on top of a checkpoint, and the state that they lead to."""
        digest = self.policy(state)
        left = [
            (push, unit)
            for push in self.pushes.values()
            if push["id"] not in state["taken"] and push["checkpoint"] in self.checkpoints
            for unit in units_of(push)
        ]

        def order(item: Any) -> Any:
            lot = hashlib.sha256(f"sha256:{digest}\n{item[0]['key']}".encode()).digest()
            return item[0]["count"], lot, item[0]["id"], item[1][0]

        left.sort(key=order)
        told = []
        while left:
            now = [item for item in left if item[0]["count"] == left[0][0]["count"]]
            chosen = next((i for i in now if self.comes_first(state, *i, digest)), None)
            for push, unit in [chosen] if chosen else now:
                verdict, state = self.judge(state, push, unit, digest)
                told.append((push["id"], unit[0], verdict))
                left.remove((push, unit))
        return told, state

    def count(self, state: Values) -> int:
        """Return the count that a depot offers."""
        told, _ = self.view(state)
        counts = [self.pushes[push]["count"] for push, _, verdict in told if verdict != "refused"]
        return min(65535, max(counts, default=0) + 1)

    # Checkpoints

    def replay(self, checkpoint: str) -> Values:
        """Return what a checkpoint comes to; raises Wrong or Lacking.

        What it comes to follows from texts that never change, so it is found out once.
        """
        if checkpoint not in self.replayed:
            self.replayed[checkpoint] = self.replay_once(checkpoint)
        return self.replayed[checkpoint]

    def replay_once(self, checkpoint: str) -> Values:
        if checkpoint not in self.checkpoints:
            raise Lacking
        found = self.checkpoints[checkpoint]
        if found["previous"] is None:
            return self.begin(found)
        before = self.replay(found["previous"])
        if any(push not in self.pushes for push, _, _ in found["push"]):
            raise Lacking
        self.check_place(before, found)
        state, seen = before, set()
        for push_id, name, verdict in found["push"]:
            push = self.pushes[push_id]
            unit = next((unit for unit in units_of(push) if unit[0] == name), None)
            if unit is None or (push_id, name) in seen:
                raise Wrong("units")
            seen.add((push_id, name))
            judged, state = self.judge(state, push, unit, found["policy"])
            if judged != verdict:
                raise Wrong("verdict")
        every = {(p, unit[0]) for p, _ in seen for unit in units_of(self.pushes[p])}
        if seen != every:
            raise Wrong("parts of a push")
        after = self.close(before, state, found)
        if found["state"] != self.digest(after) or found["head"] != head_of(after):
            raise Wrong("state")
        if found["entries"] != self.listing(before, after, found["form"]):
            raise Wrong("listing")
        after["unwritten"] = self.unwritten(before, after, found["form"])
        return after

    def begin(self, found: Values) -> Values:
        head = self.policies[self.first]["head"]
        state = {
            "number": 1, "time": found["time"], "id": found["id"], "policy": found["policy"],
            "chain": [(found["id"], found["time"], found["policy"])], "refs": {}, "head": head,
            "head_mark": (0, 0), "taken": set(), "unwritten": 0,
        }  # fmt: skip
        if found["push"] or found["state"] != self.digest(state):
            raise Wrong("the first")
        return state

    def check_place(self, before: Values, found: Values) -> None:
        if found["policy"] not in self.policies:
            raise Lacking
        versions = self.path(before["policy"], found["policy"])
        if versions is None or found["adopt"] != [self.policies[v]["id"] for v in versions]:
            raise Wrong("policy")
        if found["repository"] != self.repository or found["time"] < before["time"]:
            raise Wrong("repository or time")
        if found["sequence"] != str(before["number"] + 1) or found["key"] != self.keeper(
            found["policy"]
        ):
            raise Wrong("number or signer")
        movers = self.movers(before["policy"], found["policy"])
        if movers and self.policies[movers[-1]]["checkpoint"] != before["id"]:
            raise Wrong("not where its keeper goes on")

    def close(self, before: Values, state: Values, found: Values) -> Values:
        """Return the state of a checkpoint, given the one after its last unit."""
        after = copy_of(state)
        after.update(
            number=before["number"] + 1,
            time=found["time"],
            id=found.get("id"),
            policy=found["policy"],
        )
        after["chain"] = [*before["chain"], (found.get("id"), found["time"], found["policy"])]
        after["taken"] = before["taken"] | {unit[0] for unit in found["push"]}
        for ref, entry in list(after["refs"].items()):
            if (
                entry["value"] is None
                and entry["mark"]
                and not self.may_be_named(before, entry["mark"][0])
            ):
                entry["mark"] = None
            if not entry_lines(ref, entry):
                del after["refs"][ref]
        return after

    def listing(self, before: Values, after: Values, form: str) -> list[str]:
        """Return the entries of a listing in a form."""
        lines: list[str] = []
        for ref in sorted({*before["refs"], *after["refs"]}, key=str.encode):
            now, then = (entry_lines(ref, self.entry(state, ref)) for state in (after, before))
            if form == "whole" or now != then:
                lines += now or (["drop " + ref] if form == "changes" else [])
        return lines

    def unwritten(self, before: Values, after: Values, form: str) -> int:
        if form == "whole":
            return 0
        return int(before["unwritten"]) + sum(
            len(line) + 1 for line in self.listing(before, after, "changes")
        )

    def digest(self, state: Values) -> str:
        entries = [
            (hashlib.sha256(r.encode()).hexdigest(), r, entry_lines(r, e))
            for r, e in state["refs"].items()
        ]
        top = f"head {head_of(state)}\n".encode() + tree([e for e in entries if e[2]], 0)
        return hashlib.sha256(top).hexdigest()

    def proposal(self, tagger: str, time: int, empty_tree: str) -> str:
        """Return the text that the keeper signs next on the adopted checkpoint."""
        before = self.replay(self.adopted)
        told, state = self.view(before)
        new = {"time": time, "policy": self.policy(before), "push": told}
        after = self.close(before, state, new)
        whole = sum(len(line) + 1 for line in self.listing(before, after, "whole"))
        form = "whole" if self.unwritten(before, after, "changes") >= whole else "changes"
        return self.checkpoint_text(before, after, told, form, tagger, empty_tree)

    def checkpoint_text(
        self, before: Values, after: Values, told: list[Told], form: str, tagger: str, tree: str
    ) -> str:
        """Write the checkpoint that leads from one state to another."""
        digest = after["policy"]
        adopted = self.path(before["policy"], digest) or []
        lines = [
            f"object {tree}",
            "type tree",
            "tag gittorrent-checkpoint",
            f"tagger {tagger} {after['time']} +0000",
            "",
            "gittorrent checkpoint 1",
            f"repository {self.repository}",
            f"sequence {after['number']}",
            f"previous {before['id']}",
            f"policy {self.policies[digest]['version']} sha256:{digest}",
            *(f"adopt {self.policies[version]['id']}" for version in adopted),
            *(f"push {' '.join(unit)}" for unit in told),
            f"head {head_of(after)}",
            f"state {self.digest(after)}",
            form,
            *self.listing(before, after, form),
        ]
        return "".join(line + "\n" for line in lines)

    # Which checkpoint

    def try_replay(self, checkpoint: str) -> Values | None:
        try:
            return self.replay(checkpoint)
        except (Wrong, Lacking):
            return None

    def refuted(self) -> set[str]:
        """Return the checkpoints that do not follow, though all that they name is here."""
        found = set()
        for checkpoint in self.checkpoints:
            try:
                self.replay(checkpoint)
            except Wrong:
                found.add(checkpoint)
            except Lacking:
                pass
        return found

    def settle(self) -> None:
        """Move to the checkpoint that counts."""
        while True:
            tip = self.policy(self.replay(self.followed_to))
            kept = self.kept(self.replay(self.followed_to)["policy"])
            movers = self.movers(kept, tip)
            base = self.base(movers[-1]) if movers else self.last_under(kept)
            self.adopted = base or self.followed_to
            after = self.counting(tip)
            self.stopped = base is None or any(len(found) > 1 for found in after)
            if self.stopped or not after[-1]:
                return
            self.followed_to = after[-1][0]

    def last_under(self, kept: str) -> str:
        """Return the last checkpoint before, or that one, whose policy a version extends."""
        chain = self.replay(self.followed_to)["chain"]
        return str([at for at, _, policy in chain if self.path(policy, kept) is not None][-1])

    def base(self, mover: str) -> str | None:
        """Return the checkpoint from which a version has its keeper go on, if it is here."""
        checkpoint: str = self.policies[mover]["checkpoint"]
        state = self.try_replay(checkpoint)
        return checkpoint if state and self.path(state["policy"], mover) else None

    def counting(self, tip: str) -> list[list[str]]:
        """Return what counts after each checkpoint since the present keeper began."""
        state = self.replay(self.adopted)
        start = self.keepers_start(state, tip)
        return [
            [c for c in self.following(at) if self.counts(c, tip)]
            for at, _, _ in state["chain"][start - 1 :]
        ]

    def following(self, checkpoint: str) -> list[str]:
        found = [c for c, told in self.checkpoints.items() if told["previous"] == checkpoint]
        return [c for c in found if self.try_replay(c) is not None]

    def counts(self, checkpoint: str, tip: str) -> bool:
        """Tell whether a checkpoint that follows is the present keeper's."""
        since = [self.first, *self.movers(self.first, tip)][-1]
        policy = self.checkpoints[checkpoint]["policy"]
        if self.kept(policy) != policy:
            return False
        return self.path(since, policy) is not None and not self.movers(since, policy)
