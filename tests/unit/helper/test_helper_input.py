"""Git's lines, however they arrive."""

from __future__ import annotations

import os

from gittorrent.helper.main import Input


def test_lines_in_pieces_and_together() -> None:
    source, sink = os.pipe()
    lines = Input(source)
    os.write(sink, b"capabilities\nopt")
    assert lines.line() == "capabilities"
    os.write(sink, b"ion progress true\n\nfetch a b\nfetch \xff c\n\n")
    assert [lines.line() for _ in range(5)] == [
        "option progress true",
        "",
        "fetch a b",
        "fetch \udcff c",
        "",
    ]
    os.write(sink, b"connect git-receive-pack\n0000")
    assert lines.line() == "connect git-receive-pack"
    assert lines.rest() == b"0000"
    assert lines.rest() == b""
    os.write(sink, b"cut sho")
    os.close(sink)
    assert lines.line() == "cut sho"
    assert lines.line() is None
    assert lines.line() is None
    os.close(source)
