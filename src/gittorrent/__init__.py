"""Peer-to-peer distribution of git repositories over git's own protocol."""

__version__ = "0.1.0"
