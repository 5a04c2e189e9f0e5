"""Ordinary fetching from a mirror's upload-pack: what no reel covers, shallow and partial clones.

Objects are named by id, from refs that were verified; the mirror is asked for nothing else. Only
``git fetch-pack`` and git's own HTTP helper are started, in a scratch repository and under guard
(`gittorrent.git.guarded`); URLs come from checked endpoints, so no option or transport can be
smuggled in. Redirects are not followed. A mirror that we only learned of gets nothing that is the
user's: no headers, cookies, credentials or proxies; and it is contacted at the address that was
judged, whatever its name leads to a moment later.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field

from gittorrent.errors import FULL_HINT, NoRoomError, UnreachableError
from gittorrent.git import environment
from gittorrent.git.credentials import HELPER, variables_for
from gittorrent.git.fsck_trace import FsckTrace
from gittorrent.git.fsckrules import RulesBrokenError, says_rules_are_broken
from gittorrent.git.guarded import Broken
from gittorrent.git.http_settings import resolved_to
from gittorrent.git.runner import executable
from gittorrent.sizes import show_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.git.fsckrules import FsckRules
    from gittorrent.git.guarded import Guarded, Outcome
    from gittorrent.ids import Oid


_OF_OBJECTS = (
    "unresolved delta",
    "did not send all necessary objects",
    "bad object",
    "missing",
    "unable to read",
    "Could not read",
)
"""What git says (in the C locale) when it does not find an object that it needs."""

NO_GIT_THERE = (
    "' not found",
    "returned error: 403",
    "dumb http transport",
    "Unable to find",
)
"""What git says of a web server that has files and no git: buckets answer 403 to what they lack,
others a page, which git takes for a server of its files."""

FILES_HINT = (
    "a mirror that is files alone packs nothing on demand: leave --depth and --filter out, or"
    " clone from a node"
)


class FetchFailedError(UnreachableError):
    """A mirror's upload-pack did not give what was asked for.

    ``broken`` says which bound it broke; None if it broke none and failed all the same.
    ``is_about_objects`` tells whether objects were missing, there or here.
    """

    def __init__(self, message: str, *, hint: str = "", broken: Broken | None = None) -> None:
        super().__init__(message, hint=hint)
        self.broken = broken
        self.is_about_objects = broken is None and any(words in message for words in _OF_OBJECTS)


class FetchOptions(Struct, frozen=True):
    """How to fetch, as the remote helper protocol names it.

    Args:
        progress: show git's progress on standard error.
        settings: further options with their values: ``depth``, ``filter``, ``deepen-since`` ...
    """

    progress: bool = False
    settings: dict[str, list[str]] = field(default_factory=dict)

    @property
    def limits_history(self) -> bool:
        """Tell whether less than everything is wanted."""
        return self.moves_boundary or "filter" in self.settings

    @property
    def moves_boundary(self) -> bool:
        """Tell whether the place where history is cut off may move."""
        return bool(self.settings.keys() & {"depth", "deepen-since", "deepen-not"})

    def has(self, name: str) -> bool:
        """Tell whether a switch is on; git says "true" for some of them and "1" for others."""
        return self.settings.get(name, ["false"])[-1] in ("true", "1")


class FetchSource(Struct, frozen=True):
    """A mirror to fetch from.

    Args:
        url: of the mirror, to show; also to use, unless ``address`` is given.
        is_learned: whether somebody told us of it; otherwise the user named it.
        address: IP address to contact it at, where that was judged.
        host: its name, with the port where it is not the usual one.
        port: its port.
        config: configuration file that counts for what the user named; None for no such file.
    """

    url: str
    is_learned: bool = False
    address: str | None = None
    host: str = ""
    port: int = 0
    config: Path | None = None

    @property
    def scheme(self) -> str:
        """How it is reached."""
        return self.url.partition(":")[0]


_BY_HELPER = frozenset(["http", "https"])
"""Schemes for which git has a remote helper; the others are streams, which fetch-pack takes."""

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
    "followtags": "--include-tag",
}


def fetch(
    staging: Path,
    source: FetchSource,
    wants: Iterable[tuple[Oid, str]],
    options: FetchOptions,
    guarded: Guarded,
    rules: FsckRules | None,
) -> bool:
    """Fetch objects into a scratch repository, in the way of the source's scheme.

    A web server that has files and no git gives loose objects, too.

    Args:
        staging: the scratch repository; the refs of those it borrows from take part in negotiation.
        source: the mirror.
        wants: id of each ref to fetch with all it reaches, and the ref's name, which HTTP needs.
        options: how.
        guarded: runs git.
        rules: what objects must keep to, None for git's own settings.

    Returns:
        Whether git held what came to the rules.

    Raises:
        RulesBrokenError: objects break the rules.
        NoRoomError: there is no room for them.
        FetchFailedError: the mirror did not give them; says what git said.
    """
    if source.scheme in _BY_HELPER:
        return _fetch_by_helper(staging, source, wants, options, guarded, rules)
    oids = list(dict.fromkeys(oid for oid, _ in wants))
    _fetch_pack(staging, source, oids, options, guarded, rules)
    return True


def _fetch_pack(
    staging: Path,
    source: FetchSource,
    wants: Iterable[Oid],
    options: FetchOptions,
    guarded: Guarded,
    rules: FsckRules | None,
) -> None:
    """Fetch over git:// or ssh; arguments and errors as `fetch`."""
    words = [*_git(source, rules, options), f"--git-dir={staging}", "fetch-pack", "--stdin"]
    # Git 2.39 crashes where it checks objects and is not to say which pack it locked.
    words.append("--lock-pack")
    # As git itself and its HTTP helper do. Deltas may build on what is here then; without it,
    # upload-pack sends whole trees to who has a commit whose history is cut off.
    words.append("--thin")
    for name, form in _FLAGS.items():
        words += [form.format(value) for value in options.settings.get(name, [])]
    words += [switch for name, switch in _SWITCHES.items() if options.has(name)]
    words.append(_url_to_use(source))
    asked = "".join(f"{want}\n" for want in wants).encode("ascii")
    _judge(source, guarded, guarded.run(words, asked, _environ(source), _cwd(source)))


def _fetch_by_helper(
    staging: Path,
    source: FetchSource,
    wants: Iterable[tuple[Oid, str]],
    options: FetchOptions,
    guarded: Guarded,
    rules: FsckRules | None,
) -> bool:
    """Fetch by git's own remote helper; arguments, result and errors as `fetch`."""
    words = [*_git(source, rules, options), "-c", "protocol.version=0"]
    words += [f"remote-{source.scheme}", source.url, source.url]
    lines = ["option progress true", "option verbosity 1"]
    for name, values in options.settings.items():
        lines += [f"option {name} {value}" for value in values]
    lines.append("list")
    lines += [f"fetch {oid} {name}" for oid, name in wants]
    body = "".join(f"{line}\n" for line in lines) + "\n\n"
    trace = FsckTrace(staging)
    environ = {**_environ(source), **trace.environ, "GIT_DIR": str(staging)}
    asked = body.encode("utf-8", "surrogateescape")
    _judge(source, guarded, guarded.run(words, asked, environ, _cwd(source)))
    return trace.shows_check()


def _git(source: FetchSource, rules: FsckRules | None, options: FetchOptions) -> list[str]:
    """Return the beginning of a command line."""
    settings = ["http.followRedirects=false", "fetch.unpackLimit=1", "transfer.unpackLimit=1"]
    if options.has("from-promisor"):
        # Git looks for all objects after a fetch that cuts history off, unless some may be missing.
        settings.append("remote.promisor.promisor=true")
    if rules is not None:
        settings += rules.settings
    if source.config is not None:
        # First, so that what follows counts more.
        settings.insert(0, f"include.path={source.config}")
    if not source.is_learned and variables_for(source.url):
        settings.append(f"credential.helper={HELPER}")
    if source.scheme in _BY_HELPER and source.address is not None:
        settings += resolved_to(source.host.strip("[]"), source.port, source.address)
    return [executable(), *(word for setting in settings for word in ("-c", setting))]


def _url_to_use(source: FetchSource) -> str:
    """Return the URL for git: of a judged mirror the one of the address itself."""
    if source.scheme != "git" or source.address is None:
        return source.url
    host = f"[{source.address}]" if ":" in source.address else source.address
    path = source.url.partition("://")[2].partition("/")[2]
    return f"git://{host}:{source.port}/{path}"


def _environ(source: FetchSource) -> dict[str, str]:
    if source.scheme == "ssh":
        # ssh is nothing without the user's keys and settings; owners named it in their policy.
        return environment.trusted(environment.unattended_ssh())
    if not source.is_learned:
        return environment.trusted({**environment.one_off_settings(), **variables_for(source.url)})
    extra = {}
    if source.scheme == "git" and source.address is not None:
        # What the daemon there is asked for is still a host by its name.
        extra["GIT_OVERRIDE_VIRTUAL_HOST"] = f"{source.host}:{source.port}"
    return environment.strangers(extra)


def _cwd(source: FetchSource) -> Path | None:
    """Return where relative paths in the settings begin, if the user's count."""
    return None if source.is_learned else Path.cwd()


def _judge(source: FetchSource, guarded: Guarded, outcome: Outcome) -> None:
    """Say in plain words why a fetch failed, if it did."""
    if outcome.broken is None and outcome.status == 0:
        return
    why, hint = why_it_failed(source.url, guarded, outcome)
    is_missing = source.scheme in ("http", "https") and any(each in why for each in NO_GIT_THERE)
    raise FetchFailedError(
        f"ordinary fetch from {source.url} failed: {why}",
        hint=hint or (FILES_HINT if is_missing else ""),
        broken=outcome.broken,
    )


def why_it_failed(url: str, guarded: Guarded, outcome: Outcome) -> tuple[str, str]:
    """Return why a git that was guarded failed, and what helps, empty if nothing is known to.

    Args:
        url: of the server that it talked to.
        guarded: what guarded it.
        outcome: how it ended, not well.

    Raises:
        RulesBrokenError: an object breaks fsck's rules.
        NoRoomError: there is no room for what comes.
    """
    if outcome.broken is None and says_rules_are_broken(outcome.said):
        raise RulesBrokenError(outcome.said, source=url, first="")
    if outcome.broken is Broken.NO_ROOM:
        raise NoRoomError(f"no space left for what {url} sends", hint=FULL_HINT)
    bounds = guarded.bounds
    why = {
        Broken.SILENT: f"too little came of it for {bounds.silence:.0f} seconds",
        Broken.TOO_LARGE: f"it sends more than the {show_bytes(bounds.max_bytes)} allowed",
        Broken.MEMORY: "it makes git need too much memory",
        Broken.STOPPED: "interrupted",
        None: complaint(outcome),
    }[outcome.broken]
    hint = ""
    if outcome.broken is Broken.TOO_LARGE:
        hint = "raise gittorrent.maxSize if that is right"
    return why, hint


def complaint(outcome: Outcome) -> str:
    """Return what git says was wrong, without the progress before it."""
    lines = [line.strip() for line in outcome.said.replace("\r", "\n").splitlines()]
    told = [
        # Git breaks a line behind a colon where the system's reason follows.
        f"{line} {after}".strip() if line.endswith(":") else line
        for line, after in itertools.zip_longest(lines, lines[1:], fillvalue="")
        if line.startswith(("fatal:", "error:", "remote: fatal:", "ERR"))
    ]
    shown = told or [line for line in lines if line][-1:]
    return "; ".join(shown) or f"exit status {outcome.status}"
