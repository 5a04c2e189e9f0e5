"""CI jobs in work trees that stay: what each new commit costs the server, by git alone and a node.

Five jobs of one machine build each of some commits, each in its work tree of the commit before, as
runners of one's own do: with ``--depth=1`` and the commit's id (GitHub's action), and with
``--depth 20`` and a branch (GitLab). The server is ``git http-backend`` behind a small web server
in this process, which counts what it sends and the processor time of git. Nobody ever cloned more.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

from frame import (
    Arguments,
    BenchError,
    Contestant,
    Figure,
    Report,
    parse_arguments,
    ratio,
    run_benchmark,
    say,
)
from measure import run
from scene import Scene, program, staged

if TYPE_CHECKING:
    from collections.abc import Iterator

TREES = 5
"""Work trees of one machine: of several runners, or of the jobs of one pipeline."""

JOBS = {
    "depth 1": ("--no-tags", "--prune", "--depth=1", "origin", "+{commit}:refs/remotes/origin/x"),
    "depth 20": ("--prune", "--depth", "20", "origin", "+{branch}:refs/remotes/origin/x"),
}


@dataclass
class Sent:
    """What a server did since it was looked at last.

    Args:
        objects: bytes of answers with objects.
        total: bytes of all answers.
        cpu: seconds of its gits.
    """

    objects: int = 0
    total: int = 0
    cpu: float = 0.0


@dataclass
class Course:
    """One way for jobs to go, and what each commit cost the server."""

    name: str
    sent: list[Sent] = field(default_factory=list)

    def result(self) -> Contestant:
        """Return the figures."""
        return Contestant(
            self.name,
            (
                Figure("objects, KB a commit", tuple(one.objects / 1000 for one in self.sent), 1),
                Figure("all, KB a commit", tuple(one.total / 1000 for one in self.sent), 1),
                Figure("server CPU ms a commit", tuple(one.cpu * 1000 for one in self.sent), 1),
            ),
        )


class _Upstream(BaseHTTPRequestHandler):
    """Hands requests to ``git http-backend``, one at a time, so that its time can be told."""

    protocol_version = "HTTP/1.1"
    root: Path
    sent: Sent
    guard: threading.Lock

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        environ = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
        }
        with self.guard:
            out, cpu = _timed(environ, body)
            head, _, data = out.partition(b"\r\n\r\n")
            self.sent.cpu += cpu
            self.sent.total += len(data)
            self.sent.objects += len(data) if b"packfile\n" in data[:4000] else 0
        fields = dict(line.split(": ", 1) for line in head.decode().splitlines())
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
        del format, args


def _timed(environ: dict[str, str], body: bytes) -> tuple[bytes, float]:
    """Run git's CGI program, alone in this process; returns its answer and processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = ["git", "-c", "safe.directory=*", "http-backend"]
    done = subprocess.run(words, input=body, stdout=subprocess.PIPE, env=environ, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout, cpu


@contextlib.contextmanager
def _upstream(root: Path) -> Iterator[tuple[str, type[_Upstream]]]:
    """Serve the repositories below a directory; yields the URL and who counts."""
    kind = type("One", (_Upstream,), {"root": root, "sent": Sent(), "guard": threading.Lock()})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", kind
        finally:
            server.shutdown()


@contextlib.contextmanager
def _node(scene: Scene, base: str) -> Iterator[dict[str, str]]:
    """Run a node for what is cloned from a server; yields the environment of its jobs."""
    home = scene.room()
    environ = {**scene.with_home(home / "node"), "HOME": str(home)}
    (home / "node").mkdir(parents=True)
    (home / "node" / "node.toml").write_text(f'[ci]\nallow = ["{base}/"]\n')
    run([*program(), "ci", "setup", "--for", f"{base}/"], environ)
    words = [*program(), "serve", "--json", "--no-announce"]
    words += ["--git", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    with (scene.root / "node.log").open("ab") as log:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, env=environ)
    try:
        assert process.stdout is not None
        if "ci" not in json.loads(process.stdout.readline() or b"{}"):
            raise BenchError(f"the node did not start: {(scene.root / 'node.log').read_text()}")
        yield environ
    finally:
        process.terminate()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _build(tree: Path, url: str, words: tuple[str, ...], environ: dict[str, str]) -> None:
    """Do what a runner does in a work tree."""
    if not tree.exists():
        run(["git", "init", "-q", tree], environ)
        run(["git", "-C", tree, "remote", "add", "origin", url], environ)
    run(["git", "-C", tree, "-c", "protocol.version=2", "fetch", "-q", *words], environ)
    run(["git", "-C", tree, "checkout", "-q", "-f", "refs/remotes/origin/x"], environ)


def _follow(
    scene: Scene, upstream: Path, line: list[str], job: tuple[str, ...], *, has_node: bool
) -> Course:
    """Have all work trees built at each commit; returns what those after the first cost."""
    branch = scene.git("-C", upstream, "symbolic-ref", "HEAD")
    course = Course("node" if has_node else "git")
    with _upstream(upstream.parent) as (base, counted), contextlib.ExitStack() as stack:
        environ = stack.enter_context(_node(scene, base)) if has_node else dict(scene.environ)
        room = scene.room()
        room.mkdir()
        for number, commit in enumerate(line):
            scene.git("-C", upstream, "update-ref", branch, commit)
            counted.sent = Sent()
            words = tuple(word.format(commit=commit, branch=branch) for word in job)
            for tree in range(TREES):
                _build(room / str(tree), f"{base}/{upstream.name}", words, environ)
            if number:
                course.sent.append(counted.sent)
    return course


def measure(arguments: Arguments) -> Report:
    """Follow a history by both."""
    steps = 4 if arguments.quick else 20 * arguments.runs
    contestants, comparisons = [], []
    with staged(arguments.work) as scene:
        upstream = scene.copy_bare(arguments.repository)
        for name in ("allowFilter", "allowAnySHA1InWant"):
            scene.git("-C", upstream, "config", f"uploadpack.{name}", "true")
        words = ("rev-list", "--first-parent", f"--max-count={steps + 1}", "HEAD")
        line = scene.git("-C", upstream, *words).splitlines()[::-1]
        for shape, job in JOBS.items():
            for has_node in (False, True):
                say(f"{shape}, {'a node' if has_node else 'git alone'}")
                found = _follow(scene, upstream, line, job, has_node=has_node).result()
                contestants.append(Contestant(f"{found.name}, {shape}", found.figures))
            git, node = contestants[-2:]
            comparisons += [
                ratio(f"{shape}, node to git", figure.metric, node, git) for figure in git.figures
            ]
    method = (
        f"{len(line) - 1} commits of the default branch, one after the other, each built in"
        f" {TREES} work trees of the commit before, one job at a time.",
        "Objects: answers that have a pack. All: lists of refs, too.",
    )
    return Report("ci trees", method, tuple(contestants), tuple(comparisons))


if __name__ == "__main__":
    assert __doc__ is not None
    run_benchmark(parse_arguments(__doc__.splitlines()[0], runs=1, quick_runs=1), measure)
