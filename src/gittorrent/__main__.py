"""``python -m gittorrent``: the same as the ``gittorrent`` command."""

from gittorrent.cli.main import main

main()
