"""Whether later pushes into a repository that was just published are published too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.git.repository import set_config
from gittorrent.repository.push_hook import OtherHookError, has_push_hook, install_push_hook

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.git.repository import FoundRepository
    from gittorrent.repository.carried import Carried
    from gittorrent.repository.signed_entries import Author


def see_to_pushes(
    found: FoundRepository,
    carried: Carried,
    author: Author,
    *,
    is_wanted: bool,
    is_new: bool,
    say: Callable[[str], None],
) -> None:
    """Install the hook where it is wanted, and in copies of clones; say what becomes of pushes.

    Args:
        found: what was published.
        carried: the same, or the bare copy that it is published through.
        author: in whose name it was published.
        is_wanted: whether the user asked for the hook.
        is_new: whether this was the first publication.
        say: told what the owner should know.

    Raises:
        OtherHookError: the user asked for it, and it cannot be installed.
    """
    git_dir = carried.layout.git_dir
    if not found.is_bare:
        _keep_author(author, carried)
    elif not is_wanted:
        if is_new and not has_push_hook(git_dir):
            say(
                "what is pushed there later is published by the next 'gittorrent publish';"
                " --install-hook lets each push do that"
            )
        return
    try:
        hook = install_push_hook(git_dir)
    except OtherHookError as error:
        if is_wanted:
            raise
        say(f"pushes to the remote 'gittorrent' are not published by themselves: {error}")
        return
    if is_wanted:
        say(f"what is pushed from now on is published by {hook}")


def _keep_author(author: Author, carried: Carried) -> None:
    """Let pushes into the copy be published in the name that git has in the clone."""
    person = author.person.decode("utf-8", "surrogateescape")
    name, _, email = person.removesuffix(">").rpartition(" <")
    set_config(carried.git, {"user.name": name, "user.email": email})
