"""``gittorrent completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that lets a shell complete gittorrent's commands and options.

    \b
    Examples:
      gittorrent completion bash > ~/.local/share/bash-completion/completions/gittorrent
      gittorrent completion zsh > ~/.zfunc/_gittorrent
      gittorrent completion fish > ~/.config/fish/completions/gittorrent.fish
    """
    from gittorrent.cli.main import gittorrent

    maker = get_completion_class(shell)
    assert maker is not None
    click.echo(maker(gittorrent, {}, "gittorrent", "_GITTORRENT_COMPLETE").source())
