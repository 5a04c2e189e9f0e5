"""The remote helper's main loop: ``git-remote-gittorrent REMOTE URL``.

Standard output belongs to the protocol. When git ends, so does the helper.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gittorrent import background
from gittorrent.durable import temporary_directory
from gittorrent.errors import GitTorrentError, UnverifiedError, UsageError
from gittorrent.git.ci_settings import require_asked_for
from gittorrent.git.environment import hand_down
from gittorrent.git.http_push import COMMANDS as PUSH_COMMANDS
from gittorrent.git.http_push import HttpPusher
from gittorrent.git.refused import require_admitted
from gittorrent.git.repository import common_directory, read_config
from gittorrent.git.runner import Git
from gittorrent.git.scratch import make
from gittorrent.helper.commands import CAPABILITIES, Options, Wanted, parse_fetch
from gittorrent.helper.fetching import Fetcher
from gittorrent.helper.pushing import RECEIVE_PACK, find_depot
from gittorrent.helper.relay import ask_for_service, relay
from gittorrent.helper.submodules import without_inherited_id
from gittorrent.ids import SHA1
from gittorrent.interruptions import PROCESS, STATUS, Interruptions, finish
from gittorrent.permissions import explain_local_error
from gittorrent.repository.index_settings import read_index_settings
from gittorrent.repository.layout import Layout
from gittorrent.repository.unchecked import Unchecked
from gittorrent.store.database import Database
from gittorrent.store.home import home_if_any, usable_home
from gittorrent.terminal import STATUS_VARIABLE, TerminalReporter, complain, screen_streams
from gittorrent.transfer.context import Context
from gittorrent.transfer.interrupted import what_is_kept
from gittorrent.transfer.local_node import LocalNode
from gittorrent.transfer.location import SCHEME, parse_location
from gittorrent.transfer.lookups import lookups_of
from gittorrent.transfer.settings import read_settings
from gittorrent.wire.service import UPLOAD_ARCHIVE

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from gittorrent.repository.index_settings import IndexSettings
    from gittorrent.transfer.location import Location
    from gittorrent.transfer.settings import Settings
    from gittorrent.transfer.stream import Stream

_ORPHAN_SECONDS = 0.5
_INPUT_BYTES = 1 << 16


class Helper:
    """One run of the helper.

    Args:
        remote: its name, as git gave it.
        location: the mirror to begin with.
        settings: what the user configured.
        indexing: what is asked of objects.
        fetcher: does the work.
        reporter: tells the user.
        loop: runs what is asynchronous.
        interruptions: cancel it.
    """

    def __init__(
        self,
        remote: str,
        location: Location,
        settings: Settings,
        indexing: IndexSettings,
        fetcher: Fetcher,
        reporter: TerminalReporter,
        loop: asyncio.AbstractEventLoop,
        interruptions: Interruptions,
    ) -> None:
        self._remote = remote
        self._location = location
        self._settings = settings
        self._indexing = indexing
        self._fetcher = fetcher
        self._reporter = reporter
        self._loop = loop
        self._interruptions = interruptions
        self._input = Input()
        self._options = Options()
        self._opened = False
        self._has_fetched = False
        self._pusher: HttpPusher | None = None
        self._said: list[str] = []  # options that came before the pusher
        self._parent = os.getppid()

    def serve(self) -> None:
        """Answer git's commands until it has no more."""
        self._answer()
        if not self._has_fetched:
            self._run(self._fetcher.keep_log(), hears_end=True)

    def _answer(self) -> None:
        while (line := self._input.line()) not in (None, ""):
            assert line is not None
            command, _, rest = line.partition(" ")
            if self._pusher is not None and command in PUSH_COMMANDS:
                answer = self._pusher.answer(line, self._input.line)
                if answer is None:
                    return
                _say_bytes(answer)
            elif command == "capabilities":
                _say(*CAPABILITIES, "")
            elif command == "option":
                _say("ok" if self._set_option(rest) else "unsupported")
            elif command == "connect":
                if self._connect(rest):
                    return
            elif command == "list":
                self._list()
            elif command == "fetch":
                self._fetch(line)
            else:
                raise GitTorrentError(f"git asked for {line[:100]!r}, which is not supported")

    def close(self) -> None:
        """End what was begun for git's pushes."""
        if self._pusher is not None:
            self._pusher.close()

    def _set_option(self, text: str) -> bool:
        self._said.append(text)
        known = self._options.set(text)
        self._reporter.progress = self._options.progress
        self._reporter.quiet = self._options.verbosity < 1
        self._reporter.verbose = self._options.verbosity > 1
        return known

    def _connect(self, service: str) -> bool:
        """Connect git to a service for real; otherwise let it fall back to our own commands."""
        if service == RECEIVE_PACK:
            return self._begin_push()
        if service == UPLOAD_ARCHIVE:
            raise UsageError(
                "git archive --remote is not for mirrors: what it brings cannot be verified",
                hint="clone with --depth 1, and use git archive there",
            )
        try:
            self._open()
        except UnverifiedError as error:
            if not self._settings.allow_unverified or self._must_verify():
                raise
            if self._indexing.fsck and not self._indexing.git_checks:
                raise UnverifiedError(
                    f"{error}; and git, which fetches there by itself, checks no objects",
                    hint="set transfer.fsckObjects as well as gittorrent.paranoid",
                ) from error
            self._reporter.note(f"{error}; going on without verification, as configured")
            endpoint = self._location.require_endpoint()
            self._relay(self._run(ask_for_service(endpoint, service)))
            return True
        _say("fallback")
        return False

    def _begin_push(self) -> bool:
        """Connect git to a mirror that takes its push, or let git's helper for HTTP do that."""
        if self._pusher is None:  # git asks before it lists refs, and again before it pushes
            depot = self._run(find_depot(self._location, self._fetcher.context))
            if depot.stream is not None:
                self._relay(depot.stream, depot.said)
                return True
            self._pusher = HttpPusher(self._remote, depot.endpoint.url, depot.address)
            for option in self._said:  # such as how much to say
                self._pusher.answer(f"option {option}", self._input.line)
        _say("fallback")
        return False

    def _relay(self, stream: Stream, said: bytes = b"") -> None:
        work = relay(stream, _connected, self._input.rest(), said)
        self._run(work, hears_end=True)

    def _must_verify(self) -> bool:
        """Tell whether the repository was named or known, so that nothing less will do."""
        return self._location.expected is not None or self._fetcher.is_known()

    def _open(self) -> None:
        if not self._opened:
            self._run(self._fetcher.open())
            self._opened = True

    def _list(self) -> None:
        self._open()
        object_format, refs, head = self._run(self._fetcher.list_refs())
        lines = [f":object-format {object_format.name}".encode()]
        if head in refs:
            lines.append(b"@" + head + b" HEAD")
        peeled = self._run(self._fetcher.peeled(refs, is_kept="GIT_DIR" in os.environ))
        for name, oid in sorted(refs.items()):
            lines.append(oid.encode("ascii") + b" " + name)
            if name in peeled:
                lines.append(peeled[name].encode("ascii") + b" " + name + b"^{}")
        _say_bytes(b"\n".join(lines) + b"\n\n")

    def _fetch(self, first: str) -> None:
        wants: list[Wanted] = [parse_fetch(first)]
        while (line := self._input.line()) not in (None, ""):
            assert line is not None
            wants.append(parse_fetch(line))
        self._open()
        if lacking := self._fetcher.context.home.lacking:
            self._reporter.note(
                f"{lacking}; so an interruption loses what was downloaded, unless GITTORRENT_HOME"
                " names a directory to keep it in"
            )
        proved = self._run(self._fetcher.fetch(wants, self._options))
        self._has_fetched = True
        self._reporter.close()
        if proved and self._fetcher.locked is not None:
            # Knowing the pack, git looks for the tips in it instead of walking the history again.
            # Git is where this is; a name with a line feed could not be said.
            locked = str(self._fetcher.locked)
            said = locked if chr(10) not in locked else os.path.relpath(locked)
            if chr(10) not in said:
                _say(f"lock {said}")
        if proved and self._options.check_connectivity:
            _say("connectivity-ok")
        _say("")

    def _run(self, work: Coroutine[Any, Any, Any], *, hears_end: bool = False) -> Any:
        return self._interruptions.run(self._loop, self._while_git_lives(work, hears_end))

    async def _while_git_lives(self, work: Coroutine[Any, Any, Any], hears_end: bool) -> Any:
        """Do ``work`` until it is done, git goes away, or this is cancelled.

        With ``hears_end`` the work reads git's pipe itself, so its end means nothing here. The
        work is cancelled once only, since a second time would cancel its cleaning up.
        """
        task = self._loop.create_task(work)
        is_interrupted = False
        try:
            while not task.done() and self._is_heard(hears_end):
                await asyncio.wait([task], timeout=_ORPHAN_SECONDS)
        except asyncio.CancelledError:
            is_interrupted = True
        if not task.done():
            if not is_interrupted:
                self._interruptions.settle()  # git's end has interrupted us
            task.cancel()
            await asyncio.wait([task])
        result = task.result()
        if is_interrupted:
            raise asyncio.CancelledError
        return result

    def _is_heard(self, hears_end: bool) -> bool:
        return not self._is_orphan() and (hears_end or not _pipe_is_closed())

    def _is_orphan(self) -> bool:
        return os.getppid() != self._parent


def main() -> int:
    """Run as git's remote helper; returns the exit status."""
    screen_streams()
    if len(sys.argv) != 3:
        sys.stderr.write(
            "usage: git-remote-gittorrent REMOTE URL\n"
            "git runs this for gittorrent:// URLs; try: git clone gittorrent://HOST/NAME.git\n"
        )
        return 2
    PROCESS.install()
    status = 0
    reporter = TerminalReporter()
    try:
        _run_helper(sys.argv[1], sys.argv[2], reporter, PROCESS)
    except GitTorrentError as error:
        status = error.exit_code
        _complain(reporter, error)
    except BrokenPipeError:
        status = 1
    except (OSError, MemoryError, RuntimeError) as error:
        trouble = explain_local_error(error)
        if trouble is None:
            raise
        status = trouble.exit_code
        _complain(reporter, trouble)
    except KeyboardInterrupt:
        status = STATUS
        _say_what_is_kept(reporter)
    finally:
        PROCESS.settle()
    if status and (path := os.environ.get(STATUS_VARIABLE)):
        # Who wanted to know may be gone, and the file with it: one made now would stay for ever.
        with contextlib.suppress(OSError), Path(path).open("r+", encoding="ascii") as file:
            file.write(str(status))
    return status


def _run_helper(
    remote: str, url: str, reporter: TerminalReporter, interruptions: Interruptions
) -> None:
    location = parse_location(url)
    require_asked_for(url)
    named = os.environ.get("GIT_DIR")
    # git ls-remote works without any repository; the log is kept nowhere then.
    own = (
        contextlib.nullcontext(common_directory(Path(named)))
        if named
        else temporary_directory("list")
    )
    # What comes goes to that repository's disk, and there is room for it.
    with own as git_dir, usable_home(git_dir if named else None) as home:
        if not named:
            make(git_dir, SHA1)
        require_admitted(git_dir)
        location = without_inherited_id(location, git_dir)
        config = read_config(git_dir)
        settings, indexing = read_settings(config), read_index_settings(config)
        proxy = config.get(f"remote.{remote}.proxy")
        if proxy is not None and location.endpoint is not None:
            # Of this remote alone, in whichever process it is asked by.
            hand_down(f"http.{location.endpoint.url}.proxy", proxy)
        is_left = False
        # Closes what was opened, whenever an interruption comes.
        with contextlib.ExitStack() as stack:
            database = stack.enter_context(contextlib.closing(Database(home.database)))
            loop = stack.enter_context(contextlib.closing(asyncio.new_event_loop()))
            stack.callback(finish)
            context = Context(
                database,
                home,
                Git(git_dir),
                reporter,
                settings.sharing,
                max_bytes=settings.max_bytes,
                take_local=settings.use_node,
                lookups=lookups_of(settings.discovery, home, reporter),
            )
            node = LocalNode(home.control, reporter) if settings.node_may_act else None
            if location.endpoint is not None and location.endpoint.scheme == "ssh":
                node = None  # the keys and the terminal are ours
            fetcher = Fetcher(remote, url, location, git_dir, context, reporter, node, indexing)
            stack.callback(lambda: loop.run_until_complete(fetcher.close()))
            stack.callback(reporter.close)
            stack.callback(interruptions.settle)
            helper = Helper(
                remote, location, settings, indexing, fetcher, reporter, loop, interruptions
            )
            stack.callback(helper.close)
            helper.serve()
            if named:
                _go_on_checking(git_dir, reporter)
            if settings.seed_seconds and fetcher.has_reels and not fetcher.is_private:
                handing = fetcher.hand_over(settings.seed_seconds)
                is_left = not interruptions.run(loop, handing)
            if is_left and settings.sharing.listen is None:
                reporter.note("gittorrent.seedTime is left out, since gittorrent.listen is off")
        # Only now is the port free that the seed may be told to take.
        if is_left and settings.sharing.listen is not None:
            _go_on_seeding(git_dir, location, settings, settings.sharing.listen)


def _go_on_checking(git_dir: Path, reporter: TerminalReporter) -> None:
    """Let a process of its own do the checks that are owed, of this fetch or of one before."""
    unchecked = Unchecked(Layout(git_dir))
    if not unchecked.is_empty:
        if unchecked.owed():
            reporter.note(
                "the index of a pack is used as it was signed; its check goes on in the"
                " background, and 'gittorrent verify' waits for it"
            )
        background.start(["verify", "--pending", "--quiet", str(git_dir)])


def _go_on_seeding(git_dir: Path, location: Location, settings: Settings, port: int) -> None:
    """Let a process of its own give to others what was fetched, for as long as configured."""
    # With the prefix, or what git was told to do with git:// URLs would be done to it.
    url = location.url if location.endpoint is None else f"{SCHEME}::{location.url}"
    words = ["seed", str(git_dir), url, "--quiet", "--for", str(settings.seed_seconds)]
    words += ["--port", str(port)]
    if settings.sharing.up_limit is not None:
        words += ["--up-limit", str(settings.sharing.up_limit)]
    if settings.sharing.peer_up_limit is not None:
        words += ["--peer-up-limit", str(settings.sharing.peer_up_limit)]
    background.start(words)


def _complain(reporter: TerminalReporter, error: GitTorrentError) -> None:
    reporter.close()
    reporter.explain()
    complain(error)


def _say_what_is_kept(reporter: TerminalReporter) -> None:
    """Tell who interrupted us: git removes the clone that it had begun, and looks as if all was."""
    reporter.close()
    home = home_if_any()
    if home is not None and (kept := what_is_kept(home, reporter.downloads)):
        reporter.note(kept)


def _pipe_is_closed() -> bool:
    """Tell whether git closed its end: it does so last of all, or when it dies."""
    poll = select.poll()
    poll.register(0, 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))


class Input:
    """Git's lines; git waits for the answer to each, or to a batch of them.

    Args:
        descriptor: to read from.
    """

    def __init__(self, descriptor: int = 0) -> None:
        self._descriptor = descriptor
        self._read = bytearray()

    def line(self) -> str | None:
        """Return the next line without its end, None after the last."""
        while (end := self._read.find(b"\n")) < 0:
            more = os.read(self._descriptor, _INPUT_BYTES)
            if not more:
                end = len(self._read)
                break
            self._read += more
        if not self._read:
            return None
        found = self._read[:end].decode("utf-8", "surrogateescape")
        del self._read[: end + 1]
        return found

    def rest(self) -> bytes:
        """Return what was read and is no line yet, for the relay to send on."""
        rest = bytes(self._read)
        self._read.clear()
        return rest


def _say(*lines: str) -> None:
    _say_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))


def _say_bytes(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def _connected() -> None:
    _say("")


if __name__ == "__main__":
    sys.exit(main())
