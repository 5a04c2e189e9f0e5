"""Which key a command signs with, for commands that publish.

Rules: a key that the user named is the one, or an error. A repository that is published already is
signed with the key that is remembered, or else with one of the user's own that its policy knows;
a key is never made for it. Must not know what is signed.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import UsageError
from gittorrent.repository.publishing_keys import publishing_keys
from gittorrent.repository.recorded_key import recorded_signer
from gittorrent.signing.keys import NoSigningKey, make_ssh_key, resolve_signer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from gittorrent.cli.policy_place import PolicyPlace
    from gittorrent.repository.carried import Carried
    from gittorrent.signing.keys import Signer
    from gittorrent.store.home import Home
    from gittorrent.trust.keys import KeyRef


class KeyOptions(Struct, frozen=True):
    """What the user said of the key.

    Args:
        key: its name, as `resolve_signer` takes it; None to find one.
        new_key: whether one may be made.
    """

    key: str | None
    new_key: bool = False


def choose_signer(
    options: KeyOptions,
    config: Mapping[str, str],
    home: Home,
    carried: Carried,
    say: Callable[[str], None],
) -> Signer:
    """Return the key to publish a repository with.

    Args:
        options: what the user said.
        config: git's settings where the user works.
        home: of the node, which may hold a key that was made for this.
        carried: the repository.
        say: told of a key that is made.

    Raises:
        NoSigningKey: there is none, or the one that is meant cannot be used.
    """
    if options.key is not None:
        return resolve_signer(options.key, config)
    log = carried.peek()
    if log.head is not None:
        return _one_of(frozenset(publishing_keys(log.policy.policy)), config, home, carried)
    return choose_first_signer(options, config, home, carried.signing_key, say)


def choose_first_signer(
    options: KeyOptions,
    config: Mapping[str, str],
    home: Home,
    recorded: str | None,
    say: Callable[[str], None],
) -> Signer:
    """Return the key to publish a repository with for the first time, which need not be there yet.

    Args:
        options: what the user said.
        config: git's settings where the user works.
        home: of the node, which may hold a key that was made for this.
        recorded: the key that the repository records; None if it records none.
        say: told of a key that is made.

    Raises:
        NoSigningKey: there is none, or the one that is meant cannot be used.
    """
    if options.key is not None:
        return resolve_signer(options.key, config)
    own = home.keys / "publish"
    try:
        return _first(config, home, recorded)
    except NoSigningKey as error:
        if not options.new_key:
            hint = error.hint or "name one with --key"
            error.hint = f"{hint}, or let --new-key make an SSH key for this"
            raise
    own.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not own.exists():
        make_ssh_key(own, "gittorrent")
        say(f"made the signing key {own}; keep a copy of it, nobody can replace it")
    return resolve_signer(str(own), config)


def choose_known_signer(key: str | None, config: Mapping[str, str], home: Home) -> Signer:
    """Return the key that the user named, or else the one of a first publication; makes none.

    Raises:
        NoSigningKey: there is none, or the one that is meant cannot be used.
    """
    if key is not None:
        return resolve_signer(key, config)
    try:
        return _first(config, home, None)
    except NoSigningKey as error:
        error.hint = "use --key to name the key that the repository is published with"
        raise


def root_signer(
    key: str | None,
    config: Mapping[str, str],
    home: Home,
    carried: Carried,
    roots: Sequence[KeyRef],
) -> Signer | None:
    """Return the key of a root to sign a policy with; None if none is at hand.

    Args:
        key: what the user named.
        config: git's settings where the user works.
        home: of the node.
        carried: the repository.
        roots: who may sign.

    Raises:
        NoSigningKey: the key that the user named cannot be used.
        UsageError: it is no root's.
    """
    if key is not None:
        signer = resolve_signer(key, config)
        if signer.key not in roots:
            raise UsageError(
                f"{signer.key} is not a root of this policy",
                hint="the roots are " + " ".join(map(str, roots)),
            )
        return signer
    return find_signer(roots, config, home, carried)


def find_signer(
    keys: Iterable[KeyRef], config: Mapping[str, str], home: Home, carried: Carried
) -> Signer | None:
    """Return one of the keys if it is at hand here; None if none is."""
    wanted = frozenset(keys)
    keeper = carried.keeper_key
    for spec in (*_candidates(carried.signing_key, config, home), *([keeper] if keeper else [])):
        with contextlib.suppress(NoSigningKey):
            signer = recorded_signer(spec, config)
            if signer.key in wanted:
                return signer
    return None


def has_keeper_key(place: PolicyPlace) -> bool:
    """Tell whether the key that signs checkpoints of a repository is on this machine."""
    keeper = place.log.policy.policy.keeper
    return find_signer([keeper], place.config, place.home, place.carried) is not None


def _one_of(
    keys: frozenset[KeyRef], config: Mapping[str, str], home: Home, carried: Carried
) -> Signer:
    """Return one of the keys a repository is published with; one that is none of them at worst."""
    remembered = carried.signing_key
    failed: dict[str | None, NoSigningKey] = {}
    other: Signer | None = None
    for spec in _candidates(remembered, config, home):
        try:
            signer = recorded_signer(spec, config)
        except NoSigningKey as error:
            failed[spec] = error
            continue
        if signer.key in keys:
            return signer
        other = other or signer
    if other is not None and (remembered is None or remembered not in failed):
        return other
    names = " or ".join(sorted(map(str, keys)))
    raise NoSigningKey(
        f"{carried.layout.git_dir} is published with {names}, which is not at hand:"
        f" {failed[remembered]}",
        hint="use --key to say where that key is",
    )


def _candidates(
    remembered: str | None, config: Mapping[str, str], home: Home
) -> Iterator[str | None]:
    """Name the keys to try: the one recorded, git's own (None), the one made by this program."""
    if remembered is not None:
        yield remembered
    yield None
    if (home.keys / "publish").exists():
        yield str(home.keys / "publish")


def _first(config: Mapping[str, str], home: Home, recorded: str | None) -> Signer:
    """Return the key for a repository that is published for the first time."""
    own = home.keys / "publish"
    if recorded is None and own.exists() and "user.signingkey" not in config:
        recorded = str(own)
    return recorded_signer(recorded, config)
