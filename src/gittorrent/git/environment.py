"""What a git process may see of the world around it.

Git is steered by dozens of variables and three layers of configuration; any of them can change
bytes, run hooks or reach other repositories.

Two kinds: `trusted` for work on the user's own behalf, where the user's configuration counts, and
whatever the user's programs go by (credential helpers, askpass, ssh, proxies), in variables of any
name; of ``GIT_*`` only what users set, nothing that a git that calls us (hooks, remote helpers) may
have set about its repository. `isolated` for reels and for anything a peer had a hand in, which
starts from an explicit list. In neither are there replace refs or lazy fetching.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_PASSED_ON = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "SSH_AUTH_SOCK",
    "SSH_ASKPASS",
    "GNUPGHOME",
    "GPG_TTY",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "TERM",
    "LD_LIBRARY_PATH",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
)
_GIT = "GIT_"

_USERS_GIT = (
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_ASKPASS",
    "GIT_PROXY_COMMAND",
    "GIT_TERMINAL_PROMPT",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_COMMITTER_NAME",
    "GIT_COMMITTER_EMAIL",
    "GIT_CEILING_DIRECTORIES",
    "GIT_DISCOVERY_ACROSS_FILESYSTEM",
)
_USERS_GIT_BEGINNINGS = ("GIT_SSL_", "GIT_HTTP_")
"""Variables of git's that users set (git(1), git-config(1))."""

_ALWAYS = {
    "LC_ALL": "C",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ADVICE": "0",
}


def one_off_settings() -> dict[str, str]:
    """Return the variables by which ``git -c`` hands settings to what it starts."""
    names = ("GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT")
    prefixes = ("GIT_CONFIG_KEY_", "GIT_CONFIG_VALUE_")
    return {n: v for n, v in os.environ.items() if n in names or n.startswith(prefixes)}


def hand_down(name: str, value: str) -> None:
    """Add a setting to those that this process and what it starts find as if by ``git -c``."""
    count = int(os.environ.get("GIT_CONFIG_COUNT") or "0")
    os.environ[f"GIT_CONFIG_KEY_{count}"] = name
    os.environ[f"GIT_CONFIG_VALUE_{count}"] = value
    os.environ["GIT_CONFIG_COUNT"] = str(count + 1)


def trusted(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for git acting for the user, who may have configured it.

    ``GIT_TERMINAL_PROMPT`` stays as the user set it, since credentials may be asked for.
    """
    prompt = "GIT_TERMINAL_PROMPT"
    environ = {name: value for name, value in os.environ.items() if _is_users(name)}
    environ.setdefault("PATH", os.defpath)
    environ |= _ALWAYS | {prompt: os.environ.get(prompt, _ALWAYS[prompt])}
    environ.update(extra or {})
    return environ


def _is_users(name: str) -> bool:
    return not name.startswith(_GIT) or name in _USERS_GIT or name.startswith(_USERS_GIT_BEGINNINGS)


def isolated(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for git that must not read anybody's configuration."""
    environ = _base(_PASSED_ON)
    environ["GIT_CONFIG_NOSYSTEM"] = "1"
    environ["GIT_CONFIG_SYSTEM"] = os.devnull
    environ["GIT_CONFIG_GLOBAL"] = os.devnull
    environ["GIT_ATTR_NOSYSTEM"] = "1"
    # core.attributesFile and core.excludesFile default to files below these.
    environ["HOME"] = os.devnull
    environ["XDG_CONFIG_HOME"] = os.devnull
    environ.update(extra or {})
    return environ


def strangers(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for git that talks to a mirror the user did not name.

    Nothing of the user's goes there: no configuration, no credentials asked for or found, and no
    proxy, which would look up the name of the host anew.
    """
    return unasked(isolated()) | dict(extra or {})


def unasked(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment by which git asks nobody who its user is, and goes by no proxy."""
    kept = {name: value for name, value in environ.items() if not name.lower().endswith("_proxy")}
    # Empty, since an SSH_ASKPASS would be asked where there is none at all.
    return kept | {"GIT_ASKPASS": "", "GIT_TERMINAL_PROMPT": "0"}


def unattended_ssh() -> dict[str, str]:
    """Return the variables by which ssh asks for nothing, unless the user has a way of theirs."""
    if any(name in os.environ for name in ("GIT_SSH", "GIT_SSH_COMMAND")):
        return {}
    return {"GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oConnectTimeout=10"}


def _base(names: tuple[str, ...]) -> dict[str, str]:
    environ = {name: os.environ[name] for name in names if name in os.environ}
    environ.setdefault("PATH", os.defpath)
    environ.update(_ALWAYS)
    return environ
