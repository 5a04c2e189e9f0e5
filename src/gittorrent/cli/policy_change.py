"""``gittorrent policy add`` and ``gittorrent policy remove``."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import click

from gittorrent.cli.locations import find_mirror, typed_mirror
from gittorrent.cli.news import offline_option
from gittorrent.cli.output import json_option
from gittorrent.cli.policy_place import (
    as_arguments,
    complete_files,
    key_option,
    keys_to_add,
    keys_to_remove,
    open_to_sign,
    repository_option,
    split_arguments,
)
from gittorrent.cli.policy_result import DraftOptions, carry_on, show_result
from gittorrent.errors import UsageError
from gittorrent.repository.policy_drafts import discard_draft, go_on_from, read_or_begin
from gittorrent.trust import policy_edit as edit
from gittorrent.trust.keys import KeyKind
from gittorrent.trust.labels import label_from
from gittorrent.trust.policy import Grant, WebOfTrust

if TYPE_CHECKING:
    from pathlib import Path

    from gittorrent.trust.key_files import FoundKey
    from gittorrent.trust.keys import KeyRef
    from gittorrent.trust.policy_draft import PolicyDraft
    from gittorrent.trust.refpattern import RefPattern

no_sign_option = click.option(
    "--no-sign", is_flag=True, help="Only keep it as a draft, to be changed further and signed."
)


@click.command()
@click.argument(
    "arguments", nargs=-1, metavar="[KEY...] [PATTERN...]", shell_complete=complete_files
)
@click.option("--create", is_flag=True, help="Let them only create refs, as for tags.")
@click.option("--force", is_flag=True, help="Let them rewind and delete, too.")
@click.option("--root", is_flag=True, help="Let them sign the policy.")
@click.option("--keeper", is_flag=True, help="Let this key sign the checkpoints from now on.")
@click.option(
    "--from",
    "checkpoint",
    metavar="CHECKPOINT",
    help="With --keeper: last checkpoint of the one before that counts.",
)
@click.option("--reader", is_flag=True, help="Let them read a private repository, and no more.")
@click.option("--pin", is_flag=True, help="Only pin the certificates, as of a web of trust.")
@click.option("--quorum", type=int, metavar="N", help="Let refs change when N of them agree.")
@click.option("--web-of-trust", is_flag=True, help="Let all push whom the roots' keys vouch for.")
@click.option("--depth", type=int, default=1, metavar="N", help="Steps of a web of trust; 1.")
@click.option("--needs", type=int, default=1, metavar="N", help="Certifications in each; 1.")
@click.option(
    "--label", metavar="TEXT", help="What to call the keys; the file's comment if not said."
)
@click.option("--mirror", "mirrors", multiple=True, metavar="URL", help="Name a mirror.")
@click.option("--threshold", type=int, metavar="N", help="Let N roots sign the next version.")
@click.option(
    "--fresh-within", type=int, metavar="SECONDS", help="Age at which the newest news are old."
)
@click.option("--private", is_flag=True, help="Let only those read whom the policy names.")
@repository_option
@key_option
@no_sign_option
@offline_option
@json_option
def add(
    arguments: tuple[str, ...],
    create: bool,
    force: bool,
    root: bool,
    keeper: bool,
    checkpoint: str | None,
    reader: bool,
    pin: bool,
    quorum: int | None,
    web_of_trust: bool,
    depth: int,
    needs: int,
    label: str | None,
    mirrors: tuple[str, ...],
    threshold: int | None,
    fresh_within: int | None,
    private: bool,
    repository: Path,
    key: str | None,
    no_sign: bool,
    offline: bool,
    as_json: bool,
) -> None:
    """Let people push, or give them other rights: a new version of the policy.

    KEY is a file (an SSH .pub file, a list of such lines, an OpenPGP certificate), '-' for
    standard input, a public key line, ssh:SHA256:... or openpgp:FINGERPRINT. PATTERN is a ref, or
    the beginning of one with '*' at its end. A plain right creates refs and moves them forward.

    Where one root's signature is enough, and its key is here, the new version is published at
    once. Otherwise it is kept as a draft, which the other roots sign with 'gittorrent policy sign'.

    The policy is public, and so is what it calls an SSH key: the comment in the file, or --label.
    Where the repository is --private, those see it who may read.

    \b
    Examples:
      gittorrent policy add alice.pub 'refs/heads/*'
      gittorrent policy add alice.pub --label 'Alice A.'
      gittorrent policy add bob.asc 'refs/heads/*' 'refs/tags/*' --force
      curl -s https://forge.example.org/alice.keys | gittorrent policy add - 'refs/heads/*'
      gittorrent policy add carol.pub dan.pub --root --threshold 2
      gittorrent policy add alice.pub bob.pub carol.pub refs/heads/release --quorum 2
      gittorrent policy add 'refs/heads/contrib/*' --web-of-trust --depth 2
      gittorrent policy add --mirror git://mirror.example.org/project.git
      gittorrent policy add --private erin.pub --reader
    """
    place = open_to_sign(repository, offline=offline or no_sign)
    draft = read_or_begin(place.carried, place.log)
    with as_arguments():
        names, patterns = split_arguments(arguments)
        keys, passed_over = keys_to_add(names, place)
        if private:
            draft = edit.set_private(draft, private=True)
        if create and force:
            raise UsageError("--create and --force are different rights: give one")
        if web_of_trust:
            if keys or not patterns:
                raise UsageError(
                    "--web-of-trust takes patterns and no keys: the roots' keys vouch",
                    hint="as in: gittorrent policy add 'refs/heads/contrib/*' --web-of-trust",
                )
            draft = edit.add_web_of_trust(draft, patterns, WebOfTrust(depth, needs))
        elif keys:
            grant = Grant.FORCE if force else Grant.CREATE if create else Grant.PLAIN
            roles = _Roles(root, keeper, reader, pin)
            draft = _add_keys(
                draft, keys, patterns, grant, roles, quorum, is_called=label is not None
            )
            draft = edit.set_labels(draft, _labels(draft, keys, label))
        elif patterns:
            raise UsageError("say whose right that is to be: name a key, or --web-of-trust")
        if label is not None and not keys:
            raise UsageError("--label says what to call keys: name one")
        if checkpoint is not None and not keeper:
            raise UsageError("--from says where a new keeper goes on: give --keeper, too")
        if keeper:
            draft = go_on_from(draft, place.log, checkpoint)
        draft = edit.add_mirrors(
            draft, [typed_mirror(url, place.log.repository) for url in mirrors]
        )
        if threshold is not None:
            draft = edit.set_threshold(draft, threshold)
        if fresh_within is not None:
            draft = edit.set_fresh_within(draft, fresh_within)
    options = DraftOptions(key, sign=not no_sign, as_json=as_json)
    result = carry_on(place, draft, options)
    show_result(place, result, keys, passed_over, as_json=as_json)


class _Roles(NamedTuple):
    """What keys are to be besides having rights over refs."""

    root: bool
    keeper: bool
    reader: bool
    pin: bool


def _add_keys(
    draft: PolicyDraft,
    keys: list[FoundKey],
    patterns: list[RefPattern],
    grant: Grant,
    roles: _Roles,
    quorum: int | None,
    *,
    is_called: bool,
) -> PolicyDraft:
    if quorum is not None:
        if not patterns or grant is not Grant.PLAIN:
            raise UsageError("--quorum takes the patterns of the refs, and no --create or --force")
        for pattern in patterns:
            draft = edit.set_quorum(draft, pattern, quorum, keys)
    elif patterns:
        draft = edit.add_people(draft, keys, patterns, grant)
    if roles.root:
        draft = edit.add_roots(draft, keys)
    if roles.keeper:
        if len(keys) != 1:
            raise UsageError(f"a repository has one keeper, and {len(keys)} keys are named")
        draft = edit.set_keeper(draft, keys[0])
    if roles.reader:
        draft = edit.add_readers(draft, keys)
    if roles.pin:
        draft = edit.pin_certificates(draft, keys)
    if not patterns and not any(roles):
        renewed = [each for each in keys if each.certificate is not None or not is_called]
        draft = edit.renew_certificates(draft, renewed)
    return draft


def _labels(draft: PolicyDraft, keys: list[FoundKey], said: str | None) -> dict[KeyRef, str]:
    """Return what keys are to be called: what the user said, or else what their files say.

    A certificate says by itself whose it is.
    """
    if said is not None:
        return {each.key: said for each in keys}
    known = {each.key for each in draft.policy.labels}
    return {
        each.key: label_from(each.label)
        for each in keys
        if each.key.kind is KeyKind.SSH and each.key not in known
    }


@click.command()
@click.argument(
    "arguments", nargs=-1, metavar="[KEY...] [PATTERN...]", shell_complete=complete_files
)
@click.option("--root", is_flag=True, help="Only take away that they sign the policy.")
@click.option("--reader", is_flag=True, help="Only take away that they are named as readers.")
@click.option("--quorum", is_flag=True, help="Take away the quorum lines of the patterns.")
@click.option("--web-of-trust", is_flag=True, help="Take away web-of-trust lines.")
@click.option("--mirror", "mirrors", multiple=True, metavar="URL", help="Name a mirror no more.")
@click.option("--fresh-within", is_flag=True, help="Let the newest news be old after a day again.")
@click.option("--private", is_flag=True, help="Let everybody read, and all that was private, too.")
@click.option("--draft", is_flag=True, help="Discard the draft that is kept.")
@repository_option
@key_option
@no_sign_option
@offline_option
@json_option
def remove(
    arguments: tuple[str, ...],
    root: bool,
    reader: bool,
    quorum: bool,
    web_of_trust: bool,
    mirrors: tuple[str, ...],
    fresh_within: bool,
    private: bool,
    draft: bool,
    repository: Path,
    key: str | None,
    no_sign: bool,
    offline: bool,
    as_json: bool,
) -> None:
    """Take rights away: a new version of the policy.

    KEY is as for 'gittorrent policy add', the beginning of a key's name, or what the policy calls
    it. Without PATTERN a key loses all its rights. What it pushed stays; what it pushes from then
    on is refused.

    \b
    Examples:
      gittorrent policy remove alice.pub
      gittorrent policy remove alice@laptop
      gittorrent policy remove ssh:SHA256:Zx81qk 'refs/tags/*'
      gittorrent policy remove carol.pub --root
      gittorrent policy remove refs/heads/release --quorum
      gittorrent policy remove --draft
    """
    place = open_to_sign(repository, offline=offline or no_sign or draft)
    if draft:
        was_there = discard_draft(place.carried)
        click.echo("the draft is discarded" if was_there else "there is no draft", err=as_json)
        return
    changed = read_or_begin(place.carried, place.log)
    with as_arguments():
        names, patterns = split_arguments(arguments)
        known = {*edit.named_keys(changed.policy), *(pin.key for pin in changed.policy.keys)}
        keys = keys_to_remove(names, known, changed.policy.labels)
        if quorum:
            changed = edit.remove_quorums(changed, patterns)
        elif web_of_trust:
            changed = edit.remove_web_of_trust(changed, patterns)
        elif root:
            changed = edit.remove_roots(changed, keys)
        elif reader:
            changed = edit.remove_readers(changed, keys)
        elif keys:
            changed = edit.remove_keys(changed, keys, patterns)
        elif patterns:
            raise UsageError("say whose right that is: name a key, --quorum or --web-of-trust")
        named = changed.policy.mirrors
        changed = edit.remove_mirrors(changed, [find_mirror(url, named) for url in mirrors])
        if fresh_within:
            changed = edit.set_fresh_within(changed, None)
        if private:
            changed = edit.set_private(changed, private=False)
    options = DraftOptions(key, sign=not no_sign, as_json=as_json)
    show_result(place, carry_on(place, changed, options), as_json=as_json)
