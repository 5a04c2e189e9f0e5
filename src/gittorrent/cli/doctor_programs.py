"""What ``gittorrent doctor`` finds out about the programs of this machine."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from gittorrent import native
from gittorrent.cli.findings import problem, warning, well
from gittorrent.errors import GitTorrentError
from gittorrent.git.version import OLDEST_GIT, found_versions, git_version
from gittorrent.reel.selftest import find_encoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gittorrent.cli.findings import Finding

OPTIONAL = {
    "ssh-keygen": ("SSH keys sign and are verified with it", "install OpenSSH's client programs"),
    "gpg": ("OpenPGP keys sign, and webs of trust are judged, with it", "install GnuPG"),
}
"""Programs that some repositories need: what for, and where from."""


def look_at_programs() -> Iterator[Finding]:
    """Yield what is to be said of git, the encoder of reels and other programs."""
    try:
        yield from _look_at_git()
        yield _look_at_encoder()
    except (GitTorrentError, OSError) as error:
        oldest = ".".join(map(str, OLDEST_GIT))
        remedy = f"install git {oldest} or newer, or name one in GITTORRENT_GIT"
        yield problem("git", str(error), remedy)
    if native.is_available():
        yield well("native helper", "gittorrent-native is installed")
    elif not native.is_wanted():
        yield well("native helper", f"{native.SWITCH}=0 leaves it out")
    else:
        yield warning(
            "native helper",
            "gittorrent-native is not installed: packs are indexed by git, which takes longer",
            "install gittorrent-native",
        )
    for name, (purpose, remedy) in OPTIONAL.items():
        path = shutil.which(name)
        if path is None:
            yield warning(name, f"there is none on the PATH; {purpose}", remedy)
        else:
            yield well(name, path)


def _look_at_git() -> Iterator[Finding]:
    git_version()  # refuses one that is too old
    (used, version), *others = found_versions().items()
    text = f"{version} ({used}) is used"
    if others:
        text += "; there is also " + ", ".join(f"{said} ({path})" for path, said in others)
    yield well("git", text)


def _look_at_encoder() -> Finding:
    encoder = find_encoder()
    if encoder.trouble:
        return problem("encoder", encoder.trouble, encoder.remedy)
    way = "the native helper's deflate" if encoder.deflates else "git's own zlib"
    return well("encoder", f"reels made here are the bytes that all others make, by {way}")
