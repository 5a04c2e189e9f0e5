"""Making signatures with the user's own keys, through ssh-keygen and gpg.

An adapter: starts those programs and reads key files, and nothing else. Checking signatures is
pure and lives in ``gittorrent.trust``.
"""
