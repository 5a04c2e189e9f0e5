"""The next version of a policy while its roots agree on it, and how it becomes the policy.

A draft is a file in the repository (`gittorrent.trust.policy_draft`) that is changed, signed, taken
to other machines and brought back. When enough roots signed it is added to the log like an entry
that a stranger sent, and a checkpoint with it where the keeper's key is at hand; without that key
the version counts, and becomes final with the keeper's next checkpoint.

Rules: what does not follow the policy that counts here is no draft any more, nor is what another
machine published; whoever writes holds
the repository's lock. Must not know what a policy should say.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.durable import write_atomically
from gittorrent.errors import UsageError
from gittorrent.push.object import PushKind, PushObject
from gittorrent.repository.carried import CLONE
from gittorrent.repository.signed_entries import EntrySigner, add_entry
from gittorrent.trust.policy_draft import DraftError, begin_draft, parse_draft

if TYPE_CHECKING:
    from gittorrent.ids import PushId
    from gittorrent.push.log import VerifiedLog
    from gittorrent.repository.carried import Carried
    from gittorrent.repository.signed_entries import Author
    from gittorrent.signing.keys import Signer
    from gittorrent.trust.policy_draft import PolicyDraft


class PolicyPublished(Struct, frozen=True):
    """What publishing a version of the policy came to.

    Args:
        version: its number.
        push_id: its log entry.
        checkpoint: the checkpoint that made it final; None if the keeper's key is not here.
        counts: whether it is the policy now; a rival may have been published before.
    """

    version: int
    push_id: PushId
    checkpoint: PushId | None
    counts: bool


def read_draft(carried: Carried, log: VerifiedLog) -> PolicyDraft | None:
    """Return the draft that is kept; None if there is none, or it is published by now.

    Args:
        carried: the repository.
        log: its log.

    Raises:
        DraftError: it cannot be read, or does not follow the policy any more.
    """
    try:
        data = carried.layout.policy_draft.read_bytes()
    except FileNotFoundError:
        return None
    draft = parse_draft(data)
    if any(draft.policy.digest == version.policy.digest for version in log.policies):
        return None
    draft.check_follows(log.policy)
    return with_rivals(draft, log)


def with_rivals(draft: PolicyDraft, log: VerifiedLog) -> PolicyDraft:
    """Return a draft that knows the versions whose place it takes, so that their roots can sign.

    Raises:
        DraftError: one of them is not here.
    """
    known = {version.policy.digest: version for version in log.policies}
    for digest in draft.policy.instead_of:
        if digest not in known:
            raise DraftError(
                f"this draft takes the place of policy {digest}, which is not known here",
                hint="get the newest policies first: 'gittorrent mirror' or 'git fetch'",
            )
    return replace(draft, rivals=tuple(known[each] for each in draft.policy.instead_of))


def read_or_begin(carried: Carried, log: VerifiedLog) -> PolicyDraft:
    """Return the draft that is kept, or one that changes nothing yet.

    Where versions exclude each other, so that none counts, it is to take the place of them.
    One that was made on an older checkpoint, and not signed since, is made on the newest; where it
    names a new keeper, that checkpoint was chosen and stays.

    Raises:
        DraftError: the one that is kept does not follow the policy any more.
        UsageError: nothing was published yet.
    """
    if log.head is None:
        raise UsageError(
            f"{carried.layout.git_dir} has no policy yet",
            hint="publish it first: gittorrent publish",
        )
    try:
        draft = read_draft(carried, log)
    except DraftError as error:
        error.hint = f"discard it: gittorrent policy remove --draft ({carried.layout.policy_draft})"
        raise
    if draft is None:
        rivals = {version.digest for version in log.ledger.rivals}
        return begin_draft(
            log.policy, log.head, [each for each in log.policies if each.policy.digest in rivals]
        )
    is_chosen = draft.policy.keeper != log.policy.policy.keeper
    return draft if draft.signatures or is_chosen else draft.made_on(log.head)


def go_on_from(draft: PolicyDraft, log: VerifiedLog, checkpoint: str | None) -> PolicyDraft:
    """Return a draft that names a new keeper, made on the checkpoint where that one goes on.

    Args:
        draft: the draft.
        log: the log.
        checkpoint: its id, or the beginning of it; None for the newest that was adopted.

    Raises:
        UsageError: it stands for no checkpoint that holds, or for several.
    """
    if checkpoint is None:
        return draft.made_on(log.head) if log.head is not None else draft
    known = [entry for entry in log.entries if log.ledger.point(entry) is not None]
    found = [entry for entry in known if entry.startswith(checkpoint)]
    if len(found) != 1:
        raise UsageError(
            f"{checkpoint} stands for {len(found)} checkpoints that are known here",
            hint="'gittorrent log' lists them, and 'gittorrent keeper show' those that exclude"
            " each other",
        )
    return draft.made_on(found[0])


def keep_draft(carried: Carried, draft: PolicyDraft) -> None:
    """Keep a draft; nothing of it counts."""
    write_atomically(carried.layout.policy_draft, draft.encode())


def discard_draft(carried: Carried) -> bool:
    """Forget the draft that is kept, and tell whether there was one."""
    with contextlib.suppress(FileNotFoundError):
        carried.layout.policy_draft.unlink()
        return True
    return False


def can_publish(carried: Carried) -> bool:
    """Tell whether what is published here gets to others: a clone's log is its own."""
    return carried.is_carried and carried.info.role != CLONE


def publish_draft(
    carried: Carried, draft: PolicyDraft, keeper: Signer | None, author: Author
) -> PolicyPublished:
    """Let a draft that enough roots signed become the policy.

    Args:
        carried: the repository, an origin or a mirror.
        draft: the version.
        keeper: a key to sign a checkpoint with, if it is the keeper's by this version; None if
            none is at hand.
        author: goes into the checkpoint, which everybody can read.

    Raises:
        TrustError: too few roots signed it, or it does not follow.
    """
    with carried.writing():
        log = carried.log()
        draft.check_follows(log.policy)
        signed = draft.signed()
        push = PushObject(
            PushKind.POLICY, signed.text, signed.signatures, pinned=signed.certificates
        )
        push_id = add_entry(carried, log, push)
        counts = log.policy.policy == draft.policy
        checkpoint = None
        if keeper is not None and counts and not log.ledger.stopped:
            entries = EntrySigner(carried, log, keeper, author)
            checkpoint = entries.checkpoint() if entries.is_keeper else None
        carried.commit(log)
        discard_draft(carried)
    return PolicyPublished(draft.policy.version, push_id, checkpoint, counts)
