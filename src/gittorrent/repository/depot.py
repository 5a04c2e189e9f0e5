"""A carried repository that takes pushes: judges them, and puts them into log, objects and refs.

Its log is opened once and kept as long as nobody else changes it (`kept_log`), so that a push
costs what it brings. Several callers use one at once, each in a thread of its own: what takes long
is done apart, and judging and storing one after the other, under the repository's lock.

Rules: nothing is visible before everything was checked; the log file is replaced last, and then the
push has happened; who is acknowledged can rely on it. After anything else than that the log is
read again. Must not know sockets.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.disk_space import UNBOUNDED
from gittorrent.durable import FileState, file_state
from gittorrent.errors import NoRoomError
from gittorrent.git.guarded import Bounds
from gittorrent.push.certificate import Certificate, parse_certificate
from gittorrent.push.depot import admission
from gittorrent.push.depot.admission import PushRefusedError
from gittorrent.push.depot.advertisement import HIDDEN, RefLines
from gittorrent.push.object import PushKind, PushObject
from gittorrent.repository.accepting import Accepting, Candidate
from gittorrent.repository.index_settings import push_rules
from gittorrent.repository.kept_log import KeptLog
from gittorrent.repository.quarantine import extent_of
from gittorrent.repository.receive_pack import Greeting
from gittorrent.repository.small_intake import identified
from gittorrent.repository.uploads import (
    LEAST_BYTES,
    MAX_PUSHED,
    SILENCE_SECONDS,
    no_room,
    uploading,
)
from gittorrent.trust.errors import UnknownKey
from gittorrent.trust.keys import KeyKind
from gittorrent.trust.openpgp import certificate_fingerprint, split_certificates
from gittorrent.trust.signature import KeyRing, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from gittorrent.disk_space import Space
    from gittorrent.git.fsckrules import FsckRules
    from gittorrent.ids import ObjectFormat, Oid, PushId
    from gittorrent.push.depot.report import Report
    from gittorrent.push.depot.request import PushRequest
    from gittorrent.push.listing import Listing
    from gittorrent.repository.carried import Carried
    from gittorrent.repository.kept_log import Shown
    from gittorrent.repository.receive_pack import Admitted, SentPack
    from gittorrent.trust.keys import KeyRef
    from gittorrent.trust.signature import Signature


class _Settings(Struct, frozen=True):
    """What a repository's configuration says, as it was at a state of its file."""

    state: FileState | None
    rules: FsckRules
    is_partial: bool


class AdmittedPush(Struct, frozen=True):
    """A push whose signature, key and text are in order.

    Args:
        push: the push object.
        certificate: what it says.
    """

    push: PushObject
    certificate: Certificate

    @property
    def needs_pack(self) -> bool:
        """Whether objects come with it."""
        return any(line.new is not None for line in self.certificate.lines)


class AcceptedPush(Struct, frozen=True):
    """A push that is in the log now.

    Args:
        id: its push id.
        push: the push object.
        size: bytes of the pack that came with it.
        pack: that pack, if it is small and was kept; others can be given it as it is.
    """

    id: PushId
    push: PushObject
    size: int
    pack: bytes | None = None


class RepositoryDepot:
    """Takes pushes of one repository.

    Args:
        carried: the repository.
        accepted: told of every push that is in the log now, in the thread that put it there.
        kept: its log, where others use it as well.
        space: tells whether there is room for what is pushed.
        most: returns the bytes that a push may bring.
    """

    def __init__(
        self,
        carried: Carried,
        accepted: Callable[[AcceptedPush], None] = lambda _: None,
        kept: KeptLog | None = None,
        space: Space = UNBOUNDED,
        most: Callable[[], int] = lambda: MAX_PUSHED,
    ) -> None:
        self._space = space
        self._most = most
        self._carried = carried
        self._accepted = accepted
        self._kept = kept or KeptLog(carried)
        self._accepting = Accepting(self._kept)
        self._guard = threading.Lock()
        self._shown_last: tuple[Listing, RefLines] | None = None
        self._known: _Settings | None = None

    @property
    def object_format(self) -> ObjectFormat:
        """Of the repository."""
        return self._carried.object_format

    def greet(self) -> Greeting:
        """Return what to show now."""
        self._kept.recover()
        shown = self._kept.shown()
        return Greeting(self._listed(shown.view.listing), shown.nonce)

    def admit(self, request: PushRequest) -> AdmittedPush:
        """Judge what can be judged before the objects are here.

        Raises:
            GitTorrentError: it is refused.
        """
        text, signature = admission.signed_part(request)
        self._check_whole()
        self._check_room()
        shown = self._kept.shown()
        pinned = _pinned(shown.policy.keyring, request, signature)
        keyring = KeyRing([*shown.policy.keyring.values(), *pinned])
        try:
            signer = verify(signature, text, keyring).key
        except UnknownKey as error:
            raise admission.unknown_key(shown.policy.policy, error) from error
        certificate = parse_certificate(text, self.object_format)
        admission.check_request(certificate, request)
        policy, nonce = shown.policy.policy, certificate.nonce
        admission.check_key(policy, signer, policy.name)
        is_known = self._is_here(nonce.checkpoint, shown)
        admission.check_nonce(nonce, shown.nonce, is_known=is_known)
        admission.check_quota(shown.unfinal, signer)
        push = PushObject(PushKind.CERTIFICATE, text, (signature,), signer, pinned)
        return AdmittedPush(push, certificate)

    def accept(
        self, admitted: Admitted, pack: SentPack | None, hear: Callable[[bytes], None] | None
    ) -> Report:
        """Take the objects, judge the push and put it into the log, or do nothing at all.

        Args:
            admitted: what `admit` returned.
            pack: the objects, which are still to come; None without any.
            hear: told of progress, as git shows it.

        Raises:
            GitTorrentError: it is refused, or failed.
        """
        assert isinstance(admitted, AdmittedPush)
        push, certificate = admitted.push, admitted.certificate
        with uploading(self._carried.layout, self.object_format, self._room) as upload:
            entry = identified(push, self.object_format)
            rules = self._settings().rules
            if pack is not None:
                bounds = Bounds(self._most(), SILENCE_SECONDS, LEAST_BYTES)
                upload.receive(pack, bounds, rules, hear)
            shown = self._kept.shown()
            is_whole = all(self._is_here(parent, shown) for parent in entry.parents)
            upload.unpack(entry, rules, is_whole=is_whole)
            if pack is not None:
                upload.check(*self._tips(certificate), self._shown)
            report = self._accepting.take(Candidate(entry, certificate, upload))
        if not any(ref.refusal for ref in report.refs):
            self._accepted(AcceptedPush(entry.id, push, upload.size, upload.small))
        return report

    def _settings(self) -> _Settings:
        """Return the repository's settings, read again when they change."""
        git_dir = self._carried.layout.git_dir
        state = file_state(git_dir / "config")
        if self._known is None or self._known.state != state:
            self._known = _Settings(state, push_rules(git_dir), extent_of(git_dir).partial)
        return self._known

    def _check_whole(self) -> None:
        """Refuse all pushes where what they are judged by may be missing."""
        if self._settings().is_partial or (self._carried.layout.git_dir / "shallow").exists():
            raise PushRefusedError(
                "this copy lacks a part of the history, so that pushes cannot be judged",
                hint="push to another mirror",
            )

    def _room(self) -> int:
        """Return how many bytes may still be taken."""
        return self._space.room(self._carried.layout.git_dir)

    def _check_room(self) -> None:
        """Refuse what there is no room for: to who pushes in plain words, not as a fault."""
        try:
            self._space.require(self._carried.layout.git_dir)
        except NoRoomError as error:
            raise no_room() from error

    def _listed(self, listing: Listing) -> RefLines:
        """Return the refs of a listing as they are shown, made from those shown before."""
        with self._guard:
            if self._shown_last is None:
                self._shown_last = listing, RefLines(listing.shown_refs())
            before, lines = self._shown_last
            if before is not listing:
                lines = lines.after(before.moves_to(listing))
                self._shown_last = listing, lines
            return lines

    def _tips(self, certificate: Certificate) -> tuple[list[Oid], list[Oid]]:
        """Return the new values, and those shown that they are likely to be on."""
        listing = self._kept.shown().view.listing
        tips = [line.new for line in certificate.lines if line.new is not None]
        names = [listing.head, *(line.ref for line in certificate.lines)]
        return tips, [oid for ref in names if (oid := listing.value(ref)) is not None]

    def _shown(self) -> list[Oid]:
        """Return the values of all refs shown."""
        refs = self._kept.shown().view.listing.shown_refs()
        return [oid for ref, oid in refs.items() if not ref.startswith(HIDDEN)]

    def _is_here(self, entry: PushId, shown: Shown) -> bool:
        """Tell whether an entry is in the log; most often it is the newest checkpoint."""
        if entry == shown.head:
            return True
        with self._kept.reading() as log:
            return entry in log


def _pinned(
    keyring: Container[KeyRef], request: PushRequest, signature: Signature
) -> tuple[bytes, ...]:
    """Return the certificates that came with a push, but those of keys that the policy pins.

    The pusher's is the first, others lead from the roots to it.
    """
    sent = admission.certificate_in(request.options)
    if sent is None or signature.kind is not KeyKind.OPENPGP:
        return ()
    found = {certificate_fingerprint(each): each for each in split_certificates(sent)}
    return tuple(each for key, each in found.items() if key not in keyring)
