"""Repositories as files for web servers and buckets, which know nothing of this program.

Must not know the node: what is exported is read as the node reads it, from a carried repository.
Source: docs/protocol/mirrorsync.md, "HTTP resources" and "Static mirrors".
"""
