"""Which keys sshd lets in, asked at each login: those that policies here name.

So nobody keeps a file of them: who is added to a policy gets in, and who is taken out of all does
not any more. Rules: what is printed lets a key in for ``gittorrent shell`` alone, as the key that
it is; what cannot be read names nobody. Must not know what is asked for afterwards.
Source: sshd_config(5), AuthorizedKeysCommand.
"""

from __future__ import annotations

import base64
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gittorrent.errors import GitTorrentError, TrustError
from gittorrent.store.home import VARIABLE
from gittorrent.trust.sshkey import parse_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gittorrent.node.catalogue import Served
    from gittorrent.trust.keys import KeyRef


def authorized_line(key: str, repositories: Iterable[Served], command: str) -> str:
    """Return the line for sshd that lets a key in; empty if no policy names it.

    Args:
        key: it, in base64, as sshd says it for ``%k``.
        repositories: those of the node.
        command: that runs `gittorrent shell`, without the key.
    """
    try:
        parsed = parse_key(base64.b64decode(key, validate=True))
    except (TrustError, ValueError):  # certificates and weak keys, too
        return ""
    if not any(parsed.key in keys_named(each) for each in repositories):
        return ""
    quoted = f"{command} --key {parsed.key}".replace('"', '\\"')
    return f'restrict,command="{quoted}" {parsed.algorithm} {key}'


def keys_named(served: Served) -> frozenset[KeyRef]:
    """Return the keys that the policy of a repository names; none where it cannot be read."""
    if served.readers is not None:
        return served.readers  # of whoever else has rights, too
    try:
        policy = served.carried.log().policy.policy
    except (GitTorrentError, OSError):
        return frozenset()
    return policy.keys_with_rights


def shell_command(places: Sequence[Path], *, final_only: bool) -> str:
    """Return the command line that runs `gittorrent shell` as this one was run.

    Args:
        places: of repositories, if not all of the node.
        final_only: as the option.
    """
    program = Path(shutil.which(sys.argv[0]) or sys.argv[0]).absolute()
    words = [str(program), "shell", *(["--final-only"] if final_only else [])]
    words += [str(place.absolute()) for place in places]
    home = os.environ.get(VARIABLE)
    setting = "" if home is None else f"{VARIABLE}={shlex.quote(home)} "
    return setting + shlex.join(words)
