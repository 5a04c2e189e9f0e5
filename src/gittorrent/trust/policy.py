"""The policy: which keys may change which refs, and who may change the policy.

``Policy`` is what one version of the text says; ``policy_text`` reads and writes the text. A
``Policy`` is only a reading: whether anybody signed it is the business of ``signed_policy``.

Rules:

- every ``Policy`` is consistent: construction checks what the grammar cannot (threshold above
  half of the roots, pinned certificates);
- what a line does not clearly grant is refused: reserved refs, refs under a ``quorum`` line and
  keys that only a web of trust vouches for get no from ``allows``;
- lines that are sets (root, key, a quorum's keys) are sorted and unique; lines whose order has a
  meaning (auth, quorum, mirror) keep it.

Must not know about push objects, the log or the rule that judges pushes.

Source: docs/protocol/trust.md, Policy.
"""

from __future__ import annotations

import base64
import hashlib
import re
from enum import Enum
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.ids import OBJECT_FORMATS, PushId, RefName, RepositoryId, format_of, is_sha256
from gittorrent.printable import decoded
from gittorrent.trust.errors import PolicyError
from gittorrent.trust.keys import KeyKind, KeyRef
from gittorrent.trust.labels import Label
from gittorrent.trust.openpgp import certificate_digest, certificate_fingerprint
from gittorrent.trust.readers import check_readers, require_sorted
from gittorrent.trust.refpattern import RefPattern, is_ref_name, is_reserved, ref_name_fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

GENESIS_SIZE = 16
"""Random bytes in a first policy: 128 bits keep two repositories' ids apart."""

MAX_VERSION = 2**31 - 1
"""The last version number; one a second would last 68 years."""

MAX_NAME = 100
"""Characters in a repository's name; it becomes a directory name."""

MAX_URL = 2048
"""Characters in a mirror's URL; longer ones fail in proxies and servers."""

MAX_DEPTH = 5
"""Steps in a web of trust; gpg's own limit."""

MAX_NEEDS = 100
"""Certifications a web-of-trust line can ask for."""

MAX_FRESH_WITHIN = 365 * 86400
"""Seconds; a statement of freshness that is a year old says nothing."""

MIRROR_SCHEMES = ("git", "gittorrent", "http", "https", "ssh")
"""Transports a policy can point at; others, such as ``ext::``, could run programs."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_URL = re.compile(r"([a-z]+)://(?:[A-Za-z0-9_.~-]+@)?[A-Za-z0-9\[][\x21-\x7e]*\Z")


class Change(Enum):
    """What an update does to a ref: make it, move it forward, move it otherwise, remove it."""

    CREATE = "create"
    FORWARD = "forward"
    REWIND = "rewind"
    DELETE = "delete"


class Grant(Enum):
    """How much an ``auth`` line gives; the value is the word at the end of the line."""

    PLAIN = ""
    CREATE = "create"
    FORCE = "force"

    def covers(self, change: Change) -> bool:
        """Tell whether this much is enough for ``change``."""
        if self is Grant.FORCE:
            return True
        if self is Grant.CREATE:
            return change is Change.CREATE
        return change in (Change.CREATE, Change.FORWARD)


class WebOfTrust(Struct, frozen=True):
    """Any OpenPGP key certified from the roots' keys: within ``depth`` steps, ``needs`` times."""

    depth: int
    needs: int

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= MAX_DEPTH or not 1 <= self.needs <= MAX_NEEDS:
            raise PolicyError(
                f"web-of-trust depth {self.depth} needs {self.needs} is out of range",
                hint=f"depth is 1 to {MAX_DEPTH}, needs 1 to {MAX_NEEDS}",
            )


class Rule(Struct, frozen=True):
    """One ``auth`` line: who may do what to which refs."""

    pattern: RefPattern
    who: KeyRef | WebOfTrust
    grant: Grant = Grant.PLAIN

    def __post_init__(self) -> None:
        if isinstance(self.who, WebOfTrust) and self.grant is not Grant.PLAIN:
            raise PolicyError("a web-of-trust line cannot give create or force")


class Quorum(Struct, frozen=True):
    """One ``quorum`` line: refs that change only when ``needs`` of ``keys`` sign the same."""

    pattern: RefPattern
    needs: int
    keys: tuple[KeyRef, ...]

    def __post_init__(self) -> None:
        require_sorted("the keys of a quorum line", self.keys)
        if not 1 <= self.needs <= len(self.keys):
            raise PolicyError(f"quorum for {self.pattern} needs {self.needs} of {len(self.keys)}")


class PinnedKey(Struct, frozen=True):
    """One ``key`` line: the certificate (``sha256:<hex>``) that counts for an OpenPGP key."""

    key: KeyRef
    digest: str

    def __post_init__(self) -> None:
        if self.key.kind is not KeyKind.OPENPGP:
            raise PolicyError(f"key lines pin OpenPGP certificates; {self.key} has none")
        require_digest(self.digest, "certificate")


class Policy(Struct, frozen=True, kw_only=True):
    """One version of a repository's policy, checked for consistency but not for signatures.

    Version 1 has ``genesis`` (16 random bytes); later ones have ``previous`` (``sha256:<hex>``
    of the text before) and ``checkpoint`` (the one they were made on); ``instead_of`` are the
    digests of rivals, which follow the same version, and whose place this one takes. ``keeper`` is
    the key that signs checkpoints and manifests, ``fresh_within`` the seconds after which its
    newest statement of freshness is old, ``private`` whether only those may read whom the policy
    names, ``readers`` the SSH keys of those who may read and no more, ``labels`` what to call keys.
    Raises ``PolicyError`` when
    the parts contradict each other.
    Source: docs/protocol/trust.md, Policy.
    """

    name: str
    version: int
    genesis: bytes | None = None
    previous: str | None = None
    checkpoint: PushId | None = None
    instead_of: tuple[str, ...] = ()
    threshold: int
    roots: tuple[KeyRef, ...]
    keys: tuple[PinnedKey, ...] = ()
    head: RefName
    keeper: KeyRef
    rules: tuple[Rule, ...] = ()
    quorums: tuple[Quorum, ...] = ()
    mirrors: tuple[str, ...] = ()
    fresh_within: int | None = None
    private: bool = False
    readers: tuple[KeyRef, ...] = ()
    labels: tuple[Label, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        _check_descent(self)
        _check_sets(self)
        _check_roots(self)
        _check_keys(self)
        _check_fresh_within(self)
        check_readers(self.readers, private=self.private)
        for mirror in self.mirrors:
            _check_mirror(mirror)
        if fault := ref_name_fault(self.head):
            raise PolicyError(f"head {decoded(self.head[:80])!r} {fault}")
        if not self.head.startswith(b"refs/heads/"):
            raise PolicyError(
                f"head must be a branch below refs/heads/, not {decoded(self.head[:80])!r}"
            )

    @classmethod
    def first(
        cls,
        name: str,
        genesis: bytes,
        root: KeyRef | Sequence[KeyRef],
        head: RefName = RefName(b"refs/heads/main"),  # noqa: B008 - immutable
        *,
        threshold: int | None = None,
        certificates: Iterable[bytes] = (),
        rules: Sequence[Rule] | None = None,
        mirrors: Sequence[str] = (),
        keeper: KeyRef | None = None,
        quorums: Sequence[Quorum] = (),
        fresh_within: int | None = None,
        private: bool = False,
    ) -> Policy:
        """Draw up version 1 for a new repository.

        ``genesis`` is 16 random bytes, ``root`` one key or several, ``certificates`` those of
        every OpenPGP key named. Unless told otherwise the threshold is the smallest majority,
        every root may do everything to every ref, and the first root named is the keeper.
        Raises ``PolicyError``. Source: docs/protocol/trust.md, Policy.
        """
        named = (root,) if isinstance(root, KeyRef) else tuple(root)
        if not named:
            raise PolicyError("a policy needs at least one root key")
        roots = tuple(sorted(set(named)))
        if rules is None:
            rules = [Rule(RefPattern(b"refs/*"), key, Grant.FORCE) for key in roots]
        return cls(
            name=name,
            version=1,
            genesis=genesis,
            threshold=len(roots) // 2 + 1 if threshold is None else threshold,
            roots=roots,
            keys=pin(certificates),
            head=head,
            keeper=named[0] if keeper is None else keeper,
            rules=tuple(rules),
            quorums=tuple(quorums),
            mirrors=tuple(mirrors),
            fresh_within=fresh_within,
            private=private,
        )

    def next_version(self, checkpoint: PushId, **changes: Any) -> Policy:
        """Draw up the version after this one.

        ``checkpoint`` is the one it is made on: where the keeper changes, the last one that counts
        of the keeper before. ``changes`` are the fields that become different. Raises
        ``PolicyError``.
        """
        return replace(
            self,
            version=self.version + 1,
            genesis=None,
            previous=self.digest,
            checkpoint=checkpoint,
            **{"instead_of": (), **changes},
        )

    @classmethod
    def parse(cls, text: bytes) -> Policy:
        """Read the text of a policy; raises ``PolicyError`` unless it is in canonical form."""
        from gittorrent.trust.policy_text import parse_policy

        return parse_policy(text)

    def text(self) -> bytes:
        """Write the policy down, in its only form; this is what the roots sign."""
        from gittorrent.trust.policy_text import policy_text

        return policy_text(self)

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` of the text, by which the next version names this one."""
        return "sha256:" + hashlib.sha256(self.text()).hexdigest()

    def quorum_for(self, ref: bytes) -> Quorum | None:
        """Return the first ``quorum`` line that speaks of ``ref``, or None."""
        return next((quorum for quorum in self.quorums if quorum.pattern.matches(ref)), None)

    def allows(self, ref: bytes, key: KeyRef, change: Change) -> bool:
        """Tell whether ``key`` alone may make ``change`` to ``ref``.

        A ``quorum`` line for the ref excludes every ``auth`` line. Reserved and malformed names
        are never allowed. What needs a web of trust or several signers gets False.
        Source: docs/protocol/trust.md, Policy.
        """
        if is_reserved(ref) or not is_ref_name(ref) or self.quorum_for(ref) is not None:
            return False
        return any(
            rule.who == key and rule.grant.covers(change) and rule.pattern.matches(ref)
            for rule in self.rules
        )

    @property
    def keys_with_rights(self) -> frozenset[KeyRef]:
        """Every key that a line gives a right, that of reading aside."""
        return keys_in(self.roots, self.keeper, self.rules, self.quorums)

    def may_sign_reels(self, key: KeyRef) -> bool:
        """Tell whether ``key`` may sign manifests, checkpoints and freshness statements."""
        return key == self.keeper


def repository_id(text: bytes) -> RepositoryId:
    """Compute a repository's id from the text of its first policy, signatures not included.

    Raises ``PolicyError`` when ``text`` is not a policy of version 1.
    Source: docs/protocol/trust.md, Repository id.
    """
    if Policy.parse(text).version != 1:
        raise PolicyError("a repository is named after version 1 of its policy, not a later one")
    digest = base64.b32encode(hashlib.sha256(text).digest())
    return RepositoryId(digest.decode("ascii").rstrip("=").lower())


def keys_in(
    roots: Iterable[KeyRef], keeper: KeyRef, rules: Iterable[Rule], quorums: Iterable[Quorum]
) -> frozenset[KeyRef]:
    """Return the keys that these parts of a policy name."""
    named = {*roots, *(rule.who for rule in rules if isinstance(rule.who, KeyRef))}
    named.update(key for line in quorums for key in line.keys)
    return frozenset(named | {keeper})


def pin(certificates: Iterable[bytes]) -> tuple[PinnedKey, ...]:
    """Make the ``key`` lines for these OpenPGP certificates; raises ``BadKey``."""
    pins = {PinnedKey(certificate_fingerprint(c), certificate_digest(c)) for c in certificates}
    return tuple(sorted(pins, key=lambda pinned: pinned.key))


def require_digest(text: str, what: str) -> None:
    """Raise ``PolicyError`` unless ``text`` is ``sha256:`` and 64 hexadecimal digits."""
    if not text.startswith("sha256:") or not is_sha256(text.removeprefix("sha256:")):
        raise PolicyError(f"not a {what} digest (sha256:<64 hex digits>): {text[:80]!r}")


def check_name(name: str) -> None:
    """Raise ``PolicyError`` unless a repository may be called ``name``."""
    if (
        len(name) > MAX_NAME
        or _NAME.match(name) is None
        or name.lower().endswith((".git", ".lock"))
        or ".." in name
    ):
        raise PolicyError(
            f"not a repository name: {name[:120]!r}",
            hint=f"up to {MAX_NAME} letters, digits, '.', '_' and '-'; starts with a letter or "
            "digit, has no '..' and does not end in .git or .lock",
        )


def _check_descent(policy: Policy) -> None:
    """A first version starts from random bits, every other from the one before it."""
    if not 1 <= policy.version <= MAX_VERSION:
        raise PolicyError(f"policy version {policy.version} is out of range")
    require_sorted("instead-of lines", policy.instead_of)
    for digest in policy.instead_of:
        require_digest(digest, "policy")
    if policy.version == 1:
        if policy.genesis is None or len(policy.genesis) != GENESIS_SIZE:
            raise PolicyError(f"version 1 of a policy needs {GENESIS_SIZE} genesis bytes")
        if policy.previous is not None or policy.checkpoint is not None or policy.instead_of:
            raise PolicyError("version 1 of a policy has nothing before it")
        return
    if policy.genesis is not None or policy.previous is None or policy.checkpoint is None:
        raise PolicyError("a later policy version has previous and checkpoint, and no genesis")
    require_digest(policy.previous, "policy")
    if format_of(policy.checkpoint) is None:
        sizes = " or ".join(str(known.hex_size) for known in OBJECT_FORMATS.values())
        raise PolicyError(f"the checkpoint of a policy is {sizes} lower-case hexadecimal digits")


def _check_sets(policy: Policy) -> None:
    """Sets have one order, and no line is there twice."""
    require_sorted("root lines", policy.roots)
    require_sorted("key lines", [pinned.key for pinned in policy.keys])
    require_sorted("label lines", [label.key for label in policy.labels])
    for what, items in (
        ("auth lines for one pattern and signer", [(r.pattern, r.who) for r in policy.rules]),
        ("quorum lines for one pattern", [quorum.pattern for quorum in policy.quorums]),
        ("mirror lines", list(policy.mirrors)),
    ):
        if len(set(items)) != len(items):
            raise PolicyError(f"a policy repeats itself: {what}")


def _check_roots(policy: Policy) -> None:
    count = len(policy.roots)
    if count == 0:
        raise PolicyError("a policy needs at least one root key")
    if not count < 2 * policy.threshold <= 2 * count:
        raise PolicyError(
            f"threshold {policy.threshold} does not suit {count} root keys",
            hint=f"it must be {count // 2 + 1} to {count}: more than half, or two halves could "
            "each make a policy of their own",
        )


def _check_keys(policy: Policy) -> None:
    """Every OpenPGP key with a right is pinned."""
    pinned = {entry.key for entry in policy.keys}
    for key in sorted(policy.keys_with_rights):
        if key.kind is KeyKind.OPENPGP and key not in pinned:
            raise PolicyError(
                f"{key} has rights but no key line",
                hint="pin its certificate: key <key> sha256:<digest of gpg --export>",
            )


def _check_fresh_within(policy: Policy) -> None:
    if policy.fresh_within is not None and not 1 <= policy.fresh_within <= MAX_FRESH_WITHIN:
        raise PolicyError(
            f"fresh-within {policy.fresh_within} is out of range",
            hint=f"give 1 to {MAX_FRESH_WITHIN} seconds",
        )


def _check_mirror(url: str) -> None:
    match = _URL.match(url)
    if len(url) > MAX_URL or match is None or match.group(1) not in MIRROR_SCHEMES:
        raise PolicyError(
            f"not a mirror URL: {url[:120]!r}",
            hint="use " + ", ".join(f"{scheme}://" for scheme in MIRROR_SCHEMES),
        )
