"""The rule of a second model of the log: what a unit of a push does to a state.

Written from docs/protocol/trust.md alone; ``push_model`` says what a state is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from push_model_texts import Values

WINDOW = 30 * 86400
OPEN_LINES = 16
CONFLICTS = "refs/conflicts/"
Unit = tuple[str, list[Any]]


def matches(pattern: str, ref: str) -> bool:
    return ref.startswith(pattern[:-1]) if pattern.endswith("*") else ref == pattern


def nested(one: str, other: str) -> bool:
    """Tell whether one of two refs is a directory of the other."""
    return one.startswith(other + "/") or other.startswith(one + "/")


def copy_of(state: Values) -> Values:
    refs = {ref: copy_of_entry(entry) for ref, entry in state["refs"].items()}
    return {**state, "refs": refs}


def copy_of_entry(entry: Values) -> Values:
    return {**entry, "conflicts": list(entry["conflicts"]), "waiting": list(entry["waiting"])}


class RuleModel:
    """Policies, and the rule under them."""

    def __init__(
        self,
        contains: Callable[[str, str], bool],
        is_commit: Callable[[str], bool],
        valid: Callable[[str, int], bool],
    ) -> None:
        self.policies: dict[str, Values] = {}
        self.contains, self.is_commit, self.valid = contains, is_commit, valid

    # Policies

    def path(self, older: str, newer: str) -> list[str] | None:
        """Return the versions after one up to another; None if that does not extend it."""
        found: list[str] = []
        while newer != older:
            if newer not in self.policies:
                return None
            found.insert(0, newer)
            newer = self.policies[newer]["previous"]
        return found

    def keeper(self, digest: str) -> str:
        return str(self.policies[digest]["keeper"])

    def movers(self, older: str, newer: str) -> list[str]:
        """Return the versions after one up to another that name another keeper than before."""
        return [
            version
            for version in self.path(older, newer) or []
            if self.keeper(version) != self.keeper(self.policies[version]["previous"])
        ]

    # The rule

    def keepers_start(self, state: Values, policy: str) -> int:
        """Return the number of the checkpoint from which the present keeper went on."""
        versions = [version for _, _, version in state["chain"]] + [policy]
        for number in range(len(versions) - 1, 0, -1):
            if self.movers(versions[number - 1], versions[number]):
                return number
        return 1

    def age(self, state: Values, push: Values, policy: str) -> tuple[int, int]:
        for number, (checkpoint, _, _) in enumerate(state["chain"], 1):
            if checkpoint == push["checkpoint"]:
                return number, push["count"]
        return self.keepers_start(state, policy), push["count"]

    def may_be_named(self, state: Values, number: int) -> bool:
        after = state["chain"][number : number + 1]
        return not after or state["time"] - after[0][1] <= WINDOW

    def grants(self, policy: Values, key: str, ref: str) -> set[str]:
        """Return what a key may do to a ref by ``auth`` lines: create, plain, force."""
        if any(matches(pattern, ref) for pattern, _, _ in policy["quorum"]):
            return set()
        found = set()
        for pattern, signer, *word in policy["auth"]:
            if matches(pattern, ref) and signer == key:
                found |= {"create"} if word == ["create"] else {"create", "plain"}
                found |= {"force"} if word == ["force"] else set()
        return found

    def is_plain(self, line: Any) -> bool:
        old, new, ref = line
        return bool(old and new and not ref.startswith("refs/tags/") and self.contains(new, old))

    def allowed(
        self, state: Values, push: Values, unit: tuple[str, list[Any]], digest: str
    ) -> bool:
        policy = self.policies[digest]
        number, _ = self.age(state, push, digest)
        if push["id"] in state["taken"] or not self.may_be_named(state, number):
            return False
        if not self.valid(push["key"], state["chain"][number - 1][1]):
            return False
        if push["head"] and "force" not in self.grants(policy, push["key"], push["head"]):
            return False
        return all(self.line_allowed(state, push, unit[0], line, policy) for line in unit[1])

    def line_allowed(
        self, state: Values, push: Values, name: str, line: Any, policy: Values
    ) -> bool:
        old, new, ref = line
        key = push["key"]
        if new and ref.startswith("refs/heads/") and not self.is_commit(new):
            return False
        if ref.startswith(CONFLICTS):
            left_by, inner = self.inner(ref)
            mine = any(c[1:] == (left_by, key) for c in self.entry(state, inner)["conflicts"])
            return new is None and (mine or "force" in self.grants(policy, key, inner))
        for pattern, _, keys in policy["quorum"]:
            if matches(pattern, ref):
                return key in keys and name != "*"
        needed = "create" if old is None else "plain" if self.is_plain(line) else "force"
        return needed in self.grants(policy, key, ref)

    def inner(self, ref: str) -> tuple[str, str]:
        push, _, rest = ref.removeprefix(CONFLICTS).partition("/")
        return push, "refs/" + rest

    def entry(self, state: Values, ref: str) -> Values:
        empty: Values = {"value": None, "mark": None, "conflicts": [], "waiting": []}
        found: Values = state["refs"].get(ref, empty)
        return found

    def value(self, state: Values, ref: str) -> str | None:
        if ref.startswith(CONFLICTS):
            left_by, inner = self.inner(ref)
            found = [c[0] for c in self.entry(state, inner)["conflicts"] if c[1] == left_by]
            return found[0] if found else None
        value: str | None = self.entry(state, ref)["value"]
        return value

    def fits(self, state: Values, push: Values, lines: list[Any], age: Any, exactly: bool) -> bool:
        for line in lines:
            old, new, ref = line
            value = self.value(state, ref)
            if value == new:
                continue
            if age < (self.entry(state, ref)["mark"] or (0, 0)):
                return False
            if value != old and (
                exactly
                or not (
                    value
                    and self.is_plain(line)
                    and self.contains(value, old)
                    and self.contains(new, value)
                )
            ):
                return False
            if ref == state["head"] and new is None and push["head"] is None:
                return False
        after = {ref: entry["value"] for ref, entry in state["refs"].items()}
        after.update({ref: new for _, new, ref in lines})
        for _, new, ref in lines:
            created = new and self.value(state, ref) is None
            if created and any(nested(ref, other) for other, value in after.items() if value):
                return False
        if push["head"]:
            is_branch = push["head"].startswith("refs/heads/") and after.get(push["head"])
            return bool(is_branch) and age >= state["head_mark"]
        return True

    def judge(
        self, state: Values, push: Values, unit: tuple[str, list[Any]], digest: str
    ) -> tuple[str, Values]:
        """Return the verdict on a unit and the state after it."""
        if not self.allowed(state, push, unit, digest):
            return "refused", state
        lines, age = unit[1], self.age(state, push, digest)
        quorum = next(
            (q for q in self.policies[digest]["quorum"] if matches(q[0], lines[0][2])), None
        )
        after = copy_of(state)
        for _, _, ref in lines:
            ref = self.inner(ref)[1] if ref.startswith(CONFLICTS) else ref
            after["refs"].setdefault(ref, copy_of_entry(self.entry(state, ref)))
        if not self.fits(state, push, lines, age, exactly=quorum is not None):
            verdict = "conflict"
            for _, new, ref in lines:
                entry = after["refs"].get(ref)
                if new and not (entry["value"] and self.contains(entry["value"], new)):
                    entry["conflicts"].append((new, push["id"], push["key"]))
        elif quorum and self.must_wait(after, push, lines[0], quorum):
            verdict, (old, new, ref), waiting = (
                "waiting",
                lines[0],
                after["refs"][lines[0][2]]["waiting"],
            )
            if not any((w[0], w[1], w[4]) == (old, new, push["key"]) for w in waiting):
                waiting.append((old, new, push["id"], age, push["key"]))
        else:
            verdict = "applied"
            self.apply(after, push, lines, age)
        self.vanish(after)
        if verdict != "applied" and self.open_lines(after, push["key"]) > OPEN_LINES:
            return "refused", state
        return verdict, after

    def comes_first(
        self, state: Values, push: Values, unit: tuple[str, list[Any]], digest: str
    ) -> bool:
        """Tell whether a unit is allowed and fits; the limit of open lines may still refuse it."""
        if not self.allowed(state, push, unit, digest):
            return False
        exactly = any(matches(q[0], unit[1][0][2]) for q in self.policies[digest]["quorum"])
        return self.fits(state, push, unit[1], self.age(state, push, digest), exactly)

    def must_wait(self, state: Values, push: Values, line: Any, quorum: Any) -> bool:
        old, new, ref = line
        entry = state["refs"][ref]
        keys = {w[4] for w in entry["waiting"] if w[:2] == (old, new)} | {push["key"]}
        return bool(entry["value"] != new) and len(keys & set(quorum[2])) < quorum[1]

    def apply(self, state: Values, push: Values, lines: list[Any], age: tuple[int, int]) -> None:
        for _, new, ref in lines:
            if ref.startswith(CONFLICTS):
                left_by, inner = self.inner(ref)
                entry = state["refs"][inner]
                entry["conflicts"] = [c for c in entry["conflicts"] if c[1] != left_by]
                continue
            entry = state["refs"][ref]
            value = entry["value"]
            if value == new:
                continue
            forward = (
                value and new and self.contains(new, value) and not ref.startswith("refs/tags/")
            )
            if not forward:
                entry["mark"] = max(entry["mark"] or (0, 0), age)
            entry["value"] = new
        if push["head"] not in (None, state["head"]):
            state["head"], state["head_mark"] = push["head"], max(state["head_mark"], age)

    def vanish(self, state: Values) -> None:
        for entry in state["refs"].values():
            left = [
                conflict
                for conflict in entry["conflicts"]
                if not (entry["value"] and self.contains(entry["value"], conflict[0]))
            ]
            entry["conflicts"] = [
                (oid, push, key)
                for number, (oid, push, key) in enumerate(left)
                if not any(k == key and self.contains(o, oid) for o, _, k in left[number + 1 :])
            ]
            entry["waiting"] = [w for w in entry["waiting"] if w[0] == entry["value"]]

    def open_lines(self, state: Values, key: str) -> int:
        return sum(
            sum(c[2] == key for c in e["conflicts"]) + sum(w[4] == key for w in e["waiting"])
            for e in state["refs"].values()
        )
