"""Names and passwords for HTTPS servers that the user named, by git's own ways to know them.

The user's ``~/.netrc`` is looked at first, as git's own HTTP does by way of curl; then ``git
credential`` asks the user's helpers, and the user where that is possible, as git itself does when a
server wants to know who asks (gitcredentials(7)). What was found is remembered for the life
of this process, as git does it.

Rules: a password is in no command line, URL, message or file of ours; git's processes that are to
use one get it by a variable, which other users cannot see. What git knows for one path alone
(``credential.useHttpPath``) is said for that path alone: tokens may be for one repository each.
Must not know what a server is asked.
"""

from __future__ import annotations

import os
import subprocess
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gittorrent.errors import UnreachableError
from gittorrent.git import environment
from gittorrent.git.netrc_file import in_netrc
from gittorrent.git.runner import executable

if TYPE_CHECKING:
    from collections.abc import Mapping

_PROMPT = "GIT_TERMINAL_PROMPT"
_NAME, _PASSWORD = "GITTORRENT_USERNAME", "GITTORRENT_PASSWORD"

HELPER = (
    f'!f() {{ test "$1" = get && printf "username=%s\\npassword=%s\\n" "${_NAME}" "${_PASSWORD}";'
    " }; f"
)
"""Value of git's ``credential.helper`` that gives what `variables_for` hands down."""


REFUSED_HINT = "a token may have been revoked, or have expired: ask the mirror's operator"


class NoLoginError(UnreachableError):
    """A server wants to know who asks, and nobody says it, or it believes nobody."""


class Login:
    """A name and a password; whoever shows one by mistake shows neither.

    Args:
        name: the name.
        password: the password.
        path: the one that they are for; empty for all of a server.
        is_of_netrc: whether they are from a file that is none of git's helpers'.
    """

    def __init__(
        self, name: str, password: str, path: str = "", *, is_of_netrc: bool = False
    ) -> None:
        self.name = name
        self.password = password
        self.path = path
        self.is_of_netrc = is_of_netrc
        self.is_approved = is_of_netrc


class Logins:
    """What is known for each server; any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], Login] = {}  # by server and path
        self._passed_over: set[str] = set()  # servers that did not take what .netrc has
        self._refused: set[tuple[str, str]] = set()  # where helpers were told to forget what failed

    def known(self, url: str) -> Login | None:
        """Return what was found for a URL, or for all of its server, without asking anybody."""
        server = _server(url)
        found = self._known.get((server, _path(url))) or self._known.get((server, ""))
        if found is None and server not in self._passed_over:
            there = in_netrc(url)
            found = None if there is None else Login(*there, is_of_netrc=True)
        return found

    def ask(self, url: str, refused: Login | None) -> Login:
        """Return what to say to a server; blocks as long as the user takes.

        Args:
            url: of what is asked for.
            refused: what the server did not take; git's helpers are told so.

        Raises:
            NoLoginError: nobody knows.
        """
        with self._lock:  # one at a time, since the user may be asked
            if refused is not None and refused.is_of_netrc:
                self._passed_over.add(_server(url))
                refused = None
            found = self.known(url)
            if found is not None and found is not refused:
                return found
            if refused is not None:
                self._forget(url, refused)
            found = _fill(url)
            if found is None:
                raise self._nobody_knows(url)
            self._known[_server(url), found.path] = found
            return found

    def _nobody_knows(self, url: str) -> NoLoginError:
        if not self._refused.isdisjoint({(_server(url), _path(url)), (_server(url), "")}):
            return NoLoginError(
                f"{url} did not take the name and password that git knew for it, and git knows no"
                " others",
                hint=REFUSED_HINT,
            )
        return NoLoginError(
            f"{url} asks who you are, and git knows no name and password for it",
            hint="a mirror's operator gives tokens to readers: the token is the password, the name"
            " does not matter; a credential helper of git's remembers it (git help credentials)",
        )

    def _forget(self, url: str, login: Login) -> None:
        """Forget what a server did not take, and have git's helpers do so."""
        place = (_server(url), login.path)
        if self._known.get(place) is login:
            del self._known[place]
        self._refused.add(place)
        _tell("reject", url, login)

    def approve(self, url: str, login: Login) -> None:
        """Let git's helpers remember what a server took."""
        with self._lock:
            self._refused.discard((_server(url), login.path))
            if not login.is_approved:
                login.is_approved = True
                _tell("approve", url, login)

    def reject(self, url: str, login: Login) -> None:
        """Let git's helpers forget what a server did not take."""
        with self._lock:
            self._forget(url, login)


LOGINS = Logins()
"""Those of this process."""


def variables_for(url: str) -> dict[str, str]:
    """Return the variables by which `HELPER` gives git what is known for a URL; none if nothing."""
    login = LOGINS.known(url) if url.startswith("https://") else None
    return {} if login is None else {_NAME: login.name, _PASSWORD: login.password}


def ask_nobody() -> None:
    """Let git in this process ask nobody at a terminal, unless the user set that otherwise."""
    os.environ.setdefault(_PROMPT, "0")


def _server(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or 443}"


def _path(url: str) -> str:
    return urlsplit(url).path.lstrip("/")


def _fill(url: str) -> Login | None:
    """Return what git's helpers, or the user, say; None if nothing."""
    said = _run("fill", _question(url))
    found = dict(line.split("=", 1) for line in said.split("\n") if "=" in line)
    if "username" not in found or "password" not in found:
        return None
    # Git names the path again where that counts for it.
    return Login(found["username"], found["password"], _path(url) if "path" in found else "")


def _tell(what: str, url: str, login: Login) -> None:
    _run(what, {**_question(url), "username": login.name, "password": login.password})


def _question(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return {"protocol": parts.scheme, "host": host, "path": _path(url)}


def _run(what: str, said: Mapping[str, str]) -> str:
    """Have git ask, or tell, its helpers; returns nothing where it cannot."""
    own = os.environ.get("GIT_DIR")
    where = [f"--git-dir={own}"] if own else []
    environ = environment.trusted(environment.one_off_settings())
    if _PROMPT not in os.environ:
        environ.pop(_PROMPT, None)  # git finds out for itself whether there is a terminal
    text = "".join(f"{name}={value}\n" for name, value in said.items()) + "\n"
    done = subprocess.run(
        [executable(), *where, "credential", what],
        input=text.encode("utf-8", "surrogateescape"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environ,
        check=False,
    )
    return done.stdout.decode("utf-8", "surrogateescape") if done.returncode == 0 else ""
