"""Who may say what a branch is: keys, signatures and the policy that names them.

Pure: bytes come in, verified values or errors go out. Nothing here reads a disk, a clock or a
socket, and nothing here signs; making signatures is the business of ``gittorrent.signing``.

Protocol: docs/protocol/trust.md.
"""
