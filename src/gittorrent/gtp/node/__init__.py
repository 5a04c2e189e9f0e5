"""The shells of GTP/0.1: sockets, git, files, HTTP and SQLite around the pure machines.

May import the adapters of the whole program (``git``, ``repository``, ``transfer.limiter``,
``signing``); nobody but the command line imports these modules.
"""
