"""How git reaches an HTTP server, by the user's configuration: certificates, proxies, a header.

For mirrors that the user named; of learned ones nothing of this is asked. What counts is what git
itself would take: ``http.*`` and ``http.<url>.*`` (git-config(1)), which variables of git's
override, and curl's variables where no proxy is configured. Of several ``http.extraHeader`` that
match a URL the one counts that matches it best, as ``git config --get-urlmatch`` says; cookies are
not read.
"""

from __future__ import annotations

import ipaddress
import os
import re
import subprocess
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec import Struct

from gittorrent.errors import UsageError
from gittorrent.git import environment
from gittorrent.git.boolean import parse_boolean
from gittorrent.git.runner import executable

if TYPE_CHECKING:
    from collections.abc import Mapping

SECONDS = 10.0
"""Time git gets to read its configuration: files, in most places."""

_FILES = {
    "ca_file": ("http.sslcainfo", "GIT_SSL_CAINFO"),
    "ca_path": ("http.sslcapath", "GIT_SSL_CAPATH"),
    "certificate": ("http.sslcert", "GIT_SSL_CERT"),
    "key": ("http.sslkey", "GIT_SSL_KEY"),
}
"""Fields of `HttpSettings`, and the setting and variable that each comes from."""


_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_VALUE = re.compile(r"[\t -~]+\Z")
"""A header's name and value (RFC 9110, 5)."""

_OWN = frozenset(
    ["accept-encoding", "connection", "content-length", "content-type", "host", "range",
     "sec-websocket-key", "sec-websocket-version", "transfer-encoding", "upgrade", "user-agent"]
)  # fmt: skip
"""Headers that a request is made of."""


class ProxyError(UsageError):
    """A proxy is configured that this program cannot use; its URL, which may have a password, is
    not shown."""


class HttpSettings(Struct, frozen=True):
    """How to reach a server; nothing configured by default.

    Args:
        proxy: its ``http://`` or ``https://`` URL; empty for none.
        verify: whether the server's certificate has to hold.
        ca_file: file of authorities that count instead of the system's; empty for those.
        ca_path: directory of such.
        certificate: file with the user's own certificate; empty for none.
        key: file with its key; empty if it is in the same file.
        header: name and value of a header for each request, such as a token; empty for none.
    """

    proxy: str = ""
    verify: bool = True
    ca_file: str = ""
    ca_path: str = ""
    certificate: str = ""
    key: str = ""
    header: tuple[str, str] | tuple[()] = ()


NOTHING_SET = HttpSettings()
"""What counts for mirrors that the user did not name."""


def read_http_settings(url: str) -> HttpSettings:
    """Ask git how it would reach a URL from here, in the repository that git works for if any.

    Blocks for as long as git takes.

    Raises:
        ProxyError: the proxy is of a kind that this program does not speak to.
        UsageError: a setting makes no sense, or git does not answer.
    """
    own = os.environ.get("GIT_DIR")
    where = [f"--git-dir={own}"] if own else []
    words = [executable(), *where, "config", "--null", "--type=path"]
    environ = environment.trusted(environment.one_off_settings())
    try:
        done = subprocess.run(
            [*words, "--get-urlmatch", "http", url],
            capture_output=True,
            env=environ,
            check=False,
            timeout=SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"git cannot say how it reaches {url}: {error}") from error
    found = {}
    for entry in done.stdout.decode("utf-8", "surrogateescape").split("\0"):
        name, has_value, value = entry.partition("\n")
        found[name.lower()] = value if has_value else "true"
    return settings_of(url, found, os.environ)


def settings_of(url: str, config: Mapping[str, str], environ: Mapping[str, str]) -> HttpSettings:
    """Return what configuration and environment say of a URL.

    Args:
        url: of the server.
        config: what of ``http.*`` matches it best; names in lower case.
        environ: of this process.

    Raises:
        ProxyError: the proxy is of a kind that this program does not speak to.
    """
    verify = parse_boolean("http.sslVerify", config.get("http.sslverify", "true"))
    if "GIT_SSL_NO_VERIFY" in environ:
        verify = False
    files = {
        field: environ.get(variable) or config.get(setting, "")
        for field, (setting, variable) in _FILES.items()
    }
    header = _header(config.get("http.extraheader", ""))
    return HttpSettings(_proxy(url, config, environ), verify, header=header, **files)


def resolved_to(host: str, port: int, address: str) -> list[str]:
    """Return the setting by which git calls a host at an IP address that was judged.

    Args:
        host: its name, or an address without brackets.
        port: of the server.
        address: where it is called.

    Returns:
        ``key=value`` for ``git -c``; nothing where the host is that address.
    """
    literal = f"[{address}]" if ":" in address else address
    return [] if host == address else [f"http.curloptResolve={host}:{port}:{literal}"]


def _header(said: str) -> tuple[str, str] | tuple[()]:
    """Return the header of ``http.extraHeader``; what is none, or is this program's, is none."""
    name, _, value = said.partition(":")
    value = value.strip()
    if _NAME.match(name) is None or _VALUE.match(value) is None or name.lower() in _OWN:
        return ()
    return name, value


def _proxy(url: str, config: Mapping[str, str], environ: Mapping[str, str]) -> str:
    """Return the proxy for a URL; empty for none."""
    parts = urlsplit(url)
    proxy = config.get("http.proxy")
    if proxy is None:
        # Only the lower-case form of http_proxy counts, as with curl: servers set the other one.
        names = [f"{parts.scheme}_proxy", "all_proxy", "ALL_PROXY"]
        names[1:1] = ["HTTPS_PROXY"] if parts.scheme == "https" else []
        proxy = next((environ[name] for name in names if environ.get(name)), "")
    exempt = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if not proxy or _is_exempt(parts.hostname or "", exempt):
        return ""
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    try:
        there = urlsplit(proxy)
        kind, is_place = there.scheme, there.port != 0 and bool(there.hostname)
    except ValueError:
        kind, is_place = "http", False
    if not is_place:
        raise ProxyError(
            f"the proxy for {url} is not of the form http://HOST:PORT",
            hint="check http.proxy, remote.<name>.proxy, https_proxy and no_proxy",
        )
    if kind not in ("http", "https"):
        raise ProxyError(
            f"the proxy for {url} is a {kind} proxy, which is not supported",
            hint="set http.<url>.proxy to an http:// proxy, or to nothing to use none",
        )
    return proxy


def _is_exempt(host: str, exempt: str) -> bool:
    """Tell whether a host is among those that are reached without a proxy (curl's rules)."""
    for name in exempt.replace(" ", ",").split(","):
        plain = name.strip().lower().strip("[]")
        if plain == "*" or (plain and _covers(plain, host.lower())):
            return True
    return False


def _covers(name: str, host: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False)
    except ValueError:
        name = name.lstrip(".")
        return host == name or host.endswith(f".{name}")
