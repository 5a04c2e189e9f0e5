"""What the commands that show and change a policy have in common: which repository, which keys.

Rules: a clone that is published through a bare copy means that copy; another clone is good for
looking and signing. Keys come from files, from the policy itself, or from gpg; none is guessed.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem
from msgspec import Struct

from gittorrent.cli.bare_copy import recorded_copy
from gittorrent.cli.new_repository import own_logs
from gittorrent.cli.news import take_news
from gittorrent.cli.repositories import CARRIED_REPOSITORY, repository_at_hand
from gittorrent.errors import UsageError
from gittorrent.git.repository import find_repository, read_config
from gittorrent.repository.carried import ORIGIN, Carried
from gittorrent.repository.newest_push import require_newest
from gittorrent.repository.origin_refs import follow_in_origin
from gittorrent.repository.policy_drafts import can_publish
from gittorrent.signing.gpg import GPG, export_certificate
from gittorrent.signing.ssh import is_literal
from gittorrent.store.database import Database
from gittorrent.store.home import open_home
from gittorrent.trust.errors import BadKey, PolicyError
from gittorrent.trust.key_files import FoundKey, read_keys
from gittorrent.trust.keys import KeyKind, KeyRef
from gittorrent.trust.labels import key_labels
from gittorrent.trust.openpgp import certificate_label
from gittorrent.trust.refpattern import RefPattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from gittorrent.push.log import VerifiedLog
    from gittorrent.push.rule import Push
    from gittorrent.store.home import Home
    from gittorrent.trust.labels import Label

STDIN = "-"
"""Stands for standard input among the names of files."""

MIN_FRAGMENT = 6
"""Characters of a key's name that are enough for it, if no other key of the policy begins so."""


def complete_files(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Let shells complete the names of files, where other words are possible too."""
    del ctx, param
    return [CompletionItem(incomplete, type="file")]


repository_option = click.option(
    "-r",
    "--repository",
    type=CARRIED_REPOSITORY,
    default=repository_at_hand,
    metavar="REPOSITORY",
    help="The repository; by default the one of this directory.",
)


def takes_repository(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take its repository as an argument, or by ``-r``.

    Args:
        command: gets the repository as ``repository``.
    """

    @functools.wraps(command)
    def told(repository: Path | None, option: Path | None, **others: object) -> None:
        if repository is not None and option is not None:
            raise UsageError(
                "the repository is named twice", hint="name it as an argument or with -r, not both"
            )
        found = repository or option or CARRIED_REPOSITORY.convert(repository_at_hand(), None, None)
        command(repository=found, **others)

    told = click.argument("repository", type=CARRIED_REPOSITORY, required=False)(told)
    return click.option(
        "-r",
        "--repository",
        "option",
        type=CARRIED_REPOSITORY,
        metavar="REPOSITORY",
        help="The same as the argument.",
    )(told)


key_option = click.option(
    "--key",
    metavar="KEY",
    help="Root key to sign with: an SSH key file, or OpenPGP fingerprint.",
)


class PolicyPlace(Struct, frozen=True):
    """A repository whose policy is looked at or changed.

    Args:
        carried: the repository.
        log: its log, which has a policy.
        config: git's settings where the user works.
    """

    carried: Carried
    log: VerifiedLog
    config: Mapping[str, str]

    @property
    def home(self) -> Home:
        """The node's home, which changing a policy takes, and looking at it does not."""
        return open_home()

    def labels(
        self, found: Iterable[FoundKey] = (), pushes: Iterable[Push] = ()
    ) -> dict[KeyRef, str]:
        """Return what keys are called: by the policy, their certificates, or files just read.

        Args:
            found: keys in files.
            pushes: that may have come with certificates.
        """
        files = {each.key: each.label for each in found if each.label}
        sent = ((push.key, push.certificates) for push in pushes)
        return files | key_labels(self.log.policies, sent)


def open_place(repository: Path) -> PolicyPlace:
    """Open the repository that is meant.

    Raises:
        NotCarriedError: it was never published, mirrored or cloned from a mirror.
        UsageError: it is a clone of several repositories.
    """
    found = find_repository(repository)
    config = read_config(found.git_dir)
    copy = recorded_copy(found.git_dir)
    carried = Carried(found.git_dir if copy is None else copy, found.object_format)
    if not carried.is_carried:
        logs = own_logs(found.git_dir, found.object_format)
        if not logs:
            _ = carried.info
        if len(logs) > 1:
            raise UsageError(
                f"{found.git_dir} has the logs of {' and '.join(logs)}",
                hint="name a repository that has one: 'gittorrent status' lists those of this node",
            )
        carried = Carried(found.git_dir, found.object_format, logs[0])
    log = carried.log()
    if log.head is None:
        raise UsageError(
            f"{found.git_dir} has no policy yet", hint="publish it first: gittorrent publish"
        )
    return PolicyPlace(carried, log, config)


def open_to_sign(repository: Path, *, offline: bool) -> PolicyPlace:
    """Open the repository that is meant, and take in what its mirrors have that is newer.

    Args:
        repository: as for `open_place`.
        offline: whether nobody is to be asked.

    Raises:
        NotCarriedError, UsageError: as for `open_place`.
        BehindError: a newer checkpoint was seen here than there is now.
    """
    place = open_place(repository)
    if offline or not can_publish(place.carried):
        return place
    carried = place.carried
    with contextlib.closing(Database(place.home.database)) as database:
        if take_news(carried, place.log, place.home, database, _say):
            if carried.info.role == ORIGIN:
                with carried.writing():
                    follow_in_origin(carried, carried.log())
            place = open_place(repository)
        instead = "try again when a mirror that has it can be reached"
        require_newest(place.log, database, str(carried.layout.git_dir), instead, "--offline")
    return place


def _say(text: str) -> None:
    click.echo(text, err=True)


def person_in(pusher: str) -> str:
    """Return the person that a push names, if it names one: git itself writes the key there."""
    return pusher.strip() if "<" in pusher else ""


@contextlib.contextmanager
def as_arguments() -> Iterator[None]:
    """Let keys and policies that cannot be count as bad arguments: the user gave them.

    Otherwise such errors are about what others signed, and end with another exit code.

    Raises:
        UsageError: in place of what was raised.
    """
    try:
        yield
    except (BadKey, PolicyError) as error:
        raise UsageError(str(error), hint=error.hint) from error


def split_arguments(arguments: Iterable[str]) -> tuple[list[str], list[RefPattern]]:
    """Tell the names of keys from patterns of refs, which begin with ``refs/``."""
    keys: list[str] = []
    patterns: list[RefPattern] = []
    for argument in arguments:
        if argument.startswith("refs/"):
            patterns.append(RefPattern(argument.encode("utf-8", "surrogateescape")))
        else:
            keys.append(argument)
    return keys, patterns


def keys_to_add(names: Sequence[str], place: PolicyPlace) -> tuple[list[FoundKey], list[str]]:
    """Return the keys that are meant, and why others in the same files are passed over.

    Args:
        names: of files, ``-``, public key lines, names of keys as policies write them, or what gpg
            knows a key by after ``openpgp:``.
        place: the repository.

    Raises:
        BadKey: something is no key.
        UsageError: there is no such file.
    """
    found: list[FoundKey] = []
    passed_over: list[str] = []
    for name in names:
        if name.startswith(("ssh:", "openpgp:", "SHA256:")):
            found.append(_named(name, place))
            continue
        inside = read_keys(_read(name), "standard input" if name == STDIN else name)
        found += inside.keys
        passed_over += [f"{name}: {why}" for why in inside.passed_over]
    return found, passed_over


def _read(name: str) -> bytes:
    if name == STDIN:
        return sys.stdin.buffer.read()
    if is_literal(name):
        return name.removeprefix("key::").strip().encode()
    try:
        return Path(name).read_bytes()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UsageError(
            f"there is no file {name}",
            hint="name a file with public keys, '-' for standard input, or a key as"
            " ssh:SHA256:... or openpgp:FINGERPRINT; patterns begin with refs/",
        ) from error


def _named(name: str, place: PolicyPlace) -> FoundKey:
    """Return a key that is given by its name; its certificate comes from the policy, or gpg."""
    if name.startswith("SHA256:"):
        name = f"ssh:{name}"
    if name.startswith("ssh:"):
        return FoundKey(KeyRef.parse(name))
    try:
        key = KeyRef.parse(name.lower())
    except BadKey:
        key = None
    ring = place.log.policy.keyring
    if key is not None and key in ring:
        return FoundKey(key, ring[key], certificate_label(ring[key]))
    raw = export_certificate(name.removeprefix("openpgp:"), GPG)
    (found,) = read_keys(raw, name).keys[:1]
    return found


def keys_to_remove(
    names: Sequence[str], known: Iterable[KeyRef], labels: Iterable[Label] = ()
) -> list[KeyRef]:
    """Return the keys that are meant by names, beginnings of names, files, or labels.

    Args:
        names: what the user typed.
        known: the keys that the policy names.
        labels: what it calls some of them; a file of that name comes before.

    Raises:
        UsageError: a name stands for none, or for several.
        BadKey: a file holds no key.
    """
    known = sorted(known)
    found: list[KeyRef] = []
    for name in names:
        if name.startswith(("ssh:", "openpgp:", "SHA256:")):
            wanted = name.partition(":")[2] if name.startswith(("ssh:", "openpgp:")) else name
            found.append(_one(wanted, name, known))
        elif (called := _called(name, known, labels)) and not Path(name).exists():
            if len(called) > 1:
                raise UsageError(f"{name} is what {' and '.join(map(str, called))} are called")
            found += called
        else:
            inside = [each.key for each in read_keys(_read(name), name).keys if each.key in known]
            if not inside:
                raise UsageError(f"the policy names none of the keys in {name}")
            found += inside
    return found


def _called(name: str, known: Sequence[KeyRef], labels: Iterable[Label]) -> list[KeyRef]:
    return [label.key for label in labels if label.text == name and label.key in known]


def _one(wanted: str, name: str, known: Sequence[KeyRef]) -> KeyRef:
    fits = [
        key
        for key in known
        if key.fingerprint.startswith(wanted if key.kind is KeyKind.SSH else wanted.lower())
    ]
    if len(wanted.removeprefix("SHA256:")) < MIN_FRAGMENT or len(fits) != 1:
        several = " and ".join(map(str, fits)) or "no key of the policy"
        raise UsageError(
            f"{name} stands for {several}", hint="'gittorrent policy show' lists its keys"
        )
    return fits[0]
