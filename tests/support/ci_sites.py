"""A server of git's, and a runner of CI jobs that is led to a node of its own."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from support import bulk, gitcmd
from support.plain_servers import WebServer, git_over_http
from support.programs import Daemon, Done, Person, serve, somebody

GOING = "going to "


@dataclass
class Site:
    """A server, a runner that is led to its own node, and the node."""

    runner: Person
    server: WebServer
    upstream: Path
    stack: ExitStack
    node: Daemon | None = None

    @property
    def url(self) -> str:
        return f"{self.server.base}/x/project.git"

    @property
    def socket(self) -> Path:
        return self.runner.node / "run" / "ci.sock"

    def begin(self, *more: str) -> None:
        self.runner.node.mkdir(mode=0o700, exist_ok=True)
        lines = ["[ci]", f'allow = ["{self.server.base}/x/"]', *more]
        (self.runner.node / "node.toml").write_text("\n".join(lines) + "\n")
        self.node = self.stack.enter_context(serve(self.runner))

    def kill(self) -> None:
        assert self.node is not None
        self.node.running.signal_group(signal.SIGKILL)
        self.node.running.wait()

    def clone(self, name: str, *words: str) -> Done:
        return self.runner.git("clone", *words, self.url, name)

    def head(self, name: str) -> str:
        return gitcmd.text(self.runner.root / name, "rev-parse", "HEAD")

    def upstream_head(self) -> str:
        return gitcmd.text(self.upstream, "rev-parse", "HEAD")

    def commit(self, text: str, branch: str = "HEAD", parent: str = "HEAD") -> str:
        words = ["commit-tree", "HEAD^{tree}", "-p", parent, "-m", text]
        made = gitcmd.text(self.upstream, *words)
        gitcmd.git(self.upstream, "update-ref", branch, made)
        return made

    def has_copy(self) -> bool:
        return any((self.runner.node / "ci").glob("*/copy*.git/HEAD"))

    def has_as_by_git(self, name: str, *words: str) -> bool:
        """Tell whether a clone has what one by git alone has now, and no more."""
        other = f"{name}-by-git"
        self.private_git("-c", self.itself, "clone", "-q", *words, self.url, other).ok()
        return self.has(name) == self.has(other)

    @property
    def itself(self) -> str:
        """The setting by which git goes to the server, and to no node."""
        return f"url.{self.url}.insteadOf={self.url}"

    def has(self, name: str) -> tuple[str, str, list[str]]:
        """Return the objects of a sound clone, its refs, and where its history is cut off."""
        folder = self.runner.root / name
        self.runner.git("fsck", cwd=folder).ok()
        objects = gitcmd.text(folder, "cat-file", "--batch-all-objects", "--batch-check")
        cuts = folder / ".git" / "shallow"
        lines = cuts.read_text().split() if cuts.exists() else []
        return objects, gitcmd.text(folder, "for-each-ref"), sorted(lines)

    def private_clone(self, name: str) -> Done:
        return self.private_git("clone", self.url, name)

    def private_git(self, *words: str) -> Done:
        """Run a git that knows what the server asks for once it has a password."""
        helper = "credential.helper=!f() { echo username=me; echo password=secret; }; f"
        return self.runner.git("-c", helper, *words)


@contextlib.contextmanager
def a_site(folder: Path, git: str) -> Iterator[Site]:
    """Have a server, and a runner with a git; its node is begun by the caller."""
    upstream = bulk.make_small(folder / "upstreams" / "x" / "project.git")
    gitcmd.git(upstream, "config", "uploadpack.allowFilter", "true")
    runner = somebody(folder / "runner", git)
    with ExitStack() as stack:
        server = stack.enter_context(git_over_http(upstream.parents[1]))
        runner.gittorrent("ci", "setup", "--for", server.base).ok()
        yield Site(runner, server, upstream, stack)
