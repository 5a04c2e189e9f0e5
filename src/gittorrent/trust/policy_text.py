"""The text of a policy: reading it strictly and writing it in its only form.

The form, one line each, fields separated by one space, every line ended by LF; ``*`` marks lines
that may be repeated or missing, in this order and no other:

    gittorrent policy 2
    name NAME
    version N
    genesis HEX32                     version 1 only
    previous sha256:HEX64             later versions only
    checkpoint PUSH-ID                later versions only
    instead-of sha256:HEX64         * sorted; later versions only
    threshold N
    root KEY                        * sorted (at least one)
    key OPENPGP-KEY sha256:HEX64    * sorted by key
    head REF
    keeper KEY
    auth PATTERN KEY [create|force] * order kept: earlier lines win ties
    auth PATTERN web-of-trust depth N needs N
    quorum PATTERN N KEY...         * order kept: the first match counts; keys sorted
    mirror URL                      * order kept: tried in this order
    fresh-within SECONDS            * at most one
    private                         * at most one
    reader SSH-KEY                  * sorted; only where there is a private line
    label KEY TEXT                  * sorted by key; TEXT is the rest of the line

Rules: everything is ASCII but ref names and patterns, which are bytes without white space and
control characters, and labels, which are UTF-8 and may have spaces inside. Reading and writing
again gives the same bytes, or the text is refused; so is any line not listed here. Sorting compares
bytes.

Source: docs/protocol/trust.md, Policy.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from gittorrent.errors import TrustError
from gittorrent.ids import PushId, RefName
from gittorrent.printable import decoded
from gittorrent.trust.errors import OldFormatError, PolicyError
from gittorrent.trust.keys import KeyRef
from gittorrent.trust.labels import Label
from gittorrent.trust.policy import (
    Grant,
    PinnedKey,
    Policy,
    Quorum,
    Rule,
    WebOfTrust,
)
from gittorrent.trust.refpattern import RefPattern

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_TEXT = 1024 * 1024
"""Bytes of a policy; ten thousand lines of about a hundred."""

MAX_LINES = 10_000
"""Lines of a policy; more keys than any project has, and quick to check."""

_HEADER = b"gittorrent policy 2"
_OLD_HEADER = b"gittorrent policy 1\n"

_NUMBER = re.compile(rb"(?:0|[1-9][0-9]{0,9})\Z")
_GENESIS = re.compile(rb"[0-9a-f]{32}\Z")

_T = TypeVar("_T")


def policy_text(policy: Policy) -> bytes:
    """Write a policy in its only form. Source: docs/protocol/trust.md, Policy."""
    lines: list[bytes] = [_HEADER, _line("name", policy.name)]
    lines.append(_line("version", policy.version))
    if policy.genesis is not None:
        lines.append(_line("genesis", policy.genesis.hex()))
    if policy.previous is not None and policy.checkpoint is not None:
        lines.append(_line("previous", policy.previous))
        lines.append(_line("checkpoint", policy.checkpoint))
    lines += [_line("instead-of", digest) for digest in policy.instead_of]
    lines.append(_line("threshold", policy.threshold))
    lines += [_line("root", key) for key in policy.roots]
    lines += [_line("key", pinned.key, pinned.digest) for pinned in policy.keys]
    lines.append(_line("head", policy.head))
    lines.append(_line("keeper", policy.keeper))
    lines += [_auth_line(rule) for rule in policy.rules]
    lines += [_line("quorum", q.pattern.text, q.needs, *q.keys) for q in policy.quorums]
    lines += [_line("mirror", url) for url in policy.mirrors]
    if policy.fresh_within is not None:
        lines.append(_line("fresh-within", policy.fresh_within))
    if policy.private:
        lines.append(_line("private"))
    lines += [_line("reader", key) for key in policy.readers]
    lines += [_line("label", each.key, each.text.encode("utf-8")) for each in policy.labels]
    return b"\n".join([*lines, b""])


def parse_policy(text: bytes) -> Policy:
    """Read the text of a policy.

    Raises ``PolicyError`` unless ``text`` (up to 1 MiB, 10,000 lines) follows the grammar, is
    consistent and is exactly what ``policy_text`` would write; ``OldFormatError`` if it is of a
    time before checkpoints.
    Source: docs/protocol/trust.md, Policy.
    """
    if text.startswith(_OLD_HEADER):
        raise OldFormatError
    if len(text) > MAX_TEXT:
        raise PolicyError(f"policy has {len(text)} bytes; {MAX_TEXT} are allowed")
    if text.count(b"\n") > MAX_LINES:
        raise PolicyError(f"policy has more than {MAX_LINES} lines")
    lines = text.split(b"\n")
    if lines.pop() != b"":
        raise PolicyError("policy does not end with a line end")
    reader = _Lines(lines)
    try:
        policy = _read(reader)
    except TrustError as error:
        where = "" if reader.finished else f", line {reader.number}"
        raise PolicyError(f"policy{where}: {error}", hint=error.hint) from error
    if policy_text(policy) != text:
        raise PolicyError("policy is not in canonical form: writing it again gives other bytes")
    return policy


class _Lines:
    """Hands out lines by keyword; remembers where it is for messages."""

    def __init__(self, lines: list[bytes]) -> None:
        self._lines = lines
        self._at = 0
        self._finished = False

    @property
    def number(self) -> int:
        """The line read last, counted from 1."""
        return max(self._at, 1)

    @property
    def finished(self) -> bool:
        """Whether every line has been read, so that a fault lies in the whole, not in a line."""
        return self._finished

    def next_if(self, word: bytes) -> list[bytes] | None:
        """Take the next line's fields if it starts with ``word``."""
        if self._at < len(self._lines):
            fields = self._lines[self._at].split(b" ")
            if fields[0] == word:
                self._at += 1
                return fields[1:]
        return None

    def one(self, word: bytes, read: Callable[[list[bytes]], _T]) -> _T:
        """Read the line that must come next."""
        fields = self.next_if(word)
        if fields is None:
            self._at += 1
            raise PolicyError(f"a {word.decode('ascii')} line must stand here")
        return read(fields)

    def many(self, word: bytes, read: Callable[[list[bytes]], _T]) -> tuple[_T, ...]:
        """Read all lines of one kind that come next."""
        found = []
        while (fields := self.next_if(word)) is not None:
            found.append(read(fields))
        return tuple(found)

    def end(self) -> None:
        """Refuse a line that nothing has taken: unknown, or out of order."""
        if self._at < len(self._lines):
            line = self._lines[self._at]
            self._at += 1
            raise PolicyError(
                f"unknown or misplaced line: {decoded(line[:80])!r}",
                hint="a newer version of this program may understand it",
            )
        self._finished = True


def _read(lines: _Lines) -> Policy:
    lines.one(b"gittorrent", _header)
    name = lines.one(b"name", _single)
    version = lines.one(b"version", _number)
    genesis = previous = checkpoint = None
    if version == 1:
        genesis = lines.one(b"genesis", _genesis)
    else:
        previous = lines.one(b"previous", _single)
        checkpoint = lines.one(b"checkpoint", _push_id)
    instead_of = lines.many(b"instead-of", _single)
    threshold = lines.one(b"threshold", _number)
    roots = lines.many(b"root", _key)
    keys = lines.many(b"key", _pinned)
    head = lines.one(b"head", _ref)
    keeper = lines.one(b"keeper", _key)
    rules = lines.many(b"auth", _rule)
    quorums = lines.many(b"quorum", _quorum)
    mirrors = lines.many(b"mirror", _single)
    fresh = lines.next_if(b"fresh-within")
    private = lines.next_if(b"private")
    readers = lines.many(b"reader", _key)
    labels = lines.many(b"label", _label)
    lines.end()
    return Policy(
        name=name,
        version=version,
        genesis=genesis,
        previous=previous,
        checkpoint=checkpoint,
        instead_of=instead_of,
        threshold=threshold,
        roots=roots,
        keys=keys,
        head=head,
        keeper=keeper,
        rules=rules,
        quorums=quorums,
        mirrors=mirrors,
        fresh_within=None if fresh is None else _number(fresh),
        private=private is not None and _nothing(private),
        readers=readers,
        labels=labels,
    )


def _line(*fields: object) -> bytes:
    return b" ".join(
        field if isinstance(field, bytes) else str(field).encode("ascii") for field in fields
    )


def _auth_line(rule: Rule) -> bytes:
    if isinstance(rule.who, WebOfTrust):
        who = ("web-of-trust", "depth", rule.who.depth, "needs", rule.who.needs)
        return _line("auth", rule.pattern.text, *who)
    grant = () if rule.grant is Grant.PLAIN else (rule.grant.value,)
    return _line("auth", rule.pattern.text, rule.who, *grant)


def _header(fields: list[bytes]) -> None:
    if b" ".join([b"gittorrent", *fields]) != _HEADER:
        raise PolicyError(
            "not a policy of a known format: the first line must be 'gittorrent policy 2'",
            hint="a newer version of this program may understand it",
        )


def _ascii(field: bytes) -> str:
    try:
        text = field.decode("ascii")
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isprintable():
        raise PolicyError(f"empty field, or one that is not plain ASCII: {decoded(field[:80])!r}")
    return text


def _fields(fields: list[bytes], count: int) -> list[bytes]:
    if len(fields) != count:
        raise PolicyError(f"{count} fields must follow the keyword, not {len(fields)}")
    return fields


def _nothing(fields: list[bytes]) -> bool:
    _fields(fields, 0)
    return True


def _single(fields: list[bytes]) -> str:
    return _ascii(_fields(fields, 1)[0])


def _number(fields: list[bytes]) -> int:
    return _integer(_fields(fields, 1)[0])


def _integer(field: bytes) -> int:
    if _NUMBER.match(field) is None:
        raise PolicyError(f"not a number in plain decimal: {decoded(field[:40])!r}")
    return int(field)


def _genesis(fields: list[bytes]) -> bytes:
    text = _fields(fields, 1)[0]
    if _GENESIS.match(text) is None:
        raise PolicyError("genesis is not 32 lower-case hexadecimal digits")
    return bytes.fromhex(text.decode("ascii"))


def _key(fields: list[bytes]) -> KeyRef:
    return KeyRef.parse(_single(fields))


def _push_id(fields: list[bytes]) -> PushId:
    return PushId(_single(fields))


def _ref(fields: list[bytes]) -> RefName:
    return RefName(_fields(fields, 1)[0])


def _pinned(fields: list[bytes]) -> PinnedKey:
    key, digest = _fields(fields, 2)
    return PinnedKey(KeyRef.parse(_ascii(key)), _ascii(digest))


def _rule(fields: list[bytes]) -> Rule:
    if len(fields) < 2:
        raise PolicyError("an auth line needs a pattern and a key")
    pattern = RefPattern(fields[0])
    if fields[1] == b"web-of-trust":
        _, _, depth_word, depth, needs_word, needs = _fields(fields, 6)
        if (depth_word, needs_word) != (b"depth", b"needs"):
            raise PolicyError(
                "a web-of-trust line reads: auth PATTERN web-of-trust depth N needs N"
            )
        return Rule(pattern, WebOfTrust(_integer(depth), _integer(needs)))
    who = KeyRef.parse(_ascii(fields[1]))
    if len(fields) == 2:
        return Rule(pattern, who)
    word = _fields(fields, 3)[2]
    for grant in (Grant.CREATE, Grant.FORCE):
        if word == grant.value.encode("ascii"):
            return Rule(pattern, who, grant)
    raise PolicyError(f"an auth line ends in create or force, not {decoded(word[:40])!r}")


def _label(fields: list[bytes]) -> Label:
    if len(fields) < 2:
        raise PolicyError("a label line needs a key and a text")
    try:
        text = b" ".join(fields[1:]).decode("utf-8")
    except UnicodeDecodeError as error:
        raise PolicyError("a label is not UTF-8") from error
    return Label(KeyRef.parse(_ascii(fields[0])), text)


def _quorum(fields: list[bytes]) -> Quorum:
    if len(fields) < 3:
        raise PolicyError("a quorum line needs a pattern, a number and keys")
    keys = tuple(KeyRef.parse(_ascii(key)) for key in fields[2:])
    return Quorum(RefPattern(fields[0]), _integer(fields[1]), keys)
