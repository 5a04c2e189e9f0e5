"""Whether a repository that a collection names is one that the operator lets collections bring.

Pure. Judged before anything but the log is downloaded, and at every update.

Rules: a key that the operator names has to be a root of the newest policy *and* to have signed a
version of it: anybody can write the name of another's key into a policy. All refs have to be
within the patterns: a mirror that shows other refs than the log is none. Private repositories are
carried where the operator names them, and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.errors import GitTorrentError
from gittorrent.printable import decoded, printable
from gittorrent.trust.keys import KeyRef
from gittorrent.trust.refpattern import RefPattern, is_reserved

if TYPE_CHECKING:
    from gittorrent.push.carry_limits import CollectionLimits
    from gittorrent.push.log import VerifiedLog


class LeftOutError(GitTorrentError):
    """A repository is none that the operator lets collections bring."""


def judge_log(log: VerifiedLog, limits: CollectionLimits) -> None:
    """Let a repository pass, or say why not.

    Args:
        log: of it.
        limits: of the collection that names it.

    Raises:
        LeftOutError: it is not to be carried.
    """
    if log.policy.policy.private:
        raise LeftOutError("it is private: only whoever may read it can have it carried")
    if limits.owners:
        allowed = {KeyRef.parse(key) for key in limits.owners}
        signed = frozenset[KeyRef]().union(*(each.signers for each in log.policies))
        if not allowed & signed & set(log.policy.policy.roots):
            raise LeftOutError("none of the keys that you allow is a root of its policy")
    if limits.refs:
        patterns = [RefPattern(each.encode("utf-8", "surrogateescape")) for each in limits.refs]
        for ref in sorted(log.refs):
            if not is_reserved(ref) and not any(each.matches(ref) for each in patterns):
                raise LeftOutError(
                    f"it publishes {printable(decoded(ref))}, which is none of the refs you allow"
                )
