"""A carried repository on disk: its log, its reels, and the operations on them.

``layout`` says where things are; ``logstore`` and ``reelstore`` keep them; ``carried`` is the
whole; ``publish``, ``receive`` and ``verify`` are what happens to it. The commit point of every
change is one rename of the log's list of entries; refs are derived from it and repaired at open.
"""
