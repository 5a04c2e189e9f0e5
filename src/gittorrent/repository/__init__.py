"""A repository on disk as this program sees it: its log, its reels, and what is done to them.

``layout`` says where things are; ``logstore`` and ``reelstore`` keep them; ``carried`` is the
whole; ``publish``, ``install`` and ``verify`` are what happens to it. The commit point of every
change is one rename of the log's list of entries; refs are derived from it and repaired at open.
"""
