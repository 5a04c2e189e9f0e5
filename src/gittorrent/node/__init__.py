"""The serving node: listeners for git:// and HTTP, and what they answer.

``catalogue`` says which repositories are served; ``git_listener`` and ``http_listener`` speak to
callers; ``services`` and ``notices`` answer mirror-list and mirror-notify; ``mirror_announcer``
announces this node's mirrors to the nodes they came from; ``node`` ties all of it together.
"""
