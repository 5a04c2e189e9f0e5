"""The texts of a log as plain values: what ``push_model`` reads and writes.

Written from docs/protocol/trust.md alone. The texts that come here are well-formed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

Values = dict[str, Any]


def read_policy(text: bytes) -> Values:
    """Read a policy, format 2."""
    policy: Values = {"auth": [], "quorum": [], "previous": None, "checkpoint": None}
    policy["instead-of"] = []
    policy["digest"] = hashlib.sha256(text).hexdigest()
    for line in text.decode().splitlines():
        word, *rest = line.split(" ")
        if word == "auth":
            policy["auth"].append(rest)
        elif word == "quorum":
            policy["quorum"].append((rest[0], int(rest[1]), rest[2:]))
        elif word in ("keeper", "head", "version", "checkpoint"):
            policy[word] = rest[0]
        elif word == "instead-of":
            policy[word].append(rest[0].removeprefix("sha256:"))
        elif word == "previous":
            policy["previous"] = rest[0].removeprefix("sha256:")
    return policy


def read_push(text: bytes) -> Values:
    """Read a push certificate."""
    head, _, body = text.decode().partition("\n\n")
    push: Values = {"options": []}
    for line in head.splitlines():
        word, _, rest = line.partition(" ")
        if word == "nonce":
            push["repository"], push["checkpoint"], count = rest.split("/")
            push["count"] = int(count)
        elif word == "push-option":
            push["options"].append(rest)
    push["lines"] = []
    for line in body.splitlines():
        old, new, ref = line.split(" ", 2)
        given = [None if oid.strip("0") == "" else oid for oid in (old, new)]
        push["lines"].append((*given, ref))
    push["head"] = next((o[5:] for o in push["options"] if o.startswith("head=")), None)
    push["whole"] = push["head"] is not None or "atomic" in push["options"]
    return push


def read_checkpoint(text: bytes) -> Values:
    """Read a checkpoint."""
    head, _, body = text.decode().partition("\n\n")
    tagger = next(line for line in head.splitlines() if line.startswith("tagger "))
    found: Values = {"time": int(tagger.split(" ")[-2]), "previous": None, "adopt": [], "push": []}
    lines = body.splitlines()
    for number, line in enumerate(lines):
        word, *rest = line.split(" ")
        if word in ("whole", "changes"):
            found["form"], found["entries"] = word, lines[number + 1 :]
            break
        if word == "push":
            found["push"].append(tuple(rest))
        elif word == "adopt":
            found["adopt"].append(rest[0])
        elif word == "policy":
            found["policy"] = rest[1].removeprefix("sha256:")
        elif word == "head":
            found["head"] = " ".join(rest)
        elif word in ("repository", "sequence", "previous", "state"):
            found[word] = rest[0]
    return found


def units_of(push: Values) -> Iterator[tuple[str, list[Any]]]:
    """Give the units of a push: what names each, and its lines."""
    if push["whole"]:
        yield "*", push["lines"]
    else:
        for line in push["lines"]:
            yield line[2], [line]


def head_of(state: Values) -> str:
    return "{} {}.{}".format(state["head"], *state["head_mark"])


def entry_lines(ref: str, entry: Values) -> list[str]:
    """Return the lines of an entry of the listing."""
    lines = []
    if entry["value"]:
        lines.append("ref {} {}.{} {}".format(entry["value"], *(entry["mark"] or (0, 0)), ref))
    elif entry["mark"]:
        lines.append("gone {}.{} {}".format(*entry["mark"], ref))
    lines += [f"conflict {oid} {push} {key} {ref}" for oid, push, key in entry["conflicts"]]
    for old, new, push, age, key in entry["waiting"]:
        ids = (old or "0" * 40, new or "0" * 40)
        lines.append("waiting {} {} {} {}.{} {} {}".format(*ids, push, *age, key, ref))
    return lines


def tree(entries: list[tuple[str, str, list[str]]], depth: int) -> bytes:
    """Return the digest of a subtree of the listing."""
    if not entries:
        return bytes(32)
    if len(entries) <= 16:
        texts = (
            line + "\n"
            for _, _, lines in sorted(entries, key=lambda e: e[1].encode())
            for line in lines
        )
        return hashlib.sha256(b"\0" + "".join(texts).encode()).digest()
    parts = (
        tree([e for e in entries if e[0][depth] == digit], depth + 1)
        for digit in "0123456789abcdef"
    )
    return hashlib.sha256(b"\1" + b"".join(parts)).digest()
