"""An origin and mirrors of it that talk to each other, each served by a node of its own."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from gittorrent.ids import Oid, PushId, RefName
from gittorrent.node.options import Options
from gittorrent.reel.timing import ReelTimes
from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from support import gitcmd, nodes
from support.nodes import Served
from support.objects import commit_file
from support.programs import wait_until

MAIN = RefName(b"refs/heads/main")


@dataclass
class Mirrors:
    """An origin and mirrors of it, each made from the one before, and the nodes that serve them."""

    folder: Path
    stack: ExitStack
    key: Signer
    options: Options
    carried: list[Carried] = field(default_factory=list)
    served: list[Served] = field(default_factory=list)
    copies: list[Carried] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        folder: Path,
        stack: ExitStack,
        *,
        keeps: bool = True,
        count: int = 2,
        reel_times: ReelTimes = ReelTimes(),  # noqa: B008 (it is frozen)
    ) -> Mirrors:
        """Publish a repository and serve it."""
        options = replace(nodes.LOOPBACK, reel_times=reel_times)
        mirrors = cls(folder, stack, nodes.signer(folder), options)
        git_dir = nodes.make_repository(folder / "project.git")
        origin = nodes.publish(git_dir, mirrors.key, "project")
        for number in range(1, count + 1):  # now, since the keeper's files come and go
            copy = nodes.copy_as_mirror(origin, folder / f"mirror{number}.git", "")
            mirrors.copies.append(copy)
        if keeps:
            origin.remember_keeper(mirrors.key.spec)
        mirrors.serve(origin)
        return mirrors

    def serve(self, carried: Carried) -> None:
        number = len(self.carried)
        home = nodes.make_home(self.folder / f"home{number}")
        self.carried.append(carried)
        serving = nodes.serving(carried, home=home, options=self.options)
        self.served.append(self.stack.enter_context(serving))

    def add(self, source: str = "") -> Carried:
        """Serve one more mirror, made from the newest one unless it is said which one."""
        copy = self.copies.pop(0)
        copy.set_info(replace(copy.info, source=f"{source or self.served[-1].git}/project.git"))
        self.serve(copy)
        return copy

    def push(self, at: Carried, data: bytes, ref: RefName = MAIN) -> Oid:
        """Put a push into the log of one of them."""
        now = at.log().refs.get(ref)
        parents = [now] if now else []
        new = Oid(commit_file(at.layout.git_dir, "new", data, parents, "new"))
        nodes.push_on(at, self.key, {ref: new})
        return new

    def wait_for(self, value: Oid, ref: RefName = MAIN) -> None:
        """Wait until all show a value: mirrors to git, too."""
        for carried in self.carried:
            wait_until(partial(self._shows, carried, value, ref), f"{value} is shown")

    def _shows(self, carried: Carried, value: Oid, ref: RefName) -> bool:
        is_shown = carried.log().refs.get(ref) == value
        is_origin = carried is self.carried[0]
        return is_shown and (is_origin or gitcmd.refs(carried.layout.git_dir).get(ref) == value)

    def wait_for_final(self, value: Oid, ref: RefName = MAIN) -> PushId:
        """Wait until a value is final everywhere; return the checkpoint."""
        for carried in self.carried:
            wait_until(
                partial(lambda at: at.log().final_refs.get(ref) == value, carried),
                f"{value} is final in {carried.layout.git_dir}",
            )
        heads = {carried.log().head for carried in self.carried}
        assert len(heads) == 1
        head = heads.pop()
        assert head is not None
        return head
