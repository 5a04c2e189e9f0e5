"""``gittorrent completion``.

The scripts are files, so that they can be installed where shells look for them. For ``git torrent``
git's own completion asks them, once it found them by a file name of its own.
"""

from __future__ import annotations

from importlib.resources import files

import click

SCRIPTS = {"bash": "gittorrent", "zsh": "_gittorrent", "fish": "gittorrent.fish"}
"""Files of `gittorrent.cli.completions`, by shell."""


@click.command()
@click.argument("shell", type=click.Choice(list(SCRIPTS)))
def completion(shell: str) -> None:
    """Print a script that lets a shell complete gittorrent's commands and options.

    Where the shell completes git too, the same script completes 'git torrent'; bash and zsh look
    for that by a file name of its own.

    \b
    Examples:
      gittorrent completion fish > ~/.config/fish/conf.d/gittorrent.fish

    \b
      cd ~/.local/share/bash-completion/completions
      gittorrent completion bash | tee git-torrent > gittorrent

    \b
      cd ~/.zfunc     # or another directory that is in fpath
      gittorrent completion zsh | tee _git-torrent > _gittorrent
    """
    script = files("gittorrent.cli.completions") / SCRIPTS[shell]
    click.echo(script.read_text(encoding="utf-8"), nl=False)
