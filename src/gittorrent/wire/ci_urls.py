"""URLs of upstreams that CI jobs clone from by way of their node, and which of them it serves.

Pure. A job is somebody else's code: what it names is asked for only if the operator's list has a
prefix of it. So a URL is written in one way before it is compared, and what servers or clients
might read in two ways is refused.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from gittorrent.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

PREFIX = "ci+"
"""Begins the URLs that git's configuration turns an upstream's into."""

MAX_URL = 2048
"""Bytes of a URL: no forge has longer ones."""

MAX_NAMED = 3
"""URLs named of all that are allowed: who asks may be any job."""

GIT = ".git"
"""Ends the names of repositories; servers know them without it as well."""

_SLASHES_OF_HOST = 2
"""Those of a URL without a path, which ``.git`` at the end of names no repository."""

_LOGIN = re.compile(r"://[^/]*@")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+\Z")
_HOST = re.compile(r"[a-z0-9._-]+\Z|\[[0-9a-f:.]+\]\Z")
_DEFAULT_PORTS = {"https": 443, "http": 80}
_AMBIGUOUS = ("%2f", "%5c", "%2e", "%3b", "%25", "%00")


class CiUrlError(UsageError):
    """A URL is none of an upstream for CI."""


class CiUrl(Struct, frozen=True):
    """An upstream.

    Args:
        url: in the one way that it is written in here, without anybody's name or password.
        header: what an ``Authorization`` header says by its name and password; empty without any.
    """

    url: str
    header: str = ""


def parse_ci_url(text: str) -> CiUrl:
    """Read an upstream's URL.

    Raises:
        CiUrlError: it is none that is served in this way.
    """
    name, url = _taken_apart(text)
    path = url.partition("://")[2].partition("/")[2]
    if not path:
        raise CiUrlError(f"{url} names no repository")
    return CiUrl(url, name)


def parse_prefix(text: str) -> str:
    """Read what URLs of upstreams begin with, such as ``https://github.com/``.

    Raises:
        CiUrlError: it is no such beginning.
    """
    header, url = _taken_apart(text)
    if header:
        raise CiUrlError("a name or password is nothing that URLs are listed by; leave it out")
    return url.rstrip("/") + "/"


def parse_beginning(text: str) -> str:
    """Read what git is to compare URLs with, which is their beginning.

    A name that ends with ``.git`` is one repository's. Jobs write that without the ending, too, so
    the beginning has none, and no slash.

    Raises:
        CiUrlError: it is no such beginning.
    """
    prefix = parse_prefix(text)
    bare = _bare(prefix)
    return bare if prefix == f"{bare}{GIT}/" else prefix


def is_allowed(url: str, prefixes: Iterable[str]) -> bool:
    """Tell whether a URL lies below one of the prefixes, or is what it names, ``.git`` or not.

    Args:
        url: of an upstream, or what such URLs begin with, as it is written here.
        prefixes: the same.
    """
    bare = _bare(url)
    return any(url.startswith(prefix) or bare == _bare(prefix) for prefix in prefixes)


def without_login(text: str) -> str:
    """Return a URL without the name and password that it may have, whatever else is in it."""
    return _LOGIN.sub("://", text, count=1)


def _bare(url: str) -> str:
    bare = url.rstrip("/")
    return bare.removesuffix(GIT) if bare.count("/") > _SLASHES_OF_HOST else bare


def why_not_served(prefix: str, prefixes: Iterable[str]) -> str:
    """Return why not all URLs that begin so are allowed; empty if they are."""
    if is_allowed(prefix, prefixes):
        return ""
    below = sorted(each for each in prefixes if each.startswith(prefix))
    if not below:
        return "it is not allowed below [ci] in the node's node.toml"
    more = f" and {len(below) - MAX_NAMED} more" if len(below) > MAX_NAMED else ""
    return f"of it only {', '.join(below[:MAX_NAMED])}{more} is allowed in the node's node.toml"


def _taken_apart(text: str) -> tuple[str, str]:
    """Return the header that name and password come to, and the URL without them."""
    if len(text) > MAX_URL or not text.isascii() or not text.isprintable() or " " in text:
        raise CiUrlError("not the URL of an upstream: it is too long, or has characters none has")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise CiUrlError(f"not the URL of an upstream: {error}") from error
    host, path = (parts.hostname or "").lower(), parts.path.rstrip("/")
    host = f"[{host}]" if ":" in host else host
    if parts.scheme not in _DEFAULT_PORTS or not _HOST.match(host):
        raise CiUrlError("not the URL of an upstream", hint="write https://HOST/PATH")
    if parts.query or parts.fragment or any(c in text for c in "?#\\"):
        raise CiUrlError("the URL of an upstream has neither a query nor a fragment")
    if path and (not _PATH.match(path) or _is_ambiguous(path)):
        raise CiUrlError("the path of that URL can be read in more than one way")
    where = "" if port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{port}"
    return _header(parts.username, parts.password), f"{parts.scheme}://{host}{where}{path or '/'}"


def _is_ambiguous(path: str) -> bool:
    lower = path.lower()
    # Some servers leave out what follows a ";" in a segment before they resolve the dots.
    dots = any(segment.partition(";")[0] in (".", "..") for segment in path.split("/"))
    return dots or any(each in lower for each in _AMBIGUOUS)


def _header(name: str | None, password: str | None) -> str:
    if name is None and password is None:
        return ""
    pair = f"{unquote(name or '')}:{unquote(password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode("ascii")
