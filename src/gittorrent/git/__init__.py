"""The only place that starts git.

``environment`` says what git may see, ``runner`` starts it, ``scratch`` makes the empty
repositories in which reels are planned and encoded, and the rest is typed plumbing, one noun a
module. Object work is git's: nothing here parses packs or trees.
"""
