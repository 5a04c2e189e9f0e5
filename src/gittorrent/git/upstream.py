"""Asks a plain git server for its refs and objects: any that git reaches, named by the operator.

``git ls-remote`` and ``git fetch`` are run under guard (`gittorrent.git.guarded`): the operator
named the server, and is nobody who vouches for what it sends. Rules: the user's own git
configuration counts (credential helpers, proxies, certificates, ssh), and nobody is ever asked for
anything; no other transport than the URL's is taken, no redirect is followed and no rewritten URL
used, since the operator would not know whom is being followed then; objects are named by id;
submodules, hooks, bundles and refs of the repository are left alone.
Source: git-ls-remote(1), git-fetch(1).
"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import UnreachableError
from gittorrent.git import environment
from gittorrent.git.ci_places import BASE as CI_BASE
from gittorrent.git.fetching import why_it_failed
from gittorrent.git.fsck_trace import FsckTrace
from gittorrent.git.guarded import Bounds, Guarded
from gittorrent.git.runner import executable
from gittorrent.push.upstream_refs import Advertised, NotAListingError, parse_listing
from gittorrent.push.upstream_urls import Scheme, UpstreamUrlError, scheme_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gittorrent.git.fsckrules import FsckRules
    from gittorrent.git.guarded import Outcome
    from gittorrent.ids import Oid

MAX_LISTING = 96 << 20
"""Bytes of a list of refs: more than a million of them, whose pull requests have refs, too."""

LISTING_SECONDS = 120.0
"""Time in which a list of refs has to come: it comes at once, at the end."""

FETCH_SECONDS = 300.0
"""Seconds without a byte, nor any indexing, after which a fetch is given up: a server may count
objects for minutes before it sends the first one."""

_SETTINGS = (
    "http.followRedirects=false",
    "protocol.version=2",
    "transfer.bundleURI=false",
    "fetch.unpackLimit=1",
    "transfer.unpackLimit=1",
    "fetch.writeCommitGraph=false",
    "fetch.recurseSubmodules=false",
    "submodule.recurse=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "core.hooksPath=/dev/null",
)
_REDIRECTED = re.compile(r"returned error: 30[1278]\b|HTTP/[0-9.]+ 30[1278]\b")
_LOCATION = re.compile(r"<= Recv header: location: (?P<url>[^\r\n]+)", re.IGNORECASE)
_NO_CREDENTIALS = ("could not read Username", "could not read Password", "Authentication failed")


class UpstreamError(UnreachableError):
    """An upstream did not give what it was asked for."""


class Upstream(Struct, frozen=True):
    """A git server's repository.

    Args:
        url: as git takes it; a path is absolute.
        scheme: how it is reached.
        config: configuration file that counts besides the user's own; None for none.
    """

    url: str
    scheme: Scheme
    config: Path | None = None


class UpstreamBounds(Struct, frozen=True):
    """How much may come of an upstream.

    Args:
        max_bytes: of packs.
        room: returns how many bytes may still be written where they go.
    """

    max_bytes: int
    room: Callable[[], int]


def parse_upstream(text: str, config: Path | None = None) -> Upstream:
    """Read the URL of a plain git server: of a scheme that git has, ``host:path``, or a path.

    Args:
        text: as it was typed; relative paths begin where this program was started.
        config: configuration file that counts for it.

    Raises:
        UpstreamUrlError: it is none.
    """
    is_path = "://" not in text and Path(text).exists()
    scheme = scheme_of(text, is_path=is_path)
    if scheme is Scheme.FILE and "://" not in text:
        return Upstream(str(Path(text).absolute()), scheme, config)
    return Upstream(text, scheme, config)


def list_refs(upstream: Upstream, staging: Path, *, only_usual: bool) -> Advertised:
    """Ask for all refs, or those that any repository has; one round.

    Args:
        upstream: the server.
        staging: an empty scratch repository.
        only_usual: whether nothing but branches and tags is wanted, and no HEAD; servers of
            protocol 2 then list nothing else.

    Raises:
        UpstreamError: it does not say; says why.
    """
    _require_own_url(upstream)
    which = ["--heads", "--tags"] if only_usual else ["--symref"]
    words = [
        *_git(upstream, *_by_itself(upstream)),
        f"--git-dir={staging}",
        "ls-remote",
        *which,
        "--",
        upstream.url,
    ]
    # What comes is counted there, and bounded.
    path = staging / "objects" / "listing"
    guarded = Guarded(staging, Bounds(MAX_LISTING, LISTING_SECONDS), lambda _: None)
    with path.open("wb") as file:
        outcome = guarded.run(words, subprocess.DEVNULL, _environ(upstream), out=file.fileno())
    _judge(upstream, guarded, outcome, staging)
    try:
        return parse_listing(path.read_bytes())
    except NotAListingError as error:
        raise UpstreamError(f"{upstream.url} cannot be tracked: {error}") from error
    finally:
        path.unlink()


def fetch_ids(
    upstream: Upstream,
    staging: Path,
    wants: Iterable[Oid],
    rules: FsckRules,
    bounds: UpstreamBounds,
    hear: Callable[[bytes], None] | None = None,
) -> bool:
    """Fetch objects with all they reach into a scratch repository.

    A web server that has files and no git gives loose objects, too.

    Args:
        upstream: the server.
        staging: the scratch repository; what it borrows from takes part in negotiation.
        wants: ids, which the server has listed a moment ago.
        rules: of fsck's, that objects have to keep to.
        bounds: of what is taken.
        hear: told of git's progress; None asks for none.

    Returns:
        Whether git held what came to the rules.

    Raises:
        RulesBrokenError: objects break the rules.
        NoRoomError: there is no room for them.
        UpstreamError: it did not give them; says why.
    """
    settings = (*_by_itself(upstream), *rules.settings)
    words = [*_git(upstream, *settings), f"--git-dir={staging}", "fetch"]
    words += ["--no-tags", "--no-write-fetch-head", "--refmap=", "--stdin"]
    words += ["--quiet" if hear is None else "--progress", "--", upstream.url]
    limits = Bounds(bounds.max_bytes, FETCH_SECONDS)
    guarded = Guarded(staging, limits, hear or (lambda _: None), bounds.room)
    asked = "".join(f"{want}\n" for want in dict.fromkeys(wants)).encode("ascii")
    trace = FsckTrace(staging)
    outcome = guarded.run(words, asked, _environ(upstream, trace.environ))
    _judge(upstream, guarded, outcome, staging)
    return trace.shows_check()


def _git(upstream: Upstream, *settings: str) -> list[str]:
    """Return the beginning of a command line."""
    # First, so that what follows counts more.
    own = [] if upstream.config is None else [f"include.path={upstream.config}"]
    chosen = [*own, *_SETTINGS, *settings]
    return [executable(), *(word for setting in chosen for word in ("-c", setting))]


def _environ(upstream: Upstream, extra: dict[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a git that may use all that the user configured, and ask nobody."""
    made = {
        **environment.one_off_settings(),
        **environment.unattended_ssh(),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",  # or core.askPass and SSH_ASKPASS would be asked
        "GIT_ALLOW_PROTOCOL": upstream.scheme.value,
        **(extra or {}),
    }
    return environment.trusted(made)


def _by_itself(upstream: Upstream) -> list[str]:
    """Return the setting by which git takes a URL as it is, since the longest match counts.

    Where clones of this machine are led to its node ('gittorrent ci setup') nothing else would.
    """
    url = upstream.url
    return [] if "=" in url or "://" not in url else [f"url.{url}.insteadOf={url}"]


def _require_own_url(upstream: Upstream) -> None:
    """Make sure that git's configuration does not lead elsewhere.

    Where clones of this machine are led to its own node it would track itself.

    Raises:
        UpstreamUrlError: it does.
    """
    words = [*_git(upstream), "ls-remote", "--get-url", "--", upstream.url]
    environ = _environ(upstream)
    done = subprocess.run(words, capture_output=True, env=environ, cwd="/", check=False)
    used = done.stdout.decode("utf-8", "surrogateescape").removesuffix("\n")
    if used == f"{CI_BASE}{upstream.url}":
        return  # the URL itself, by way of this machine's node: `_environ` leads past that
    if done.returncode or used != upstream.url:
        said = done.stderr.decode(errors="replace").strip()
        where = f"git's configuration leads {upstream.url} to {used} (url.*.insteadOf)"
        raise UpstreamUrlError(
            said if done.returncode else where,
            hint="" if done.returncode else f"track {used} itself, or take that setting away",
        )


def _judge(upstream: Upstream, guarded: Guarded, outcome: Outcome, staging: Path) -> None:
    """Say in plain words why git failed, if it did; the scratch repository is not needed more."""
    if outcome.broken is None and outcome.status == 0:
        return
    why, hint = why_it_failed(upstream.url, guarded, outcome)
    if outcome.broken is None and _REDIRECTED.search(outcome.said):
        raise _redirects(upstream, staging)
    raise UpstreamError(
        f"cannot track {upstream.url}: {why}", hint=hint or _remedy(upstream, outcome)
    )


def _remedy(upstream: Upstream, outcome: Outcome) -> str:
    """Return what helps against what git says of an upstream; empty if nothing is known to."""
    if any(words in outcome.said for words in _NO_CREDENTIALS):
        return (
            "let git know the credentials without a question, as this user: see"
            " 'git help credentials'"
        )
    if "shallow" in outcome.said:
        return "an upstream has to be whole; run 'git fetch --unshallow' there, or track another"
    if outcome.broken is None:
        words = f"git ls-remote {shlex.quote(upstream.url)}"
        return f"'{words}', as this user, shows whether git gets there"
    return ""


def _redirects(upstream: Upstream, staging: Path) -> UpstreamError:
    """Return where an upstream leads, which only the operator can agree to."""
    words = [*_git(upstream), "ls-remote", "--", upstream.url]
    environ = _environ(upstream, {"GIT_TRACE_CURL": "2", "GIT_TRACE_CURL_NO_DATA": "1"})
    # What answers now may be something else, and may list refs without end.
    guarded = Guarded(staging, Bounds(MAX_LISTING, LISTING_SECONDS), lambda _: None)
    found = _LOCATION.search(guarded.run(words, subprocess.DEVNULL, environ).said)
    target = "" if found is None else found["url"].strip()
    target = target.partition("/info/refs")[0] if target.isprintable() else ""
    where = target or "elsewhere"
    words = ["gittorrent", "track", target]
    hint = f"{shlex.join(words)} with the same --name goes on there, if that is right"
    return UpstreamError(
        f"{upstream.url} redirects to {where}, which is not followed",
        hint=hint if target else "find out where it has gone, and track that URL",
    )
