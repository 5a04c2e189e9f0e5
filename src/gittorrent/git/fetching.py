"""Ordinary fetching from a mirror's upload-pack: what no reel covers, shallow and partial clones.

Objects are named by id, from refs that were verified; the mirror is asked for nothing else. Only
``git fetch-pack`` for git:// and git's own HTTP helper are started; URLs come from checked
endpoints, so no option or transport can be smuggled in.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field

from gittorrent.errors import UnreachableError
from gittorrent.git import environment
from gittorrent.git.runner import Child, executable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.ids import Oid


class FetchFailedError(UnreachableError):
    """A mirror's upload-pack did not give what was asked for."""


class FetchOptions(Struct, frozen=True):
    """How to fetch, as the remote helper protocol names it.

    Args:
        progress: show git's progress on standard error.
        verbosity: 0 for quiet, 1 as usual.
        cloning: whether this fills a new clone.
        settings: further options with their values: ``depth``, ``filter``, ``deepen-since`` ...
    """

    progress: bool = False
    verbosity: int = 1
    cloning: bool = False
    settings: dict[str, list[str]] = field(default_factory=dict)

    @property
    def limits_history(self) -> bool:
        """Tell whether less than everything is wanted."""
        return bool(self.settings.keys() & {"depth", "filter", "deepen-since", "deepen-not"})


_FLAGS = {
    "depth": "--depth={}",
    "filter": "--filter={}",
    "deepen-since": "--shallow-since={}",
    "deepen-not": "--shallow-exclude={}",
}
_SWITCHES = {
    "deepen-relative": "--deepen-relative",
    "update-shallow": "--update-shallow",
    "from-promisor": "--from-promisor",
    "refetch": "--refetch",
}


def fetch_pack(
    git_dir: Path,
    url: str,
    wants: Iterable[Oid],
    options: FetchOptions,
    child: Child | None = None,
) -> bool:
    """Fetch objects over git:// into a repository.

    Args:
        git_dir: the repository, whose own configuration and refs take part in negotiation.
        url: of the mirror.
        wants: ids to fetch with all they reach.
        options: how.
        child: lets another thread stop it.

    Returns:
        Whether git proved that everything the wants reach is there now.

    Raises:
        FetchFailedError: the mirror did not give them; says what git said.
    """
    words = [executable(), f"--git-dir={git_dir}", "fetch-pack", "--stdin"]
    if not options.progress:
        words.append("--no-progress")
    if options.verbosity < 1:
        words.append("--quiet")
    if options.cloning:
        words.append("--cloning")
    if options.cloning and not options.limits_history:
        words.append("--check-self-contained-and-connected")
    for name, form in _FLAGS.items():
        words += [form.format(value) for value in options.settings.get(name, [])]
    for name, switch in _SWITCHES.items():
        # Git says "true" for some switches and "1" for others.
        if options.settings.get(name, ["false"])[-1] in ("true", "1"):
            words.append(switch)
    words.append(url)
    done = (child or Child()).run(
        words,
        "".join(f"{want}\n" for want in wants).encode("ascii"),
        environment.trusted(environment.one_off_settings()),
        stderr=None if options.progress else subprocess.PIPE,
    )
    if done.returncode != 0:
        said = (done.stderr or b"").decode(errors="replace").strip()
        raise FetchFailedError(f"ordinary fetch from {url} failed: {said or 'see above'}")
    return b"connectivity-ok" in done.stdout


def fetch_over_http(
    git_dir: Path,
    url: str,
    wants: Iterable[tuple[Oid, str]],
    options: FetchOptions,
    child: Child | None = None,
) -> None:
    """Fetch objects over HTTP into a repository, by git's own helper.

    Args:
        git_dir: the repository.
        url: of the mirror.
        wants: id and name of each ref to fetch.
        options: how.
        child: lets another thread stop it.

    Raises:
        FetchFailedError: the mirror did not give them.
    """
    scheme = url.partition(":")[0]
    words = [executable(), "-c", "protocol.version=0", f"remote-{scheme}", url, url]
    lines = [
        f"option progress {'true' if options.progress else 'false'}",
        f"option verbosity {options.verbosity}",
    ]
    if options.cloning:
        lines.append("option cloning true")
    for name, values in options.settings.items():
        lines += [f"option {name} {value}" for value in values]
    lines.append("list")
    lines += [f"fetch {oid} {name}" for oid, name in wants]
    body = "".join(f"{line}\n" for line in lines) + "\n\n"
    done = (child or Child()).run(
        words,
        body.encode("utf-8", "surrogateescape"),
        environment.trusted({**environment.one_off_settings(), "GIT_DIR": str(git_dir)}),
        stderr=None if options.progress else subprocess.PIPE,
    )
    if done.returncode != 0:
        said = (done.stderr or b"").decode(errors="replace").strip()
        raise FetchFailedError(f"ordinary fetch from {url} failed: {said or 'see above'}")
    _drop_locks(done.stdout)


def _drop_locks(output: bytes) -> None:
    """Remove the ``.keep`` files the helper locked: the caller's git knows nothing of them."""
    for line in output.splitlines():
        if line.startswith(b"lock ") and line.endswith(b".keep"):
            Path(line[5:].decode("utf-8", "surrogateescape")).unlink(missing_ok=True)
