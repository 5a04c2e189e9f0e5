"""The hook of git's that publishes what is pushed into a published repository.

It runs as whoever pushes, who need not be the one who installed it: with another PATH, another home
and no node. So it names this program by the Python that runs it, adds the places where git and the
programs that sign were found, and works on the repository alone. A hook that somebody else wrote is
never replaced.

Source: githooks(5), post-receive.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from gittorrent.durable import write_atomically
from gittorrent.errors import UsageError
from gittorrent.git.runner import Git, executable

NAME = "post-receive"

MODULE = "gittorrent.cli.pushed"
"""What the hook runs, in the repository."""

_MARK = "# Made by 'gittorrent publish', which replaces it; remove this line to keep your own."

_PROGRAMS = ("ssh-keygen", "gpg")
"""What signs, besides git."""


class OtherHookError(UsageError):
    """Another hook is installed for pushes."""


def install_push_hook(git_dir: Path) -> Path:
    """Let pushes into a repository be published, and return the hook.

    Args:
        git_dir: of a bare repository, which is published.

    Raises:
        OtherHookError: there is a hook already, or git looks for hooks outside the repository.
    """
    hook = _place(git_dir)
    if not hook.is_relative_to(git_dir.resolve()):
        raise OtherHookError(
            f"git looks for the hooks of {git_dir} in {hook.parent} (core.hooksPath), which may be"
            " other repositories' too",
            hint=f"let {NAME} there run: {_command()}",
        )
    text = _text()
    if hook.exists():
        present = hook.read_text(encoding="utf-8", errors="replace")
        if _MARK not in present:
            raise OtherHookError(
                f"there is another hook already: {hook}", hint=f"let it run: {_command()}"
            )
        if present == text and os.access(hook, os.X_OK):
            return hook
    write_atomically(hook, text.encode("utf-8", "surrogateescape"))
    mode = hook.stat().st_mode
    hook.chmod(mode | (mode & 0o444) >> 2)
    return hook


def has_push_hook(git_dir: Path) -> bool:
    """Tell whether something is done with what is pushed into a repository."""
    return os.access(_place(git_dir), os.X_OK)


def _place(git_dir: Path) -> Path:
    """Return where git looks for the hook; everybody's configuration counts."""
    git = Git(git_dir, isolated=False)
    out = git.run("rev-parse", "--git-path", f"hooks/{NAME}")
    return (git_dir / os.fsdecode(out.rstrip(b"\n"))).resolve()


def _command() -> str:
    return shlex.join([sys.executable, "-P", "-m", MODULE])


def _text() -> str:
    found = [executable(), *map(shutil.which, _PROGRAMS)]
    folders = dict.fromkeys(str(Path(path).absolute().parent) for path in found if path)
    return f"""\
#!/bin/sh
{_MARK}
PATH=${{PATH:+$PATH:}}{shlex.quote(os.pathsep.join(folders))}
export PATH
python={shlex.quote(sys.executable)}
if [ ! -x "$python" ]; then
    echo "gittorrent: pushed, but not published: $python is not there any more" >&2
    echo "hint: run 'gittorrent publish --install-hook' on $PWD again" >&2
    exit 1
fi
exec "$python" -P -m {MODULE}
"""
