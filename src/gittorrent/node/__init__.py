"""The serving node: listeners for git:// and HTTP, and what they answer.

``catalogue`` says which repositories are served, ``content`` what is had of each; ``git_listener``
and ``http_listener`` speak to callers, ``services`` and ``notices`` hold the answers of
mirror-list and mirror-notify, ``announce`` tells other nodes of this one, ``node`` is the whole.
"""
