"""The ``gittorrent`` command: one file per subcommand."""
