"""Where this program keeps things inside a git directory.

::

    gittorrent/repository.json   what this repository is to the node
    gittorrent/logs/<repository id>/log        its entries, a line each: the commit point
    gittorrent/logs/<repository id>/snapshot   the state at one of them, for quick starts
    gittorrent/logs/<repository id>/followed   digest of the log that the refs have followed
    gittorrent/logs/<repository id>/draft      the checkpoint that the keeper signs next
    gittorrent/logs/<repository id>/fresh      the newest statement of freshness
    gittorrent/logs/<repository id>/readers    who may read; there only where not everybody may
    gittorrent/logs/<repository id>/published-refs  in an origin, what its refs were at that time
    gittorrent/home              in what a home made, which one
    gittorrent/policy-draft      the next version of the policy, while its roots agree on it
    gittorrent/logs/<repository id>/reel-tips  in an origin, commits that the next reel begins after
    gittorrent/peeled            what annotated tags lead to that are not here
    gittorrent/pushes/<push id>  push objects, of all logs
    gittorrent/push-packs/<digest>             many of them in one file
    gittorrent/reels/<manifest id>.manifest   text and signature
    gittorrent/reels/<manifest id>.pack       wire form of a small reel
    gittorrent/shapes/<manifest id>.*         reels of other shapes: a cache for those who clone
    gittorrent/indexes/<manifest id>.manifest signed manifests of the indexes of reels' packs
    gittorrent/unchecked/        in a clone, packs whose signed indexes are still to be checked
    gittorrent/unchecked.lock    held by whoever does that
    gittorrent/alarm             why git and this program refuse the repository
    gittorrent/copied-refs       in a clone, refs copied to the bare copy it is published through
    gittorrent/incoming/         what is received and not believed yet
    gittorrent/building/         reels being built from the repository's own objects
    gittorrent/building.lock     held by whoever builds them
    gittorrent/making.lock       held by whoever makes new reels and signs them
    gittorrent/broken/           in a mirror, files that a power cut broke, before they were mended
    gittorrent/kept.json         in a mirror, refs that the log suddenly took away
    gittorrent/lock              held by whoever changes the repository
    objects/pack/pack-<checksum>.pack         a large reel, also git's object store
    objects/info/not-checked-yet-...          keeps git from copying files while a check is owed
    objects/pack-not-verified/                packs of a repository that is refused

A clone with remotes of several repositories keeps a log of each. The first versions of 0.1 kept the
only one in ``gittorrent/log``.

Foreign files in ``objects/pack`` would be garbage in git's eyes, so there are none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from pathlib import Path

    from gittorrent.ids import ManifestId, PushId, RepositoryId

LOG_REF = "refs/gittorrent/log"
"""Points at the log's head in carried repositories."""


class Layout(Struct, frozen=True):
    """Paths in one git directory."""

    git_dir: Path

    @property
    def own(self) -> Path:
        """This program's directory."""
        return self.git_dir / "gittorrent"

    @property
    def kept(self) -> Path:
        """What is kept of refs that the log suddenly took away."""
        return self.own / "kept.json"

    @property
    def broken(self) -> Path:
        """Files of a mirror that were broken, as they were before they were written anew."""
        return self.own / "broken"

    @property
    def info(self) -> Path:
        """What this repository is to the node."""
        return self.own / "repository.json"

    @property
    def peeled(self) -> Path:
        """What annotated tags lead to that are not here: two ids a line."""
        return self.own / "peeled"

    @property
    def logs(self) -> Path:
        """A folder for each repository whose log is kept."""
        return self.own / "logs"

    def log(self, repository: RepositoryId) -> Path:
        """The entries of a repository's log."""
        return self.logs / repository / "log"

    def snapshot(self, repository: RepositoryId) -> Path:
        """The state at some checkpoint of a repository's log; it can be found anew."""
        return self.logs / repository / "snapshot"

    def followed(self, repository: RepositoryId) -> Path:
        """Digest of the log that refs and commits have followed."""
        return self.logs / repository / "followed"

    def reel_tips(self, repository: RepositoryId) -> Path:
        """In an origin: commits that reach all that the last reel ends at; found anew if lost."""
        return self.logs / repository / "reel-tips"

    def draft(self, repository: RepositoryId) -> Path:
        """The text of the checkpoint that the keeper signs, kept before it does."""
        return self.logs / repository / "draft"

    def fresh(self, repository: RepositoryId) -> Path:
        """The newest statement of freshness, as it is passed on."""
        return self.logs / repository / "fresh"

    def readers(self, repository: RepositoryId) -> Path:
        """Who may read a private repository; not there where everybody may."""
        return self.logs / repository / "readers"

    def told(self, repository: RepositoryId) -> Path:
        """In a clone: what its user was told last of refs that are not final."""
        return self.logs / repository / "told"

    def published_refs(self, repository: RepositoryId) -> Path:
        """In an origin: what its refs were when they were last compared with its log."""
        return self.logs / repository / "published-refs"

    def published_since(self, repository: RepositoryId) -> Path:
        """In an origin: what single pushes changed of its refs after that."""
        return self.logs / repository / "published-since"

    @property
    def only_log(self) -> Path:
        """Where the one log was kept before there could be several."""
        return self.own / "log"

    @property
    def policy_draft(self) -> Path:
        """The next version of the policy while it gathers signatures."""
        return self.own / "policy-draft"

    @property
    def copied_refs(self) -> Path:
        """In a clone: names of the refs that were copied to what it is published through."""
        return self.own / "copied-refs"

    @property
    def lock(self) -> Path:
        """Lock file of writers."""
        return self.own / "lock"

    @property
    def incoming(self) -> Path:
        """Scratch space on the same file system."""
        return self.own / "incoming"

    @property
    def uploads(self) -> Path:
        """Scratch space, on the same file system too, for what is being pushed."""
        return self.own / "uploads"

    @property
    def uploads_lock(self) -> Path:
        """Lock file that everybody shares who receives a push."""
        return self.own / "uploads.lock"

    @property
    def building(self) -> Path:
        """Scratch space, on the same file system too, for reels built from what is here."""
        return self.own / "building"

    @property
    def building_lock(self) -> Path:
        """Lock file of those who build reels."""
        return self.own / "building.lock"

    @property
    def making_lock(self) -> Path:
        """Lock file of those who make new reels and sign their manifests."""
        return self.own / "making.lock"

    @property
    def pushes(self) -> Path:
        """Push objects."""
        return self.own / "pushes"

    @property
    def push_packs(self) -> Path:
        """Files of many push objects each."""
        return self.own / "push-packs"

    @property
    def reels(self) -> Path:
        """Manifests and small reels."""
        return self.own / "reels"

    @property
    def damaged_reels(self) -> Path:
        """What is known of reels that are damaged here."""
        return self.own / "damaged-reels"

    @property
    def shapes(self) -> Path:
        """Reels of other shapes than the whole."""
        return self.own / "shapes"

    @property
    def objects(self) -> Path:
        """Git's object directory."""
        return self.git_dir / "objects"

    @property
    def indexes(self) -> Path:
        """Manifests of the indexes of reels' packs."""
        return self.own / "indexes"

    @property
    def alarm(self) -> Path:
        """Why git and this program refuse the repository; there only where they do."""
        return self.own / "alarm"

    @property
    def unchecked(self) -> Path:
        """Packs whose signed indexes are still to be checked."""
        return self.own / "unchecked"

    @property
    def unchecked_lock(self) -> Path:
        """Lock file of whoever checks them."""
        return self.own / "unchecked.lock"

    @property
    def copy_guard(self) -> Path:
        """A symbolic link for which git refuses to copy the object directory file by file.

        It refuses where there is any (git-clone(1), ``--local``), and says the name of it.
        """
        return self.objects / "info" / "not-checked-yet-use-no-local-or-gittorrent-verify"

    def has_objects(self) -> bool:
        """Tell whether there is any object, of its own or borrowed."""
        objects = self.objects
        return (
            any(objects.glob("pack/*.idx"))
            or any(objects.glob("[0-9a-f][0-9a-f]"))
            or (objects / "info" / "alternates").exists()
        )

    def push(self, push: PushId) -> Path:
        """The file of a push object."""
        return self.pushes / push

    def manifest(self, manifest: ManifestId) -> Path:
        """The file of a manifest."""
        return self.reels / f"{manifest}.manifest"

    def small_pack(self, manifest: ManifestId) -> Path:
        """The wire form of a small reel."""
        return self.reels / f"{manifest}.pack"

    def pack(self, checksum: str, suffix: str = "pack") -> Path:
        """A large reel's pack in git's store, or a file beside it."""
        return self.objects / "pack" / f"pack-{checksum}.{suffix}"
