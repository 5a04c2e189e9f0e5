"""``python -m gittorrent``: the same as the ``gittorrent`` command."""

from gittorrent.cli.start import main

main()
