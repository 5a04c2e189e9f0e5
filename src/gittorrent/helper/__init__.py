"""``git-remote-gittorrent``: what git runs for ``gittorrent://`` URLs."""
