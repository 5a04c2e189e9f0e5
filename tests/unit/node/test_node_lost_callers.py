"""Who hangs up at any moment is one line in a node's log."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from aiohttp import ClientConnectionResetError, web

from gittorrent.repository.carried import Carried
from support import nodes, websockets
from support.nodes import connected
from support.programs import wait_until


def test_who_hangs_up_before_a_conversation_begins_leaves_no_traceback(
    carried: Carried,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def prepare(_self: web.WebSocketResponse, _request: web.BaseRequest) -> None:
        raise ClientConnectionResetError("Cannot write to closing transport")

    monkeypatch.setattr(web.WebSocketResponse, "prepare", prepare)
    caplog.set_level(logging.INFO)
    with (
        nodes.serving(carried, home=nodes.make_home(tmp_path)) as node,
        connected(node.http_address) as sock,
    ):
        sock.sendall(websockets.request())
        while sock.recv(1 << 16):
            pass
        wait_until(lambda: "closing transport" in caplog.text, "it is in the log")
    assert [each.levelname for each in caplog.records if each.levelno > logging.INFO] == []
