"""Turns a mirror or a clone of a repository into the place that it is published from.

Whoever has one of the policy's keys may do so: the log of any mirror is as good as the one that was
lost. Rules: the key is judged before anything is downloaded, and proved to be usable before
anything changes hands; the newest log that any mirror shows is taken, since publishing on an older
one would fork it. What was downloaded on the way stays an ordinary mirror if the rest fails.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.durable import locked_patiently
from gittorrent.errors import (
    IdentityError,
    LocalError,
    ProtocolError,
    TrustError,
    UnreachableError,
    UnverifiedError,
    UsageError,
)
from gittorrent.git.history import describe, is_connected
from gittorrent.git.packs import copy_objects
from gittorrent.git.repository import create_bare
from gittorrent.repository.carried import (
    MIRROR,
    ORIGIN,
    PUBLISHED,
    Carried,
    RepositoryInfo,
    object_format_of,
)
from gittorrent.repository.completeness import is_complete
from gittorrent.repository.newest_push import require_newest
from gittorrent.repository.origin_refs import follow_in_origin
from gittorrent.repository.publishing_keys import require_publishing_key
from gittorrent.repository.readers_file import hide
from gittorrent.repository.relocating import require_of_home
from gittorrent.store.carried_rows import CarriedRow
from gittorrent.store.copied_home import mark_as_own
from gittorrent.transfer.location import Location
from gittorrent.transfer.mirroring import Mirroring, update_lock
from gittorrent.transfer.working import stoppable, unbroken

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from gittorrent.ids import PushId, Refs, RepositoryId
    from gittorrent.push.log import VerifiedLog
    from gittorrent.signing.keys import Signer
    from gittorrent.store.database import Database
    from gittorrent.store.home import Home
    from gittorrent.transfer.context import Reporter


class Adopted(Struct, frozen=True):
    """A repository that is published from here now.

    Args:
        repository_id: its id.
        name: it is served at ``/<name>.git``.
        path: of the bare repository.
        push_id: the log's head.
    """

    repository_id: RepositoryId
    name: str
    path: Path
    push_id: PushId


class Adopting:
    """Makes repositories this node's own.

    Args:
        home: of the node.
        database: of the node.
        reporter: tells the user.
        signer: one of the policy's keys.
        max_bytes: of pack data to take.
        allow_behind: go on although a newer push was seen here that nobody has any more.
    """

    def __init__(
        self,
        home: Home,
        database: Database,
        reporter: Reporter,
        signer: Signer,
        max_bytes: int,
        *,
        allow_behind: bool = False,
    ) -> None:
        self._home = home
        self._database = database
        self._reporter = reporter
        self._signer = signer
        self._max_bytes = max_bytes
        self._allow_behind = allow_behind

    async def from_url(self, location: Location) -> Adopted:
        """Adopt what is to be had at a URL, or what is mirrored here of it.

        Raises:
            WrongKeyError: the key is none of the policy's.
            GitTorrentError: the reasons that mirroring has.
        """
        done = await self._mirroring(location).update(judge=self._check_key)
        return await self._from_mirror(done.path, done.repository_id)

    async def from_mirror(self, carried: Carried, location: Location | None) -> Adopted:
        """Adopt a mirror on this machine.

        Args:
            carried: the mirror.
            location: where it came from, to ask for what is newer.

        Raises:
            WrongKeyError: the key is none of the policy's.
            OtherHomeError: it is a mirror of another home.
        """
        info = carried.info
        require_of_home(carried.layout.git_dir, self._home)
        self._check_key(carried.log())
        self._database.carry(
            CarriedRow(
                info.name, info.repository_id, str(carried.layout.git_dir), MIRROR, info.source
            )
        )
        return await self._from_mirror(carried.layout.git_dir, info.repository_id, location)

    async def from_clone(self, clone: Carried, log: VerifiedLog, location: Location) -> Adopted:
        """Adopt a repository by a clone of it: a bare repository is made from its log and objects.

        Args:
            clone: where log and objects are; it stays as it is.
            log: its log.
            location: where it came from, with the id.

        Raises:
            WrongKeyError: the key is none of the policy's.
            UsageError: the clone lacks objects.
            PublishedHereError: the repository is published from here.
        """
        self._check_key(log)
        async with self._alone(log.repository):
            path = self._mirroring(location).path_of(log.repository)
            if path is None:
                path = await stoppable(self._bare_from, clone, log, location)
        return await self._from_mirror(path, log.repository, location)

    def _mirroring(self, location: Location) -> Mirroring:
        return Mirroring(
            location,
            self._home,
            self._database,
            self._reporter,
            max_bytes=self._max_bytes,
            adopting=True,
        )

    def _alone(self, repository: RepositoryId) -> AbstractAsyncContextManager[None]:
        """Keep others out who make or update a mirror of the same repository."""
        return locked_patiently(update_lock(self._home, repository))

    def _check_key(self, log: VerifiedLog) -> None:
        require_publishing_key(log, self._signer.key, log.policy.policy.name)

    def _bare_from(self, clone: Carried, log: VerifiedLog, location: Location) -> Path:
        """Make a mirror from what a clone has."""
        tips = sorted(set(log.final_refs.values()))
        if None in describe(clone.git, tips) or not is_connected(clone.git, tips):
            raise UsageError(
                f"{clone.layout.git_dir} lacks objects of the newest push that it knows",
                hint="run 'git fetch' there first, or name the URL of a mirror",
            )
        name = log.policy.policy.name
        self._database.require_free(name, "", log.repository)
        self._home.repositories.mkdir(parents=True, exist_ok=True)
        path = self._home.repositories / f".new-{log.repository}.git"
        was_there = path.exists()
        create_bare(path, clone.object_format)
        mark_as_own(path, self._home)
        carried = Carried(path, clone.object_format, log.repository)
        try:
            with carried.writing():
                copy_objects(clone.git, tips, carried.layout.objects)
                for push in log.entries:
                    carried.log_store.store_push(push, clone.log_store.push(push))
                hide(carried.layout, log)
                carried.set_info(
                    RepositoryInfo(
                        log.repository,
                        name,
                        MIRROR,
                        source=location.url,
                        former_names=log.former_names,
                    )
                )
                carried.store_entries(log)
                carried.prepare_settings()
                carried.commit(log)
        except BaseException:
            if not was_there:
                shutil.rmtree(path)
            raise
        return self._mirroring(location).settle(carried, log)

    async def _from_mirror(
        self, path: Path, repository: RepositoryId, location: Location | None = None
    ) -> Adopted:
        await self._look_for_news(repository, location)
        async with self._alone(repository):
            carried = Carried(path, object_format_of(path), repository)
            return await unbroken(self._make_own, carried)

    async def _look_for_news(self, repository: RepositoryId, location: Location | None) -> None:
        """Take what any mirror has that is newer: first the one it came from, then all known.

        Whoever has the address of a mirror by now may answer anything, and must not keep the owner
        from going on with what is here. A newer push that was seen before is not forgotten by it.
        """
        answered = False
        for place in (location, Location(None, repository)):
            try:
                if place is not None:
                    await self._mirroring(place).update(judge=self._check_key)
                    answered = True
            except UnreachableError as error:
                self._reporter.detail(str(error))
            except (IdentityError, ProtocolError, TrustError, UnverifiedError) as error:
                self._reporter.note(f"warning: {error}")
        if not answered:
            self._reporter.note(
                "warning: no mirror could be asked whether there are newer pushes than are here"
            )

    def _make_own(self, carried: Carried) -> Adopted:
        """Let a complete mirror become the place that the repository is published from."""
        with carried.writing():
            log = carried.log()
            assert log.head is not None
            self._check_key(log)
            if not self._allow_behind:
                where = f"what the mirrors of {log.policy.policy.name} have"
                require_newest(log, self._database, where, "find a mirror that has it")
            if not is_complete(carried, log.head):
                raise LocalError(
                    f"objects are missing in {carried.layout.git_dir}",
                    hint="run 'gittorrent mirror' for it, which gets them again",
                )
            # Nothing that means anything: it proves that the key can be used at all.
            self._signer.sign(f"adopts {log.repository}\n".encode("ascii"))
            name, path = log.policy.policy.name, carried.layout.git_dir
            self._database.require_free(name, str(path), log.repository)
            carried.remember_key(self._signer.spec)
            info = carried.info.renamed(name, *log.former_names)
            patterns = patterns_of(log.ledger.view().listing.refs())
            # From here on it is published from here; the node's record follows.
            carried.set_info(replace(info, role=ORIGIN, patterns=patterns, source=""))
            follow_in_origin(carried, log)
        self._database.carry(CarriedRow(name, log.repository, str(path), ORIGIN))
        return Adopted(log.repository, name, path, log.head)


def patterns_of(refs: Refs) -> tuple[str, ...]:
    """Return patterns of refs to publish that cover all of ``refs``, branches and tags first."""
    found = dict.fromkeys(PUBLISHED)
    for name in sorted(refs):
        parts = name.decode("utf-8", "surrogateescape").split("/")
        found["/".join([*parts[:2], "*"]) if len(parts) > 2 else "/".join(parts)] = None
    return tuple(found)
