"""Canonical reels: the objects between two pushes as the same bytes everywhere.

``order``, ``segments``, ``encoder``, ``pack``, ``parts``, ``arrival`` and ``manifest`` are pure and
hold the definition; ``build`` carries it out with git (docs/protocol/reels.md).
"""
