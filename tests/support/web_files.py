"""A mirror that is files on a web server which knows nothing else."""

from __future__ import annotations

import contextlib
import http.server
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gittorrent.repository.carried import Carried
from support import nodes
from support.running_servers import running


def save(carried: Carried, address: tuple[str, int], folder: Path, *, packs: bool = False) -> None:
    """Save what the node at an address serves of a repository as ``/project.git`` as files.

    Args:
        carried: the repository.
        address: of the node, by HTTP.
        folder: where to put it.
        packs: whether to save the reels, too.
    """
    reels = carried.reels.all()
    names = ["mirror-list", "pushes/index", "reels/index"]
    names += [f"pushes/{push}" for push in carried.log().entries]
    names += [f"reels/{reel.id}.manifest" for reel in reels]
    names += [f"reels/{reel.id}.pack" for reel in reels if packs]
    for name in names:
        _, data = nodes.fetch(address, "GET", f"/project.git/{name}")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


@contextlib.contextmanager
def serving(
    folder: Path, moved: Mapping[str, str] = MappingProxyType({}), *, as_bucket: bool = False
) -> Iterator[str]:
    """Serve files by a web server that knows nothing else; yields its URL.

    Args:
        folder: what it serves.
        moved: paths that are answered with a redirect, and where to.
        as_bucket: whether it answers 403 to all that is not there, and to what is sent, as buckets
            do that nobody may list.
    """

    class Files(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def do_GET(self) -> None:
            if as_bucket and not Path(self.translate_path(self.path)).is_file():
                self._refuse()
                return
            if self.path not in moved:
                super().do_GET()
                return
            self.send_response(302)
            self.send_header("Location", moved[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            if as_bucket:
                self._refuse()
            else:
                self.send_error(501)

        def _refuse(self) -> None:
            said = b"<?xml version='1.0'?>\n<Error><Code>AccessDenied</Code></Error>"
            self.send_response(403)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_words: Any) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files)
    with running(server):
        yield f"http://127.0.0.1:{server.server_port}"
