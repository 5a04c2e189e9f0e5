"""Push objects, the push log and the state that follows from it.

Pure: bytes in, verified values out. Commits of the log are described here and hashed by git
elsewhere (docs/protocol/trust.md, "Log entries").
"""
