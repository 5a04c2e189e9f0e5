"""Moving bytes between nodes: conversations, mirrors, downloads.

The protocol's rules are in `wire`, the choice of parts in `swarm`; here are the sockets, files and
tasks that carry them out, for the remote helper, for mirrors and for the daemon alike.
"""
