"""Where a repository is to be had: the URLs users give.

Unlike URLs learned from others these are followed wherever they point; they are still taken
apart strictly. Forms: ``gittorrent://[REPOSITORY_ID@]HOST[:PORT]/PATH``, which speaks to a
MirrorSync node on its git port; ``git://``, ``http://`` and ``https://`` URLs of one, and
``gittorrent::ssh://[REPOSITORY_ID+][USER@]HOST[:PORT]/PATH``, a node that ssh leads to; any of them
without a path where the id is given, by which nodes know a repository too; and
``gittorrent://REPOSITORY_ID``, which leaves it to this machine to know a mirror.
"""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

from msgspec import Struct

from gittorrent.errors import UsageError
from gittorrent.ids import RepositoryId, is_repository_id
from gittorrent.wire.urls import DEFAULT_PORTS, Endpoint

SCHEME = "gittorrent"
_USER = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._-]*\Z")
_SECRET = re.compile(r"(?P<scheme>[^/@]*://)(?P<who>[^/]*)@(?P<rest>.*)", re.DOTALL)
_SSH_SCHEMES = frozenset({"ssh", "git+ssh", "ssh+git"})
_FORMS = "gittorrent://[REPOSITORY_ID@]HOST[:PORT]/PATH or gittorrent://REPOSITORY_ID"


class LocationError(UsageError):
    """A URL cannot be used to find a repository."""


class Location(Struct, frozen=True):
    """Where to begin: at a mirror, or with an id alone.

    Args:
        endpoint: where to connect; None where the user named no mirror, and then there is an id.
        expected: the repository id the user asked for, None on trust at first use.
    """

    endpoint: Endpoint | None
    expected: RepositoryId | None

    @property
    def url(self) -> str:
        """The mirror's URL without any id: what is remembered and shown."""
        return f"{SCHEME}://{self.expected}" if self.endpoint is None else self.endpoint.url

    def require_endpoint(self) -> Endpoint:
        """Return the mirror.

        Raises:
            LocationError: the user named none.
        """
        if self.endpoint is None:
            raise LocationError(
                f"{self.url} names a repository and no mirror to ask for this",
                hint=f"name one that carries it: {SCHEME}://{self.expected}@HOST[:PORT]/PATH",
            )
        return self.endpoint

    @property
    def full_url(self) -> str:
        """All of it as a URL that every program of this package takes."""
        return self.url if self.expected is None else self.pinned_url(self.expected)

    def pinned_url(self, repository: RepositoryId) -> str:
        """Return the ``gittorrent`` URL that names the repository for good."""
        if self.endpoint is None:
            return f"{SCHEME}://{repository}"
        scheme = self.endpoint.scheme
        rest = self.endpoint.url.removeprefix(f"{scheme}://")
        if scheme == "git":
            return f"{SCHEME}://{repository}@{rest}"
        if self.endpoint.user:
            return f"{SCHEME}::{scheme}://{repository}+{rest}"
        return f"{SCHEME}::{scheme}://{repository}@{rest}"


def is_url(text: str) -> bool:
    """Tell whether a user's word is a URL, right or wrong, and not a name or a path."""
    return "://" in text or text.startswith(f"{SCHEME}::")


def shown_url(url: str) -> str:
    """Return a user's URL fit to be shown: without a password, a token in the place of a name, or a
    query, where some forges take tokens.

    What programs say ends up in the logs of services and of CI jobs.
    """
    before, query, _ = url.partition("?")
    if query and is_url(url):
        url = f"{before}?..."
    found = _SECRET.match(url)
    if found is None or ("http" not in found["scheme"].lower() and ":" not in found["who"]):
        return url
    is_id = is_repository_id(found["who"].lower())
    return url if is_id else f"{found['scheme']}...@{found['rest']}"


def may_lead_to_mirror(url: str) -> bool:
    """Tell whether a remote's URL may be tried to find out if a mirror is there.

    Not so for ssh, unless the URL says that it is one: it starts the user's ssh.
    """
    return url.startswith(f"{SCHEME}:") or url.partition("://")[0].lower() not in _SSH_SCHEMES


def url_for_git(url: str) -> str:
    """Return a URL of any of the forms so that git hands it to the remote helper."""
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()  # git looks for a helper by the exact name
    prefix = f"{SCHEME}::" if scheme in DEFAULT_PORTS else ""
    return f"{prefix}{scheme}{separator}{rest}"


def parse_location(url: str) -> Location:
    """Take a user's URL apart.

    Ids are taken in upper case too, and slashes at the end do not count.

    Raises:
        LocationError: it has none of the forms.
    """
    plain = url.removeprefix(f"{SCHEME}::")
    try:
        parts = urlsplit(plain)
        port = parts.port
    except ValueError as error:
        # What is taken for the port may be the half of a password.
        why = f"what begins with {url.partition(':')[0]!r}" if "@" in url else f"{url!r}"
        detail = "" if "@" in url else f": {error}"
        raise LocationError(f"{why} is no URL{detail}", hint=f"write {_FORMS}") from error
    url = shown_url(url)
    schemes = {SCHEME: "git", **{each: each for each in DEFAULT_PORTS}}
    scheme = schemes.get(parts.scheme)
    if scheme is None:
        raise _other_form(url, parts.scheme)
    if port == 0:
        raise LocationError(f"{url!r}: nobody listens at port 0", hint=f"write {_FORMS}")
    if any(ord(c) < 0x21 or ord(c) == 0x7F for c in plain):
        raise LocationError(f"{url!r} is no gittorrent URL", hint=f"write {_FORMS}")
    if parts.query or parts.fragment or parts.password is not None:
        raise LocationError(
            f"{url!r} has parts that a gittorrent URL cannot have",
            hint="git's credential helpers are asked for passwords and tokens"
            if parts.password is not None
            else f"write {_FORMS}",
        )
    expected, user = _who(parts.username, scheme)
    host = parts.hostname or ""
    if parts.scheme == SCHEME and is_repository_id(host) and not parts.path.strip("/"):
        if expected is not None or port is not None:
            raise LocationError(f"{url!r} is no gittorrent URL", hint=f"write {_FORMS}")
        return Location(None, RepositoryId(host))
    if not host or host.startswith("-"):
        raise LocationError(f"{url!r} names no host", hint=f"write {_FORMS}")
    if expected is not None and not is_repository_id(expected):
        raise LocationError(
            f"what stands before the host in {url!r} is no repository id",
            hint="a repository id has 52 letters a-z and digits 2-7",
        )
    # A node answers for a repository at its id, too.
    asked = parts.path.rstrip("/") or (f"/{expected}" if expected else "")
    if not asked:
        raise LocationError(f"{url!r} names no repository", hint=f"write {_FORMS}")
    path = quote(asked, safe="/%!$&'()*+,;=:@~")
    endpoint = Endpoint(scheme, host, port or DEFAULT_PORTS[scheme], path, user)
    return Location(endpoint, None if expected is None else RepositoryId(expected))


def _who(userinfo: str | None, scheme: str) -> tuple[str | None, str]:
    """Return the id, and the user of ssh, that stand before a host: ``ID``, ``USER``, ``ID+USER``.

    Raises:
        LocationError: the user cannot be one.
    """
    if userinfo is None or scheme != "ssh":
        return None if userinfo is None else userinfo.lower(), ""
    first, plus, rest = userinfo.partition("+")
    if is_repository_id(first.lower()):
        return first.lower(), rest
    if plus or _USER.match(userinfo) is None:
        raise LocationError(
            f"{userinfo[:60]!r} is no user of ssh",
            hint="write ssh://[REPOSITORY_ID+]USER@HOST/PATH",
        )
    return None, userinfo


def _other_form(url: str, scheme: str) -> LocationError:
    """Say what a URL is that this program does not use: people paste those they know from git."""
    head, _, path = url.removeprefix(f"{SCHEME}::").partition(":")
    # An alias of ssh's looks like a scheme; a number would be a port, and two colons name a helper.
    is_other = path.startswith(("//", ":")) or path[:1].isdigit()
    is_scp = bool(path) and "/" not in head and not is_other
    if scheme.startswith(f"{SCHEME}+"):
        # git would look for a program of that whole name.
        plain = url[len(SCHEME) + 1 :]
        return LocationError(
            f"{url!r} is no gittorrent URL", hint=f"write {SCHEME}::{plain}, which git takes too"
        )
    if scheme in _SSH_SCHEMES or is_scp:
        return LocationError(
            f"{url!r} is for git itself, over ssh",
            hint=f"write {SCHEME}::ssh://[USER@]HOST/PATH where a mirror answers, or {_FORMS}",
        )
    if scheme == "file" or url.startswith(("/", "./", "../", "~")):
        return LocationError(
            f"{url!r} is on this machine, where nothing has to be downloaded",
            hint=f"use 'git clone', or write {_FORMS}",
        )
    return LocationError(f"{url!r} is no gittorrent URL", hint=f"write {_FORMS}")
