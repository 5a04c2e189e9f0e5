"""Whether a commit has files that Git LFS keeps on a server of its own, which nobody carries.

Git LFS makes its server's address of the remote's URL unless it is told one. A node is no such
server, so clones have to be told: in ``.lfsconfig``, which is in the commit. Looked at is the
``.gitattributes`` at the top, where ``git lfs track`` writes. Must not know what is done about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gittorrent.git.runner import Git

_FILTER = b"filter=lfs"
_ADDRESS = r"^(lfs\.url|remote\..*\.lfsurl)$"


def lacks_large_files(git: Git, commit: str) -> bool:
    """Tell whether a commit has files of Git LFS and names no server for them."""
    attributes = git.attempt("cat-file", "blob", f"{commit}:.gitattributes")
    if attributes.returncode != 0 or _FILTER not in attributes.stdout:
        return False
    named = git.attempt("config", "--blob", f"{commit}:.lfsconfig", "--get-regexp", _ADDRESS)
    return named.returncode != 0
