"""GTP/0.1, the GitTorrent Protocol of 2006 to 2008: metainfo, tracker and peer wire.

The modules here are pure: codecs, machines and rules that take bytes, time and entropy and return
values and effects. `gittorrent.gtp.node` holds the shells with sockets, git and SQLite; nothing
outside this package but the command line imports it (docs/protocol/gtp01.md).
"""
