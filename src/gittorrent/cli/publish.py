"""``gittorrent publish``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gittorrent.cli.bare_copy import (
    add_remote,
    find_moved_copy,
    find_to_publish,
    record_copy,
    record_repository,
    recorded_copy,
)
from gittorrent.cli.new_repository import has_log, require_another, require_meant, require_new
from gittorrent.cli.news import offline_option, take_news
from gittorrent.cli.output import StepProgress, json_option, print_json, quiet_option
from gittorrent.cli.published import published_json, require_together, show_published
from gittorrent.cli.push_hook import see_to_pushes
from gittorrent.cli.repositories import REPOSITORY, repository_at_hand
from gittorrent.cli.running_node import served_at
from gittorrent.cli.signer import KeyOptions, choose_first_signer, choose_signer
from gittorrent.cli.signing_clock import signing_clock
from gittorrent.errors import UsageError
from gittorrent.git.known_settings import KNOWN
from gittorrent.git.refs import head_target, read_refs, set_head
from gittorrent.git.repository import (
    create_bare,
    read_config,
    require_complete,
)
from gittorrent.git.runner import Git
from gittorrent.repository import housekeeping
from gittorrent.repository.carried import ORIGIN, PUBLISHED, Carried, require_name
from gittorrent.repository.copied_refs import copy_refs, name_few
from gittorrent.repository.large_files import lacks_large_files
from gittorrent.repository.layout import Layout
from gittorrent.repository.newest_push import require_newest
from gittorrent.repository.publish import Publisher, require_own
from gittorrent.repository.publishable import (
    HIDDEN,
    Unpublishable,
    describe_left_out,
    require_patterns,
)
from gittorrent.repository.readers_file import close_to_others, is_private_here
from gittorrent.repository.signed_entries import author_in
from gittorrent.store.carried_rows import CarriedRow
from gittorrent.store.copied_home import mark_as_own
from gittorrent.store.database import Database
from gittorrent.store.home import Home, open_home
from gittorrent.store.privacy import note_private

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.git.repository import FoundRepository


@click.command()
@click.argument("repository", type=REPOSITORY, default=repository_at_hand)
@click.option("--name", metavar="NAME", help="Name to serve it under; later on: rename it to NAME.")
@click.option(
    "--key",
    metavar="KEY",
    help="SSH key file, or OpenPGP fingerprint; by default the last one, or git's signing key.",
)
@click.option("--new-key", is_flag=True, help="Make an SSH key for signing if there is none.")
@click.option(
    "--new-repository",
    is_flag=True,
    help="Make a new repository, with a new id, of what belongs to another one.",
)
@click.option(
    "--allow-behind",
    is_flag=True,
    help="Go on although a newer checkpoint was seen here that this lacks.",
)
@click.option(
    "--refs",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Publish refs like refs/notes/* too, now and from now on.",
)
@click.option(
    "--private", is_flag=True, help="Let only those read whom the policy names; the first time."
)
@click.option(
    "--even-if-private",
    is_flag=True,
    help="With --new-repository: let everybody read what another repository keeps private.",
)
@offline_option
@click.option("--install-hook", is_flag=True, help="Publish what is pushed here from now on, too.")
@click.option("--wait", is_flag=True, help="Do the repacking before returning.")
@quiet_option
@json_option
@KNOWN.for_a_moment()
def publish(
    repository: Path,
    name: str | None,
    key: str | None,
    new_key: bool,
    new_repository: bool,
    allow_behind: bool,
    patterns: tuple[str, ...],
    private: bool,
    even_if_private: bool,
    offline: bool,
    install_hook: bool,
    wait: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Sign what changed in a repository's refs and make its objects a reel that any mirror carries.

    REPOSITORY is a bare repository, which is published in place, or a clone you work in, which
    is published through a bare copy in the node's home. Publish again after new commits: only
    what is new is worked on. What others pushed elsewhere is taken over and never reverted; refs
    that changed in both places are named.

    \b
    What becomes public with it: branches and tags, your key's fingerprint, and the name and
    email address git uses for you.

    \b
    Examples:
      gittorrent publish /srv/git/project.git --key ~/.ssh/id_ed25519
      gittorrent publish . --name project --new-key
      gittorrent publish . --private
    """
    home = open_home()
    database = Database(home.database)
    say = _silent if quiet or as_json else _say
    options = KeyOptions(key, new_key)
    try:
        require_patterns(patterns)
        found = find_to_publish(repository)
        # Before a key is made; a repository that was published is looked at by `Publisher`.
        if not found.is_bare or not Carried(found.git_dir, found.object_format).is_carried:
            require_complete(Git(found.git_dir))
        if not found.is_bare:
            find_moved_copy(found.git_dir, database, say)
        if found.is_bare:
            require_own(Carried(found.git_dir, found.object_format))
        former = recorded = None if found.is_bare else recorded_copy(found.git_dir)
        if not new_repository:
            require_new(found, database)
        elif has_log(recorded or found.git_dir, found.object_format):
            require_another(found, name)
            recorded = None
        if new_repository and not private and not even_if_private:
            require_meant(found, database)
        config = read_config(found.git_dir)
        carried = _to_publish(found, recorded, home, database, name)
        # Without a key nothing is published for the first time, and so nothing is made for it.
        first = None
        if not carried.is_carried:
            is_made = (carried.layout.git_dir / "config").is_file()
            known_key = carried.signing_key if is_made else None
            first = choose_first_signer(options, config, home, known_key, say)
        if not found.is_bare:
            _bring_up_to_date(carried, found, patterns, say, is_recorded=recorded is not None)
            if recorded is None:
                mark_as_own(carried.layout.git_dir, home)
        chosen = _name(carried, found, name)
        if chosen is not None:
            own = carried.info.repository_id if carried.is_carried else None
            database.require_free(require_name(chosen), str(carried.layout.git_dir), own)
        log = carried.peek()
        if log.head is not None and not offline and take_news(carried, log, home, database, say):
            log = carried.peek()
        if log.head is not None and not allow_behind:
            instead = (
                "move it to another folder, and 'gittorrent adopt' the repository from a mirror"
            )
            require_newest(log, database, str(carried.layout.git_dir), instead)
        signer = first or choose_signer(options, config, home, carried, say)
        progress = StepProgress(quiet=quiet or as_json)
        try:
            author = author_in(found.git_dir, signing_clock(home, say))
            publisher = Publisher(carried, signer, author, progress, say)
            done = publisher.publish(chosen, patterns, private=private)
        finally:
            progress.close()
        git_dir = carried.layout.git_dir
        close_to_others(carried.layout, home.repositories)
        is_hidden = is_private_here(carried.layout, done.repository_id)
        note_private(database, done.repository_id, private=is_hidden)
        database.carry(CarriedRow(done.name, done.repository_id, str(git_dir), ORIGIN))
        database.saw_head(done.repository_id, done.push_id, done.number, int(time.time()))
        if not found.is_bare:
            record_repository(found.git_dir, done.repository_id)
            add_remote(found, carried, say, former)
    finally:
        database.close()
    served = served_at(home, done.name, done.repository_id, is_private=is_hidden)
    if as_json:
        print_json(published_json(carried, done, served, is_private=is_hidden))
    elif not quiet:
        show_published(done, served, is_private=is_hidden)
    if done.is_new and lacks_large_files(carried.git, "HEAD"):
        say(
            "warning: files of Git LFS are kept elsewhere and published by nobody, and clones ask"
            " this repository's URL for them in vain\n"
            "hint: name their server in what you publish: 'git config -f .lfsconfig lfs.url URL',"
            " committed with the files"
        )
    if done.reels and housekeeping.is_due(carried, first=done.is_new):
        if wait:
            housekeeping.tidy_up(carried)
        else:
            housekeeping.start_in_background(carried)
    see_to_pushes(found, carried, author, is_wanted=install_hook, is_new=done.is_new, say=say)
    require_together(done, carried.layout.git_dir)


def _to_publish(
    found: FoundRepository, recorded: Path | None, home: Home, database: Database, name: str | None
) -> Carried:
    """Return the bare repository to publish, which is not there yet if it is a copy to be made."""
    if found.is_bare:
        return Carried(found.git_dir, found.object_format)
    if recorded is not None:
        return Carried(recorded, found.object_format)
    chosen = require_name(_directory_name(found) if name is None else name)
    path = home.repositories / f"{chosen}.git"
    carried = Carried(path, found.object_format)
    database.require_free(chosen, "")
    if carried.is_carried:
        raise UsageError(
            f"{path} holds another repository of the name {chosen}",
            hint="choose another with --name",
        )
    return carried


def _bring_up_to_date(
    carried: Carried,
    found: FoundRepository,
    patterns: tuple[str, ...],
    say: Callable[[str], None],
    *,
    is_recorded: bool,
) -> None:
    """Give the bare copy what the clone has; make it, and note it in the clone, the first time."""
    path = carried.layout.git_dir
    is_new = not path.is_dir()
    if is_new or not is_recorded:
        Layout(found.git_dir).copied_refs.unlink(missing_ok=True)  # they are in another copy
    # Harmless where it is whole, and completes one whose making was cut short.
    create_bare(path, found.object_format)
    if not is_recorded:
        if read_refs(Git(path)):
            # It would be published with what is published here.
            raise UsageError(
                f"{path} holds what another repository of the name {path.stem} has",
                hint="choose another with --name, or publish that one; remove the directory if"
                " nothing needs it",
            )
        # Before anything is published, so that whoever goes on after a crash finds it again.
        record_copy(found.git_dir, path)
    if is_new:
        say(f"{found.place} is published through the bare copy {path}")
    wanted = (*PUBLISHED, *(carried.info.patterns if carried.is_carried else ()), *patterns)
    copied = copy_refs(found, Git(path), tuple(dict.fromkeys(wanted)))
    if copied.left:
        names = ", ".join(name.decode(errors="backslashreplace") for name in copied.left)
        say(
            f"{path} has refs that this clone does not have; they stay published: {names}\n"
            "hint: delete one with 'git push gittorrent --delete NAME'"
        )
    if copied.hidden:
        left_out = tuple(Unpublishable(name, HIDDEN) for name in copied.hidden)
        say(describe_left_out(found.git_dir, left_out))
    if copied.newer:
        say(
            f"{path} has what others changed, and that stays: {name_few(copied.newer)}\n"
            f"hint: 'git fetch {path}' brings it into the clone"
        )
    branch, shown = head_target(Git(found.git_dir)), head_target(Git(path))
    # Later on a checked out topic is no default branch; but a branch that is gone is none either.
    if branch is not None and (not carried.is_carried or shown not in read_refs(Git(path))):
        set_head(Git(path), branch)


def _name(carried: Carried, found: FoundRepository, name: str | None) -> str | None:
    if name is not None or carried.is_carried:
        return name
    return _directory_name(found)


def _directory_name(found: FoundRepository) -> str:
    return found.place.name.removesuffix(".git") or "repository"


def _say(text: str) -> None:
    click.echo(text, err=True)


def _silent(text: str) -> None:
    del text
